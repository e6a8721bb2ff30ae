//! Softmax over the vocabulary at one position, without a tensor of log-probabilities.
//!
//! With lse = ln Σ_v exp(x_v), kept as the pair (max, ln Σ):
//!
//! - ln p_v = x_v − lse
//! - for a loss with ∂L/∂ln p_v = u + g_v, where g is sparse: ∂L/∂x_v = g_v + u − p_v · Σ_w (u + g_w)
//!
//! So forward and backward are one streaming pass over the V logits each. The backward pass may
//! overwrite the logits. Source: the derivative of log-softmax, as in every text book.

use crate::lanes::{Isa, Lanes, Real};
use crate::lse::LogSum;
use crate::ops::Walk;

/// Why the inputs of a position are no logits and no log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Invalid {
    /// The entry with this index is NaN.
    Nan(usize),
    /// The entry with this index is +∞.
    Infinite(usize),
    /// All entries are −∞.
    NoProbability,
}

/// ln Σ exp(x) of V logits. −∞ is a logit of probability 0.
///
/// Errors: NaN, +∞, or nothing but −∞. Cost: two passes of reading over x, V exponentials.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::softmax::{Invalid, log_sum};
///
/// let lse = log_sum(One::<f32>::new(), &[300.0, 300.0, f32::NEG_INFINITY]).unwrap();
/// assert_eq!(lse.max, 300.0);
/// assert!((lse.ln_sum - 2.0f32.ln()).abs() < 1e-6);
/// assert_eq!(log_sum(One::<f32>::new(), &[0.0, f32::NAN]), Err(Invalid::Nan(1)));
/// ```
#[inline(always)]
pub fn log_sum<I: Isa>(isa: I, x: &[I::Scalar]) -> Result<LogSum<I::Scalar>, Invalid> {
    let lse = LogSum::of(isa, x);
    // Each kind of bad input leaves its trace in the sum; which one it was costs another look.
    if lse.ln_sum.is_finite() {
        Ok(lse)
    } else {
        find_invalid(x).map(|()| lse)
    }
}

/// That V log-probabilities are below +∞ and not all −∞; whether they are normalised is the caller's concern.
///
/// Errors: NaN, +∞, or nothing but −∞. Cost: one pass of reading.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::softmax::{Invalid, check};
///
/// assert_eq!(check(One::<f32>::new(), &[-0.7, -0.7]), Ok(()));
/// assert_eq!(check(One::<f32>::new(), &[f32::NEG_INFINITY]), Err(Invalid::NoProbability));
/// ```
#[inline(always)]
pub fn check<I: Isa>(isa: I, x: &[I::Scalar]) -> Result<(), Invalid> {
    let zero = isa.splat(I::Scalar::ZERO);
    let infinity = isa.splat(I::Scalar::INFINITY);
    let (blocks, tail) = isa.blocks(x);
    // A −∞ is no error yet, but rare: like the rest it is left to the closer look.
    let mut fine = true;
    for x in blocks {
        let x = isa.load(x.as_ref());
        let below = I::Lanes::select(x.less(infinity), zero, infinity);
        let above = I::Lanes::select((-infinity).less(x), zero, infinity);
        fine &= !I::Lanes::any(zero.less(below + above));
    }
    for x in tail {
        fine &= x.is_finite();
    }
    if fine && !x.is_empty() {
        Ok(())
    } else {
        find_invalid(x)
    }
}

/// The first entry that is NaN or +∞; if there is none, whether any is above −∞.
#[cold]
#[inline(never)]
fn find_invalid<T: Real>(x: &[T]) -> Result<(), Invalid> {
    let mut any = false;
    for (column, &x) in (0..x.len()).zip(x) {
        if x.is_finite() {
            any = true;
        } else if x == T::INFINITY {
            return Err(Invalid::Infinite(column));
        } else if x != -T::INFINITY {
            return Err(Invalid::Nan(column));
        }
    }
    if any {
        Ok(())
    } else {
        Err(Invalid::NoProbability)
    }
}

