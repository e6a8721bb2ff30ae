//! The contrastive cross-entropy of a matrix of scores, of its rows, its columns, or both at once.
//!
//! ```text
//! l_ij = scale · s_ij          (scale = 1/τ for cosines, −1/τ for volumes)
//! loss = ½ · mean_i CE(row i, i) + ½ · mean_j CE(column j, j)
//! CE(l, t) = (1 − ε)·(lse(l) − l_t) + (ε/C)·Σ_c (lse(l) − l_c)
//! ```
//! (arXiv 2412.11959, eq. 6 and 7; label smoothing as in the paper's code.) Rows and columns may be absent:
//! an absent one is no candidate, and a row counts only if it and its target are there. In one direction
//! the matrix need not be square: the target of row i is column i + offset, or that of column j row j + offset.
//!
//! Three passes over the matrix: the maxima, the sums of exponentials, the gradient in place.

use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{Walk, split, take};
use crate::softmax;

/// Which cross-entropies of a matrix of scores count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Direction {
    /// Those of rows and of columns, of a square.
    Both,
    /// Each row's, over its columns.
    Rows,
    /// Each column's, over its rows.
    Columns,
}

/// The constants of one matrix of scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct InfoNce<T> {
    /// ±1/τ.
    pub scale: T,
    /// ε.
    pub smoothing: T,
    /// The factor of this term in the whole loss; each direction takes half of it.
    pub weight: T,
    /// How many rows, or columns, a mean is over.
    pub tuples: usize,
    pub direction: Direction,
    /// The target of the first row or column; 0 for both directions.
    pub offset: usize,
}

/// What a matrix of scores gives, already times its weight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term<T> {
    /// What rows among columns, and columns among rows, add to the loss.
    pub directions: [T; 2],
    /// Σ dL/dl · l: the gradient of the temperature is −1/τ times this.
    pub logit_product: T,
}

/// Floats of statistics for some rows and columns: five each.
pub(super) const fn stats_len(rows: usize, columns: usize) -> usize {
    rows.saturating_add(columns).saturating_mul(5)
}

/// How many pairs of a row and its column are both there (1, not 0).
#[inline(never)]
pub(super) fn matched<T: Real>(rows: &[T], columns: &[T]) -> usize {
    rows.iter().zip(columns).fold(0, |matched, (row, column)| {
        matched.saturating_add(usize::from(*row * *column > T::ZERO))
    })
}

/// Per row or per column: the maximum, Σ exp(l − max) and later its logarithm, Σ l, whether it counts, and
/// the logit of its target.
struct Side<'a, T> {
    max: &'a mut [T],
    sum: &'a mut [T],
    total: &'a mut [T],
    counts: &'a mut [T],
    target: &'a mut [T],
}

impl<'a, T: Real> Side<'a, T> {
    fn split(stats: &'a mut [T], n: usize) -> (Self, &'a mut [T]) {
        let (max, stats) = take(stats, n);
        let (sum, stats) = take(stats, n);
        let (total, stats) = take(stats, n);
        let (counts, stats) = take(stats, n);
        let (target, stats) = take(stats, n);
        max.fill(-T::MAX);
        for numbers in [&mut *sum, total, counts, target] {
            numbers.fill(T::ZERO);
        }
        (
            Side {
                max,
                sum,
                total,
                counts,
                target,
            },
            stats,
        )
    }

    /// Σ over those that count of CE · count.
    fn loss(&mut self, smoothing: T, candidates: T) -> T {
        let mut loss = T::ZERO;
        let stats = self
            .max
            .iter()
            .zip(self.sum.iter_mut())
            .zip(self.total.iter())
            .zip(self.counts.iter());
        for ((((max, sum), total), counts), target) in stats.zip(self.target.iter()) {
            if *counts == T::ZERO {
                continue;
            }
            *sum = sum.ln();
            let mean = *total / candidates - *max;
            loss += softmax::smoothed(smoothing, *sum, *target - *max, mean);
        }
        loss
    }
}

/// `SQUARE`: its direction is [`Direction::Both`], and the code of the others is left out.
struct Contrast<'a, T, const SQUARE: bool> {
    info_nce: InfoNce<T>,
    rows: &'a [T],
    columns: &'a [T],
    scores: &'a mut [T],
    stats: &'a mut [T],
}

