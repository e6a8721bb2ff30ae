//! Rows of volumes and of the contrastive loss.

use std::hint::black_box;

use rivergram::engine::Threads;
use rivergram_core::crew::Crew;
use rivergram_core::gram::contrastive::{Batch, GramLoss, Room, gram_loss_by, room_len};
use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};
use rivergram_simd::Level;

use crate::products::{self, Size};
use crate::random::unit_rows;
use crate::row::{Entry, FLOOR, Row, Setup};
use crate::tile;
use crate::timing::{Contestant, time};

pub(crate) const D: usize = 512;

/// The rivals of the loss.
const DETERMINANT: &str = "torch, determinant";
const DISTANCE: &str = "torch, determinant-free";
/// Ours in another way.
const LARGE: &str = "large workspace";
pub(crate) const ONE_THREAD: &str = "one thread";
const SIDE_BY_SIDE: &str = "half of two, side by side";

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        name: "product 1024×512×2048",
        make: |setup| {
            let size = forward(1024, 3);
            Row {
                ours: products::ours(setup.level, size),
                floor: Some(("the fastest crate", products::contestants(&[size]))),
                peers: Vec::new(),
                agreement: None,
            }
        },
        bars: &[],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "product 1024×512×2048 in strips, as in the losses",
        make: |setup| {
            let size = forward(1024, 3);
            Row {
                ours: tile::ours(setup.level, size),
                floor: Some(("the fastest crate", products::contestants(&[size]))),
                peers: Vec::new(),
                agreement: None,
            }
        },
        bars: &[],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "volume matrix B=1024 k=3",
        make: |setup| Row {
            ours: volumes(setup, 1024, 3),
            floor: Some(("its product", products::contestants(&[forward(1024, 3)]))),
            peers: setup.peer(DISTANCE, "volumes", &[1024, 3, D]),
            agreement: None,
        },
        bars: &[(FLOOR, 1.15)],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=64 k=3",
        make: |setup| with_peers(setup, 64, 3),
        bars: &[(DISTANCE, 1.0 / 3.0)],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=256 k=4",
        make: |setup| with_peers(setup, 256, 4),
        bars: &[],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=1024 k=3, large workspace",
        make: |setup| with_peers(setup, 1024, 3),
        bars: &[
            (FLOOR, 1.2),
            (DETERMINANT, 1.0 / 6.0),
            (DISTANCE, 1.0 / 1.3),
        ],
        threads: 1,
        is_long: true,
    },
    Entry {
        name: "GRAM loss B=1024 k=3, small workspace",
        make: |setup| Row {
            ours: loss(setup.level, "ours", Room::Small, 1024, 3),
            floor: Some((
                "its four products",
                products::contestants(&products_of(Room::Small, 1024, 3)),
            )),
            peers: vec![loss(setup.level, LARGE, Room::Large, 1024, 3)],
            agreement: None,
        },
        bars: &[],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=1024 k=3, two threads",
        make: |setup| {
            let threads = Threads::new(setup.level, 2).expect("the system has two threads");
            Row {
                ours: loss(threads, "ours", Room::Large, 1024, 3),
                floor: None,
                peers: vec![
                    loss(setup.level, ONE_THREAD, Room::Large, 1024, 3),
                    side_by_side(setup.level, Room::Large, 1024, 3),
                ],
                agreement: None,
            }
        },
        bars: &[(ONE_THREAD, 1.0 / 1.8)],
        threads: 2,
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=4096 k=3, small workspace",
        make: |setup| Row {
            ours: loss(setup.level, "ours", Room::Small, 4096, 3),
            floor: Some((
                "its four products",
                products::fewer_contestants(&products_of(Room::Small, 4096, 3)),
            )),
            peers: Vec::new(),
            agreement: None,
        },
        bars: &[(FLOOR, 1.2)],
        threads: 1,
        is_long: true,
    },
];

