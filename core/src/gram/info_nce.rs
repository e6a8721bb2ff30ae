//! The contrastive cross-entropy of a square of scores, in both directions at once.
//!
//! ```text
//! l_ij = scale · s_ij          (scale = 1/τ for cosines, −1/τ for volumes)
//! loss = ½ · mean_i CE(row i, i) + ½ · mean_j CE(column j, j)
//! CE(l, t) = (1 − ε)·(lse(l) − l_t) + (ε/C)·Σ_c (lse(l) − l_c)
//! ```
//! (arXiv 2412.11959, eq. 6 and 7; label smoothing as in the paper's code.) Rows and columns may be absent:
//! an absent one is no candidate, and row i counts only if row i and column i are there.
//!
//! Three passes over the square: the maxima, the sums of exponentials, the gradient in place.

use crate::gram::basis::take;
use crate::lanes::{Isa, Lanes, Real};

/// The constants of one square of scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct InfoNce<T> {
    /// ±1/τ.
    pub scale: T,
    /// ε.
    pub smoothing: T,
    /// The factor of this term in the whole loss.
    pub weight: T,
}

/// What a square of scores gives, already times its weight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term<T> {
    pub loss: T,
    /// Σ dL/dl · l: the gradient of the temperature is −1/τ times this.
    pub logit_product: T,
}

/// Floats of statistics for n rows and n columns.
pub(super) const fn stats_len(n: usize) -> usize {
    n.saturating_mul(8)
}

/// Per row or per column: the maximum, Σ exp(l − max) and later its logarithm, Σ l, and whether it counts.
struct Side<'a, T> {
    max: &'a mut [T],
    sum: &'a mut [T],
    total: &'a mut [T],
    counts: &'a mut [T],
}

impl<'a, T: Real> Side<'a, T> {
    fn split(stats: &'a mut [T], n: usize) -> (Self, &'a mut [T]) {
        let (max, stats) = take(stats, n);
        let (sum, stats) = take(stats, n);
        let (total, stats) = take(stats, n);
        let (counts, stats) = take(stats, n);
        max.fill(-T::MAX);
        sum.fill(T::ZERO);
        total.fill(T::ZERO);
        (
            Side {
                max,
                sum,
                total,
                counts,
            },
            stats,
        )
    }

    /// Σ over those that count of CE · count, given the logits of the targets.
    fn loss(&mut self, target: impl Iterator<Item = T>, smoothing: T, candidates: T) -> T {
        let mut loss = T::ZERO;
        let stats = self
            .max
            .iter()
            .zip(self.sum.iter_mut())
            .zip(self.total.iter())
            .zip(self.counts.iter());
        for ((((max, sum), total), counts), target) in stats.zip(target) {
            if *counts == T::ZERO {
                continue;
            }
            *sum = sum.ln();
            let to_target = (T::ONE - smoothing) * (*max - target);
            let to_mean = smoothing * (*max - *total / candidates);
            loss += *sum + to_target + to_mean;
        }
        loss
    }
}

impl<T: Real> InfoNce<T> {
    /// The loss of the scores \[n, n\]; the scores become dL/ds. `rows` and `columns` \[n\] are 1 where there is
    /// one and 0 where not.
    #[inline(always)]
    pub(super) fn both_directions<I: Isa<Scalar = T>>(
        self,
        isa: I,
        rows: &[T],
        columns: &[T],
        scores: &mut [T],
        stats: &mut [T],
    ) -> Term<T> {
        let n = rows.len();
        let (mut row_side, stats) = Side::split(stats, n);
        let (mut column_side, _) = Side::split(stats, n);
        let (mut counting, mut row_candidates, mut column_candidates) = (0_usize, T::ZERO, T::ZERO);
        for (((row, column), r), c) in rows
            .iter()
            .zip(columns)
            .zip(row_side.counts.iter_mut())
            .zip(column_side.counts.iter_mut())
        {
            let counts = *row * *column;
            (*r, *c) = (counts, counts);
            row_candidates += *row;
            column_candidates += *column;
            if counts > T::ZERO {
                counting = counting.saturating_add(1);
            }
        }
        if counting == 0 {
            scores.fill(T::ZERO);
            return Term::default();
        }
        self.logits(isa, rows, columns, scores, &mut row_side, &mut column_side);
        sums(isa, scores, &mut row_side, &mut column_side);
        let diagonal = || scores.iter().step_by(n.saturating_add(1)).copied();
        let share = self.weight * T::constant(0.5) / T::from_usize(counting);
        let loss = row_side.loss(diagonal(), self.smoothing, column_candidates)
            + column_side.loss(diagonal(), self.smoothing, row_candidates);
        let logit_product = self.gradient(
            isa,
            scores,
            [&row_side, &column_side],
            [
                self.smoothing / column_candidates,
                self.smoothing / row_candidates,
            ],
            share,
        );
        Term {
            loss: share * loss,
            logit_product,
        }
    }

