//! Volumes and nearest items of vectors in eight bits, for cores without a floating-point unit.
//!
//! ```text
//! x_p = s_p · n_p          n_p integers in −128..=127          V(x_1, …, x_k) = Π s_p · sqrt(det N·Nᵀ)
//! ```
//!
//! The scales leave the determinant, and what remains is a determinant of integers: the Gram matrix is exact in
//! 32 bits, and so is its determinant in k words of 32 bits. Only its square root and the scales are `f32`. So the
//! volume is that of the vectors x, to a few roundings: the relative error is at most (k + 2)·6e-8, however near to
//! dependent they are, and a volume is 0 only where they are. No pivots and no second passes are needed.
//!
//! What [`quantise`] loses is far more. It moves each number by at most s/2, a vector by |e| ≤ s·√d/2, and if its
//! numbers are spread evenly over the steps by about s·√(d/12). A volume is linear in each distance, so
//!
//! ```text
//! |ΔV| ≤ Σ_p |e_p| · Π_{q ≠ p} (|x_q| + |e_q|)
//! ```
//!
//! For normally distributed numbers, d = 64, a unit vector moves by 0.006, and its volumes by that times √k: what is
//! below 0.01 is noise. So a search in eight bits may confuse the nearest few: where that matters, look for a few
//! more ([`nearest_i8`]) and score those again in `f32`.
//!
//! Source: the volume of arXiv 2412.11959, eq. 4.

mod determinant;
mod search;

pub use search::{Gallery, Item, nearest_i8};

use self::determinant::root_of_determinant;
use crate::error::GramError;
use crate::gram::tuple::K_WITHOUT_WORKSPACE;
use crate::lanes::Lanes;
use crate::ops::Walk;

/// The largest number of dimensions: 131072 products of −128 by −128 would be 2³¹.
pub const MOST_DIMENSIONS: usize = 131_071;

/// What a row in eight bits is counted in: n = x/s to the nearest integer, of two the even one, with s = max|x|/127.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Step {
    /// s; 0 where it would be below the smallest normal number.
    pub scale: f32,
    /// 1/s; 0 where s is 0.
    pub inverse: f32,
}

impl Step {
    /// s = 1.
    pub const ONE: Self = Step {
        scale: 1.0,
        inverse: 1.0,
    };

    /// That of a row whose largest magnitude is `most`. Cost: two quotients.
    ///
    /// ```
    /// use rivergram_core::gram::int8::Step;
    ///
    /// assert_eq!(Step::of(2.54).scale, 0.02);
    /// ```
    #[inline(always)]
    pub fn of(most: f32) -> Self {
        let scale = most / 127.0;
        if scale < f32::MIN_POSITIVE {
            return Step {
                scale: 0.0,
                inverse: 0.0,
            };
        }
        Step {
            scale,
            inverse: 127.0 / most,
        }
    }

    /// n of a number of the row. Cost: a multiplication and a rounding.
    ///
    /// ```
    /// use rivergram_core::gram::int8::Step;
    ///
    /// assert_eq!(Step::of(2.54).round(-2.54), -127);
    /// ```
    #[inline(always)]
    pub fn round(self, x: f32) -> i8 {
        Lanes::round(x * self.inverse) as i8
    }
}

/// A row of `f32` in eight bits: n = x/s to the nearest integer, of two the even one, into `quantised`; returns the
/// scale s = max|x|/127. A row of zeros has scale 0, and so has one whose scale would be below the smallest normal
/// number. Symmetric: −128 does not occur. |x − s·n| ≤ (0.5 + 3e-5)·s. Cost: two passes, a multiplication per
/// number. Errors: lengths that differ; a number that is not finite, with its index as the row.
///
/// ```
/// use rivergram_core::gram::int8::quantise;
///
/// let mut n = [0; 3];
/// let scale = quantise(&[0.5, -2.54, 0.0], &mut n)?;
/// assert_eq!((scale, n), (0.02, [25, -127, 0]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn quantise(x: &[f32], quantised: &mut [i8]) -> Result<f32, GramError> {
    let (need, have) = (x.len(), quantised.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    let mut most = 0.0_f32;
    for (row, x) in (0..need).zip(x) {
        if !x.is_finite() {
            return Err(GramError::NotFinite { modality: 0, row });
        }
        most = Lanes::max(most, x.abs());
    }
    let step = Step::of(most);
    for (n, x) in quantised.iter_mut().zip(x) {
        *n = step.round(*x);
    }
    Ok(step.scale)
}

/// The Gram matrix N_pq = n_p·n_q of K vectors of D integers, exactly. D is at most [`MOST_DIMENSIONS`], or it does not
/// compile. Cost: K·(K + 1)/2 · D multiply-adds.
///
/// ```
/// let gram = rivergram_core::gram::int8::gram_matrix_i8(&[[1, 2], [-128, 0]]);
/// assert_eq!(gram, [[5, -128], [-128, 16384]]);
/// ```
#[inline(never)]
pub fn gram_matrix_i8<const K: usize, const D: usize>(vectors: &[[i8; D]; K]) -> [[i32; K]; K] {
    const {
        assert!(
            D <= MOST_DIMENSIONS,
            "a sum of products needs more than 32 bits"
        )
    };
    gram_of_rows(vectors.each_ref().map(|row| row.as_slice()))
}

