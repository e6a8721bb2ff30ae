//! The best few of a stream of scores.

use core::mem::swap;

use super::Order;
use crate::lanes::Real;

/// The best `K` of many scores, one at a time, row by row, or merged: memory does not grow with the gallery.
///
/// The result depends on the candidates alone, not on the order in which they came or on how they were
/// split, as long as no index comes twice.
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TopK<T, const K: usize> {
    order: Order,
    best: heapless::Vec<(T, usize), K>,
}

impl<T: Real, const K: usize> TopK<T, K> {
    /// Of no scores yet.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    /// assert!(TopK::<f32, 3>::new(Order::Ascending).best().is_empty());
    /// ```
    pub fn new(order: Order) -> Self {
        TopK {
            order,
            best: heapless::Vec::new(),
        }
    }

    /// Which scores are better.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    /// assert_eq!(TopK::<f32, 3>::new(Order::Descending).order(), Order::Descending);
    /// ```
    pub fn order(&self) -> Order {
        self.order
    }

    /// Takes one more candidate. Cost: one comparison where it is not among the best, else at most K
    /// comparisons and moves.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    ///
    /// let mut top = TopK::<f32, 1>::new(Order::Descending);
    /// top.push(0.5, 4);
    /// top.push(0.5, 2);
    /// assert_eq!(top.best(), [(0.5, 2)]);
    /// ```
    pub fn push(&mut self, score: T, index: usize) {
        let candidate = (score, index);
        if !self.takes(score, index) {
            return;
        }
        if self.best.is_full() {
            self.best.pop();
        }
        // There is room now.
        let _ = self.best.push(candidate);
        for place in (1..self.best.len()).rev() {
            let halves = self.best.split_at_mut_checked(place);
            let Some((better, worse)) = halves else {
                return;
            };
            match (better.last_mut(), worse.first_mut()) {
                (Some(a), Some(b)) if self.order.before(*b, *a) => swap(a, b),
                _ => return,
            }
        }
    }

    /// Whether a candidate would be among the best.
    #[inline(always)]
    pub(crate) fn takes(&self, score: T, index: usize) -> bool {
        let is_before = |worst: &(T, usize)| self.order.before((score, index), *worst);
        !self.best.is_full() || self.best.last().is_some_and(is_before)
    }

    /// Takes a row of scores, those of candidates `offset`, `offset` + 1, …: a tile of a gallery. Cost:
    /// [`push`](Self::push) of each.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    ///
    /// let mut top = TopK::<f32, 2>::new(Order::Ascending);
    /// top.push_row(&[0.4, 0.2], 0);
    /// top.push_row(&[0.3, 0.1], 2);
    /// assert_eq!(top.best(), [(0.1, 3), (0.2, 1)]);
    /// ```
    pub fn push_row(&mut self, scores: &[T], offset: usize) {
        for (index, score) in (offset..=usize::MAX).zip(scores) {
            self.push(*score, index);
        }
    }

    /// Takes the best of another part of the candidates: two merged are what one would be that saw both
    /// parts. The other's order does not matter, only its candidates. Cost: at most K² comparisons.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    ///
    /// let [mut all, mut half] = [0, 1].map(|_| TopK::<f32, 2>::new(Order::Ascending));
    /// all.push_row(&[0.4, 0.2], 0);
    /// half.push_row(&[0.2, 0.1], 2);
    /// all.merge(&half);
    /// assert_eq!(all.best(), [(0.1, 3), (0.2, 1)]);
    /// ```
    pub fn merge(&mut self, other: &Self) {
        for &(score, index) in other.best() {
            self.push(score, index);
        }
    }

    /// The scores with their indices, best first; of equals the lower index first.
    ///
    /// ```
    /// use rivergram_core::gram::retrieval::{Order, TopK};
    ///
    /// let mut top = TopK::<f32, 3>::new(Order::Ascending);
    /// top.push_row(&[0.4, 0.2], 10);
    /// assert_eq!(top.best(), [(0.2, 11), (0.4, 10)]);
    /// ```
    pub fn best(&self) -> &[(T, usize)] {
        &self.best
    }
}
