//! The presets against the rates that other implementations gave: `tests/peers/schedules.json`, which
//! `tests/peers/schedules.py` makes by running them, and against formulas where none can be installed.

use std::collections::BTreeMap;

use rivergram_core::lanes::Real;
use rivergram_core::schedule::{
    Decay, Plan, Settings, Shape, State, WarmupShape,
    presets::{self, rounded, truncated},
};
use rivergram_tests::oracle::schedule as oracle;
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use rivergram_tests::source::root;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct File {
    versions: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    peer: String,
    schedule: String,
    arguments: Value,
    rates: Vec<f64>,
}

impl Case {
    fn count(&self, name: &str) -> u64 {
        let value = &self.arguments[name];
        value.as_u64().unwrap_or_else(|| panic!("{name}: {value}"))
    }

    fn number(&self, name: &str) -> f64 {
        let value = &self.arguments[name];
        value.as_f64().unwrap_or_else(|| panic!("{name}: {value}"))
    }

    fn rate<T: Real>(&self, name: &str) -> T {
        T::constant(self.number(name))
    }

    fn text(&self, name: &str) -> &str {
        let value = &self.arguments[name];
        value.as_str().unwrap_or_else(|| panic!("{name}: {value}"))
    }
}

/// A preset, the budgets of its plan, and the units of each update where that is not one.
struct Ours<T> {
    settings: Settings<T>,
    budgets: Vec<u64>,
    units: Vec<u64>,
}

fn ours<T>(settings: Settings<T>, budgets: &[u64]) -> Ours<T> {
    Ours {
        settings,
        budgets: budgets.to_vec(),
        units: Vec::new(),
    }
}

fn shape_of<T: Real>(name: &str) -> Shape<T> {
    match name {
        "linear" => Shape::Linear,
        "cosine" => Shape::Cosine,
        "exponential" => Shape::Exponential,
        "1-sqrt" | "minus_sqrt" | "sqrt" => Shape::OneMinusSqrt,
        "polynomial" => Shape::Polynomial {
            power: T::constant(2.0),
        },
        other => panic!("unknown shape {other}"),
    }
}

fn transformers<T: Real>(case: &Case) -> Ours<T> {
    let (warmup, peak) = (case.count("num_warmup_steps"), case.number("lr"));
    let rate = T::constant(peak);
    let floor = |name: &str| T::constant(peak * case.number(name));
    let total = |settings| ours(settings, &[case.count("num_training_steps")]);
    match case.schedule.as_str() {
        "get_constant_schedule_with_warmup" => {
            ours(presets::transformers_constant(rate, warmup), &[])
        }
        "get_inverse_sqrt_schedule" => {
            let timescale = case.arguments["timescale"].as_u64();
            ours(
                presets::transformers_inverse_sqrt(rate, warmup, timescale),
                &[],
            )
        }
        "get_linear_schedule_with_warmup" => total(presets::transformers_linear(rate, warmup)),
        "get_cosine_schedule_with_warmup" => {
            total(presets::transformers_cosine(rate, T::ZERO, warmup))
        }
        "get_cosine_with_min_lr_schedule_with_warmup" => total(presets::transformers_cosine(
            rate,
            floor("min_lr_rate"),
            warmup,
        )),
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate" => {
            let init = case.arguments["warmup_lr_rate"].as_f64();
            let init = init.map(|ratio| T::constant(peak * ratio));
            total(presets::transformers_cosine_shifted(
                init,
                rate,
                floor("min_lr_rate"),
                warmup,
            ))
        }
        "get_polynomial_decay_schedule_with_warmup" => total(presets::transformers_polynomial(
            rate,
            case.rate("lr_end"),
            case.rate("power"),
            warmup,
        )),
        "get_cosine_with_hard_restarts_schedule_with_warmup" => {
            let (end, cycles) = (case.count("num_training_steps"), case.count("num_cycles"));
            assert_eq!((end - warmup) % cycles, 0);
            let budgets: Vec<u64> = (1..=cycles)
                .map(|i| warmup + i * (end - warmup) / cycles)
                .collect();
            ours(
                presets::transformers_cosine(rate, T::ZERO, warmup),
                &budgets,
            )
        }
        "get_wsd_schedule" => {
            let decay = case.count("num_decay_steps");
            let rise = match case.text("warmup_type") {
                "linear" => WarmupShape::Linear,
                "cosine" => WarmupShape::Cosine,
                "1-sqrt" => WarmupShape::OneMinusSqrt,
                other => panic!("unknown shape {other}"),
            };
            let fall = shape_of(case.text("decay_type"));
            let floor = floor("min_lr_ratio");
            ours(
                presets::transformers_wsd(rate, floor, warmup, decay, rise, fall),
                &[warmup + case.count("num_stable_steps") + decay],
            )
        }
        other => panic!("unknown schedule {other}"),
    }
}

