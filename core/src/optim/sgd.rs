//! Stochastic gradient descent, with and without momentum.

use crate::lanes::{Isa, Lanes, Real};
use crate::ops;

/// w − lr·(u + λ·w), given −lr. Not (1 − lr·λ)·w − lr·u: that factor would round the same way at every update.
#[inline(always)]
pub(super) fn stepped<V: Lanes>(w: V, direction: V, down: V, decay: V) -> V {
    down.mul_add(decay.mul_add(w, direction), w)
}

/// The constants of one update.
#[derive(Clone, Copy)]
pub(crate) struct Sgd<T> {
    pub(super) lr: T,
    /// μ; 0 needs no state.
    pub(super) momentum: T,
    pub(super) weight_decay: T,
}

impl<T: Real> Sgd<T> {
    /// w ← w − lr·(g + λ·w), or with momentum v ← μ·v + g + λ·w, then w ← w − lr·v.
    #[inline(always)]
    pub(super) fn apply<I: Isa<Scalar = T>>(self, isa: I, w: &mut [T], g: &[T], v: &mut [T]) {
        if self.momentum != T::ZERO {
            ops::scale(isa, self.momentum, v);
            ops::axpy(isa, T::ONE, g, v);
            ops::axpy(isa, self.weight_decay, w, v);
            ops::axpy(isa, -self.lr, v, w);
            return;
        }
        let (down, decay) = (isa.splat(-self.lr), isa.splat(self.weight_decay));
        for (w, g) in isa.pieces_mut(w).zip(isa.pieces(g)) {
            isa.store(stepped(isa.load(w), isa.load(g), down, decay), w);
        }
    }
}