impl<T: Real, const SQUARE: bool> Kernel<T> for Contrast<'_, T, SQUARE> {
    type Output = Term<T>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Term<T> {
        let Contrast {
            mut info_nce,
            rows,
            columns,
            scores,
            stats,
        } = self;
        if SQUARE {
            (info_nce.direction, info_nce.offset) = (Direction::Both, 0);
        }
        let (mut row_side, stats) = Side::split(stats, rows.len());
        let (mut column_side, _) = Side::split(stats, columns.len());
        let matched = info_nce.matched(rows, columns, [&mut row_side, &mut column_side]);
        if !matched {
            scores.fill(T::ZERO);
            return Term::default();
        }
        info_nce.logits(isa, rows, columns, scores, &mut row_side, &mut column_side);
        sums(isa, scores, &mut row_side, &mut column_side);
        info_nce.targets(scores, [&mut row_side, &mut column_side]);
        let candidates = |there: &[T]| there.iter().fold(T::ZERO, |sum, there| sum + *there);
        let (row_candidates, column_candidates) = (candidates(rows), candidates(columns));
        let share = info_nce.share();
        let directions = [
            share * row_side.loss(info_nce.smoothing, column_candidates),
            share * column_side.loss(info_nce.smoothing, row_candidates),
        ];
        let logit_product = info_nce.gradient(
            isa,
            scores,
            [row_side, column_side],
            [
                info_nce.smoothing / column_candidates,
                info_nce.smoothing / row_candidates,
            ],
            share,
        );
        Term {
            directions,
            logit_product,
        }
    }
}

impl<T: Real> InfoNce<T> {
    /// The loss of the scores \[rows, columns\]; the scores become dL/ds. `rows` and `columns` are 1 where there
    /// is one and 0 where not. `SQUARE`: the direction is known to be [`Direction::Both`].
    #[inline(always)]
    pub(super) fn contrast<const SQUARE: bool, I: Isa<Scalar = T>>(
        self,
        isa: I,
        rows: &[T],
        columns: &[T],
        scores: &mut [T],
        stats: &mut [T],
    ) -> Term<T> {
        isa.enter(Contrast::<T, SQUARE> {
            info_nce: self,
            rows,
            columns,
            scores,
            stats,
        })
    }

    /// The share of one cross-entropy in the loss.
    pub(super) fn share(self) -> T {
        self.weight * T::constant(0.5) / T::from_usize(self.tuples.max(1))
    }

    /// The row and the column of the first matched pair; the others follow diagonally.
    #[inline(always)]
    pub(super) fn first(self) -> [usize; 2] {
        match self.direction {
            Direction::Both => [0, 0],
            Direction::Rows => [0, self.offset],
            Direction::Columns => [self.offset, 0],
        }
    }

