//! A plan: everything that decides the rates, checked once, and the rate at any step.

use super::Shape;
use crate::encode::Crc32;
use crate::error::{PlanError, PlanPart, RateName};
use crate::lanes::{Real, count};

/// One millionth is the unit of a decay's share.
const MILLION: u64 = 1_000_000;

/// Leaves room above it for steps that do not end.
const LARGEST_BUDGET: u64 = 1 << 63;

/// What decides the rates, but for the budgets. Start from a constructor and change what differs:
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
    /// WSD-S (one budget: WSD): no warmup, the inverse-proportional decay over the last tenth of each
    /// budget, the floor after the last one.
    pub fn wsd_s(peak: T, floor: T) -> Self {
        Settings {
            peak,
            floor,
            init: T::ZERO,
            warmup: 0,
            rewarmup: 0,
            warmup_edge: WarmupEdge::Zero,
            stable: Stable::Constant,
            shape: Shape::InverseProportional,
            decay: Decay::OfTotal(100_000),
            decay_edge: DecayEdge::ReachAfter,
            after: After::Floor,
        }
    }

    /// Half a cosine from the warmup to the budget; with several budgets one for each (cyclic cosine).
    pub fn cosine(peak: T, floor: T) -> Self {
        Settings {
            shape: Shape::Cosine,
            decay: Decay::Whole,
            ..Self::wsd_s(peak, floor)
        }
    }

    /// A straight line from the warmup to the budget.
    pub fn linear(peak: T, floor: T) -> Self {
        Settings {
            shape: Shape::Linear,
            ..Self::cosine(peak, floor)
        }
    }

    /// The peak for ever; budgets, if there are any, only mark steps.
    pub fn constant(peak: T) -> Self {
        Settings {
            shape: Shape::Linear,
            decay: Decay::Steps(0),
            after: After::Stable,
            ..Self::wsd_s(peak, T::ZERO)
        }
    }

    /// P·√(W/t) after a warmup of W steps, and never below the floor.
    pub fn inverse_sqrt(peak: T, floor: T) -> Self {
        Settings {
            stable: Stable::InverseSqrt,
            floor,
            ..Self::constant(peak)
        }
    }
}

/// The rate at step t = 0 … W−1 of a warmup of W steps from `init`: init + (P − init)·x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmupEdge {
    /// x = t/W: the first update has the rate `init`, the first after the warmup the peak.
    Zero,
    /// x = (t+1)/W: the last update of the warmup has the peak.
    One,
    /// x = (t+1)/(W+1): neither `init` nor the peak is within the warmup.
    NPlusOne,
}

/// The rate between warmup and decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stable {
    /// The peak.
    Constant,
    /// max(F, P·√(max(W, 1)/max(t, 1))), counted from the start of training; the warmup too is cut at
    /// F. A decay begins at the rate that this has reached.
    InverseSqrt,
}

/// The length D of the decay before a budget, cut to the steps since the budget before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub enum DecayEdge {
    /// p = k/D: the first update of the decay has the peak, the first after it the floor.
    ReachAfter,
    /// p = (k+1)/D: the last update of the decay has the floor.
    ReachLast,
}

/// What follows the last budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The floor.
    Floor,
    /// The peak again, as after any other budget: the run is open-ended.
    Stable,
}

/// A part of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first rise to the peak.
    Warmup,
    /// Between warmup and decay.
    Stable,
    /// On the way to the floor.
    Decay,
    /// A later rise to the peak.
    Rewarmup,
    /// After the last budget, at the floor.
    Done,
}

/// Where a step lies in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The phase.
    pub phase: Phase,
    /// The place of the next budget in the list; none after the last.
    pub budget: Option<usize>,
    /// Steps left in the phase, this one included; none where it does not end.
    pub remaining: Option<u64>,
}

/// The decay before one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecaySpan {
    /// The place of the budget in the list.
    pub budget: usize,
    /// The first step of the decay. A checkpoint at this step is the one before the decay.
    pub start: u64,
    /// The first step after it: the budget.
    pub end: u64,
}

/// A checked schedule. Budgets are total steps, strictly increasing, and stay with the caller. None at
/// all is a run whose end is not known: it stays at the peak, but for decays that are asked for at run
/// time ([`State::request_decay`](super::State::request_decay)).
///
/// ```
/// use rivergram_core::schedule::{Phase, Plan, Settings};
///
/// let settings = Settings { warmup: 10, ..Settings::wsd_s(1.0_f32, 0.1) };
/// let plan = Plan::new(settings, &[100, 200])?;
/// // Warmup, stable, decay over the last tenth, back to the peak.
/// assert_eq!([plan.lr_at(5), plan.lr_at(50), plan.lr_at(100)], [0.5, 1.0, 1.0]);
/// assert!(plan.lr_at(99) < 0.12);
/// // The second decay is a tenth of 200.
/// assert_eq!(plan.decay(1).map(|d| (d.start, d.end)), Some((180, 200)));
/// assert_eq!(plan.position(185).phase, Phase::Decay);
/// assert_eq!(plan.lr_at(1_000), 0.1);
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan<'a, T> {
    settings: Settings<T>,
    budgets: &'a [u64],
}

