//! Ranks and recall: how well anchors find their items.
//!
//! ```text
//! rank = #{candidates that score better than the true one}          R@k = share of ranks below k
//! ```
//!
//! A rank counts from 0. Ties go to the lower index, always, so that a rank depends on nothing but the
//! scores. NaN scores are worse than any number.
//!
//! Scores are a matrix \[queries, candidates\], row-major, that stays where the caller has it: queries of the
//! other direction are its columns, read in place. [`forward_ranks`] and [`backward_ranks`] take several
//! texts per item, told apart by ids; [`Metrics`] sums ranks up; [`TopK`] needs no matrix at all.
//!
//! Source: the measures of arXiv 2412.11959, R@1, R@5 and R@10 in both directions, by the volume or any other score.

mod ids;
mod metrics;
mod top;

pub use ids::{backward_rank, backward_ranks, forward_rank, forward_ranks};
pub use metrics::{Metrics, gramian_value, mean_rank, median_rank, recall_at};
pub use top::TopK;

use crate::lanes::Real;

/// Which scores are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Order {
    /// The smaller: volumes, distances.
    Ascending,
    /// The larger: cosines.
    Descending,
}

impl Order {
    /// Whether score `a` of candidate `i` comes before score `b` of candidate `j`: the better score, then the
    /// lower index; NaN after every number. A strict total order of candidates with different indices. Cost: a few
    /// comparisons.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::Order;
    ///
    /// assert!(Order::Ascending.before((0.1, 7), (0.2, 3)));
    /// assert!(Order::Descending.before((0.2, 3), (0.2, 7)));
    /// assert!(Order::Ascending.before((9.0, 7), (f32::NAN, 3)));
    /// ```
    #[inline(always)]
    pub fn before<T: Real>(self, (a, i): (T, usize), (b, j): (T, usize)) -> bool {
        let better = match self {
            Order::Ascending => a < b,
            Order::Descending => b < a,
        };
        // A NaN is better than nothing and compares with nothing.
        let (a_nan, b_nan) = (a.partial_cmp(&a).is_none(), b.partial_cmp(&b).is_none());
        better || (!a_nan && b_nan) || (i < j && (a == b || (a_nan && b_nan)))
    }
}

/// The rank of candidate `target` among the scores; `None` where there is no such candidate. Cost: one
/// comparison per score.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, rank};
/// assert_eq!(rank(&[0.3, 0.1, 0.3, 0.2], 2, Order::Ascending), Some(3));
/// ```
pub fn rank<T: Real>(scores: &[T], target: usize, order: Order) -> Option<usize> {
    let score = *scores.get(target)?;
    Some(rank_of(scores.iter().copied(), (score, target), order))
}

/// How many of the scores come before the target's.
#[inline(always)]
fn rank_of<T: Real>(scores: impl Iterator<Item = T>, target: (T, usize), order: Order) -> usize {
    let mut rank = 0_usize;
    for (index, other) in (0..usize::MAX).zip(scores) {
        if order.before((other, index), target) {
            rank = rank.saturating_add(1);
        }
    }
    rank
}

/// The index of the best score; `None` of no scores. Cost: one comparison per score.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, best};
/// assert_eq!(best(&[0.3, 0.1, 0.1], Order::Ascending), Some(1));
/// assert_eq!(best::<f32>(&[], Order::Ascending), None);
/// ```
pub fn best<T: Real>(scores: &[T], order: Order) -> Option<usize> {
    let candidates = (0..scores.len()).zip(scores.iter().copied());
    best_of(candidates, order).map(|(_, index)| index)
}

/// The best of some candidates, with its index.
#[inline(always)]
fn best_of<T: Real>(
    candidates: impl Iterator<Item = (usize, T)>,
    order: Order,
) -> Option<(T, usize)> {
    let mut best: Option<(T, usize)> = None;
    for (index, score) in candidates {
        if best.is_none_or(|best| order.before((score, index), best)) {
            best = Some((score, index));
        }
    }
    best
}
