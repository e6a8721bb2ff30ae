//! The schedules of other implementations, to the step.
//!
//! Each function gives the [`Settings`] that reproduce one schedule of one implementation, in the version
//! that its documentation names; budgets go to [`Plan::new`](super::Plan::new) as it says. A plan with
//! them gives the rates of that implementation to the precision of the number type, at every step up to
//! the last budget. The comparison and its command: `docs/schedules.md`.
//!
//! Rates are absolute: where an implementation takes a ratio of the peak, multiply. Lengths are counts,
//! in any unit. Where one makes them from a fraction, [`rounded`] and [`truncated`] do it in its way. What
//! an implementation does that no one can want (a division by zero, a rate below the floor after the end)
//! is named and not imitated.

use super::{Decay, DecayEdge, Settings, Shape, Stable, WarmupEdge, WarmupShape};
use crate::lanes::Real;

/// Python's `round(total * fraction)`, in double precision, a half to the even number: the lengths of
/// OLMo-core and torchtitan. For settings on a host; 0 for a NaN. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::presets::rounded;
///
/// assert_eq!([rounded(1005, 0.1), rounded(25, 0.1), rounded(35, 0.1)], [100, 2, 4]);
/// // The product is 57.49999999999999.
/// assert_eq!(rounded(100, 0.575), 57);
/// ```
pub fn rounded(total: u64, fraction: f64) -> u64 {
    libm::rint(total as f64 * fraction) as u64
}

/// Python's `int(total * fraction)`, in double precision: the lengths of Levanter and
/// pytorch-accelerated. For settings on a host; 0 for a NaN. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::presets::truncated;
///
/// // The product is 28.999999999999996.
/// assert_eq!([truncated(100, 0.1), truncated(100, 0.29)], [10, 28]);
/// ```
pub fn truncated(total: u64, fraction: f64) -> u64 {
    (total as f64 * fraction) as u64
}

/// t/W to the peak, then `decay` steps of `shape` before the budget, k/D, then the floor: what most do.
fn usual<T: Real>(
    init: T,
    peak: T,
    floor: T,
    warmup: u64,
    decay: Decay,
    shape: Shape<T>,
) -> Settings<T> {
    Settings {
        init,
        warmup,
        decay,
        shape,
        ..Settings::wsd_s(peak, floor)
    }
}

/// transformers 5.23.0, `get_constant_schedule_with_warmup`: P·t/W, then P. No budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_constant(1.0_f64, 4), &[])?;
/// assert_eq!([0, 3, 4].map(|t| plan.lr_at(t)), [0.0, 0.75, 1.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_constant<T: Real>(peak: T, warmup: u64) -> Settings<T> {
    Settings {
        warmup,
        ..Settings::constant(peak)
    }
}

/// transformers 5.23.0, `get_linear_schedule_with_warmup`: P·t/W, then P(1−p), then 0. The budget is
/// `num_training_steps`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_linear(1.0_f64, 2), &[6])?;
/// assert_eq!([1, 2, 3, 6].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.75, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_linear<T: Real>(peak: T, warmup: u64) -> Settings<T> {
    transformers_polynomial(peak, T::ZERO, T::ONE, warmup)
}

/// transformers 5.23.0, `get_polynomial_decay_schedule_with_warmup`: P·t/W, then F + (P−F)(1−p)ᵃ, then
/// F = `lr_end`. The budget is `num_training_steps`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_polynomial(1.0_f64, 0.2, 2.0, 0), &[4])?;
/// assert_eq!([0, 2, 4].map(|t| plan.lr_at(t)), [1.0, 0.4, 0.2]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_polynomial<T: Real>(peak: T, floor: T, power: T, warmup: u64) -> Settings<T> {
    let shape = if power == T::ONE {
        Shape::Linear
    } else {
        Shape::Polynomial { power }
    };
    usual(T::ZERO, peak, floor, warmup, Decay::Whole, shape)
}

