//! Optimizers against PyTorch's numbers and the naive oracle, at every level.

use rivergram_core::error::TrainError;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_core::optim::{Optimizer, clip};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::convert::cast;
use rivergram_tests::oracle::optim::Parameter;
use rivergram_tests::precision::{DECAY, DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// Lengths around the widths of vectors.
const LENGTHS: [usize; 8] = [0, 1, 3, 4, 7, 8, 17, 100];

/// The optimizer with each of its numbers converted.
fn map<T, U>(of: Optimizer<T>, number: impl Fn(T) -> U) -> Optimizer<U> {
    match of {
        Optimizer::Sgd {
            momentum,
            weight_decay,
        } => Optimizer::Sgd {
            momentum: number(momentum),
            weight_decay: number(weight_decay),
        },
        Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } => Optimizer::AdamW {
            beta1: number(beta1),
            beta2: number(beta2),
            epsilon: number(epsilon),
            weight_decay: number(weight_decay),
        },
        Optimizer::Lion {
            beta1,
            beta2,
            weight_decay,
        } => Optimizer::Lion {
            beta1: number(beta1),
            beta2: number(beta2),
            weight_decay: number(weight_decay),
        },
    }
}

/// Its numbers rounded to `T`: what the oracle is to be given.
fn rounded<T: Real>(of: Optimizer<f64>) -> Optimizer<f64> {
    map(of, |x| T::constant(x).to_f64())
}

fn all() -> [Optimizer<f64>; 10] {
    let sgd = |momentum, weight_decay| Optimizer::Sgd {
        momentum,
        weight_decay,
    };
    let adamw = |beta1, beta2, epsilon, weight_decay| Optimizer::AdamW {
        beta1,
        beta2,
        epsilon,
        weight_decay,
    };
    let lion = |beta1, beta2, weight_decay| Optimizer::Lion {
        beta1,
        beta2,
        weight_decay,
    };
    [
        sgd(0.0, 0.0),
        sgd(0.0, 0.01),
        sgd(0.9, 0.0),
        sgd(0.9, 0.01),
        adamw(0.9, 0.999, 1e-8, 0.01),
        adamw(0.0, 0.75, 1e-3, 0.0),
        adamw(0.5, 0.0, 1e-6, 0.1),
        lion(0.9, 0.99, 0.0),
        lion(0.9, 0.99, 0.1),
        lion(0.0, 0.0, 0.01),
    ]
}

/// A run of updates with gradients that do not depend on the parameters.
#[derive(Clone)]
struct Run {
    optimizer: Optimizer<f64>,
    lr: f64,
    start: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

impl Run {
    fn random(optimizer: Optimizer<f64>, n: usize, updates: usize) -> Self {
        let mut random = Random::new(n as u64);
        let mut run = Run {
            optimizer,
            lr: f64::from(0.01_f32),
            start: random.normals(1, n).concat(),
            gradients: random.normals(updates, n),
        };
        run.keep_signs_clear();
        run
    }

    /// Moves each gradient whose interpolation with Lion's momentum is so close to 0 that rounding would choose the
    /// sign.
    fn keep_signs_clear(&mut self) {
        let Optimizer::Lion { beta1, .. } = self.optimizer else {
            return;
        };
        let mut moments = vec![Parameter::default(); self.start.len()];
        for gradient in &mut self.gradients {
            for (moment, g) in moments.iter_mut().zip(gradient) {
                while (beta1 * moment.first + (1.0 - beta1) * *g).abs() < 1e-4 {
                    *g += 0.125;
                }
                moment.update(self.optimizer, 0.0, 1, *g);
            }
        }
    }

    fn oracle<T: Real>(&self) -> Vec<f64> {
        let optimizer = rounded::<T>(self.optimizer);
        let values = self.start.iter().map(|value| Parameter {
            value: *value,
            ..Parameter::default()
        });
        let mut parameters: Vec<Parameter> = values.collect();
        for (t, gradient) in (1..).zip(&self.gradients) {
            for (parameter, g) in parameters.iter_mut().zip(gradient) {
                parameter.update(optimizer, self.lr, t, *g);
            }
        }
        parameters.iter().map(|p| p.value).collect()
    }

    #[inline(always)]
    fn on<I: Isa>(&self, isa: I) -> Vec<I::Scalar> {
        let rule = map(self.optimizer, I::Scalar::constant);
        let mut w = cast(&self.start);
        let mut state = vec![I::Scalar::ZERO; rule.state_len(w.len())];
        for (t, gradient) in (1..).zip(&self.gradients) {
            let lr = I::Scalar::constant(self.lr);
            rule.update(isa, lr, t, &mut w, &cast(gradient), &mut state);
        }
        w
    }
}

struct OnLevel<'a>(&'a Run);

