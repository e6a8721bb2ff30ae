//! Schedules on random plans: against the definitions, stepwise against pure, saved and loaded; the
//! ends of the number range; and everything that is refused.

use rivergram_core::encode::{Writer, crc32};
use rivergram_core::error::{DecodeError, EncodeError, PlanError, PlanPart, RateName, StateError};
use rivergram_core::lanes::Real;
use rivergram_core::schedule::{
    After, Area, Branches, Decay, DecayEdge, Phase, Plan, Settings, Shape, Stable, State,
    WarmupEdge, WarmupShape, rate_at,
};
use rivergram_tests::oracle::schedule as oracle;
use rivergram_tests::precision::{DOUBLE, SINGLE, assert_close};
use rivergram_tests::random::Random;

/// Numbers at which counts overflow, round or change their path.
const EXTREMES: [u64; 13] = [
    0,
    1,
    2,
    1_000_000,
    (1 << 24) + 1,
    u32::MAX as u64,
    1 << 32,
    (1 << 53) + 1,
    1 << 62,
    1 << 63,
    (1 << 63) + 12_345,
    u64::MAX - 1,
    u64::MAX,
];

fn pick<X: Copy>(random: &mut Random, from: &[X]) -> X {
    from[random.range(0, from.len() - 1)]
}

fn every_shape<T: Real>(power: T, half_lives: T) -> [Shape<T>; 10] {
    [
        Shape::Linear,
        Shape::Cosine,
        Shape::OneMinusSqrt,
        Shape::OneMinusSquare,
        Shape::Polynomial { power },
        Shape::Geometric,
        Shape::HalfLife { half_lives },
        Shape::Exponential,
        Shape::InverseProportional,
        Shape::InverseSqrt,
    ]
}

fn random_settings<T: Real>(random: &mut Random) -> Settings<T> {
    let peak = 10_f64.powf(random.unit() * 6.0 - 5.0);
    let ratio = pick(random, &[0.0, 1e-4, 0.01, 0.1, 0.5, 1.0]);
    let init = pick(random, &[0.0, 0.0, 1e-3, 0.3, 1.0]);
    let power = T::constant(pick(random, &[0.3, 0.5, 1.0, 1.5, 2.0, 3.0]));
    let half_lives = T::constant(1.0 + 5.0 * random.unit());
    let millionths = random.range(1, 1_000_000) as u32;
    let steps = random.range(0, 60) as u64;
    let after_a_start = Stable::InverseSqrtAfter {
        start: pick(random, &[0, 1, 7, 40]),
        timescale: pick(random, &[0, 1, 30, u64::MAX]),
    };
    let mut settings = Settings {
        peak: T::constant(peak),
        floor: T::constant(peak * ratio),
        init: T::constant(peak * init),
        warmup: pick(random, &[0, 0, 1, 2, 7, 20]),
        rewarmup: pick(random, &[0, 0, 1, 2, 5]),
        warmup_edge: pick(
            random,
            &[
                WarmupEdge::Zero,
                WarmupEdge::One,
                WarmupEdge::NPlusOne,
                WarmupEdge::Both,
            ],
        ),
        warmup_shape: pick(
            random,
            &[
                WarmupShape::Linear,
                WarmupShape::Cosine,
                WarmupShape::OneMinusSqrt,
            ],
        ),
        stable: pick(
            random,
            &[
                Stable::Constant,
                Stable::Constant,
                Stable::InverseSqrt,
                after_a_start,
            ],
        ),
        shape: pick(random, &every_shape(power, half_lives)),
        decay: pick(
            random,
            &[
                Decay::OfTotal(millionths),
                Decay::OfTotal(100_000),
                Decay::OfSegment(millionths),
                Decay::Steps(steps),
                Decay::Whole,
            ],
        ),
        decay_edge: pick(
            random,
            &[
                DecayEdge::ReachAfter,
                DecayEdge::ReachLast,
                DecayEdge::NPlusOne,
                DecayEdge::Both,
            ],
        ),
        after: pick(random, &[After::Floor, After::Stable]),
    };
    if settings.floor > settings.peak {
        settings.floor = settings.peak;
    }
    settings
}

fn random_budgets(random: &mut Random) -> Vec<u64> {
    let mut end = 0;
    (0..random.range(0, 4))
        .map(|_| {
            end += random.range(1, 90) as u64;
            end
        })
        .collect()
}

/// Random plans that are not refused, each with its settings.
fn for_each_plan<T: Real>(seed: u64, wanted: usize, mut body: impl FnMut(&Plan<T>)) {
    let mut random = Random::new(seed);
    let (mut built, mut tried) = (0, 0);
    while built < wanted {
        let settings = random_settings(&mut random);
        let budgets = random_budgets(&mut random);
        tried += 1;
        if let Ok(plan) = Plan::new(settings, &budgets) {
            built += 1;
            body(&plan);
        }
    }
    assert!(tried < 4 * wanted, "{built} plans of {tried}");
}

fn end_of<T: Real>(plan: &Plan<T>) -> u64 {
    plan.total().unwrap_or(60) + 12
}

fn wide<T: Real>(s: &Settings<T>) -> Settings<f64> {
    Settings {
        peak: s.peak.to_f64(),
        floor: s.floor.to_f64(),
        init: s.init.to_f64(),
        warmup: s.warmup,
        rewarmup: s.rewarmup,
        warmup_shape: s.warmup_shape,
        warmup_edge: s.warmup_edge,
        stable: s.stable,
        shape: wide_shape(s.shape),
        decay: s.decay,
        decay_edge: s.decay_edge,
        after: s.after,
    }
}

fn wide_shape<T: Real>(shape: Shape<T>) -> Shape<f64> {
    match shape {
        Shape::Linear => Shape::Linear,
        Shape::Cosine => Shape::Cosine,
        Shape::OneMinusSqrt => Shape::OneMinusSqrt,
        Shape::OneMinusSquare => Shape::OneMinusSquare,
        Shape::Polynomial { power } => Shape::Polynomial {
            power: power.to_f64(),
        },
        Shape::Geometric => Shape::Geometric,
        Shape::HalfLife { half_lives } => Shape::HalfLife {
            half_lives: half_lives.to_f64(),
        },
        Shape::Exponential => Shape::Exponential,
        Shape::InverseProportional => Shape::InverseProportional,
        Shape::InverseSqrt => Shape::InverseSqrt,
    }
}

/// The cap, and the scale of an error: the definition itself cancels at the end of a decay, so in
/// double precision the oracle is trusted only to the peak.
fn scale<T>(want: f64, peak: f64) -> (f64, f64) {
    if size_of::<T>() == 8 {
        (DOUBLE.schedule, want.max(1e-3 * peak))
    } else {
        (
            SINGLE.schedule,
            if want < 1e-9 * peak { peak } else { want },
        )
    }
}

fn matches_the_definition<T: Real>(seed: u64) {
    for_each_plan::<T>(seed, 3000, |plan| {
        let settings = wide(plan.settings());
        for t in 0..end_of(plan) {
            let want = oracle::lr_at(&settings, plan.budgets(), t);
            let (cap, scale) = scale::<T>(want, settings.peak);
            let what = format!("{plan:?}, step {t}");
            let known = rate_at(*plan.settings(), plan.budgets(), t);
            assert_eq!(bits(known), bits(plan.lr_at(t)), "{what}");
            assert_close(&what, plan.lr_at(t).to_f64(), want, scale, cap);
        }
    });
}

