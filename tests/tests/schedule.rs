//! Schedules against the golden files, as a pure function and as a state that walks the plan.

use rivergram_core::lanes::Real;
use rivergram_core::schedule::{
    Area, Branches, Decay, DecayEdge, Phase, Plan, Settings, Shape, State, WarmupEdge,
};
use rivergram_tests::golden;
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use serde::Deserialize;

#[derive(Deserialize)]
struct File<C> {
    cases: Vec<C>,
}

fn cases<C: serde::de::DeserializeOwned>(name: &str) -> Vec<C> {
    let file: File<C> = golden::read(&format!("schedule/{name}.json"));
    assert!(!file.cases.is_empty(), "{name}: no cases");
    file.cases
}

/// Compares one rate: relative, or to the peak where it is 0. Returns the error in that scale.
#[track_caller]
fn check<T: Real>(what: &str, got: T, want: f64, peak: f64) -> f64 {
    let cap = if size_of::<T>() == 4 {
        SINGLE.schedule
    } else {
        DOUBLE.schedule
    };
    let scale = if want == 0.0 { peak } else { want };
    assert_close(what, got.to_f64(), want, scale, cap);
    (got.to_f64() - want).abs() / scale
}

/// Compares `plan`, and the state that walks it, with a list of rates from step 0 on.
#[track_caller]
fn check_plan<T: Real>(what: &str, plan: &Plan<T>, want: &[f64], peak: f64) -> f64 {
    let mut state = State::new(plan);
    let mut worst: f64 = 0.0;
    for (t, want) in want.iter().enumerate() {
        let rate = plan.lr_at(t as u64);
        worst = worst.max(check(&format!("{what}, step {t}"), rate, *want, peak));
        assert_eq!(state.advance(), rate, "{what}: the state at step {t}");
    }
    worst
}

fn report<T>(what: &str, worst: f64) {
    println!(
        "{what}: worst error {worst:.2e}, {} bits",
        8 * size_of::<T>()
    );
}

#[derive(Deserialize)]
struct ShapeName {
    kind: String,
    power: Option<String>,
    half_lives: Option<String>,
}

impl ShapeName {
    fn shape<T: Real>(&self) -> Shape<T> {
        let number = |text: &Option<String>| {
            let text = text.as_ref().expect("a parameter");
            T::constant(text.parse().expect("a number"))
        };
        match self.kind.as_str() {
            "linear" => Shape::Linear,
            "cosine" => Shape::Cosine,
            "one_minus_sqrt" => Shape::OneMinusSqrt,
            "one_minus_square" => Shape::OneMinusSquare,
            "polynomial" => Shape::Polynomial {
                power: number(&self.power),
            },
            "exponential" => Shape::Geometric,
            "half_life" => Shape::HalfLife {
                half_lives: number(&self.half_lives),
            },
            "megatron_exp" => Shape::Exponential,
            "inv_prop" => Shape::InverseProportional,
            "inv_sqrt_lr" => Shape::InverseSqrt,
            other => panic!("unknown shape {other}"),
        }
    }
}

#[derive(Deserialize)]
struct ShapeCase {
    #[serde(flatten)]
    name: ShapeName,
    peak: f64,
    floor: f64,
    floor_ratio: f64,
    p: Vec<f64>,
    lr: Vec<f64>,
}

fn shapes<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<ShapeCase>("shapes") {
        let (peak, floor) = (T::constant(case.peak), T::constant(case.floor));
        let ratio = case.floor / case.peak;
        assert_close("floor/peak", ratio, case.floor_ratio, 1.0, DOUBLE.schedule);
        let shape = case.name.shape::<T>();
        // Progress as a fraction of integers: of the number of intervals, or else of 2⁵³.
        let intervals = case.p.len() as f64 - 1.0;
        for (p, want) in case.p.iter().zip(&case.lr) {
            let even = (p * intervals).fract() == 0.0;
            let length = if even { intervals } else { 2_f64.powi(53) };
            let rate = shape.rate((p * length) as u64, length as u64, peak, floor);
            let what = format!("{shape:?} from {} to {}, p {p}", case.peak, case.floor);
            worst = worst.max(check(&what, rate, *want, case.peak));
        }
    }
    report::<T>("shapes", worst);
}

