//! Heads against the naive oracle and central differences, at every level.

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::convert::{cast, widen};
use rivergram_tests::oracle::head as oracle;
use rivergram_tests::precision::{CENTRAL_DIFFERENCE, DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// A head with numbers for everything that goes in.
#[derive(Clone)]
struct Case {
    head: Head,
    rows: usize,
    parameters: Vec<f64>,
    x: Vec<f64>,
    dy: Vec<f64>,
}

/// What forward and backward give.
struct Outcome {
    y: Vec<f64>,
    gradient: Vec<f64>,
}

impl Case {
    fn random(head: Head, rows: usize, random: &mut Random) -> Self {
        Case {
            head,
            rows,
            parameters: random.normals(1, head.parameters_len()).concat(),
            x: random.normals(rows, head.input).concat(),
            dy: random.normals(rows, head.output).concat(),
        }
    }

    fn name(&self) -> String {
        format!("{:?}, {} rows", self.head, self.rows)
    }

    fn oracle(&self) -> Outcome {
        let Case {
            head,
            parameters,
            x,
            dy,
            ..
        } = self;
        Outcome {
            y: oracle::forward(head, parameters, x),
            gradient: oracle::backward(head, parameters, x, dy),
        }
    }

    /// How much normalisation magnifies an error of the output: 1 over its smallest norm.
    fn condition(&self) -> f64 {
        let raw = Head {
            normalise: false,
            ..self.head
        };
        let z = oracle::forward(&raw, &self.parameters, &self.x);
        let norms = z.chunks(self.head.output).map(norm);
        let smallest = norms.fold(1.0, f64::min);
        if self.head.normalise && smallest > 0.0 {
            1.0 / smallest
        } else {
            1.0
        }
    }

    /// Whatever the buffers held before must not matter, but for the gradient, which grows.
    #[inline(always)]
    fn on<I: Isa>(&self, isa: I) -> Outcome {
        let (head, rows) = (self.head, self.rows);
        let dirt = |n: usize| vec![I::Scalar::constant(f64::NAN); n];
        let (parameters, x) = (cast(&self.parameters), cast(&self.x));
        let (mut y, mut cache) = (dirt(rows * head.output), dirt(head.cache_len(rows)));
        head.forward(isa, &parameters, &x, &mut y, &mut cache);
        let (mut dy, mut scratch) = (cast(&self.dy), dirt(head.scratch_len(rows)));
        let mut gradient = vec![I::Scalar::ONE; parameters.len()];
        head.backward(
            isa,
            &parameters,
            &x,
            &y,
            &cache,
            &mut dy,
            &mut gradient,
            &mut scratch,
        );
        Outcome {
            y: widen(&y),
            gradient: widen(&gradient).iter().map(|g| g - 1.0).collect(),
        }
    }

    fn on_level(&self, level: Level) -> Outcome {
        level.run(OnLevel(self))
    }
}

struct OnLevel<'a>(&'a Case);

impl Kernel<f32> for OnLevel<'_> {
    type Output = Outcome;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Outcome {
        self.0.on(isa)
    }
}

fn on_doubles(case: &Case) -> Outcome {
    case.on(One::<f64>::new())
}

/// Errors of y are measured against the largest, those of the gradient against its norm.
fn assert_outcome(what: &str, got: &Outcome, want: &Outcome, cap: f64) {
    let largest = want.y.iter().fold(1.0_f64, |most, y| most.max(y.abs()));
    assert_eq!(got.y.len(), want.y.len(), "{what}");
    for (got, want) in got.y.iter().zip(&want.y) {
        assert_close(&format!("{what}: y"), *got, *want, largest, cap);
    }
    let pairs = got.gradient.iter().zip(&want.gradient);
    let difference: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
    let scale = norm(&want.gradient).max(1.0);
    let what = format!("{what}: gradient");
    assert_close(&what, norm(&difference), 0.0, scale, cap);
}

fn heads() -> Vec<Head> {
    let mut heads = Vec::new();
    for input in [1, 3, 8, 13] {
        for hidden in [0, 1, 5, 16] {
            for output in [1, 2, 7, 8, 17] {
                for normalise in [false, true] {
                    heads.push(Head {
                        input,
                        hidden,
                        output,
                        normalise,
                    });
                }
            }
        }
    }
    heads
}

