//! Sums along diagonals: D_n\[j, i\] = Σ_{k<n} s\[j+k, i+k\] = D_{n−1}\[j, i\] + s\[j+n−1, i+n−1\].
//!
//! All matrices are row-major with `stride` numbers per output position. D_n is valid in its first
//! K = T−n+1 rows and M = U−n+1 columns. Each order costs O(T·U) on top of the one before, and no
//! convolution over the vocabulary is needed. Vectors run along i.

use crate::lanes::{Isa, Real};
use crate::ops::axpy;

/// D_{n−1} becomes D_n, in place; n ≥ 1, and D_0 is all zeros.
#[inline(always)]
pub fn extend<I: Isa>(
    isa: I,
    scores: &[I::Scalar],
    stride: usize,
    n: usize,
    sums: &mut [I::Scalar],
) {
    let stride = stride.max(1);
    let offset = n.wrapping_sub(1);
    for (s, d) in scores
        .chunks(stride)
        .skip(offset)
        .zip(sums.chunks_mut(stride))
    {
        let s = s.get(offset..).unwrap_or(&[]);
        if let Some(d) = d.get_mut(..s.len()) {
            axpy(isa, I::Scalar::ONE, s, d);
        }
    }
}

/// The adjoint of the diagonal sum: G\[j+k, i+k\] += W\[j, i\] for k < n, j < K and i < M.
#[inline(always)]
pub fn spread<I: Isa>(
    isa: I,
    weights: &[I::Scalar],
    stride: usize,
    (n, rows, columns): (usize, usize, usize),
    gradient: &mut [I::Scalar],
) {
    let stride = stride.max(1);
    for k in 0..n {
        let below = gradient.chunks_mut(stride).skip(k);
        for (w, g) in weights.chunks(stride).take(rows).zip(below) {
            let g = g.get_mut(k..k.wrapping_add(columns));
            if let (Some(w), Some(g)) = (w.get(..columns), g) {
                axpy(isa, I::Scalar::ONE, w, g);
            }
        }
    }
}
