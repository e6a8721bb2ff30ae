//! Steps where memory is short: without a buffer for the gradient, and of features in 8 bits.

use rivergram_core::eisl::{Batch, Config, Shape};
use rivergram_core::error::{TrainBuffer, TrainError};
use rivergram_core::features::Int8;
use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term};
use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{
    Setup, Step, Trainer, lean_align_workspace_len, lean_transcribe_workspace_len,
};
use rivergram_simd::Level;
use rivergram_tests::convert::bits;
use rivergram_tests::precision::{LEVELS, assert_close};
use rivergram_tests::random::Random;
use rivergram_tests::train::Buffers;

/// Not a multiple of the rows that are unpacked at once.
const ROWS: usize = 7;
const STEPS: usize = 5;
const PAPER: Term = Term::Volume(Anchor::One(0));

const HEADS: [Head; 3] = [
    head(5, 0, true),
    Head {
        hidden: 6,
        ..head(3, 0, true)
    },
    head(9, 0, true),
];
const WRITER: [Head; 1] = [Head {
    output: SHAPE.vocabulary,
    ..head(5, 0, false)
}];
const SHAPE: Shape = Shape {
    batch: 1,
    positions: ROWS,
    targets: 3,
    vocabulary: 6,
};
const LABELS: [i32; 3] = [4, 0, 5];

const fn head(input: usize, hidden: usize, normalise: bool) -> Head {
    Head {
        input,
        hidden,
        output: 4,
        normalise,
    }
}

fn loss(term: Term) -> GramLoss<f32> {
    GramLoss {
        term,
        normalise: false,
        ..GramLoss::paper(0)
    }
}

fn optimizers<T: Real>() -> [Optimizer<T>; 4] {
    let momentum = Optimizer::Sgd {
        momentum: T::constant(0.9),
        weight_decay: T::constant(0.01),
    };
    let lion = Optimizer::lion();
    [Optimizer::sgd(), momentum, Optimizer::adamw(), lion]
}

fn quantised(count: usize, seed: u64) -> Vec<i8> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(256) as u8 as i8).collect()
}

/// Features in 8 bits of each head, and the same as numbers.
struct Data {
    packed: Vec<Vec<i8>>,
    numbers: Vec<Vec<f32>>,
}

const SCALE: f32 = 0.013;

impl Data {
    fn new(heads: &[Head]) -> Self {
        let packed: Vec<Vec<i8>> = (0..)
            .zip(heads)
            .map(|(seed, head)| quantised(ROWS * head.input, seed))
            .collect();
        let number = |q: &i8| SCALE * f32::from(*q);
        let numbers = packed.iter().map(|x| x.iter().map(number).collect());
        Data {
            numbers: numbers.collect(),
            packed: packed.clone(),
        }
    }

    fn numbers(&self) -> Vec<&[f32]> {
        self.numbers.iter().map(Vec::as_slice).collect()
    }

    fn packed(&self) -> Vec<Int8<'_, f32>> {
        let packed = |values| Int8 {
            values,
            scale: SCALE,
        };
        self.packed.iter().map(|x| packed(x)).collect()
    }
}

fn setup(heads: &[Head], optimizer: Optimizer<f32>) -> Setup<'_, f32> {
    Setup {
        heads,
        optimizer,
        clip: None,
    }
}

fn whole(setup: &Setup<'_, f32>) -> Buffers<f32> {
    Buffers::new(setup, setup.align_workspace_len(ROWS), 1)
}

/// The same parameters, no gradient, and exactly the workspace that this needs.
fn lean(setup: &Setup<'_, f32>, term: Term) -> Buffers<f32> {
    let workspace = lean_align_workspace_len(setup.heads, ROWS, term);
    let mut buffers = Buffers::new(setup, workspace, 1);
    buffers.gradient.clear();
    buffers
}

