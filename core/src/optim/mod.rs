//! Optimizers over slices: the parameters of all heads lie in one.
//!
//! ```text
//! SGD      v ← μ·v + g + λ·w          w ← w − lr·v
//! AdamW    m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
//!          w ← w − lr·(m̂ / (√v̂ + ε) + λ·w),   m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)
//! Lion     u = sign(β₁m + (1−β₁)g)    w ← w − lr·(u + λ·w)    m ← β₂m + (1−β₂)g
//! ```
//! Sources: B. T. Polyak 1964; I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization"
//! (arXiv 1711.05101, algorithm 2); X. Chen et al., "Symbolic Discovery of Optimization Algorithms"
//! (arXiv 2302.06675, algorithm 2). SGD's weight decay is coupled, as in PyTorch; AdamW's and Lion's are not.
//!
//! | module | for |
//! |---|---|
//! | [`average`] | means of the weights over a run: exponential, since a reset, of the latest k copies |
//! | [`rounding`] | weights in 16 bits: conversion, stochastic rounding, updates that would be lost |

pub mod average;
pub mod rounding;

mod adamw;
mod lion;
mod sgd;

use crate::error::{OptimError, TrainError};
use crate::lanes::{Isa, Lanes, Real};
use crate::ops;
pub use adamw::AdamW;
use lion::Lion;
use sgd::Sgd;

/// Which rule turns a gradient into an update.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// Lion: the sign of an interpolated momentum, with decoupled weight decay. Its steps are larger than
    /// Adam's: its authors advise a rate 3 to 10 times smaller, and a λ as many times larger.
    Lion {
        /// β₁ in \[0, 1): how much of the momentum goes into the direction.
        beta1: T,
        /// β₂ in \[0, 1): how much of the momentum stays.
        beta2: T,
        /// λ.
        weight_decay: T,
    },
}

impl<T: Real> Optimizer<T> {
    /// Plain SGD: no momentum, no weight decay.
    ///
    /// ```
    /// use rivergram_core::optim::Optimizer;
    ///
    /// let plain = Optimizer::Sgd { momentum: 0.0_f32, weight_decay: 0.0 };
    /// assert_eq!(Optimizer::sgd(), plain);
    /// ```
    pub fn sgd() -> Self {
        Optimizer::Sgd {
            momentum: T::ZERO,
            weight_decay: T::ZERO,
        }
    }

    /// AdamW with PyTorch's defaults: β = (0.9, 0.999), ε = 1e-8, λ = 0.01.
    ///
    /// ```
    /// use rivergram_core::optim::Optimizer;
    ///
    /// let optimizer = Optimizer::<f32>::adamw();
    /// assert!(matches!(optimizer, Optimizer::AdamW { beta1: 0.9, beta2: 0.999, .. }));
    /// ```
    pub fn adamw() -> Self {
        Optimizer::AdamW {
            beta1: T::constant(0.9),
            beta2: T::constant(0.999),
            epsilon: T::constant(1e-8),
            weight_decay: T::constant(0.01),
        }
    }

    /// Lion with the paper's β = (0.9, 0.99) and its authors' default λ = 0 (github.com/google/automl, lion).
    ///
    /// ```
    /// use rivergram_core::optim::Optimizer;
    ///
    /// let lion = Optimizer::Lion { beta1: 0.9_f32, beta2: 0.99, weight_decay: 0.0 };
    /// assert_eq!(Optimizer::lion(), lion);
    /// ```
    pub fn lion() -> Self {
        Optimizer::Lion {
            beta1: T::constant(0.9),
            beta2: T::constant(0.99),
            weight_decay: T::ZERO,
        }
    }

    /// Floats of state for `parameters` parameters, which start at 0: none for plain SGD, one per parameter for
    /// SGD with momentum and for Lion, two for AdamW.
    ///
    /// ```
    /// use rivergram_core::optim::Optimizer;
    ///
    /// assert_eq!(Optimizer::<f32>::sgd().state_len(100), 0);
    /// assert_eq!(Optimizer::<f32>::lion().state_len(100), 100);
    /// assert_eq!(Optimizer::<f32>::adamw().state_len(100), 200);
    /// ```
    pub fn state_len(&self, parameters: usize) -> usize {
        match self {
            Optimizer::Sgd { momentum, .. } if *momentum == T::ZERO => 0,
            Optimizer::Sgd { .. } | Optimizer::Lion { .. } => parameters,
            Optimizer::AdamW { .. } => parameters.saturating_mul(2),
        }
    }

