//! The reduction over output positions, or over the rows of any matrix: for each target n-gram i one number E\[i\]
//! from its scores t\[j, i\] = D_n\[j, i\]/n, and the derivative of E by D_n.
//!
//! | selection | E | ∂E/∂D |
//! |---|---|---|
//! | softmax | Σ_j q·t, q = softmax_j((t+g)/τ) | q·(1 + (t−E)/τ)/n |
//! | detached | the same | q/n |
//! | logsumexp | ln Σ_j exp(D) | softmax_j(D) |
//! | mean | Σ_j t/K | 1/(K·n) |
//! | max | max_j t | 1/n at the first of the best |
//!
//! Everything is computed from differences D − max D: at a small τ the rounding of t itself would be
//! magnified. −∞ is a score of probability 0. A column of nothing but −∞ has E = −∞; the selections
//! with weights q give it the gradient 0. Columns are independent: vectors run along i. Softmax is the selection of
//! arXiv 2106.15078.

use super::config::Select;
use crate::lanes::{Isa, Lanes, Real};

/// Which reduction, of n-grams of which order.
#[derive(Clone, Copy, Debug)]
pub struct Selection<T> {
    /// The reduction.
    pub select: Select,
    /// τ.
    pub temperature: T,
    /// n.
    pub order: usize,
}

/// A row-major matrix of which each row begins with the columns in question.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Numbers from one row to the next.
    pub stride: usize,
}

/// A [`Matrix`] to write to.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    /// The numbers.
    pub data: &'a mut [T],
    /// Numbers from one row to the next.
    pub stride: usize,
}

/// Writes E of each column to `values`, and `factor` · ∂E/∂D to `weights` if given.
///
/// `sums` and `weights` are `rows` × `values.len()`, `noise` likewise. For the selection over target n-grams
/// ([`Axis::Targets`](super::Axis::Targets)) hand in the transposed sums. Cost: one exponential per entry for
/// the selections that have any. Source: arXiv 2106.15078, the weighted sum over positions; logsumexp is the
/// log of the expected number of matches.
///
/// ```
/// use rivergram_core::eisl::{Select, select::{Matrix, MatrixMut, Selection, select}};
/// use rivergram_core::lanes::One;
///
/// // Two positions, one n-gram of order 2: t = −1 and −3.
/// let (sums, mut value, mut weights) = ([-2.0f64, -6.0], [0.0], [0.0; 2]);
/// let selection = Selection { select: Select::Mean, temperature: 1.0, order: 2 };
/// let to = MatrixMut { data: &mut weights, stride: 1 };
/// let from = Matrix { data: &sums, stride: 1 };
/// select(One::new(), selection, 2, from, None, &mut value, Some((to, 1.0)));
/// assert_eq!((value, weights), ([-2.0], [0.25, 0.25]));
/// ```
#[inline(always)]
pub fn select<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    rows: usize,
    sums: Matrix<'_, I::Scalar>,
    noise: Option<Matrix<'_, I::Scalar>>,
    values: &mut [I::Scalar],
    mut weights: Option<(MatrixMut<'_, I::Scalar>, I::Scalar)>,
) {
    for (block, values) in (0..values.len()).zip(isa.pieces_mut(values)) {
        let column = Column {
            first: block.wrapping_mul(I::WIDTH),
            width: values.len(),
            rows,
        };
        let weights = match &mut weights {
            Some((matrix, factor)) => Some((&mut *matrix.data, matrix.stride, *factor)),
            None => None,
        };
        let e = match selection.select {
            Select::Mean => mean(isa, selection, column, sums, weights),
            Select::Max => max(isa, selection, column, sums, weights),
            Select::Softmax | Select::Detached => {
                softmax(isa, selection, column, sums, noise, weights)
            }
            Select::LogSumExp => softmax(isa, selection, column, sums, None, weights),
        };
        isa.store(e, values);
    }
}

type Weights<'a, T> = Option<(&'a mut [T], usize, T)>;

/// As many neighbouring columns as a vector has lanes, or what is left of them.
#[derive(Clone, Copy)]
struct Column {
    first: usize,
    width: usize,
    rows: usize,
}

impl Column {
    /// Also what stands behind the columns: those lanes are not stored, and every load is whole but for the last.
    #[inline(always)]
    fn load<I: Isa>(self, isa: I, matrix: Matrix<'_, I::Scalar>, j: usize) -> I::Lanes {
        let start = j.wrapping_mul(matrix.stride).wrapping_add(self.first);
        isa.load(matrix.data.get(start..).unwrap_or(&[]))
    }

    #[inline(always)]
    fn store<I: Isa>(self, isa: I, x: I::Lanes, data: &mut [I::Scalar], stride: usize, j: usize) {
        let start = j.wrapping_mul(stride).wrapping_add(self.first);
        let end = start.wrapping_add(self.width);
        isa.store(x, data.get_mut(start..end).unwrap_or(&mut []));
    }
}