impl Kernel<f32> for OnLevel<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Vec<f32> {
        self.0.on(isa)
    }
}

fn assert_run<T: Real>(what: &str, got: &[T], want: &[f64], cap: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0.0_f64, |most, w| most.max(w.abs()));
    for (got, want) in got.iter().zip(want) {
        assert_close(what, got.to_f64(), *want, scale, cap);
    }
}

#[test]
fn hundreds_of_updates_agree_with_the_oracle_at_every_level() {
    for optimizer in all() {
        for n in LENGTHS {
            let run = Run::random(optimizer, n, 400);
            let what = format!("{optimizer:?}, {n} parameters");
            assert_run(
                &what,
                &run.on(One::<f64>::new()),
                &run.oracle::<f64>(),
                DOUBLE.run,
            );
            let want = run.oracle::<f32>();
            for level in Level::available() {
                let got = level.run(OnLevel(&run));
                assert_run(&format!("{what}, {level}"), &got, &want, SINGLE.run);
            }
        }
    }
}

/// Five updates of w = (1, −0.5, 0.25) with the gradients (0.1·t, −0.02·t², 0.3/t). The numbers are those of
/// PyTorch 2.15 in double precision: torch.optim.SGD(lr, momentum, weight_decay) and
/// torch.optim.AdamW(lr, betas, eps, weight_decay).
#[test]
fn five_updates_agree_with_pytorch() {
    let [plain, _, _, momentum, adamw, ..] = all();
    assert_eq!(adamw, Optimizer::adamw(), "PyTorch's defaults");
    let plain = match plain {
        Optimizer::Sgd { momentum, .. } => Optimizer::Sgd {
            momentum,
            weight_decay: 0.01,
        },
        other => other,
    };
    let other = Optimizer::AdamW {
        beta1: 0.5,
        beta2: 0.75,
        epsilon: 1e-3,
        weight_decay: 0.1,
    };
    for (optimizer, lr, want) in [
        (
            plain,
            0.1,
            [
                0.8452098400649889,
                -0.38760494101849746,
                0.18044476263621972,
            ],
        ),
        (
            momentum,
            0.1,
            [0.670361906844589, -0.29836813067749746, 0.02562928603011975],
        ),
        (
            adamw,
            0.01,
            [0.9510015641363846, -0.4548255455607436, 0.2058697812259571],
        ),
        (
            other,
            0.05,
            [0.7181150730004767, -0.23743653633752004, 0.0472098821605093],
        ),
    ] {
        let run = Run {
            optimizer,
            lr,
            start: vec![1.0, -0.5, 0.25],
            gradients: (1..=5)
                .map(f64::from)
                .map(|t| vec![0.1 * t, -0.02 * t * t, 0.3 / t])
                .collect(),
        };
        let what = format!("{optimizer:?}");
        assert_run(&what, &run.on(One::<f64>::new()), &want, DOUBLE.update);
        assert_run(&what, &run.on(One::<f32>::new()), &want, SINGLE.update);
    }
}

/// One update from moments that stand still, so that only the bias corrections matter.
fn late_update<T: Real>(beta1: f64, beta2: f64, t: u64) -> (f64, f64) {
    let rule = Optimizer::AdamW {
        beta1: T::constant(beta1),
        beta2: T::constant(beta2),
        epsilon: T::constant(1e-8),
        weight_decay: T::ZERO,
    };
    let mut w = [T::ZERO];
    let mut state = [T::constant(0.5), T::constant(0.25)];
    let gradient = [T::constant(0.5)];
    rule.update(One::<T>::new(), T::ONE, t, &mut w, &gradient, &mut state);
    // exp(t·ln β), which is exact enough where β is given exactly.
    let correction = |beta: f64| -(t as f64 * T::constant(beta).to_f64().ln()).exp_m1();
    let want = -0.5 / correction(beta1) / (0.5 / correction(beta2).sqrt() + 1e-8);
    (w[0].to_f64(), want)
}

#[test]
fn bias_corrections_hold_at_any_count() {
    // 1 − 2⁻²⁴ is the largest f32 below 1: its powers reach 1/e only at 2²⁴.
    for beta2 in [0.999, 1.0 - 2.0_f64.powi(-20), 1.0 - 2.0_f64.powi(-24)] {
        for beta1 in [0.0, 0.9, 0.999] {
            for t in [1, 2, 1000, 1 << 24, 1_000_000_000, 1 << 63, u64::MAX] {
                let what = format!("β = {beta1}, {beta2}, t = {t}");
                let (got, want) = late_update::<f64>(beta1, beta2, t);
                assert_close(&what, got, want, want.abs(), DOUBLE.late_update);
                let (got, want) = late_update::<f32>(beta1, beta2, t);
                assert_close(&what, got, want, want.abs(), SINGLE.late_update);
            }
        }
    }
}