    /// Whether its numbers are in their ranges: μ, β₁ and β₂ in \[0, 1), ε positive, λ at least 0, all finite. Cost:
    /// O(1).
    ///
    /// # Errors
    /// [`TrainError::Optimizer`].
    ///
    /// ```
    /// use rivergram_core::{error::TrainError, optim::Optimizer};
    ///
    /// assert_eq!(Optimizer::<f32>::lion().check(), Ok(()));
    /// let never_forgets = Optimizer::Sgd { momentum: 1.0_f32, weight_decay: 0.0 };
    /// assert_eq!(never_forgets.check(), Err(TrainError::Optimizer));
    /// ```
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
            Optimizer::Lion {
                beta1,
                beta2,
                weight_decay,
            } => (share(beta1) && share(beta2), T::ONE, weight_decay),
        };
        let positive = epsilon > T::ZERO && epsilon.is_finite();
        if shares && positive && weight_decay >= T::ZERO && weight_decay.is_finite() {
            Ok(())
        } else {
            Err(TrainError::Optimizer)
        }
    }

    /// One update: the `update`-th, counted from 1 (0 counts as 1), at rate `lr`. `gradient` is as long as `parameters` and
    /// `state` holds [`Optimizer::state_len`] floats; with other lengths it is unspecified which parameters
    /// are updated. A NaN in the gradient makes a NaN of its parameter and of its state, in every rule.
    ///
    /// Cost: one pass over parameters, gradient and state; four short ones for SGD with momentum.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, optim::Optimizer};
    ///
    /// let optimizer = Optimizer::<f64>::lion();
    /// let (mut weights, mut state) = ([1.0, 2.0, 3.0], [0.0; 3]);
    /// optimizer.update(One::new(), 0.5, 1, &mut weights, &[7.0, -0.1, 0.0], &mut state);
    /// assert_eq!(weights, [0.5, 2.5, 3.0]); // One length of step, whatever the gradient.
    /// ```
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
        let (first, second) = split_state(state, parameters.len());
        self.rule(lr, update)
            .apply(isa, parameters, gradient, first, second);
    }

    /// The constants of one update.
    #[inline(always)]
    pub(crate) fn rule(&self, lr: T, update: u64) -> Rule<T> {
        match *self {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => Rule::Sgd(Sgd {
                lr,
                momentum,
                weight_decay,
            }),
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                let numbers = [beta1, beta2, epsilon, weight_decay];
                Rule::AdamW(AdamW::new(numbers, lr, update))
            }
            Optimizer::Lion {
                beta1,
                beta2,
                weight_decay,
            } => Rule::Lion(Lion {
                beta1,
                beta2,
                weight_decay,
                lr,
            }),
        }
    }
}

/// One update: made once, applied to all parameters, or to one part of them after the other.
#[derive(Clone, Copy)]
pub(crate) enum Rule<T> {
    Sgd(Sgd<T>),
    AdamW(AdamW<T>),
    Lion(Lion<T>),
}

impl<T: Real> Rule<T> {
    /// Updates some parameters by their gradient; `first` and `second` are their part of the state.
    #[inline(always)]
    pub(crate) fn apply<I: Isa<Scalar = T>>(
        self,
        isa: I,
        parameters: &mut [T],
        gradient: &[T],
        first: &mut [T],
        second: &mut [T],
    ) {
        match self {
            Rule::Sgd(rule) => rule.apply(isa, parameters, gradient, first),
            Rule::AdamW(rule) => rule.apply(isa, parameters, gradient, first, second),
            Rule::Lion(rule) => rule.apply(isa, parameters, gradient, first),
        }
    }
}

/// The state's first number of each parameter, and the second, where the rule has them.
#[inline(always)]
pub(crate) fn split_state<T>(state: &mut [T], parameters: usize) -> (&mut [T], &mut [T]) {
    let first = parameters.min(state.len());
    ops::take(state, first)
}

/// Scales the gradient down to norm `limit` ≥ 0 where its norm is larger; returns the norm it had. Where the
/// norm is not finite, which is where its square is not, the gradient stays as it is.
///
/// Cost: one pass, and a second one where it scales.
///
/// ```
/// use rivergram_core::{lanes::One, optim::clip};
///
/// let mut gradient = [3.0_f64, 4.0];
/// assert_eq!(clip(One::new(), 10.0, &mut gradient), 5.0);
/// assert_eq!(gradient, [3.0, 4.0]);
/// assert_eq!(clip(One::new(), 2.5, &mut gradient), 5.0);
/// assert_eq!(gradient, [1.5, 2.0]);
/// ```
#[inline(always)]
pub fn clip<I: Isa>(isa: I, limit: I::Scalar, gradient: &mut [I::Scalar]) -> I::Scalar {
    let norm = ops::dot(isa, gradient, gradient).sqrt();
    let factor = clip_factor(Some(limit), norm);
    if factor != I::Scalar::ONE {
        ops::scale(isa, factor, gradient);
    }
    norm
}

/// What a gradient of this norm is multiplied by.
#[inline(always)]
pub(crate) fn clip_factor<T: Real>(limit: Option<T>, norm: T) -> T {
    match limit {
        Some(limit) if norm > limit && norm.is_finite() => limit / norm,
        _ => T::ONE,
    }
}

#[inline(always)]
fn check_len(need: usize, have: usize) -> Result<(), OptimError> {
    if need == have {
        Ok(())
    } else {
        Err(OptimError::Length { need, have })
    }
}