/// Softmax, detached and logsumexp: all need e = exp((D + n·g − max)/(n·τ)); logsumexp has n·τ = 1.
#[inline(always)]
fn softmax<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    column: Column,
    sums: Matrix<'_, I::Scalar>,
    noise: Option<Matrix<'_, I::Scalar>>,
    mut weights: Weights<'_, I::Scalar>,
) -> I::Lanes {
    let zero = isa.splat(I::Scalar::ZERO);
    let n = I::Scalar::from_usize(selection.order);
    let is_lse = selection.select == Select::LogSumExp;
    let rate = isa.splat(if is_lse {
        I::Scalar::ONE
    } else {
        I::Scalar::ONE / (n * selection.temperature)
    });
    let n = isa.splat(n);

    // Finite, so that −∞ − max is −∞. The moment is about the largest score without noise, however large that is.
    let mut max = isa.splat(-I::Scalar::MAX);
    let mut top = max;
    for j in 0..column.rows {
        max = max.max(disturbed(isa, column, sums, noise, n, j));
        top = top.max(column.load(isa, sums, j));
    }
    let mut sum = zero;
    let mut moment = zero;
    for j in 0..column.rows {
        let e = ((disturbed(isa, column, sums, noise, n, j) - max) * rate).exp_of_difference();
        let d = column.load(isa, sums, j) - top;
        sum = sum + e;
        // Where e is 0, d may be −∞.
        moment = moment + I::Lanes::select(zero.less(e), e * d, zero);
        if let Some((weights, stride, _)) = &mut weights {
            column.store(isa, e, weights, *stride, j);
        }
    }
    let mean = moment / sum;
    if let Some((weights, stride, factor)) = weights {
        let scale = isa.splat(factor) / if is_lse { sum } else { sum * n };
        for j in 0..column.rows {
            let matrix = Matrix {
                data: weights,
                stride,
            };
            let e = column.load(isa, matrix, j);
            let mut w = e * scale;
            if selection.select == Select::Softmax {
                let d = column.load(isa, sums, j) - top;
                w = w + w * ((d - mean) * rate);
            }
            let w = I::Lanes::select(zero.less(e), w, zero);
            column.store(isa, w, weights, stride, j);
        }
    }
    let e = if is_lse {
        max + sum.ln()
    } else {
        (top + mean) / n
    };
    I::Lanes::select(zero.less(sum), e, isa.splat(-I::Scalar::INFINITY))
}

/// D + n·g.
#[inline(always)]
fn disturbed<I: Isa>(
    isa: I,
    column: Column,
    sums: Matrix<'_, I::Scalar>,
    noise: Option<Matrix<'_, I::Scalar>>,
    n: I::Lanes,
    j: usize,
) -> I::Lanes {
    let d = column.load(isa, sums, j);
    match noise {
        None => d,
        Some(noise) => column.load(isa, noise, j).mul_add(n, d),
    }
}

#[inline(always)]
fn mean<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    column: Column,
    sums: Matrix<'_, I::Scalar>,
    weights: Weights<'_, I::Scalar>,
) -> I::Lanes {
    let count = I::Scalar::from_usize(column.rows) * I::Scalar::from_usize(selection.order);
    let mut sum = isa.splat(I::Scalar::ZERO);
    for j in 0..column.rows {
        sum = sum + column.load(isa, sums, j);
    }
    if let Some((weights, stride, factor)) = weights {
        for j in 0..column.rows {
            column.store(isa, isa.splat(factor / count), weights, stride, j);
        }
    }
    sum / isa.splat(count)
}

#[inline(always)]
fn max<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    column: Column,
    sums: Matrix<'_, I::Scalar>,
    weights: Weights<'_, I::Scalar>,
) -> I::Lanes {
    let n = I::Scalar::from_usize(selection.order);
    let zero = isa.splat(I::Scalar::ZERO);
    let mut best = isa.splat(-I::Scalar::INFINITY);
    let mut place = zero;
    for j in 0..column.rows {
        let d = column.load(isa, sums, j);
        let better = best.less(d);
        best = I::Lanes::select(better, d, best);
        place = I::Lanes::select(better, isa.splat(I::Scalar::from_usize(j)), place);
    }
    if let Some((weights, stride, factor)) = weights {
        let chosen = isa.splat(factor / n);
        for j in 0..column.rows {
            let distance = (place - isa.splat(I::Scalar::from_usize(j))).abs();
            let here = distance.less(isa.splat(I::Scalar::ONE));
            let w = I::Lanes::select(here, chosen, zero);
            column.store(isa, w, weights, stride, j);
        }
    }
    best / isa.splat(n)
}
