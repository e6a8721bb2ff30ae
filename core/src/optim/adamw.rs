//! Adam with decoupled weight decay.

use crate::lanes::{Isa, Lanes, Real, count};

/// The constants of one AdamW update.
#[derive(Clone, Copy)]
pub(crate) struct AdamW<T> {
    pub(super) beta1: T,
    pub(super) beta2: T,
    pub(super) epsilon: T,
    /// lr·λ.
    pub(super) decay: T,
    /// lr / (1 − β₁ᵗ).
    pub(super) lr: T,
    /// 1 / √(1 − β₂ᵗ).
    pub(super) root: T,
}

impl<T: Real> AdamW<T> {
    #[inline(always)]
    pub(super) fn apply<I: Isa<Scalar = T>>(
        self,
        isa: I,
        w: &mut [T],
        g: &[T],
        m: &mut [T],
        v: &mut [T],
    ) {
        let (beta1, beta2) = (isa.splat(self.beta1), isa.splat(self.beta2));
        let (rest1, rest2) = (
            isa.splat(T::ONE - self.beta1),
            isa.splat(T::ONE - self.beta2),
        );
        let (lr, root) = (isa.splat(self.lr), isa.splat(self.root));
        let (decay, epsilon) = (isa.splat(self.decay), isa.splat(self.epsilon));
        let moments = isa.pieces_mut(m).zip(isa.pieces_mut(v));
        let rows = isa.pieces_mut(w).zip(isa.pieces(g)).zip(moments);
        for ((w, g), (m, v)) in rows {
            let gradient = isa.load(g);
            let first = beta1.mul_add(isa.load(m), rest1 * gradient);
            let second = beta2.mul_add(isa.load(v), rest2 * gradient * gradient);
            isa.store(first, m);
            isa.store(second, v);
            let step = lr * first / (second.sqrt() * root + epsilon);
            let value = isa.load(w);
            isa.store(value - decay.mul_add(value, step), w);
        }
    }
}

/// 1 − βᵗ, accurate for β near 1.
#[inline(always)]
pub(super) fn bias_correction<T: Real>(beta: T, update: u64) -> T {
    if beta == T::ZERO {
        return T::ONE;
    }
    forgotten(beta.ln(), update)
}

/// 1 − βᵗ from ln β.
#[inline(always)]
pub(super) fn forgotten<T: Real>(ln_beta: T, t: u64) -> T {
    -(count::<T>(t) * ln_beta).exp_m1()
}
