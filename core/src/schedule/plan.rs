//! A plan: settings and budgets, checked once, and the rate at any step.

use super::segment::Segment;
use super::settings::{Settings, feed};
use crate::encode::Crc32;
use crate::error::PlanError;
use crate::lanes::Real;

/// Leaves room above it for steps that do not end.
const LARGEST_BUDGET: u64 = 1 << 63;

/// A part of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Plan<'a, T> {
    settings: Settings<T>,
    budgets: &'a [u64],
}

impl<'a, T: Real> Plan<'a, T> {
    /// Checks settings and budgets. Cost: linear in the number of budgets.
    ///
    /// # Errors
    /// [`PlanError`]: a rate that is negative or not finite, floor or init above the peak, a floor of 0
    /// with a shape that divides by it, a shape's parameter or a share out of range, budgets that do
    /// not increase or exceed 2⁶³, a warmup that meets the decay.
    ///
    /// ```
    /// use rivergram_core::error::PlanError;
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let settings = Settings::wsd_s(1.0_f32, 0.1);
    /// assert!(Plan::new(settings, &[100, 200]).is_ok());
    /// let refused = Plan::new(settings, &[100, 100]);
    /// assert_eq!(refused, Err(PlanError::BudgetOrder { index: 1, previous: 100, budget: 100 }));
    /// ```
    pub fn new(settings: Settings<T>, budgets: &'a [u64]) -> Result<Self, PlanError> {
        settings.check()?;
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
            let segment: Segment<T> = plan.segment(index);
            let room = segment.decay_start.saturating_sub(previous);
            let warmup = segment.ramp;
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

    /// The plan again of the settings and budgets of one that [`Plan::new`] made, for who keeps these two instead of
    /// it. Nothing is checked: with others the rates mean nothing, and no other harm is done. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!(Plan::of_checked(*plan.settings(), plan.budgets()), plan);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn of_checked(settings: Settings<T>, budgets: &'a [u64]) -> Self {
        Plan { settings, budgets }
    }

    /// What the plan was made from.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::constant(0.3_f32), &[])?;
    /// assert_eq!(plan.settings().peak, 0.3);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn settings(&self) -> &Settings<T> {
        &self.settings
    }

    /// The budgets, in steps or in the unit that the plan counts in.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!(plan.budgets(), [100, 200]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
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

    /// The phase, the next budget and the steps left in the phase at step t. Cost as
    /// [`Plan::lr_at`].
    ///
    /// ```
    /// use rivergram_core::schedule::{Phase, Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// let at = plan.position(95);
    /// assert_eq!((at.phase, at.budget, at.remaining), (Phase::Decay, Some(0), Some(5)));
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn position(&self, t: u64) -> Position {
        self.position_in(&self.segment_at(t), t)
    }

    /// The decay before a budget; empty where the plan has none, none where there is no such budget. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!(plan.decay(1).map(|d| (d.start, d.end)), Some((180, 200)));
    /// assert!(plan.decay(2).is_none());
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn decay(&self, budget: usize) -> Option<DecaySpan> {
        let end = *self.budgets.get(budget)?;
        let start = self.segment(budget).decay_start;
        Some(DecaySpan { budget, start, end })
    }

    /// The decays before all budgets, in order. Cost: O(1) per decay.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// let starts: Vec<u64> = plan.decays().map(|decay| decay.start).collect();
    /// assert_eq!(starts, [90, 180]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn decays(&self) -> impl Iterator<Item = DecaySpan> + use<'a, T> {
        let plan = *self;
        (0..plan.budgets.len()).filter_map(move |budget| plan.decay(budget))
    }

    /// The place of the budget that is used up once `updates` updates are done, if it is one. Cost: linear in the
    /// number of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100, 200])?;
    /// assert_eq!([100, 150, 200].map(|n| plan.budget_ending_at(n)), [Some(0), None, Some(1)]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn budget_ending_at(&self, updates: u64) -> Option<usize> {
        let mut places = (0..self.budgets.len()).zip(self.budgets);
        places.find_map(|(index, budget)| (*budget == updates).then_some(index))
    }

    /// Steps of the whole plan: the last budget, if there is any. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings};
    ///
    /// let settings = Settings::wsd_s(1.0_f32, 0.1);
    /// assert_eq!(Plan::new(settings, &[100, 200])?.total(), Some(200));
    /// assert_eq!(Plan::new(settings, &[])?.total(), None);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn total(&self) -> Option<u64> {
        self.budgets.last().copied()
    }

    /// A checksum of each part of the plan, in the order of
    /// [`PLAN_PARTS`](super::settings::PLAN_PARTS).
    pub(super) fn hashes(&self) -> [u32; 4] {
        let [rates, warmup, decay] = self.settings.hashes();
        let mut budgets = Crc32::new();
        feed(&mut budgets, self.budgets);
        [rates, warmup, decay, budgets].map(Crc32::value)
    }
}

/// [`Plan::lr_at`] of settings and budgets that are constants of a program: all of the code stands where it is called,
/// so that shapes and phases that the settings do not have are not in the image. They are not checked;
/// where [`Plan::new`] refuses them, the rate is unspecified. Cost: linear in the number of budgets.
///
/// ```
/// use rivergram_core::schedule::{Plan, Settings, rate_at};
///
/// let settings = Settings { warmup: 10, ..Settings::wsd_s(1.0_f32, 0.1) };
/// let plan = Plan::new(settings, &[100, 200])?;
/// assert!((0..300).all(|t| rate_at(settings, &[100, 200], t) == plan.lr_at(t)));
/// # Ok::<(), rivergram_core::error::PlanError>(())
/// ```
#[inline(always)]
pub fn rate_at<T: Real>(settings: Settings<T>, budgets: &[u64], t: u64) -> T {
    let plan = Plan { settings, budgets };
    let segment = plan.segment_by::<true>(plan.ended(t));
    plan.rate_by::<true>(&segment, t)
}
