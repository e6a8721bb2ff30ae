//! What decides the rates: plain options, and the schedules that have a name.

use super::Shape;
use crate::encode::Crc32;
use crate::error::{PlanError, PlanPart, RateName};
use crate::lanes::Real;

/// One millionth is the unit of a decay's share.
const MILLION: u64 = 1_000_000;

/// What decides the rates, but for the budgets. Start from a constructor or from a
/// [preset](super::presets) and change what differs:
///
/// ```
/// use rivergram_core::schedule::{Decay, Settings, Shape};
///
/// let settings = Settings {
///     warmup: 100,
///     shape: Shape::OneMinusSqrt,
///     decay: Decay::OfTotal(200_000),
///     ..Settings::wsd_s(6e-4_f32, 6e-5)
/// };
/// assert_eq!(settings.init, 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings<T> {
    /// The rate P of the stable phase.
    pub peak: T,
    /// The rate F that decays end at, and that re-warmups begin at.
    pub floor: T,
    /// The rate that the first warmup begins at.
    pub init: T,
    /// Steps of the first warmup.
    pub warmup: u64,
    /// Steps back to the peak after each budget; 0 jumps.
    pub rewarmup: u64,
    /// How warmup and re-warmups rise.
    pub warmup_shape: WarmupShape,
    /// Which step of a warmup reaches the peak.
    pub warmup_edge: WarmupEdge,
    /// The stable phase.
    pub stable: Stable,
    /// The shape of every decay.
    pub shape: Shape<T>,
    /// The length of every decay.
    pub decay: Decay,
    /// Which step of a decay reaches the floor.
    pub decay_edge: DecayEdge,
    /// What follows the last budget.
    pub after: After,
}

