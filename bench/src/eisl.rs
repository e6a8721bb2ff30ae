//! Rows of the edit-invariant sequence loss, and of cross-entropy.

use std::hint::black_box;
use std::rc::Rc;

use rivergram::engine::Threads;
use rivergram_core::crew::Crew;
use rivergram_core::eisl::{
    Batch, Config, Parts, Shape, half_workspace_len, loss_and_gradient_in_place_by,
};
use rivergram_core::optim::rounding::Half;
use rivergram_simd::Level;

use crate::gram::ONE_THREAD;
use crate::random::{labels, normals};
use crate::row::{Entry, FLOOR, Row, Setup};
use crate::timing::{Contestant, time};

const TORCH_CE: &str = "torch, cross-entropy";
const TORCH_EISL: &str = "torch, gather and diagonals";

pub(crate) const ORDERS: &[(usize, f32)] = &[(1, 0.25), (2, 0.25), (3, 0.25), (4, 0.25)];

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=256",
        make: |setup| sequence(setup, 256),
        bars: &[(TORCH_EISL, 1.0 / 6.0)],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=32000, bf16",
        make: |setup| {
            let (level, shape) = (setup.level, shape(32_000));
            let logits = Rc::new(normals(count(shape), 1));
            let single = in_place(level, "in f32", Config::new(ORDERS), shape, &logits);
            Row {
                ours: in_place_half(level, shape, &logits),
                floor: None,
                peers: vec![single],
                agreement: None,
            }
        },
        bars: &[],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=32000",
        make: |setup| sequence(setup, 32_000),
        bars: &[
            (FLOOR, 1.15),
            (TORCH_CE, 1.0 / 2.0),
            (TORCH_EISL, 1.0 / 4.0),
        ],
        threads: 1,
        is_long: false,
    },
    Entry {
        name: "EISL n=1..4 B=8 T=64 V=32000, two threads",
        make: |setup| {
            let shape = shape(32_000);
            let logits = Rc::new(normals(count(shape), 1));
            let threads = Threads::new(setup.level, 2).expect("the system has two threads");
            Row {
                ours: in_place(threads, "ours", Config::new(ORDERS), shape, &logits),
                floor: None,
                peers: vec![in_place(
                    setup.level,
                    ONE_THREAD,
                    Config::new(ORDERS),
                    shape,
                    &logits,
                )],
                agreement: None,
            }
        },
        bars: &[(ONE_THREAD, 1.0 / 1.8)],
        threads: 2,
        is_long: false,
    },
];

pub(crate) fn shape(vocabulary: usize) -> Shape {
    Shape {
        batch: 8,
        positions: 64,
        targets: 64,
        vocabulary,
    }
}

/// Logits of a batch.
pub(crate) fn count(shape: Shape) -> usize {
    shape.batch * shape.positions * shape.vocabulary
}

/// Forward and backward from logits, in place.
fn sequence(setup: &Setup, vocabulary: usize) -> Row {
    let shape = shape(vocabulary);
    let logits = Rc::new(normals(count(shape), 1));
    let size = [shape.batch, shape.positions, vocabulary];
    let mut peers = setup.peer(TORCH_CE, "cross-entropy", &size);
    peers.extend(setup.peer(TORCH_EISL, "eisl", &size));
    let cross_entropy = Config {
        ngram_factor: 0.0,
        ce_factor: 1.0,
        ..Config::new(ORDERS)
    };
    Row {
        ours: in_place(setup.level, "ours", Config::new(ORDERS), shape, &logits),
        floor: Some((
            "our cross-entropy",
            vec![in_place(setup.level, "ours", cross_entropy, shape, &logits)],
        )),
        peers,
        agreement: None,
    }
}

/// By a crew: one hand gives the same as [`Level::eisl_loss`], and takes as long.
fn in_place(
    crew: impl Crew<f32> + 'static,
    name: &str,
    config: Config<'static, f32>,
    shape: Shape,
    logits: &Rc<Vec<f32>>,
) -> Contestant {
    let logits = logits.clone();
    let labels = labels(shape.batch * shape.targets, shape.vocabulary, 2);
    let mut x = logits.to_vec();
    let len = Batch::new(shape, &[]).crew_workspace_len(&config, crew.hands());
    let mut workspace = vec![0.0; len];
    Contestant::timed(name, move || {
        // The gradient took their place.
        x.copy_from_slice(&logits);
        Ok(time(|| {
            let x = black_box(&mut x);
            run_loss(
                &crew,
                &config,
                &Batch::new(shape, &labels),
                x,
                &mut workspace,
            );
        }))
    })
}

pub(crate) fn run_loss(
    crew: &impl Crew<f32>,
    config: &Config<'_, f32>,
    batch: &Batch<'_, f32>,
    x: &mut [f32],
    workspace: &mut [f32],
) {
    let losses = loss_and_gradient_in_place_by(crew, config, batch, x, Parts::none(), workspace);
    assert!(losses.is_ok_and(|losses| losses.total.is_finite()));
}

/// The same from logits in bf16.
fn in_place_half(level: Level, shape: Shape, logits: &[f32]) -> Contestant {
    let logits: Vec<u16> = logits.iter().map(|x| Half::Bf16.nearest(*x)).collect();
    let labels = labels(shape.batch * shape.targets, shape.vocabulary, 2);
    let mut x = logits.clone();
    let mut workspace = vec![0.0; half_workspace_len(shape, ORDERS.len())];
    let config = Config::new(ORDERS);
    Contestant::timed("ours", move || {
        x.copy_from_slice(&logits);
        Ok(time(|| {
            let (batch, parts) = (Batch::new(shape, &labels), Parts::none());
            let x = black_box(&mut x);
            let losses =
                level.eisl_loss_half(&config, &batch, Half::Bf16, x, parts, &mut workspace);
            assert!(losses.is_ok_and(|losses| losses.total.is_finite()));
        }))
    })
}

/// One row over a small vocabulary, of which instructions are counted.
pub(crate) fn small(level: Level) -> Contestant {
    let shape = Shape {
        batch: 1,
        ..shape(256)
    };
    let logits = Rc::new(normals(count(shape), 1));
    in_place(level, "ours", Config::new(ORDERS), shape, &logits)
}