/// From one budget to the next: ramp, stable phase, decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Segment<T> {
    /// The place of the budget that ends it; the number of budgets after the last.
    pub(super) index: usize,
    /// The first step.
    pub(super) start: u64,
    /// The first step of the decay; `end` where there is none.
    pub(super) decay_start: u64,
    /// The first step after it; `u64::MAX` where it does not end.
    pub(super) end: u64,
    /// The rate that the ramp starts from.
    pub(super) ramp_from: T,
    /// The rate that the decay starts from.
    pub(super) decay_from: T,
}

/// Where a step lies within its segment.
#[derive(Clone, Copy)]
enum Place {
    Ramp { done: u64, length: u64 },
    Stable,
    Decay { done: u64, length: u64 },
    Done,
}

impl<'a, T: Real> Plan<'a, T> {
    /// Checks settings and budgets. Cost: linear in the number of budgets.
    ///
    /// # Errors
    /// [`PlanError`]: a rate that is negative or not finite, floor or init above the peak, a floor of 0
    /// with a shape that divides by it, a shape's parameter or a share out of range, budgets that do
    /// not increase or exceed 2⁶³, a warmup that meets the decay.
    pub fn new(settings: Settings<T>, budgets: &'a [u64]) -> Result<Self, PlanError> {
        check_rates(&settings)?;
        settings.shape.check(settings.floor)?;
        if let Decay::OfTotal(millionths) | Decay::OfSegment(millionths) = settings.decay
            && u64::from(millionths) > MILLION
        {
            return Err(PlanError::Fraction { millionths });
        }
        let plan = Plan { settings, budgets };
        let mut previous = 0;
        for (index, &budget) in (0..budgets.len()).zip(budgets) {
            if budget <= previous {
                return Err(PlanError::BudgetOrder {
                    index,
                    previous,
                    budget,
                });
            }
            if budget > LARGEST_BUDGET {
                return Err(PlanError::BudgetTooLarge { index, budget });
            }
            let room = plan.segment(index).decay_start.saturating_sub(previous);
            let warmup = plan.ramp(previous);
            if warmup > room {
                return Err(PlanError::WarmupMeetsDecay {
                    index,
                    warmup,
                    room,
                });
            }
            previous = budget;
        }
        Ok(plan)
    }

    /// What the plan was made from.
    pub fn settings(&self) -> &Settings<T> {
        &self.settings
    }

