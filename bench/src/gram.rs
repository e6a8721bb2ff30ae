//! Rows of volumes and of the contrastive loss.

use std::hint::black_box;

use rivergram_core::gram::contrastive::{Batch, GramLoss, workspace_len};
use rivergram_core::gram::pair::{Measure, volume_matrix_workspace_len};

use crate::products::{self, Size};
use crate::random::unit_rows;
use crate::row::{Entry, FLOOR, Row, Setup};
use crate::timing::Contestant;

const D: usize = 512;

/// The rivals of the loss.
const DETERMINANT: &str = "torch, determinant";
const DISTANCE: &str = "torch, determinant-free";

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        name: "product 1024×512×2048",
        make: |setup| {
            let size = forward(1024, 3);
            Row {
                ours: products::ours(setup.level, size),
                floor: Some(("the fastest crate", products::contestants(&[size]))),
                peers: Vec::new(),
            }
        },
        bars: &[],
        is_long: false,
    },
    Entry {
        name: "volume matrix B=1024 k=3",
        make: |setup| Row {
            ours: volumes(setup, 1024, 3),
            floor: Some(("its product", products::contestants(&[forward(1024, 3)]))),
            peers: setup.peer(DISTANCE, "volumes", &[1024, 3, D]),
        },
        bars: &[(FLOOR, 1.15)],
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=64 k=3",
        make: |setup| loss(setup, 64, 3),
        bars: &[(DISTANCE, 1.0 / 3.0)],
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=256 k=4",
        make: |setup| loss(setup, 256, 4),
        bars: &[],
        is_long: false,
    },
    Entry {
        name: "GRAM loss B=1024 k=3",
        make: |setup| loss(setup, 1024, 3),
        bars: &[
            (FLOOR, 1.2),
            (DETERMINANT, 1.0 / 6.0),
            (DISTANCE, 1.0 / 1.3),
        ],
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

/// The three products of a loss with its gradients.
fn three(rows: usize, k: usize) -> [Size; 3] {
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
    [forward(rows, k), anchors_gradient, items_gradient]
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

/// Forward and backward.
fn loss(setup: &Setup, rows: usize, k: usize) -> Row {
    let level = setup.level;
    let vectors = unit_rows(k * rows, D, 3);
    let mut gradient = vec![0.0; vectors.len()];
    let mut workspace = vec![0.0; workspace_len(k, rows, D)];
    let config = GramLoss::paper(0);
    let ours = Contestant::new("ours", move || {
        let batch = Batch {
            vectors: black_box(&vectors),
            present: None,
            k,
            rows,
            d: D,
        };
        let report = level.gram_loss(&config, &batch, &mut gradient, &mut workspace);
        assert!(report.is_ok_and(|report| report.loss.is_finite()));
        black_box(&mut gradient);
    });
    let size = [rows, k, D];
    let mut peers = setup.peer(DETERMINANT, "gram det", &size);
    peers.extend(setup.peer(DISTANCE, "gram free", &size));
    Row {
        ours,
        floor: Some(("its three products", products::contestants(&three(rows, k)))),
        peers,
    }
}
