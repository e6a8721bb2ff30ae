//! The online log-sum-exp: ln Σ exp(xᵢ), one number at a time, over rows, columns or positions.
//!
//! While it grows it is (max, Σ exp(x − max)); finished it is (max, ln Σ). The two parts of the result
//! stay apart: with x near 300 their rounded sum would cost 1.6e-5 of a probability in `f32`, the pair
//! costs 1e-6.

use crate::lanes::{Isa, Lanes, Real};

/// A growing log-sum-exp in each lane.
#[derive(Clone, Copy, Debug)]
pub struct Lse<V> {
    max: V,
    sum: V,
}

/// ln Σ exp(x) = `max` + `ln_sum`. Of no numbers at all: `ln_sum` = −∞.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSum<V> {
    /// The largest number.
    pub max: V,
    /// ln Σ exp(x − max), at least 0 and at most ln(count).
    pub ln_sum: V,
}

impl<V: Lanes> Lse<V> {
    /// Of no numbers.
    #[inline(always)]
    pub fn empty(isa: V::Isa) -> Self {
        // Finite, so that −∞ can be pushed: −∞ − (−∞) would be NaN.
        Lse {
            max: isa.splat(-V::Scalar::MAX),
            sum: isa.splat(V::Scalar::ZERO),
        }
    }

    /// Adds a number; −∞ adds nothing.
    #[inline(always)]
    pub fn push(&mut self, x: V) {
        let max = self.max.max(x);
        self.sum = self.sum * (self.max - max).exp() + (x - max).exp();
        self.max = max;
    }

    /// Adds all numbers of another.
    #[inline(always)]
    pub fn merge(&mut self, other: Self) {
        let max = self.max.max(other.max);
        self.sum = self.sum * (self.max - max).exp() + other.sum * (other.max - max).exp();
        self.max = max;
    }

    /// The result.
    #[inline(always)]
    pub fn finish(self) -> LogSum<V> {
        LogSum {
            max: self.max,
            ln_sum: self.sum.ln(),
        }
    }
}

impl<T: Real> LogSum<T> {
    /// Of a slice: first the maximum, then the sum, since that needs one exponential per number.
    #[inline(always)]
    pub fn of<I: Isa<Scalar = T>>(isa: I, x: &[T]) -> Self {
        let chunks = x.chunks_exact(I::WIDTH);
        let tail = chunks.remainder();
        let mut max = isa.splat(-T::MAX);
        for x in chunks.clone() {
            max = max.max(isa.load(x));
        }
        let mut max = max.maximum();
        for &x in tail {
            max = max.max(x);
        }
        let shift = isa.splat(max);
        let mut sum = isa.splat(T::ZERO);
        for x in chunks {
            sum = sum + (isa.load(x) - shift).exp();
        }
        let mut sum = sum.sum();
        for &x in tail {
            sum += (x - max).exp();
        }
        LogSum {
            max,
            ln_sum: sum.ln(),
        }
    }

    /// ln p of a number among those summed: x − max − ln Σ.
    #[inline(always)]
    pub fn ln_p(&self, x: T) -> T {
        (x - self.max) - self.ln_sum
    }

    /// max + ln Σ, rounded once.
    #[inline(always)]
    pub fn value(&self) -> T {
        self.max + self.ln_sum
    }
}
