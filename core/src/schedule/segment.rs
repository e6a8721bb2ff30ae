//! A plan in segments, from one budget to the next: ramp, stable phase, decay. Plan and state share the
//! rates of a segment; events change the state's segment and nothing else.

use super::plan::{Phase, Plan, Position};
use super::settings::{After, Stable};
use crate::lanes::{Real, count};

/// From one budget to the next: ramp, stable phase, decay.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Segment<T> {
    /// The place of the budget that ends it; the number of budgets after the last, and one more where
    /// the run left the floor there.
    pub(super) index: usize,
    /// The first step.
    pub(super) start: u64,
    /// The steps of the ramp.
    pub(super) ramp: u64,
    /// The first step of the decay; `end` where there is none.
    pub(super) decay_start: u64,
    /// The first step after it; `u64::MAX` where it does not end.
    pub(super) end: u64,
    /// The rate that the ramp starts from.
    pub(super) ramp_from: T,
    /// The rate that the decay starts from.
    pub(super) decay_from: T,
}

impl<T> Segment<T> {
    /// The steps of the decay.
    #[inline(always)]
    pub(super) fn decay_length(&self) -> u64 {
        self.end.saturating_sub(self.decay_start)
    }
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
    /// The segment that holds step t.
    pub(super) fn segment_at(&self, t: u64) -> Segment<T> {
        self.segment(self.ended(t))
    }

    /// How many budgets end at step t or before.
    #[inline(always)]
    pub(super) fn ended(&self, t: u64) -> usize {
        let ended = self.budgets().iter().take_while(|end| **end <= t);
        ended.fold(0, |count: usize, _| count.saturating_add(1))
    }

    /// The segment that ends with budget `index`, or the open one after the last.
    pub(super) fn segment(&self, index: usize) -> Segment<T> {
        self.segment_by::<false>(index)
    }

    /// [`Plan::segment`]; `HERE`: all of its code stands where it is called, so that what the compiler knows of the
    /// settings leaves out the rest.
    #[inline(always)]
    pub(super) fn segment_by<const HERE: bool>(&self, index: usize) -> Segment<T> {
        let s = self.settings();
        let before = index.checked_sub(1).and_then(|i| self.budgets().get(i));
        let start = before.copied().unwrap_or(0);
        let (decay_start, end) = match self.budgets().get(index) {
            Some(&end) => (end.saturating_sub(s.decay_length(start, end)), end),
            None => (u64::MAX, u64::MAX),
        };
        let mut segment = Segment {
            index,
            start,
            ramp: s.ramp(start),
            decay_start,
            end,
            ramp_from: if start == 0 { s.init } else { s.floor },
            decay_from: s.peak,
        };
        segment.decay_from = self.risen_by::<HERE>(&segment, decay_start);
        segment
    }

    /// The segment of step t after one that the plan need not know of `ended`: a rise of `ramp` steps
    /// from `ramp_from` begins there, and what the plan has from there on is left as it is.
    pub(super) fn resumed(
        &self,
        t: u64,
        before: &Segment<T>,
        ended: u64,
        ramp: u64,
        ramp_from: T,
    ) -> Segment<T> {
        let mut segment = self.segment_at(t);
        if self.beyond(before) {
            segment.index = before.index;
        }
        if segment.start <= ended {
            segment.start = ended;
            segment.ramp = ramp;
            segment.ramp_from = ramp_from;
            segment.decay_start = segment.decay_start.max(ended);
            segment.decay_from = self.risen(&segment, segment.decay_start);
        }
        segment
    }

    /// The open segment of a run that leaves the floor after the last budget at step t.
    pub(super) fn reopened(&self, t: u64, ramp: u64) -> Segment<T> {
        let s = self.settings();
        Segment {
            index: self.budgets().len().saturating_add(1),
            start: t,
            ramp,
            decay_start: u64::MAX,
            end: u64::MAX,
            ramp_from: s.floor,
            decay_from: self.level(u64::MAX),
        }
    }

    /// The segment of step t ≥ `segment.end`, seen from `segment`: it begins where that one ended.
    pub(super) fn next(&self, t: u64, segment: &Segment<T>) -> Segment<T> {
        let s = self.settings();
        // Without its decay, a budget leaves the run where it is: nothing to rise from.
        let decay = self
            .decay(segment.index)
            .map_or(0, |d| d.end.saturating_sub(d.start));
        let (ramp, from) = if decay > 0 && segment.decay_length() == 0 {
            (0, self.risen(segment, segment.end))
        } else {
            (s.rewarmup, s.floor)
        };
        self.resumed(t, segment, segment.end, ramp, from)
    }