/// Some steps under a plan whose rate changes, each made by `step`.
fn run<R>(
    setup: Setup<'_, f32>,
    buffers: &mut Buffers<f32>,
    steps: usize,
    mut step: impl FnMut(&mut Trainer<'_, f32>) -> R,
) -> Vec<R> {
    let plan = Plan::new(Settings::wsd_s(0.05, 0.001), &[6]).expect("a plan");
    let trainer = Trainer::new(setup, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    (0..steps).map(|_| step(&mut trainer)).collect()
}

fn aligned(
    level: Level,
    setup: Setup<'_, f32>,
    term: Term,
    data: &Data,
    buffers: &mut Buffers<f32>,
) -> Vec<Step<f32>> {
    run(setup, buffers, STEPS, |trainer| {
        let found = level.align(trainer, &loss(term), &data.numbers(), None, ROWS);
        found.expect("a step").0
    })
}

/// Parameters and state are the same bits.
fn assert_same(a: &Buffers<f32>, b: &Buffers<f32>) {
    assert_eq!(bits(&a.parameters), bits(&b.parameters));
    assert_eq!(bits(&a.moments), bits(&b.moments));
    assert!(a.parameters.iter().all(|w| w.is_finite()));
}

#[test]
fn without_a_gradient_updates_are_the_same_bit_for_bit() {
    let data = Data::new(&HEADS);
    for term in [
        PAPER,
        Term::Volume(Anchor::Each),
        Term::Cosine(Anchor::Each),
    ] {
        for optimizer in optimizers() {
            let setup = setup(&HEADS, optimizer);
            for level in Level::available() {
                let (mut a, mut b) = (whole(&setup), lean(&setup, term));
                let with = aligned(level, setup, term, &data, &mut a);
                let without = aligned(level, setup, term, &data, &mut b);
                assert_same(&a, &b);
                for (with, without) in with.iter().zip(&without) {
                    assert_eq!(
                        bits(&[with.loss, with.rate]),
                        bits(&[without.loss, without.rate])
                    );
                    let norms = [with, without].map(|step| f64::from(step.gradient_norm));
                    assert_close("norm", norms[0], norms[1], norms[1], LEVELS);
                }
            }
        }
    }
}

#[test]
fn clipping_needs_no_gradient_buffer() {
    let data = Data::new(&HEADS);
    let clipped = |limit| Setup {
        clip: Some(limit),
        ..setup(&HEADS, Optimizer::sgd())
    };
    let (small, level) = (clipped(1e-3), Level::detect());
    let (mut a, mut b) = (whole(&small), lean(&small, PAPER));
    let steps = aligned(level, small, PAPER, &data, &mut a);
    assert!(steps.iter().all(|step| step.gradient_norm > 1e-3));
    aligned(level, small, PAPER, &data, &mut b);
    for (a, b) in a.parameters.iter().zip(&b.parameters) {
        assert_close("parameter", f64::from(*a), f64::from(*b), 1.0, LEVELS);
    }
    let large = clipped(1e9);
    let (mut c, mut d) = (lean(&large, PAPER), whole(&large));
    aligned(level, large, PAPER, &data, &mut c);
    aligned(level, setup(&HEADS, Optimizer::sgd()), PAPER, &data, &mut d);
    assert_same(&c, &d);
    assert_ne!(bits(&a.parameters), bits(&c.parameters));
}

#[test]
fn features_in_8_bits_train_as_their_numbers_do() {
    let data = Data::new(&HEADS);
    for optimizer in optimizers() {
        let setup = setup(&HEADS, optimizer);
        let mut a = whole(&setup);
        aligned(Level::SCALAR, setup, PAPER, &data, &mut a);
        let mut with_gradient = whole(&setup);
        with_gradient.workspace = lean(&setup, PAPER).workspace;
        for mut buffers in [lean(&setup, PAPER), with_gradient] {
            run(setup, &mut buffers, STEPS, |trainer| {
                let (loss, inputs) = (loss(PAPER), data.packed());
                let found = trainer.align_int8(One::new(), &loss, &inputs, None, ROWS);
                found.expect("a step");
            });
            assert_same(&a, &buffers);
        }
    }
}

#[test]
fn a_transcriber_needs_no_gradient_buffer_either() {
    let data = Data::new(&WRITER);
    let orders = [(1, 0.8), (2, 0.2)];
    let (config, batch) = (Config::new(&orders), Batch::new(SHAPE, &LABELS));
    for optimizer in optimizers() {
        let setup = setup(&WRITER, optimizer);
        let workspace = setup.transcribe_workspace_len(&config, &batch);
        let mut a = Buffers::new(&setup, workspace, 1);
        run(setup, &mut a, STEPS, |trainer| {
            let found = trainer.transcribe(One::new(), &config, &batch, &data.numbers[0]);
            found.expect("a step");
        });
        let workspace = lean_transcribe_workspace_len(&WRITER[0], SHAPE, orders.len());
        let mut b = Buffers::new(&setup, workspace, 1);
        b.gradient.clear();
        run(setup, &mut b, STEPS, |trainer| {
            let inputs = data.packed()[0];
            let found = trainer.transcribe_int8(One::new(), &config, &batch, inputs);
            found.expect("a step");
        });
        assert_same(&a, &b);
    }
}

#[test]
fn without_a_gradient_nothing_has_changed_after_an_overflow() {
    let mut data = Data::new(&HEADS);
    for x in &mut data.numbers[2] {
        *x *= 1e25;
    }
    let setup = setup(&HEADS, Optimizer::adamw());
    let mut buffers = lean(&setup, PAPER);
    // Outputs of ordinary size, so that the loss is finite: it is the gradient of the last head that is not.
    let last = HEADS[0].parameters_len() + HEADS[1].parameters_len();
    for w in &mut buffers.parameters[last..last + 4 * 9] {
        *w *= 1e-25;
    }
    let before = buffers.clone();
    let found = run(setup, &mut buffers, 1, |trainer| {
        let rate = trainer.schedule().rate();
        let (loss, inputs) = (loss(PAPER), data.numbers());
        let found = trainer.align(One::new(), &loss, &inputs, None, ROWS);
        assert_eq!(trainer.updates(), 0);
        assert_eq!(trainer.schedule().rate(), rate);
        found.map(|_| ())
    });
    assert_eq!(found, [Err(TrainError::NotFinite { updates: 0 })]);
    assert_same(&buffers, &before);
}

#[test]
fn a_state_saved_without_a_gradient_goes_on_with_one() {
    let data = Data::new(&HEADS);
    let setup = setup(&HEADS, Optimizer::adamw());
    let (mut a, mut b) = (lean(&setup, PAPER), whole(&setup));
    let mut bytes = vec![0; setup.saved_len()];
    let step = |trainer: &mut Trainer<'_, f32>| {
        let found = trainer.align(One::new(), &loss(PAPER), &data.numbers(), None, ROWS);
        found.expect("a step");
    };
    run(setup, &mut a, STEPS, |trainer| {
        if trainer.updates() == 2 {
            assert_eq!(trainer.save(&mut bytes), Ok(setup.saved_len()));
        }
        step(trainer);
    });
    run(setup, &mut b, STEPS - 2, |trainer| {
        if trainer.updates() == 0 {
            assert_eq!(trainer.load(&bytes), Ok(()));
        }
        step(trainer);
    });
    assert_same(&a, &b);
}

#[test]
fn buffers_of_one_less_are_refused() {
    let setup = setup(&HEADS, Optimizer::sgd());
    let plan = Plan::new(Settings::constant(0.1_f32), &[]).expect("a plan");
    let need = setup.parameters_len();
    for have in [1, need - 1, need + 1] {
        let mut buffers = lean(&setup, PAPER);
        buffers.gradient = vec![0.0; have];
        let refused = Trainer::new(setup, buffers.storage(), State::new(&plan)).err();
        let buffer = TrainBuffer::Gradient;
        assert_eq!(refused, Some(TrainError::Storage { buffer, need, have }));
    }
    let data = Data::new(&HEADS);
    for term in [PAPER, Term::Volume(Anchor::Each)] {
        let mut buffers = lean(&setup, term);
        let need = buffers.workspace.len();
        buffers.workspace.pop();
        let refused = run(setup, &mut buffers, 1, |trainer| {
            let found = trainer.align_int8(One::new(), &loss(term), &data.packed(), None, ROWS);
            found.err()
        });
        let (buffer, have) = (TrainBuffer::Workspace, need - 1);
        assert_eq!(refused, [Some(TrainError::Storage { buffer, need, have })]);
    }
    let mut buffers = lean(&setup, PAPER);
    let short = Int8 {
        values: &data.packed[1][1..],
        scale: SCALE,
    };
    let refused = run(setup, &mut buffers, 1, |trainer| {
        let inputs = [data.packed()[0], short, data.packed()[2]];
        let found = trainer.align_int8(One::new(), &loss(PAPER), &inputs, None, ROWS);
        found.err()
    });
    let (need, have) = (ROWS * 3, ROWS * 3 - 1);
    let buffer = TrainBuffer::Input { head: 1 };
    assert_eq!(refused, [Some(TrainError::Storage { buffer, need, have })]);
}

#[test]
fn integers_are_unpacked_exactly() {
    let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let features = Int8 {
        values: &all,
        scale: 0.25_f64,
    };
    let mut numbers = [f64::NAN; 256];
    assert_eq!(features.unpack(0, &mut numbers), 256);
    let expected = all.iter().map(|q| 0.25 * f64::from(*q));
    assert!(numbers.iter().copied().eq(expected));
    assert_eq!(features.unpack(250, &mut numbers), 6);
    assert_eq!(features.unpack(256, &mut numbers), 0);
    assert_eq!(features.unpack(usize::MAX, &mut numbers), 0);
}
