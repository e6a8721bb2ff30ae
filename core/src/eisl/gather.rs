//! The gathered scores s\[j, i\] = max(ln p\[j, y_i\], clamp) of one output position j, and their adjoint.
//!
//! This is the only place that looks labels up in the vocabulary. A label without a column there (−100,
//! or the one that scores 0) has s = 0 and no gradient. Lookups are scalar: they are T·U against the
//! T·V of the dense passes. The adjoint adds repeated tokens in the order of the targets.
//! Source of s: arXiv 2106.15078 and its code, which clamps at −20.

use super::config::IGNORE;
use crate::lanes::{Isa, Lanes, Real};
use crate::lse::LogSum;

/// The column of a label, unless it is padding: −100, `zeroed` or any other negative number. Cost: three comparisons.
///
/// ```
/// use rivergram_core::eisl::gather::token;
///
/// assert_eq!([token(3, None), token(3, Some(3)), token(-100, None)], [Some(3), None, None]);
/// ```
#[inline(always)]
pub fn token(label: i32, zeroed: Option<i32>) -> Option<usize> {
    if label == IGNORE || Some(label) == zeroed {
        None
    } else {
        usize::try_from(label).ok()
    }
}

/// scores\[i\] = max(x\[y_i\] − lse, clamp) for one position; 0 for a label without a column.
///
/// `x` are V logits and `lse` is their log-sum, or V log-probabilities and 0; `labels` and `scores` have U
/// entries. Cost: U lookups. Source: arXiv 2106.15078, the scores of its convolution.
///
/// ```
/// use rivergram_core::eisl::gather::gather;
/// use rivergram_core::lanes::One;
/// use rivergram_core::lse::LogSum;
///
/// let x = [0.0f64, 0.0, -90.0];
/// let (lse, mut scores) = (LogSum::of(One::new(), &x), [0.0; 3]);
/// gather(&x, &lse, &[1, 2, -100], None, Some(-20.0), &mut scores);
/// assert!((scores[0] + 2.0f64.ln()).abs() < 1e-12);
/// assert_eq!(scores[1..], [-20.0, 0.0]);
/// ```
#[inline(always)]
pub fn gather<T: Real>(
    x: &[T],
    lse: &LogSum<T>,
    labels: &[i32],
    zeroed: Option<i32>,
    clamp: Option<T>,
    scores: &mut [T],
) {
    let skipped = zeroed.unwrap_or(IGNORE);
    for (&label, score) in labels.iter().zip(scores) {
        let x = x.get(column(label, skipped));
        *score = self::score(x.copied(), lse, clamp);
    }
}

/// Whether [`token`] finds a column, without a branch.
#[inline(always)]
fn has_column(label: i32, skipped: i32) -> bool {
    (label >= 0) & (label != skipped)
}

/// The column of a label, or one beyond any vocabulary: [`token`] without a branch. A negative label is such a number.
#[inline(always)]
fn column(label: i32, skipped: i32) -> usize {
    if label == skipped {
        usize::MAX
    } else {
        label as usize
    }
}

/// One score: max(x − lse, clamp) of the number at the label's column, 0 where it has none. Cost: three operations.
///
/// ```
/// use rivergram_core::eisl::gather::score;
/// use rivergram_core::lse::LogSum;
///
/// let lse = LogSum { max: 1.0f32, ln_sum: 0.5 };
/// assert_eq!([Some(1.0), Some(-9.0), None].map(|x| score(x, &lse, Some(-4.0))), [-0.5, -4.0, 0.0]);
/// ```
#[inline(always)]
pub fn score<T: Real>(x: Option<T>, lse: &LogSum<T>, clamp: Option<T>) -> T {
    match (x, clamp) {
        (None, _) => T::ZERO,
        (Some(x), None) => lse.ln_p(x),
        (Some(x), Some(clamp)) => lse.ln_p(x).max(clamp),
    }
}

/// The gradient of a score that [`clip`] leaves, in every lane: 0 at the clamp. Cost: a comparison per lane.
///
/// ```
/// use rivergram_core::eisl::gather::unclamped;
///
/// assert_eq!([-1.0f32, -20.0].map(|s| unclamped(s, -20.0, 3.0)), [3.0, 0.0]);
/// ```
#[inline(always)]
pub fn unclamped<V: Lanes>(score: V, clamp: V, gradient: V) -> V {
    V::select(
        clamp.less(score),
        gradient,
        score.isa().splat(V::Scalar::ZERO),
    )
}

/// Clears the gradient of what does not depend on the input: scores at the clamp, and padding. Returns
/// the sum of the rest, R\[j\].
///
/// All of one position: U scores from [`gather`] with the same labels and clamp, U labels, and the U numbers
/// ∂loss/∂s that are changed. Cost: U. Source: the derivative of max(·, clamp), taken as 0 at the clamp.
///
/// ```
/// use rivergram_core::eisl::gather::clip;
/// use rivergram_core::lanes::One;
///
/// let mut gradient = [1.0f32, 2.0, 4.0];
/// let r = clip(One::new(), &[-1.0, -20.0, 0.0], &[5, 6, -100], None, Some(-20.0), &mut gradient);
/// assert_eq!((gradient, r), ([1.0, 0.0, 0.0], 1.0));
/// ```
#[inline(always)]
pub fn clip<I: Isa>(
    isa: I,
    scores: &[I::Scalar],
    labels: &[i32],
    zeroed: Option<i32>,
    clamp: Option<I::Scalar>,
    gradient: &mut [I::Scalar],
) -> I::Scalar {
    let skipped = zeroed.unwrap_or(IGNORE);
    // On vectors nothing is stored where nothing changes: the compiler would store by a mask, which some CPUs are slow at.
    let mut changes = I::WIDTH == 1;
    for &label in if changes { &[] } else { labels } {
        changes |= !has_column(label, skipped);
    }
    if changes {
        for (&label, g) in labels.iter().zip(gradient.iter_mut()) {
            // A choice, not a branch: so it runs on vectors.
            *g = if has_column(label, skipped) {
                *g
            } else {
                I::Scalar::ZERO
            };
        }
    }
    let (zero, one) = (isa.splat(I::Scalar::ZERO), isa.splat(I::Scalar::ONE));
    let clamp = isa.splat(clamp.unwrap_or(-I::Scalar::INFINITY));
    let mut sum = zero;
    for (s, g) in isa.pieces(scores).zip(isa.pieces_mut(gradient)) {
        let s = isa.load(s);
        let kept = unclamped(s, clamp, isa.load(g));
        sum = sum + kept;
        let lost = I::Lanes::select(clamp.less(s), zero, one);
        if I::WIDTH == 1 || I::Lanes::any(zero.less(lost)) {
            isa.store(kept, g);
        }
    }
    sum.sum()
}

/// x\[y_i\] += gradient\[i\]: the adjoint of the lookup. Repeated labels add up in their order.
///
/// `gradient` and `labels` have U entries, `x` V. Cost: U additions.
///
/// ```
/// use rivergram_core::eisl::gather::scatter;
///
/// let mut x = [0.0f32; 3];
/// scatter(&[1.0, 2.0, 4.0], &[2, 0, 2], None, &mut x);
/// assert_eq!(x, [2.0, 0.0, 5.0]);
/// ```
#[inline(always)]
pub fn scatter<T: Real>(gradient: &[T], labels: &[i32], zeroed: Option<i32>, x: &mut [T]) {
    let skipped = zeroed.unwrap_or(IGNORE);
    for (&label, &g) in labels.iter().zip(gradient) {
        if let Some(x) = x.get_mut(column(label, skipped)) {
            *x += g;
        }
    }
}