#[test]
fn random_plans_match_the_definition_f64() {
    matches_the_definition::<f64>(1);
}

#[test]
fn random_plans_match_the_definition_f32() {
    matches_the_definition::<f32>(2);
}

#[test]
fn long_decays_keep_their_digits_in_f32() {
    for floor in [0.0, 6e-5_f32] {
        for shape in every_shape(2.5_f32, 5.0) {
            let peak = 6e-4_f32;
            let length = 5000;
            if floor == 0.0
                && matches!(
                    shape,
                    Shape::Geometric | Shape::InverseProportional | Shape::InverseSqrt
                )
            {
                continue;
            }
            let mut worst: f64 = 0.0;
            for k in 0..length {
                // The same accurate forms in double precision: the definition cancels.
                let (p, f) = (f64::from(peak), f64::from(floor));
                let want = wide_shape(shape).rate(k, length, p, f);
                let got = f64::from(shape.rate(k, length, peak, floor));
                worst = worst.max((got / want - 1.0).abs());
            }
            println!("{}, floor {floor}: {worst:.2e}", shape.name());
            assert!(worst <= SINGLE.schedule, "{}: {worst:e}", shape.name());
        }
    }
}

fn bits<T: Real>(x: T) -> u64 {
    Real::to_bits(x)
}

fn walks_and_survives<T: Real>(seed: u64) {
    for_each_plan::<T>(seed, 2000, |plan| {
        let mut state = State::new(plan);
        let mut saved = vec![0; State::<T>::SAVED_LEN];
        let s = plan.settings();
        let low = if s.init < s.floor { s.init } else { s.floor };
        for t in 0..end_of(plan) {
            assert_eq!(state.save(&mut saved), Ok(saved.len()));
            let loaded = State::load(plan, &saved).expect("a saved state");
            assert_eq!(loaded, state);
            assert_eq!(State::at(plan, t), state);
            assert_eq!(state.position(), plan.position(t));
            state = loaded;

            let rate = state.advance();
            assert_eq!(bits(rate), bits(plan.lr_at(t)), "{plan:?}, step {t}");
            assert!(low <= rate && rate <= s.peak, "{plan:?}, step {t}: {rate}");
            assert_eq!(state.step(), t + 1);
        }
    });
}

#[test]
fn stepwise_equals_pure_across_save_and_load_f64() {
    walks_and_survives::<f64>(3);
}

#[test]
fn stepwise_equals_pure_across_save_and_load_f32() {
    walks_and_survives::<f32>(4);
}

#[test]
fn ragged_batches_equal_the_pure_function() {
    let mut random = Random::new(5);
    for_each_plan::<f32>(6, 1000, |plan| {
        let mut state = State::new(plan);
        while state.step() < end_of(plan) {
            let before = state.step();
            let rate = state.advance_by(random.range(0, 70) as u64);
            assert_eq!(bits(rate), bits(plan.lr_at(before)));
            assert_eq!(state, State::at(plan, state.step()));
        }
    });
}

#[test]
fn phases_agree_with_rates_and_decays() {
    for_each_plan::<f64>(7, 1000, |plan| {
        let s = plan.settings();
        for t in 0..end_of(plan) {
            let at = plan.position(t);
            let in_decay = plan.decays().find(|d| (d.start..d.end).contains(&t));
            assert_eq!(
                at.phase == Phase::Decay,
                in_decay.is_some(),
                "{plan:?}, {t}"
            );
            match at.phase {
                Phase::Warmup => assert_eq!(at.remaining, Some(s.warmup - t)),
                Phase::Rewarmup => assert!(at.remaining <= Some(s.rewarmup)),
                Phase::Stable if s.stable == Stable::Constant => {
                    assert_eq!(plan.lr_at(t), s.peak);
                }
                Phase::Stable => assert!(plan.lr_at(t) <= s.peak),
                Phase::Decay => {
                    let decay = in_decay.expect("a decay");
                    assert_eq!(at.budget, Some(decay.budget));
                    assert_eq!(at.remaining, Some(decay.end - t));
                    assert_eq!(plan.budget_ending_at(decay.end), Some(decay.budget));
                }
                Phase::Done => {
                    assert_eq!(plan.lr_at(t), s.floor);
                    assert_eq!((at.budget, at.remaining), (None, None));
                }
            }
            if let Some(remaining) = at.remaining {
                assert!(remaining > 0, "{plan:?}, step {t}");
                let next = plan.position(t + remaining);
                assert!(next.phase != at.phase || next.budget != at.budget);
                assert_eq!(plan.position(t + remaining - 1).phase, at.phase);
            }
        }
        assert_eq!(plan.decays().count(), plan.budgets().len());
        assert_eq!(plan.decay(plan.budgets().len()), None);
        assert_eq!(plan.budget_ending_at(0), None);
    });
}

fn extremes<T: Real>(seed: u64) {
    let mut random = Random::new(seed);
    let tiny = T::from_bits(1);
    let rates = [T::ZERO, tiny, T::MIN_POSITIVE, T::EPSILON, T::ONE, T::MAX];
    let others = [T::INFINITY, -T::ONE, T::constant(f64::NAN)];
    let mut built = 0;
    for _ in 0..20_000 {
        let any = pick(&mut random, &others);
        let mut rate = || {
            if random.range(0, 99) == 0 {
                any
            } else {
                pick(&mut random, &rates)
            }
        };
        let (peak, floor, init) = (rate(), rate(), rate());
        let (power, half_lives) = (rate(), rate());
        let millionths = pick(&mut random, &[0, 1, 100_000, 1_000_000, u32::MAX]);
        let steps = pick(&mut random, &EXTREMES);
        let settings = Settings {
            peak,
            floor,
            init,
            warmup: pick(&mut random, &EXTREMES),
            rewarmup: pick(&mut random, &EXTREMES[..5]),
            shape: pick(&mut random, &every_shape(power, half_lives)),
            decay: pick(
                &mut random,
                &[
                    Decay::OfTotal(millionths),
                    Decay::OfSegment(millionths),
                    Decay::Steps(steps),
                    Decay::Whole,
                ],
            ),
            ..random_settings(&mut random)
        };
        let mut budgets: Vec<u64> = (0..random.range(0, 4))
            .map(|_| pick(&mut random, &EXTREMES[..11]))
            .collect();
        if random.range(0, 9) > 0 {
            budgets.sort_unstable();
            budgets.dedup();
        }
        let _ = Branches::new(settings, &budgets).map(|wsd| wsd.cost());
        let Ok(plan) = Plan::new(settings, &budgets) else {
            continue;
        };
        built += 1;
        let low = if init < floor { init } else { floor };
        let around = EXTREMES.iter().chain(&budgets);
        for t in around.flat_map(|t| [t.saturating_sub(1), *t, t.saturating_add(1)]) {
            let rate = plan.lr_at(t);
            assert!(low <= rate && rate <= peak, "{plan:?}, step {t}: {rate}");
            let mut state = State::at(&plan, t);
            assert_eq!(state.position(), plan.position(t));
            assert_eq!(bits(state.advance()), bits(rate));
            let next = t.saturating_add(1);
            assert_eq!(bits(state.advance_by(u64::MAX)), bits(plan.lr_at(next)));
            assert_eq!(bits(state.advance()), bits(plan.lr_at(u64::MAX)));
        }
    }
    assert!(built > 500, "{built} plans");
}

