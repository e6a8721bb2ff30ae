//! The workspace of one row.

use super::config::{Batch, Config, Shape};
use crate::error::{EislBuffer, EislError};
use crate::lanes::Real;

/// The workspace of a loss with one reference: it ignores [`Batch::references`], and `orders` must count those of
/// [`Config::from_length`] too. [`Batch::workspace_len`] takes both from the batch and its configuration.
///
/// What a row needs besides its input, 4·T·U + 2·T + max(T, U) + orders numbers. It does not grow with the batch. (A
/// tensor of log-probabilities would take B·T·V.) Cost: O(1).
///
/// ```
/// use rivergram_core::eisl::{Shape, workspace_len};
///
/// const SHAPE: Shape = Shape { batch: 32, positions: 8, targets: 6, vocabulary: 1000 };
/// static WORKSPACE: [f32; workspace_len(SHAPE, 2)] = [0.0; workspace_len(SHAPE, 2)];
/// assert_eq!(WORKSPACE.len(), 4 * 8 * 6 + 2 * 8 + 8 + 2);
/// ```
pub const fn workspace_len(shape: Shape, orders: usize) -> usize {
    len(shape, orders, 1)
}

/// [`workspace_len`] with so many references: 2·T·U are each reference's own, 2·T·U are shared.
pub(super) const fn len(shape: Shape, orders: usize, references: usize) -> usize {
    let Shape {
        positions, targets, ..
    } = shape;
    let matrices = references.saturating_add(1).saturating_mul(2);
    let longer = if positions > targets {
        positions
    } else {
        targets
    };
    positions
        .saturating_mul(targets)
        .saturating_mul(matrices)
        .saturating_add(positions.saturating_mul(2))
        .saturating_add(longer)
        .saturating_add(orders)
}

/// The workspace of one row, by its parts.
#[derive(Debug)]
pub struct Work<'a, T> {
    /// s\[j, i\] of each reference, R·T·U.
    pub scores: &'a mut [T],
    /// D_n\[j, i\], T·U.
    pub sums: &'a mut [T],
    /// ∂loss/∂D_n, T·U.
    pub weights: &'a mut [T],
    /// ∂loss/∂s of each reference, R·T·U.
    pub gradient: &'a mut [T],
    /// The largest logit of each position, T.
    pub max: &'a mut [T],
    /// ln Σ exp(x − max) of each position, T.
    pub ln_sum: &'a mut [T],
    /// The selected score of each n-gram, or of each position: max(T, U).
    pub values: &'a mut [T],
    /// The row's loss of each order.
    pub losses: &'a mut [T],
    /// The reference that [`Combine::Best`](super::Combine::Best) took.
    pub chosen: usize,
}

/// What belongs to one reference, and what all share.
pub(super) struct Block<'a, T> {
    pub(super) scores: &'a mut [T],
    pub(super) sums: &'a mut [T],
    pub(super) weights: &'a mut [T],
    pub(super) gradient: &'a mut [T],
    pub(super) values: &'a mut [T],
}

impl<'a, T: Real> Work<'a, T> {
    /// Cuts a buffer of at least [`workspace_len`] numbers, for rows with one reference.
    ///
    /// Errors: a buffer that is shorter. Cost: none.
    ///
    /// ```
    /// use rivergram_core::eisl::{Shape, Work, workspace_len};
    ///
    /// let shape = Shape { batch: 1, positions: 4, targets: 3, vocabulary: 9 };
    /// let mut buffer = [0.0f32; 100];
    /// let work = Work::split(&mut buffer, shape, 2)?;
    /// assert_eq!((work.scores.len(), work.losses.len()), (12, 2));
    /// assert!(Work::split(&mut buffer[..workspace_len(shape, 2) - 1], shape, 2).is_err());
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    pub fn split(buffer: &'a mut [T], shape: Shape, orders: usize) -> Result<Self, EislError> {
        Self::split_references(buffer, shape, orders, 1)
    }

    /// Cuts a buffer of at least [`Batch::workspace_len`] numbers, for rows of a batch.
    ///
    /// Errors: a buffer that is shorter. Cost: none.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Combine, Config, References, Shape, Work};
    ///
    /// let shape = Shape { batch: 1, positions: 4, targets: 3, vocabulary: 9 };
    /// let config = Config::new(&[(1, 1.0f32)]);
    /// let references = References { places: 2, counts: None, combine: Combine::Mean, cross_entropy: None };
    /// let batch = Batch { references: Some(references), ..Batch::new(shape, &[1, 2, 3, 2, 3, 1]) };
    /// let mut buffer = [0.0f32; 100];
    /// let work = Work::split_for(&mut buffer[..batch.workspace_len(&config)], &config, &batch)?;
    /// assert_eq!(work.scores.len(), 2 * 4 * 3);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    pub fn split_for(
        buffer: &'a mut [T],
        config: &Config<'_, T>,
        batch: &Batch<'_, T>,
    ) -> Result<Self, EislError> {
        Self::split_references(buffer, batch.shape, config.order_count(), batch.places())
    }

    fn split_references(
        buffer: &'a mut [T],
        shape: Shape,
        orders: usize,
        references: usize,
    ) -> Result<Self, EislError> {
        let expected = len(shape, orders, references);
        let got = buffer.len();
        let short = EislError::Length {
            buffer: EislBuffer::Workspace,
            expected,
            got,
        };
        Self::cut(buffer, shape, orders, references).ok_or(short)
    }

    fn cut(buffer: &'a mut [T], shape: Shape, orders: usize, references: usize) -> Option<Self> {
        let Shape {
            positions, targets, ..
        } = shape;
        let area = positions.checked_mul(targets)?;
        let areas = area.checked_mul(references)?;
        let (scores, rest) = buffer.split_at_mut_checked(areas)?;
        let (sums, rest) = rest.split_at_mut_checked(area)?;
        let (weights, rest) = rest.split_at_mut_checked(area)?;
        let (gradient, rest) = rest.split_at_mut_checked(areas)?;
        let (max, rest) = rest.split_at_mut_checked(positions)?;
        let (ln_sum, rest) = rest.split_at_mut_checked(positions)?;
        let (values, rest) = rest.split_at_mut_checked(positions.max(targets))?;
        let (losses, _) = rest.split_at_mut_checked(orders)?;
        Some(Work {
            scores,
            sums,
            weights,
            gradient,
            max,
            ln_sum,
            values,
            losses,
            chosen: 0,
        })
    }

    /// The parts that the n-grams of one reference need, and the losses.
    #[inline(always)]
    pub(super) fn block(&mut self, reference: usize) -> (Block<'_, T>, &mut [T]) {
        let area = self.sums.len();
        let block = Block {
            scores: part_mut(self.scores, area, reference),
            sums: self.sums,
            weights: self.weights,
            gradient: part_mut(self.gradient, area, reference),
            values: self.values,
        };
        (block, self.losses)
    }
}

/// The `index`th of neighbouring parts of one length, such as a row of a matrix.
#[inline(always)]
pub(super) fn part_mut<T>(all: &mut [T], len: usize, index: usize) -> &mut [T] {
    let start = index.wrapping_mul(len);
    let part = all.get_mut(start..start.wrapping_add(len));
    part.unwrap_or(&mut [])
}