/// transformers 5.23.0, `get_cosine_schedule_with_warmup` (F = 0) and
/// `get_cosine_with_min_lr_schedule_with_warmup`: P·t/W, then half a cosine down to F. The budget is
/// `num_training_steps`. With c budgets W + i(T−W)/c, i = 1 … c, where c divides T−W, and F = 0, it is
/// `get_cosine_with_hard_restarts_schedule_with_warmup`. Not imitated: the rate rises again after the
/// budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_cosine(1.0_f64, 0.0, 10), &[30])?;
/// assert!((plan.lr_at(20) - 0.5).abs() < 1e-15);
/// let restarts = Plan::new(presets::transformers_cosine(1.0_f64, 0.0, 10), &[20, 30])?;
/// assert_eq!([10, 20, 30].map(|t| restarts.lr_at(t)), [1.0, 1.0, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_cosine<T: Real>(peak: T, floor: T, warmup: u64) -> Settings<T> {
    usual(T::ZERO, peak, floor, warmup, Decay::Whole, Shape::Cosine)
}

/// transformers 5.23.0, `get_cosine_with_min_lr_schedule_with_warmup_lr_rate`: P(t+1)/W without a
/// `warmup_lr_rate`, else from that (times P) as `init` by t/(W−1); then half a cosine with p = (k+1)/D.
/// The budget is `num_training_steps`. Not imitated: the rate rises again after the budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_cosine_shifted(None, 1.0_f64, 0.1, 2), &[4])?;
/// assert_eq!([0, 1, 3].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.1]);
/// let plan = Plan::new(presets::transformers_cosine_shifted(Some(0.5), 1.0_f64, 0.1, 3), &[5])?;
/// assert_eq!([0, 1, 2, 4].map(|t| plan.lr_at(t)), [0.5, 0.75, 1.0, 0.1]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_cosine_shifted<T: Real>(
    init: Option<T>,
    peak: T,
    floor: T,
    warmup: u64,
) -> Settings<T> {
    let (init, warmup_edge) = match init {
        Some(init) => (init, WarmupEdge::Both),
        None => (T::ZERO, WarmupEdge::One),
    };
    Settings {
        init,
        warmup_edge,
        decay_edge: DecayEdge::ReachLast,
        ..transformers_cosine(peak, floor, warmup)
    }
}

/// transformers 5.23.0, `get_inverse_sqrt_schedule`: P·t/W, then P·√(τ/(t−W+τ)); without a time scale
/// τ = W, or 10000 for W = 0. No budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::transformers_inverse_sqrt(1.0_f64, 10, Some(30)), &[])?;
/// assert_eq!([5, 10, 100].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.5]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_inverse_sqrt<T: Real>(
    peak: T,
    warmup: u64,
    timescale: Option<u64>,
) -> Settings<T> {
    let default = if warmup == 0 { 10_000 } else { warmup };
    Settings {
        warmup,
        stable: Stable::InverseSqrtAfter {
            start: warmup,
            timescale: timescale.unwrap_or(default),
        },
        ..Settings::constant(peak)
    }
}

/// transformers 5.23.0, `get_wsd_schedule`: from F (not 0) to P in one of three shapes with x = t/W, then
/// P, then D steps of a linear, cosine or 1−sqrt decay with p = k/D, then F. The budget is
/// `num_warmup_steps + num_stable_steps + num_decay_steps`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, WarmupShape, presets};
///
/// let (rise, fall) = (WarmupShape::Linear, Shape::Linear);
/// let plan = Plan::new(presets::transformers_wsd(1.0_f64, 0.5, 2, 4, rise, fall), &[10])?;
/// assert_eq!([0, 1, 2, 6, 8, 10].map(|t| plan.lr_at(t)), [0.5, 0.75, 1.0, 1.0, 0.75, 0.5]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn transformers_wsd<T: Real>(
    peak: T,
    floor: T,
    warmup: u64,
    decay: u64,
    warmup_shape: WarmupShape,
    shape: Shape<T>,
) -> Settings<T> {
    Settings {
        warmup_shape,
        ..usual(floor, peak, floor, warmup, Decay::Steps(decay), shape)
    }
}

