//! The trainer: gradients end to end, steps, errors that change nothing, and states that go on bit for bit.

use rivergram_core::eisl::{Batch, Config, Select, Shape};
use rivergram_core::error::{
    DecodeError, EislError, EncodeError, GramError, PlanPart, StateError, TrainBuffer, TrainError,
};
use rivergram_core::gram::contrastive::{Anchor, GramLoss, K_MAX, Term};
use rivergram_core::head::Head;
use rivergram_core::lanes::Real;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{Setup, Step, Trainer};
use rivergram_simd::Level;
use rivergram_tests::convert::{bits, cast, widen};
use rivergram_tests::oracle::gram::{self, Constants, Loss, Rows};
use rivergram_tests::oracle::head;
use rivergram_tests::precision::{
    CENTRAL_DIFFERENCE, DOUBLE, LEVELS, STEP, STEP_GRADIENT, assert_close,
};
use rivergram_tests::random::Random;
use rivergram_tests::train::{Buffers, Steps};

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn head_of(input: usize, hidden: usize, output: usize, normalise: bool) -> Head {
    Head {
        input,
        hidden,
        output,
        normalise,
    }
}

/// Three modalities of different lengths, one of them with a hidden layer.
fn heads(normalise: bool) -> [Head; 3] {
    [
        head_of(5, 0, 4, normalise),
        head_of(3, 6, 4, normalise),
        head_of(9, 0, 4, normalise),
    ]
}

/// Features of tuples that share something: each modality is a random map of the same numbers, and noise.
fn tuples(heads: &[Head], rows: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    let shared = random.normals(rows, 3);
    let mut modality = |head: &Head| -> Vec<f64> {
        let map = random.normals(head.input, 3);
        let noise = random.normals(rows, head.input);
        let rows = shared.iter().zip(noise);
        rows.flat_map(|(shared, noise)| {
            let feature = |(map, noise): (&Vec<f64>, f64)| gram::dot(map, shared) + 0.1 * noise;
            map.iter().zip(noise).map(feature).collect::<Vec<f64>>()
        })
        .collect()
    };
    heads.iter().map(&mut modality).collect()
}

fn loss_of<T: Real>(term: Term, pairs: f64) -> GramLoss<T> {
    GramLoss {
        term,
        pairs: T::constant(pairs),
        temperature: T::constant(0.25),
        normalise: false,
        ..GramLoss::paper(0)
    }
}

fn losses<T: Real>() -> Vec<GramLoss<T>> {
    [Anchor::One(0), Anchor::One(2), Anchor::Each]
        .into_iter()
        .flat_map(|anchor| [Term::Volume(anchor), Term::Cosine(anchor)])
        .flat_map(|term| [loss_of(term, 0.0), loss_of(term, 0.3)])
        .collect()
}

/// A setup with a batch of tuples.
#[derive(Clone)]
struct Align<'a, T> {
    setup: Setup<'a, T>,
    settings: Settings<T>,
    loss: GramLoss<T>,
    inputs: Vec<Vec<T>>,
    present: Option<Vec<bool>>,
    rows: usize,
}

impl<'a, T: Steps> Align<'a, T> {
    fn new(heads: &'a [Head], optimizer: Optimizer<T>, rate: f64, rows: usize) -> Self {
        let inputs = tuples(heads, rows, 11);
        Align {
            setup: Setup {
                heads,
                optimizer,
                clip: None,
            },
            settings: Settings::constant(T::constant(rate)),
            loss: loss_of(Term::Volume(Anchor::Each), 0.3),
            inputs: inputs.iter().map(|x| cast(x)).collect(),
            present: None,
            rows,
        }
    }

    fn buffers(&self) -> Buffers<T> {
        Buffers::new(&self.setup, self.setup.align_workspace_len(self.rows), 12)
    }

    fn step(&self, level: Level, trainer: &mut Trainer<'_, T>) -> Result<Step<T>, TrainError> {
        let inputs: Vec<&[T]> = self.inputs.iter().map(Vec::as_slice).collect();
        let present = self.present.as_deref();
        T::align(level, trainer, &self.loss, &inputs, present, self.rows).map(|(step, _)| step)
    }