#[test]
fn golden_shapes_f64() {
    shapes::<f64>();
}

#[test]
fn golden_shapes_f32() {
    shapes::<f32>();
}

#[derive(Deserialize)]
struct WsdCase {
    #[serde(flatten)]
    name: ShapeName,
    warmup: u64,
    stable: u64,
    decay: u64,
    peak: f64,
    floor: f64,
    init: f64,
    warmup_conv: String,
    decay_conv: String,
    lr: Vec<f64>,
    #[serde(default)]
    area: Vec<f64>,
    #[serde(default)]
    anneal_area_0999: Vec<f64>,
}

/// The areas after each step, streamed and as a pure function over a range. The scale of the annealing
/// area is what it adds up: how far each rate lies from the first.
fn check_areas<T: Real>(plan: &Plan<T>, case: &WsdCase) -> f64 {
    let forget = T::constant(0.001);
    let (mut state, mut area) = (State::new(plan), Area::new(forget));
    let (mut moved, mut worst): (f64, f64) = (0.0, 0.0);
    for (t, (sum, annealing)) in case.area.iter().zip(&case.anneal_area_0999).enumerate() {
        area.add(state.advance());
        assert_eq!(plan.area(0..state.step(), forget), area);
        moved += (case.lr[0] - case.lr[t]).abs();
        let what = format!("the area after step {t}");
        worst = worst.max(check(&what, area.sum(), *sum, case.peak));
        let scale = moved.max(case.peak);
        let cap = if size_of::<T>() == 4 {
            SINGLE.schedule
        } else {
            DOUBLE.schedule
        };
        let what = format!("the annealing area after step {t}");
        assert_close(&what, area.annealing().to_f64(), *annealing, scale, cap);
        worst = worst.max((area.annealing().to_f64() - annealing).abs() / scale);
    }
    worst
}

fn wsd<T: Real>() {
    let (mut worst, mut worst_area, mut areas): (f64, f64, usize) = (0.0, 0.0, 0);
    for case in cases::<WsdCase>("wsd") {
        let settings = Settings {
            init: T::constant(case.init),
            warmup: case.warmup,
            warmup_edge: match case.warmup_conv.as_str() {
                "zero" => WarmupEdge::Zero,
                "one" => WarmupEdge::One,
                "np1" => WarmupEdge::NPlusOne,
                other => panic!("unknown edge {other}"),
            },
            shape: case.name.shape(),
            decay: Decay::Steps(case.decay),
            decay_edge: match case.decay_conv.as_str() {
                "reach_after" => DecayEdge::ReachAfter,
                "reach_last" => DecayEdge::ReachLast,
                other => panic!("unknown edge {other}"),
            },
            ..Settings::wsd_s(T::constant(case.peak), T::constant(case.floor))
        };
        let budgets = [case.warmup + case.stable + case.decay];
        let plan = Plan::new(settings, &budgets).expect("a plan");
        worst = worst.max(check_plan(&case.name.kind, &plan, &case.lr, case.peak));
        worst_area = worst_area.max(check_areas(&plan, &case));
        areas += case.area.len();
    }
    assert!(areas > 0, "no area in the file");
    report::<T>("wsd", worst);
    report::<T>("areas of wsd", worst_area);
}

#[test]
fn golden_wsd_f64() {
    wsd::<f64>();
}

#[test]
fn golden_wsd_f32() {
    wsd::<f32>();
}

#[derive(Deserialize)]
struct WsdSCase {
    #[serde(flatten)]
    name: ShapeName,
    budgets: Vec<u64>,
    decay_fraction: f64,
    decay_basis: String,
    rewarmup: u64,
    warmup: u64,
    segments: Vec<(u64, u64, u64)>,
    peak: f64,
    floor: f64,
    lr: Vec<f64>,
}

