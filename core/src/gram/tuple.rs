//! One tuple of k vectors of length D at a time: volume, gradient and their relatives.
//!
//! ```text
//! V = sqrt(det X·Xᵀ)          dV/dx_p = V · Σ_m (G⁻¹)_pm x_m
//! ```
//! (arXiv 2412.11959, eq. 4). The volume does not change when a multiple of one vector is added to
//! another, and the difference of two near vectors is almost exact. So with a base b among the vectors
//!
//! ```text
//! Z = (b, x_1 − b, x_2 − b, …)          Z·Zᵀ = L·diag(π)·Lᵀ          V = Π sqrt(π_p)
//! ```
//!
//! takes one pass over the vectors, and no copy of them. Where a pivot π keeps too little of its
//! diagonal, the rows are not orthogonal enough for its digits. Then L⁻¹ is folded into the rows:
//!
//! ```text
//! Z = T·X, T unit lower triangular
//! ```
//!
//! and the pass is repeated, at most [`sweeps`] times, with T in two words and every sum of T·X compensated:
//! T need not be exact, since any unit triangular T spans the same volume, but Z must be exactly T times X.
//! A pivot that still collapses belongs to a dependent vector: the volume is 0. Relative error in `f32`:
//! below 1e-6 however the vectors lie, to a volume of about 1e-7 of the product of norms. From 9 vectors on
//! the orthonormal basis of [`basis`] is used: below 1e-6 in a cone, condition × ε for vectors that are
//! nearly dependent but far apart.
//!
//! Squares must stay in range: in `f32` vectors shorter than 1e-19 count as 0. Longer than 9e18 they are an
//! error of the slice functions; those of fixed size give an infinite volume or NaN, never 0.

use core::iter::repeat;

use crate::error::GramError;
use crate::gram::basis::{self, Item, Rows};
use crate::gram::pair::check_finite;
use crate::lanes::{Isa, Kernel, Lanes, One, Real};
use crate::ops;

/// Passes over k vectors before a pivot that keeps collapsing counts as 0.
pub const fn sweeps(k: usize) -> usize {
    if k <= 3 { 4 } else { k.saturating_add(1) }
}

/// A pivot of k vectors below this part of its diagonal is computed again from better rows. With more
/// vectors, more pivots take their share of the rounding.
const fn keep(k: usize) -> f64 {
    if k <= 3 { 0.4 } else { 0.6 }
}

/// The largest k of the slice functions that needs no workspace.
pub const K_WITHOUT_WORKSPACE: usize = 8;

/// The volume of K vectors of length D. K > D gives 0. Cost: about K²/2 · D multiply-adds, one pass.
///
/// ```
/// let v = rivergram_core::gram::tuple::volume(&[[3.0, 0.0, 0.0], [5.0, 4.0, 0.0]]);
/// assert_eq!(v, 12.0);
/// ```
#[inline(never)]
pub fn volume<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> f32 {
    volume_of_rows(One::<f32>::new(), rows_of(vectors), D)
}

/// The volume, and its gradient dV/dx in `gradient`. Where the volume is 0 the gradient is 0, which is
/// a valid subgradient. Its rows have norm at most Π|x_q| over the other vectors: it never explodes.
///
/// ```
/// let mut g = [[0.0; 2]; 2];
/// let v = rivergram_core::gram::tuple::volume_gradient(&[[1.0, 0.0], [0.0, 2.0]], &mut g);
/// assert_eq!((v, g), (2.0, [[2.0, 0.0], [0.0, 1.0]]));
/// ```
#[inline(never)]
pub fn volume_gradient<const K: usize, const D: usize>(
    vectors: &[[f32; D]; K],
    gradient: &mut [[f32; D]; K],
) -> f32 {
    let mut targets = gradient.each_mut().map(|row| row.as_mut_slice());
    swap_base(&mut targets);
    volume_gradient_of_rows(One::<f32>::new(), rows_of(vectors), D, targets)
}

/// The Gram matrix G_pq = x_p·x_q. Cost: K²·D multiply-adds.
///
/// ```
/// let g = rivergram_core::gram::tuple::gram_matrix(&[[1.0, 2.0], [3.0, 0.0]]);
/// assert_eq!(g, [[5.0, 3.0], [3.0, 9.0]]);
/// ```
#[inline(never)]
pub fn gram_matrix<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> [[f32; K]; K] {
    let mut gram = [[0.0; K]; K];
    let rows = vectors.each_ref().map(|row| row.as_slice());
    for (x, row) in rows.iter().zip(&mut gram) {
        for (y, g) in rows.iter().zip(row) {
            *g = ops::dot(One::<f32>::new(), x, y);
        }
    }
    gram
}

