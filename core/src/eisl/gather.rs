//! The gathered scores s\[j, i\] = max(ln p\[j, y_i\], clamp) of one output position j, and their adjoint.
//!
//! This is the only place that looks labels up in the vocabulary. A label without a column there (−100,
//! or the one that scores 0) has s = 0 and no gradient. Lookups are scalar: they are T·U against the
//! T·V of the dense passes. The adjoint adds repeated tokens in the order of the targets.

use super::config::IGNORE;
use crate::lanes::{Isa, Lanes, Real};
use crate::lse::LogSum;

/// The column of a label, unless it is padding.
#[inline(always)]
pub fn token(label: i32, zeroed: Option<i32>) -> Option<usize> {
    if label == IGNORE || Some(label) == zeroed {
        None
    } else {
        usize::try_from(label).ok()
    }
}

/// scores\[i\] = max(x\[y_i\] − lse, clamp) for one position. With log-probabilities lse is 0.
#[inline(always)]
pub fn gather<T: Real>(
    x: &[T],
    lse: &LogSum<T>,
    labels: &[i32],
    zeroed: Option<i32>,
    clamp: Option<T>,
    scores: &mut [T],
) {
    for (&label, score) in labels.iter().zip(scores) {
        let s = token(label, zeroed).and_then(|v| x.get(v));
        *score = match (s, clamp) {
            (None, _) => T::ZERO,
            (Some(&x), None) => lse.ln_p(x),
            (Some(&x), Some(clamp)) => lse.ln_p(x).max(clamp),
        };
    }
}

/// Clears the gradient of what does not depend on the input: scores at the clamp, and padding. Returns
/// the sum of the rest, R\[j\].
#[inline(always)]
pub fn clip<I: Isa>(
    isa: I,
    scores: &[I::Scalar],
    labels: &[i32],
    zeroed: Option<i32>,
    clamp: Option<I::Scalar>,
    gradient: &mut [I::Scalar],
) -> I::Scalar {
    for (&label, g) in labels.iter().zip(gradient.iter_mut()) {
        if token(label, zeroed).is_none() {
            *g = I::Scalar::ZERO;
        }
    }
    let zero = isa.splat(I::Scalar::ZERO);
    let clamp = isa.splat(clamp.unwrap_or(-I::Scalar::INFINITY));
    let mut sum = zero;
    for (s, g) in scores.chunks(I::WIDTH).zip(gradient.chunks_mut(I::WIDTH)) {
        let kept = I::Lanes::select(clamp.less(isa.load(s)), isa.load(g), zero);
        isa.store(kept, g);
        sum = sum + kept;
    }
    sum.sum()
}

/// x\[y_i\] += gradient\[i\].
#[inline(always)]
pub fn scatter<T: Real>(gradient: &[T], labels: &[i32], zeroed: Option<i32>, x: &mut [T]) {
    for (&label, &g) in labels.iter().zip(gradient) {
        if let Some(x) = token(label, zeroed).and_then(|v| x.get_mut(v)) {
            *x += g;
        }
    }
}