fn megatron<T: Real>(case: &Case) -> Ours<T> {
    let (init, peak, floor) = (
        case.rate("init_lr"),
        case.rate("max_lr"),
        case.rate("min_lr"),
    );
    let (warmup, end) = (case.count("lr_warmup_steps"), case.count("lr_decay_steps"));
    let mut ours = match case.schedule.as_str() {
        "WSD" => {
            let shape = shape_of(case.text("lr_wsd_decay_style"));
            let decay = case.count("wsd_decay_steps");
            ours(
                presets::megatron_wsd(init, peak, floor, warmup, decay, shape),
                &[end],
            )
        }
        "inverse-square-root" => ours(
            presets::megatron_inverse_sqrt(init, peak, floor, warmup),
            &[end + 1],
        ),
        style => ours(
            presets::megatron(init, peak, floor, warmup, shape_of(style)),
            &[end],
        ),
    };
    let batches = case.arguments["batches"].as_array().expect("batches");
    ours.units = batches
        .iter()
        .map(|n| n.as_u64().expect("samples"))
        .collect();
    ours
}

fn olmo_core<T: Real>(case: &Case) -> Ours<T> {
    let (peak, total) = (case.number("lr"), case.count("t_max"));
    let rate = T::constant(peak);
    let init = T::constant(case.arguments["warmup_min_lr"].as_f64().unwrap_or(0.0));
    let length = |name: &str| {
        let count = case.arguments[name].as_u64();
        count.unwrap_or_else(|| rounded(total, case.number(&format!("{name}_fraction"))))
    };
    let floor = || T::constant(case.arguments["decay_min_lr"].as_f64().unwrap_or(0.0));
    match case.schedule.as_str() {
        "WSD" => ours(
            presets::olmo_core_wsd(init, rate, floor(), length("warmup"), length("decay")),
            &[total],
        ),
        "WSDS" => {
            let periods = case.arguments["period_lengths"]
                .as_array()
                .expect("periods");
            let ends = periods.iter().scan(0, |end, length| {
                *end += length.as_u64().expect("a length");
                Some(*end + 1)
            });
            ours(
                presets::olmo_core_wsds(init, rate, floor(), length("warmup"), length("decay")),
                &ends.collect::<Vec<u64>>(),
            )
        }
        name => {
            let shape = match name {
                "LinearWithWarmup" => Shape::Linear,
                "CosWithWarmup" => Shape::Cosine,
                other => panic!("unknown schedule {other}"),
            };
            let floor = T::constant(peak * case.number("alpha_f"));
            ours(
                presets::olmo_core(init, rate, floor, length("warmup"), shape),
                &[total],
            )
        }
    }
}

fn torchtitan<T: Real>(case: &Case) -> Ours<T> {
    let (peak, total) = (case.number("lr"), case.count("training_steps"));
    let floor = T::constant(peak * case.number("min_lr_factor"));
    let ratio = case.arguments["decay_ratio"].as_f64();
    let settings = presets::torchtitan(
        T::constant(peak),
        floor,
        case.count("warmup_steps"),
        ratio.map(|ratio| rounded(total, ratio)),
        total,
        shape_of(case.text("decay_type")),
    );
    ours(settings, &[total])
}

fn levanter<T: Real>(case: &Case) -> Ours<T> {
    let (peak, total) = (case.number("learning_rate"), case.count("num_train_steps"));
    let (rate, floor) = (
        T::constant(peak),
        T::constant(peak * case.number("min_lr_ratio")),
    );
    let warmup = match case.number("warmup") {
        fraction if fraction < 1.0 => truncated(total, fraction),
        steps => steps as u64,
    };
    match case.schedule.as_str() {
        "inv_sqrt" => {
            let settings = presets::levanter_inverse_sqrt(rate, floor, warmup, 10_000);
            ours(settings, &[])
        }
        "constant" => ours(presets::transformers_constant(rate, warmup), &[]),
        name => {
            let settings = presets::levanter(rate, floor, warmup, 0, Decay::Whole, shape_of(name));
            ours(settings, &[total])
        }
    }
}