#[test]
fn state_is_as_long_as_the_rule_needs() {
    let lengths = all().map(|optimizer| optimizer.state_len(10));
    assert_eq!(lengths, [0, 0, 10, 10, 20, 20, 20, 10, 10, 10]);
    assert_eq!(Optimizer::<f32>::adamw().state_len(usize::MAX), usize::MAX);
    assert_eq!(Optimizer::<f32>::sgd().state_len(usize::MAX), 0);
}

#[test]
fn a_parameter_without_gradient_only_decays() {
    for optimizer in all() {
        let run = Run {
            optimizer,
            lr: 0.5,
            start: vec![2.0],
            gradients: vec![vec![0.0]; 1],
        };
        let decay = match optimizer {
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::AdamW { weight_decay, .. }
            | Optimizer::Lion { weight_decay, .. } => weight_decay,
        };
        let got = run.on(One::<f64>::new());
        assert_close(&format!("{optimizer:?}"), got[0], 2.0 - decay, 2.0, DECAY);
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    for optimizer in all() {
        assert_eq!(optimizer.check(), Ok(()), "{optimizer:?}");
    }
    let bad = |x: f64| {
        let Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = Optimizer::<f64>::adamw()
        else {
            unreachable!("AdamW")
        };
        let sgd = |momentum, weight_decay| Optimizer::Sgd {
            momentum,
            weight_decay,
        };
        let adamw = |beta1, beta2, epsilon, weight_decay| Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        };
        let lion = |beta1, beta2, weight_decay| Optimizer::Lion {
            beta1,
            beta2,
            weight_decay,
        };
        [
            sgd(x, 0.0),
            sgd(0.5, x),
            adamw(x, beta2, epsilon, weight_decay),
            adamw(beta1, x, epsilon, weight_decay),
            adamw(beta1, beta2, x, weight_decay),
            adamw(beta1, beta2, epsilon, x),
            lion(x, 0.99, 0.0),
            lion(0.9, x, 0.0),
            lion(0.9, 0.99, x),
        ]
    };
    for x in [f64::NAN, f64::INFINITY, -0.1] {
        for optimizer in bad(x) {
            let got = optimizer.check();
            assert_eq!(got, Err(TrainError::Optimizer), "{optimizer:?}");
        }
    }
    // A share of 1 never forgets; with ε = 0 a parameter without gradient divides 0 by 0.
    let verdicts = |x| bad(x).map(|optimizer| optimizer.check().is_ok());
    let of_one = [false, true, false, false, true, true, false, false, true];
    assert_eq!(verdicts(1.0), of_one);
    let of_zero = [true, true, true, true, false, true, true, true, true];
    assert_eq!(verdicts(0.0), of_zero);
}

/// By hand, with numbers that are exact in binary: β = (½, ¼), λ = ½, lr = ¼.
/// Update 1: c = ½·g, so u = sign(g); m = ¾·g. Update 2 has −g/4: c = ⅜g − ⅛g > 0, so the direction stays, and
/// m = 3/16·g − 3/16·g = 0. Update 3 has no gradient: c = 0 and u = 0.
fn lion_by_hand<T: Real>() {
    let number = T::constant;
    let rule = Optimizer::Lion {
        beta1: number(0.5),
        beta2: number(0.25),
        weight_decay: number(0.5),
    };
    let mut w: Vec<T> = cast(&[1.0, -2.0, 4.0]);
    let mut m = vec![T::ZERO; 3];
    for (t, scale, w_want, m_want) in [
        (1, 1.0, [0.625, -1.5, 3.5], [6.0, -0.75, 0.0]),
        (2, -0.25, [0.296875, -1.0625, 3.0625], [0.0, 0.0, 0.0]),
        (3, 0.0, [0.259765625, -0.9296875, 2.6796875], [0.0; 3]),
    ] {
        let g: Vec<T> = cast(&[8.0 * scale, -scale, 0.0]);
        rule.update(One::<T>::new(), number(0.25), t, &mut w, &g, &mut m);
        assert_eq!((w.clone(), m.clone()), (cast(&w_want), cast(&m_want)));
    }
}

#[test]
fn lion_moves_by_the_sign() {
    lion_by_hand::<f32>();
    lion_by_hand::<f64>();
    assert_eq!(Optimizer::lion(), all()[7], "the paper's defaults");
}

/// The parameters and the state after one update.
struct OneUpdate<'a> {
    rule: Optimizer<f32>,
    lr: f32,
    gradient: &'a [f32],
}

