//! The schedule one update at a time, and across power cycles.

use super::segment::Segment;
use super::settings::{PLAN_PARTS, share};
use super::{Phase, Plan, Position};
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{DecodeError, EncodeError, PlanPart, StateError};
use crate::lanes::Real;

const MAGIC: [u8; 4] = *b"RGLR";
/// Version 2 has the length of the ramp, which version 1 took from the plan.
const VERSION: u32 = 2;
const VERSION_WITHOUT_RAMP: u32 = 1;

/// Where a run stands in its [`Plan`]: 64 bytes in `f32` where a pointer has 8, 56 where it has 4. The
/// plan and its budgets lie with the caller.
///
/// | event | in the stable phase or a ramp | in a decay | at the floor after the last budget |
/// |---|---|---|---|
/// | [`request_decay`](State::request_decay) | a decay begins | another begins from the rate of the moment | nothing |
/// | [`cancel_decay`](State::cancel_decay) | nothing | back to the peak | nothing |
/// | [`extend`](State::extend) | the next budget moves later | its end moves later | nothing |
/// | [`resume_to_peak`](State::resume_to_peak) | a re-warmup begins anew | nothing | back to the peak |
///
/// An event holds from the next update on, and says whether it changed anything. Until one happens the
/// rates are the plan's. After any sequence of them [`State::lr_at`] tells all rates to come, they lie
/// between min(init, floor) and the peak, and all that is kept is this state.
///
/// ```
/// use rivergram_core::schedule::{Plan, Settings, State};
///
/// let plan = Plan::new(Settings::wsd_s(0.1_f32, 0.01), &[50, 100])?;
/// let mut state = State::new(&plan);
/// for t in 0..70 {
///     assert_eq!(state.advance(), plan.lr_at(t));
/// }
/// let mut saved = [0; State::<f32>::SAVED_LEN];
/// state.save(&mut saved)?;
/// let mut again = State::load(&plan, &saved)?;
/// assert_eq!(again.step(), 70);
/// assert_eq!(again.advance(), state.advance());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct State<'a, T> {
    plan: &'a Plan<'a, T>,
    step: u64,
    segment: Segment<T>,
}

/// A [`State`] without its plan, for who keeps the two in one place and cannot let one borrow the other.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress<T> {
    step: u64,
    segment: Segment<T>,
}

impl<T: Real> Progress<T> {
    /// All that it is, in words: for a checksum of the memory that it lies in. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// let [first, second] = [1, 2].map(|step| State::at(&plan, step).progress());
    /// assert_ne!(first.words(), second.words());
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn words(&self) -> [u64; 8] {
        let Progress { step, segment } = self;
        [
            *step,
            segment.index as u64,
            segment.start,
            segment.ramp,
            segment.decay_start,
            segment.end,
            segment.ramp_from.to_bits(),
            segment.decay_from.to_bits(),
        ]
    }
}

impl<'a, T: Real> State<'a, T> {
    /// Bytes of a saved state: four hashes, step, anchor (place, start, ramp, decay start, end, and
    /// the rates that ramp and decay start from).
    pub const SAVED_LEN: usize = OVERHEAD + 4 * 4 + 8 + 5 * 8 + 2 * size_of::<T>();