/// Megatron-core 0.16.1, `OptimizerParamScheduler` with `lr_decay_style` `WSD`: init + (P−init)·t/W, P,
/// then `wsd_decay_steps` of [`Shape::Linear`], [`Cosine`](Shape::Cosine),
/// [`Exponential`](Shape::Exponential) or [`OneMinusSqrt`](Shape::OneMinusSqrt) (`minus_sqrt`) with
/// p = k/D, then `min_lr`. The budget is `lr_decay_steps`. It counts samples:
/// [`State::advance_by`](super::State::advance_by) with the batch size. Not imitated: a decay longer than
/// the steps after the warmup, where its rate jumps, is refused; its saved state lacks the decay's length
/// and style. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, State, presets};
///
/// let settings = presets::megatron_wsd(0.0_f64, 1.0, 0.0, 512, 1024, Shape::Linear);
/// let plan = Plan::new(settings, &[4096])?;
/// let mut state = State::new(&plan);
/// assert_eq!([state.advance_by(256), state.advance_by(256), state.rate()], [0.0, 0.5, 1.0]);
/// assert_eq!(plan.lr_at(3584), 0.5);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn megatron_wsd<T: Real>(
    init: T,
    peak: T,
    floor: T,
    warmup: u64,
    decay: u64,
    shape: Shape<T>,
) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Steps(decay), shape)
}

/// Megatron-core 0.16.1, `lr_decay_style` `linear` or `cosine`: init + (P−init)·t/W, then `shape` over
/// all the rest. The budget is `lr_decay_steps`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, presets};
///
/// let plan = Plan::new(presets::megatron(0.5_f64, 1.0, 0.0, 2, Shape::Linear), &[6])?;
/// assert_eq!([1, 2, 4, 6].map(|t| plan.lr_at(t)), [0.75, 1.0, 0.5, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn megatron<T: Real>(init: T, peak: T, floor: T, warmup: u64, shape: Shape<T>) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Whole, shape)
}

/// Megatron-core 0.16.1, `lr_decay_style` `inverse-square-root`: init + (P−init)·t/W, then
/// max(F, P·√(max(W, 1)/t)), then `min_lr`. The budget is `lr_decay_steps` + 1, since that step still has
/// its rate. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::megatron_inverse_sqrt(0.0_f64, 1.0, 0.1, 4), &[17])?;
/// assert_eq!([2, 4, 16, 17].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.5, 0.1]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn megatron_inverse_sqrt<T: Real>(init: T, peak: T, floor: T, warmup: u64) -> Settings<T> {
    let start = warmup.max(1);
    Settings {
        stable: Stable::InverseSqrtAfter {
            start,
            timescale: start,
        },
        ..usual(init, peak, floor, warmup, Decay::Steps(0), Shape::Linear)
    }
}

/// OLMo-core 3.0.0, `WSD`: init + (P−init)·t/W, P, then D linear steps with p = k/D. The budget is
/// `t_max`; W and D from fractions are [`rounded`]`(t_max, …)`. Not imitated: division by zero for W = 0
/// and for D = 0, and rates below the floor after the budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let decay = presets::rounded(35, 0.1);
/// let plan = Plan::new(presets::olmo_core_wsd(0.0_f64, 1.0, 0.0, 5, decay), &[35])?;
/// assert_eq!([1, 31, 33, 35].map(|t| plan.lr_at(t)), [0.2, 1.0, 0.5, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn olmo_core_wsd<T: Real>(init: T, peak: T, floor: T, warmup: u64, decay: u64) -> Settings<T> {
    usual(
        init,
        peak,
        floor,
        warmup,
        Decay::Steps(decay),
        Shape::Linear,
    )
}

/// OLMo-core 3.0.0, `WSDS` with a `decay` in steps and no multipliers. It spends the update at each
/// period's end at the floor and takes it from the next period: the budgets are the sums of
/// `period_lengths`, each plus 1, and each decay has one step more. Not imitated: division by zero for
/// D = 0. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// // Periods of 10 and 10 steps, decays of 2.
/// let plan = Plan::new(presets::olmo_core_wsds(0.0_f64, 1.0, 0.0, 0, 2), &[11, 21])?;
/// assert_eq!([8, 9, 10, 11, 20].map(|t| plan.lr_at(t)), [1.0, 0.5, 0.0, 1.0, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn olmo_core_wsds<T: Real>(init: T, peak: T, floor: T, warmup: u64, decay: u64) -> Settings<T> {
    Settings {
        decay_edge: DecayEdge::Both,
        ..olmo_core_wsd(init, peak, floor, warmup, decay.saturating_add(1))
    }
}