/// Σ_v ln p_v = Σ_v (x_v − max) − V·ln Σ over V logits with their log-sum: what label smoothing adds to the
/// loss. Cost: one pass of reading.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::softmax::{log_sum, sum_ln_p};
///
/// let (isa, x) = (One::<f64>::new(), [3.0; 4]);
/// let lse = log_sum(isa, &x).unwrap();
/// assert!((sum_ln_p(isa, &lse, &x) - 4.0 * 0.25f64.ln()).abs() < 1e-12);
/// ```
#[inline(always)]
pub fn sum_ln_p<I: Isa>(isa: I, lse: &LogSum<I::Scalar>, x: &[I::Scalar]) -> I::Scalar {
    // Blocks keep the rounding error of a long sum small.
    const BLOCK: usize = 64;
    let max = isa.splat(lse.max);
    let mut total = I::Scalar::ZERO;
    for piece in x.pieces(BLOCK) {
        let (blocks, tail) = isa.blocks(piece);
        let mut sum = isa.splat(I::Scalar::ZERO);
        for x in blocks {
            sum = sum + (isa.load(x.as_ref()) - max);
        }
        let mut sum = sum.sum();
        for &x in tail {
            sum += x - lse.max;
        }
        total += sum;
    }
    total - I::Scalar::from_usize(x.len()) * lse.ln_sum
}

/// The cross-entropy with label smoothing: (1−ε)·(lse − target) + ε·(lse − mean), with the mean over all
/// candidates. All three may be measured from the same number, such as the maximum. Source: label smoothing as
/// in arXiv 1512.00567, section 7. Cost: five operations.
///
/// ```
/// use rivergram_core::softmax::smoothed;
///
/// assert_eq!(smoothed(0.0, 3.0f64, 1.0, 0.5), 2.0);
/// assert_eq!(smoothed(0.5, 3.0f64, 1.0, 0.5), 0.5 * 2.0 + 0.5 * 2.5);
/// ```
#[inline(always)]
pub fn smoothed<T: Real>(epsilon: T, lse: T, target: T, mean: T) -> T {
    // lse once: (1−ε)·lse + ε·lse would be rounded three times.
    lse + ((epsilon - T::ONE) * target - epsilon * mean)
}

/// x_v = u − p_v · r in place: the dense part of the gradient, with u = `uniform` and r = Σ_w (u + g_w). The
/// sparse g is added afterwards, such as by [`scatter`](crate::eisl::gather::scatter). Cost: one pass, V
/// exponentials. Source: the derivative of log-softmax.
///
/// ```
/// use rivergram_core::lanes::One;
/// use rivergram_core::softmax::{gradient, log_sum};
///
/// // Cross-entropy against entry 1: g₁ = −1, so r = −1.
/// let (isa, mut x) = (One::<f64>::new(), [0.0, 0.0]);
/// let lse = log_sum(isa, &x).unwrap();
/// gradient(isa, &lse, 0.0, -1.0, &mut x);
/// x[1] -= 1.0;
/// assert!((x[0] - 0.5).abs() < 1e-12 && (x[1] + 0.5).abs() < 1e-12);
/// ```
#[inline(always)]
pub fn gradient<I: Isa>(
    isa: I,
    lse: &LogSum<I::Scalar>,
    uniform: I::Scalar,
    r: I::Scalar,
    x: &mut [I::Scalar],
) {
    let max = isa.splat(lse.max);
    let ln_sum = isa.splat(lse.ln_sum);
    let uniform = isa.splat(uniform);
    let minus_r = isa.splat(-r);
    let (blocks, tail) = isa.blocks_mut(x);
    for x in blocks {
        let p = ((isa.load(x.as_ref()) - max) - ln_sum).exp_of_difference();
        isa.store(p.mul_add(minus_r, uniform), x.as_mut());
    }
    if !tail.is_empty() {
        let p = ((isa.load(tail) - max) - ln_sum).exp_of_difference();
        isa.store(p.mul_add(minus_r, uniform), tail);
    }
}
