//! The schedule one update at a time, and across power cycles.

use super::plan::{PLAN_PARTS, Segment};
use super::{Plan, Position};
use crate::encode::{OVERHEAD, Reader, Writer};
use crate::error::{EncodeError, StateError};
use crate::lanes::Real;

const MAGIC: [u8; 4] = *b"RGLR";
const VERSION: u32 = 1;

/// Where a run stands in its [`Plan`]. At most 64 bytes; the plan and its budgets lie with the caller.
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
    /// Bytes of a saved state: four hashes, step, anchor (place, start, decay start, end, rate).
    pub const SAVED_LEN: usize = OVERHEAD + 4 * 4 + 8 + 4 * 8 + size_of::<T>();

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

    /// Returns the rate of the next update and moves on: the n-th call returns `plan.lr_at(n − 1)`, bit
    /// for bit. Cost: no division in `u64` but where a budget ends.
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
            self.segment = self.plan.segment_at(self.step);
        }
        rate
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
        writer.real(self.segment.from);
        writer.finish()
    }

    /// Reads a state that was saved under an equal plan.
    ///
    /// # Errors
    /// [`StateError`]: bytes that are cut, damaged or of another kind or version; another plan, with
    /// the part that differs; a phase that the plan does not have at the saved step.
    pub fn load(plan: &'a Plan<'a, T>, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        for (part, given) in PLAN_PARTS.into_iter().zip(plan.hashes()) {
            let saved = reader.u32()?;
            if saved != given {
                return Err(StateError::OtherPlan { part, saved, given });
            }
        }
        let step = reader.u64()?;
        let state = State::at(plan, step);
        let index = reader.u64()?;
        let anchor = Segment {
            index: state.segment.index,
            start: reader.u64()?,
            decay_start: reader.u64()?,
            end: reader.u64()?,
            from: reader.real()?,
        };
        if index != state.segment.index as u64 || anchor != state.segment {
            return Err(StateError::Phase { step });
        }
        Ok(state)
    }
}