/// The determinant of the Gram matrix, as the square of [`volume`], with its cost.
///
/// ```
/// let det = rivergram_core::gram::tuple::determinant(&[[3.0, 0.0], [5.0, 4.0]]);
/// assert_eq!(det, 144.0);
/// ```
#[inline(never)]
pub fn determinant<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> f32 {
    let volume = volume(vectors);
    volume * volume
}

/// ln V of [`volume`], with its cost; −∞ where the volume is 0.
///
/// ```
/// let ln = rivergram_core::gram::tuple::log_volume(&[[1.0, 0.0], [2.0, 1.0]]);
/// assert_eq!(ln, 0.0);
/// ```
#[inline(never)]
pub fn log_volume<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> f32 {
    Lanes::ln(volume(vectors))
}

/// Floats of workspace that [`volume_on`] and [`volume_gradient_on`] need for k vectors of length d:
/// none for k up to [`K_WITHOUT_WORKSPACE`].
pub const fn workspace_len(k: usize, d: usize) -> usize {
    if k <= K_WITHOUT_WORKSPACE || k > d {
        0
    } else {
        basis::item_len(k, d)
    }
}

/// [`volume`] over a slice of k rows of length d, row-major, on any instruction set. A vector that is not
/// finite, or too long, is an error with its row. Cost: that of [`volume`], and k·d multiply-adds for the
/// check; from 9 vectors on at least 4·k²·d.
#[inline(always)]
pub fn volume_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(VolumeKernel {
        vectors,
        k,
        d,
        workspace,
    })
}

struct VolumeKernel<'a, T> {
    vectors: &'a [T],
    k: usize,
    d: usize,
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for VolumeKernel<'_, T> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check(isa, self.vectors, self.k, self.d, self.workspace.len())?;
        Ok(slice_volume(
            isa,
            self.vectors,
            self.k,
            self.d,
            self.workspace,
        ))
    }
}

#[inline(always)]
fn slice_volume<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> I::Scalar {
    if k > d {
        return I::Scalar::ZERO;
    }
    match k {
        1 => fixed_volume::<I, 1>(isa, vectors, d),
        2 => fixed_volume::<I, 2>(isa, vectors, d),
        3 => fixed_volume::<I, 3>(isa, vectors, d),
        4 => fixed_volume::<I, 4>(isa, vectors, d),
        5 => fixed_volume::<I, 5>(isa, vectors, d),
        6 => fixed_volume::<I, 6>(isa, vectors, d),
        7 => fixed_volume::<I, 7>(isa, vectors, d),
        8 => fixed_volume::<I, 8>(isa, vectors, d),
        _ => {
            let mut item = Item::split(workspace, k, d);
            basis::orthonormalise(isa, Rows::contiguous(vectors, d), repeat(true), &mut item)
        }
    }
}

/// [`volume_gradient`] over slices: `vectors` and `gradient` are k rows of length d, row-major. Errors as
/// [`volume_on`]. Cost: that of [`volume_on`] and one more pass of k²·d multiply-adds.
#[inline(always)]
pub fn volume_gradient_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(GradientKernel {
        vectors,
        k,
        d,
        gradient,
        workspace,
    })
}

struct GradientKernel<'a, T> {
    vectors: &'a [T],
    k: usize,
    d: usize,
    gradient: &'a mut [T],
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for GradientKernel<'_, T> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check(isa, self.vectors, self.k, self.d, self.workspace.len())?;
        let (need, have) = (self.vectors.len(), self.gradient.len());
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        Ok(slice_gradient(
            isa,
            self.vectors,
            self.k,
            self.d,
            self.gradient,
            self.workspace,
        ))
    }
}