fn wsd_s<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<WsdSCase>("wsd_s") {
        let millionths = (case.decay_fraction * 1e6).round() as u32;
        let settings = Settings {
            warmup: case.warmup,
            rewarmup: case.rewarmup,
            shape: case.name.shape(),
            decay: match case.decay_basis.as_str() {
                "total" => Decay::OfTotal(millionths),
                "segment" => Decay::OfSegment(millionths),
                other => panic!("unknown basis {other}"),
            },
            ..Settings::wsd_s(T::constant(case.peak), T::constant(case.floor))
        };
        let plan = Plan::new(settings, &case.budgets).expect("a plan");
        let spans: Vec<(u64, u64)> = plan.decays().map(|d| (d.start, d.end)).collect();
        let want: Vec<(u64, u64)> = case.segments.iter().map(|s| (s.1, s.2)).collect();
        assert_eq!(spans, want, "decays of {:?}", case.budgets);
        let what = format!("{} over {:?}", case.name.kind, case.budgets);
        worst = worst.max(check_plan(&what, &plan, &case.lr, case.peak));
    }
    report::<T>("wsd_s", worst);
}

#[test]
fn golden_wsd_s_f64() {
    wsd_s::<f64>();
}

#[test]
fn golden_wsd_s_f32() {
    wsd_s::<f32>();
}

#[derive(Deserialize)]
struct Branch {
    branch_from: u64,
    end: u64,
    lr: Vec<f64>,
}

#[derive(Deserialize)]
struct BranchesCase {
    budgets: Vec<u64>,
    peak: f64,
    floor: f64,
    warmup: u64,
    branches: Vec<Branch>,
    total_steps_all: u64,
    wsd_s_total_steps: u64,
}

fn wsd_branches<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<BranchesCase>("wsd_branches") {
        let settings = Settings {
            warmup: case.warmup,
            ..Settings::wsd_s(T::constant(case.peak), T::constant(case.floor))
        };
        let wsd = Branches::new(settings, &case.budgets).expect("branches");
        assert_eq!(wsd.cost(), case.total_steps_all);
        assert_eq!(wsd.main().total(), Some(case.wsd_s_total_steps));
        assert_eq!(case.branches.len(), case.budgets.len());
        for (i, want) in case.branches.iter().enumerate() {
            assert_eq!(wsd.start(i), Some(want.branch_from));
            let branch = wsd.branch(i).expect("a branch");
            assert_eq!(branch.total(), Some(want.end));
            let mut state = State::at(&branch, want.branch_from);
            for (k, lr) in want.lr.iter().enumerate() {
                let what = format!("branch {i}, step {k}");
                let rate = branch.lr_at(want.branch_from + k as u64);
                worst = worst.max(check(&what, rate, *lr, case.peak));
                assert_eq!(state.advance(), rate, "{what}");
            }
        }
        for t in case.warmup..case.wsd_s_total_steps {
            check("the main branch", wsd.main().lr_at(t), case.peak, case.peak);
        }
    }
    report::<T>("wsd_branches", worst);
}

#[test]
fn golden_wsd_branches_f64() {
    wsd_branches::<f64>();
}

#[test]
fn golden_wsd_branches_f32() {
    wsd_branches::<f32>();
}

#[derive(Deserialize)]
struct BaselineCase {
    name: String,
    warmup: u64,
    #[serde(default)]
    rewarmup: u64,
    total: Option<u64>,
    budgets: Option<Vec<u64>>,
    peak: f64,
    floor: f64,
    lr: Vec<f64>,
}

fn baselines<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<BaselineCase>("baselines") {
        let (peak, floor) = (T::constant(case.peak), T::constant(case.floor));
        let mut budgets = case
            .budgets
            .unwrap_or_else(|| case.total.into_iter().collect());
        let settings = match case.name.as_str() {
            "cosine" | "cyclic_cosine" => Settings::cosine(peak, floor),
            "linear" => Settings::linear(peak, floor),
            "constant" => Settings::constant(peak),
            "inv_sqrt" => {
                budgets.clear();
                Settings::inverse_sqrt(peak, floor)
            }
            other => panic!("unknown baseline {other}"),
        };
        let settings = Settings {
            warmup: case.warmup,
            rewarmup: case.rewarmup,
            ..settings
        };
        let plan = Plan::new(settings, &budgets).expect("a plan");
        worst = worst.max(check_plan(&case.name, &plan, &case.lr, case.peak));
    }
    report::<T>("baselines", worst);
}

