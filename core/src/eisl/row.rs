//! One row of the batch: its loss, then its gradient over its input.
//!
//! Forward: lse of each position, gathered scores, then for each order diagonal sums → selection →
//! loss, and the derivative back along the diagonals into G = ∂loss/∂s. Backward, for each position j
//! with R\[j\] = Σ_i G\[j, i\] over what the clamp left alone:
//!
//! dx\[j, v\] = Σ_{i: y_i = v} G\[j, i\] − p\[j, v\]·R\[j\]
//!
//! and cross-entropy adds its own token to G and its share to R.

use super::checked::{Checked, Row, row_grams};
use super::config::Input;
use super::diagonal::{extend, spread};
use super::gather::{clip, gather, scatter, token};
use super::select::{Matrix, MatrixMut, Selection, select};
use super::work::Work;
use crate::error::EislError;
use crate::lanes::{Isa, Real};
use crate::lse::LogSum;
use crate::softmax::{self, Invalid};

/// What one row adds to the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowLoss<T> {
    /// Σ wₙ · the row's loss of order n.
    pub eisl: T,
    /// Σ over the row's tokens of the smoothed −ln p.
    pub ce: T,
}

impl<T: Real> Checked<'_, T> {
    /// The loss of row `index`, whose input is `x` (T·V numbers). The losses of the orders are left in
    /// `work.losses`, and with `differentiate` what [`Checked::gradient`] needs in the other parts.
    ///
    /// Errors: NaN, +∞ or a position of only −∞ in what the row uses. Lengths are not checked again:
    /// with others than those of the batch the result is unspecified.
    #[inline(always)]
    pub fn forward<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        index: usize,
        x: &[T],
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> Result<RowLoss<T>, EislError> {
        let row = self.row(index);
        let ce = self.read(isa, &row, x, work)?;
        let eisl = self.orders(isa, &row, differentiate, work);
        Ok(RowLoss { eisl, ce })
    }

    /// Replaces the row's input by the gradient of the total loss with respect to it, after
    /// [`Checked::forward`] of the same row with the same `work`.
    #[inline(always)]
    pub fn gradient<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        index: usize,
        x: &mut [T],
        work: &mut Work<'_, T>,
    ) {
        let row = self.row(index);
        let positions = x.chunks_mut(self.batch.shape.vocabulary.max(1));
        for (j, x) in (0..self.batch.shape.positions).zip(positions) {
            if row.uses(j) {
                self.differentiate_position(isa, &row, j, x, work);
            } else {
                x.fill(T::ZERO);
            }
        }
    }

    /// The one pass over the vocabulary: lse and scores of each position. Returns the sum of the
    /// cross-entropies.
    #[inline(always)]
    fn read<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        x: &[T],
        work: &mut Work<'_, T>,
    ) -> Result<T, EislError> {
        let config = &self.config;
        let mut ce = T::ZERO;
        let positions = x.chunks(self.batch.shape.vocabulary.max(1));
        let lse_of = work.max.iter_mut().zip(work.ln_sum.iter_mut());
        for (j, (x, (max, ln_sum))) in (0..self.batch.shape.positions).zip(positions.zip(lse_of)) {
            if !row.uses(j) {
                continue;
            }
            let lse = match self.log_sum(isa, x) {
                Ok(lse) => lse,
                Err(invalid) => return Err(located(invalid, row.index, j)),
            };
            *max = lse.max;
            *ln_sum = lse.ln_sum;
            if j < row.positions {
                let scores = line_mut(work.scores, row.labels.len(), j);
                gather(x, &lse, row.labels, config.zeroed(), config.clamp, scores);
            }
            if let Some(label) = row.ce_label(j) {
                ce += self.token_loss(isa, x, &lse, label);
            }
        }
        Ok(ce)
    }

    #[inline(always)]
    fn log_sum<I: Isa<Scalar = T>>(&self, isa: I, x: &[T]) -> Result<LogSum<T>, Invalid> {
        match self.config.input {
            Input::Logits => softmax::log_sum(isa, x),
            Input::LogProbs => softmax::check(isa, x).map(|()| LogSum {
                max: T::ZERO,
                ln_sum: T::ZERO,
            }),
        }
    }

    /// −(1−ε)·ln p_y − (ε/V)·Σ_v ln p_v.
    #[inline(always)]
    fn token_loss<I: Isa<Scalar = T>>(&self, isa: I, x: &[T], lse: &LogSum<T>, label: i32) -> T {
        let epsilon = self.config.label_smoothing;
        let target = token(label, None).and_then(|v| x.get(v));
        let nll = target.map_or(T::ZERO, |&x| -lse.ln_p(x));
        if epsilon == T::ZERO {
            return nll;
        }
        let mean = softmax::sum_ln_p(isa, lse, x) / T::from_usize(x.len());
        softmax::smoothed(epsilon, T::ZERO, -nll, mean)
    }

    /// All orders over the gathered scores: the row's losses and, if wanted, G. Returns Σ wₙ·lossₙ.
    #[inline(always)]
    fn orders<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> T {
        if differentiate {
            work.gradient.fill(T::ZERO);
        }
        let mut eisl = T::ZERO;
        let mut summed = 0;
        let mut noise_offset = 0;
        for (o, &(n, weight)) in (0..self.config.orders.len()).zip(self.config.orders) {
            let noise = self.noise(row.index, n, &mut noise_offset);
            let loss = self.order(
                isa,
                row,
                (n, weight),
                noise,
                &mut summed,
                differentiate,
                work,
            );
            if let Some(slot) = work.losses.get_mut(o) {
                *slot = loss;
            }
            eisl += weight * loss;
        }
        eisl
    }

    /// The row's loss of one order: −(1/M) Σ_i E\[i\]. `summed` is the order that `work.sums` holds.
    #[inline(always)]
    fn order<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        (n, weight): (usize, T),
        noise: Option<Matrix<'_, T>>,
        summed: &mut usize,
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> T {
        let (k, m) = row_grams(row, n);
        let counted = row.count_grams(m, n);
        if k == 0 || counted == 0 {
            return T::ZERO;
        }
        let stride = row.labels.len();
        sum_up_to(isa, n, stride, summed, work);
        let counted = T::from_usize(counted);
        let rows = T::from_usize(self.batch.shape.batch);
        let factor = -(weight * self.config.ngram_factor) / (rows * counted);
        let selection = Selection {
            select: self.config.select,
            temperature: self.config.temperature,
            order: n,
        };
        let values = work.values.get_mut(..m).unwrap_or(&mut []);
        let sums = Matrix {
            data: work.sums,
            stride,
        };
        let weights = MatrixMut {
            data: work.weights,
            stride,
        };
        let weights = differentiate.then_some((weights, factor));
        select(isa, selection, k, sums, noise, values, weights);
        if differentiate {
            leave_out_gaps(row, n, m, work.weights);
            spread(isa, work.weights, stride, (n, k, m), work.gradient);
        }
        let mut sum = T::ZERO;
        for (i, &e) in (0..m).zip(values.iter()) {
            if row.has_gram(i, n) {
                sum += e;
            }
        }
        -sum / counted
    }

    /// One position of [`Checked::gradient`].
    #[inline(always)]
    fn differentiate_position<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        j: usize,
        x: &mut [T],
        work: &mut Work<'_, T>,
    ) {
        let config = &self.config;
        let zeroed = config.zeroed();
        let labels = if j < row.positions { row.labels } else { &[] };
        let scores = line_mut(work.scores, labels.len(), j);
        let gradient = line_mut(work.gradient, labels.len(), j);
        let mut r = clip(isa, scores, labels, zeroed, config.clamp, gradient);

        let ce = row.ce_label(j);
        let share = match ce {
            Some(_) => config.ce_factor / T::from_usize(self.tokens),
            None => T::ZERO,
        };
        let smooth = share * config.label_smoothing;
        let uniform = -smooth / T::from_usize(x.len());
        r -= share;
        match config.input {
            Input::Logits => {
                let max = work.max.get(j).copied().unwrap_or_default();
                let ln_sum = work.ln_sum.get(j).copied().unwrap_or_default();
                softmax::gradient(isa, &LogSum { max, ln_sum }, uniform, r, x);
            }
            Input::LogProbs => x.fill(uniform),
        }
        scatter(gradient, labels, zeroed, x);
        if let Some(label) = ce {
            scatter(&[smooth - share], &[label], None, x);
        }
    }
}