/// OLMo-core 3.0.0, `LinearWithWarmup` and `CosWithWarmup`: init + (P−init)·t/W, then `shape` to
/// F = `alpha_f`·P over all the rest. The budget is `t_max`; W from a fraction is
/// [`rounded`]`(t_max, …)`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, presets};
///
/// let plan = Plan::new(presets::olmo_core(0.0_f64, 1.0, 0.5, 2, Shape::Linear), &[6])?;
/// assert_eq!([1, 2, 4, 6].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.75, 0.5]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn olmo_core<T: Real>(init: T, peak: T, floor: T, warmup: u64, shape: Shape<T>) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Whole, shape)
}

/// torchtitan 0.3.0 (and 0.1.0 to 0.2.2), `LRSchedulersContainer`: P(t+1)/W, P, then D steps of a linear,
/// `sqrt` ([`Shape::OneMinusSqrt`]) or cosine decay. Its "virtual last step" makes p = k/D, from P on. The
/// budget is `total`, its `total_steps`; D is [`rounded`]`(total, decay_ratio)`, all after the warmup for
/// `None`. As it does, a warmup longer than the total is cut to it, and a decay to what is left. Not
/// imitated: past the budget its rate leaves the range. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, presets};
///
/// let plan = Plan::new(presets::torchtitan(1.0_f64, 0.0, 2, Some(4), 10, Shape::Linear), &[10])?;
/// assert_eq!([0, 1, 6, 8, 9].map(|t| plan.lr_at(t)), [0.5, 1.0, 1.0, 0.5, 0.25]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn torchtitan<T: Real>(
    peak: T,
    floor: T,
    warmup: u64,
    decay: Option<u64>,
    total: u64,
    shape: Shape<T>,
) -> Settings<T> {
    let warmup = warmup.min(total);
    let room = total.saturating_sub(warmup);
    let decay = Decay::Steps(decay.unwrap_or(room).min(room));
    Settings {
        warmup_edge: WarmupEdge::One,
        ..usual(T::ZERO, peak, floor, warmup, decay, shape)
    }
}

/// torchtitan at commit 0e13811853fa, `build_lr_schedulers`: P(t+1)/(W+1), P, then D steps with
/// p = (k+1)/(D+1). The budget is `training.steps`; D is [`rounded`]`(steps, decay_ratio)`. Not imitated:
/// warmup and decay that overlap are refused. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, presets};
///
/// let plan = Plan::new(presets::torchtitan_np1(1.0_f64, 0.0, 3, 3, Shape::Linear), &[10])?;
/// assert_eq!([0, 2, 6, 7, 9, 10].map(|t| plan.lr_at(t)), [0.25, 0.75, 1.0, 0.75, 0.25, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn torchtitan_np1<T: Real>(
    peak: T,
    floor: T,
    warmup: u64,
    decay: u64,
    shape: Shape<T>,
) -> Settings<T> {
    Settings {
        warmup_edge: WarmupEdge::NPlusOne,
        decay_edge: DecayEdge::NPlusOne,
        ..usual(T::ZERO, peak, floor, warmup, Decay::Steps(decay), shape)
    }
}

/// Levanter in marin at commit 0f45aa1c6914, `OptimizerConfig.lr_scheduler` with `linear`, `cosine`,
/// `polynomial` or `inv` ([`Shape::InverseProportional`]): per cycle P·t/W in the first, `rewarmup` steps
/// from F in the others, P, then a decay with p = k/D. The budgets are the ends of its cycles, the last
/// the number of training steps; without cycles that one alone. Lengths from fractions are
/// [`truncated`]`(cycle, …)`; [`Decay::Whole`] is its default, `decay=None`. Not imitated: the first
/// update of `inv` repeats the second; a decay longer than what the warmup leaves is cut there and refused
/// here. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Decay, Plan, Shape, presets};
///
/// // WSD-S: cycles of 10 steps, the last 20% of each a decay, no re-warmup.
/// let settings = presets::levanter(1.0_f64, 0.0, 0, 0, Decay::Steps(2), Shape::Linear);
/// let plan = Plan::new(settings, &[10, 20])?;
/// assert_eq!([8, 9, 10, 19, 20].map(|t| plan.lr_at(t)), [1.0, 0.5, 1.0, 0.5, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn levanter<T: Real>(
    peak: T,
    floor: T,
    warmup: u64,
    rewarmup: u64,
    decay: Decay,
    shape: Shape<T>,
) -> Settings<T> {
    Settings {
        rewarmup,
        ..usual(T::ZERO, peak, floor, warmup, decay, shape)
    }
}