    /// The budgets.
    pub fn budgets(&self) -> &'a [u64] {
        self.budgets
    }

    /// The rate of the (t+1)-th update, between min(init, floor) and the peak.
    ///
    /// Relative error 1e-6 in single precision and 1e-12 in double, for D up to 5000. Cost: O(1) in t,
    /// linear in the number of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// let rates: Vec<f32> = (0..6).map(|t| plan.lr_at(t)).collect();
    /// assert_eq!(rates, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn lr_at(&self, t: u64) -> T {
        self.rate(&self.segment_at(t), t)
    }

    /// The phase, the next budget and the steps left in the phase at step t. Cost as [`Plan::lr_at`].
    pub fn position(&self, t: u64) -> Position {
        self.position_in(&self.segment_at(t), t)
    }

    /// The decay before a budget; empty where the plan has none, none where there is no such budget.
    pub fn decay(&self, budget: usize) -> Option<DecaySpan> {
        let end = *self.budgets.get(budget)?;
        let start = self.segment(budget).decay_start;
        Some(DecaySpan { budget, start, end })
    }

    /// The decays before all budgets, in order.
    pub fn decays(&self) -> impl Iterator<Item = DecaySpan> + use<'a, T> {
        let plan = *self;
        (0..plan.budgets.len()).filter_map(move |budget| plan.decay(budget))
    }

    /// The place of the budget that is used up once `updates` updates are done, if it is one.
    pub fn budget_ending_at(&self, updates: u64) -> Option<usize> {
        let mut places = (0..self.budgets.len()).zip(self.budgets);
        places.find_map(|(index, budget)| (*budget == updates).then_some(index))
    }

    /// Steps of the whole plan: the last budget, if there is any.
    pub fn total(&self) -> Option<u64> {
        self.budgets.last().copied()
    }

    /// The segment that holds step t.
    pub(super) fn segment_at(&self, t: u64) -> Segment<T> {
        let ended = self.budgets.iter().take_while(|end| **end <= t);
        self.segment(ended.fold(0, |count: usize, _| count.saturating_add(1)))
    }

    /// The segment that ends with budget `index`, or the open one after the last.
    fn segment(&self, index: usize) -> Segment<T> {
        let before = index.checked_sub(1).and_then(|i| self.budgets.get(i));
        let start = before.copied().unwrap_or(0);
        let (decay_start, end) = match self.budgets.get(index) {
            Some(&end) => (end.saturating_sub(self.decay_length(start, end)), end),
            None => (u64::MAX, u64::MAX),
        };
        let s = &self.settings;
        let mut segment = Segment {
            index,
            start,
            decay_start,
            end,
            ramp_from: if start == 0 { s.init } else { s.floor },
            decay_from: s.peak,
        };
        segment.decay_from = self.risen(&segment, decay_start);
        segment
    }

    /// The segment of step t when something ended at step `ended` that the plan does not know of: a
    /// rise from `ramp_from` begins there, and what the plan has from there on is left as it is.
    pub(super) fn resumed(&self, t: u64, ended: u64, ramp_from: T) -> Segment<T> {
        let mut segment = self.segment_at(t);
        if segment.start < ended {
            segment.start = ended;
            segment.ramp_from = ramp_from;
            segment.decay_start = segment.decay_start.max(ended);
            segment.decay_from = self.risen(&segment, segment.decay_start);
        }
        segment
    }

    /// Whether step t can lie in a segment, with any decays asked for or called off.
    pub(super) fn may_have(&self, segment: &Segment<T>, t: u64) -> bool {
        let s = &self.settings;
        let low = if s.init < s.floor { s.init } else { s.floor };
        let in_range = |rate: T| low <= rate && rate <= s.peak;
        let on_time = segment.start <= t && (t < segment.end || segment.end == u64::MAX);
        on_time
            && segment.index <= self.budgets.len()
            && segment.start <= segment.decay_start
            && segment.decay_start <= segment.end
            && in_range(segment.ramp_from)
            && in_range(segment.decay_from)
    }

    /// The length of the decay before `end`.
    fn decay_length(&self, start: u64, end: u64) -> u64 {
        let segment = end.saturating_sub(start);
        match self.settings.decay {
            Decay::OfTotal(millionths) => share(end, millionths).max(1).min(segment),
            Decay::OfSegment(millionths) => share(segment, millionths).max(1).min(segment),
            Decay::Steps(steps) => steps.min(segment),
            Decay::Whole => segment.saturating_sub(self.ramp(start)),
        }
    }

    /// The length of the rise to the peak from `start` on.
    #[inline(always)]
    fn ramp(&self, start: u64) -> u64 {
        if start == 0 {
            self.settings.warmup
        } else {
            self.settings.rewarmup
        }
    }

    /// Whether a segment is the floor after the last budget.
    #[inline(always)]
    pub(super) fn done(&self, segment: &Segment<T>) -> bool {
        let over = segment.index > 0 && segment.index >= self.budgets.len();
        over && self.settings.after == After::Floor
    }

    #[inline(always)]
    fn place(&self, segment: &Segment<T>, t: u64) -> Place {
        if self.done(segment) {
            return Place::Done;
        }
        let length = segment.end.saturating_sub(segment.decay_start);
        if t >= segment.decay_start && length > 0 {
            let done = t.saturating_sub(segment.decay_start);
            return Place::Decay { done, length };
        }
        let (done, length) = (t.saturating_sub(segment.start), self.ramp(segment.start));
        if done < length {
            return Place::Ramp { done, length };
        }
        Place::Stable
    }

    /// The rate at step t of a segment.
    #[inline(always)]
    pub(super) fn rate(&self, segment: &Segment<T>, t: u64) -> T {
        let s = &self.settings;
        match self.place(segment, t) {
            Place::Ramp { .. } | Place::Stable => self.risen(segment, t),
            Place::Decay { done, length } => {
                let done = match s.decay_edge {
                    DecayEdge::ReachAfter => done,
                    DecayEdge::ReachLast => done.saturating_add(1),
                };
                s.shape.rate(done, length, segment.decay_from, s.floor)
            }
            Place::Done => s.floor,
        }
    }

    /// The rate of the ramp and the stable phase at step t of a segment.
    #[inline(always)]
    fn risen(&self, segment: &Segment<T>, t: u64) -> T {
        let s = &self.settings;
        let (done, length) = (t.saturating_sub(segment.start), self.ramp(segment.start));
        if done >= length {
            return self.level(t);
        }
        let target = self.level(segment.start.saturating_add(length));
        let rate = ramp_rate(s.warmup_edge, done, length, segment.ramp_from, target);
        match s.stable {
            Stable::Constant => rate,
            Stable::InverseSqrt => rate.max(s.floor),
        }
    }

    /// The rate of the stable phase at step t.
    #[inline(always)]
    fn level(&self, t: u64) -> T {
        let s = &self.settings;
        match s.stable {
            Stable::Constant => s.peak,
            Stable::InverseSqrt => {
                let warmup = s.warmup.max(1);
                let ratio = count::<T>(warmup) / count::<T>(t.max(warmup));
                (s.peak * ratio.sqrt()).max(s.floor)
            }
        }
    }

    pub(super) fn position_in(&self, segment: &Segment<T>, t: u64) -> Position {
        let open = segment.index >= self.budgets.len();
        let (phase, remaining) = match self.place(segment, t) {
            Place::Ramp { done, length } => {
                let first = segment.start == 0;
                let phase = if first {
                    Phase::Warmup
                } else {
                    Phase::Rewarmup
                };
                (phase, length.saturating_sub(done))
            }
            Place::Stable => (Phase::Stable, segment.decay_start.saturating_sub(t)),
            Place::Decay { .. } => (Phase::Decay, segment.end.saturating_sub(t)),
            Place::Done => (Phase::Done, 0),
        };
        let endless = open && matches!(phase, Phase::Stable | Phase::Done);
        Position {
            phase,
            budget: if open { None } else { Some(segment.index) },
            remaining: if endless { None } else { Some(remaining) },
        }
    }

    /// A checksum of each part of the plan, in the order of [`PLAN_PARTS`].
    pub(super) fn hashes(&self) -> [u32; 4] {
        let s = &self.settings;
        let (decay, amount) = match s.decay {
            Decay::OfTotal(millionths) => (0, u64::from(millionths)),
            Decay::OfSegment(millionths) => (1, u64::from(millionths)),
            Decay::Steps(steps) => (2, steps),
            Decay::Whole => (3, 0),
        };
        let rates = [s.peak.to_bits(), s.floor.to_bits(), s.init.to_bits()];
        let warmup = [s.warmup, s.rewarmup, s.warmup_edge as u64];
        let edges = [s.decay_edge as u64, s.stable as u64, s.after as u64];
        let parameter = s.shape.parameter().to_bits();

        let mut hashes = [Crc32::new(); 4];
        let [in_rates, in_warmup, in_decay, in_budgets] = &mut hashes;
        feed(in_rates, &[size_of::<T>() as u64]);
        feed(in_rates, &rates);
        feed(in_warmup, &warmup);
        in_decay.update(s.shape.name().as_bytes());
        feed(in_decay, &[parameter, decay, amount]);
        feed(in_decay, &edges);
        feed(in_budgets, self.budgets);
        hashes.map(Crc32::value)
    }
}

