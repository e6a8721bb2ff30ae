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
    let zero = isa.splat(I::Scalar::ZERO);
    // Not on one lane, where bytes of code count.
    let mut copies = [[zero; 2]; COPIED];
    let mut copies = match copies.get_mut(..rows) {
        Some(copies) if I::WIDTH > 1 && noise.is_none() => Some(copies),
        _ => None,
    };
    for (block, values) in (0..values.len()).zip(isa.pieces_mut(values)) {
        let place = Column {
            first: block.wrapping_mul(I::WIDTH),
            width: values.len(),
        };
        let (weights, factor) = match &mut weights {
            Some((matrix, factor)) => (Some((&mut *matrix.data, matrix.stride)), Some(*factor)),
            None => (None, None),
        };
        let mut cells = Slices {
            isa,
            place,
            sums,
            noise,
            weights,
        };
        let e = match &mut copies {
            Some(copies) => copied(isa, selection, &mut cells, copies, factor),
            None => column(isa, selection, rows, &mut cells, factor),
        };
        isa.store(e, values);
    }
}

/// The most rows of columns that are copied before they are reduced.
const COPIED: usize = 128;

/// [`column`] of a copy without gaps: what lies in a matrix is looked up once, and not in every pass.
#[inline(always)]
fn copied<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    cells: &mut Slices<'_, I>,
    copies: &mut [[I::Lanes; 2]],
    factor: Option<I::Scalar>,
) -> I::Lanes {
    let Column { first, width } = cells.place;
    let Matrix { data, stride } = cells.sums;
    let mut rest = data.get(first..).unwrap_or(&[]);
    for [d, _] in copies.iter_mut() {
        *d = isa.load(rest);
        rest = rest.get(stride..).unwrap_or(&[]);
    }
    let zero = isa.splat(I::Scalar::ZERO);
    let mut copy = Copied { zero, copies };
    let e = column(isa, selection, copy.copies.len(), &mut copy, factor);
    if let Some((data, stride)) = &mut cells.weights {
        let mut rest = data.get_mut(first..).unwrap_or_default();
        for [_, weight] in copies.iter() {
            isa.store(*weight, rest.get_mut(..width).unwrap_or_default());
            rest = rest.get_mut(*stride..).unwrap_or_default();
        }
    }
    e
}

/// D and ∂E/∂D of each row.
struct Copied<'a, V> {
    zero: V,
    copies: &'a mut [[V; 2]],
}

impl<V: Copy> Cells<V> for Copied<'_, V> {
    #[inline(always)]
    fn sum(&self, j: usize) -> V {
        match self.copies.get(j) {
            Some([d, _]) => *d,
            None => self.zero,
        }
    }
    #[inline(always)]
    fn noise(&self, _: usize) -> Option<V> {
        None
    }
    #[inline(always)]
    fn weight(&self, j: usize) -> V {
        match self.copies.get(j) {
            Some([_, weight]) => *weight,
            None => self.zero,
        }
    }
    #[inline(always)]
    fn set_weight(&mut self, j: usize, weight: V) {
        if let Some([_, slot]) = self.copies.get_mut(j) {
            *slot = weight;
        }
    }
}