    /// So many steps from the given buffers.
    fn run(&self, level: Level, steps: usize, buffers: &mut Buffers<T>) -> Vec<Step<T>> {
        let plan = Plan::new(self.settings, &[]).expect("a plan");
        let trainer = Trainer::new(self.setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        let mut step = |_| self.step(level, &mut trainer).expect("a step");
        (0..steps).map(&mut step).collect()
    }
}

// Gradients.

/// The gradient as the change of the parameters by one step of plain SGD at rate 1.
fn gradient_of(case: &Align<'_, f64>, start: &Buffers<f64>) -> (f64, Vec<f64>) {
    let mut after = start.clone();
    let [step] = case.run(Level::SCALAR, 1, &mut after)[..] else {
        panic!("one step")
    };
    let change = start.parameters.iter().zip(&after.parameters);
    (step.loss, change.map(|(a, b)| a - b).collect())
}

fn oracle_loss(case: &Align<'_, f64>, x: &[Rows]) -> Loss {
    let (k, n) = (x.len(), case.rows);
    let here = case.present.clone().unwrap_or(vec![true; k * n]);
    let present: Vec<Vec<bool>> = here.chunks(n).map(<[bool]>::to_vec).collect();
    let constants = Constants {
        temperature: case.loss.temperature,
        smoothing: case.loss.label_smoothing,
    };
    let mean = |parts: Vec<Loss>, weight: f64, sum: &mut Loss| {
        for part in &parts {
            sum.add(weight / parts.len() as f64, part);
        }
    };
    let volume = |anchor: usize| gram::volume_loss(x, &present, anchor, constants);
    let cosine = |p: usize, q: usize| gram::cosine_loss(x, &present, p, q, constants);
    let all_pairs = || -> Vec<Loss> {
        let pairs = (0..k).flat_map(|p| (p + 1..k).map(move |q| (p, q)));
        pairs.map(|(p, q)| cosine(p, q)).collect()
    };
    let parts = match case.loss.term {
        Term::Volume(Anchor::One(anchor)) => vec![volume(anchor)],
        Term::Volume(Anchor::Each) => (0..k).map(volume).collect(),
        Term::Cosine(Anchor::One(a)) => (0..k).filter(|q| *q != a).map(|q| cosine(a, q)).collect(),
        Term::Cosine(Anchor::Each) => all_pairs(),
    };
    let gradient = x.iter().map(|rows| vec![vec![0.0; rows[0].len()]; n]);
    let mut sum = Loss {
        loss: 0.0,
        gradient: gradient.collect(),
        temperature: 0.0,
    };
    mean(parts, 1.0, &mut sum);
    mean(all_pairs(), case.loss.pairs, &mut sum);
    sum
}

/// Loss and gradient of the parameters from the oracles of heads and loss.
fn oracle(case: &Align<'_, f64>, parameters: &[f64]) -> (f64, Vec<f64>) {
    let mut rest = parameters;
    let heads: Vec<(&Head, &[f64], &[f64])> = case
        .setup
        .heads
        .iter()
        .zip(&case.inputs)
        .map(|(head, x)| {
            let (own, others) = rest.split_at(head.parameters_len());
            rest = others;
            (head, own, x.as_slice())
        })
        .collect();
    let outputs: Vec<Rows> = heads
        .iter()
        .map(|(head, parameters, x)| {
            let y = head::forward(head, parameters, x);
            y.chunks(head.output).map(<[f64]>::to_vec).collect()
        })
        .collect();
    let found = if case.loss.normalise {
        let mut found = oracle_loss(case, &gram::normalised(&outputs));
        gram::through_normalisation(&outputs, &mut found.gradient);
        found
    } else {
        oracle_loss(case, &outputs)
    };
    let gradient = heads.iter().zip(&found.gradient);
    let gradient = gradient
        .flat_map(|((head, parameters, x), dy)| head::backward(head, parameters, x, &dy.concat()));
    (found.loss, gradient.collect())
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// With absent modalities too, and whoever normalises: the heads or the loss.
#[test]
fn gradients_of_alignment_agree_with_the_oracles() {
    for normalising_heads in [true, false] {
        let heads = heads(normalising_heads);
        for absent in [false, true] {
            for loss in losses() {
                let mut case = Align::new(&heads, Optimizer::sgd(), 1.0, 5);
                case.loss = GramLoss {
                    normalise: !normalising_heads,
                    ..loss
                };
                case.present =
                    absent.then(|| (0..15).map(|i| i != 1 && i != 7 && i != 13).collect());
                let start = case.buffers();
                let (loss, gradient) = gradient_of(&case, &start);
                let (want_loss, want) = oracle(&case, &start.parameters);
                let what = format!("{:?}, absent: {absent}", case.loss);
                assert_close(
                    &what,
                    loss,
                    want_loss,
                    want_loss.abs().max(1.0),
                    DOUBLE.loss,
                );
                let error = distance(&gradient, &want);
                assert_close(&what, error, 0.0, norm(&want), STEP_GRADIENT);
            }
        }
    }
}

fn assert_central_differences(
    what: &str,
    gradient: &[f64],
    mut value: impl FnMut(usize, f64) -> f64,
) {
    let step = 1e-5;
    let mut difference = |at: usize| (value(at, step) - value(at, -step)) / (2.0 * step);
    let want: Vec<f64> = (0..gradient.len()).map(&mut difference).collect();
    let error = distance(gradient, &want);
    assert_close(what, error, 0.0, norm(&want), CENTRAL_DIFFERENCE);
}

#[test]
fn gradients_of_alignment_agree_with_central_differences() {
    let heads = heads(true);
    for loss in losses() {
        let mut case = Align::new(&heads, Optimizer::sgd(), 1.0, 4);
        case.loss = loss;
        let start = case.buffers();
        let (_, gradient) = gradient_of(&case, &start);
        assert_central_differences(&format!("{loss:?}"), &gradient, |at, step| {
            let mut moved = start.clone();
            moved.parameters[at] += step;
            gradient_of(&case, &moved).0
        });
    }
}

/// A head with strings to transcribe.
#[derive(Clone)]
struct Transcribe<'a, T> {
    setup: Setup<'a, T>,
    settings: Settings<T>,
    config: Config<'a, T>,
    shape: Shape,
    targets: Vec<i32>,
    inputs: Vec<T>,
}

const SHAPE: Shape = Shape {
    batch: 3,
    positions: 5,
    targets: 4,
    vocabulary: 6,
};

impl<'a, T: Steps> Transcribe<'a, T> {
    /// Inputs that show their label, and noise.
    fn new(head: &'a [Head; 1], config: Config<'a, T>, rate: f64) -> Self {
        let mut random = Random::new(21);
        let shape = SHAPE;
        let targets: Vec<i32> = (0..shape.batch * shape.targets)
            .map(|_| random.below(shape.vocabulary) as i32)
            .collect();
        let mut inputs = random.normals(shape.batch * shape.positions, head[0].input);
        for row in 0..shape.batch {
            for t in 0..shape.targets {
                let label = targets[row * shape.targets + t] as usize;
                inputs[row * shape.positions + t][label % head[0].input] += 3.0;
            }
        }
        Transcribe {
            setup: Setup {
                heads: head,
                optimizer: Optimizer::sgd(),
                clip: None,
            },
            settings: Settings::constant(T::constant(rate)),
            config,
            shape,
            targets,
            inputs: cast(&inputs.concat()),
        }
    }