    /// Before the first update. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100])?;
    /// assert_eq!(State::new(&plan).step(), 0);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn new(plan: &'a Plan<'a, T>) -> Self {
        Self::at(plan, 0)
    }

    /// After `step` updates (or units), as if they had been made one by one. Cost: linear in the number
    /// of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// assert_eq!(State::at(&plan, 3).advance(), 0.25);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn at(plan: &'a Plan<'a, T>, step: u64) -> Self {
        State {
            plan,
            step,
            segment: plan.segment_at(step),
        }
    }

    /// What the state is without its plan. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[])?;
    /// let mut state = State::at(&plan, 1000);
    /// state.request_decay(10);
    /// assert_eq!(State::with_progress(&plan, state.progress())?, state);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn progress(&self) -> Progress<T> {
        Progress {
            step: self.step,
            segment: self.segment,
        }
    }

    /// The state that this was the progress of, given a plan equal to its own. A progress carries no hash of its
    /// plan, so another plan is only found out where it cannot have come to this place; its rates are within that
    /// plan's range in any case. What is saved, [`State::save`], knows its plan. Cost: O(1).
    ///
    /// # Errors
    /// [`StateError::Phase`]: the plan cannot have this progress.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let progress = {
    ///     let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    ///     State::at(&plan, 3).progress()
    /// };
    /// let same = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// assert_eq!(State::with_progress(&same, progress)?.rate(), 0.25);
    /// let lower = Plan::new(Settings::linear(0.5_f32, 0.0), &[4])?;
    /// assert!(State::with_progress(&lower, progress).is_err()); // Its decay begins at 1.
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn with_progress(plan: &'a Plan<'a, T>, progress: Progress<T>) -> Result<Self, StateError> {
        let Progress { step, segment } = progress;
        if !plan.may_have(&segment, step) {
            return Err(StateError::Phase { step });
        }
        Ok(State {
            plan,
            step,
            segment,
        })
    }

    /// The plan.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100])?;
    /// assert_eq!(State::new(&plan).plan().total(), Some(100));
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn plan(&self) -> &'a Plan<'a, T> {
        self.plan
    }

    /// Updates made so far, or units counted.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::constant(1.0_f32), &[])?;
    /// let mut state = State::new(&plan);
    /// state.advance();
    /// state.advance_by(64);
    /// assert_eq!(state.step(), 65);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The rate of the next update. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// let mut state = State::at(&plan, 1);
    /// assert_eq!(state.rate(), 0.75);
    /// assert_eq!(state.advance(), 0.75);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline(always)]
    pub fn rate(&self) -> T {
        self.plan.rate(&self.segment, self.step)
    }

    /// The phase, the next budget and the steps left in the phase. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Phase, Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100])?;
    /// let at = State::at(&plan, 70).position();
    /// assert_eq!((at.phase, at.budget, at.remaining), (Phase::Stable, Some(0), Some(20)));
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn position(&self) -> Position {
        self.plan.position_in(&self.segment, self.step)
    }

    /// Steps (or units) to the end of the running decay if there is one, else to the next budget where
    /// it now lies; none where neither is to come. ([`Position::remaining`] counts to the end of the
    /// phase.) Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100])?;
    /// let mut state = State::at(&plan, 70);
    /// assert_eq!(state.remaining(), Some(30));
    /// state.extend(50);
    /// assert_eq!(state.remaining(), Some(80));
    /// state.request_decay(10);
    /// assert_eq!(state.remaining(), Some(10));
    /// assert_eq!(State::at(&plan, 100).remaining(), None);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn remaining(&self) -> Option<u64> {
        let end = self.segment.end;
        (end != u64::MAX).then(|| end.saturating_sub(self.step))
    }

    /// The rate of the (t+1)-th update, if nothing else happens before: the plan's
    /// [`lr_at`](Plan::lr_at) where nothing ever did, else for t from the present step on. Cost: O(1)
    /// in t, linear in the number of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4, 8])?;
    /// let state = State::at(&plan, 1);
    /// assert_eq!([1, 3, 4, 6, 8].map(|t| state.lr_at(t)), [0.75, 0.25, 1.0, 0.5, 0.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn lr_at(&self, t: u64) -> T {
        self.plan.rate(&self.segment_of(t), t)
    }

    /// Returns the rate of the next update and moves on: the n-th call returns `lr_at(n − 1)`, bit for
    /// bit. Cost: no division in `u64` but where a budget ends.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[4])?;
    /// let mut state = State::new(&plan);
    /// let rates: Vec<f32> = (0..5).map(|_| state.advance()).collect();
    /// assert_eq!(rates, [1.0, 0.75, 0.5, 0.25, 0.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline]
    pub fn advance(&mut self) -> T {
        self.advance_by(1)
    }

    /// The same in a plan that counts samples or tokens: the rate of an update whose batch holds
    /// `units` of them, which is that of the units before it. A batch may reach past the end of a
    /// phase; the next update is then where the units say, also after an event. Cost: that of [`State::advance`].
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// // 1000 tokens of warmup, batches of 600.
    /// let settings = Settings { warmup: 1000, ..Settings::constant(1.0_f32) };
    /// let plan = Plan::new(settings, &[])?;
    /// let mut state = State::new(&plan);
    /// assert_eq!([state.advance_by(600), state.advance_by(600), state.rate()], [0.0, 0.6, 1.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    #[inline]
    pub fn advance_by(&mut self, units: u64) -> T {
        let rate = self.rate();
        self.step = self.step.saturating_add(units);
        if self.step >= self.segment.end {
            self.enter_next();
        }
        rate
    }

    /// Goes on in the segment of the present step.
    #[cold]
    #[inline(never)]
    fn enter_next(&mut self) {
        self.segment = self.segment_of(self.step);
    }

    /// The segment of step t, seen from the present one.
    fn segment_of(&self, t: u64) -> Segment<T> {
        // An end at the largest step is none.
        if t < self.segment.end || self.segment.end == u64::MAX {
            return self.segment;
        }
        self.plan.next(t, &self.segment)
    }

    /// Begins a decay of `length` steps (or units) with the next update, from the rate of the moment.
    /// After it the run goes on as after a budget: back to the peak, and on to the decays of the plan
    /// that are still to come: where it began in one of them and ends before it, to what is left of that one. Whether anything changed: not for length 0, nor after the last budget at
    /// the floor. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[])?;
    /// let mut state = State::at(&plan, 1000);
    /// assert!(state.request_decay(100));
    /// assert_eq!(state.position().remaining, Some(100));
    /// assert!(state.lr_at(1099) < 0.11);
    /// assert_eq!(state.lr_at(1100), 1.0);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn request_decay(&mut self, length: u64) -> bool {
        if length == 0 || self.plan.done(&self.segment) {
            return false;
        }
        self.segment.decay_from = self.rate();
        self.segment.decay_start = self.step;
        self.segment.end = self.step.saturating_add(length);
        true
    }

    /// The same with a length of so many millionths of the steps made so far, rounded down, at least 1.
    /// More than a million count as a million. Cost: that of [`State::request_decay`] and a division of integers.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[])?;
    /// let mut state = State::at(&plan, 1000);
    /// assert!(state.request_decay_of_seen(100_000));
    /// assert_eq!(state.remaining(), Some(100));
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn request_decay_of_seen(&mut self, millionths: u32) -> bool {
        self.request_decay(share(self.step, millionths.min(1_000_000)).max(1))
    }

    /// Ends a decay with the next update, and goes back to the peak: at once, or by a re-warmup from the
    /// rate of the moment if the plan has one. A decay of the plan is then left out, and its budget
    /// changes nothing but for the floor after the last. Whether there was a decay to end. Cost: linear
    /// in the number of budgets.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::linear(1.0_f32, 0.0), &[])?;
    /// let mut state = State::at(&plan, 10);
    /// state.request_decay(4);
    /// assert_eq!([state.advance(), state.advance()], [1.0, 0.75]);
    /// assert!(state.cancel_decay());
    /// assert_eq!(state.advance(), 1.0);
    /// assert!(!state.cancel_decay());
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn cancel_decay(&mut self) -> bool {
        if self.position().phase != Phase::Decay {
            return false;
        }
        let (step, ramp) = (self.step, self.plan.settings().rewarmup);
        let rate = self.rate();
        let mut segment = self.plan.resumed(step, &self.segment, step, ramp, rate);
        if segment.decay_start <= self.step {
            segment.decay_start = segment.end;
        }
        self.segment = segment;
        true
    }

    /// Moves the next end later by `by` steps (or units).
    ///
    /// - In a decay, asked for or of the plan, with r steps left: it goes on from the rate of the moment
    ///   in r + `by` steps, in the shape of the plan. The rate never rises, and reaches the floor at the
    ///   new end (where it began below the floor, in a warmup from there, it stays as it is). This is
    ///   `request_decay(r + by)`.
    /// - Before a decay: the next budget moves, and its decay with it, of the same length. The budgets
    ///   after it stay where they are; those that the new end passes are left out.
    ///
    /// Whether anything changed: not for 0, nor where no end is to come (no budget ahead, or at the
    /// floor after the last). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, Shape, State};
    ///
    /// let settings = Settings { shape: Shape::Linear, ..Settings::wsd_s(1.0_f64, 0.0) };
    /// let plan = Plan::new(settings, &[100])?;
    /// let mut state = State::at(&plan, 50);
    /// assert!(state.extend(100));
    /// assert_eq!([95, 190, 195, 200].map(|t| state.lr_at(t)), [1.0, 1.0, 0.5, 0.0]);
    ///
    /// // Half of a decay is left, and gets three times as long.
    /// let mut state = State::at(&plan, 95);
    /// assert!(state.extend(10));
    /// assert_eq!([95, 98, 110].map(|t| state.lr_at(t)), [0.5, 0.4, 0.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn extend(&mut self, by: u64) -> bool {
        let Some(left) = self.remaining() else {
            return false;
        };
        if by == 0 {
            return false;
        }
        if self.position().phase == Phase::Decay {
            return self.request_decay(left.saturating_add(by));
        }
        let length = self.segment.decay_length();
        self.segment.end = self.segment.end.saturating_add(by);
        self.segment.decay_start = self.segment.end.saturating_sub(length);
        self.segment.decay_from = self.plan.risen(&self.segment, self.segment.decay_start);
        true
    }

    /// Goes back to the peak after a decay that has ended, with the next update: at once for `rewarmup`
    /// 0, else by so many steps (or units) from the rate of the moment.
    ///
    /// - At the floor after the last budget: the run is open from here on, as with no budgets, and takes
    ///   all events.
    /// - In a re-warmup, which the plan begins by itself after an earlier budget or a decay that was
    ///   asked for: this one takes its place.
    ///
    /// Whether anything changed: not elsewhere. A decay that has not ended is called off by
    /// [`State::cancel_decay`]. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f64, 0.5), &[100])?;
    /// let mut state = State::at(&plan, 120);
    /// assert_eq!(state.rate(), 0.5);
    /// assert!(state.resume_to_peak(2));
    /// assert_eq!([120, 121, 122, 1000].map(|t| state.lr_at(t)), [0.5, 0.75, 1.0, 1.0]);
    /// # Ok::<(), rivergram_core::error::PlanError>(())
    /// ```
    pub fn resume_to_peak(&mut self, rewarmup: u64) -> bool {
        if self.plan.done(&self.segment) {
            self.segment = self.plan.reopened(self.step, rewarmup);
            return true;
        }
        if self.position().phase != Phase::Rewarmup {
            return false;
        }
        self.segment.ramp_from = self.rate();
        self.segment.start = self.step;
        self.segment.ramp = rewarmup;
        self.segment.decay_from = self.plan.risen(&self.segment, self.segment.decay_start);
        true
    }

    /// The same run under a plan of the same settings, whose budgets differ only in those that are still to come: later
    /// ones were added, or others take their place. Where no event happened, the rates from here on are those of the new
    /// plan; a decay that was asked for goes on to its end; after the last budget the run goes back to the peak as
    /// after any other. A budget so near that its decay would have begun before has it begin now. Cost: linear in the
    /// number of budgets.
    ///
    /// # Errors
    /// [`StateError::OtherPlan`]: other settings; budgets up to this step that differ; in the decay of a budget, another
    /// budget in its place.
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let settings = Settings::wsd_s(1.0_f32, 0.1);
    /// let (plan, longer) = (Plan::new(settings, &[100])?, Plan::new(settings, &[100, 200])?);
    /// let state = State::at(&plan, 100);
    /// assert_eq!(state.rate(), 0.1); // All budgets are reached.
    /// let state = state.replan(&longer)?;
    /// assert_eq!(state, State::at(&longer, 100));
    /// assert_eq!(state.rate(), 1.0);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn replan<'b>(&self, plan: &'b Plan<'b, T>) -> Result<State<'b, T>, StateError> {
        let ([.., own_budgets], [.., budgets]) = (self.plan.hashes(), plan.hashes());
        let hashes = self.plan.hashes().into_iter().zip(plan.hashes());
        for (part, (saved, given)) in PLAN_PARTS.into_iter().zip(hashes) {
            if saved != given && part != PlanPart::Budgets {
                return Err(StateError::OtherPlan { part, saved, given });
            }
        }
        let reached = |plan: &Plan<'_, T>| plan.segment_at(self.step).index;
        let old = self.segment.index;
        let same = |index: usize| self.plan.budgets().get(index) == plan.budgets().get(index);
        let index = reached(plan);
        let decays = self.position().phase == Phase::Decay;
        // A decay of the plan, not one that was asked for.
        let is_planned = decays && self.plan.budgets().get(old) == Some(&self.segment.end);
        if reached(self.plan) != index || !(0..index).all(same) || is_planned && !same(old) {
            return Err(StateError::OtherPlan {
                part: PlanPart::Budgets,
                saved: own_budgets,
                given: budgets,
            });
        }
        let mut segment = self.segment;
        if self.plan.done(&segment) && !decays {
            segment = plan.segment_at(self.step);
            segment.start = self.segment.start;
        } else if !same(index) {
            let next = plan.segment_at(self.step);
            segment.index = index;
            if !decays {
                segment.end = next.end;
                segment.decay_start = next.decay_start;
            }
        }
        if !decays {
            if segment.decay_start < self.step {
                segment.decay_start = self.step;
            }
            segment.decay_from = plan.risen(&segment, segment.decay_start);
        }
        State::with_progress(
            plan,
            Progress {
                step: self.step,
                segment,
            },
        )
    }

    /// Writes the state to the start of `to` and returns its length, [`State::SAVED_LEN`].
    /// Cost: a checksum of its few bytes and a hash of the budgets.
    ///
    /// # Errors
    /// [`EncodeError::NoSpace`].
    ///
    /// ```
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[])?;
    /// let mut slot = [0; 128];
    /// assert_eq!(State::at(&plan, 7).save(&mut slot)?, State::<f32>::SAVED_LEN);
    /// assert_eq!(State::load(&plan, &slot)?.step(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, to: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(to, MAGIC, VERSION);
        for hash in self.plan.hashes() {
            writer.u32(hash);
        }
        writer.u64(self.step);
        writer.u64(self.segment.index as u64);
        writer.u64(self.segment.start);
        writer.u64(self.segment.ramp);
        writer.u64(self.segment.decay_start);
        writer.u64(self.segment.end);
        writer.real(self.segment.ramp_from);
        writer.real(self.segment.decay_from);
        writer.finish()
    }

    /// Reads a state that was saved under an equal plan, by format version 2 or 1. Cost: that of [`State::save`].
    ///
    /// # Errors
    /// [`StateError`]: bytes that are cut, damaged or of another kind or version; another plan, with
    /// the part that differs; a phase that the plan cannot have at the saved step.
    ///
    /// ```
    /// use rivergram_core::error::{PlanPart, StateError};
    /// use rivergram_core::schedule::{Plan, Settings, State};
    ///
    /// let plan = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[100])?;
    /// let mut saved = [0; State::<f32>::SAVED_LEN];
    /// State::at(&plan, 42).save(&mut saved)?;
    /// assert_eq!(State::load(&plan, &saved)?, State::at(&plan, 42));
    ///
    /// let other = Plan::new(Settings::wsd_s(1.0_f32, 0.1), &[200])?;
    /// let refused = State::load(&other, &saved).err();
    /// assert!(matches!(refused, Some(StateError::OtherPlan { part: PlanPart::Budgets, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(plan: &'a Plan<'a, T>, bytes: &[u8]) -> Result<Self, StateError> {
        let (mut reader, has_ramp) = match Reader::open(bytes, MAGIC, VERSION) {
            Err(DecodeError::Version {
                found: VERSION_WITHOUT_RAMP,
                ..
            }) => (Reader::open(bytes, MAGIC, VERSION_WITHOUT_RAMP)?, false),
            opened => (opened?, true),
        };
        for (part, given) in PLAN_PARTS.into_iter().zip(plan.hashes()) {
            let saved = reader.u32()?;
            if saved != given {
                return Err(StateError::OtherPlan { part, saved, given });
            }
        }
        let step = reader.u64()?;
        let phase = StateError::Phase { step };
        let index = usize::try_from(reader.u64()?).map_err(|_| phase)?;
        let start = reader.u64()?;
        let segment = Segment {
            index,
            start,
            ramp: if has_ramp {
                reader.u64()?
            } else {
                plan.settings().ramp(start)
            },
            decay_start: reader.u64()?,
            end: reader.u64()?,
            ramp_from: reader.real()?,
            decay_from: reader.real()?,
        };
        State::with_progress(plan, Progress { step, segment })
    }
}
