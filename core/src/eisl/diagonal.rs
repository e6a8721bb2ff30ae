//! Sums along diagonals: D_n\[j, i\] = Σ_{k<n} s\[j+k, i+k\] = D_{n−1}\[j, i\] + s\[j+n−1, i+n−1\].
//!
//! All matrices are row-major with `stride` numbers per output position. D_n is valid in its first
//! K = T−n+1 rows and M = U−n+1 columns. Each order costs O(T·U) on top of the one before, and no
//! convolution over the vocabulary is needed, with which arXiv 2106.15078 defines the same sums. Vectors run along i.

use crate::lanes::{Isa, Real};
use crate::ops::{Walk, axpy};

/// D_{n−1} becomes D_n, in place; n ≥ 1, and D_0 is all zeros.
///
/// `scores` and `sums` are T × `stride`, row-major. What lies beyond the first K rows and M columns of D_n is
/// left over from lower orders. Cost: T·U additions. Source: arXiv 2106.15078, the scores of n-grams; there a
/// convolution.
///
/// ```
/// use rivergram_core::eisl::diagonal::extend;
/// use rivergram_core::lanes::One;
///
/// let scores = [1.0f32, 2.0, 4.0, 8.0];
/// let mut sums = [0.0; 4];
/// extend(One::new(), &scores, 2, 1, &mut sums);
/// assert_eq!(sums, scores);
/// extend(One::new(), &scores, 2, 2, &mut sums);
/// assert_eq!(sums[0], 1.0 + 8.0);
/// ```
#[inline(always)]
pub fn extend<I: Isa>(
    isa: I,
    scores: &[I::Scalar],
    stride: usize,
    n: usize,
    sums: &mut [I::Scalar],
) {
    let offset = n.wrapping_sub(1);
    let width = stride.saturating_sub(offset);
    // Along the diagonal: each piece of the scores begins in the next row, `offset` columns to the right.
    let scores = scores.get(diagonal(stride, offset)..).unwrap_or(&[]);
    for (s, d) in scores.pieces(stride).zip(sums.pieces_mut(stride)) {
        if let (Some(s), Some(d)) = (s.get(..width), d.get_mut(..width)) {
            axpy(isa, I::Scalar::ONE, s, d);
        }
    }
}

/// Where (k, k) lies.
#[inline(always)]
fn diagonal(stride: usize, k: usize) -> usize {
    stride.saturating_add(1).saturating_mul(k)
}

/// The adjoint of the diagonal sum: G\[j+k, i+k\] += W\[j, i\] for k < n, j < K and i < M.
///
/// `weights` and `gradient` have `stride` numbers per row; the three sizes are (n, K, M). Cost: n·K·M additions.
/// Source: the transpose of [`extend`].
///
/// ```
/// use rivergram_core::eisl::diagonal::spread;
/// use rivergram_core::lanes::One;
///
/// let mut gradient = [0.0f32; 4];
/// spread(One::new(), &[3.0, 9.0, 9.0, 9.0], 2, (2, 1, 1), &mut gradient);
/// assert_eq!(gradient, [3.0, 0.0, 0.0, 3.0]);
/// ```
#[inline(always)]
pub fn spread<I: Isa>(
    isa: I,
    weights: &[I::Scalar],
    stride: usize,
    (n, rows, columns): (usize, usize, usize),
    gradient: &mut [I::Scalar],
) {
    for k in 0..n {
        let below = gradient.get_mut(diagonal(stride, k)..).unwrap_or_default();
        let lines = weights.pieces(stride).zip(below.pieces_mut(stride));
        for (_, (w, g)) in (0..rows).zip(lines) {
            if let (Some(w), Some(g)) = (w.get(..columns), g.get_mut(..columns)) {
                axpy(isa, I::Scalar::ONE, w, g);
            }
        }
    }
}