/// Makes `work.sums` D_n; orders that come in rising order build on each other.
#[inline(always)]
fn sum_up_to<I: Isa>(
    isa: I,
    n: usize,
    stride: usize,
    summed: &mut usize,
    work: &mut Work<'_, I::Scalar>,
) {
    if *summed == 0 || n < *summed {
        for (d, s) in work.sums.iter_mut().zip(work.scores.iter()) {
            *d = *s;
        }
        *summed = 1;
    }
    for order in summed.wrapping_add(1)..n.wrapping_add(1) {
        extend(isa, work.scores, stride, order, work.sums);
    }
    *summed = n;
}

/// Clears the weights of the n-grams that do not take part.
#[inline(always)]
fn leave_out_gaps<T: Real>(row: &Row<'_>, n: usize, m: usize, weights: &mut [T]) {
    if !row.has_gaps {
        return;
    }
    for line in weights.chunks_mut(row.labels.len().max(1)) {
        for (i, w) in (0..m).zip(line) {
            if !row.has_gram(i, n) {
                *w = T::ZERO;
            }
        }
    }
}

/// Row j of a row-major matrix.
#[inline(always)]
fn line_mut<T>(matrix: &mut [T], stride: usize, j: usize) -> &mut [T] {
    let start = j.wrapping_mul(stride);
    let line = matrix.get_mut(start..start.wrapping_add(stride));
    line.unwrap_or(&mut [])
}

#[cold]
fn located(invalid: Invalid, row: usize, position: usize) -> EislError {
    match invalid {
        Invalid::Nan(column) => EislError::Nan {
            row,
            position,
            column,
        },
        Invalid::Infinite(column) => EislError::Infinite {
            row,
            position,
            column,
        },
        Invalid::NoProbability => EislError::NoProbability { row, position },
    }
}