    fn buffers(&self) -> Buffers<T> {
        let batch = Batch::new(self.shape, &[]);
        let workspace = self.setup.transcribe_workspace_len(&self.config, &batch);
        Buffers::new(&self.setup, workspace, 22)
    }

    fn step(&self, level: Level, trainer: &mut Trainer<'_, T>) -> Result<Step<T>, TrainError> {
        let batch = Batch::new(self.shape, &self.targets);
        let found = T::transcribe(level, trainer, &self.config, &batch, &self.inputs);
        found.map(|(step, losses)| {
            assert_eq!(bits(&[step.loss]), bits(&[losses.total]));
            step
        })
    }

    fn run(&self, level: Level, steps: usize, buffers: &mut Buffers<T>) -> Vec<Step<T>> {
        let plan = Plan::new(self.settings, &[]).expect("a plan");
        let trainer = Trainer::new(self.setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        let mut step = |_| self.step(level, &mut trainer).expect("a step");
        (0..steps).map(&mut step).collect()
    }
}

const LINEAR: [Head; 1] = [Head {
    input: 7,
    hidden: 0,
    output: SHAPE.vocabulary,
    normalise: false,
}];
const DEEP: [Head; 1] = [Head {
    hidden: 9,
    ..LINEAR[0]
}];

/// Cross-entropy, the sequence loss with each differentiable selection, and both at once.
fn configs<T: Real>(orders: &[(usize, T)]) -> Vec<Config<'_, T>> {
    let eisl = |select| Config {
        select,
        ..Config::new(orders)
    };
    vec![
        Config::cross_entropy(T::constant(0.1)),
        eisl(Select::Softmax),
        eisl(Select::LogSumExp),
        eisl(Select::Mean),
        Config {
            ce_factor: T::constant(0.5),
            ..eisl(Select::Softmax)
        },
    ]
}

#[test]
fn gradients_of_transcription_agree_with_central_differences() {
    let orders = [(1, 0.8), (2, 0.2)];
    for head in [&LINEAR, &DEEP] {
        for config in configs(&orders) {
            let case = Transcribe::<f64>::new(head, config, 1.0);
            let start = case.buffers();
            let stepped = |start: &Buffers<f64>| {
                let mut after = start.clone();
                let steps = case.run(Level::SCALAR, 1, &mut after);
                (steps[0].loss, after.parameters)
            };
            let (_, after) = stepped(&start);
            let change = start.parameters.iter().zip(&after);
            let gradient: Vec<f64> = change.map(|(a, b)| a - b).collect();
            let what = format!("{:?}, {config:?}", head[0]);
            assert_central_differences(&what, &gradient, |at, step| {
                let mut moved = start.clone();
                moved.parameters[at] += step;
                stepped(&moved).0
            });
        }
    }
}

// Steps.

fn assert_falls<T: Real>(what: &str, steps: &[Step<T>], part: f64) {
    let loss = |step: Option<&Step<T>>| step.map_or(f64::NAN, |step| step.loss.to_f64());
    let (first, last) = (loss(steps.first()), loss(steps.last()));
    assert!(last < part * first, "{what}: {first} to {last}");
}

#[test]
fn alignment_lowers_every_loss_at_every_level() {
    let heads = heads(true);
    for loss in losses::<f32>() {
        let mut case = Align::new(&heads, Optimizer::adamw(), 0.02, 9);
        case.loss = loss;
        for level in Level::available() {
            let steps = case.run(level, 60, &mut case.buffers());
            assert_falls(&format!("{loss:?}, {level}"), &steps, 0.8);
        }
    }
}

#[test]
fn transcription_lowers_every_loss_at_every_level() {
    let orders = [(1, 0.8), (2, 0.2)];
    for config in configs::<f32>(&orders) {
        // What the mean over positions can gain is little.
        let part = if config.select == Select::Mean {
            0.95
        } else {
            0.7
        };
        let mut case = Transcribe::new(&DEEP, config, 0.02);
        case.setup.optimizer = Optimizer::adamw();
        for level in Level::available() {
            let steps = case.run(level, 60, &mut case.buffers());
            assert_falls(&format!("{config:?}, {level}"), &steps, part);
        }
    }
}

#[test]
fn a_step_reports_the_rate_of_the_plan_and_the_norm_before_clipping() {
    let heads = heads(true);
    let mut case = Align::<f64>::new(&heads, Optimizer::sgd(), 0.5, 5);
    let start = case.buffers();
    let mut free = start.clone();
    let [unclipped] = case.run(Level::SCALAR, 1, &mut free)[..] else {
        panic!("one step")
    };
    let (_, gradient) = oracle(&case, &start.parameters);
    assert_close("norm", unclipped.gradient_norm, norm(&gradient), 1.0, STEP);

    let limit = 0.25 * unclipped.gradient_norm;
    case.setup.clip = Some(limit);
    let mut clipped = start.clone();
    let [step] = case.run(Level::SCALAR, 1, &mut clipped)[..] else {
        panic!("one step")
    };
    assert_eq!(step, unclipped);
    for ((w, g), got) in start
        .parameters
        .iter()
        .zip(&gradient)
        .zip(&clipped.parameters)
    {
        assert_close("clipped", *got, w - 0.5 * 0.25 * g, 1.0, STEP);
    }

    case.settings = Settings {
        warmup: 3,
        ..Settings::wsd_s(0.1, 0.01)
    };
    let plan = Plan::new(case.settings, &[]).expect("a plan");
    let steps = case.run(Level::SCALAR, 6, &mut case.buffers());
    for (t, step) in (0..).zip(steps) {
        assert_eq!(step.rate, plan.lr_at(t));
    }
}

#[test]
fn levels_agree_and_each_repeats_itself_bit_for_bit() {
    let heads = heads(true);
    let orders = [(1, 0.8), (2, 0.2)];
    let align = Align::<f32>::new(&heads, Optimizer::adamw(), 0.002, 9);
    let config = Config::new(&orders);
    let mut transcribe = Transcribe::<f32>::new(&DEEP, config, 0.002);
    transcribe.setup.optimizer = Optimizer::adamw();
    let runs: [&dyn Fn(Level) -> Vec<f32>; 2] = [
        &|level| {
            let mut buffers = align.buffers();
            align.run(level, 20, &mut buffers);
            buffers.parameters
        },
        &|level| {
            let mut buffers = transcribe.buffers();
            transcribe.run(level, 20, &mut buffers);
            buffers.parameters
        },
    ];
    for run in runs {
        let scalar = widen(&run(Level::SCALAR));
        for level in Level::available() {
            let got = run(level);
            assert_eq!(bits(&got), bits(&run(level)), "{level} again");
            let error = distance(&widen(&got), &scalar);
            assert_close(level.name(), error, 0.0, norm(&scalar), LEVELS);
        }
    }
}

type Run<'a> = dyn Fn(&mut Buffers<f32>) -> Vec<Step<f32>> + 'a;

#[test]
fn the_workspace_is_as_long_as_stated_and_may_hold_anything() {
    let heads = heads(true);
    let orders = [(1, 0.8), (2, 0.2)];
    let align = Align::<f32>::new(&heads, Optimizer::adamw(), 0.01, 5);
    let transcribe = Transcribe::<f32>::new(&DEEP, Config::new(&orders), 0.01);
    // Exactly the length, full of NaN, against more of it, full of zeros.
    let runs: [&Run<'_>; 2] = [
        &|buffers| align.run(Level::detect(), 3, buffers),
        &|buffers| transcribe.run(Level::detect(), 3, buffers),
    ];
    for (run, exact) in runs.iter().zip([align.buffers(), transcribe.buffers()]) {
        let (mut exact, mut clean) = (exact.clone(), exact);
        clean.workspace = vec![0.0; clean.workspace.len() + 100];
        clean.gradient.fill(0.0);
        assert_eq!(run(&mut exact), run(&mut clean));
        assert_eq!(bits(&exact.parameters), bits(&clean.parameters));
    }
}

#[test]
fn what_is_absent_may_be_any_number() {
    let heads = heads(true);
    let mut case = Align::<f32>::new(&heads, Optimizer::adamw(), 0.01, 5);
    case.present = Some((0..15).map(|i| i != 2 && i != 8).collect());
    for level in Level::available() {
        let outcomes = [0.0, 3.5, -1000.0].map(|x| {
            let mut case = case.clone();
            case.inputs[0][2 * 5..3 * 5].fill(x);
            case.inputs[1][3 * 3..4 * 3].fill(x);
            let mut buffers = case.buffers();
            case.run(level, 3, &mut buffers);
            bits(&buffers.parameters)
        });
        assert_eq!(outcomes[0], outcomes[1], "{level}");
        assert_eq!(outcomes[0], outcomes[2], "{level}");
    }
}

#[test]
fn a_zero_row_is_an_absent_one() {
    // Without biases a row of zeros gives a vector of zeros.
    let heads = heads(true);
    let mut absent = Align::<f32>::new(&heads, Optimizer::sgd(), 0.1, 5);
    absent.inputs[0][2 * 5..3 * 5].fill(0.0);
    let mut zero = absent.clone();
    absent.present = Some((0..15).map(|i| i != 2).collect());
    zero.present = None;
    let mut start = absent.buffers();
    start.parameters[4 * 5..4 * 6].fill(0.0);
    for level in Level::available() {
        let outcomes = [&absent, &zero].map(|case| {
            let mut buffers = start.clone();
            case.run(level, 1, &mut buffers);
            bits(&buffers.parameters)
        });
        assert_eq!(outcomes[0], outcomes[1], "{level}");
    }
}

// Errors.

/// Everything that an error must leave as it is.
fn snapshot<'a, T: Real>(trainer: &Trainer<'a, T>) -> (Vec<u64>, Vec<u64>, u64, State<'a, T>) {
    (
        bits(trainer.parameters()),
        bits(trainer.moments()),
        trainer.updates(),
        *trainer.schedule(),
    )
}

