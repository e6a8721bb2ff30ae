//! Learning rates from the definitions, with no care for digits that cancel.

use rivergram_core::schedule::{After, Decay, DecayEdge, Settings, Shape, Stable, WarmupEdge};

/// The rate at progress p of a decay from P to F.
pub fn shape(shape: Shape<f64>, p: f64, peak: f64, floor: f64) -> f64 {
    let span = peak - floor;
    match shape {
        Shape::Linear => floor + span * (1.0 - p),
        Shape::Cosine => floor + span * (1.0 + (std::f64::consts::PI * p).cos()) / 2.0,
        Shape::OneMinusSqrt => floor + span * (1.0 - p.sqrt()),
        Shape::OneMinusSquare => floor + span * (1.0 - p * p),
        Shape::Polynomial { power } => floor + span * (1.0 - p).powf(power),
        Shape::Geometric => peak * (floor / peak).powf(p),
        Shape::HalfLife { half_lives } => floor.max(peak * 0.5_f64.powf(p * half_lives)),
        Shape::Exponential => floor + span * (2.0 * 0.5_f64.powf(p) - 1.0),
        Shape::InverseProportional => 1.0 / (p / floor + (1.0 - p) / peak),
        Shape::InverseSqrt => (p / floor.sqrt() + (1.0 - p) / peak.sqrt()).powi(-2),
    }
}

/// The rate of the (t+1)-th update.
pub fn lr_at(s: &Settings<f64>, budgets: &[u64], t: u64) -> f64 {
    let index = budgets.iter().filter(|end| **end <= t).count();
    let start = if index == 0 { 0 } else { budgets[index - 1] };
    let (ramp, base) = if index == 0 {
        (s.warmup, s.init)
    } else {
        (s.rewarmup, s.floor)
    };
    if index == budgets.len() && index > 0 && s.after == After::Floor {
        return s.floor;
    }
    let level = |t: u64| match s.stable {
        Stable::Constant => s.peak,
        Stable::InverseSqrt => {
            let warmup = s.warmup.max(1);
            let t = t.max(warmup);
            s.floor.max(s.peak * (warmup as f64 / t as f64).sqrt())
        }
    };
    if t < start + ramp {
        let k = (t - start) as f64;
        let x = match s.warmup_edge {
            WarmupEdge::Zero => k / ramp as f64,
            WarmupEdge::One => (k + 1.0) / ramp as f64,
            WarmupEdge::NPlusOne => (k + 1.0) / (ramp as f64 + 1.0),
        };
        let rate = base + (level(start + ramp) - base) * x;
        return match s.stable {
            Stable::Constant => rate,
            Stable::InverseSqrt => rate.max(s.floor),
        };
    }
    if index == budgets.len() {
        return level(t);
    }
    let end = budgets[index];
    let part = |whole: u64, millionths: u32| {
        let length = u128::from(whole) * u128::from(millionths) / 1_000_000;
        (length as u64).max(1)
    };
    let length = match s.decay {
        Decay::OfTotal(millionths) => part(end, millionths),
        Decay::OfSegment(millionths) => part(end - start, millionths),
        Decay::Steps(steps) => steps,
        Decay::Whole => end - start - ramp,
    };
    let length = length.min(end - start);
    let decay_start = end - length;
    if t < decay_start {
        return level(t);
    }
    let k = match s.decay_edge {
        DecayEdge::ReachAfter => t - decay_start,
        DecayEdge::ReachLast => t - decay_start + 1,
    };
    shape(
        s.shape,
        k as f64 / length as f64,
        level(decay_start),
        s.floor,
    )
}