/// The parts of a plan that are hashed, in their order in a saved state.
pub(super) const PLAN_PARTS: [PlanPart; 4] = [
    PlanPart::Rates,
    PlanPart::Warmup,
    PlanPart::Decay,
    PlanPart::Budgets,
];

fn feed(crc: &mut Crc32, numbers: &[u64]) {
    for x in numbers {
        crc.update(&x.to_le_bytes());
    }
}

fn check_rates<T: Real>(s: &Settings<T>) -> Result<(), PlanError> {
    let (peak, below) = (
        s.peak,
        [(RateName::Floor, s.floor), (RateName::Init, s.init)],
    );
    for (name, rate) in [(RateName::Peak, peak)].into_iter().chain(below) {
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

/// ⌊whole · millionths / 10⁶⌋ for millionths ≤ 10⁶, in parts that do not overflow.
pub(super) fn share(whole: u64, millionths: u32) -> u64 {
    let millionths = u64::from(millionths);
    let (high, low) = (whole / MILLION, whole % MILLION);
    let low = low.wrapping_mul(millionths) / MILLION;
    high.wrapping_mul(millionths).wrapping_add(low)
}

/// From `base` to `target` ≥ `base`, at step `done` of `length`.
#[inline(always)]
fn ramp_rate<T: Real>(edge: WarmupEdge, done: u64, length: u64, base: T, target: T) -> T {
    let (done, length) = match edge {
        WarmupEdge::Zero => (done, length),
        WarmupEdge::One => (done.saturating_add(1), length),
        WarmupEdge::NPlusOne => (done.saturating_add(1), length.saturating_add(1)),
    };
    if done >= length {
        return target;
    }
    let x = count::<T>(done) / count::<T>(length);
    (base + (target - base) * x).min(target)
}