#[test]
fn no_number_panics_or_leaves_the_range_f64() {
    extremes::<f64>(8);
}

#[test]
fn no_number_panics_or_leaves_the_range_f32() {
    extremes::<f32>(9);
}

/// Makes a random event; whether it changed anything.
fn event<T: Real>(random: &mut Random, state: &mut State<T>, lengths: &[u64]) -> bool {
    let length = pick(random, lengths);
    match random.range(0, 5) {
        0 => state.request_decay(length),
        1 => state.request_decay_of_seen(pick(random, &[0, 100_000, u32::MAX])),
        2 => state.cancel_decay(),
        3 | 4 => state.extend(length),
        _ => state.resume_to_peak(length),
    }
}

/// The phase and the length of what is left of it agree, and the numbers of a state with its plan.
fn is_sound<T: Real>(state: &State<T>) {
    let at = state.position();
    let (step, rate) = (state.step(), state.rate());
    let s = state.plan().settings();
    let low = if s.init < s.floor { s.init } else { s.floor };
    assert!(low <= rate && rate <= s.peak, "{state:?}: {rate}");
    assert_eq!(bits(state.lr_at(step)), bits(rate), "{state:?}");
    if at.phase == Phase::Decay {
        assert!(
            state
                .remaining()
                .is_none_or(|left| Some(left) == at.remaining),
            "{state:?}"
        );
    }
    if at.phase == Phase::Done {
        assert_eq!((state.remaining(), at.budget), (None, None), "{state:?}");
    }
    if let (Some(phase), Some(end)) = (at.remaining, state.remaining()) {
        assert!(phase > 0 && end > 0, "{state:?}");
    }
}

/// Events of all kinds at random steps, in ragged batches: rates stay in range, `lr_at` foretells them
/// bit for bit until the next event, and a saved state goes on the same way.
fn survives_events<T: Real>(seed: u64) {
    let mut random = Random::new(seed);
    let mut events = 0;
    for_each_plan::<T>(seed + 1, 2000, |plan| {
        let mut state = State::new(plan);
        let mut saved = vec![0; State::<T>::SAVED_LEN];
        let mut ahead = state;
        let ragged = random.range(0, 1) == 1;
        while state.step() < end_of(plan) + 40 {
            let lengths = [0, 1, 3, 10, 40, 200, u64::MAX];
            if random.range(0, 8) == 0 && event(&mut random, &mut state, &lengths) {
                ahead = state;
                events += 1;
            }
            state.save(&mut saved).expect("saved");
            let loaded = State::load(plan, &saved).expect("a saved state");
            assert_eq!(loaded, state);
            assert_eq!(State::with_progress(plan, state.progress()), Ok(state));
            state = loaded;
            is_sound(&state);
            let step = state.step();
            let units = if ragged { random.range(0, 9) as u64 } else { 1 };
            let rate = state.advance_by(units);
            assert_eq!(bits(rate), bits(ahead.lr_at(step)), "{plan:?}, step {step}");
        }
    });
    assert!(events > 10_000, "{events} events");
}

/// The same where counts overflow, round or change their path.
fn survives_events_at_extremes<T: Real>(seed: u64) {
    let mut random = Random::new(seed);
    let mut built = 0;
    for_each_plan::<T>(seed + 1, 1000, |small| {
        let mut budgets: Vec<u64> = (0..random.range(0, 4))
            .map(|_| pick(&mut random, &EXTREMES[1..10]))
            .collect();
        budgets.sort_unstable();
        budgets.dedup();
        let settings = Settings {
            warmup: pick(&mut random, &[0, 0, 5, u64::MAX]),
            rewarmup: pick(&mut random, &[0, 3, 1 << 40, u64::MAX]),
            ..*small.settings()
        };
        let Ok(plan) = Plan::new(settings, &budgets) else {
            return;
        };
        built += 1;
        let mut saved = vec![0; State::<T>::SAVED_LEN];
        for start in EXTREMES {
            let mut state = State::at(&plan, start);
            for _ in 0..12 {
                event(&mut random, &mut state, &EXTREMES);
                is_sound(&state);
                state.save(&mut saved).expect("saved");
                assert_eq!(State::load(&plan, &saved), Ok(state));
                let t = state.step().saturating_add(pick(&mut random, &EXTREMES));
                let (low, rate) = (state.lr_at(t), state.lr_at(u64::MAX));
                assert!(low <= settings.peak && rate <= settings.peak);
                assert!(low >= settings.init.min(settings.floor));
                assert!(rate >= settings.init.min(settings.floor));
                let foretold = state.lr_at(t);
                let ahead = t - state.step();
                state.advance_by(ahead);
                assert_eq!(bits(state.rate()), bits(foretold), "{plan:?}, step {t}");
            }
        }
    });
    assert!(built > 300, "{built} plans");
}

#[test]
fn events_at_extremes_f64() {
    survives_events_at_extremes::<f64>(14);
}

#[test]
fn events_at_extremes_f32() {
    survives_events_at_extremes::<f32>(16);
}

/// A straight line to 0 before 100 and 200, each a tenth of its budget.
fn straight(rewarmup: u64) -> Settings<f64> {
    Settings {
        shape: Shape::Linear,
        rewarmup,
        ..Settings::wsd_s(1.0, 0.0)
    }
}

#[test]
fn an_extended_decay_never_rises() {
    let budgets = [100, 200];
    for decay_edge in [
        DecayEdge::ReachAfter,
        DecayEdge::ReachLast,
        DecayEdge::NPlusOne,
        DecayEdge::Both,
    ] {
        for shape in every_shape(2.0_f64, 3.0) {
            let settings = Settings {
                shape,
                decay_edge,
                ..Settings::wsd_s(1.0, 0.1)
            };
            let plan = Plan::new(settings, &budgets).expect("a plan");
            for at in 181..200 {
                let (mut state, mut asked) = (State::at(&plan, at), State::at(&plan, at));
                let before = plan.lr_at(at - 1);
                assert!(state.extend(25) && asked.request_decay(200 - at + 25));
                assert_eq!(state, asked);
                let rates: Vec<f64> = (at..225).map(|t| state.lr_at(t)).collect();
                assert!(rates[0] <= before, "{shape:?} {decay_edge:?} at {at}");
                assert!(
                    rates.is_sorted_by(|a, b| a >= b),
                    "{shape:?} {decay_edge:?} at {at}"
                );
                assert_eq!((state.remaining(), state.lr_at(225)), (Some(225 - at), 0.1));
            }
        }
    }
}