    /// Scores to logits, −∞ where the row or the column is absent; maxima and totals of both sides.
    #[inline(always)]
    fn logits<I: Isa<Scalar = T>>(
        self,
        isa: I,
        rows: &[T],
        columns: &[T],
        scores: &mut [T],
        row_side: &mut Side<'_, T>,
        column_side: &mut Side<'_, T>,
    ) {
        let n = rows.len().max(1);
        let stats = row_side.max.iter_mut().zip(row_side.total.iter_mut());
        for ((scores, there), (max, total)) in scores.chunks_exact_mut(n).zip(rows).zip(stats) {
            if *there == T::ZERO {
                scores.fill(-T::INFINITY);
                continue;
            }
            let (whole, tail) = split_whole::<I, T>(scores);
            let (columns_whole, columns_tail) =
                columns.split_at_checked(whole.len()).unwrap_or_default();
            let (max_whole, max_tail) = take(column_side.max, whole.len());
            let (total_whole, total_tail) = take(column_side.total, whole.len());
            let (max_0, total_0) = logits_of_row(
                isa,
                self.scale,
                columns_whole,
                whole,
                max_whole,
                total_whole,
            );
            let (max_1, total_1) = logits_of_row(
                T::one_lane(),
                self.scale,
                columns_tail,
                tail,
                max_tail,
                total_tail,
            );
            (*max, *total) = (max_0.max(max_1), total_0 + total_1);
        }
    }

