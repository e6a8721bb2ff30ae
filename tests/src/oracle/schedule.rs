//! Learning rates from the definitions, with no care for digits that cancel.

use rivergram_core::schedule::{
    After, Decay, DecayEdge, Settings, Shape, Stable, WarmupEdge, WarmupShape,
};

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
        Stable::InverseSqrtAfter { start, timescale } => {
            let scale = timescale.max(1) as f64;
            let since = t.max(start) as f64 - start as f64;
            s.floor.max(s.peak * (scale / (scale + since)).sqrt())
        }
    };
    if t < start + ramp {
        let k = (t - start) as f64;
        let x = match s.warmup_edge {
            WarmupEdge::Zero => k / ramp as f64,
            WarmupEdge::One => (k + 1.0) / ramp as f64,
            WarmupEdge::NPlusOne => (k + 1.0) / (ramp as f64 + 1.0),
            WarmupEdge::Both => k / (ramp as f64 - 1.0).max(1.0),
        };
        let risen = match s.warmup_shape {
            WarmupShape::Linear => x,
            WarmupShape::Cosine => (1.0 - (std::f64::consts::PI * x).cos()) / 2.0,
            WarmupShape::OneMinusSqrt => 1.0 - (1.0 - x).sqrt(),
        };
        let target = level(start + ramp);
        let rate = (base + (target - base) * risen).min(target);
        return match s.stable {
            Stable::Constant | Stable::InverseSqrtAfter { .. } => rate,
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
    let (k, n) = ((t - decay_start) as f64, length as f64);
    let p = match s.decay_edge {
        DecayEdge::ReachAfter => k / n,
        DecayEdge::ReachLast => (k + 1.0) / n,
        DecayEdge::NPlusOne => (k + 1.0) / (n + 1.0),
        DecayEdge::Both if length == 1 => 1.0,
        DecayEdge::Both => k / (n - 1.0),
    };
    let from = level(decay_start);
    if length == 1 && s.decay_edge == DecayEdge::Both {
        return match s.shape {
            Shape::HalfLife { .. } => shape(s.shape, p, from, s.floor),
            _ => s.floor,
        };
    }
    shape(s.shape, p, from, s.floor)
}

/// The two areas of arXiv 2408.11029 after each rate, as they are defined: O(n²).
pub fn areas(rates: &[f64], momentum: f64) -> Vec<(f64, f64)> {
    let annealed = |i: usize| -> f64 {
        let terms = (1..=i).map(|k| (rates[k - 1] - rates[k]) * momentum.powi((i - k) as i32));
        terms.sum()
    };
    let mut sums = (0.0, 0.0);
    let steps = (0..rates.len()).map(|i| {
        sums = (sums.0 + rates[i], sums.1 + annealed(i));
        sums
    });
    steps.collect()
}

/// The rate of torchtitan at commit 0e13811853fa, `build_lr_schedulers`.
pub fn torchtitan_np1(
    kind: &str,
    peak: f64,
    floor: f64,
    warmup: u64,
    decay: u64,
    total: u64,
    t: u64,
) -> f64 {
    let decay_start = total - decay;
    let t = t.min(total);
    if t < warmup {
        return peak * (t as f64 + 1.0) / (warmup as f64 + 1.0);
    }
    if t < decay_start || decay == 0 {
        return peak;
    }
    let p = ((t + 1 - decay_start) as f64) / (decay as f64 + 1.0);
    let part = match kind {
        "linear" => 1.0 - p,
        "sqrt" => 1.0 - p.sqrt(),
        "cosine" => 0.5 * (1.0 + (std::f64::consts::PI * p).cos()),
        other => panic!("unknown kind {other}"),
    };
    floor + (peak - floor) * part
}

/// The rate of Levanter in marin at commit 0f45aa1c6914, `OptimizerConfig.lr_scheduler`, with lengths in
/// steps; `cycles` are the ends of its cycles.
#[allow(clippy::too_many_arguments)]
pub fn levanter(
    kind: &str,
    peak: f64,
    floor: f64,
    warmup: u64,
    rewarmup: u64,
    decay: Option<u64>,
    cycles: &[u64],
    t: u64,
) -> f64 {
    let cycle = cycles.iter().filter(|end| **end <= t).count();
    if cycle == cycles.len() {
        return floor;
    }
    let start = if cycle == 0 { 0 } else { cycles[cycle - 1] };
    let length = cycles[cycle] - start;
    let (ramp, from) = if cycle == 0 {
        (warmup.min(length), 0.0)
    } else {
        (rewarmup.min(length), floor)
    };
    let decay = decay.unwrap_or(u64::MAX).min(length - ramp);
    let k = t - start;
    if k < ramp {
        return peak + (from - peak) * (1.0 - k as f64 / ramp as f64);
    }
    if k < length - decay {
        return peak;
    }
    let p = |k: u64| k as f64 / decay as f64;
    let k = k - (length - decay);
    match kind {
        "linear" => floor + (peak - floor) * (1.0 - p(k)),
        "cosine" => floor + (peak - floor) * (1.0 + (std::f64::consts::PI * p(k)).cos()) / 2.0,
        // The first update of the decay has the rate of the second.
        "inv" => peak / ((peak / floor - 1.0) * p(k.max(1)) + 1.0),
        other => panic!("unknown kind {other}"),
    }
}