#[inline(always)]
fn slice_gradient<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> I::Scalar {
    if k > d {
        gradient.fill(I::Scalar::ZERO);
        return I::Scalar::ZERO;
    }
    match k {
        1 => fixed_gradient::<I, 1>(isa, vectors, d, gradient),
        2 => fixed_gradient::<I, 2>(isa, vectors, d, gradient),
        3 => fixed_gradient::<I, 3>(isa, vectors, d, gradient),
        4 => fixed_gradient::<I, 4>(isa, vectors, d, gradient),
        5 => fixed_gradient::<I, 5>(isa, vectors, d, gradient),
        6 => fixed_gradient::<I, 6>(isa, vectors, d, gradient),
        7 => fixed_gradient::<I, 7>(isa, vectors, d, gradient),
        8 => fixed_gradient::<I, 8>(isa, vectors, d, gradient),
        _ => {
            let mut item = Item::split(workspace, k, d);
            let volume =
                basis::orthonormalise(isa, Rows::contiguous(vectors, d), repeat(true), &mut item);
            // V·R⁻¹·Q; V comes last, since V·Q would leave the range first.
            for (g, q) in gradient.iter_mut().zip(item.q.iter()) {
                *g = *q;
            }
            basis::solve(isa, item.r, k, d, gradient);
            ops::scale(isa, volume, gradient);
            volume
        }
    }
}

/// The Gram matrix G_pq = x_p·x_q into `gram` \[k, k\], row-major. Cost: k²·d multiply-adds.
#[inline(always)]
pub fn gram_matrix_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gram: &mut [I::Scalar],
) -> Result<(), GramError> {
    check_vectors(isa, vectors, k, d)?;
    if gram.len() != k.saturating_mul(k) {
        return Err(GramError::BufferSize {
            need: k.saturating_mul(k),
            have: gram.len(),
        });
    }
    for (x, row) in vectors.chunks_exact(d).zip(gram.chunks_exact_mut(k)) {
        for (y, g) in vectors.chunks_exact(d).zip(row) {
            *g = ops::dot(isa, x, y);
        }
    }
    Ok(())
}

/// The determinant of the Gram matrix, as the square of the volume: never negative, and as accurate as
/// the volume. In `f32` it under- or overflows long before the volume does. Errors and cost: those of
/// [`volume_on`].
#[inline(always)]
pub fn determinant_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    let volume = volume_on(isa, vectors, k, d, workspace)?;
    Ok(volume * volume)
}

/// ln V; −∞ where the volume is 0. Its gradient is dV/dx divided by V. Errors and cost: those of
/// [`volume_on`].
#[inline(always)]
pub fn log_volume_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    Ok(volume_on(isa, vectors, k, d, workspace)?.ln())
}

#[inline(always)]
fn check<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: usize,
) -> Result<(), GramError> {
    check_vectors(isa, vectors, k, d)?;
    let need = workspace_len(k, d);
    if workspace < need {
        return Err(GramError::Workspace {
            need,
            have: workspace,
        });
    }
    Ok(())
}

#[inline(always)]
fn check_vectors<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
) -> Result<(), GramError> {
    if k == 0 || d == 0 {
        return Err(GramError::Empty { k, rows: 1, d });
    }
    let need = k.saturating_mul(d);
    if vectors.len() != need {
        return Err(GramError::BufferSize {
            need,
            have: vectors.len(),
        });
    }
    check_finite(isa, vectors, 1, d, 0)
}

/// The second vector comes first: the base must be a member of the item, not the anchor. Two items that
/// are near each other and far from the anchor would lose their difference to an anchor as base.
#[inline(always)]
fn swap_base<R, const K: usize>(rows: &mut [R; K]) {
    if let [first, second, ..] = rows.as_mut_slice() {
        core::mem::swap(first, second);
    }
}

#[inline(always)]
fn rows_of<T, const K: usize, const D: usize>(vectors: &[[T; D]; K]) -> [&[T]; K] {
    let mut rows = vectors.each_ref().map(|row| row.as_slice());
    swap_base(&mut rows);
    rows
}

#[inline(always)]
fn split_rows<T, const K: usize>(vectors: &[T], d: usize) -> [&[T]; K] {
    let mut chunks = vectors.chunks_exact(d.max(1));
    let mut rows = core::array::from_fn(|_| chunks.next().unwrap_or(&[]));
    swap_base(&mut rows);
    rows
}

#[inline(always)]
fn fixed_volume<I: Isa, const K: usize>(isa: I, vectors: &[I::Scalar], d: usize) -> I::Scalar {
    volume_of_rows(isa, split_rows::<_, K>(vectors, d), d)
}