#[test]
fn an_extended_budget_moves_its_decay() {
    let budgets = [100, 200, 300];
    let plan = Plan::new(straight(0), &budgets).expect("a plan");
    let mut state = State::at(&plan, 20);
    assert!(state.extend(30));
    assert_eq!(state.remaining(), Some(110));
    assert_eq!(
        [119, 120, 125, 129, 130, 190].map(|t| state.lr_at(t)),
        [1.0, 1.0, 0.5, 0.1, 1.0, 0.5]
    );
    // The decays after it stay: the second is 20 steps long.
    assert_eq!([180, 195, 200].map(|t| state.lr_at(t)), [1.0, 0.25, 1.0]);

    // Past the second budget: that one is left out.
    let mut state = State::at(&plan, 20);
    assert!(state.extend(120));
    assert_eq!(
        [185, 215, 220, 285].map(|t| state.lr_at(t)),
        [1.0, 0.5, 1.0, 0.5]
    );

    // Past the last: the floor comes then. And in a decay of the plan.
    let mut state = State::at(&plan, 250);
    assert!(state.extend(1000));
    assert_eq!([300, 1285, 1300].map(|t| state.lr_at(t)), [1.0, 0.5, 0.0]);
    let mut state = State::at(&plan, 285);
    assert!(state.extend(15));
    assert_eq!(
        [285, 300, 315, 400].map(|t| state.lr_at(t)),
        [0.5, 0.25, 0.0, 0.0]
    );

    // Nothing to extend.
    assert!(!State::at(&plan, 20).extend(0));
    assert!(!State::at(&plan, 300).extend(5));
    let open = Plan::new(straight(0), &[]).expect("a plan");
    assert!(!State::at(&open, 20).extend(5));
    // But a decay that was asked for.
    let mut state = State::at(&open, 20);
    assert!(state.request_decay(10));
    assert_eq!(state.advance_by(5), 1.0);
    assert!(state.extend(5));
    assert_eq!([25, 30, 35].map(|t| state.lr_at(t)), [0.5, 0.25, 1.0]);
}

/// The events in tokens, with batches that reach past what they change.
#[test]
fn events_count_in_units() {
    let settings = Settings {
        warmup: 1000,
        ..straight(500)
    };
    let plan = Plan::new(settings, &[]).expect("a plan");
    let mut state = State::new(&plan);
    assert_eq!([state.advance_by(600), state.advance_by(700)], [0.0, 0.6]);
    assert_eq!(state.advance_by(700), 1.0);
    // 2000 tokens seen: half of that.
    assert!(state.request_decay_of_seen(500_000));
    assert_eq!(state.remaining(), Some(1000));
    assert_eq!([state.advance_by(300), state.advance_by(200)], [1.0, 0.7]);
    // Half is left, and it ends 500 tokens later.
    assert!(state.extend(500));
    assert_eq!([state.advance_by(750), state.rate()], [0.5, 0.125]);
    // The next batch reaches 350 tokens past the end at 3500, into the re-warmup of 500.
    assert_eq!([state.advance_by(600), state.rate()], [0.125, 0.7]);
    assert!(state.resume_to_peak(100));
    assert_eq!(
        [state.advance_by(50), state.advance_by(64), state.rate()],
        [0.7, 0.85, 1.0]
    );
}

#[test]
fn resuming_after_the_end() {
    let budgets = [100];
    let plan = Plan::new(straight(3), &budgets).expect("a plan");
    for at in [100, 101, 5000] {
        let mut state = State::at(&plan, at);
        assert_eq!((state.position().phase, state.rate()), (Phase::Done, 0.0));
        assert!(!state.request_decay(5) && !state.cancel_decay() && !state.extend(5));
        assert!(state.resume_to_peak(4));
        let rates = [0, 1, 2, 3, 4, 900].map(|k| state.lr_at(at + k));
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        let position = state.position();
        assert_eq!(
            (position.phase, position.remaining),
            (Phase::Rewarmup, Some(4))
        );
        assert_eq!((position.budget, state.remaining()), (None, None));

        // The run is open: decays come on demand, and end in the re-warmup of the plan.
        state.advance_by(10);
        assert!(!state.resume_to_peak(4));
        assert!(state.request_decay(4));
        let rates = [10, 12, 14, 15, 17].map(|k| state.lr_at(at + k));
        assert_eq!(rates, [1.0, 0.5, 0.0, 1.0 / 3.0, 1.0]);
        state.advance_by(2);
        assert!(state.cancel_decay());
        // From the rate of the moment.
        let rates = [12, 13, 15].map(|k| state.lr_at(at + k));
        assert_eq!(rates, [0.5, 0.5 + 0.5 / 3.0, 1.0]);
        // At once instead.
        assert!(state.resume_to_peak(0));
        assert_eq!(state.rate(), 1.0);
        let mut saved = [0; State::<f64>::SAVED_LEN];
        state.save(&mut saved).expect("saved");
        assert_eq!(State::load(&plan, &saved), Ok(state));
    }
    // After a decay on demand the re-warmup of the plan can be replaced.
    let open = Plan::new(straight(10), &[]).expect("a plan");
    let mut state = State::at(&open, 50);
    assert!(state.request_decay(5));
    state.advance_by(10);
    assert_eq!(
        (state.position().phase, state.rate()),
        (Phase::Rewarmup, 0.5)
    );
    assert!(state.resume_to_peak(2));
    assert_eq!([60, 61, 62].map(|t| state.lr_at(t)), [0.5, 0.75, 1.0]);
    // Nowhere else.
    assert!(!State::at(&open, 5).resume_to_peak(0));
    assert!(!State::at(&plan, 95).resume_to_peak(0));
}

#[test]
fn a_decay_called_off_leaves_nothing_to_rise_from() {
    let budgets = [100, 200];
    let plan = Plan::new(straight(5), &budgets).expect("a plan");
    let mut state = State::at(&plan, 95);
    assert!(state.cancel_decay());
    // 95 to 100 back to the peak, and at the budget no second rise from the floor.
    assert_eq!(
        [95, 96, 100, 101, 180].map(|t| state.lr_at(t)),
        [0.5, 0.6, 1.0, 1.0, 1.0]
    );
    assert_eq!(state.lr_at(190), 0.5);
    // A decay that reaches past a budget, called off right there: from the rate of the moment.
    let mut state = State::at(&plan, 90);
    assert!(state.request_decay(20));
    state.advance_by(10);
    assert!(state.cancel_decay());
    assert_eq!([100, 101, 105].map(|t| state.lr_at(t)), [0.5, 0.6, 1.0]);
}

#[test]
fn a_state_of_the_first_format_is_read() {
    let budgets = [100, 200];
    for (rewarmup, at) in [(0, 42), (5, 102), (5, 150)] {
        let plan = Plan::new(straight(rewarmup), &budgets).expect("a plan");
        let want = State::at(&plan, at);
        let mut saved = [0; State::<f64>::SAVED_LEN];
        want.save(&mut saved).expect("saved");
        // That one had no length of the ramp, which stands after place and start.
        let payload = &saved[12..saved.len() - 4];
        let ramp = 16 + 8 + 2 * 8;
        let mut first = vec![0; saved.len() - 8];
        let mut writer = Writer::new(&mut first, *b"RGLR", 1);
        writer.bytes(&payload[..ramp]);
        writer.bytes(&payload[ramp + 8..]);
        assert_eq!(writer.finish(), Ok(saved.len() - 8));
        assert_eq!(State::load(&plan, &first), Ok(want));
    }
}

