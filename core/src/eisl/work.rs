//! The workspace of one row.

use super::config::Shape;
use crate::error::{EislBuffer, EislError};
use crate::lanes::Real;

/// The numbers that a row needs besides its input: 4·T·U + 2·T + U + orders.
///
/// It does not grow with the batch. (A tensor of log-probabilities would take B·T·V.)
pub fn workspace_len(shape: Shape, orders: usize) -> usize {
    let Shape {
        positions, targets, ..
    } = shape;
    let matrices = positions.saturating_mul(targets).saturating_mul(4);
    matrices
        .saturating_add(positions.saturating_mul(2))
        .saturating_add(targets)
        .saturating_add(orders)
}

/// The workspace of one row, by its parts.
#[derive(Debug)]
pub struct Work<'a, T> {
    /// s\[j, i\], T·U.
    pub scores: &'a mut [T],
    /// D_n\[j, i\], T·U.
    pub sums: &'a mut [T],
    /// ∂loss/∂D_n, T·U.
    pub weights: &'a mut [T],
    /// ∂loss/∂s, T·U.
    pub gradient: &'a mut [T],
    /// The largest logit of each position, T.
    pub max: &'a mut [T],
    /// ln Σ exp(x − max) of each position, T.
    pub ln_sum: &'a mut [T],
    /// The selected score of each n-gram, U.
    pub values: &'a mut [T],
    /// The row's loss of each order.
    pub losses: &'a mut [T],
}

impl<'a, T: Real> Work<'a, T> {
    /// Cuts a buffer of at least [`workspace_len`] numbers.
    pub fn split(buffer: &'a mut [T], shape: Shape, orders: usize) -> Result<Self, EislError> {
        let expected = workspace_len(shape, orders);
        let got = buffer.len();
        let short = EislError::Length {
            buffer: EislBuffer::Workspace,
            expected,
            got,
        };
        Self::cut(buffer, shape, orders).ok_or(short)
    }

    fn cut(buffer: &'a mut [T], shape: Shape, orders: usize) -> Option<Self> {
        let Shape {
            positions, targets, ..
        } = shape;
        let area = positions.checked_mul(targets)?;
        let (scores, rest) = buffer.split_at_mut_checked(area)?;
        let (sums, rest) = rest.split_at_mut_checked(area)?;
        let (weights, rest) = rest.split_at_mut_checked(area)?;
        let (gradient, rest) = rest.split_at_mut_checked(area)?;
        let (max, rest) = rest.split_at_mut_checked(positions)?;
        let (ln_sum, rest) = rest.split_at_mut_checked(positions)?;
        let (values, rest) = rest.split_at_mut_checked(targets)?;
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
        })
    }
}