#[inline(always)]
fn fixed_gradient<I: Isa, const K: usize>(
    isa: I,
    vectors: &[I::Scalar],
    d: usize,
    gradient: &mut [I::Scalar],
) -> I::Scalar {
    let mut chunks = gradient.chunks_exact_mut(d.max(1));
    let mut targets: [&mut [I::Scalar]; K] =
        core::array::from_fn(|_| chunks.next().unwrap_or_default());
    swap_base(&mut targets);
    volume_gradient_of_rows(isa, split_rows::<_, K>(vectors, d), d, targets)
}

#[inline(always)]
fn volume_of_rows<I: Isa, const K: usize>(isa: I, rows: [&[I::Scalar]; K], d: usize) -> I::Scalar {
    match factor(isa, rows, d) {
        Some((_, factors)) => factors.volume(),
        None => I::Scalar::ZERO,
    }
}

#[inline(always)]
fn volume_gradient_of_rows<I: Isa, const K: usize>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
    mut gradient: [&mut [I::Scalar]; K],
) -> I::Scalar {
    let Some((frame, factors)) = factor(isa, rows, d) else {
        for row in gradient {
            row.fill(I::Scalar::ZERO);
        }
        return I::Scalar::ZERO;
    };
    let volume = factors.volume();
    let matrix = gradient_matrix(&frame, &factors, volume);
    let mut at = 0;
    while at < d {
        let z = frame.rows_at(isa, &rows, at);
        for (g, weights) in gradient.iter_mut().zip(&matrix) {
            let mut sum = isa.splat(I::Scalar::ZERO);
            for (w, z) in weights.iter().zip(&z) {
                sum = isa.splat(*w).mul_add(*z, sum);
            }
            isa.store(sum, g.get_mut(at..).unwrap_or_default());
        }
        at = at.saturating_add(I::WIDTH);
    }
    volume
}

/// Z·Zᵀ = L·diag(pivot)·Lᵀ, L unit lower triangular (its strict lower part is kept).
struct Factors<T, const K: usize> {
    lower: [[T; K]; K],
    pivot: [T; K],
}

impl<T: Real, const K: usize> Factors<T, K> {
    /// Π sqrt(π), not sqrt(Π π): the product of squares would leave the range first.
    #[inline(always)]
    fn volume(&self) -> T {
        let mut volume = T::ONE;
        for pivot in self.pivot {
            volume = volume * pivot.sqrt();
        }
        volume
    }
}

/// T, unit lower triangular, as the sum of two words.
struct Frame<T, const K: usize> {
    high: [[T; K]; K],
    low: [[T; K]; K],
    /// Still the differences to the base, which need no products.
    differences: bool,
}

impl<T: Real, const K: usize> Frame<T, K> {
    /// All rows minus the base.
    #[inline(always)]
    fn differences() -> Self {
        let mut high = [[T::ZERO; K]; K];
        for p in 0..K {
            high[p][0] = -T::ONE;
            high[p][p] = T::ONE;
        }
        Frame {
            high,
            low: [[T::ZERO; K]; K],
            differences: true,
        }
    }

    /// The rows z at `WIDTH` indices from `at` on.
    #[inline(always)]
    fn rows_at<I: Isa<Scalar = T>>(&self, isa: I, x: &[&[T]; K], at: usize) -> [I::Lanes; K] {
        let mut values = [isa.splat(T::ZERO); K];
        for (value, row) in values.iter_mut().zip(x) {
            *value = isa.load(row.get(at..).unwrap_or(&[]));
        }
        let mut z = values;
        if self.differences {
            for p in 1..K {
                z[p] = values[p] - values[0];
            }
            return z;
        }
        for p in 1..K {
            let (mut sum, mut error) = (values[p], isa.splat(T::ZERO));
            for q in 0..p {
                let (product, product_error) = isa.splat(self.high[p][q]).two_product(values[q]);
                let (next, sum_error) = sum.two_sum(product);
                sum = next;
                error = error + (product_error + sum_error);
                error = isa.splat(self.low[p][q]).mul_add(values[q], error);
            }
            z[p] = sum + error;
        }
        z
    }

    /// Indices whose products are summed before they join the compensated total.
    const BLOCK: usize = if K <= 3 { 32 } else { 16 };