fn pytorch_accelerated<T: Real>(case: &Case) -> Ours<T> {
    let (peak, init) = (case.number("lr"), case.rate("warmup_starting_lr"));
    let rate = T::constant(peak);
    if case.schedule == "CosineLrScheduler" {
        let each = case.count("num_update_steps_per_epoch");
        let warmup = each * case.count("num_warmup_epochs");
        let end = each * (case.count("total_num_epochs") - case.count("num_cooldown_epochs"));
        let floor = case.rate("lr_min");
        let settings = presets::pytorch_accelerated_cosine(init, rate, floor, warmup);
        return ours(settings, &[end]);
    }
    let floor = T::constant(peak * case.number("lr_min"));
    let (total, checkpoints) = (case.count("total_steps"), case.count("num_checkpoints"));
    let ratio = case.number("decay_phase_ratio");
    let decay = if checkpoints == 1 {
        Decay::Steps(truncated(total, ratio))
    } else {
        Decay::OfSegment((ratio * 1e6).round() as u32)
    };
    let shape = if case.arguments["use_inverse_sqrt_decay"] == true {
        Shape::OneMinusSqrt
    } else {
        Shape::InverseProportional
    };
    let warmup = case.count("num_warmup_steps");
    let budgets: Vec<u64> = (0..10)
        .map_while(|i| presets::pytorch_accelerated_budget(total, checkpoints as u32, i))
        .collect();
    let settings = presets::pytorch_accelerated_wsd(init, rate, floor, warmup, decay, shape);
    ours(settings, &budgets)
}

fn optax<T: Real>(case: &Case) -> Ours<T> {
    let (init, peak) = (case.rate("init_value"), case.rate("peak_value"));
    let warmup = case.count("warmup_steps");
    match case.schedule.as_str() {
        "warmup_constant_schedule" => ours(presets::optax_warmup_constant(init, peak, warmup), &[]),
        "warmup_cosine_decay_schedule" => ours(
            presets::optax_warmup_cosine(init, peak, case.rate("end_value"), warmup),
            &[case.count("decay_steps")],
        ),
        "warmup_exponential_decay_schedule" => {
            let end = case.rates.len() as u64;
            let settings = presets::optax_warmup_exponential(
                init,
                peak,
                case.rate("end_value"),
                warmup,
                case.count("transition_steps"),
                case.number("decay_rate"),
                end,
            );
            ours(settings, &[end])
        }
        "join_schedules" => {
            let (decay, shape) = (case.count("decay"), shape_of(case.text("kind")));
            let floor = case.rate("end_value");
            ours(
                presets::optax_wsd(init, peak, floor, warmup, decay, shape),
                &[warmup + case.count("stable") + decay],
            )
        }
        other => panic!("unknown schedule {other}"),
    }
}

fn preset<T: Real>(case: &Case) -> Ours<T> {
    match case.peer.as_str() {
        "transformers" => transformers(case),
        "megatron-core" => megatron(case),
        "olmo-core" => olmo_core(case),
        "torchtitan" => torchtitan(case),
        "levanter" => levanter(case),
        "pytorch-accelerated" => pytorch_accelerated(case),
        "optax" => optax(case),
        other => panic!("unknown peer {other}"),
    }
}

/// The error of a rate, relative; below a thousandth of the peak relative to that, since the peers lose the
/// digits of 1 − p there.
#[track_caller]
fn check<T: Real>(what: &str, got: T, want: f64, peak: f64) -> f64 {
    let cap = if size_of::<T>() == 4 {
        SINGLE.schedule
    } else {
        DOUBLE.schedule
    };
    let scale = want.max(1e-3 * peak);
    assert_close(what, got.to_f64(), want, scale, cap);
    (got.to_f64() - want).abs() / scale
}

fn peers<T: Real>() {
    let text = std::fs::read(root().join("tests/peers/schedules.json")).expect("the rates");
    let file: File = serde_json::from_slice(&text).expect("JSON");
    let mut table: BTreeMap<&str, (usize, usize, f64)> = BTreeMap::new();
    for case in &file.cases {
        let what = format!("{} {} {}", case.peer, case.schedule, case.arguments);
        let Ours {
            settings,
            budgets,
            units,
        } = preset::<T>(case);
        let plan = Plan::new(settings, &budgets).unwrap_or_else(|e| panic!("{what}: {e}"));
        let start = case.arguments["start"].as_u64().unwrap_or(0);
        let stride = case.arguments["stride"].as_u64().unwrap_or(1);
        let mut state = State::at(&plan, start);
        let row = table.entry(&case.peer).or_default();
        (row.0, row.1) = (row.0 + 1, row.1 + case.rates.len());
        for (i, want) in case.rates.iter().enumerate() {
            let step = state.step();
            let rate = state.advance_by(units.get(i).copied().unwrap_or(stride));
            let what = format!("{what}, step {step}");
            row.2 = row.2.max(check(&what, rate, *want, settings.peak.to_f64()));
        }
    }
    println!("{:?}, {} bits", file.versions, 8 * size_of::<T>());
    for (peer, (cases, rates, worst)) in &table {
        println!("{peer}: {cases} cases, {rates} rates, worst {worst:.1e}");
    }
    assert_eq!(table.len(), 7);
}

#[test]
fn presets_give_the_rates_of_their_peers_f64() {
    peers::<f64>();
}

#[test]
fn presets_give_the_rates_of_their_peers_f32() {
    peers::<f32>();
}