/// What format version 1 wrote at step 73 of 100 and 200, three steps after a decay that was asked for.
const FIRST_FORMAT: [u8; 80] = [
    82, 71, 76, 82, 1, 0, 0, 0, 64, 0, 0, 0, 72, 201, 126, 165, 223, 32, 42, 36, 75, 252, 190, 241,
    215, 214, 136, 168, 73, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 70, 0, 0, 0, 0, 0, 0, 0,
    90, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 205, 204, 204, 61, 0, 0, 128, 63, 64, 213,
    162, 160,
];

#[test]
fn bytes_of_the_first_format_are_read() {
    let settings = Settings {
        warmup: 7,
        rewarmup: 5,
        warmup_edge: WarmupEdge::One,
        ..Settings::wsd_s(1.0_f32, 0.1)
    };
    let budgets = [100, 200];
    let plan = Plan::new(settings, &budgets).expect("a plan");
    let state = State::load(&plan, &FIRST_FORMAT).expect("a state of version 1");
    assert_eq!(
        (state.step(), state.position().phase),
        (73, Phase::Rewarmup)
    );
    let rates = [73, 74, 75, 100, 185, 199, 200].map(|t| state.lr_at(t).to_bits());
    let then = [
        0x3f51_eb85,
        0x3f80_0000,
        0x3f80_0000,
        0x3e8f_5c29,
        0x3e9d_89d9,
        0x3dd6_7344,
        0x3dcc_cccd,
    ];
    assert_eq!(rates, then);
    // What version 1 did not know makes another plan.
    let other = Settings {
        warmup_shape: WarmupShape::Cosine,
        ..settings
    };
    let other = Plan::new(other, &budgets).expect("a plan");
    let refused = State::load(&other, &FIRST_FORMAT).map(|_| ());
    assert!(matches!(
        refused,
        Err(StateError::OtherPlan {
            part: PlanPart::Warmup,
            ..
        })
    ));
}

fn areas_match_the_definition<T: Real>(seed: u64) {
    let mut worst: f64 = 0.0;
    for_each_plan::<T>(seed, 300, |plan| {
        let rates: Vec<f64> = (0..end_of(plan)).map(|t| plan.lr_at(t).to_f64()).collect();
        let want = oracle::areas(&rates, 0.99);
        let mut area = Area::new(T::constant(0.01));
        let mut saved = vec![0; Area::<T>::SAVED_LEN];
        for (t, (sum, annealing)) in want.iter().enumerate() {
            area.add(plan.lr_at(t as u64));
            assert_eq!(area.save(&mut saved), Ok(saved.len()));
            area = Area::load(&saved).expect("saved areas");
            let cap = if size_of::<T>() == 4 { 1e-6 } else { 1e-12 };
            assert_close("sum", area.sum().to_f64(), *sum, *sum, cap);
            // The scale of what is added up.
            let moved: f64 = rates[..=t].iter().map(|rate| (rates[0] - rate).abs()).sum();
            let scale = moved.max(rates[0]);
            assert_close(
                "annealing",
                area.annealing().to_f64(),
                *annealing,
                scale,
                cap,
            );
            worst = worst.max((area.annealing().to_f64() - annealing).abs() / scale.max(1e-30));
        }
        // The pure function is the same sum, bit for bit, from every state.
        let end = end_of(plan);
        assert_eq!(plan.area(0..end, T::constant(0.01)), area);
        let mut part = Area::new(T::constant(0.01));
        (end / 2..end).for_each(|t| part.add(plan.lr_at(t)));
        assert_eq!(
            State::at(plan, end / 2).area_ahead(end, T::constant(0.01)),
            part
        );
    });
    println!("annealing area: {worst:.1e}, {} bits", 8 * size_of::<T>());
}

#[test]
fn areas_match_the_definition_f64() {
    areas_match_the_definition::<f64>(18);
}

#[test]
fn areas_match_the_definition_f32() {
    areas_match_the_definition::<f32>(19);
}

#[test]
fn areas_of_long_runs_keep_their_digits() {
    // Ten million rates of 0.1: a plain sum in `f32` is off by 8%.
    let mut area = Area::new(0.001_f32);
    let rate = 0.1_f32;
    (0..10_000_000).for_each(|_| area.add(rate));
    let want = 1e7 * f64::from(rate);
    assert_close("sum", f64::from(area.sum()), want, want, 1e-7);
    assert_eq!(area.annealing(), 0.0);
    // Then a drop to 0 for ever: S₂ goes to η₀/(1 − λ).
    (0..50_000).for_each(|_| area.add(0.0));
    let want = f64::from(rate) / 0.001;
    assert_close("annealing", f64::from(area.annealing()), want, want, 1e-6);
}

#[test]
fn damaged_areas_are_refused() {
    let mut area = Area::new(0.001_f32);
    area.add(0.5);
    let mut saved = [0; Area::<f32>::SAVED_LEN];
    area.save(&mut saved).expect("saved");
    let need = saved.len();
    for have in 0..need {
        let refused = area.save(&mut vec![0; have]);
        assert_eq!(refused, Err(EncodeError::NoSpace { need, have }));
        assert!(Area::<f32>::load(&saved[..have]).is_err());
    }
    for bit in 0..8 * need {
        let mut bytes = saved;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Area::<f32>::load(&bytes).is_err(), "bit {bit}");
    }
    let found = *b"RGA4";
    assert_eq!(
        Area::<f64>::load(&saved),
        Err(DecodeError::BadMagic { found })
    );
}

#[test]
fn decays_on_demand_stay_in_range_f64() {
    survives_events::<f64>(10);
}

#[test]
fn decays_on_demand_stay_in_range_f32() {
    survives_events::<f32>(12);
}

#[test]
fn decays_on_demand_leave_the_plan_alone() {
    let settings = Settings {
        shape: Shape::Linear,
        ..Settings::wsd_s(1.0_f64, 0.0)
    };
    let budgets = [100, 200];
    let plan = Plan::new(settings, &budgets).expect("a plan");
    let mut state = State::at(&plan, 40);
    assert!(!state.request_decay(0));
    assert!(!state.cancel_decay());
    assert!(state.request_decay(4));
    let at = state.position();
    assert_eq!(
        (at.phase, at.budget, at.remaining),
        (Phase::Decay, Some(0), Some(4))
    );
    assert_eq!([41, 43, 44].map(|t| state.lr_at(t)), [0.75, 0.25, 1.0]);
    // The decays of the plan still come.
    assert_eq!(
        [95, 100, 190, 199].map(|t| state.lr_at(t)),
        [0.5, 1.0, 0.5, 0.05]
    );
    state.advance();
    assert!(state.cancel_decay());
    assert_eq!([41, 95].map(|t| state.lr_at(t)), [1.0, 0.5]);

    // A decay of the plan that is called off is skipped; the next one comes.
    let mut state = State::at(&plan, 95);
    assert!(state.cancel_decay());
    assert_eq!(
        [95, 99, 100, 190].map(|t| state.lr_at(t)),
        [1.0, 1.0, 1.0, 0.5]
    );

    // After the last budget there is nothing to decay from.
    assert!(!State::at(&plan, 200).request_decay(5));
}