/// Levanter in marin at commit 0f45aa1c6914, and Levanter 1.1, `inv_sqrt` in one cycle: P·t/W, then
/// max(F, P·√(τ/max(t, τ))), τ = 10000 by default, for W ≤ τ (a longer warmup falls off a step there).
/// No budget. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::levanter_inverse_sqrt(1.0_f64, 0.1, 2, 100), &[])?;
/// assert_eq!([1, 2, 100, 400].map(|t| plan.lr_at(t)), [0.5, 1.0, 1.0, 0.5]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn levanter_inverse_sqrt<T: Real>(
    peak: T,
    floor: T,
    warmup: u64,
    timescale: u64,
) -> Settings<T> {
    Settings {
        warmup,
        stable: Stable::InverseSqrtAfter {
            start: timescale,
            timescale,
        },
        floor,
        ..Settings::constant(peak)
    }
}

/// pytorch-accelerated 0.1.61, `WSDLrScheduler` by its count of updates: init + (P−init)·t/W, P, then
/// before each checkpoint a decay of [`Shape::OneMinusSqrt`] (`use_inverse_sqrt_decay`, its default) or
/// [`Shape::InverseProportional`] with p = k/D over `decay_phase_ratio` of the period, straight back to
/// the peak, and the floor after the last. The budgets are those of [`pytorch_accelerated_budget`]. One
/// checkpoint: `Decay::Steps` of [`truncated`]`(total, ratio)`; several: [`Decay::OfSegment`] of the
/// ratio in millionths, which is the same where the product is exact. Not imitated: division by zero
/// after the last checkpoint for D = 0, and for F = 0 with the inverse-proportional shape; its trainer
/// asks for the first rate only after the first update, which has the peak. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Decay, Plan, Shape, presets};
///
/// let decay = Decay::OfSegment(200_000);
/// let shape = Shape::InverseProportional;
/// let settings = presets::pytorch_accelerated_wsd(0.0_f64, 1.0, 0.2, 5, decay, shape);
/// let plan = Plan::new(settings, &[25, 50, 100])?;
/// assert_eq!([20, 25, 95, 100].map(|t| plan.lr_at(t)), [1.0, 1.0, 1.0 / 3.0, 0.2]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn pytorch_accelerated_wsd<T: Real>(
    init: T,
    peak: T,
    floor: T,
    warmup: u64,
    decay: Decay,
    shape: Shape<T>,
) -> Settings<T> {
    usual(init, peak, floor, warmup, decay, shape)
}

/// pytorch-accelerated 0.1.61, checkpoint `index` (from 0) of `checkpoints`: the total for one, else
/// ⌊total/4⌋·2^index, cut at the total, none after that. Where the last of them lies below the total it
/// is the last all the same. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::presets::pytorch_accelerated_budget as budget;
///
/// assert_eq!([0, 1, 2, 3].map(|i| budget(200, 4, i)), [Some(50), Some(100), Some(200), None]);
/// assert_eq!([budget(200, 1, 0), budget(201, 2, 1)], [Some(200), Some(100)]);
/// ```
pub fn pytorch_accelerated_budget(total: u64, checkpoints: u32, index: u32) -> Option<u64> {
    if checkpoints == 1 && index == 0 {
        return Some(total);
    }
    let first = total / 4;
    let at = |index: u32| first.saturating_mul(1_u64.checked_shl(index).unwrap_or(u64::MAX));
    let before = index.checked_sub(1).map_or(0, at);
    (index < checkpoints && before < total).then(|| at(index).min(total))
}

