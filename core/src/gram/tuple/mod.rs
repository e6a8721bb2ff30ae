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
//! T need not be exact, since any unit triangular T spans the same volume, but Z must be exactly T times X. Where T takes
//! nothing but multiples of the base, of up to three vectors one pass with multiples of half the bits comes first:
//! x − s·b_high − s·b_low, whose products are exact.
//! A pivot that still collapses, or a row of Z no longer than the rounding of its sum, belongs to a dependent vector:
//! the volume is 0. Relative error in `f32`: below 1e-6 however the vectors lie, to a volume of about 1e-7 of the
//! product of norms. [`super::compact`] keeps T in one word: fewer bytes and instructions, and condition × ε for
//! vectors that are dependent but far apart. From 9 vectors on the orthonormal basis of [`crate::gram::basis`] is used: below 1e-6 in a
//! cone, condition × ε for vectors that are nearly dependent but far apart.
//!
//! A vector shorter than ε² of the base, which is the second one (1e-14 of it in `f32`), is below the rounding of its
//! own difference to it, and counts as dependent.
//!
//! Squares must stay in range: in `f32` vectors shorter than 1e-19 count as 0. Longer than 9e18 they are an
//! error of the slice functions; those of fixed size give an infinite volume or NaN, never 0.

mod factor;
mod slice;

pub use factor::sweeps;
pub(super) use factor::{rows_of, swap_base, volume_gradient_of_rows, volume_of_rows};
pub(super) use slice::{check_vectors, slice_gradient, slice_volume};
pub use slice::{
    determinant_on, gram_matrix_on, log_volume_gradient_on, log_volume_on, volume_gradient_on,
    volume_on, workspace_len,
};

use crate::lanes::One;
use crate::ops;

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
    volume_of_rows::<_, K, true, false>(One::<f32>::new(), rows_of(vectors), D)
}

/// The volume, and its gradient dV/dx in `gradient`. Where the volume is 0 the gradient is 0, which is
/// a valid subgradient. Its rows have norm at most Π|x_q| over the other vectors: it never explodes. A volume that
/// leaves the range is infinite, and its gradient NaN; [`log_volume_gradient`] has no such end.
/// Cost: that of [`volume`] and one more sweep.
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
    volume_gradient_of_rows::<_, K, true, false>(One::<f32>::new(), rows_of(vectors), D, targets)
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

/// ln V = ½ Σ ln π, with the cost of [`volume`] and K logarithms; −∞ where the vectors are dependent. It is exact where
/// the volume itself leaves the range.
///
/// ```
/// let ln = rivergram_core::gram::tuple::log_volume(&[[1.0, 0.0], [2.0, 1.0]]);
/// assert_eq!(ln, 0.0);
/// ```
#[inline(never)]
pub fn log_volume<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> f32 {
    volume_of_rows::<_, K, true, true>(One::<f32>::new(), rows_of(vectors), D)
}

/// ln V of [`log_volume`], and its gradient d ln V/dx = (dV/dx)/V in `gradient`: its rows have length
/// 1/(distance of x to the span of the others), so it grows without bound towards dependent vectors, where
/// ln V is −∞ and the gradient 0. Cost: that of [`volume_gradient`] and K logarithms.
///
/// ```
/// let mut g = [[0.0; 2]; 2];
/// let ln = rivergram_core::gram::tuple::log_volume_gradient(&[[1.0, 0.0], [0.0, 4.0]], &mut g);
/// assert!((ln - 4_f32.ln()).abs() < 1e-6);
/// assert_eq!(g, [[1.0, 0.0], [0.0, 0.25]]);
/// ```
#[inline(never)]
pub fn log_volume_gradient<const K: usize, const D: usize>(
    vectors: &[[f32; D]; K],
    gradient: &mut [[f32; D]; K],
) -> f32 {
    let mut targets = gradient.each_mut().map(|row| row.as_mut_slice());
    swap_base(&mut targets);
    volume_gradient_of_rows::<_, K, true, true>(One::<f32>::new(), rows_of(vectors), D, targets)
}
