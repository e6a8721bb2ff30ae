//! What a list of ranks amounts to. Ranks count from 0 here; mean and median are told from 1, as papers do.

use super::{Order, best_of};
use crate::lanes::Real;
use crate::ops::{Sum, Walk};

/// R@k: the share of ranks below k, in \[0, 1\]; 0 of no ranks. Cost: one comparison per rank.
///
/// ```
/// use rivergram_core::gram::retrieval::recall_at;
/// assert_eq!(recall_at::<f32>(&[0, 4, 5, 9], 5), 0.5);
/// ```
pub fn recall_at<T: Real>(ranks: &[usize], k: usize) -> T {
    T::from_usize(below(ranks, k)) / T::from_usize(ranks.len().max(1))
}

/// How many ranks are below k.
fn below(ranks: &[usize], k: usize) -> usize {
    let hits = ranks.iter().filter(|rank| **rank < k);
    hits.fold(0, |n: usize, _| n.saturating_add(1))
}

/// The mean rank, counted from 1: Σ rank / n + 1; `None` of no ranks. Cost: one addition per rank.
///
/// ```
/// use rivergram_core::gram::retrieval::mean_rank;
/// assert_eq!(mean_rank::<f32>(&[0, 4, 5]), Some(4.0));
/// assert_eq!(mean_rank::<f32>(&[]), None);
/// ```
pub fn mean_rank<T: Real>(ranks: &[usize]) -> Option<T> {
    if ranks.is_empty() {
        return None;
    }
    let sum = ranks
        .iter()
        .fold(ranks.len(), |sum, rank| sum.saturating_add(*rank));
    Some(T::from_usize(sum) / T::from_usize(ranks.len()))
}

/// The lower median rank, counted from 1: of n ranks in order, number (n − 1)/2, plus 1; `None` of no ranks.
///
/// The ranks need no order and are not moved: the answer is found by bisection over values, at the cost of
/// one pass per bit of the largest rank.
///
/// ```
/// use rivergram_core::gram::retrieval::median_rank;
/// assert_eq!(median_rank(&[9, 0, 4, 1]), Some(2));
/// assert_eq!(median_rank(&[9, 0, 4]), Some(5));
/// ```
pub fn median_rank(ranks: &[usize]) -> Option<usize> {
    let (mut low, mut high) = (0_usize, *ranks.iter().max()?);
    let half = ranks.len().saturating_add(1) >> 1;
    // The least x for which at least half of the ranks are ≤ x.
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low) >> 1);
        if below(ranks, middle.saturating_add(1)) >= half {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Some(low.saturating_add(1))
}

/// What a list of ranks amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Metrics<T> {
    /// R@1 in \[0, 1\].
    pub r1: T,
    /// R@5.
    pub r5: T,
    /// R@10.
    pub r10: T,
    /// The lower median, counted from 1.
    pub median_rank: usize,
    /// The mean, counted from 1.
    pub mean_rank: T,
}

impl<T: Real> Metrics<T> {
    /// Of ranks that count from 0; `None` of no ranks. Cost: that of [`median_rank`] and four passes.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::Metrics;
    ///
    /// let metrics = Metrics::<f32>::of(&[0, 0, 7, 13]).ok_or("no ranks")?;
    /// assert_eq!((metrics.r1, metrics.r5, metrics.r10), (0.5, 0.5, 0.75));
    /// assert_eq!((metrics.median_rank, metrics.mean_rank), (1, 6.0));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of(ranks: &[usize]) -> Option<Self> {
        Some(Metrics {
            r1: recall_at(ranks, 1),
            r5: recall_at(ranks, 5),
            r10: recall_at(ranks, 10),
            median_rank: median_rank(ranks)?,
            mean_rank: mean_rank(ranks)?,
        })
    }
}

/// The mean over rows of min_j V_ij for volumes \[rows, items\], row-major: how aligned the best matches are,
/// whether right or wrong. `None` of no whole row. Cost: one comparison per volume.
///
/// ```
/// use rivergram_core::gram::retrieval::gramian_value;
/// assert_eq!(gramian_value(&[0.5, 0.25, 1.0, 0.75], 2), Some(0.5));
/// assert_eq!(gramian_value::<f32>(&[], 2), None);
/// ```
pub fn gramian_value<T: Real>(volumes: &[T], items: usize) -> Option<T> {
    let (mut sum, mut rows) = (Sum::default(), 0_usize);
    for row in volumes.rows(items) {
        let candidates = (0..row.len()).zip(row.iter().copied());
        let (least, _) = best_of(candidates, Order::Ascending)?;
        sum = sum.plus(least);
        rows = rows.saturating_add(1);
    }
    if rows == 0 || items == 0 {
        return None;
    }
    Some(sum.high / T::from_usize(rows))
}
