//! Steps by a recipe are those of a trainer, bit for bit.

use rivergram_core::error::{GramError, TrainBuffer, TrainError};
use rivergram_core::features::Int8;
use rivergram_core::gram::contrastive::{Anchor, GramLoss, GramReport, Term, ZeroRows};
use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State, rate_at};
use rivergram_core::trainer::fixed::{self, Memory, Recipe, Update};
use rivergram_core::trainer::{Setup, Step, Trainer, lean_align_workspace_len};
use rivergram_tests::convert::{bits, cast};
use rivergram_tests::random::Random;
use rivergram_tests::train::Buffers;

/// Not a multiple of the rows that are unpacked at once.
const ROWS: usize = 7;
const STEPS: u64 = 6;
const BUDGETS: [u64; 1] = [STEPS];

/// Number `LOSS` of the losses, and number `RULE` of the rules.
struct Pick<const LOSS: usize, const RULE: usize>;

impl<T: Real, const LOSS: usize, const RULE: usize> Recipe<T> for Pick<LOSS, RULE> {
    const HEADS: &'static [Head] = &[head(5, LOSS != 3), head(3, LOSS != 3), head(9, LOSS != 3)];
    const ROWS: usize = ROWS;
    const OPTIMIZER: Optimizer<T> = match RULE {
        0 => Optimizer::Sgd {
            momentum: T::ZERO,
            weight_decay: T::ZERO,
        },
        1 => Optimizer::Sgd {
            momentum: T::EPSILON,
            weight_decay: T::EPSILON,
        },
        2 => Optimizer::AdamW {
            beta1: T::ZERO,
            beta2: T::EPSILON,
            epsilon: T::EPSILON,
            weight_decay: T::ONE,
        },
        _ => Optimizer::Lion {
            beta1: T::EPSILON,
            beta2: T::ZERO,
            weight_decay: T::ONE,
        },
    };
    const CLIP: Option<T> = if RULE == 2 { Some(T::ONE) } else { None };
    const LOSS: GramLoss<T> = GramLoss {
        term: match LOSS {
            0 => Term::Volume(Anchor::One(0)),
            1 => Term::Volume(Anchor::Each),
            2 => Term::Cosine(Anchor::Each),
            _ => Term::Volume(Anchor::One(2)),
        },
        pairs: if LOSS == 1 { T::ONE } else { T::ZERO },
        temperature: T::ONE,
        label_smoothing: if LOSS == 0 { T::ZERO } else { T::EPSILON },
        normalise: LOSS == 3,
        zero_rows: ZeroRows::Missing,
    };
}

const fn head(input: usize, normalise: bool) -> Head {
    Head {
        input,
        hidden: 0,
        output: 4,
        normalise,
    }
}

fn settings<T: Real>() -> Settings<T> {
    Settings {
        warmup: 2,
        ..Settings::wsd_s(T::constant(0.05), T::constant(0.01))
    }
}

/// The reports, and the parameters and moments after the last step.
struct Trained<T> {
    reports: Vec<(Step<T>, GramReport<T>)>,
    numbers: Vec<T>,
}

