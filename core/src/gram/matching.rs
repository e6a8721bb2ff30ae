//! Data-anchor matching (DAM): a small classifier tells matching pairs from hard negatives.
//!
//! ```text
//! L_dam = mean over 3B pairs of −ln p_class          class 1: the B matches; class 0: 2B hard negatives
//! L     = L_gram + 0.1 · L_dam
//! ```
//! (arXiv 2412.11959, the loss beside the volume's.) Each anchor meets a wrong item, each item a wrong anchor
//! ([`crate::gram::negatives`]): B matches, then B and B negatives. What the classifier is, a layer over
//! fused features, is the caller's; here are its two logits per pair and their gradient. Where a modality is
//! absent there are fewer pairs, and the mean is over those that are there.

use crate::error::GramError;
use crate::lanes::Real;
use crate::lse::LogSum;
use crate::ops::{self, Sum, Walk};
use crate::softmax;

/// The weight of the matching loss in the total loss.
pub const WEIGHT: f64 = 0.1;

/// L_gram + 0.1 · L_dam. The gradient of the matching part takes the same factor, [`WEIGHT`]. Cost: O(1).
/// Source: arXiv 2412.11959.
///
/// ```
/// use rivergram_core::gram::matching::total_loss;
/// assert_eq!(total_loss(1.5_f64, 0.5), 1.55);
/// ```
pub fn total_loss<T: Real>(gram: T, matching: T) -> T {
    gram + T::constant(WEIGHT) * matching
}

/// The mean cross-entropy of logits \[pairs, 2\], of which the first `positives` pairs are of class 1 and the
/// others of class 0, and its gradient into `gradient` \[pairs, 2\].
///
/// A pair that is `false` in `present` \[pairs\] does not count, may hold anything and gets the gradient 0: a
/// match of which one side is absent, a query for which nothing was drawn. Of no pair at all the loss is 0.
///
/// Errors: sizes; no place for a pair, or fewer than `positives`; a logit that is not finite, with its place. All
/// are found before anything is written. Cost: four exponentials and a logarithm per pair. Source: the
/// [module](self)'s.
///
/// ```
/// use rivergram_core::gram::matching::matching_loss;
///
/// let mut gradient = [0.0_f64; 6];
/// let loss = matching_loss(&[0.0; 6], 1, None, &mut gradient)?;
/// assert!((loss - 2.0_f64.ln()).abs() < 1e-15);
/// let sixth = 0.5 / 3.0;
/// assert_eq!(gradient, [sixth, -sixth, -sixth, sixth, -sixth, sixth]);
///
/// let loss = matching_loss(&[0.0; 6], 1, Some(&[true, false, false]), &mut gradient)?;
/// assert!((loss - 2.0_f64.ln()).abs() < 1e-15);
/// assert_eq!(gradient, [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn matching_loss<T: Real>(
    logits: &[T],
    positives: usize,
    present: Option<&[bool]>,
    gradient: &mut [T],
) -> Result<T, GramError> {
    let pairs = logits.len() >> 1;
    if pairs == 0 {
        let (k, rows, d) = (2, pairs, 2);
        return Err(GramError::Empty { k, rows, d });
    }
    let need = pairs.max(positives).saturating_mul(2);
    for have in [logits.len(), gradient.len()] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    let (need, have) = (pairs, present.map_or(pairs, <[bool]>::len));
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    let is_there = |row: usize| present.is_none_or(|there| there.get(row) == Some(&true));
    let mut there = 0_usize;
    for (row, logits) in (0..pairs).zip(logits.rows(2)) {
        if !is_there(row) {
            continue;
        }
        there = there.saturating_add(1);
        for (column, logit) in (0..2).zip(logits) {
            if !logit.is_finite() {
                return Err(GramError::Score { row, column });
            }
        }
        if let [a, b] = *logits
            && !(a - b).is_finite()
        {
            return Err(GramError::Score { row, column: 1 });
        }
    }
    let share = T::ONE / T::from_usize(there.max(1));
    let mut sum = Sum::default();
    let rows = logits.rows(2).zip(gradient.rows_mut(2));
    for (row, (logits, gradient)) in (0..pairs).zip(rows) {
        if is_there(row) {
            let class = usize::from(row < positives);
            sum = sum.plus(cross_entropy(logits, class, share, gradient));
        } else {
            gradient.fill(T::ZERO);
        }
    }
    Ok(share * sum.high)
}

/// −ln p of the target among a few logits; `share` times its gradient into `gradient`.
#[inline(always)]
pub(super) fn cross_entropy<T: Real>(
    logits: &[T],
    target: usize,
    share: T,
    gradient: &mut [T],
) -> T {
    let isa = T::one_lane();
    let lse = LogSum::of(isa, logits);
    for (g, logit) in gradient.iter_mut().zip(logits) {
        *g = *logit;
    }
    softmax::gradient(isa, &lse, T::ZERO, -T::ONE, gradient);
    ops::scale(isa, share, gradient);
    // The gradient sums to 0, and p − 1 would cancel for a sure match.
    let mut others = T::ZERO;
    for (class, g) in (0..gradient.len()).zip(gradient.iter()) {
        if class != target {
            others += *g;
        }
    }
    if let Some(g) = gradient.get_mut(target) {
        *g = -others;
    }
    -lse.ln_p(logits.get(target).copied().unwrap_or_default())
}
