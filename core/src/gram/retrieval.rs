//! Ranks and recall: how well anchors find their items.
//!
//! A rank counts from 0: the number of candidates that score better than the true one. Ties go to the lower
//! index, always, so that a rank depends on nothing but the scores. NaN scores are worse than any number.

use crate::lanes::Real;

/// Which scores are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smaller: volumes, distances.
    Ascending,
    /// The larger: cosines.
    Descending,
}

impl Order {
    /// Whether score `a` of candidate `i` comes before score `b` of candidate `j`.
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

/// The rank of candidate `target` among the scores; `None` where there is no such candidate.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, rank};
/// assert_eq!(rank(&[0.3, 0.1, 0.3, 0.2], 2, Order::Ascending), Some(3));
/// ```
pub fn rank<T: Real>(scores: &[T], target: usize, order: Order) -> Option<usize> {
    let score = *scores.get(target)?;
    let mut rank = 0_usize;
    for (index, &other) in (0..scores.len()).zip(scores) {
        if order.before((other, index), (score, target)) {
            rank = rank.saturating_add(1);
        }
    }
    Some(rank)
}

/// The index of the best score; `None` of no scores.
pub fn best<T: Real>(scores: &[T], order: Order) -> Option<usize> {
    let mut best: Option<(T, usize)> = None;
    for (index, &score) in (0..scores.len()).zip(scores) {
        if best.is_none_or(|best| order.before((score, index), best)) {
            best = Some((score, index));
        }
    }
    best.map(|(_, index)| index)
}

/// R@k: the share of ranks below k, in \[0, 1\]; 0 of no ranks.
pub fn recall_at<T: Real>(ranks: &[usize], k: usize) -> T {
    let mut hits = 0_usize;
    for rank in ranks {
        hits = hits.saturating_add(usize::from(*rank < k));
    }
    T::from_usize(hits) / T::from_usize(ranks.len().max(1))
}

/// The best `K` of many scores, one at a time: memory does not grow with the gallery.
///
/// ```
/// use rivergram_core::gram::retrieval::{Order, TopK};
///
/// let mut top = TopK::<f32, 2>::new(Order::Ascending);
/// for (index, volume) in [0.3, 0.1, 0.2, 0.1].into_iter().enumerate() {
///     top.push(volume, index);
/// }
/// assert_eq!(top.best(), [(0.1, 1), (0.1, 3)]);
/// ```
#[derive(Clone, Debug)]
pub struct TopK<T, const K: usize> {
    order: Order,
    best: heapless::Vec<(T, usize), K>,
}

impl<T: Real, const K: usize> TopK<T, K> {
    /// Of no scores yet.
    pub fn new(order: Order) -> Self {
        TopK {
            order,
            best: heapless::Vec::new(),
        }
    }

    /// Takes one more candidate. Cost: at most K comparisons and moves.
    pub fn push(&mut self, score: T, index: usize) {
        let before = |other: &(T, usize)| self.order.before(*other, (score, index));
        let place = self
            .best
            .iter()
            .take_while(|other| before(other))
            .fold(0, |n: usize, _| n.saturating_add(1));
        if place >= K {
            return;
        }
        // From its place on each moves one down, and the last is dropped where there is no room. Not `insert`,
        // which panics at a place that the compiler cannot see to be within the length.
        let mut moving = (score, index);
        for slot in self.best.iter_mut().skip(place) {
            core::mem::swap(slot, &mut moving);
        }
        let _ = self.best.push(moving);
    }

    /// The scores with their indices, best first; of equals the lower index first.
    pub fn best(&self) -> &[(T, usize)] {
        &self.best
    }
}
