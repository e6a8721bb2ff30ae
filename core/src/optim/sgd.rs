//! Stochastic gradient descent, with and without momentum.

use crate::lanes::{Isa, Lanes, Real};
use crate::ops;

/// w − lr·(u + λ·w), given −lr. Not (1 − lr·λ)·w − lr·u: that factor would round the same way at every update.
#[inline(always)]
pub(super) fn stepped<V: Lanes>(w: V, direction: V, down: V, decay: V) -> V {
    down.mul_add(decay.mul_add(w, direction), w)
}

/// w ← w − lr·(g + λ·w).
#[inline(always)]
pub(super) fn descend<I: Isa>(
    isa: I,
    lr: I::Scalar,
    weight_decay: I::Scalar,
    w: &mut [I::Scalar],
    g: &[I::Scalar],
) {
    let (down, decay) = (isa.splat(-lr), isa.splat(weight_decay));
    for (w, g) in w.chunks_mut(I::WIDTH).zip(g.chunks(I::WIDTH)) {
        isa.store(stepped(isa.load(w), isa.load(g), down, decay), w);
    }
}

/// v ← μ·v + g + λ·w, then w ← w − lr·v.
#[inline(always)]
pub(super) fn descend_with_momentum<I: Isa>(
    isa: I,
    lr: I::Scalar,
    momentum: I::Scalar,
    weight_decay: I::Scalar,
    w: &mut [I::Scalar],
    g: &[I::Scalar],
    v: &mut [I::Scalar],
) {
    ops::scale(isa, momentum, v);
    ops::axpy(isa, I::Scalar::ONE, g, v);
    ops::axpy(isa, weight_decay, w, v);
    ops::axpy(isa, -lr, v, w);
}
