//! Lion: every parameter moves by the same distance, against the sign of an interpolated momentum.

use super::sgd::stepped;
use crate::lanes::{Isa, Lanes, Real};

/// The constants of one Lion update.
#[derive(Clone, Copy)]
pub(crate) struct Lion<T> {
    pub(super) beta1: T,
    pub(super) beta2: T,
    pub(super) weight_decay: T,
    pub(super) lr: T,
}

impl<T: Real> Lion<T> {
    /// The direction reads the momentum of the updates before; only then does the gradient enter it.
    #[inline(always)]
    pub(super) fn apply<I: Isa<Scalar = T>>(self, isa: I, w: &mut [T], g: &[T], m: &mut [T]) {
        let (beta1, beta2) = (isa.splat(self.beta1), isa.splat(self.beta2));
        let (rest1, rest2) = (
            isa.splat(T::ONE - self.beta1),
            isa.splat(T::ONE - self.beta2),
        );
        let (down, decay) = (isa.splat(-self.lr), isa.splat(self.weight_decay));
        let rows = isa.pieces_mut(w).zip(isa.pieces(g));
        for ((w, g), m) in rows.zip(isa.pieces_mut(m)) {
            let (gradient, momentum) = (isa.load(g), isa.load(m));
            let direction = sign(isa, beta1.mul_add(momentum, rest1 * gradient));
            isa.store(beta2.mul_add(momentum, rest2 * gradient), m);
            isa.store(stepped(isa.load(w), direction, down, decay), w);
        }
    }
}

/// 1, −1, or x itself where it is 0 or NaN.
#[inline(always)]
fn sign<I: Isa>(isa: I, x: I::Lanes) -> I::Lanes {
    let (zero, one) = (isa.splat(I::Scalar::ZERO), isa.splat(I::Scalar::ONE));
    let at_most_zero = I::Lanes::select(x.less(zero), -one, x);
    I::Lanes::select(zero.less(x), one, at_most_zero)
}