/// pytorch-accelerated 0.1.61, `CosineLrScheduler` by its count of updates, with `k_decay` 1:
/// init + (P−init)·t/W, half a cosine, the floor. The budget is the number of updates less the cooldown.
/// Not imitated: for W > 0 its cosine breaks off W updates before that, and its rate drops to the floor;
/// its trainer asks for the first rate only after the first update. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::pytorch_accelerated_cosine(0.0_f64, 1.0, 0.0, 0), &[20])?;
/// assert!((plan.lr_at(10) - 0.5).abs() < 1e-15);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn pytorch_accelerated_cosine<T: Real>(init: T, peak: T, floor: T, warmup: u64) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Whole, Shape::Cosine)
}

/// optax 0.2.8, `warmup_constant_schedule`: init + (P−init)·t/W, then P. No budget. Not imitated: with
/// W = 0 it stays at `init_value`. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::optax_warmup_constant(0.5_f64, 1.0, 2), &[])?;
/// assert_eq!([0, 1, 2].map(|t| plan.lr_at(t)), [0.5, 0.75, 1.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn optax_warmup_constant<T: Real>(init: T, peak: T, warmup: u64) -> Settings<T> {
    Settings {
        init,
        ..transformers_constant(peak, warmup)
    }
}

/// optax 0.2.8, `warmup_cosine_decay_schedule` with exponent 1: init + (P−init)·t/W, then half a cosine
/// to F. The budget is `decay_steps`, which counts the warmup. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let plan = Plan::new(presets::optax_warmup_cosine(0.5_f64, 1.0, 0.0, 2), &[6])?;
/// assert_eq!([0, 2, 6].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn optax_warmup_cosine<T: Real>(init: T, peak: T, floor: T, warmup: u64) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Whole, Shape::Cosine)
}

/// optax 0.2.8, `warmup_exponential_decay_schedule` without `staircase` and `transition_begin`, for
/// `decay_rate` r < 1: init + (P−init)·t/W, then max(F, P·r^(k/τ)) with F = `end_value`, or 0. The budget
/// is `total`: optax goes on for ever, this is at the floor from there on. With a rate of 1 or more the
/// plan is refused. The rate of decay is taken in double precision: rounded to `f32` it would move the
/// rate after 30 transitions by 1e-6. For settings on a host. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, presets};
///
/// let settings = presets::optax_warmup_exponential(0.0_f64, 1.0, 0.3, 2, 4, 0.5, 20);
/// let plan = Plan::new(settings, &[20])?;
/// assert_eq!([1, 2, 6, 10].map(|t| plan.lr_at(t)), [0.5, 1.0, 0.5, 0.3]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn optax_warmup_exponential<T: Real>(
    init: T,
    peak: T,
    floor: T,
    warmup: u64,
    transition: u64,
    decay_rate: f64,
    total: u64,
) -> Settings<T> {
    let transitions = total.saturating_sub(warmup) as f64 / transition as f64;
    let half_lives = T::constant(-transitions * libm::log2(decay_rate));
    let shape = Shape::HalfLife { half_lives };
    usual(init, peak, floor, warmup, Decay::Whole, shape)
}

/// optax 0.2.8, `join_schedules` of `linear_schedule`, `constant_schedule`, and D steps of
/// `linear_schedule`, `cosine_decay_schedule` or `polynomial_schedule`, with the boundaries W and E − D:
/// WSD as it is written there. The budget is E. Cost: O(1).
///
/// ```
/// use rivergram_core::schedule::{Plan, Shape, presets};
///
/// let plan = Plan::new(presets::optax_wsd(0.0_f64, 1.0, 0.0, 2, 4, Shape::Linear), &[10])?;
/// assert_eq!([1, 2, 6, 8, 10].map(|t| plan.lr_at(t)), [0.5, 1.0, 1.0, 0.5, 0.0]);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
pub fn optax_wsd<T: Real>(
    init: T,
    peak: T,
    floor: T,
    warmup: u64,
    decay: u64,
    shape: Shape<T>,
) -> Settings<T> {
    usual(init, peak, floor, warmup, Decay::Steps(decay), shape)
}