/// A column that is reduced, wherever it lies, or as many neighbouring ones as a vector has lanes.
pub trait Cells<V> {
    /// D of row j.
    ///
    /// ```
    /// use rivergram_core::eisl::select::Cells;
    ///
    /// struct Two([f32; 2]);
    ///
    /// impl Cells<f32> for Two {
    ///     fn sum(&self, j: usize) -> f32 {
    ///         self.0[j]
    ///     }
    ///     fn noise(&self, _: usize) -> Option<f32> {
    ///         None
    ///     }
    ///     fn weight(&self, _: usize) -> f32 {
    ///         0.0
    ///     }
    ///     fn set_weight(&mut self, _: usize, _: f32) {}
    /// }
    ///
    /// assert_eq!(Two([3.0, 4.0]).sum(1), 4.0);
    /// ```
    fn sum(&self, j: usize) -> V;
    /// g of row j, where there is noise.
    ///
    /// ```
    /// # use rivergram_core::eisl::select::Cells;
    /// # struct Two;
    /// # impl Cells<f32> for Two {
    /// #     fn sum(&self, j: usize) -> f32 { 0.0 }
    /// fn noise(&self, j: usize) -> Option<f32> {
    ///     [0.5, 0.25].get(j).copied()
    /// }
    /// #     fn weight(&self, _: usize) -> f32 { 0.0 }
    /// #     fn set_weight(&mut self, _: usize, _: f32) {}
    /// # }
    /// # assert_eq!(Two.noise(1), Some(0.25));
    /// ```
    fn noise(&self, j: usize) -> Option<V>;
    /// What was set for row j.
    ///
    /// ```
    /// # use rivergram_core::eisl::select::Cells;
    /// # struct Two([f32; 2]);
    /// # impl Cells<f32> for Two {
    /// #     fn sum(&self, j: usize) -> f32 { 0.0 }
    /// #     fn noise(&self, _: usize) -> Option<f32> { None }
    /// fn weight(&self, j: usize) -> f32 {
    ///     self.0[j]
    /// }
    /// #     fn set_weight(&mut self, _: usize, _: f32) {}
    /// # }
    /// # assert_eq!(Two([1.0, 2.0]).weight(1), 2.0);
    /// ```
    fn weight(&self, j: usize) -> V;
    /// Sets ∂E/∂D of row j, and before that what it is made of.
    ///
    /// ```
    /// # use rivergram_core::eisl::select::Cells;
    /// # struct Two([f32; 2]);
    /// # impl Cells<f32> for Two {
    /// #     fn sum(&self, j: usize) -> f32 { 0.0 }
    /// #     fn noise(&self, _: usize) -> Option<f32> { None }
    /// #     fn weight(&self, j: usize) -> f32 { self.0[j] }
    /// fn set_weight(&mut self, j: usize, weight: f32) {
    ///     self.0[j] = weight;
    /// }
    /// # }
    /// # let mut two = Two([0.0; 2]);
    /// # two.set_weight(1, 7.0);
    /// # assert_eq!(two.weight(1), 7.0);
    /// ```
    fn set_weight(&mut self, j: usize, weight: V);
}

/// E of one column, in every lane; with a factor also the column's weights. Cost and source: those of [`select`].
///
/// ```
/// use rivergram_core::eisl::{Select, select::{Cells, Selection, column}};
/// use rivergram_core::lanes::One;
///
/// struct Ones([f64; 4]);
///
/// impl Cells<f64> for Ones {
///     fn sum(&self, _: usize) -> f64 {
///         1.0
///     }
///     fn noise(&self, _: usize) -> Option<f64> {
///         None
///     }
///     fn weight(&self, j: usize) -> f64 {
///         self.0[j]
///     }
///     fn set_weight(&mut self, j: usize, weight: f64) {
///         self.0[j] = weight;
///     }
/// }
///
/// let selection = Selection { select: Select::Detached, temperature: 1.0, order: 1 };
/// let mut ones = Ones([0.0; 4]);
/// assert_eq!(column(One::new(), selection, 4, &mut ones, Some(1.0)), 1.0);
/// assert_eq!(ones.0, [0.25; 4]);
/// ```
#[inline(always)]
pub fn column<I: Isa, C: Cells<I::Lanes>>(
    isa: I,
    selection: Selection<I::Scalar>,
    rows: usize,
    cells: &mut C,
    factor: Option<I::Scalar>,
) -> I::Lanes {
    match selection.select {
        Select::Mean => mean(isa, selection, rows, cells, factor),
        Select::Max => max(isa, selection, rows, cells, factor),
        Select::Softmax | Select::Detached | Select::LogSumExp => {
            softmax(isa, selection, rows, cells, factor)
        }
    }
}

/// As many neighbouring columns as a vector has lanes, or what is left of them.
#[derive(Clone, Copy)]
struct Column {
    first: usize,
    width: usize,
}

impl Column {
    /// Also what stands behind the columns: those lanes are not stored, and every load is whole but for the last.
    #[inline(always)]
    fn load<I: Isa>(self, isa: I, data: &[I::Scalar], stride: usize, j: usize) -> I::Lanes {
        let start = j.wrapping_mul(stride).wrapping_add(self.first);
        isa.load(data.get(start..).unwrap_or(&[]))
    }

    #[inline(always)]
    fn store<I: Isa>(self, isa: I, x: I::Lanes, data: &mut [I::Scalar], stride: usize, j: usize) {
        let start = j.wrapping_mul(stride).wrapping_add(self.first);
        let end = start.wrapping_add(self.width);
        isa.store(x, data.get_mut(start..end).unwrap_or(&mut []));
    }
}

/// Columns of row-major matrices.
struct Slices<'a, I: Isa> {
    isa: I,
    place: Column,
    sums: Matrix<'a, I::Scalar>,
    noise: Option<Matrix<'a, I::Scalar>>,
    weights: Option<(&'a mut [I::Scalar], usize)>,
}