impl<T: Real> Settings<T> {
    /// WSD-S (one budget: WSD) with peak P and floor F, as in arXiv 2410.05192: no warmup, the
    /// inverse-proportional decay over the last tenth of each budget, the floor after the last one.
    /// Nothing is checked before [`Plan::new`](super::Plan::new). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f64, 0.1), &[100, 200])?;
    /// // Straight back to the peak after the first budget, half of the second decay at 1/5.5.
    /// assert_eq!([plan.lr_at(89), plan.lr_at(100), plan.lr_at(190)], [1.0, 1.0, 1.0 / 5.5]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn wsd_s(peak: T, floor: T) -> Self {
        Settings {
            peak,
            floor,
            init: T::ZERO,
            warmup: 0,
            rewarmup: 0,
            warmup_shape: WarmupShape::Linear,
            warmup_edge: WarmupEdge::Zero,
            stable: Stable::Constant,
            shape: Shape::InverseProportional,
            decay: Decay::OfTotal(100_000),
            decay_edge: DecayEdge::ReachAfter,
            after: After::Floor,
        }
    }

    /// Half a cosine from the warmup to the budget, F + (P−F)(1+cos πp)/2; with several budgets one for
    /// each (cyclic cosine, arXiv 1608.03983). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::cosine(1.0_f64, 0.0), &[100, 200])?;
    /// assert!((plan.lr_at(50) - 0.5).abs() < 1e-15);
    /// assert_eq!([plan.lr_at(100), plan.lr_at(200)], [1.0, 0.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn cosine(peak: T, floor: T) -> Self {
        Settings {
            shape: Shape::Cosine,
            decay: Decay::Whole,
            ..Self::wsd_s(peak, floor)
        }
    }

    /// A straight line from the warmup to the budget, F + (P−F)(1−p). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let settings = Settings { warmup: 2, ..Settings::linear(1.0_f64, 0.0) };
    /// let plan = Plan::new(settings, &[6])?;
    /// assert_eq!([0, 1, 2, 3, 5].map(|t| plan.lr_at(t)), [0.0, 0.5, 1.0, 0.75, 0.25]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn linear(peak: T, floor: T) -> Self {
        Settings {
            shape: Shape::Linear,
            ..Self::cosine(peak, floor)
        }
    }

    /// The peak for ever; budgets, if there are any, only mark steps. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::constant(0.3_f32), &[10])?;
    /// assert_eq!([plan.lr_at(0), plan.lr_at(u64::MAX)], [0.3, 0.3]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn constant(peak: T) -> Self {
        Settings {
            shape: Shape::Linear,
            decay: Decay::Steps(0),
            after: After::Stable,
            ..Self::wsd_s(peak, T::ZERO)
        }
    }

    /// P·√(W/t) after a warmup of W steps, and never below the floor: [`Stable::InverseSqrt`].
    /// Source: arXiv 1706.03762, section 5.3. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let settings = Settings { warmup: 100, ..Settings::inverse_sqrt(1.0_f64, 0.1) };
    /// let plan = Plan::new(settings, &[])?;
    /// assert_eq!([100, 400, 1_000_000].map(|t| plan.lr_at(t)), [1.0, 0.5, 0.1]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn inverse_sqrt(peak: T, floor: T) -> Self {
        Settings {
            stable: Stable::InverseSqrt,
            floor,
            ..Self::constant(peak)
        }
    }

    /// What can be wrong without the budgets.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.check_rates()?;
        self.shape.check(self.floor)?;
        match self.decay {
            Decay::OfTotal(millionths) | Decay::OfSegment(millionths)
                if u64::from(millionths) > MILLION =>
            {
                Err(PlanError::Fraction { millionths })
            }
            _ => Ok(()),
        }
    }

    fn check_rates(&self) -> Result<(), PlanError> {
        let peak = self.peak;
        let rates = [
            (RateName::Peak, peak),
            (RateName::Floor, self.floor),
            (RateName::Init, self.init),
        ];
        for (name, rate) in rates {
            let value = rate.to_f32();
            if !(rate.is_finite() && rate >= T::ZERO) {
                return Err(PlanError::Rate { name, value });
            }
            if rate > peak {
                let peak = peak.to_f32();
                return Err(PlanError::AbovePeak { name, value, peak });
            }
        }
        Ok(())
    }

    /// The length of the decay before `end`, where the budget before it ended at `start`.
    #[inline(always)]
    pub(super) fn decay_length(&self, start: u64, end: u64) -> u64 {
        let segment = end.saturating_sub(start);
        match self.decay {
            Decay::OfTotal(millionths) => share(end, millionths).max(1).min(segment),
            Decay::OfSegment(millionths) => share(segment, millionths).max(1).min(segment),
            Decay::Steps(steps) => steps.min(segment),
            Decay::Whole => segment.saturating_sub(self.ramp(start)),
        }
    }

    /// The length of the rise to the peak from `start` on.
    #[inline(always)]
    pub(super) fn ramp(&self, start: u64) -> u64 {
        if start == 0 {
            self.warmup
        } else {
            self.rewarmup
        }
    }

    /// The lowest rate that any step can have, by plan or by events.
    pub(super) fn lowest(&self) -> T {
        if self.init < self.floor {
            self.init
        } else {
            self.floor
        }
    }

    /// A checksum of each part but the budgets, in the order of [`PLAN_PARTS`]. What came with format
    /// version 2 is fed only where it differs from what version 1 did: a state that version 1 saved
    /// still finds its plan.
    pub(super) fn hashes(&self) -> [Crc32; 3] {
        let (decay, amount) = match self.decay {
            Decay::OfTotal(millionths) => (0, u64::from(millionths)),
            Decay::OfSegment(millionths) => (1, u64::from(millionths)),
            Decay::Steps(steps) => (2, steps),
            Decay::Whole => (3, 0),
        };
        let stable = match self.stable {
            Stable::Constant => 0,
            Stable::InverseSqrt => 1,
            Stable::InverseSqrtAfter { .. } => 2,
        };
        let rates = [
            self.peak.to_bits(),
            self.floor.to_bits(),
            self.init.to_bits(),
        ];
        let warmup = [self.warmup, self.rewarmup, self.warmup_edge as u64];
        let edges = [self.decay_edge as u64, stable, self.after as u64];

        let mut hashes = [Crc32::new(); 3];
        let [in_rates, in_warmup, in_decay] = &mut hashes;
        feed(in_rates, &[size_of::<T>() as u64]);
        feed(in_rates, &rates);
        feed(in_warmup, &warmup);
        if self.warmup_shape != WarmupShape::Linear {
            feed(in_warmup, &[self.warmup_shape as u64]);
        }
        in_decay.update(self.shape.name().as_bytes());
        feed(in_decay, &[self.shape.parameter().to_bits(), decay, amount]);
        feed(in_decay, &edges);
        if let Stable::InverseSqrtAfter { start, timescale } = self.stable {
            feed(in_decay, &[start, timescale]);
        }
        hashes
    }
}

/// How a warmup of W steps rises from `init` to the peak P, with x from the [`WarmupEdge`]. These are
/// shapes of decays run backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WarmupShape {
    /// init + (P − init)·x.
    Linear,
    /// init + (P − init)·(1 − cos πx)/2.
    Cosine,
    /// init + (P − init)·(1 − √(1−x)): flat at first.
    OneMinusSqrt,
}