impl Kernel<f32> for OneUpdate<'_> {
    type Output = (Vec<f32>, Vec<f32>);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let mut w = vec![2.0; self.gradient.len()];
        let mut state = vec![0.0; self.rule.state_len(w.len())];
        self.rule
            .update(isa, self.lr, 1, &mut w, self.gradient, &mut state);
        (w, state)
    }
}

#[test]
fn without_a_rate_only_the_state_moves() {
    let gradient: Vec<f32> = cast(&Random::new(5).normals(1, 19).concat());
    for (rule, level) in all()
        .iter()
        .flat_map(|rule| Level::available().map(move |l| (*rule, l)))
    {
        let rule = map(rule, f32::constant);
        let (w, state) = level.run(OneUpdate {
            rule,
            lr: 0.0,
            gradient: &gradient,
        });
        assert_eq!(w, [2.0; 19], "{rule:?}, {level}");
        assert!(state.iter().all(|s| *s != 0.0), "{rule:?}, {level}");
    }
}

/// A NaN reaches its own parameter and state, and nothing else.
#[test]
fn a_nan_stays_with_its_parameter() {
    for (rule, level) in all()
        .iter()
        .flat_map(|rule| Level::available().map(move |l| (*rule, l)))
    {
        let rule = map(rule, f32::constant);
        for n in [1, 7, 19] {
            for bad in 0..n {
                let mut gradient = vec![1.0; n];
                gradient[bad] = f32::NAN;
                let (w, state) = level.run(OneUpdate {
                    rule,
                    lr: 0.1,
                    gradient: &gradient,
                });
                for (at, w) in w.iter().enumerate() {
                    assert_eq!(w.is_nan(), at == bad, "{rule:?}, {level}, {at} of {n}");
                }
                for (at, s) in state.iter().enumerate() {
                    assert_eq!(s.is_nan(), at % n == bad, "{rule:?}, {level}, {at} of {n}");
                }
            }
        }
    }
}

fn clipped<T: Real>(limit: f64, gradient: &[f64]) -> (f64, Vec<f64>) {
    let mut g: Vec<T> = cast(gradient);
    let norm = clip(One::<T>::new(), T::constant(limit), &mut g);
    (norm.to_f64(), g.iter().map(|x| x.to_f64()).collect())
}

fn clipping<T: Real>(cap: f64) {
    let gradient = [3.0, 4.0, 12.0];
    for limit in [13.0, 13.5, f64::INFINITY] {
        assert_eq!(clipped::<T>(limit, &gradient), (13.0, gradient.to_vec()));
    }
    let (norm, scaled) = clipped::<T>(2.0, &gradient);
    assert_eq!(norm, 13.0);
    for (got, g) in scaled.iter().zip(gradient) {
        assert_close("clipped", *got, g * 2.0 / 13.0, 2.0, cap);
    }
    assert_eq!(clipped::<T>(0.0, &gradient), (13.0, vec![0.0; 3]));
    assert_eq!(clipped::<T>(1.0, &[0.0, 0.0]), (0.0, vec![0.0; 2]));
    assert_eq!(clipped::<T>(1.0, &[]), (0.0, vec![]));

    let (norm, kept) = clipped::<T>(1.0, &[1.0, f64::NAN]);
    assert!(norm.is_nan() && kept[0] == 1.0 && kept[1].is_nan());
    let infinite = vec![1.0, f64::NEG_INFINITY];
    assert_eq!(clipped::<T>(1.0, &infinite), (f64::INFINITY, infinite));
    // Finite, but its square is not.
    let large = vec![T::MAX.to_f64(), 1.0];
    assert_eq!(clipped::<T>(1.0, &large), (f64::INFINITY, large));
}

#[test]
fn clipping_scales_down_and_never_up() {
    clipping::<f32>(SINGLE.clip);
    clipping::<f64>(DOUBLE.clip);
}

struct Clip<'a>(f32, &'a mut [f32]);

impl Kernel<f32> for Clip<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
        clip(isa, self.0, self.1)
    }
}

#[test]
fn clipping_is_the_same_at_every_level() {
    for n in LENGTHS {
        let gradient = Random::new(7).normals(1, n).concat();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        for level in Level::available() {
            let mut g: Vec<f32> = cast(&gradient);
            let got = level.run(Clip(0.5, &mut g));
            assert_close("norm", f64::from(got), norm, norm, SINGLE.clip);
            for (got, g) in g.iter().zip(&gradient) {
                let want = if norm > 0.5 { g * 0.5 / norm } else { *g };
                assert_close("clipped", f64::from(*got), want, 0.5, SINGLE.clip);
            }
        }
    }
}