#[test]
fn golden_baselines_f64() {
    baselines::<f64>();
}

#[test]
fn golden_baselines_f32() {
    baselines::<f32>();
}

#[derive(Deserialize)]
struct TokensCase {
    #[serde(flatten)]
    name: ShapeName,
    batch_tokens: Vec<u64>,
    warmup_tokens: u64,
    decay_start_tokens: u64,
    end_tokens: u64,
    peak: f64,
    floor: f64,
    lr: Vec<f64>,
}

fn tokens<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<TokensCase>("tokens") {
        let settings = Settings {
            warmup: case.warmup_tokens,
            shape: case.name.shape(),
            decay: Decay::Steps(case.end_tokens - case.decay_start_tokens),
            ..Settings::wsd_s(T::constant(case.peak), T::constant(case.floor))
        };
        let budgets = [case.end_tokens];
        let plan = Plan::new(settings, &budgets).expect("a plan");
        let mut state = State::new(&plan);
        for (update, (units, want)) in case.batch_tokens.iter().zip(&case.lr).enumerate() {
            let rate = state.advance_by(*units);
            worst = worst.max(check(&format!("update {update}"), rate, *want, case.peak));
        }
        assert_eq!(state.step(), case.batch_tokens.iter().sum::<u64>());
    }
    report::<T>("tokens", worst);
}

#[test]
fn golden_tokens_f64() {
    tokens::<f64>();
}

#[test]
fn golden_tokens_f32() {
    tokens::<f32>();
}

/// One thing that happens: a decay of a length, or of a share of what was seen, or its end.
#[derive(Deserialize)]
struct Event {
    at: Option<u64>,
    decay: Option<u64>,
    decay_fraction_of_seen: Option<f64>,
    cancel_at: Option<u64>,
}

#[derive(Deserialize)]
struct OnDemandCase {
    #[serde(flatten)]
    name: ShapeName,
    events: Vec<Event>,
    /// Start, start of the decay, end.
    #[serde(default)]
    segments: Vec<(u64, u64, u64)>,
    /// The rate after the last decay, where there is no other.
    after: Option<String>,
    warmup: u64,
    peak: f64,
    floor: f64,
    lr: Vec<f64>,
}

fn on_demand<T: Real>() {
    let mut worst: f64 = 0.0;
    for case in cases::<OnDemandCase>("on_demand") {
        let settings = Settings {
            warmup: case.warmup,
            shape: case.name.shape(),
            ..Settings::wsd_s(T::constant(case.peak), T::constant(case.floor))
        };
        let plan = Plan::new(settings, &[]).expect("a plan");
        let mut state = State::new(&plan);
        for (t, want) in case.lr.iter().enumerate() {
            let now = Some(t as u64);
            for event in &case.events {
                if event.cancel_at == now {
                    assert!(state.cancel_decay());
                }
                if event.at == now {
                    if let Some(length) = event.decay {
                        assert!(state.request_decay(length));
                    }
                    if let Some(fraction) = event.decay_fraction_of_seen {
                        assert!(state.request_decay_of_seen((fraction * 1e6).round() as u32));
                    }
                }
            }
            let what = format!("{}, step {t}", case.name.kind);
            for (_, start, end) in &case.segments {
                let decays = (start..end).contains(&&(t as u64));
                let left = decays.then(|| end - t as u64);
                assert!(!decays || state.remaining() == left, "{what}: the end");
                assert!(!decays || state.position().phase == Phase::Decay, "{what}");
            }
            worst = worst.max(check(&what, state.advance(), *want, case.peak));
        }
        let after = case.after.as_deref();
        assert!(matches!(after, None | Some("stable")), "{after:?}");
        assert_eq!(
            state.position().phase,
            Phase::Stable,
            "after the last decay"
        );
    }
    report::<T>("on_demand", worst);
}

#[test]
fn golden_on_demand_f64() {
    on_demand::<f64>();
}

#[test]
fn golden_on_demand_f32() {
    on_demand::<f32>();
}