    /// Whether step t can lie in a segment, with any events before it.
    pub(super) fn may_have(&self, segment: &Segment<T>, t: u64) -> bool {
        let s = self.settings();
        let in_range = |rate: T| s.lowest() <= rate && rate <= s.peak;
        let on_time = segment.start <= t && (t < segment.end || segment.end == u64::MAX);
        let last = match s.after {
            After::Floor if !self.budgets().is_empty() => self.budgets().len().saturating_add(1),
            _ => self.budgets().len(),
        };
        on_time
            && segment.index <= last
            && segment.start <= segment.decay_start
            && segment.decay_start <= segment.end
            && in_range(segment.ramp_from)
            && in_range(segment.decay_from)
    }

    /// Whether a segment is the floor after the last budget.
    #[inline(always)]
    pub(super) fn done(&self, segment: &Segment<T>) -> bool {
        let over = segment.index > 0 && segment.index == self.budgets().len();
        over && self.settings().after == After::Floor
    }

    /// Whether a segment has left the floor after the last budget.
    #[inline(always)]
    fn beyond(&self, segment: &Segment<T>) -> bool {
        segment.index > self.budgets().len()
    }

    #[inline(always)]
    fn place(&self, segment: &Segment<T>, t: u64) -> Place {
        if t >= segment.decay_start && segment.end > segment.decay_start {
            let done = t.wrapping_sub(segment.decay_start);
            let length = segment.end.wrapping_sub(segment.decay_start);
            return Place::Decay { done, length };
        }
        if self.done(segment) {
            return Place::Done;
        }
        let (done, length) = (t.saturating_sub(segment.start), segment.ramp);
        if done < length {
            return Place::Ramp { done, length };
        }
        Place::Stable
    }

    /// The rate at step t of a segment.
    #[inline(always)]
    pub(super) fn rate(&self, segment: &Segment<T>, t: u64) -> T {
        self.rate_by::<false>(segment, t)
    }

    /// [`Plan::rate`]; `HERE` as of [`Plan::segment_by`].
    #[inline(always)]
    pub(super) fn rate_by<const HERE: bool>(&self, segment: &Segment<T>, t: u64) -> T {
        let s = self.settings();
        match self.place(segment, t) {
            Place::Ramp { .. } | Place::Stable => self.risen_by::<HERE>(segment, t),
            Place::Decay { done, length } => {
                let (done, length) = s.decay_edge.progress(done, length);
                s.shape.rate(done, length, segment.decay_from, s.floor)
            }
            Place::Done => s.floor,
        }
    }

    /// The rate of the ramp and the stable phase at step t of a segment: one function, whose registers the rate of
    /// a decay does not pay for.
    #[inline(never)]
    pub(super) fn risen(&self, segment: &Segment<T>, t: u64) -> T {
        self.risen_by::<true>(segment, t)
    }

    /// [`Plan::risen`]; `HERE` as of [`Plan::segment_by`].
    #[inline(always)]
    fn risen_by<const HERE: bool>(&self, segment: &Segment<T>, t: u64) -> T {
        if !HERE {
            return self.risen(segment, t);
        }
        let s = self.settings();
        let (done, length) = (t.saturating_sub(segment.start), segment.ramp);
        if done >= length {
            return self.level(t);
        }
        let target = self.level(segment.start.saturating_add(length));
        let (done, length) = s.warmup_edge.progress(done, length);
        // A ramp is a decay run backwards, from its end on.
        let left = length.saturating_sub(done);
        let shape = s.warmup_shape.backwards();
        let rate = shape.rate(left, length, target, segment.ramp_from);
        match s.stable {
            Stable::Constant | Stable::InverseSqrtAfter { .. } => rate,
            Stable::InverseSqrt => rate.max(s.floor),
        }
    }

    /// The rate of the stable phase at step t.
    #[inline(always)]
    fn level(&self, t: u64) -> T {
        let s = self.settings();
        let (scale, since) = match s.stable {
            Stable::Constant => return s.peak,
            Stable::InverseSqrt => (s.warmup.max(1), t.max(s.warmup.max(1))),
            Stable::InverseSqrtAfter { start, timescale } => {
                let scale = timescale.max(1);
                (scale, scale.saturating_add(t.saturating_sub(start)))
            }
        };
        let ratio = count::<T>(scale) / count::<T>(since);
        (s.peak * ratio.sqrt()).max(s.floor)
    }

    pub(super) fn position_in(&self, segment: &Segment<T>, t: u64) -> Position {
        let open = segment.index >= self.budgets().len();
        let (phase, remaining) = match self.place(segment, t) {
            Place::Ramp { done, length } => {
                let phase = if segment.start == 0 {
                    Phase::Warmup
                } else {
                    Phase::Rewarmup
                };
                let left = length.saturating_sub(done);
                (phase, left)
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
}