    /// Z·Zᵀ, lower triangle. Long sums go in blocks, so that their rounding does not grow with D.
    #[inline(always)]
    fn gram<I: Isa<Scalar = T>>(&self, isa: I, x: &[&[T]; K], d: usize) -> [[T; K]; K] {
        let mut total = [[isa.splat(T::ZERO); K]; K];
        let mut error = total;
        let mut at = 0;
        while at < d {
            let end = at
                .saturating_add(Self::BLOCK.saturating_mul(I::WIDTH))
                .min(d);
            let mut sums = [[isa.splat(T::ZERO); K]; K];
            while at < end {
                let z = self.rows_at(isa, x, at);
                for p in 0..K {
                    for q in 0..=p {
                        sums[p][q] = z[p].mul_add(z[q], sums[p][q]);
                    }
                }
                at = at.saturating_add(I::WIDTH);
            }
            for p in 0..K {
                for q in 0..=p {
                    let (sum, rest) = total[p][q].two_sum(sums[p][q]);
                    total[p][q] = sum;
                    error[p][q] = error[p][q] + rest;
                }
            }
        }
        let mut gram = [[T::ZERO; K]; K];
        for p in 0..K {
            for q in 0..=p {
                gram[p][q] = (total[p][q] + error[p][q]).sum();
            }
        }
        gram
    }

    /// T ← L⁻¹·T.
    #[inline(always)]
    fn fold(&mut self, lower: &[[T; K]; K]) {
        for p in 1..K {
            for q in 0..p {
                let l = -lower[p][q];
                for c in 0..=q {
                    let (product, product_error) = l.two_product(self.high[q][c]);
                    let (high, sum_error) = self.high[p][c].two_sum(product);
                    let low = self.low[p][c] + l * self.low[q][c] + (product_error + sum_error);
                    (self.high[p][c], self.low[p][c]) = high.two_sum(low);
                }
            }
        }
        self.differences = false;
    }
}

/// L and the pivots of a symmetric matrix (lower triangle), and whether every pivot kept its digits.
/// The column of a pivot that did not is left out of L. `None` where a diagonal is 0
/// or too small for a normal number.
#[inline(always)]
fn pivots<T: Real, const K: usize>(gram: &[[T; K]; K]) -> Option<(Factors<T, K>, bool)> {
    let keep = T::constant(keep(K));
    let mut work = *gram;
    let mut lower = [[T::ZERO; K]; K];
    let mut pivot = [T::ZERO; K];
    let mut kept = true;
    for p in 0..K {
        let (now, diagonal) = (work[p][p], gram[p][p]);
        if diagonal < T::MIN_POSITIVE {
            return None;
        }
        pivot[p] = now;
        // A square that left the range stays infinite or NaN: a volume of 0 would be the best of matches.
        if now <= keep * diagonal && diagonal.is_finite() {
            kept = false;
            continue;
        }
        for r in p + 1..K {
            let l = work[r][p] / now;
            lower[r][p] = l;
            for c in p + 1..=r {
                let product = l * work[c][p];
                work[r][c] -= product;
            }
        }
    }
    Some((Factors { lower, pivot }, kept))
}

type Factored<T, const K: usize> = (Frame<T, K>, Factors<T, K>);

/// The rows z and their factors; `None` where the vectors are dependent.
#[inline(always)]
fn factor<I: Isa, const K: usize>(
    isa: I,
    rows: [&[I::Scalar]; K],
    d: usize,
) -> Option<Factored<I::Scalar, K>> {
    if K > d {
        return None;
    }
    let mut frame = Frame::differences();
    for _ in 0..sweeps(K) {
        let (factors, kept) = pivots(&frame.gram(isa, &rows, d))?;
        if kept {
            return Some((frame, factors));
        }
        frame.fold(&factors.lower);
    }
    None
}

/// V·Tᵀ·(Z·Zᵀ)⁻¹: the gradient is this matrix times Z = T·X.
#[inline(always)]
fn gradient_matrix<T: Real, const K: usize>(
    frame: &Frame<T, K>,
    factors: &Factors<T, K>,
    volume: T,
) -> [[T; K]; K] {
    let mut matrix = [[T::ZERO; K]; K];
    for (p, row) in (0..K).zip(matrix.iter_mut()) {
        // Solve (L·diag·Lᵀ) y = V · column p of T.
        let mut y = [T::ZERO; K];
        for q in 0..K {
            // V first: 1/π would leave the range where V/π does not.
            let mut sum = volume * frame.high[q][p];
            for r in 0..q {
                sum -= factors.lower[q][r] * y[r];
            }
            y[q] = sum;
        }
        for q in (0..K).rev() {
            let mut sum = y[q] / factors.pivot[q];
            for r in q + 1..K {
                sum -= factors.lower[r][q] * y[r];
            }
            y[q] = sum;
        }
        *row = y;
    }
    matrix
}
