//! Adam with decoupled weight decay.

use crate::lanes::{Isa, Lanes, Real, count};

/// The constants of one AdamW update: made once, applied to all parameters, wherever they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AdamW<T> {
    /// β₁.
    pub beta1: T,
    /// β₂.
    pub beta2: T,
    /// ε.
    pub epsilon: T,
    /// lr·λ.
    pub decay: T,
    /// lr / (1 − β₁ᵗ).
    pub lr: T,
    /// 1 / √(1 − β₂ᵗ).
    pub root: T,
}

impl<T: Real> AdamW<T> {
    /// The constants of update t, counted from 1 (0 counts as 1), at rate `lr`: `numbers` are β₁, β₂, ε and λ. Cost: two
    /// logarithms, two exponentials and a square root. Source: arXiv 1711.05101, algorithm 2.
    ///
    /// ```
    /// use rivergram_core::optim::AdamW;
    ///
    /// let first = AdamW::new([0.5_f64, 0.75, 1e-8, 0.1], 0.2, 1);
    /// assert!((first.lr - 0.4).abs() < 1e-12 && (first.root - 2.0).abs() < 1e-12);
    /// assert!((first.decay - 0.02).abs() < 1e-12);
    /// ```
    pub fn new([beta1, beta2, epsilon, weight_decay]: [T; 4], lr: T, update: u64) -> Self {
        let update = update.max(1);
        AdamW {
            beta1,
            beta2,
            epsilon,
            decay: lr * weight_decay,
            lr: lr / bias_correction(beta1, update),
            root: T::ONE / bias_correction(beta2, update).sqrt(),
        }
    }

    /// Updates some parameters w by their gradient g; m and v are their moments. All have one length. Cost: one pass.
    /// Source: arXiv 1711.05101, algorithm 2.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, optim::AdamW};
    ///
    /// let rule = AdamW::new([0.9_f64, 0.999, 1e-8, 0.0], 0.1, 1);
    /// let (mut w, mut m, mut v) = ([1.0], [0.0], [0.0]);
    /// rule.apply(One::new(), &mut w, &[5.0], &mut m, &mut v);
    /// assert!((w[0] - 0.9).abs() < 1e-6); // The first step is lr long.
    /// ```
    #[inline(always)]
    pub fn apply<I: Isa<Scalar = T>>(self, isa: I, w: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
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