impl WarmupShape {
    /// The decay that this is backwards.
    #[inline(always)]
    pub(super) fn backwards<T: Real>(self) -> Shape<T> {
        match self {
            WarmupShape::Linear => Shape::Linear,
            WarmupShape::Cosine => Shape::Cosine,
            WarmupShape::OneMinusSqrt => Shape::OneMinusSqrt,
        }
    }
}

/// The progress x at step t = 0 … W−1 of a warmup of W steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WarmupEdge {
    /// x = t/W: the first update has the rate `init`, the first after the warmup the peak.
    Zero,
    /// x = (t+1)/W: the last update of the warmup has the peak.
    One,
    /// x = (t+1)/(W+1): neither `init` nor the peak is within the warmup.
    NPlusOne,
    /// x = t/(W−1): the first update has the rate `init`, the last of the warmup the peak; with W = 1
    /// `init`.
    Both,
}

impl WarmupEdge {
    /// x as a fraction of integers.
    #[inline(always)]
    pub(super) fn progress(self, done: u64, length: u64) -> (u64, u64) {
        match self {
            WarmupEdge::Zero => (done, length),
            WarmupEdge::One => (done.saturating_add(1), length),
            WarmupEdge::NPlusOne => (done.saturating_add(1), length.saturating_add(1)),
            WarmupEdge::Both => (done, length.saturating_sub(1).max(1)),
        }
    }
}

/// The rate between warmup and decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stable {
    /// The peak.
    Constant,
    /// max(F, P·√(max(W, 1)/max(t, 1))), counted from the start of training; the warmup too is cut at
    /// F. A decay begins at the rate that this has reached.
    InverseSqrt,
    /// max(F, P·√(τ/(τ + t − s))) from step s on, P before it, with τ at least 1; the warmup is not
    /// cut at F. The other implementations of the inverse square root are this with their own s and τ.
    InverseSqrtAfter {
        /// The step s.
        start: u64,
        /// The time scale τ.
        timescale: u64,
    },
}

/// The length D of the decay before a budget, cut to the steps since the budget before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decay {
    /// So many millionths of the whole budget, rounded down, at least 1 step.
    OfTotal(u32),
    /// So many millionths of the steps since the budget before it, rounded down, at least 1 step.
    OfSegment(u32),
    /// So many steps; 0 is no decay.
    Steps(u64),
    /// All steps after the warmup or re-warmup.
    Whole,
}

/// The progress p of a decay at its step k = 0 … D−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DecayEdge {
    /// p = k/D: the first update of the decay has the peak, the first after it the floor.
    ReachAfter,
    /// p = (k+1)/D: the last update of the decay has the floor.
    ReachLast,
    /// p = (k+1)/(D+1): neither the peak nor the floor is within the decay.
    NPlusOne,
    /// p = k/(D−1): the first update of the decay has the peak, the last the floor; with D = 1 the
    /// floor.
    Both,
}

impl DecayEdge {
    /// p as a fraction of integers.
    #[inline(always)]
    pub(super) fn progress(self, done: u64, length: u64) -> (u64, u64) {
        match self {
            DecayEdge::ReachAfter => (done, length),
            DecayEdge::ReachLast => (done.saturating_add(1), length),
            DecayEdge::NPlusOne => (done.saturating_add(1), length.saturating_add(1)),
            DecayEdge::Both if length < 2 => (1, 1),
            DecayEdge::Both => (done, length.wrapping_sub(1)),
        }
    }
}

/// What follows the last budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum After {
    /// The floor.
    Floor,
    /// The peak again, as after any other budget: the run is open-ended.
    Stable,
}

/// The parts of a plan that are hashed, in their order in a saved state.
pub(super) const PLAN_PARTS: [PlanPart; 4] = [
    PlanPart::Rates,
    PlanPart::Warmup,
    PlanPart::Decay,
    PlanPart::Budgets,
];

pub(super) fn feed(crc: &mut Crc32, numbers: &[u64]) {
    for x in numbers {
        crc.update(&x.to_le_bytes());
    }
}

/// ⌊whole · millionths / 10⁶⌋ for millionths ≤ 10⁶, in parts that do not overflow.
#[inline(always)]
pub(super) fn share(whole: u64, millionths: u32) -> u64 {
    let millionths = u64::from(millionths);
    let (high, low) = (whole / MILLION, whole % MILLION);
    let low = low.wrapping_mul(millionths) / MILLION;
    high.wrapping_mul(millionths).wrapping_add(low)
}