    /// Logits to dL/ds; returns Σ dL/dl · l.
    #[inline(always)]
    fn gradient<I: Isa<Scalar = T>>(
        self,
        isa: I,
        scores: &mut [T],
        [row_side, column_side]: [&Side<'_, T>; 2],
        [row_uniform, column_uniform]: [T; 2],
        share: T,
    ) -> T {
        let n = row_side.max.len().max(1);
        let mut product = T::ZERO;
        for (i, scores) in scores.chunks_exact_mut(n).enumerate() {
            let of_row = |values: &[T]| values.get(i).copied().unwrap_or_default();
            let row = Row {
                scale: self.scale,
                share,
                max: of_row(row_side.max),
                ln_sum: of_row(row_side.sum),
                counts: of_row(row_side.counts),
                row_uniform,
                column_uniform,
            };
            let target = scores.get(i).copied().unwrap_or_default();
            let (whole, tail) = split_whole::<I, T>(scores);
            let cut = whole.len();
            let halves = |values: &[T]| -> usize { values.len().min(cut) };
            let (max, sum, counts) = (&column_side.max, &column_side.sum, &column_side.counts);
            product += row.gradient(
                isa,
                whole,
                [
                    max.get(..halves(max)).unwrap_or(&[]),
                    sum.get(..halves(sum)).unwrap_or(&[]),
                    counts.get(..halves(counts)).unwrap_or(&[]),
                ],
            );
            product += row.gradient(
                T::one_lane(),
                tail,
                [
                    max.get(cut..).unwrap_or(&[]),
                    sum.get(cut..).unwrap_or(&[]),
                    counts.get(cut..).unwrap_or(&[]),
                ],
            );
            // The target's own share of both directions.
            let counted = row.counts;
            if counted > T::ZERO
                && let Some(diagonal) = scores.get_mut(i)
            {
                let extra = share * (T::ONE - self.smoothing) * T::constant(2.0);
                *diagonal -= extra * self.scale;
                product -= extra * target;
            }
        }
        product
    }
}

/// What the gradient needs of one row.
#[derive(Clone, Copy)]
struct Row<T> {
    scale: T,
    share: T,
    max: T,
    ln_sum: T,
    counts: T,
    row_uniform: T,
    column_uniform: T,
}

impl<T: Real> Row<T> {
    /// p − ε/C of both directions, times scale and share, over the logits; Σ dL/dl · l.
    #[inline(always)]
    fn gradient<I: Isa<Scalar = T>>(
        self,
        isa: I,
        logits: &mut [T],
        [max, ln_sum, counts]: [&[T]; 3],
    ) -> T {
        let zero = isa.splat(T::ZERO);
        let lowest = isa.splat(-T::MAX);
        let (row_max, row_ln_sum) = (isa.splat(self.max), isa.splat(self.ln_sum));
        let (row_counts, share, scale) = (
            isa.splat(self.counts),
            isa.splat(self.share),
            isa.splat(self.scale),
        );
        let (row_uniform, column_uniform) =
            (isa.splat(self.row_uniform), isa.splat(self.column_uniform));
        let mut product = zero;
        let columns = max
            .chunks(I::WIDTH)
            .zip(ln_sum.chunks(I::WIDTH))
            .zip(counts.chunks(I::WIDTH));
        for (values, ((max, ln_sum), counts)) in logits.chunks_mut(I::WIDTH).zip(columns) {
            let l = isa.load(values);
            let there = lowest.less(l);
            let p_row = (l - row_max - row_ln_sum).exp();
            let p_column = (l - isa.load(max) - isa.load(ln_sum)).exp();
            let row = row_counts * (p_row - row_uniform);
            let column = isa.load(counts) * (p_column - column_uniform);
            let gradient = share * I::Lanes::select(there, row + column, zero);
            product = gradient.mul_add(I::Lanes::select(there, l, zero), product);
            isa.store(gradient * scale, values);
        }
        product.sum()
    }
}

/// The whole vectors of a slice, and the rest for one lane at a time.
#[inline(always)]
fn split_whole<I: Isa<Scalar = T>, T: Real>(values: &mut [T]) -> (&mut [T], &mut [T]) {
    let whole = values.len() - values.len() % I::WIDTH;
    take(values, whole)
}

/// One row of scores to logits; returns its maximum and total, and updates those of the columns.
#[inline(always)]
fn logits_of_row<I: Isa>(
    isa: I,
    scale: I::Scalar,
    columns: &[I::Scalar],
    scores: &mut [I::Scalar],
    column_max: &mut [I::Scalar],
    column_total: &mut [I::Scalar],
) -> (I::Scalar, I::Scalar) {
    let zero = isa.splat(I::Scalar::ZERO);
    let (mut max, mut total) = (isa.splat(-I::Scalar::MAX), zero);
    let columns = columns
        .chunks(I::WIDTH)
        .zip(column_max.chunks_mut(I::WIDTH))
        .zip(column_total.chunks_mut(I::WIDTH));
    for (scores, ((there, column_max), column_total)) in scores.chunks_mut(I::WIDTH).zip(columns) {
        let there = zero.less(isa.load(there));
        let l = isa.splat(scale) * isa.load(scores);
        let finite = I::Lanes::select(there, l, zero);
        let l = I::Lanes::select(there, l, isa.splat(-I::Scalar::INFINITY));
        isa.store(l, scores);
        max = max.max(l);
        total = total + finite;
        isa.store(isa.load(column_max).max(l), column_max);
        isa.store(isa.load(column_total) + finite, column_total);
    }
    (max.maximum(), total.sum())
}

/// Σ exp(l − max) of both sides.
#[inline(always)]
fn sums<I: Isa>(
    isa: I,
    logits: &[I::Scalar],
    row_side: &mut Side<'_, I::Scalar>,
    column_side: &mut Side<'_, I::Scalar>,
) {
    let n = row_side.max.len().max(1);
    let stats = row_side.max.iter().zip(row_side.sum.iter_mut());
    for (logits, (max, sum)) in logits.chunks_exact(n).zip(stats) {
        let cut = n - n % I::WIDTH;
        let (whole, tail) = logits.split_at_checked(cut).unwrap_or_default();
        let (max_whole, max_tail) = column_side.max.split_at_checked(cut).unwrap_or_default();
        let (sum_whole, sum_tail) = take(column_side.sum, cut);
        *sum += sums_of_row(isa, *max, whole, max_whole, sum_whole);
        *sum += sums_of_row(I::Scalar::one_lane(), *max, tail, max_tail, sum_tail);
    }
}

/// Σ exp(l − max) of one row, and its part of the columns' sums.
#[inline(always)]
fn sums_of_row<I: Isa>(
    isa: I,
    max: I::Scalar,
    logits: &[I::Scalar],
    column_max: &[I::Scalar],
    column_sum: &mut [I::Scalar],
) -> I::Scalar {
    let max = isa.splat(max);
    let mut sum = isa.splat(I::Scalar::ZERO);
    let columns = column_max
        .chunks(I::WIDTH)
        .zip(column_sum.chunks_mut(I::WIDTH));
    for (logits, (column_max, column_sum)) in logits.chunks(I::WIDTH).zip(columns) {
        let l = isa.load(logits);
        sum = sum + (l - max).exp();
        let column = isa.load(column_sum) + (l - isa.load(column_max)).exp();
        isa.store(column, column_sum);
    }
    sum.sum()
}