#[test]
fn heads_of_all_sizes_agree_with_the_oracle_at_every_level() {
    let mut random = Random::new(1);
    for head in heads() {
        for rows in [0, 1, 2, 5, 8] {
            let case = Case::random(head, rows, &mut random);
            let (name, want, condition) = (case.name(), case.oracle(), case.condition());
            assert_outcome(&name, &on_doubles(&case), &want, DOUBLE.head * condition);
            for level in Level::available() {
                let what = format!("{name}, {level}");
                assert_outcome(&what, &case.on_level(level), &want, SINGLE.head * condition);
            }
        }
    }
}

#[test]
fn a_level_runs_the_same_forward_pass() {
    let mut random = Random::new(2);
    for head in heads().into_iter().step_by(7) {
        let case = Case::random(head, 3, &mut random);
        for level in Level::available() {
            let mut y = vec![f32::NAN; 3 * head.output];
            let mut cache = vec![f32::NAN; head.cache_len(3)];
            let (parameters, x): (Vec<f32>, Vec<f32>) = (cast(&case.parameters), cast(&case.x));
            level.head(&head, &parameters, &x, &mut y, &mut cache);
            assert_eq!(
                widen(&y),
                case.on_level(level).y,
                "{}, {level}",
                case.name()
            );
        }
    }
}

/// The gradient of Σ dy·y.
#[test]
fn gradients_agree_with_central_differences() {
    let mut random = Random::new(3);
    for hidden in [0, 6] {
        for normalise in [false, true] {
            let head = Head {
                input: 5,
                hidden,
                output: 3,
                normalise,
            };
            let case = Case::random(head, 4, &mut random);
            let gradient = on_doubles(&case).gradient;
            let value = |at: usize, step: f64| -> f64 {
                let mut moved = case.clone();
                moved.parameters[at] += step;
                let y = on_doubles(&moved).y;
                y.iter().zip(&case.dy).map(|(y, dy)| y * dy).sum()
            };
            let step = 1e-5;
            for (at, g) in gradient.iter().enumerate() {
                let difference = (value(at, step) - value(at, -step)) / (2.0 * step);
                let what = format!("{}: parameter {at}", case.name());
                assert_close(&what, *g, difference, norm(&gradient), CENTRAL_DIFFERENCE);
            }
        }
    }
}

#[test]
fn a_zero_output_stays_zero_and_has_no_gradient() {
    let mut random = Random::new(4);
    for hidden in [0, 5] {
        let head = Head {
            input: 3,
            hidden,
            output: 4,
            normalise: true,
        };
        let mut case = Case::random(head, 3, &mut random);
        // Without weights and biases every output is zero.
        let last_layer = 4 * if hidden == 0 { 4 } else { hidden + 1 };
        let start = case.parameters.len() - last_layer;
        case.parameters[start..].fill(0.0);
        let mut outcomes = vec![on_doubles(&case)];
        outcomes.extend(Level::available().map(|level| case.on_level(level)));
        for Outcome { y, gradient } in outcomes {
            assert!(y.iter().chain(&gradient).all(|x| *x == 0.0), "{head:?}");
        }
    }
}

#[test]
fn one_zero_row_leaves_the_others_alone() {
    let head = Head {
        input: 2,
        hidden: 0,
        output: 2,
        normalise: true,
    };
    let mut case = Case::random(head, 3, &mut Random::new(5));
    case.parameters[4..].fill(0.0);
    case.x[2..4].fill(0.0);
    let want = case.oracle();
    assert_eq!(want.y[2..4], [0.0; 2]);
    assert_outcome("a zero row", &on_doubles(&case), &want, DOUBLE.short_head);
    for level in Level::available() {
        assert_outcome(
            "a zero row",
            &case.on_level(level),
            &want,
            SINGLE.short_head,
        );
    }
}

#[test]
fn what_is_no_number_is_not_hidden() {
    for hidden in [0, 5, 16] {
        for normalise in [false, true] {
            let head = Head {
                input: 3,
                hidden,
                output: 9,
                normalise,
            };
            let mut case = Case::random(head, 3, &mut Random::new(6));
            case.x[4] = f64::NAN;
            let mut ys = vec![on_doubles(&case).y];
            ys.extend(Level::available().map(|level| case.on_level(level).y));
            for y in ys {
                let bad: Vec<bool> = y.iter().map(|y| y.is_nan()).collect();
                let want = [[false; 9], [true; 9], [false; 9]].concat();
                assert_eq!(bad, want, "{}", case.name());
            }
        }
    }
}

