//! Volumes of one tuple for who counts bytes: the algorithm of [`mod@super::tuple`] with plain numbers.
//!
//! The first pass is the same, and so is every volume whose pivots keep their digits there: the same numbers. Where a
//! pivot does not, the rows are computed again as
//!
//! ```text
//! z_p = (x_p − b) + t_p0·b + Σ_q t_pq·(x_q − b)
//! ```
//!
//! with T in one word and every product and sum rounded once. Relative error in `f32`:
//!
//! ```text
//! 1e-6 + κ·ε          κ = |b|·Π|x_p − b| / V
//! ```
//!
//! so 1e-6 for vectors of one length that are near each other, however near, and for all that are far from dependent. For
//! vectors that are nearly dependent but far apart it is more,
//! about 1e-4 for vectors of one length that are coplanar to 1e-3, where those of [`mod@super::tuple`] keep 1e-6.
//! Vectors in a cone that differ in length are far apart in this sense. A row z no longer than the rounding of its sum,
//! 4·ε of its terms, belongs to a dependent vector: the volume is 0. So V errs by at most 8·ε·|b|·Π|x_p − b|, and a
//! vector shorter than about 4·ε of the base, which is the second one, counts as dependent.
//!
//! On a Cortex-M4F three vectors of 64 numbers take 1.0 KB of flash, at opt-level s 0.7 KB, and less than 64 bytes of
//! stack. Squares must stay in range as for [`mod@super::tuple`].

use super::tuple::{rows_of, swap_base, volume_gradient_of_rows, volume_of_rows};
use crate::lanes::One;

/// The volume of K vectors of length D. K > D gives 0. Cost: about K²/2 · D multiply-adds, one pass; two passes for
/// vectors whose differences are nearly dependent, at most [`sweeps`](super::tuple::sweeps). Source: arXiv 2412.11959,
/// eq. 4.
///
/// ```
/// let v = rivergram_core::gram::compact::volume(&[[3.0, 0.0, 0.0], [5.0, 4.0, 0.0]]);
/// assert_eq!(v, 12.0);
/// ```
#[inline(never)]
pub fn volume<const K: usize, const D: usize>(vectors: &[[f32; D]; K]) -> f32 {
    volume_of_rows::<_, K, false, false>(One::<f32>::new(), rows_of(vectors), D)
}

/// The volume, and its gradient dV/dx in `gradient`, 0 where the volume is 0. Error, relative to its norm: 1e-5, and
/// 2·κ·ε where that is more. Cost: that of [`volume`] and one more pass.
///
/// ```
/// let mut g = [[0.0; 2]; 2];
/// let v = rivergram_core::gram::compact::volume_gradient(&[[1.0, 0.0], [0.0, 2.0]], &mut g);
/// assert_eq!((v, g), (2.0, [[2.0, 0.0], [0.0, 1.0]]));
/// ```
#[inline(never)]
pub fn volume_gradient<const K: usize, const D: usize>(
    vectors: &[[f32; D]; K],
    gradient: &mut [[f32; D]; K],
) -> f32 {
    let mut targets = gradient.each_mut().map(|row| row.as_mut_slice());
    swap_base(&mut targets);
    volume_gradient_of_rows::<_, K, false, false>(One::<f32>::new(), rows_of(vectors), D, targets)
}