fn by_trainer<T: Real, R: Recipe<T>>(
    mut step: impl FnMut(&mut Trainer<'_, T>) -> Result<(Step<T>, GramReport<T>), TrainError>,
) -> Trained<T> {
    let setup = Setup {
        heads: R::HEADS,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    };
    let mut buffers = Buffers::new(&setup, fixed::workspace_len::<R, T>(), 1);
    buffers.gradient = Vec::new();
    let plan = Plan::new(settings(), &BUDGETS).unwrap();
    let mut trainer = Trainer::new(setup, buffers.storage(), State::new(&plan)).unwrap();
    let reports = (0..STEPS).map(|_| step(&mut trainer).unwrap()).collect();
    Trained {
        reports,
        numbers: [trainer.parameters(), trainer.moments()].concat(),
    }
}

fn by_recipe<T: Real, R: Recipe<T>>(
    step: impl Fn(Memory<'_, T>, Update<T>) -> Result<(Step<T>, GramReport<T>), TrainError>,
) -> Trained<T> {
    let setup = Setup {
        heads: R::HEADS,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    };
    let mut buffers = Buffers::new(&setup, fixed::workspace_len::<R, T>(), 1);
    let reports = (0..STEPS).map(|before| {
        let memory = Memory {
            parameters: &mut buffers.parameters,
            moments: &mut buffers.moments,
            workspace: &mut buffers.workspace,
        };
        let rate = rate_at(settings(), &BUDGETS, before);
        step(memory, Update { before, rate }).unwrap()
    });
    let reports = reports.collect();
    Trained {
        reports,
        numbers: [buffers.parameters, buffers.moments].concat(),
    }
}

fn assert_same<T: Real>(what: &str, left: &Trained<T>, right: &Trained<T>) {
    assert_eq!(left.reports, right.reports, "{what}");
    assert_eq!(bits(&left.numbers), bits(&right.numbers), "{what}");
}

fn compare<T: Real, R: Recipe<T>>(what: &str) {
    let mut random = Random::new(3);
    let features: Vec<Vec<T>> = R::HEADS
        .iter()
        .map(|head| cast(&random.normals(ROWS, head.input).concat()))
        .collect();
    let inputs: Vec<&[T]> = features.iter().map(Vec::as_slice).collect();
    let absent: Vec<bool> = (0..R::HEADS.len() * ROWS).map(|i| i % 11 != 4).collect();
    for present in [None, Some(absent.as_slice())] {
        let trainer = by_trainer::<T, R>(|trainer| {
            trainer.align(One::new(), &R::LOSS, &inputs, present, ROWS)
        });
        let recipe = by_recipe::<T, R>(|memory, update| {
            fixed::align::<R, _>(One::new(), memory, &inputs, present, update)
        });
        assert_same(what, &trainer, &recipe);
    }
    let packed: Vec<Vec<i8>> = R::HEADS
        .iter()
        .map(|head| {
            (0..ROWS * head.input)
                .map(|_| random.below(256) as u8 as i8)
                .collect()
        })
        .collect();
    let scale = T::constant(0.01);
    let inputs: Vec<Int8<'_, T>> = packed.iter().map(|values| Int8 { values, scale }).collect();
    let trainer =
        by_trainer::<T, R>(|trainer| trainer.align_int8(One::new(), &R::LOSS, &inputs, None, ROWS));
    let recipe = by_recipe::<T, R>(|memory, update| {
        fixed::align_int8::<R, _>(One::new(), memory, &inputs, None, update)
    });
    assert_same(what, &trainer, &recipe);
    assert_ne!(
        recipe.reports.first().map(|(step, _)| step.loss),
        recipe.reports.last().map(|(step, _)| step.loss)
    );
}

fn compare_all<T: Real>() {
    compare::<T, Pick<0, 0>>("paper, SGD");
    compare::<T, Pick<0, 1>>("paper, SGD with momentum");
    compare::<T, Pick<0, 2>>("paper, AdamW, clipped");
    compare::<T, Pick<0, 3>>("paper, Lion");
    compare::<T, Pick<1, 2>>("each anchor and pairs, AdamW");
    compare::<T, Pick<2, 0>>("cosines, SGD");
    compare::<T, Pick<3, 0>>("normalised by the loss, SGD");
}

#[test]
fn a_recipe_makes_the_steps_of_a_trainer() {
    compare_all::<f32>();
    compare_all::<f64>();
}

type Paper = Pick<0, 0>;

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let heads = <Paper as Recipe<f32>>::HEADS;
    let need = fixed::workspace_len::<Paper, f32>();
    let term = <Paper as Recipe<f32>>::LOSS.term;
    assert_eq!(need, lean_align_workspace_len(heads, ROWS, term));
    let before = vec![0.5_f32; heads.iter().map(Head::parameters_len).sum()];
    let features = [
        vec![0.1; ROWS * 5],
        vec![0.2; ROWS * 3],
        vec![0.3; ROWS * 9],
    ];
    let refused = |inputs: &[&[f32]], parameters: usize, workspace: usize| {
        let (mut numbers, mut workspace) = (before.clone(), vec![0.0; workspace]);
        let memory = Memory {
            parameters: &mut numbers[..parameters],
            moments: &mut [],
            workspace: &mut workspace,
        };
        let update = Update {
            before: 0,
            rate: 0.1,
        };
        let error = fixed::align::<Paper, _>(One::new(), memory, inputs, None, update).unwrap_err();
        assert_eq!(numbers, before);
        error
    };
    let inputs = features.each_ref().map(Vec::as_slice);
    let all = before.len();
    assert_eq!(
        refused(&inputs[..2], all, need),
        TrainError::Heads { need: 2, have: 3 }
    );
    let short = |buffer, need, have| TrainError::Storage { buffer, need, have };
    assert_eq!(
        refused(&[inputs[0], &inputs[1][1..], inputs[2]], all, need),
        short(TrainBuffer::Input { head: 1 }, ROWS * 3, ROWS * 3 - 1)
    );
    assert_eq!(
        refused(&inputs, all - 1, need),
        short(TrainBuffer::Parameters, all, all - 1)
    );
    assert_eq!(
        refused(&inputs, all, need - 1),
        short(TrainBuffer::Workspace, need, need - 1)
    );
    let broken = vec![f32::NAN; ROWS * 9];
    let error = refused(&[inputs[0], inputs[1], &broken], all, need);
    let not_finite = GramError::NotFinite {
        modality: 2,
        row: 0,
    };
    assert_eq!(error, TrainError::Gram(not_finite));
}
