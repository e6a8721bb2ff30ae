//! The second half of a step: from the gradient of the outputs to the update of the parameters.
//!
//! With a buffer for the whole gradient it is made once, and used. Without one that of one head at a time is made in
//! the workspace. What must not be updated is known before the first parameter changes: by a bound, where that is
//! finite and nothing is clipped, else by the norm itself, for which each gradient is made once more.

use super::{Setup, Step};
use crate::error::TrainError;
use crate::features::{self, Features};
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

/// `LINEAR`: no head has a hidden layer, and the code of those that do is left out.
pub(super) struct Learn<'a, T, F, R, const LINEAR: bool> {
    pub(super) setup: &'a Setup<'a, T>,
    pub(super) backward: Backward<'a, T, F>,
    pub(super) parameters: &'a mut [T],
    /// Of all parameters, or nothing.
    pub(super) gradient: &'a mut [T],
    pub(super) moments: &'a mut [T],
    pub(super) rates: R,
    pub(super) updates: &'a mut u64,
    pub(super) loss: T,
}

/// What tells the rate of an update, once, when it is about to be made.
pub(super) trait Rates<T> {
    fn next_rate(&mut self) -> T;
}

impl<T: Real> Rates<T> for &mut State<'_, T> {
    #[inline(always)]
    fn next_rate(&mut self) -> T {
        self.advance()
    }
}

/// What is done with each head.
#[derive(Clone, Copy)]
enum Pass<T> {
    /// The gradient of its outputs goes through the normalisation, and bounds that of its parameters.
    Bound,
    /// The norm of its gradient is taken.
    Measure,
    /// Its gradient is multiplied, unless by 1, and used. Where it was not measured before, its norm is taken.
    Update {
        factor: T,
        rule: Rule<T>,
        is_measured: bool,
    },
}

impl<T: Real, F: Features<T>, R: Rates<T>, const LINEAR: bool> Kernel<T>
    for Learn<'_, T, F, R, LINEAR>
{
    type Output = Result<Step<T>, TrainError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(mut self, isa: I) -> Self::Output {
        let mut step = Step {
            loss: self.loss,
            ..Step::default()
        };
        // One call in a loop, not several: its code is large, and is inlined where it is called.
        let mut pass = Pass::Bound;
        loop {
            let norm = self.heads(isa, pass).sqrt();
            let is_measured = matches!(pass, Pass::Measure);
            match pass {
                Pass::Bound if self.setup.clip.is_none() && norm.is_finite() => {}
                Pass::Bound => {
                    pass = Pass::Measure;
                    continue;
                }
                Pass::Measure => step.gradient_norm = norm,
                Pass::Update { is_measured, .. } => {
                    if !is_measured {
                        step.gradient_norm = norm;
                    }
                    return Ok(step);
                }
            }
            if !(step.loss.is_finite() && step.gradient_norm.is_finite()) {
                let updates = *self.updates;
                return Err(TrainError::NotFinite { updates });
            }
            step.rate = self.rates.next_rate();
            if !step.rate.is_finite() {
                let updates = *self.updates;
                return Err(TrainError::NotFinite { updates });
            }
            *self.updates = self.updates.saturating_add(1);
            pass = Pass::Update {
                factor: optim::clip_factor(self.setup.clip, step.gradient_norm),
                rule: self.setup.optimizer.rule(step.rate, *self.updates),
                is_measured,
            };
        }
    }
}

impl<T: Real, F: Features<T>, R, const LINEAR: bool> Learn<'_, T, F, R, LINEAR> {
    /// One pass over the heads; returns the square of the gradient's norm, or its bound, where that is asked for.
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
            let head = if LINEAR { head.linear() } else { *head };
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

            if matches!(pass, Pass::Bound) {
                head.through_normalisation(isa, own_y, own_cache, own_dy);
                square += match is_whole {
                    true => T::INFINITY,
                    false => head.square_bound(isa, *x, own_dy),
                };
                continue;
            }
            if matches!(pass, Pass::Measure) || !is_whole {
                own_gradient.fill(T::ZERO);
                let (tile, rest) = take(rest, features::tile_len_of::<F, _>(head.input));
                head.add_gradient(isa, own, *x, own_cache, own_dy, own_gradient, rest, tile);
            }
            let is_measured = match pass {
                Pass::Update { is_measured, .. } => is_measured,
                _ => is_whole,
            };
            if !is_measured {
                square += ops::dot(isa, own_gradient, own_gradient);
            }
            if let Pass::Update { factor, rule, .. } = pass {
                if factor != T::ONE {
                    ops::scale(isa, factor, own_gradient);
                }
                rule.apply(isa, own, own_gradient, own_first, own_second);
            }
        }
        if is_whole && matches!(pass, Pass::Measure) {
            square = ops::dot(isa, self.gradient, self.gradient);
        }
        square
    }
}