impl<I: Isa> Cells<I::Lanes> for Slices<'_, I> {
    #[inline(always)]
    fn sum(&self, j: usize) -> I::Lanes {
        let Matrix { data, stride } = self.sums;
        self.place.load(self.isa, data, stride, j)
    }
    #[inline(always)]
    fn noise(&self, j: usize) -> Option<I::Lanes> {
        let Matrix { data, stride } = self.noise?;
        Some(self.place.load(self.isa, data, stride, j))
    }
    #[inline(always)]
    fn weight(&self, j: usize) -> I::Lanes {
        let (data, stride) = match &self.weights {
            Some((data, stride)) => (&**data, *stride),
            None => (&[][..], 0),
        };
        self.place.load(self.isa, data, stride, j)
    }
    #[inline(always)]
    fn set_weight(&mut self, j: usize, weight: I::Lanes) {
        if let Some((data, stride)) = &mut self.weights {
            self.place.store(self.isa, weight, data, *stride, j);
        }
    }
}

/// Softmax, detached and logsumexp: all need e = exp((D + n·g − max)/(n·τ)); logsumexp has n·τ = 1.
#[inline(always)]
fn softmax<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    rows: usize,
    cells: &mut impl Cells<I::Lanes>,
    factor: Option<I::Scalar>,
) -> I::Lanes {
    let zero = isa.splat(I::Scalar::ZERO);
    let n = I::Scalar::from_usize(selection.order);
    let is_lse = selection.select == Select::LogSumExp;
    let noisy = !is_lse;
    let rate = isa.splat(if is_lse {
        I::Scalar::ONE
    } else {
        I::Scalar::ONE / (n * selection.temperature)
    });
    let n = isa.splat(n);

    // Finite, so that −∞ − max is −∞. The moment is about the largest score without noise, however large that is.
    let mut max = isa.splat(-I::Scalar::MAX);
    let mut top = max;
    for j in 0..rows {
        max = max.max(disturbed(cells, noisy, n, j));
        top = top.max(cells.sum(j));
    }
    let mut sum = zero;
    let mut moment = zero;
    for j in 0..rows {
        let e = ((disturbed(cells, noisy, n, j) - max) * rate).exp_of_difference();
        let d = cells.sum(j) - top;
        sum = sum + e;
        // Where e is 0, d may be −∞.
        moment = moment + I::Lanes::select(zero.less(e), e * d, zero);
        if factor.is_some() {
            cells.set_weight(j, e);
        }
    }
    let mean = moment / sum;
    if let Some(factor) = factor {
        let scale = isa.splat(factor) / if is_lse { sum } else { sum * n };
        for j in 0..rows {
            let e = cells.weight(j);
            let mut w = e * scale;
            if selection.select == Select::Softmax {
                let d = cells.sum(j) - top;
                w = w + w * ((d - mean) * rate);
            }
            let w = I::Lanes::select(zero.less(e), w, zero);
            cells.set_weight(j, w);
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
fn disturbed<V: Lanes>(cells: &impl Cells<V>, noisy: bool, n: V, j: usize) -> V {
    let d = cells.sum(j);
    match cells.noise(j) {
        Some(noise) if noisy => noise.mul_add(n, d),
        _ => d,
    }
}

#[inline(always)]
fn mean<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    rows: usize,
    cells: &mut impl Cells<I::Lanes>,
    factor: Option<I::Scalar>,
) -> I::Lanes {
    let count = I::Scalar::from_usize(rows) * I::Scalar::from_usize(selection.order);
    let mut sum = isa.splat(I::Scalar::ZERO);
    for j in 0..rows {
        sum = sum + cells.sum(j);
    }
    if let Some(factor) = factor {
        for j in 0..rows {
            cells.set_weight(j, isa.splat(factor / count));
        }
    }
    sum / isa.splat(count)
}

#[inline(always)]
fn max<I: Isa>(
    isa: I,
    selection: Selection<I::Scalar>,
    rows: usize,
    cells: &mut impl Cells<I::Lanes>,
    factor: Option<I::Scalar>,
) -> I::Lanes {
    let n = I::Scalar::from_usize(selection.order);
    let zero = isa.splat(I::Scalar::ZERO);
    let mut best = isa.splat(-I::Scalar::INFINITY);
    let mut place = zero;
    for j in 0..rows {
        let d = cells.sum(j);
        let better = best.less(d);
        best = I::Lanes::select(better, d, best);
        place = I::Lanes::select(better, isa.splat(I::Scalar::from_usize(j)), place);
    }
    if let Some(factor) = factor {
        let chosen = isa.splat(factor / n);
        for j in 0..rows {
            let distance = (place - isa.splat(I::Scalar::from_usize(j))).abs();
            let here = distance.less(isa.splat(I::Scalar::ONE));
            let w = I::Lanes::select(here, chosen, zero);
            cells.set_weight(j, w);
        }
    }
    best / isa.splat(n)
}
