//! One step of WSD-S, in the decay, for each shape.

use core::f32::consts::PI;

use rivergram_core::schedule::{Plan, Progress, Settings, Shape, State};

use crate::measure::cost;
use crate::plain::Schedule;

/// A run so long that the measurement does not leave its decay.
const BUDGET: u32 = 2_000_000_000;

macro_rules! shapes {
    ($($name:literal: $shape:expr, $plain:expr;)*) => {$({
        let settings = Settings { shape: $shape, ..Settings::wsd_s(0.1_f32, 0.001) };
        let budgets = [u64::from(BUDGET)];
        if let Ok(plan) = Plan::new(settings, &budgets) {
            let mut state = State::at(&plan, u64::from(BUDGET / 100 * 95));
            cost!(concat!("rivergram: schedule step, ", $name), size_of::<Progress<f32>>(), (state: &mut State<'_, f32> = &mut state) -> f32 {
                state.advance()
            });
        }
        let mut schedule = Schedule {
            step: BUDGET / 100 * 95,
            warmup: 0,
            start: BUDGET / 10 * 9,
            length: BUDGET / 10,
            peak: 0.1,
            floor: 0.001,
        };
        cost!(concat!("plain: schedule step, ", $name), size_of::<Schedule>(), (schedule: &mut Schedule = &mut schedule) -> f32 {
            schedule.advance($plain)
        });
    })*};
}

/// The lines.
pub(crate) fn costs() {
    shapes! {
        "linear": Shape::Linear, |p, peak, floor| floor + (peak - floor) * (1.0 - p);
        "cosine": Shape::Cosine, |p, peak, floor| floor + (peak - floor) * (1.0 + libm::cosf(PI * p)) / 2.0;
        "one-minus-sqrt": Shape::OneMinusSqrt, |p, peak, floor| floor + (peak - floor) * (1.0 - libm::sqrtf(p));
        "one-minus-square": Shape::OneMinusSquare, |p, peak, floor| floor + (peak - floor) * (1.0 - p * p);
        "polynomial": Shape::Polynomial { power: 2.5 }, |p, peak, floor| floor + (peak - floor) * libm::powf(1.0 - p, 2.5);
        "geometric": Shape::Geometric, |p, peak, floor| peak * libm::powf(floor / peak, p);
        "half-life": Shape::HalfLife { half_lives: 5.0 }, |p, peak, floor: f32| floor.max(peak * libm::exp2f(-5.0 * p));
        "exponential": Shape::Exponential, |p, peak, floor| floor + (peak - floor) * (2.0 * libm::exp2f(-p) - 1.0);
        "inverse-proportional": Shape::InverseProportional, |p, peak, floor| 1.0 / (p / floor + (1.0 - p) / peak);
        "inverse-sqrt": Shape::InverseSqrt, |p, peak, floor| {
            let root = p / libm::sqrtf(floor) + (1.0 - p) / libm::sqrtf(peak);
            1.0 / (root * root)
        };
    }
    let budgets = [u64::from(BUDGET)];
    let settings = Settings {
        warmup: 1,
        ..Settings::wsd_s(0.1_f32, 0.001)
    };
    if let Ok(plan) = Plan::new(settings, &budgets) {
        let mut state = State::at(&plan, 1000);
        cost!("rivergram: schedule step, before the decay", size_of::<Progress<f32>>(), (state: &mut State<'_, f32> = &mut state) -> f32 {
            state.advance()
        });
    }
}