/// The product of all anchors with the bases of all items.
fn forward(rows: usize, k: usize) -> Size {
    Size {
        m: rows,
        k: D,
        n: rows * (k - 1),
    }
}

/// The three products of a loss with its gradients, or four, where the first is made again.
fn products_of(room: Room, rows: usize, k: usize) -> Vec<Size> {
    let items = rows * (k - 1);
    let anchors_gradient = Size {
        m: rows,
        k: items,
        n: D,
    };
    let items_gradient = Size {
        m: items,
        k: rows,
        n: D,
    };
    let mut sizes = vec![forward(rows, k), anchors_gradient, items_gradient];
    if room == Room::Small {
        sizes.push(forward(rows, k));
    }
    sizes
}

fn volumes(setup: &Setup, rows: usize, k: usize) -> Contestant {
    let (level, m) = (setup.level, k - 1);
    let (anchors, items) = (unit_rows(rows, D, 1), unit_rows(m * rows, D, 2));
    let sizes = [rows, m, rows, D];
    let mut out = vec![0.0; rows * rows];
    let mut workspace = vec![0.0; volume_matrix_workspace_len(rows, m, rows, D)];
    Contestant::new("ours", move || {
        let done = level.volume_matrix(
            Measure::Volume,
            black_box(&anchors),
            &items,
            None,
            sizes,
            &mut out,
            &mut workspace,
        );
        assert_eq!(done, Ok(()));
        black_box(&mut out);
    })
}

/// The loss with the large workspace beside its products and torch.
fn with_peers(setup: &Setup, rows: usize, k: usize) -> Row {
    let size = [rows, k, D];
    let mut peers = setup.peer(DETERMINANT, "gram det", &size);
    peers.extend(setup.peer(DISTANCE, "gram free", &size));
    Row {
        ours: loss(setup.level, "ours", Room::Large, rows, k),
        floor: Some((
            "its three products",
            products::contestants(&products_of(Room::Large, rows, k)),
        )),
        peers,
        agreement: None,
    }
}

/// Forward and backward, by a crew.
fn loss(
    crew: impl Crew<f32> + Sync + 'static,
    name: &str,
    room: Room,
    rows: usize,
    k: usize,
) -> Contestant {
    let vectors = unit_rows(k * rows, D, 3);
    let mut gradient = vec![0.0; vectors.len()];
    let mut workspace = vec![0.0; room_len(room, crew.hands(), k, rows, D)];
    Contestant::new(name, move || {
        let vectors = black_box(&vectors);
        run_loss(&crew, vectors, [k, rows], &mut gradient, &mut workspace);
        black_box(&mut gradient);
    })
}

/// Half the time of two losses side by side, each on one thread: what two cores of this machine give at most.
fn side_by_side(level: Level, room: Room, rows: usize, k: usize) -> Contestant {
    let mut two = [3, 4].map(|seed| {
        let vectors = unit_rows(k * rows, D, seed);
        let gradient = vec![0.0; vectors.len()];
        (vectors, gradient, vec![0.0; room_len(room, 1, k, rows, D)])
    });
    Contestant::timed(SIDE_BY_SIDE, move || {
        let both = time(|| {
            std::thread::scope(|scope| {
                for (vectors, gradient, workspace) in &mut two {
                    scope.spawn(|| run_loss(&level, vectors, [k, rows], gradient, workspace));
                }
            });
        });
        Ok(both / 2)
    })
}

/// The loss of k modalities of so many rows.
pub(crate) fn run_loss(
    crew: &(impl Crew<f32> + Sync),
    vectors: &[f32],
    [k, rows]: [usize; 2],
    gradient: &mut [f32],
    workspace: &mut [f32],
) {
    let batch = Batch {
        vectors,
        present: None,
        k,
        rows,
        d: D,
    };
    let report = gram_loss_by(crew, &GramLoss::paper(0), &batch, gradient, workspace);
    assert!(report.is_ok_and(|report| report.loss.is_finite()));
}
