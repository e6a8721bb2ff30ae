//! Optimizers over slices: the parameters of all heads lie in one.
//!
//! ```text
//! SGD      v ← μ·v + g + λ·w          w ← w − lr·v
//! AdamW    m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
//!          w ← w − lr·(m̂ / (√v̂ + ε) + λ·w),   m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)
//! ```
//! Sources: B. T. Polyak 1964; I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization"
//! (arXiv 1711.05101, algorithm 2). SGD's weight decay is coupled, AdamW's is not, as in PyTorch.

use crate::error::TrainError;
use crate::lanes::{Isa, Lanes, Real, count};
use crate::ops;

/// Which rule turns a gradient into an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer<T> {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// μ in \[0, 1); 0 needs no state.
        momentum: T,
        /// λ.
        weight_decay: T,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// β₁ in \[0, 1).
        beta1: T,
        /// β₂ in \[0, 1).
        beta2: T,
        /// ε, positive: a parameter that never had a gradient would divide 0 by 0.
        epsilon: T,
        /// λ.
        weight_decay: T,
    },
}

impl<T: Real> Optimizer<T> {
    /// Plain SGD.
    pub fn sgd() -> Self {
        Optimizer::Sgd {
            momentum: T::ZERO,
            weight_decay: T::ZERO,
        }
    }

    /// AdamW with PyTorch's defaults: β = (0.9, 0.999), ε = 1e-8, λ = 0.01.
    pub fn adamw() -> Self {
        Optimizer::AdamW {
            beta1: T::constant(0.9),
            beta2: T::constant(0.999),
            epsilon: T::constant(1e-8),
            weight_decay: T::constant(0.01),
        }
    }

    /// Floats of state for `parameters` parameters. They start at 0.
    pub fn state_len(&self, parameters: usize) -> usize {
        match self {
            Optimizer::Sgd { momentum, .. } if *momentum == T::ZERO => 0,
            Optimizer::Sgd { .. } => parameters,
            Optimizer::AdamW { .. } => parameters.saturating_mul(2),
        }
    }

    /// An error where a number is out of its range.
    pub fn check(&self) -> Result<(), TrainError> {
        let share = |x: T| x >= T::ZERO && x < T::ONE;
        let (shares, epsilon, weight_decay) = match *self {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => (share(momentum), T::ONE, weight_decay),
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => (share(beta1) && share(beta2), epsilon, weight_decay),
        };
        let positive = epsilon > T::ZERO && epsilon.is_finite();
        if shares && positive && weight_decay >= T::ZERO && weight_decay.is_finite() {
            Ok(())
        } else {
            Err(TrainError::Optimizer)
        }
    }

    /// One update: the `update`-th, counted from 1, at rate `lr`. `gradient` is as long as `parameters` and
    /// `state` holds [`Optimizer::state_len`] floats; with other lengths it is unspecified which parameters
    /// are updated.
    ///
    /// Cost: one pass over parameters, gradient and state; four short ones for SGD with momentum.
    #[inline(always)]
    pub fn update<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        lr: T,
        update: u64,
        parameters: &mut [T],
        gradient: &[T],
        state: &mut [T],
    ) {
        match *self {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } if momentum == T::ZERO => {
                descend(isa, lr, weight_decay, parameters, gradient);
            }
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => {
                ops::scale(isa, momentum, state);
                ops::axpy(isa, T::ONE, gradient, state);
                ops::axpy(isa, weight_decay, parameters, state);
                ops::axpy(isa, -lr, state, parameters);
            }
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let rule = AdamW {
                    beta1,
                    beta2,
                    epsilon,
                    decay: lr * weight_decay,
                    lr: lr / bias_correction(beta1, update),
                    root: T::ONE / bias_correction(beta2, update).sqrt(),
                };
                let (m, v) = state
                    .split_at_mut_checked(parameters.len())
                    .unwrap_or_default();
                rule.apply(isa, parameters, gradient, m, v);
            }
        }
    }
}

/// w ← w − lr·(g + λ·w). Not (1 − lr·λ)·w − lr·g: that factor would round the same way at every update.
#[inline(always)]
fn descend<I: Isa>(
    isa: I,
    lr: I::Scalar,
    weight_decay: I::Scalar,
    w: &mut [I::Scalar],
    g: &[I::Scalar],
) {
    let (down, decay) = (isa.splat(-lr), isa.splat(weight_decay));
    for (w, g) in w.chunks_mut(I::WIDTH).zip(g.chunks(I::WIDTH)) {
        let value = isa.load(w);
        let slope = decay.mul_add(value, isa.load(g));
        isa.store(down.mul_add(slope, value), w);
    }
}

/// 1 − βᵗ, accurate for β near 1.
#[inline(always)]
fn bias_correction<T: Real>(beta: T, update: u64) -> T {
    if beta == T::ZERO {
        return T::ONE;
    }
    -(count::<T>(update) * beta.ln()).exp_m1()
}

/// The constants of one AdamW update.
#[derive(Clone, Copy)]
struct AdamW<T> {
    beta1: T,
    beta2: T,
    epsilon: T,
    /// lr·λ.
    decay: T,
    /// lr / (1 − β₁ᵗ).
    lr: T,
    /// 1 / √(1 − β₂ᵗ).
    root: T,
}

impl<T: Real> AdamW<T> {
    #[inline(always)]
    fn apply<I: Isa<Scalar = T>>(self, isa: I, w: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
        let (beta1, beta2) = (isa.splat(self.beta1), isa.splat(self.beta2));
        let (rest1, rest2) = (
            isa.splat(T::ONE - self.beta1),
            isa.splat(T::ONE - self.beta2),
        );
        let (lr, root) = (isa.splat(self.lr), isa.splat(self.root));
        let (decay, epsilon) = (isa.splat(self.decay), isa.splat(self.epsilon));
        let moments = m.chunks_mut(I::WIDTH).zip(v.chunks_mut(I::WIDTH));
        let rows = w.chunks_mut(I::WIDTH).zip(g.chunks(I::WIDTH)).zip(moments);
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

/// Scales the gradient down to norm `limit` ≥ 0 where its norm is larger; returns the norm it had. Where the
/// norm is not finite, which is where its square is not, the gradient stays as it is.
#[inline(always)]
pub fn clip<I: Isa>(isa: I, limit: I::Scalar, gradient: &mut [I::Scalar]) -> I::Scalar {
    let norm = ops::dot(isa, gradient, gradient).sqrt();
    if norm > limit && norm.is_finite() {
        ops::scale(isa, limit / norm, gradient);
    }
    norm
}