/// The volume of K vectors s_p·n_p of D integers each. K is at most 8 and D at most [`MOST_DIMENSIONS`], or it does not
/// compile. K > D gives 0. A scale that is not finite gives NaN or an infinite volume. Relative error: at most
/// (K + 2)·6e-8. Cost: K·(K + 1)/2 · D multiply-adds, K·(K − 1)·2^(K − 2) products of two words for the determinant,
/// and in `f32` one square root and K multiplications; stack: 4·K·2^K bytes. Source: arXiv 2412.11959, eq. 4.
///
/// ```
/// let v = rivergram_core::gram::int8::volume_i8(&[[3, 0, 0], [5, 4, 0]], &[1.0, 0.5]);
/// assert_eq!(v, 6.0);
/// ```
#[inline(never)]
pub fn volume_i8<const K: usize, const D: usize>(vectors: &[[i8; D]; K], scales: &[f32; K]) -> f32 {
    const {
        assert!(
            D <= MOST_DIMENSIONS,
            "a sum of products needs more than 32 bits"
        );
        assert!(
            K <= K_WITHOUT_WORKSPACE,
            "the determinant of more vectors has no code"
        );
    }
    volume_of_rows(vectors.each_ref().map(|row| row.as_slice()), scales)
}

/// [`volume_i8`] over a slice of k rows of d integers, row-major, with as many scales. Errors: sizes, k above 8, d
/// above [`MOST_DIMENSIONS`], a scale that is negative or not finite. Cost: that of [`volume_i8`], for the k that are
/// given; the code of all of them is linked.
///
/// ```
/// use rivergram_core::gram::int8::volume_i8_on;
///
/// assert_eq!(volume_i8_on(&[3, 0, /**/ 5, 4], &[1.0, 0.5], 2)?, 6.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(never)]
pub fn volume_i8_on(vectors: &[i8], scales: &[f32], d: usize) -> Result<f32, GramError> {
    let k = scales.len();
    check_vectors(vectors, scales, k, d)?;
    Ok(match k {
        1 => fixed_volume::<1>(vectors, scales, d),
        2 => fixed_volume::<2>(vectors, scales, d),
        3 => fixed_volume::<3>(vectors, scales, d),
        4 => fixed_volume::<4>(vectors, scales, d),
        5 => fixed_volume::<5>(vectors, scales, d),
        6 => fixed_volume::<6>(vectors, scales, d),
        7 => fixed_volume::<7>(vectors, scales, d),
        _ => fixed_volume::<8>(vectors, scales, d),
    })
}

fn check_vectors(vectors: &[i8], scales: &[f32], k: usize, d: usize) -> Result<(), GramError> {
    if k == 0 || d == 0 {
        return Err(GramError::Empty { k, rows: 1, d });
    }
    if k > K_WITHOUT_WORKSPACE {
        let most = K_WITHOUT_WORKSPACE;
        return Err(GramError::Vectors { k, most });
    }
    check_dimensions(d)?;
    let (need, have) = (k.saturating_mul(d), vectors.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    for (modality, scale) in (0..k).zip(scales) {
        if !is_scale(*scale) {
            return Err(GramError::Scale { modality, row: 0 });
        }
    }
    Ok(())
}

fn check_dimensions(d: usize) -> Result<(), GramError> {
    let most = MOST_DIMENSIONS;
    if d > most {
        return Err(GramError::Dimensions { d, most });
    }
    Ok(())
}

#[inline(always)]
fn is_scale(scale: f32) -> bool {
    scale.is_finite() && scale >= 0.0
}

// A function each, so that three vectors do not take the stack of eight.
#[inline(never)]
fn fixed_volume<const K: usize>(vectors: &[i8], scales: &[f32], d: usize) -> f32 {
    let mut rows = vectors.rows(d);
    volume_of_rows::<K>(core::array::from_fn(|_| rows.next().unwrap_or(&[])), scales)
}

#[inline(always)]
fn volume_of_rows<const K: usize>(rows: [&[i8]; K], scales: &[f32]) -> f32 {
    let volume = root_of_determinant(&gram_of_rows(rows));
    scales.iter().fold(volume, |volume, scale| volume * scale)
}

#[inline(always)]
fn gram_of_rows<const K: usize>(rows: [&[i8]; K]) -> [[i32; K]; K] {
    let mut gram = [[0; K]; K];
    for p in 0..K {
        for q in 0..=p {
            let product = dot(rows[p], rows[q]);
            gram[p][q] = product;
            gram[q][p] = product;
        }
    }
    gram
}

/// a·b, exactly for up to [`MOST_DIMENSIONS`] numbers.
#[inline(always)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0_i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b)));
    }
    sum
}
