//! Steps by a recipe are those of a trainer, bit for bit.

use core::fmt::Debug;

use rivergram_core::eisl::{self, Axis, Config, IGNORE, Losses, Objective, Padding, Select, Shape};
use rivergram_core::error::{EislError, GramError, TrainBuffer, TrainError};
use rivergram_core::features::{Int8, Int8Rows};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State, rate_at};
use rivergram_core::trainer::fixed::{self, Labels, Memory, Recipe, Transcription, Update};
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
struct Trained<T, L> {
    reports: Vec<(Step<T>, L)>,
    numbers: Vec<T>,
}

const fn alignment<T: Real, R: Recipe<T>>() -> Setup<'static, T> {
    Setup {
        heads: R::HEADS,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    }
}

fn by_trainer<T: Real, L>(
    setup: Setup<'_, T>,
    workspace_len: usize,
    mut step: impl FnMut(&mut Trainer<'_, T>) -> Result<(Step<T>, L), TrainError>,
) -> Trained<T, L> {
    let mut buffers = Buffers::new(&setup, workspace_len, 1);
    buffers.gradient = Vec::new();
    let plan = Plan::new(settings(), &BUDGETS).unwrap();
    let mut trainer = Trainer::new(setup, buffers.storage(), State::new(&plan)).unwrap();
    let reports = (0..STEPS).map(|_| step(&mut trainer).unwrap()).collect();
    Trained {
        reports,
        numbers: [trainer.parameters(), trainer.moments()].concat(),
    }
}

fn by_recipe<T: Real, L>(
    setup: Setup<'_, T>,
    workspace_len: usize,
    step: impl Fn(Memory<'_, T>, Update<T>) -> Result<(Step<T>, L), TrainError>,
) -> Trained<T, L> {
    let mut buffers = Buffers::new(&setup, workspace_len, 1);
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

fn assert_same<T: Real, L: PartialEq + Debug>(
    what: &str,
    left: &Trained<T, L>,
    right: &Trained<T, L>,
) {
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
    let (setup, len) = (alignment::<T, R>(), fixed::workspace_len::<R, T>());
    for present in [None, Some(absent.as_slice())] {
        let trainer = by_trainer(setup, len, |trainer| {
            trainer.align(One::new(), &R::LOSS, &inputs, present, ROWS)
        });
        let recipe = by_recipe(setup, len, |memory, update| {
            fixed::align::<R, _, _>(One::new(), memory, &inputs, present, update)
        });
        assert_same(what, &trainer, &recipe);
    }
    let packed: Vec<Vec<i8>> = R::HEADS
        .iter()
        .map(|head| bytes(&mut random, ROWS * head.input))
        .collect();
    let scale = T::constant(0.01);
    let inputs: Vec<Int8<'_, T>> = packed.iter().map(|values| Int8 { values, scale }).collect();
    let trainer = by_trainer(setup, len, |trainer| {
        trainer.align_int8(One::new(), &R::LOSS, &inputs, None, ROWS)
    });
    let recipe = by_recipe(setup, len, |memory, update| {
        fixed::align::<R, _, _>(One::new(), memory, &inputs, None, update)
    });
    assert_same(what, &trainer, &recipe);
    assert_ne!(
        recipe.reports.first().map(|(step, _)| step.loss),
        recipe.reports.last().map(|(step, _)| step.loss)
    );
}

/// Rows that lie anywhere are read as those in one piece.
#[test]
fn scattered_rows_are_read_where_they_lie() {
    let (heads, len) = (
        <Paper as Recipe<f32>>::HEADS,
        fixed::workspace_len::<Paper, f32>(),
    );
    let mut random = Random::new(5);
    let packed: Vec<Vec<i8>> = heads
        .iter()
        .map(|head| bytes(&mut random, ROWS * head.input))
        .collect();
    let (setup, scale) = (alignment::<f32, Paper>(), 0.01);
    let inputs: Vec<Int8<'_, f32>> = packed.iter().map(|values| Int8 { values, scale }).collect();
    let whole = by_recipe(setup, len, |memory, update| {
        fixed::align::<Paper, _, _>(One::new(), memory, &inputs, None, update)
    });
    // The rows of the table are in another order, with one that is not of the batch.
    let tables: Vec<Vec<i8>> = packed
        .iter()
        .zip(heads)
        .map(|(values, head)| {
            let rows = values.chunks(head.input).rev();
            rows.chain([&vec![99; head.input][..]])
                .flatten()
                .copied()
                .collect()
        })
        .collect();
    let rows: Vec<u32> = (0..ROWS as u32).rev().collect();
    let inputs: Vec<Int8Rows<'_, f32>> = tables
        .iter()
        .map(|table| Int8Rows {
            table,
            rows: &rows,
            scale,
        })
        .collect();
    let scattered = by_recipe(setup, len, |memory, update| {
        fixed::align::<Paper, _, _>(One::new(), memory, &inputs, None, update)
    });
    assert_same("rows of the paper's loss", &whole, &scattered);
}

fn bytes(random: &mut Random, count: usize) -> Vec<i8> {
    (0..count).map(|_| random.below(256) as u8 as i8).collect()
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
        let error =
            fixed::align::<Paper, _, _>(One::new(), memory, inputs, None, update).unwrap_err();
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

/// Orders, which a constant of any number cannot hold.
trait Orders: Real {
    const ORDERS: &'static [(usize, Self)];
}

impl Orders for f32 {
    const ORDERS: &'static [(usize, f32)] = &[(1, 0.5), (3, 0.2), (2, 0.3)];
}

impl Orders for f64 {
    const ORDERS: &'static [(usize, f64)] = &[(1, 0.5), (3, 0.2), (2, 0.3)];
}

/// Number `LOSS` of the sequence losses.
struct Read<const LOSS: usize>;

impl<T: Orders, const LOSS: usize> Transcription<T> for Read<LOSS> {
    const HEAD: Head = Head {
        input: 5,
        hidden: 0,
        output: 6,
        normalise: false,
    };
    const SHAPE: Shape = Shape {
        batch: 3,
        positions: 7,
        targets: 5,
        vocabulary: 6,
    };
    const OPTIMIZER: Optimizer<T> = match LOSS {
        0 => Optimizer::Sgd {
            momentum: T::ZERO,
            weight_decay: T::ZERO,
        },
        _ => Optimizer::AdamW {
            beta1: T::ZERO,
            beta2: T::EPSILON,
            epsilon: T::EPSILON,
            weight_decay: T::ONE,
        },
    };
    const CLIP: Option<T> = if LOSS == 2 { Some(T::EPSILON) } else { None };
    const LOSS: Config<'static, T> = {
        let paper = Config::with_clamp(T::ORDERS, None);
        match LOSS {
            0 => Config::cross_entropy(T::EPSILON),
            1 => paper,
            2 => Config {
                axis: Axis::Targets,
                select: Select::LogSumExp,
                ce_factor: T::ONE,
                pad_id: Some(1),
                ..paper
            },
            3 => Config {
                select: Select::Max,
                from_length: T::ORDERS,
                padding: Padding::Zero,
                ..paper
            },
            4 => Config {
                select: Select::Mean,
                axis: Axis::Targets,
                ..paper
            },
            5 => Config {
                objective: Objective::BagOfNgrams,
                ..paper
            },
            _ => Config {
                select: Select::Detached,
                input: eisl::Input::LogProbs,
                ..paper
            },
        }
    };
}

const TARGETS: [i32; 15] = [3, 0, IGNORE, 2, 1, 5, 5, 5, 5, 5, 4, 3, 1, 1, IGNORE];

fn compare_reading<T: Real, R: Transcription<T>>(what: &str) {
    let heads = [R::HEAD];
    let setup = Setup {
        heads: &heads,
        optimizer: R::OPTIMIZER,
        clip: R::CLIP,
    };
    let len = fixed::transcribe_workspace_len::<R, T>();
    let mut random = Random::new(4);
    let rows = R::SHAPE.batch * R::SHAPE.positions;
    let features: Vec<T> = cast(&random.normals(rows, R::HEAD.input).concat());
    let packed = bytes(&mut random, rows * R::HEAD.input);
    let order: Vec<u32> = (0..rows as u32).collect();
    let scale = T::constant(0.01);
    for output_lens in [None, Some(&[7, 2, 5][..])] {
        let labels = Labels {
            targets: &TARGETS,
            target_lens: Some(&[5, 3, 4]),
            output_lens,
        };
        let batch = eisl::Batch {
            target_lens: labels.target_lens,
            output_lens,
            ..eisl::Batch::new(R::SHAPE, &TARGETS)
        };
        let trainer: Trained<T, Losses<T>> = by_trainer(setup, len, |trainer| {
            trainer.transcribe(One::new(), &R::LOSS, &batch, &features)
        });
        let recipe = by_recipe(setup, len, |memory, update| {
            fixed::transcribe::<R, _, _>(One::new(), memory, &features[..], labels, update)
        });
        assert_same(what, &trainer, &recipe);
        let inputs = Int8 {
            values: &packed,
            scale,
        };
        let trainer = by_trainer(setup, len, |trainer| {
            trainer.transcribe_int8(One::new(), &R::LOSS, &batch, inputs)
        });
        let inputs = Int8Rows {
            table: &packed,
            rows: &order,
            scale,
        };
        let recipe = by_recipe(setup, len, |memory, update| {
            fixed::transcribe::<R, _, _>(One::new(), memory, inputs, labels, update)
        });
        assert_same(what, &trainer, &recipe);
        assert_ne!(recipe.reports[0].0.loss, recipe.reports[3].0.loss, "{what}");
    }
}

#[test]
fn a_transcription_makes_the_steps_of_a_trainer() {
    compare_reading::<f32, Read<0>>("cross-entropy");
    compare_reading::<f32, Read<1>>("softmax");
    compare_reading::<f64, Read<2>>("log-sum-exp over targets with cross-entropy, clipped");
    compare_reading::<f32, Read<3>>("max, orders from the length");
    compare_reading::<f64, Read<4>>("mean over targets");
    compare_reading::<f32, Read<5>>("bag of n-grams");
    compare_reading::<f32, Read<6>>("detached, of log-probabilities");
}

#[test]
fn what_does_not_fit_a_transcription_is_named_and_changes_nothing() {
    type R = Read<1>;
    let len = fixed::transcribe_workspace_len::<R, f32>();
    let parameters = <R as Transcription<f32>>::HEAD.parameters_len();
    let table = [1_i8; 21 * 5];
    let good: Vec<u32> = (0..21).collect();
    let refused = |rows: &[u32], targets: &[i32], moments: usize, workspace: usize| {
        let (mut numbers, mut moments) = (vec![0.5_f32; parameters], vec![0.25_f32; moments]);
        let memory = Memory {
            parameters: &mut numbers,
            moments: &mut moments,
            workspace: &mut vec![0.0; workspace],
        };
        let labels = Labels {
            targets,
            target_lens: None,
            output_lens: None,
        };
        let update = Update {
            before: 0,
            rate: 0.1,
        };
        let inputs = Int8Rows {
            table: &table,
            rows,
            scale: 0.01,
        };
        let error = fixed::transcribe::<R, _, _>(One::new(), memory, inputs, labels, update);
        assert!(numbers.iter().all(|x| *x == 0.5) && moments.iter().all(|x| *x == 0.25));
        error.unwrap_err()
    };
    let storage = |buffer, need, have| TrainError::Storage { buffer, need, have };
    let input = |have| storage(TrainBuffer::Input { head: 0 }, 105, have);
    let all = 2 * parameters;
    assert_eq!(refused(&good[1..], &TARGETS, all, len), input(100));
    let mut beyond = good.clone();
    (beyond[3], beyond[4]) = (21, u32::MAX);
    assert_eq!(refused(&beyond, &TARGETS, all, len), input(95));
    let workspace = storage(TrainBuffer::Workspace, len, len - 1);
    assert_eq!(refused(&good, &TARGETS, all, len - 1), workspace);
    let moments = storage(TrainBuffer::Moments, all, all - 1);
    assert_eq!(refused(&good, &TARGETS, all - 1, len), moments);
    let mut targets = TARGETS;
    targets[6] = 6;
    let token = EislError::Token {
        row: 1,
        column: 1,
        id: 6,
    };
    assert_eq!(refused(&good, &targets, all, len), TrainError::Eisl(token));
}