#[test]
fn steps_beyond_what_floats_can_count() {
    let end = 1 << 63;
    let settings = Settings {
        decay: Decay::Steps(4),
        shape: Shape::Linear,
        ..Settings::wsd_s(1.0_f32, 0.0)
    };
    let budgets = [end];
    let plan = Plan::new(settings, &budgets).expect("a plan");
    let mut state = State::at(&plan, end - 5);
    let rates: Vec<f32> = (0..6).map(|_| state.advance()).collect();
    assert_eq!(rates, [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);

    // A decay longer than 2³² steps, near its end.
    let whole = Settings::linear(1.0_f64, 0.0);
    let plan = Plan::new(whole, &budgets).expect("a plan");
    assert_eq!(plan.lr_at(end - 3), 3.0 / (end as f64));
    let single = Plan::new(Settings::linear(1.0_f32, 0.0), &budgets).expect("a plan");
    assert_eq!(single.lr_at(end - 3), 3.0 / (end as f32));
}

#[test]
fn degenerate_lengths_work() {
    let rates = |settings: Settings<f32>, budgets: &[u64]| -> Vec<f32> {
        let plan = Plan::new(settings, budgets).expect("a plan");
        (0..6).map(|t| plan.lr_at(t)).collect()
    };
    let base = Settings {
        shape: Shape::Linear,
        ..Settings::wsd_s(1.0, 0.5)
    };
    let steps = |steps| Settings {
        decay: Decay::Steps(steps),
        ..base
    };
    assert_eq!(rates(steps(0), &[3]), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]);
    assert_eq!(rates(steps(1), &[3]), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]);
    let last = Settings {
        decay_edge: DecayEdge::ReachLast,
        ..steps(1)
    };
    assert_eq!(rates(last, &[3]), [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]);
    // Budgets closer than their decays: each decay is cut to its segment.
    assert_eq!(
        rates(steps(2), &[2, 3, 5]),
        [1.0, 0.75, 1.0, 1.0, 0.75, 0.5]
    );
    // A warmup that ends where the only budget ends.
    let cosine = Settings {
        warmup: 4,
        ..Settings::cosine(1.0, 0.5)
    };
    assert_eq!(rates(cosine, &[4]), [0.0, 0.25, 0.5, 0.75, 0.5, 0.5]);
    // No budget: nothing ends.
    assert_eq!(rates(base, &[]), [1.0; 6]);
    // A re-warmup, and an open end.
    let open = Settings {
        rewarmup: 2,
        after: After::Stable,
        ..steps(1)
    };
    assert_eq!(rates(open, &[2]), [1.0, 1.0, 0.5, 0.75, 1.0, 1.0]);
}