    /// Marks the rows and columns that count; whether there are any.
    #[inline(always)]
    fn matched(
        self,
        rows: &[T],
        columns: &[T],
        [row_side, column_side]: [&mut Side<'_, T>; 2],
    ) -> bool {
        let [row, column] = self.first();
        let there = rows.iter().skip(row).zip(columns.iter().skip(column));
        let row_counts = row_side.counts.iter_mut().skip(row);
        let column_counts = column_side.counts.iter_mut().skip(column);
        let mut any = false;
        for ((row, column), (r, c)) in there.zip(row_counts.zip(column_counts)) {
            let counts = *row * *column;
            any |= counts > T::ZERO;
            if self.direction != Direction::Columns {
                *r = counts;
            }
            if self.direction != Direction::Rows {
                *c = counts;
            }
        }
        any
    }

    /// The logits of the targets of what counts.
    #[inline(always)]
    fn targets(self, logits: &[T], [row_side, column_side]: [&mut Side<'_, T>; 2]) {
        let [row, column] = self.first();
        let n = column_side.max.len();
        let first = row.saturating_mul(n).saturating_add(column);
        let logits = logits.iter().skip(first).step_by(n.saturating_add(1));
        let row_targets = row_side.target.iter_mut().zip(row_side.counts.iter());
        let column_targets = column_side.target.iter_mut().zip(column_side.counts.iter());
        let targets = row_targets.skip(row).zip(column_targets.skip(column));
        for (l, ((r, r_counts), (c, c_counts))) in logits.zip(targets) {
            if *r_counts > T::ZERO {
                *r = *l;
            }
            if *c_counts > T::ZERO {
                *c = *l;
            }
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
        let n = columns.len().max(1);
        let stats = row_side.max.iter_mut().zip(row_side.total.iter_mut());
        for ((scores, there), (max, total)) in scores.rows_mut(n).zip(rows).zip(stats) {
            if *there == T::ZERO {
                scores.fill(-T::INFINITY);
                continue;
            }
            let (whole, tail) = split_whole::<I, T>(scores);
            let (columns_whole, columns_tail) = split(columns, whole.len());
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
    ///
    /// The gradient of each cross-entropy sums to 0. So a target's is minus the sum of the others', where
    /// p − 1 would cancel for a sure match, and the product may take l − target for l.
    #[inline(always)]
    fn gradient<I: Isa<Scalar = T>>(
        self,
        isa: I,
        scores: &mut [T],
        [row_side, column_side]: [Side<'_, T>; 2],
        [row_uniform, column_uniform]: [T; 2],
        share: T,
    ) -> T {
        let n = column_side.max.len().max(1);
        let [first_row, first_column] = self.first();
        let mut product = T::ZERO;
        // The totals are done with: now they are the sums of the gradients without the targets'.
        column_side.total.fill(T::ZERO);
        let stats = row_side.max.iter().zip(row_side.sum.iter());
        let stats = stats.zip(row_side.counts.iter());
        let stats = stats.zip(row_side.target.iter());
        let rows = scores.rows_mut(n).zip(row_side.total.iter_mut());
        for (i, ((scores, sum), (((max, ln_sum), counts), target))) in
            (0..usize::MAX).zip(rows.zip(stats))
        {
            let row = Row {
                factor: share * self.scale,
                max: *max,
                ln_sum: *ln_sum,
                counts: *counts,
                target: *target,
                row_uniform,
                column_uniform,
            };
            // Rows before the first are no matched pair's: the difference wraps out of the matrix.
            let target = i.wrapping_sub(first_row).saturating_add(first_column);
            if let Some(target) = scores.get_mut(target) {
                *target = -T::INFINITY;
            }
            let (whole, tail) = split_whole::<I, T>(scores);
            let cut = whole.len();
            let (max_whole, max_tail) = split(column_side.max, cut);
            let (ln_sum_whole, ln_sum_tail) = split(column_side.sum, cut);
            let (counts_whole, counts_tail) = split(column_side.counts, cut);
            let (targets_whole, targets_tail) = split(column_side.target, cut);
            let (sums_whole, sums_tail) = take(column_side.total, cut);
            let columns = [max_whole, ln_sum_whole, counts_whole, targets_whole];
            let (sum_0, product_0) = row.gradient(isa, whole, columns, sums_whole);
            let columns = [max_tail, ln_sum_tail, counts_tail, targets_tail];
            let (sum_1, product_1) = row.gradient(T::one_lane(), tail, columns, sums_tail);
            *sum = sum_0 + sum_1;
            product += product_0 + product_1;
        }
        let row_sums = row_side.total.iter().skip(first_row);
        let sums = row_sums.zip(column_side.total.iter().skip(first_column));
        let first = first_row.saturating_mul(n).saturating_add(first_column);
        let diagonal = scores.iter_mut().skip(first).step_by(n.saturating_add(1));
        for (target, (row, column)) in diagonal.zip(sums) {
            *target = -(share * self.scale) * (*row + *column);
        }
        share * product
    }
}

/// What the gradient needs of one row.
#[derive(Clone, Copy)]
pub(super) struct Row<T> {
    /// dl/ds times the share of one cross-entropy in the loss.
    pub(super) factor: T,
    pub(super) max: T,
    pub(super) ln_sum: T,
    pub(super) counts: T,
    pub(super) target: T,
    pub(super) row_uniform: T,
    pub(super) column_uniform: T,
}

impl<T: Real> Row<T> {
    /// p − ε/C of both directions, times the factor, over the logits. Adds the columns' p − ε/C to `sums`;
    /// returns the sum of the row's and the sum of each times its distance to the target.
    #[inline(always)]
    pub(super) fn gradient<I: Isa<Scalar = T>>(
        self,
        isa: I,
        logits: &mut [T],
        [max, ln_sum, counts, targets]: [&[T]; 4],
        sums: &mut [T],
    ) -> (T, T) {
        let zero = isa.splat(T::ZERO);
        let lowest = isa.splat(-T::MAX);
        let (row_max, row_ln_sum) = (isa.splat(self.max), isa.splat(self.ln_sum));
        let (row_counts, row_target) = (isa.splat(self.counts), isa.splat(self.target));
        let factor = isa.splat(self.factor);
        let (row_uniform, column_uniform) =
            (isa.splat(self.row_uniform), isa.splat(self.column_uniform));
        let (mut row_sum, mut product) = (zero, zero);
        let columns = isa
            .pieces(max)
            .zip(isa.pieces(ln_sum))
            .zip(isa.pieces(counts))
            .zip(isa.pieces(targets))
            .zip(isa.pieces_mut(sums));
        for (values, ((((max, ln_sum), counts), target), sum)) in
            isa.pieces_mut(logits).zip(columns)
        {
            let l = isa.load(values);
            let there = lowest.less(l);
            let row = pull(l, row_max, row_ln_sum, row_uniform, row_counts);
            let row = I::Lanes::select(there, row, zero);
            let (max, ln_sum) = (isa.load(max), isa.load(ln_sum));
            let column = pull(l, max, ln_sum, column_uniform, isa.load(counts));
            let column = I::Lanes::select(there, column, zero);
            let l = I::Lanes::select(there, l, zero);
            row_sum = row_sum + row;
            product = row.mul_add(l - row_target, product);
            product = column.mul_add(l - isa.load(target), product);
            isa.store(isa.load(sum) + column, sum);
            isa.store((row + column) * factor, values);
        }
        (row_sum.sum(), product.sum())
    }
}

/// dCE/dl of a candidate that is not the target, times the count of its cross-entropy, in every lane:
/// counts · (p − u), p = exp(l − max − ln Σ), u = ε/C. Source: the derivative of the cross-entropy with label
/// smoothing (arXiv 1512.00567). Cost: an exponential and four operations per lane.
///
/// ```
/// use rivergram_core::gram::info_nce::pull;
///
/// // Two equal candidates: p = ½.
/// let ln_2 = std::f64::consts::LN_2;
/// assert!((pull(3.0, 3.0, ln_2, 0.1, 1.0) - 0.4).abs() < 1e-12);
/// ```
#[inline(always)]
pub fn pull<V: Lanes>(logit: V, max: V, ln_sum: V, uniform: V, counts: V) -> V {
    counts * ((logit - max - ln_sum).exp() - uniform)
}

/// How many of n numbers fill whole vectors.
#[inline(always)]
fn whole_len<I: Isa>(n: usize) -> usize {
    n.saturating_sub(n.checked_rem(I::WIDTH).unwrap_or_default())
}

/// The whole vectors of a slice, and the rest for one lane at a time.
#[inline(always)]
fn split_whole<I: Isa<Scalar = T>, T: Real>(values: &mut [T]) -> (&mut [T], &mut [T]) {
    take(values, whole_len::<I>(values.len()))
}

/// One row of scores to logits; returns its maximum and total, and updates those of the columns.
#[inline(always)]
pub(super) fn logits_of_row<I: Isa>(
    isa: I,
    scale: I::Scalar,
    columns: &[I::Scalar],
    scores: &mut [I::Scalar],
    column_max: &mut [I::Scalar],
    column_total: &mut [I::Scalar],
) -> (I::Scalar, I::Scalar) {
    let zero = isa.splat(I::Scalar::ZERO);
    let (mut max, mut total) = (isa.splat(-I::Scalar::MAX), zero);
    let columns = isa
        .pieces(columns)
        .zip(isa.pieces_mut(column_max))
        .zip(isa.pieces_mut(column_total));
    for (scores, ((there, column_max), column_total)) in isa.pieces_mut(scores).zip(columns) {
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
    let n = column_side.max.len().max(1);
    let stats = row_side.max.iter().zip(row_side.sum.iter_mut());
    for (logits, (max, sum)) in logits.rows(n).zip(stats) {
        let cut = whole_len::<I>(n);
        let (whole, tail) = split(logits, cut);
        let (max_whole, max_tail) = split(column_side.max, cut);
        let (sum_whole, sum_tail) = take(column_side.sum, cut);
        *sum += sums_of_row(isa, *max, whole, max_whole, sum_whole);
        *sum += sums_of_row(I::Scalar::one_lane(), *max, tail, max_tail, sum_tail);
    }
}

/// Σ exp(l − max) of one row, and its part of the columns' sums.
#[inline(always)]
pub(super) fn sums_of_row<I: Isa>(
    isa: I,
    max: I::Scalar,
    logits: &[I::Scalar],
    column_max: &[I::Scalar],
    column_sum: &mut [I::Scalar],
) -> I::Scalar {
    let max = isa.splat(max);
    let mut sum = isa.splat(I::Scalar::ZERO);
    let columns = isa.pieces(column_max).zip(isa.pieces_mut(column_sum));
    for (logits, (column_max, column_sum)) in isa.pieces(logits).zip(columns) {
        let l = isa.load(logits);
        sum = sum + (l - max).exp();
        let column = isa.load(column_sum) + (l - isa.load(column_max)).exp();
        isa.store(column, column_sum);
    }
    sum.sum()
}