/// That the attempt fails so, and that the trainer is as before, and still able to step.
#[track_caller]
fn refused<'a, T: Steps, R: std::fmt::Debug>(
    trainer: &mut Trainer<'a, T>,
    want: TrainError,
    attempt: impl FnOnce(&mut Trainer<'a, T>) -> Result<R, TrainError>,
) {
    let before = snapshot(trainer);
    let error = attempt(trainer).expect_err("an error");
    assert_eq!(error, want);
    assert!(!error.to_string().is_empty());
    assert!(snapshot(trainer) == before, "{error}: something changed");
}

#[test]
fn a_trainer_needs_valid_settings_and_the_lengths_of_its_setup() {
    let heads = heads(true);
    let plan = Plan::new(Settings::constant(0.1_f32), &[]).expect("a plan");
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: Some(1.0),
    };
    let attempt = |setup: Setup<'_, f32>, spoil: &dyn Fn(&mut Buffers<f32>)| {
        let mut buffers = Buffers::new(&setup, 0, 0);
        spoil(&mut buffers);
        Trainer::new(setup, buffers.storage(), State::new(&plan)).map(|_| ())
    };
    let as_is = |_: &mut Buffers<f32>| {};
    assert_eq!(attempt(setup, &as_is), Ok(()));
    let empty = [heads[0], head_of(0, 0, 4, true)];
    let refused = attempt(
        Setup {
            heads: &empty,
            ..setup
        },
        &as_is,
    );
    assert_eq!(refused, Err(TrainError::EmptyHead { head: 1 }));
    let optimizer = Optimizer::Sgd {
        momentum: 1.0,
        weight_decay: 0.0,
    };
    let refused = attempt(Setup { optimizer, ..setup }, &as_is);
    assert_eq!(refused, Err(TrainError::Optimizer));
    for limit in [-1.0, f32::NAN] {
        let clip = Some(limit);
        let refused = attempt(Setup { clip, ..setup }, &as_is);
        assert_eq!(refused, Err(TrainError::Clip));
    }
    for clip in [None, Some(0.0), Some(f32::INFINITY)] {
        assert_eq!(attempt(Setup { clip, ..setup }, &as_is), Ok(()));
    }
    let need = setup.parameters_len();
    let short = |buffer, need| TrainError::Storage {
        buffer,
        need,
        have: need - 1,
    };
    assert_eq!(
        [
            attempt(setup, &|b| b.parameters.truncate(need - 1)),
            attempt(setup, &|b| b.gradient.truncate(need - 1)),
            attempt(setup, &|b| b.moments.truncate(2 * need - 1)),
        ],
        [
            Err(short(TrainBuffer::Parameters, need)),
            Err(short(TrainBuffer::Gradient, need)),
            Err(short(TrainBuffer::Moments, 2 * need)),
        ]
    );
}

