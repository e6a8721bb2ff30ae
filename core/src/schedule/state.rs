//! The schedule one update at a time, and across power cycles.

use super::plan::{PLAN_PARTS, Segment, share};
use super::{Phase, Plan, Position};
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{EncodeError, StateError};
use crate::lanes::Real;

const MAGIC: [u8; 4] = *b"RGLR";
const VERSION: u32 = 1;

/// Where a run stands in its [`Plan`]. At most 64 bytes; the plan and its budgets lie with the caller.
///
/// A decay can also be asked for while the run goes on, when the budget was not known before, and can
/// be called off. Until that happens the rates are the plan's.
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
pub struct State<'a, T> {
    plan: &'a Plan<'a, T>,
    step: u64,
    segment: Segment<T>,
}

impl<'a, T: Real> State<'a, T> {
    /// Bytes of a saved state: four hashes, step, anchor (place, start, decay start, end, and
    /// the rates that ramp and decay start from).
    pub const SAVED_LEN: usize = OVERHEAD + 4 * 4 + 8 + 4 * 8 + 2 * size_of::<T>();

    /// Before the first update.
    pub fn new(plan: &'a Plan<'a, T>) -> Self {
        Self::at(plan, 0)
    }

    /// After `step` updates, as if they had been made one by one.
    pub fn at(plan: &'a Plan<'a, T>, step: u64) -> Self {
        State {
            plan,
            step,
            segment: plan.segment_at(step),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &'a Plan<'a, T> {
        self.plan
    }

    /// Updates made so far, or units counted.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The rate of the next update.
    #[inline(always)]
    pub fn rate(&self) -> T {
        self.plan.rate(&self.segment, self.step)
    }

    /// The phase, the next budget and the steps left in the phase.
    pub fn position(&self) -> Position {
        self.plan.position_in(&self.segment, self.step)
    }

    /// The rate of the (t+1)-th update, if no decay is asked for or called off before: the plan's
    /// [`lr_at`](Plan::lr_at) where none was, else for t from the present step on.
    pub fn lr_at(&self, t: u64) -> T {
        self.plan.rate(&self.segment_of(t), t)
    }

    /// Returns the rate of the next update and moves on: the n-th call returns `lr_at(n − 1)`, bit for
    /// bit. Cost: no division in `u64` but where a budget ends.
    #[inline]
    pub fn advance(&mut self) -> T {
        self.advance_by(1)
    }

    /// The same in a plan that counts samples or tokens: the rate of an update whose batch holds
    /// `units` of them, which is that of the units before it.
    #[inline]
    pub fn advance_by(&mut self, units: u64) -> T {
        let rate = self.rate();
        self.step = self.step.saturating_add(units);
        if self.step >= self.segment.end {
            self.segment = self.segment_of(self.step);
        }
        rate
    }

    /// The segment of step t, seen from the present one.
    fn segment_of(&self, t: u64) -> Segment<T> {
        // An end at the largest step is none.
        if t < self.segment.end || self.segment.end == u64::MAX {
            return self.segment;
        }
        let floor = self.plan.settings().floor;
        self.plan.resumed(t, self.segment.end, floor)
    }

    /// Begins a decay of `length` steps with the next update, from the rate of the moment. After it the
    /// run goes on as after a budget: back to the peak, and on to the decays of the plan that are still
    /// to come. Whether anything changed: not for length 0, nor after the last budget at the floor.
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
    /// More than a million count as a million.
    pub fn request_decay_of_seen(&mut self, millionths: u32) -> bool {
        self.request_decay(share(self.step, millionths.min(1_000_000)).max(1))
    }

    /// Ends a decay with the next update, and goes back to the peak: at once, or by a re-warmup from the
    /// rate of the moment if the plan has one. Whether there was a decay to end.
    pub fn cancel_decay(&mut self) -> bool {
        if self.position().phase != Phase::Decay {
            return false;
        }
        let mut segment = self.plan.resumed(self.step, self.step, self.rate());
        if segment.decay_start <= self.step {
            segment.decay_start = segment.end;
        }
        self.segment = segment;
        true
    }

    /// Writes the state to the start of `to` and returns its length, [`State::SAVED_LEN`].
    ///
    /// # Errors
    /// [`EncodeError::NoSpace`].
    pub fn save(&self, to: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::new(to, MAGIC, VERSION);
        for hash in self.plan.hashes() {
            writer.u32(hash);
        }
        writer.u64(self.step);
        writer.u64(self.segment.index as u64);
        writer.u64(self.segment.start);
        writer.u64(self.segment.decay_start);
        writer.u64(self.segment.end);
        writer.real(self.segment.ramp_from);
        writer.real(self.segment.decay_from);
        writer.finish()
    }

    /// Reads a state that was saved under an equal plan.
    ///
    /// # Errors
    /// [`StateError`]: bytes that are cut, damaged or of another kind or version; another plan, with
    /// the part that differs; a phase that the plan cannot have at the saved step.
    pub fn load(plan: &'a Plan<'a, T>, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        for (part, given) in PLAN_PARTS.into_iter().zip(plan.hashes()) {
            let saved = reader.u32()?;
            if saved != given {
                return Err(StateError::OtherPlan { part, saved, given });
            }
        }
        let step = reader.u64()?;
        let phase = StateError::Phase { step };
        let segment = Segment {
            index: usize::try_from(reader.u64()?).map_err(|_| phase)?,
            start: reader.u64()?,
            decay_start: reader.u64()?,
            end: reader.u64()?,
            ramp_from: reader.real()?,
            decay_from: reader.real()?,
        };
        if !plan.may_have(&segment, step) {
            return Err(phase);
        }
        Ok(State {
            plan,
            step,
            segment,
        })
    }
}