/// Torchtitan as it was at commit 0e13811853fa, which no package has.
fn earlier_torchtitan<T: Real>() {
    let mut worst: f64 = 0.0;
    for (warmup, decay, total) in [
        (0, 10, 100),
        (10, 0, 40),
        (7, 13, 20),
        (3, 4, 35),
        (1, 1, 9),
    ] {
        for (name, floor) in [
            ("linear", 0.0),
            ("sqrt", 0.1),
            ("cosine", 0.1),
            ("cosine", 0.0),
        ] {
            let (peak, shape) = (6e-4, shape_of::<T>(name));
            let floor = T::constant(peak * floor);
            let settings = presets::torchtitan_np1(T::constant(peak), floor, warmup, decay, shape);
            let budgets = [total];
            let plan = Plan::new(settings, &budgets).expect("a plan");
            // With no decay at all it stays at the peak after the end.
            for t in 0..total + if decay > 0 { 3 } else { 0 } {
                let want =
                    oracle::torchtitan_np1(name, peak, floor.to_f64(), warmup, decay, total, t);
                let what = format!("{name}, {warmup}, {decay}, {total}, step {t}");
                worst = worst.max(check(&what, plan.lr_at(t), want, peak));
            }
        }
    }
    println!("torchtitan (t+1)/(W+1): {worst:.1e}");
}

#[test]
fn earlier_torchtitan_f64() {
    earlier_torchtitan::<f64>();
}

#[test]
fn earlier_torchtitan_f32() {
    earlier_torchtitan::<f32>();
}

/// Levanter as it is in marin at commit 0f45aa1c6914, which no package has: cycles, re-warmup, decays.
fn levanter_cycles<T: Real>() {
    let mut worst: f64 = 0.0;
    for cycles in [vec![100], vec![40, 100, 200], vec![30, 60, 90, 133]] {
        for (warmup, rewarmup, decay) in [(0, 0, None), (10, 5, Some(12)), (4, 0, Some(26))] {
            for (name, floor) in [("linear", 0.0), ("cosine", 0.1), ("inv", 0.1)] {
                let peak = 6e-4;
                let low = T::constant(peak * floor);
                let shape = if name == "inv" {
                    Shape::InverseProportional
                } else {
                    shape_of(name)
                };
                let settings = presets::levanter(
                    T::constant(peak),
                    low,
                    warmup,
                    rewarmup,
                    decay.map_or(Decay::Whole, Decay::Steps),
                    shape,
                );
                let plan = Plan::new(settings, &cycles).expect("a plan");
                for t in 0..cycles[cycles.len() - 1] + 3 {
                    let want = oracle::levanter(
                        name,
                        peak,
                        low.to_f64(),
                        warmup,
                        rewarmup,
                        decay,
                        &cycles,
                        t,
                    );
                    // It repeats the second update of an `inv` decay in place of the first.
                    let first = plan.decays().any(|decay| decay.start == t);
                    if name == "inv" && first {
                        continue;
                    }
                    let what = format!("{name} {cycles:?} {warmup} {rewarmup} {decay:?}, step {t}");
                    worst = worst.max(check(&what, plan.lr_at(t), want, peak));
                }
            }
        }
    }
    println!("levanter with cycles: {worst:.1e}");
}

#[test]
fn levanter_cycles_f64() {
    levanter_cycles::<f64>();
}

#[test]
fn levanter_cycles_f32() {
    levanter_cycles::<f32>();
}

#[test]
fn fractions_are_rounded_as_the_peers_do() {
    // Python's round and int of the products in double precision.
    let halves = [
        (25, 0.1, 2),
        (35, 0.1, 4),
        (5, 0.1, 0),
        (15, 0.1, 2),
        (5, 0.3, 2),
    ];
    for (total, fraction, want) in halves {
        assert_eq!(
            rounded(total, fraction),
            want,
            "round({total} * {fraction})"
        );
    }
    assert_eq!([rounded(100, 0.575), rounded(1000, 0.9995)], [57, 1000]);
    assert_eq!([truncated(100, 0.29), truncated(100, 0.57)], [28, 56]);
    assert_eq!([truncated(7, 1.0), truncated(u64::MAX, 1.0)], [7, u64::MAX]);
    for odd in [f64::NAN, -1.0] {
        assert_eq!((rounded(100, odd), truncated(100, odd)), (0, 0));
    }
    // Nor does an odd number of checkpoints.
    for total in [0, 1, 3, 4, u64::MAX] {
        for checkpoints in [0, 1, 2, 64, 65, u32::MAX] {
            let all =
                (0..70).filter_map(|i| presets::pytorch_accelerated_budget(total, checkpoints, i));
            assert!(all.into_iter().all(|budget| budget <= total));
        }
    }
}
