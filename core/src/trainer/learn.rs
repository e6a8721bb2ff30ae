//! The second half of a step: from the gradient of the outputs to the update of the parameters.
//!
//! With a buffer for the whole gradient it is made once, and used. Without one that of one head at a time is made in
//! the workspace, first for its norm and again for the update: what must not be updated is known before the first
//! parameter changes.

use super::{Setup, Step};
use crate::error::TrainError;
use crate::features::Features;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{self, split, take};
use crate::optim::{self, Rule};
use crate::schedule::State;

/// What the backward pass of the heads reads, and where it writes.
pub(super) struct Backward<'a, T, F> {
    /// Of each head.
    pub(super) inputs: &'a [F],
    pub(super) rows: usize,
    /// The outputs, head by head; nothing where none normalises.
    pub(super) y: &'a [T],
    /// Their gradient, which is overwritten.
    pub(super) dy: &'a mut [T],
    /// What the heads kept.
    pub(super) caches: &'a [T],
    pub(super) scratch: &'a mut [T],
}

pub(super) struct Learn<'a, 's, T, F> {
    pub(super) setup: &'a Setup<'a, T>,
    pub(super) backward: Backward<'a, T, F>,
    pub(super) parameters: &'a mut [T],
    /// Of all parameters, or nothing.
    pub(super) gradient: &'a mut [T],
    pub(super) moments: &'a mut [T],
    pub(super) schedule: &'a mut State<'s, T>,
    pub(super) updates: &'a mut u64,
    pub(super) loss: T,
}

/// What is done with the gradient of each head.
#[derive(Clone, Copy)]
enum Pass<T> {
    /// Its norm is taken.
    Measure,
    /// It is multiplied, unless by 1, and used.
    Update { factor: T, rule: Rule<T> },
}

impl<T: Real, F: Features<T>> Kernel<T> for Learn<'_, '_, T, F> {
    type Output = Result<Step<T>, TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(mut self, isa: I) -> Self::Output {
        let mut step = Step {
            loss: self.loss,
            ..Step::default()
        };
        // One call in a loop, not two: its code is large, and is inlined where it is called.
        let mut pass = Pass::Measure;
        loop {
            let square = self.heads(isa, pass);
            if matches!(pass, Pass::Update { .. }) {
                return Ok(step);
            }
            step.gradient_norm = square.sqrt();
            if !(step.loss.is_finite() && step.gradient_norm.is_finite()) {
                let updates = *self.updates;
                return Err(TrainError::NotFinite { updates });
            }
            step.rate = self.schedule.advance();
            *self.updates = self.updates.saturating_add(1);
            pass = Pass::Update {
                factor: optim::clip_factor(self.setup.clip, step.gradient_norm),
                rule: self.setup.optimizer.rule(step.rate, *self.updates),
            };
        }
    }
}

impl<T: Real, F: Features<T>> Learn<'_, '_, T, F> {
    /// One pass over the heads; returns the square of the gradient's norm where that is asked for.
    #[inline(always)]
    fn heads<I: Isa<Scalar = T>>(&mut self, isa: I, pass: Pass<T>) -> T {
        let Backward {
            inputs,
            rows,
            mut y,
            ref mut dy,
            mut caches,
            ref mut scratch,
        } = self.backward;
        let is_whole = !self.gradient.is_empty();
        let (mut first, mut second) = optim::split_state(self.moments, self.parameters.len());
        let (mut parameters, mut gradient) = (&mut *self.parameters, &mut *self.gradient);
        let mut dy = &mut **dy;
        let mut square = T::ZERO;
        for (head, x) in self.setup.heads.iter().zip(inputs) {
            let len = head.parameters_len();
            let (own, others) = take(parameters, len);
            parameters = others;
            let (own_first, others) = take(first, len);
            first = others;
            let (own_second, others) = take(second, len);
            second = others;
            let (own_dy, others) = take(dy, rows.saturating_mul(head.output));
            dy = others;
            let (own_y, others) = split(y, own_dy.len());
            y = others;
            let (own_cache, others) = split(caches, head.cache_len(rows));
            caches = others;
            let (own_gradient, others) = take(gradient, len);
            gradient = others;
            let (in_scratch, rest) = take(scratch, if is_whole { 0 } else { len });
            let own_gradient = if is_whole { own_gradient } else { in_scratch };

            let is_measured = matches!(pass, Pass::Measure);
            if is_measured {
                head.through_normalisation(isa, own_y, own_cache, own_dy);
            }
            if is_measured || !is_whole {
                own_gradient.fill(T::ZERO);
                let (tile, rest) = take(rest, F::tile_len(head.input));
                head.add_gradient(isa, own, *x, own_cache, own_dy, own_gradient, rest, tile);
            }
            match pass {
                Pass::Measure if is_whole => {}
                Pass::Measure => square += ops::dot(isa, own_gradient, own_gradient),
                Pass::Update { factor, rule } => {
                    if factor != T::ONE {
                        ops::scale(isa, factor, own_gradient);
                    }
                    rule.apply(isa, own, own_gradient, own_first, own_second);
                }
            }
        }
        if is_whole && matches!(pass, Pass::Measure) {
            square = ops::dot(isa, self.gradient, self.gradient);
        }
        square
    }
}