fn errors_of_alignment<T: Steps>() {
    let heads = heads(true);
    let case = Align::<T>::new(&heads, Optimizer::adamw(), 0.01, 5);
    let mut buffers = case.buffers();
    let plan = Plan::new(case.settings, &[]).expect("a plan");
    let trainer = Trainer::new(case.setup, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    for _ in 0..3 {
        case.step(Level::SCALAR, &mut trainer).expect("a step");
    }
    let mut check = |want: TrainError, spoil: &dyn Fn(&mut Align<'_, T>)| {
        for level in Level::available() {
            let mut case = case.clone();
            spoil(&mut case);
            refused(&mut trainer, want, |trainer| case.step(level, trainer));
        }
    };
    let nan = T::constant(f64::NAN);
    check(TrainError::Heads { need: 2, have: 3 }, &|case| {
        case.inputs.pop();
    });
    check(
        TrainError::Storage {
            buffer: TrainBuffer::Input { head: 1 },
            need: 15,
            have: 14,
        },
        &|case| {
            case.inputs[1].pop();
        },
    );
    for at in [1, 4] {
        check(
            TrainError::Gram(GramError::NotFinite {
                modality: at % 3,
                row: at,
            }),
            &|case| case.inputs[at % 3][at * heads[at % 3].input] = nan,
        );
    }
    check(TrainError::Gram(GramError::Temperature), &|case| {
        case.loss.temperature = T::ZERO;
    });
    check(
        TrainError::Gram(GramError::BufferSize { need: 15, have: 14 }),
        &|case| {
            case.present = Some(vec![true; 14]);
        },
    );
    check(
        TrainError::Gram(GramError::Empty {
            k: 3,
            rows: 0,
            d: 4,
        }),
        &|case| {
            case.rows = 0;
            case.inputs.iter_mut().for_each(Vec::clear);
        },
    );
    // 1/τ is finite, but a sum of logits would not be.
    check(TrainError::Gram(GramError::Temperature), &|case| {
        case.loss.temperature = T::MIN_POSITIVE;
        case.loss.term = Term::Cosine(Anchor::Each);
    });
    let updates = 3;
    // A NaN that counts as absent still has a gradient of 0 · NaN.
    check(TrainError::NotFinite { updates }, &|case| {
        case.present = Some((0..15).map(|i| i != 2).collect());
        case.inputs[0][2 * 5] = nan;
    });
    case.step(Level::SCALAR, &mut trainer).expect("a step");
    assert_eq!(trainer.updates(), 4);
}

#[test]
fn after_an_error_of_alignment_nothing_has_changed() {
    errors_of_alignment::<f32>();
    errors_of_alignment::<f64>();
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let mut unequal = heads(true);
    unequal[2].output = 5;
    let many = [heads(true)[0]; K_MAX + 1];
    let output = TrainError::Output {
        head: 2,
        need: 4,
        have: 5,
    };
    let arity = TrainError::Gram(GramError::Arity { k: K_MAX + 1 });
    let one = TrainError::Gram(GramError::Arity { k: 1 });
    let none = TrainError::Gram(GramError::Empty {
        k: 0,
        rows: 5,
        d: 0,
    });
    let cases: [(&[Head], TrainError); 4] = [
        (&unequal, output),
        (&many, arity),
        (&many[..1], one),
        (&[], none),
    ];
    for (heads, want) in cases {
        let case = Align::<f32>::new(heads, Optimizer::sgd(), 0.01, 5);
        let mut buffers = case.buffers();
        buffers.workspace.resize(100_000, 0.0);
        let plan = Plan::new(case.settings, &[]).expect("a plan");
        let trainer = Trainer::new(case.setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        refused(&mut trainer, want, |trainer| {
            case.step(Level::SCALAR, trainer)
        });
    }
}

#[test]
fn a_workspace_of_one_less_is_refused() {
    let heads = heads(true);
    let orders = [(1, 0.8), (2, 0.2)];
    let align = Align::<f32>::new(&heads, Optimizer::adamw(), 0.01, 5);
    let transcribe = Transcribe::<f32>::new(&DEEP, Config::new(&orders), 0.01);
    let plan = Plan::new(align.settings, &[]).expect("a plan");
    for (setup, mut buffers) in [
        (align.setup, align.buffers()),
        (transcribe.setup, transcribe.buffers()),
    ] {
        buffers.workspace.pop();
        let have = buffers.workspace.len();
        let want = TrainError::Storage {
            buffer: TrainBuffer::Workspace,
            need: have + 1,
            have,
        };
        let trainer = Trainer::new(setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        refused(&mut trainer, want, |trainer| match setup.heads {
            [_] => transcribe.step(Level::SCALAR, trainer),
            _ => align.step(Level::SCALAR, trainer),
        });
    }
}

fn errors_of_transcription<T: Steps>() {
    let orders = [(1, T::ONE)];
    let mut case = Transcribe::<T>::new(&DEEP, Config::new(&orders), 0.01);
    case.setup.optimizer = Optimizer::adamw();
    let mut buffers = case.buffers();
    let plan = Plan::new(case.settings, &[]).expect("a plan");
    let trainer = Trainer::new(case.setup, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    case.step(Level::SCALAR, &mut trainer).expect("a step");
    let mut check = |want: TrainError, spoil: &dyn Fn(&mut Transcribe<'_, T>)| {
        for level in Level::available() {
            let mut case = case.clone();
            spoil(&mut case);
            refused(&mut trainer, want, |trainer| case.step(level, trainer));
        }
    };
    check(
        TrainError::Output {
            head: 0,
            need: 7,
            have: 6,
        },
        &|case| case.shape.vocabulary = 7,
    );
    check(
        TrainError::Storage {
            buffer: TrainBuffer::Input { head: 0 },
            need: 105,
            have: 104,
        },
        &|case| {
            case.inputs.pop();
        },
    );
    check(
        TrainError::Eisl(EislError::Token {
            row: 1,
            column: 2,
            id: 6,
        }),
        &|case| case.targets[4 + 2] = 6,
    );
    check(TrainError::Eisl(EislError::Temperature), &|case| {
        case.config.temperature = T::ZERO;
    });
    // In the last row, after others were replaced by their gradient.
    check(
        TrainError::Eisl(EislError::Nan {
            row: 2,
            position: 3,
            column: 0,
        }),
        &|case| case.inputs[(2 * 5 + 3) * 7] = T::constant(f64::NAN),
    );
    check(TrainError::NotFinite { updates: 1 }, &|case| {
        case.config = Config::cross_entropy(T::ZERO);
        case.config.ce_factor = T::MAX;
        case.inputs
            .iter_mut()
            .for_each(|x| *x = *x * T::constant(100.0));
    });
    case.step(Level::SCALAR, &mut trainer).expect("a step");
    assert_eq!(trainer.updates(), 2);
}

#[test]
fn after_an_error_of_transcription_nothing_has_changed() {
    errors_of_transcription::<f32>();
    errors_of_transcription::<f64>();
}

#[test]
fn transcription_needs_one_head_that_gives_logits() {
    let orders = [(1, 1.0)];
    let normalising = [Head {
        normalise: true,
        ..LINEAR[0]
    }];
    let two = [LINEAR[0]; 2];
    let mut case = Transcribe::<f32>::new(&LINEAR, Config::new(&orders), 0.01);
    let cases: [(&[Head], TrainError); 2] = [
        (&normalising, TrainError::Normalised { head: 0 }),
        (&two, TrainError::Heads { need: 1, have: 2 }),
    ];
    for (heads, want) in cases {
        case.setup.heads = heads;
        let mut buffers = case.buffers();
        let plan = Plan::new(case.settings, &[]).expect("a plan");
        let trainer = Trainer::new(case.setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        refused(&mut trainer, want, |trainer| {
            case.step(Level::SCALAR, trainer)
        });
    }
}

// States.

/// A run with warmup, two decays and moments, in steps whose batches differ.
fn long_run<T: Steps>(heads: &[Head], optimizer: Optimizer<T>) -> (Align<'_, T>, [u64; 2]) {
    let mut case = Align::new(heads, optimizer, 0.01, 5);
    case.setup.clip = Some(T::constant(0.5));
    case.settings = Settings {
        warmup: 2,
        ..Settings::wsd_s(T::constant(0.05), T::constant(0.001))
    };
    (case, [8, 14])
}

fn optimizers<T: Real>() -> [Optimizer<T>; 4] {
    let momentum = Optimizer::Sgd {
        momentum: T::constant(0.9),
        weight_decay: T::constant(0.01),
    };
    let lion = Optimizer::lion();
    [Optimizer::sgd(), momentum, Optimizer::adamw(), lion]
}

fn step_of_its_own<T: Steps>(case: &Align<'_, T>, trainer: &mut Trainer<'_, T>) {
    let mut case = case.clone();
    let seed = trainer.updates();
    let inputs = tuples(case.setup.heads, case.rows, seed);
    case.inputs = inputs.iter().map(|x| cast(x)).collect();
    if seed == 4 {
        trainer.schedule_mut().request_decay(3);
    }
    case.step(Level::detect(), trainer).expect("a step");
}

fn goes_on_bit_for_bit<T: Steps>(optimizer: Optimizer<T>) {
    const STEPS: u64 = 16;
    let heads = heads(true);
    let (case, budgets) = long_run(&heads, optimizer);
    let plan = Plan::new(case.settings, &budgets).expect("a plan");
    let mut buffers = case.buffers();
    let trainer = Trainer::new(case.setup, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    let mut saved = Vec::new();
    for _ in 0..STEPS {
        let mut bytes = vec![0xaa; case.setup.saved_len() + 7];
        assert_eq!(trainer.save(&mut bytes), Ok(case.setup.saved_len()));
        assert!(bytes[case.setup.saved_len()..].iter().all(|b| *b == 0xaa));
        saved.push(bytes);
        step_of_its_own(&case, &mut trainer);
    }
    for (updates, bytes) in (0..).zip(saved) {
        let mut other = Buffers::new(&case.setup, case.buffers().workspace.len(), 99);
        other.moments.fill(T::ONE);
        let again = Trainer::new(case.setup, other.storage(), State::new(&plan));
        let mut again = again.expect("a trainer");
        assert_eq!(again.load(&bytes), Ok(()));
        assert_eq!(again.updates(), updates);
        let mut resaved = vec![0; case.setup.saved_len()];
        assert_eq!(again.save(&mut resaved), Ok(resaved.len()));
        assert_eq!(resaved, bytes[..resaved.len()]);
        for _ in updates..STEPS {
            step_of_its_own(&case, &mut again);
        }
        assert!(
            snapshot(&again) == snapshot(&trainer),
            "from update {updates}"
        );
    }
}

#[test]
fn a_saved_state_goes_on_bit_for_bit() {
    for optimizer in optimizers() {
        goes_on_bit_for_bit::<f32>(optimizer);
    }
    for optimizer in optimizers() {
        goes_on_bit_for_bit::<f64>(optimizer);
    }
}

#[test]
fn restoring_goes_on_bit_for_bit() {
    let heads = heads(true);
    let (case, budgets) = long_run::<f32>(&heads, Optimizer::adamw());
    let plan = Plan::new(case.settings, &budgets).expect("a plan");
    let (mut a, mut b) = (case.buffers(), case.buffers());
    let mut first = Trainer::new(case.setup, a.storage(), State::new(&plan)).expect("a trainer");
    let mut second = Trainer::new(case.setup, b.storage(), State::new(&plan)).expect("a trainer");
    for _ in 0..6 {
        step_of_its_own(&case, &mut first);
    }
    let (parameters, moments, updates, schedule) = (
        first.parameters().to_vec(),
        first.moments().to_vec(),
        first.updates(),
        *first.schedule(),
    );
    let need = parameters.len();
    let short = |buffer, need| TrainError::Storage {
        buffer,
        need,
        have: need - 1,
    };
    refused(
        &mut second,
        short(TrainBuffer::Parameters, need),
        |trainer| trainer.restore(&parameters[1..], &moments, updates, schedule),
    );
    refused(
        &mut second,
        short(TrainBuffer::Moments, 2 * need),
        |trainer| trainer.restore(&parameters, &moments[1..], updates, schedule),
    );
    for (wrong, index) in [(f32::NAN, 0), (f32::INFINITY, need - 1)] {
        let with_one = |numbers: &[f32]| {
            let mut numbers = numbers.to_vec();
            numbers[index] = wrong;
            numbers
        };
        let (bad, buffer) = (with_one(&parameters), TrainBuffer::Parameters);
        refused(
            &mut second,
            TrainError::Value { buffer, index },
            |trainer| trainer.restore(&bad, &moments, updates, schedule),
        );
        let (bad, buffer) = (with_one(&moments), TrainBuffer::Moments);
        refused(
            &mut second,
            TrainError::Value { buffer, index },
            |trainer| trainer.restore(&parameters, &bad, updates, schedule),
        );
    }
    let restored = second.restore(&parameters, &moments, updates, schedule);
    assert_eq!(restored, Ok(()));
    step_of_its_own(&case, &mut first);
    step_of_its_own(&case, &mut second);
    assert!(snapshot(&first) == snapshot(&second));
}

/// A trainer of some setup after three steps, as bytes.
fn saved_by(setup: Setup<'_, f32>, plan: &Plan<'_, f32>) -> Vec<u8> {
    let mut case = Align::<f32>::new(setup.heads, setup.optimizer, 0.01, 5);
    case.setup = setup;
    let mut buffers = case.buffers();
    let trainer = Trainer::new(setup, buffers.storage(), State::new(plan));
    let mut trainer = trainer.expect("a trainer");
    for _ in 0..3 {
        case.step(Level::SCALAR, &mut trainer).expect("a step");
    }
    let mut bytes = vec![0; setup.saved_len()];
    assert_eq!(trainer.save(&mut bytes), Ok(bytes.len()));
    bytes
}

#[test]
fn states_of_other_trainers_are_refused() {
    let heads = heads(true);
    let plain = heads.map(|head| Head {
        normalise: false,
        ..head
    });
    let mut wider = heads;
    wider[1].hidden = 7;
    let swapped = [heads[2], heads[1], heads[0]];
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: Some(1.0),
    };
    let slower = Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
    };
    let plan = Plan::new(Settings::constant(0.01), &[]).expect("a plan");
    let others = [
        Setup {
            heads: &plain,
            ..setup
        },
        Setup {
            heads: &wider,
            ..setup
        },
        Setup {
            heads: &swapped,
            ..setup
        },
        Setup {
            heads: &heads[..2],
            ..setup
        },
        Setup {
            optimizer: slower,
            ..setup
        },
        Setup {
            optimizer: Optimizer::sgd(),
            ..setup
        },
        Setup {
            optimizer: Optimizer::lion(),
            ..setup
        },
        Setup {
            clip: None,
            ..setup
        },
    ];
    let mut buffers = Buffers::new(&setup, 0, 1);
    let trainer = Trainer::new(setup, buffers.storage(), State::at(&plan, 2));
    let mut trainer = trainer.expect("a trainer");
    for other in others {
        let bytes = saved_by(other, &plan);
        refused(&mut trainer, TrainError::OtherTrainer, |t| t.load(&bytes));
    }
    // Plain SGD has the same numbers in either precision.
    let sgd = Setup {
        optimizer: Optimizer::sgd(),
        clip: None,
        ..setup
    };
    let doubles = Setup::<f64> {
        heads: &heads,
        optimizer: Optimizer::sgd(),
        clip: None,
    };
    let plan_of_doubles = Plan::new(Settings::constant(0.01), &[]).expect("a plan");
    let mut bytes = vec![0; doubles.saved_len()];
    let mut of_doubles = Buffers::new(&doubles, 0, 1);
    let other = Trainer::new(doubles, of_doubles.storage(), State::new(&plan_of_doubles));
    let saved = other.expect("a trainer").save(&mut bytes);
    assert_eq!(saved, Ok(bytes.len()));
    let mut buffers = Buffers::new(&sgd, 0, 1);
    let trainer = Trainer::new(sgd, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    refused(&mut trainer, TrainError::OtherTrainer, |t| t.load(&bytes));

    let faster = Plan::new(Settings::constant(0.02), &[]).expect("a plan");
    let bytes = saved_by(sgd, &faster);
    let before = snapshot(&trainer);
    match trainer.load(&bytes) {
        Err(TrainError::State(StateError::OtherPlan { part, .. })) => {
            assert_eq!(part, PlanPart::Rates);
        }
        other => panic!("another plan: {other:?}"),
    }
    assert!(snapshot(&trainer) == before);
    assert_eq!(trainer.load(&saved_by(sgd, &plan)), Ok(()));
}

#[test]
fn damaged_states_are_refused() {
    let heads = heads(true);
    let setup = Setup {
        heads: &heads,
        optimizer: Optimizer::adamw(),
        clip: None,
    };
    let plan = Plan::new(Settings::constant(0.01), &[]).expect("a plan");
    let bytes = saved_by(setup, &plan);
    let mut buffers = Buffers::new(&setup, 0, 1);
    let trainer = Trainer::new(setup, buffers.storage(), State::new(&plan));
    let mut trainer = trainer.expect("a trainer");
    for length in 0..bytes.len() {
        let before = snapshot(&trainer);
        match trainer.load(&bytes[..length]) {
            Err(TrainError::Decode(DecodeError::Truncated { .. }))
            | Err(TrainError::State(StateError::Decode(DecodeError::Truncated { .. }))) => {}
            other => panic!("{length} bytes: {other:?}"),
        }
        assert!(snapshot(&trainer) == before, "{length} bytes");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let before = snapshot(&trainer);
        let error = match trainer.load(&bytes) {
            Err(TrainError::Decode(e)) | Err(TrainError::State(StateError::Decode(e))) => e,
            other => panic!("byte {at}: {other:?}"),
        };
        let is_named = match at {
            0..4 => matches!(error, DecodeError::BadMagic { .. }),
            4..8 => matches!(error, DecodeError::Version { .. }),
            _ => true,
        };
        assert!(is_named, "byte {at}: {error}");
        assert!(snapshot(&trainer) == before, "byte {at}");
    }
    assert_eq!(trainer.load(&bytes), Ok(()));
    assert_eq!(trainer.updates(), 3);
}

#[test]
fn saving_needs_exactly_the_stated_bytes() {
    let heads = heads(true);
    for optimizer in optimizers::<f32>() {
        let setup = Setup {
            heads: &heads,
            optimizer,
            clip: None,
        };
        let plan = Plan::new(Settings::constant(0.01), &[]).expect("a plan");
        let mut buffers = Buffers::new(&setup, 0, 1);
        let trainer = Trainer::new(setup, buffers.storage(), State::new(&plan));
        let mut trainer = trainer.expect("a trainer");
        let need = setup.saved_len();
        let floats = setup.parameters_len() + setup.moments_len();
        assert_eq!(need, 16 + 4 + 8 + 4 * floats + State::<f32>::SAVED_LEN);
        assert_eq!(trainer.save(&mut vec![0; need]), Ok(need));
        for have in [0, 11, need - State::<f32>::SAVED_LEN, need - 1] {
            let mut bytes = vec![7; have];
            let want = TrainError::Encode(EncodeError::NoSpace { need, have });
            refused(&mut trainer, want, |trainer| trainer.save(&mut bytes));
            assert!(bytes.iter().all(|b| *b == 7), "nothing is half-written");
        }
    }
}

#[test]
fn a_buffer_is_named_in_words() {
    let error = TrainError::Storage {
        buffer: TrainBuffer::Input { head: 0 },
        need: 288,
        have: 240,
    };
    let text =
        "inputs of head 0, without rows outside of their table: 240 numbers where 288 are needed";
    assert_eq!(error.to_string(), text);
}