/// Not a row of zeros, which counts as absent.
#[test]
fn a_norm_that_overflows_gives_nan() {
    let head = Head {
        input: 1,
        hidden: 0,
        output: 9,
        normalise: true,
    };
    let mut case = Case::random(head, 2, &mut Random::new(7));
    case.parameters[..9].fill(1.0);
    case.x = vec![1e30, 1.0];
    for level in Level::available() {
        let y = case.on_level(level).y;
        assert!(y[..9].iter().all(|y| y.is_nan()), "{level}: {y:?}");
        assert!(y[9..].iter().all(|y| y.is_finite()), "{level}: {y:?}");
    }
}

#[test]
fn initialisation_follows_the_parameters_with_the_bound_of_each_layer() {
    let head = Head {
        input: 4,
        hidden: 0,
        output: 3,
        normalise: false,
    };
    let fill = |head: Head, n: usize| {
        let (mut calls, mut parameters) = (Vec::new(), vec![-1.0; n]);
        head.initialise(&mut parameters, |bound: f64| {
            calls.push(bound);
            calls.len() as f64
        });
        (parameters, calls)
    };
    let in_order = |n: usize| -> Vec<f64> { (1..=n).map(|i| i as f64).collect() };
    assert_eq!(fill(head, 15), (in_order(15), vec![0.5; 15]));

    let head = Head { hidden: 16, ..head };
    let bounds = [vec![0.5; 16 * 5], vec![0.25; 3 * 17]].concat();
    assert_eq!(fill(head, 131), (in_order(131), bounds));
    assert_eq!(fill(head, 16 * 5 - 1), (vec![-1.0; 16 * 5 - 1], vec![]));
}

#[test]
fn lengths_are_those_of_the_layers() {
    let linear = Head {
        input: 4,
        hidden: 0,
        output: 3,
        normalise: true,
    };
    let deep = Head {
        hidden: 7,
        ..linear
    };
    assert_eq!(linear.parameters_len(), 3 * 4 + 3);
    assert_eq!(deep.parameters_len(), 7 * 4 + 7 + 3 * 7 + 3);
    assert_eq!([linear.cache_len(5), deep.cache_len(5)], [5, 5 + 5 * 7]);
    assert_eq!([linear.scratch_len(5), deep.scratch_len(5)], [0, 5 * 7]);
    let huge = Head {
        input: usize::MAX,
        hidden: usize::MAX,
        output: usize::MAX,
        normalise: false,
    };
    assert_eq!(huge.parameters_len(), usize::MAX);
    assert_eq!(huge.cache_len(2), usize::MAX);
    assert_eq!(huge.scratch_len(2), usize::MAX);
}

#[test]
fn an_empty_head_is_refused() {
    let head = Head {
        input: 4,
        hidden: 0,
        output: 3,
        normalise: true,
    };
    assert_eq!(head.check(2), Ok(()));
    let refused = Err(TrainError::EmptyHead { head: 2 });
    assert_eq!(Head { input: 0, ..head }.check(2), refused);
    assert_eq!(Head { output: 0, ..head }.check(2), refused);
}

#[test]
fn buffers_of_other_lengths_do_no_harm() {
    let mut random = Random::new(8);
    for _ in 0..2000 {
        let head = Head {
            input: random.below(6),
            hidden: random.below(6),
            output: random.below(6),
            normalise: random.below(2) == 0,
        };
        let mut some = || vec![1.0_f32; random.below(60)];
        let (parameters, x) = (some(), some());
        let (mut y, mut cache, mut dy) = (some(), some(), some());
        let (mut gradient, mut scratch) = (some(), some());
        let isa = One::<f32>::new();
        head.forward(isa, &parameters, &x, &mut y, &mut cache);
        head.backward(
            isa,
            &parameters,
            &x,
            &y,
            &cache,
            &mut dy,
            &mut gradient,
            &mut scratch,
        );
    }
}
