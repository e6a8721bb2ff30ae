//! The log-sum-exp of a row, ln Σ exp(xᵢ), as the pair (max, ln Σ exp(x − max)).
//!
//! The two parts stay apart: with x near 300 their rounded sum would cost 1.6e-5 of a probability in `f32`,
//! the pair costs 1e-6. [`Online`] is the same of numbers that come one after the other. Sums over columns keep the same pair, but run along their own loops, which need
//! other things of the same exponentials: the contrastive cross-entropy and [`crate::eisl::select`].
//!
//! Source: the sum shifted by its maximum, as in P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the
//! log-sum-exp and softmax functions", IMA Journal of Numerical Analysis 41, 2021.

use crate::lanes::{Isa, Lanes, Real};

/// ln Σ exp(x) = `max` + `ln_sum`. Of no numbers at all: `ln_sum` = −∞.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LogSum<V> {
    /// The largest number.
    pub max: V,
    /// ln Σ exp(x − max), at least 0 and at most ln(count).
    pub ln_sum: V,
}

impl<T: Real> LogSum<T> {
    /// Of a slice: first the maximum, then the sum, since that needs one exponential per number.
    ///
    /// No errors: of NaN or +∞ the result has a `ln_sum` that is not finite; see
    /// [`log_sum`](crate::softmax::log_sum). Cost: two passes of reading, one exponential per number.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::LogSum;
    ///
    /// let lse = LogSum::of(One::<f64>::new(), &[1.0, 2.0, 3.0]);
    /// let plain = 1.0f64.exp() + 2.0f64.exp() + 3.0f64.exp();
    /// assert!((lse.value() - plain.ln()).abs() < 1e-12);
    /// ```
    #[inline(always)]
    pub fn of<I: Isa<Scalar = T>>(isa: I, x: &[T]) -> Self {
        let (blocks, tail) = isa.blocks(x);
        let mut max = largest(isa, blocks).maximum();
        for &x in tail {
            max = max.max(x);
        }
        let shift = isa.splat(max);
        let mut sum = isa.splat(T::ZERO);
        for x in blocks {
            sum = sum + (isa.load(x.as_ref()) - shift).exp_of_difference();
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

    /// ln p of a number among those summed: (x − max) − ln Σ. Cost: two subtractions.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::LogSum;
    ///
    /// let lse = LogSum::of(One::<f64>::new(), &[500.0, 500.0]);
    /// assert!((lse.ln_p(500.0) - 0.5f64.ln()).abs() < 1e-12);
    /// ```
    #[inline(always)]
    pub fn ln_p(&self, x: T) -> T {
        (x - self.max) - self.ln_sum
    }

    /// max + ln Σ, rounded once. Cost: one addition.
    ///
    /// ```
    /// use rivergram_core::lse::LogSum;
    ///
    /// assert_eq!(LogSum { max: 2.0f32, ln_sum: 0.5 }.value(), 2.5);
    /// ```
    #[inline(always)]
    pub fn value(&self) -> T {
        self.max + self.ln_sum
    }
}

/// The largest number of each lane over all blocks. Four at a time, since each waits for the one before it; on one lane,
/// where bytes count, one.
#[inline(always)]
fn largest<I: Isa>(isa: I, blocks: &[I::Block]) -> I::Lanes {
    let least = isa.splat(-I::Scalar::MAX);
    let (fours, rest) = match I::WIDTH {
        1 => (&[][..], blocks),
        _ => blocks.as_chunks::<4>(),
    };
    let mut four = [least; 4];
    for blocks in fours {
        for (max, x) in four.iter_mut().zip(blocks) {
            *max = max.max(isa.load(x.as_ref()));
        }
    }
    let [a, b, c, d] = four;
    let mut max = a.max(b).max(c.max(d));
    for x in rest {
        max = max.max(isa.load(x.as_ref()));
    }
    max
}

/// A log-sum-exp that grows: numbers are pushed, or two are merged, in any order up to rounding.
///
/// The state is the largest number so far and Σ exp(x − max). Nothing, NaN and +∞ leave the traces that they leave in
/// [`LogSum::of`]. Source: M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax" (arXiv 1805.02867).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Online<V> {
    /// The largest number; the lowest of all while there is none.
    pub max: V,
    /// Σ exp(x − max).
    pub sum: V,
}

impl<V: Lanes> Online<V> {
    /// Of no numbers. Cost: none.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::Online;
    ///
    /// assert_eq!(Online::<f32>::none(One::new()).sum, 0.0);
    /// ```
    #[inline(always)]
    pub fn none(isa: V::Isa) -> Self {
        Online {
            max: isa.splat(-V::Scalar::MAX),
            sum: isa.splat(V::Scalar::ZERO),
        }
    }

    /// With some more numbers. Cost: an exponential per number, and one.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::Online;
    ///
    /// let sum = Online::<f64>::none(One::new()).push([300.0, 301.0]).push([299.0]);
    /// let plain = (-1.0f64).exp() + 1.0 + (-2.0f64).exp();
    /// assert!(sum.max == 301.0 && (sum.sum - plain).abs() < 1e-12);
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn push<const N: usize>(self, x: [V; N]) -> Self {
        let mut max = self.max;
        for x in x {
            max = max.max(x);
        }
        // No difference to the maximum is above 0.
        let mut sum = self.sum * (self.max - max).exp_of_difference();
        for x in x {
            sum = sum + (x - max).exp_of_difference();
        }
        Online { max, sum }
    }

    /// With all numbers of another. Cost: two exponentials.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::Online;
    ///
    /// let none = Online::<f64>::none(One::new());
    /// let sum = none.push([1.0]).merge(none.push([1.0])).merge(none);
    /// assert_eq!((sum.max, sum.sum), (1.0, 2.0));
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let max = self.max.max(other.max);
        let sum = self.sum * (self.max - max).exp_of_difference()
            + other.sum * (other.max - max).exp_of_difference();
        Online { max, sum }
    }

    /// The pair (max, ln Σ). Cost: a logarithm.
    ///
    /// ```
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::lse::Online;
    ///
    /// let lse = Online::<f64>::none(One::new()).push([2.0, 2.0]).log_sum();
    /// assert_eq!((lse.max, lse.ln_sum), (2.0, 2.0f64.ln()));
    /// ```
    #[inline(always)]
    pub fn log_sum(self) -> LogSum<V> {
        LogSum {
            max: self.max,
            ln_sum: self.sum.ln(),
        }
    }
}