#[test]
fn decay_edges() {
    let rates = |length, decay_edge| -> Vec<f64> {
        let settings = Settings {
            shape: Shape::Linear,
            decay: Decay::Steps(length),
            decay_edge,
            ..Settings::wsd_s(1.0, 0.0)
        };
        let plan = Plan::new(settings, &[6]).expect("a plan");
        (2..7).map(|t| plan.lr_at(t)).collect()
    };
    assert_eq!(rates(3, DecayEdge::NPlusOne), [1.0, 0.75, 0.5, 0.25, 0.0]);
    assert_eq!(rates(3, DecayEdge::Both), [1.0, 1.0, 0.5, 0.0, 0.0]);
    assert_eq!(rates(2, DecayEdge::Both), [1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(rates(1, DecayEdge::Both), [1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(rates(1, DecayEdge::NPlusOne), [1.0, 1.0, 1.0, 0.5, 0.0]);
    assert_eq!(rates(0, DecayEdge::Both), [1.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn warmup_edges() {
    let rates = |warmup_edge| -> Vec<f64> {
        let settings = Settings {
            init: 0.25,
            warmup: 3,
            warmup_edge,
            ..Settings::constant(1.0)
        };
        let plan = Plan::new(settings, &[]).expect("a plan");
        (0..4).map(|t| plan.lr_at(t)).collect()
    };
    assert_eq!(rates(WarmupEdge::Zero), [0.25, 0.5, 0.75, 1.0]);
    assert_eq!(rates(WarmupEdge::One), [0.5, 0.75, 1.0, 1.0]);
    assert_eq!(rates(WarmupEdge::NPlusOne), [0.4375, 0.625, 0.8125, 1.0]);
    assert_eq!(rates(WarmupEdge::Both), [0.25, 0.625, 1.0, 1.0]);
}

#[test]
fn a_state_is_small() {
    // Without the plan and its budgets: step, place, start, ramp, decay start, end and two rates. A
    // pointer and the place have 4 bytes each on a 32-bit target: 56 bytes in `f32`, 64 in `f64`.
    let pointers = 2 * size_of::<usize>();
    let (counts, rates) = (5 * size_of::<u64>(), 2 * size_of::<f32>());
    assert_eq!(size_of::<State<f32>>(), pointers + counts + rates);
    assert_eq!(size_of::<State<f64>>(), pointers + counts + 2 * rates);
    assert!(size_of::<State<f32>>() <= 64);
}

/// The error of a plan with these settings and budgets.
fn refused(settings: Settings<f32>, budgets: &[u64]) -> PlanError {
    let error = Plan::new(settings, budgets).expect_err("a plan that is refused");
    assert!(!error.to_string().is_empty());
    error
}

#[test]
fn rates_are_checked() {
    let base = Settings::wsd_s(1.0_f32, 0.1);
    let name = RateName::Peak;
    for value in [-1.0, f32::INFINITY] {
        let settings = Settings {
            peak: value,
            ..base
        };
        assert_eq!(refused(settings, &[10]), PlanError::Rate { name, value });
    }
    let settings = Settings {
        peak: f32::NAN,
        ..base
    };
    assert!(matches!(
        refused(settings, &[10]),
        PlanError::Rate {
            name: RateName::Peak,
            ..
        }
    ));
    let (name, value) = (RateName::Floor, -0.5);
    let settings = Settings {
        floor: value,
        ..base
    };
    assert_eq!(refused(settings, &[10]), PlanError::Rate { name, value });
    let (name, value) = (RateName::Init, f32::NEG_INFINITY);
    let settings = Settings {
        init: value,
        ..base
    };
    assert_eq!(refused(settings, &[10]), PlanError::Rate { name, value });

    let (value, peak) = (2.0, 1.0);
    let name = RateName::Floor;
    let settings = Settings {
        floor: value,
        ..base
    };
    let want = PlanError::AbovePeak { name, value, peak };
    assert_eq!(refused(settings, &[10]), want);
    let name = RateName::Init;
    let settings = Settings {
        init: value,
        ..base
    };
    let want = PlanError::AbovePeak { name, value, peak };
    assert_eq!(refused(settings, &[10]), want);
}

#[test]
fn shapes_are_checked() {
    let base = Settings::wsd_s(1.0_f32, 0.0);
    for shape in [
        Shape::Geometric,
        Shape::InverseProportional,
        Shape::InverseSqrt,
    ] {
        let want = PlanError::FloorZero {
            shape: shape.name(),
        };
        assert_eq!(refused(Settings { shape, ..base }, &[10]), want);
    }
    for value in [0.0, -1.0, f32::INFINITY] {
        for shape in [
            Shape::Polynomial { power: value },
            Shape::HalfLife { half_lives: value },
        ] {
            let want = PlanError::ShapeParameter {
                shape: shape.name(),
                value,
            };
            assert_eq!(refused(Settings { shape, ..base }, &[10]), want);
        }
    }
}

#[test]
fn lengths_are_checked() {
    let base = Settings::wsd_s(1.0_f32, 0.1);
    for decay in [Decay::OfTotal(1_000_001), Decay::OfSegment(1_000_001)] {
        let want = PlanError::Fraction {
            millionths: 1_000_001,
        };
        assert_eq!(refused(Settings { decay, ..base }, &[10]), want);
    }
    let order = |index, previous, budget| PlanError::BudgetOrder {
        index,
        previous,
        budget,
    };
    assert_eq!(refused(base, &[0, 10]), order(0, 0, 0));
    assert_eq!(refused(base, &[10, 20, 20]), order(2, 20, 20));
    assert_eq!(refused(base, &[10, 5]), order(1, 10, 5));
    let (index, budget) = (1, (1 << 63) + 1);
    let large = PlanError::BudgetTooLarge { index, budget };
    assert_eq!(refused(base, &[1 << 63, budget]), large);

    let meets = |index, warmup, room| PlanError::WarmupMeetsDecay {
        index,
        warmup,
        room,
    };
    let late = Settings { warmup: 95, ..base };
    assert_eq!(refused(late, &[100, 200]), meets(0, 95, 90));
    let again = Settings {
        rewarmup: 81,
        ..base
    };
    assert_eq!(refused(again, &[100, 200]), meets(1, 81, 80));
    let whole = Settings {
        warmup: 11,
        ..Settings::cosine(1.0, 0.0)
    };
    assert_eq!(refused(whole, &[10]), meets(0, 11, 10));
    assert!(Plan::new(Settings { warmup: 90, ..base }, &[100]).is_ok());

    // A branch names the place in the whole list. Its main branch has no decay to meet.
    let error = Branches::new(Settings { warmup: 18, ..base }, &[20, 40]).map(|_| ());
    assert!(error.is_ok());
    let decay = Decay::Steps(30);
    let settings = Settings {
        warmup: 5,
        decay,
        ..base
    };
    let error = Branches::new(settings, &[36, 37]).map(|_| ());
    assert!(error.is_ok());
    let error = Branches::new(
        Settings {
            warmup: 7,
            ..settings
        },
        &[37, 38],
    )
    .map(|_| ());
    assert!(error.is_ok());
    let error = Branches::new(
        Settings {
            warmup: 8,
            ..settings
        },
        &[37, 38],
    )
    .map(|_| ());
    assert_eq!(error, Err(meets(0, 8, 7)));
}

#[test]
fn another_plan_is_named() {
    let base = Settings::wsd_s(1.0_f32, 0.1);
    let budgets = [100, 200];
    let plan = Plan::new(base, &budgets).expect("a plan");
    let mut saved = [0; State::<f32>::SAVED_LEN];
    State::at(&plan, 42).save(&mut saved).expect("saved");
    let part_of = |settings: Settings<f32>, budgets: &[u64]| {
        let other = Plan::new(settings, budgets).expect("a plan");
        match State::load(&other, &saved).map(|_| ()) {
            Err(StateError::OtherPlan { part, saved, given }) => {
                assert_ne!(saved, given);
                part
            }
            other => panic!("{other:?}"),
        }
    };
    for settings in [
        Settings { peak: 2.0, ..base },
        Settings { floor: 0.2, ..base },
        Settings { init: 0.1, ..base },
    ] {
        assert_eq!(part_of(settings, &budgets), PlanPart::Rates);
    }
    let warmup_edge = WarmupEdge::One;
    for settings in [
        Settings { warmup: 1, ..base },
        Settings {
            rewarmup: 1,
            ..base
        },
        Settings {
            warmup_edge,
            ..base
        },
        Settings {
            warmup_shape: WarmupShape::OneMinusSqrt,
            ..base
        },
    ] {
        assert_eq!(part_of(settings, &budgets), PlanPart::Warmup);
    }
    let (power, half_lives) = (2.0, 2.0);
    let shape = Shape::Polynomial { power };
    for settings in [
        Settings { shape, ..base },
        Settings {
            shape: Shape::HalfLife { half_lives },
            ..base
        },
        Settings {
            decay: Decay::OfSegment(100_000),
            ..base
        },
        Settings {
            decay: Decay::OfTotal(100_001),
            ..base
        },
        Settings {
            decay: Decay::Steps(20),
            ..base
        },
        Settings {
            decay_edge: DecayEdge::ReachLast,
            ..base
        },
        Settings {
            after: After::Stable,
            ..base
        },
        Settings {
            stable: Stable::InverseSqrt,
            ..base
        },
        Settings {
            stable: Stable::InverseSqrtAfter {
                start: 7,
                timescale: 8,
            },
            ..base
        },
    ] {
        assert_eq!(part_of(settings, &budgets), PlanPart::Decay);
    }
    assert_eq!(part_of(base, &[100, 201]), PlanPart::Budgets);
    assert_eq!(part_of(base, &[100]), PlanPart::Budgets);
    // Every part differs: the first is named.
    assert_eq!(part_of(Settings::linear(2.0, 0.0), &[7]), PlanPart::Rates);
    // An equal plan in another place is the same plan.
    let equal = budgets.to_vec();
    let again = Plan::new(base, &equal).expect("a plan");
    assert_eq!(State::load(&again, &saved).map(|s| s.step()), Ok(42));
}

#[test]
fn damaged_states_are_refused() {
    let budgets = [100, 200];
    let plan = Plan::new(Settings::wsd_s(1.0_f64, 0.1), &budgets).expect("a plan");
    let mut saved = [0; State::<f64>::SAVED_LEN];
    State::at(&plan, 150).save(&mut saved).expect("saved");
    let load = |bytes: &[u8]| State::load(&plan, bytes).map(|_| ());

    for have in 0..saved.len() {
        match load(&saved[..have]) {
            Err(StateError::Decode(DecodeError::Truncated { need, have: got })) => {
                assert!(need > have && got == have);
            }
            other => panic!("{have} bytes: {other:?}"),
        }
    }
    for bit in 0..8 * saved.len() {
        let mut bytes = saved;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let want_checksum = !(0..12).contains(&(bit / 8));
        match load(&bytes) {
            Err(StateError::Decode(DecodeError::Checksum { stored, computed })) => {
                assert_ne!(stored, computed);
            }
            Err(StateError::Decode(_)) if !want_checksum => {}
            other => panic!("bit {bit}: {other:?}"),
        }
    }
    let mut bytes = saved;
    bytes[..4].copy_from_slice(b"NOPE");
    let found = *b"NOPE";
    assert_eq!(load(&bytes), Err(DecodeError::BadMagic { found }.into()));
    let mut bytes = saved;
    bytes[4] = 9;
    let (found, version) = (9, 2);
    assert_eq!(
        load(&bytes),
        Err(DecodeError::Version { found, version }.into())
    );

    // A whole frame with a good checksum, but with a phase that is not the plan's.
    let (head, rest) = saved.split_at(12);
    let payload = &rest[..rest.len() - 4];
    // Place, start, decay start and end, and the signs of the two rates.
    for at in [31, 39, 55, 56, 71, 79] {
        let mut other = payload.to_vec();
        other[at] ^= 0xff;
        let mut bytes = vec![0; saved.len()];
        let mut writer = Writer::new(&mut bytes, [head[0], head[1], head[2], head[3]], 2);
        writer.bytes(&other);
        assert_eq!(writer.finish(), Ok(saved.len()));
        assert_eq!(load(&bytes), Err(StateError::Phase { step: 150 }), "{at}");
    }
}

#[test]
fn what_follows_a_saved_state_does_not_matter() {
    let plan = Plan::new(Settings::constant(1.0_f32), &[]).expect("a plan");
    let mut slot = [0xff; 128];
    let length = State::at(&plan, 7).save(&mut slot).expect("saved");
    assert_eq!(length, State::<f32>::SAVED_LEN);
    assert_eq!(State::load(&plan, &slot).map(|s| s.step()), Ok(7));
}

#[test]
fn a_small_buffer_tells_what_it_needs() {
    let plan = Plan::new(Settings::constant(1.0_f32), &[]).expect("a plan");
    let need = State::<f32>::SAVED_LEN;
    for have in 0..need {
        let mut buffer = vec![0; have];
        let got = State::new(&plan).save(&mut buffer);
        assert_eq!(got, Err(EncodeError::NoSpace { need, have }));
    }
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn errors_can_be_read() {
    let part = PlanPart::Budgets;
    let text = StateError::OtherPlan {
        part,
        saved: 1,
        given: 2,
    };
    assert!(text.to_string().contains("budgets"));
    let text = PlanError::BudgetOrder {
        index: 3,
        previous: 20,
        budget: 10,
    };
    assert_eq!(text.to_string(), "budget 3 (10) does not lie above 20");
}

/// A run whose later budgets were not known at first has the rates of one that knew them all.
#[test]
fn budgets_that_are_added_later_are_as_if_they_had_always_been_there() {
    let random = &mut Random::new(77);
    let (mut tried, mut added) = (0, 0);
    while added < 2000 {
        tried += 1;
        assert!(tried < 100_000, "only {added} plans fit");
        let settings = random_settings::<f64>(random);
        let mut budgets: Vec<u64> = (0..4).map(|_| random.range(1, 300) as u64).collect();
        budgets.sort_unstable();
        budgets.dedup();
        let known = random.range(0, budgets.len());
        let (Ok(all), Ok(plan)) = (
            Plan::new(settings, &budgets),
            Plan::new(settings, &budgets[..known]),
        ) else {
            continue;
        };
        // Up to where the first of the new decays begins, and before its budget, also where that has no decay.
        let last = all
            .decay(known)
            .map_or(400, |decay| decay.start.min(decay.end - 1));
        let step = random.range(0, last as usize) as u64;
        let state = State::at(&plan, step);
        let state = state
            .replan(&all)
            .unwrap_or_else(|e| panic!("{settings:?}, {budgets:?}: {e}"));
        for t in [step, step + 1, last, last + 1, 299, 300] {
            if t >= step {
                assert_eq!(
                    state.lr_at(t),
                    all.lr_at(t),
                    "{settings:?}, {budgets:?}, {known}: {step}, {t}"
                );
            }
        }
        // And it is saved as a state of the new plan.
        let mut saved = [0; State::<f64>::SAVED_LEN];
        state.save(&mut saved).expect("room");
        assert_eq!(State::load(&all, &saved), Ok(state));
        added += 1;
    }
}

#[test]
fn budgets_are_replaced_only_where_they_are_still_to_come() {
    let settings = Settings::wsd_s(1.0_f64, 0.1);
    let plan = Plan::new(settings, &[100, 200]).expect("a plan");
    let refused = |step, settings, budgets: &[u64]| {
        let other = Plan::new(settings, budgets).expect("a plan");
        match State::at(&plan, step).replan(&other) {
            Ok(_) => None,
            Err(StateError::OtherPlan { part, .. }) => Some(part),
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(refused(50, settings, &[120]), None);
    assert_eq!(refused(50, settings, &[]), None);
    assert_eq!(refused(50, settings, &[40, 200]), Some(PlanPart::Budgets));
    // In the decay of a budget that budget stays.
    assert_eq!(refused(95, settings, &[110, 200]), Some(PlanPart::Budgets));
    assert_eq!(refused(95, settings, &[100, 150, 300]), None);
    assert_eq!(refused(150, settings, &[90, 200]), Some(PlanPart::Budgets));
    let faster = Settings {
        peak: 2.0,
        ..settings
    };
    assert_eq!(refused(50, faster, &[100, 200]), Some(PlanPart::Rates));

    // A decay that was asked for goes on; a budget that was moved stays moved; one that is near decays from now on.
    let longer = Plan::new(settings, &[100, 200, 300]).expect("a plan");
    let mut state = State::at(&plan, 120);
    state.request_decay(30);
    let same = state.replan(&longer).expect("the same run");
    assert!((120..150).all(|t| same.lr_at(t) == state.lr_at(t)));
    assert_eq!((same.lr_at(150), same.lr_at(299)), (1.0, longer.lr_at(299)));
    let mut state = State::at(&plan, 120);
    state.extend(20);
    let moved = state.replan(&longer).expect("the same run");
    assert!((120..220).all(|t| moved.lr_at(t) == state.lr_at(t)));
    let near = Plan::new(settings, &[100, 125]).expect("a plan");
    let state = State::at(&plan, 120).replan(&near).expect("the same run");
    assert_eq!((state.lr_at(120), state.remaining()), (1.0, Some(5)));
    assert!(state.lr_at(124) < 0.2);
    // A run that had left the last floor.
    let mut state = State::at(&plan, 210);
    assert!(state.resume_to_peak(0));
    let on = state.replan(&longer).expect("the same run");
    assert_eq!([210, 269, 300].map(|t| on.lr_at(t)), [1.0, 1.0, 0.1]);
}

#[test]
fn steps_count_to_two_to_the_63() {
    let end = 1_u64 << 63;
    let settings = Settings {
        decay: Decay::Steps(1000),
        ..Settings::wsd_s(1.0_f32, 0.1)
    };
    let budgets = [end];
    let plan = Plan::new(settings, &budgets).expect("a plan");
    let mut state = State::at(&plan, end - 1500);
    assert!(state.request_decay(100));
    let mut saved = [0; State::<f32>::SAVED_LEN];
    for t in end - 1500..end + 10 {
        state.save(&mut saved).expect("room");
        state = State::load(&plan, &saved).expect("its own plan");
        assert_eq!((state.step(), state.lr_at(t)), (t, state.rate()));
        state.advance();
    }
    assert_eq!(state.rate(), 0.1);
}
