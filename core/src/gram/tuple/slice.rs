//! One tuple as a slice of k rows, on any instruction set: the checks at the edge, and from the number of
//! vectors to the code of that size.

use core::iter::repeat;

use super::K_WITHOUT_WORKSPACE;
use super::factor::{swap_base, volume_gradient_of_rows, volume_of_rows, zero_volume};
use crate::error::GramError;
use crate::gram::basis::{self, Item, Rows};
use crate::gram::pair::check_finite;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{self, Walk};

/// Floats of workspace that [`volume_on`] and [`volume_gradient_on`] need for k vectors of length d:
/// none for k up to [`K_WITHOUT_WORKSPACE`].
///
/// ```
/// use rivergram_core::gram::tuple::workspace_len;
/// assert_eq!(workspace_len(8, 512), 0);
/// assert_eq!(workspace_len(9, 512), 10 * (512 + 9));
/// ```
pub const fn workspace_len(k: usize, d: usize) -> usize {
    if k <= K_WITHOUT_WORKSPACE || k > d {
        0
    } else {
        basis::item_len(k, d)
    }
}

/// [`volume`](super::volume) over a slice of k rows of length d, row-major, on any instruction set. A vector that is not
/// finite, or too long, is an error with its row. Cost: that of [`volume`](super::volume), and k·d multiply-adds for the
/// check; from 9 vectors on at least 4·k²·d. Source: arXiv 2412.11959, eq. 4.
///
/// ```
/// use rivergram_core::gram::tuple::volume_on;
/// use rivergram_core::lanes::One;
///
/// let v = volume_on(One::<f32>::new(), &[3.0, 0.0, /**/ 5.0, 4.0], 2, 2, &mut [])?;
/// assert_eq!(v, 12.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn volume_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(VolumeKernel::<_, false> {
        vectors,
        k,
        d,
        workspace,
    })
}

struct VolumeKernel<'a, T, const LOG: bool> {
    vectors: &'a [T],
    k: usize,
    d: usize,
    workspace: &'a mut [T],
}

impl<T: Real, const LOG: bool> Kernel<T> for VolumeKernel<'_, T, LOG> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check(isa, self.vectors, self.k, self.d, self.workspace.len())?;
        Ok(slice_volume::<I, LOG>(
            isa,
            self.vectors,
            self.k,
            self.d,
            self.workspace,
        ))
    }
}

#[inline(always)]
pub(in crate::gram) fn slice_volume<I: Isa, const LOG: bool>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> I::Scalar {
    if k > d {
        return zero_volume::<_, LOG>();
    }
    match k {
        1 => fixed_volume::<I, 1, LOG>(isa, vectors, d),
        2 => fixed_volume::<I, 2, LOG>(isa, vectors, d),
        3 => fixed_volume::<I, 3, LOG>(isa, vectors, d),
        4 => fixed_volume::<I, 4, LOG>(isa, vectors, d),
        5 => fixed_volume::<I, 5, LOG>(isa, vectors, d),
        6 => fixed_volume::<I, 6, LOG>(isa, vectors, d),
        7 => fixed_volume::<I, 7, LOG>(isa, vectors, d),
        8 => fixed_volume::<I, 8, LOG>(isa, vectors, d),
        _ => {
            let mut item = Item::split(workspace, k, d);
            let volume =
                basis::orthonormalise(isa, Rows::contiguous(vectors, d), repeat(true), &mut item);
            if LOG { log_of_basis(item.r, k) } else { volume }
        }
    }
}

/// [`volume_gradient`](super::volume_gradient) over slices: `vectors` and `gradient` are k rows of length d, row-major. Errors as
/// [`volume_on`]. Cost: that of [`volume_on`] and one more pass of k²·d multiply-adds.
///
/// ```
/// use rivergram_core::gram::tuple::volume_gradient_on;
/// use rivergram_core::lanes::One;
///
/// let (isa, mut g) = (One::<f64>::new(), [0.0; 4]);
/// let v = volume_gradient_on(isa, &[1.0, 0.0, /**/ 0.0, 2.0], 2, 2, &mut g, &mut [])?;
/// assert_eq!((v, g), (2.0, [2.0, 0.0, /**/ 0.0, 1.0]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn volume_gradient_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(GradientKernel::<_, false> {
        vectors,
        k,
        d,
        gradient,
        workspace,
    })
}

struct GradientKernel<'a, T, const LOG: bool> {
    vectors: &'a [T],
    k: usize,
    d: usize,
    gradient: &'a mut [T],
    workspace: &'a mut [T],
}

impl<T: Real, const LOG: bool> Kernel<T> for GradientKernel<'_, T, LOG> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check(isa, self.vectors, self.k, self.d, self.workspace.len())?;
        let (need, have) = (self.vectors.len(), self.gradient.len());
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        Ok(slice_gradient::<I, LOG>(
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
pub(in crate::gram) fn slice_gradient<I: Isa, const LOG: bool>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> I::Scalar {
    if k > d {
        gradient.fill(I::Scalar::ZERO);
        return zero_volume::<_, LOG>();
    }
    match k {
        1 => fixed_gradient::<I, 1, LOG>(isa, vectors, d, gradient),
        2 => fixed_gradient::<I, 2, LOG>(isa, vectors, d, gradient),
        3 => fixed_gradient::<I, 3, LOG>(isa, vectors, d, gradient),
        4 => fixed_gradient::<I, 4, LOG>(isa, vectors, d, gradient),
        5 => fixed_gradient::<I, 5, LOG>(isa, vectors, d, gradient),
        6 => fixed_gradient::<I, 6, LOG>(isa, vectors, d, gradient),
        7 => fixed_gradient::<I, 7, LOG>(isa, vectors, d, gradient),
        8 => fixed_gradient::<I, 8, LOG>(isa, vectors, d, gradient),
        _ => {
            let mut item = Item::split(workspace, k, d);
            let volume =
                basis::orthonormalise(isa, Rows::contiguous(vectors, d), repeat(true), &mut item);
            // V·R⁻¹·Q; V comes last, since V·Q would leave the range first.
            for (g, q) in gradient.iter_mut().zip(item.q.iter()) {
                *g = *q;
            }
            basis::solve(isa, item.r, k, d, gradient);
            if !LOG {
                ops::scale(isa, volume, gradient);
                return volume;
            }
            let log = log_of_basis(item.r, k);
            if !log.is_finite() {
                gradient.fill(I::Scalar::ZERO);
            }
            log
        }
    }
}

/// The Gram matrix G_pq = x_p·x_q of vectors \[k, d\] into `gram` \[k, k\], row-major. Errors: sizes, a vector
/// that is not finite or too long. Cost: k²·d multiply-adds.
///
/// ```
/// use rivergram_core::gram::tuple::gram_matrix_on;
/// use rivergram_core::lanes::One;
///
/// let mut gram = [0.0; 4];
/// gram_matrix_on(One::<f64>::new(), &[1.0, 2.0, /**/ 3.0, 0.0], 2, 2, &mut gram)?;
/// assert_eq!(gram, [5.0, 3.0, /**/ 3.0, 9.0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
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
    for (x, row) in vectors.rows(d).zip(gram.rows_mut(k)) {
        for (y, g) in vectors.rows(d).zip(row) {
            *g = ops::dot(isa, x, y);
        }
    }
    Ok(())
}

/// The determinant of the Gram matrix, as the square of the volume: never negative, and as accurate as
/// the volume. In `f32` it under- or overflows long before the volume does. Errors and cost: those of
/// [`volume_on`].
///
/// ```
/// use rivergram_core::gram::tuple::determinant_on;
/// use rivergram_core::lanes::One;
///
/// let det = determinant_on(One::<f32>::new(), &[3.0, 0.0, /**/ 5.0, 4.0], 2, 2, &mut [])?;
/// assert_eq!(det, 144.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
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

/// ln V, also of a volume that leaves the range; −∞ where the vectors are dependent. Errors and cost: those of [`volume_on`].
///
/// ```
/// use rivergram_core::gram::tuple::log_volume_on;
/// use rivergram_core::lanes::One;
///
/// let ln = log_volume_on(One::<f64>::new(), &[1.0, 0.0, /**/ 2.0, 1.0], 2, 2, &mut [])?;
/// assert_eq!(ln, 0.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn log_volume_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(VolumeKernel::<_, true> {
        vectors,
        k,
        d,
        workspace,
    })
}

/// [`log_volume_gradient`](super::log_volume_gradient) over slices: ln V, and its gradient (dV/dx)/V in `gradient` \[k, d\], 0 where V is
/// 0. Errors and cost: those of [`volume_gradient_on`].
///
/// ```
/// use rivergram_core::gram::tuple::log_volume_gradient_on;
/// use rivergram_core::lanes::One;
///
/// let mut gradient = [0.0_f64; 4];
/// let x = [1.0, 0.0, /**/ 0.0, 4.0];
/// let ln = log_volume_gradient_on(One::new(), &x, 2, 2, &mut gradient, &mut [])?;
/// assert_eq!((ln, gradient), (4.0_f64.ln(), [1.0, 0.0, /**/ 0.0, 0.25]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn log_volume_gradient_on<I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    k: usize,
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(GradientKernel::<_, true> {
        vectors,
        k,
        d,
        gradient,
        workspace,
    })
}

/// Σ ln R_pp, of k rows of k.
fn log_of_basis<T: Real>(r: &[T], k: usize) -> T {
    let diagonal = r.iter().step_by(k.saturating_add(1));
    diagonal.fold(T::ZERO, |sum, length| sum + length.ln())
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
pub(in crate::gram) fn check_vectors<I: Isa>(
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
    check_finite(isa, vectors, None, 1, d, 0)
}

#[inline(always)]
fn split_rows<T, const K: usize>(vectors: &[T], d: usize) -> [&[T]; K] {
    let mut chunks = vectors.rows(d);
    let mut rows = core::array::from_fn(|_| chunks.next().unwrap_or(&[]));
    swap_base(&mut rows);
    rows
}

#[inline(always)]
fn fixed_volume<I: Isa, const K: usize, const LOG: bool>(
    isa: I,
    vectors: &[I::Scalar],
    d: usize,
) -> I::Scalar {
    volume_of_rows::<I, K, true, LOG>(isa, split_rows::<_, K>(vectors, d), d)
}

#[inline(always)]
fn fixed_gradient<I: Isa, const K: usize, const LOG: bool>(
    isa: I,
    vectors: &[I::Scalar],
    d: usize,
    gradient: &mut [I::Scalar],
) -> I::Scalar {
    let mut chunks = gradient.rows_mut(d);
    let mut targets: [&mut [I::Scalar]; K] =
        core::array::from_fn(|_| chunks.next().unwrap_or_default());
    swap_base(&mut targets);
    volume_gradient_of_rows::<I, K, true, LOG>(isa, split_rows::<_, K>(vectors, d), d, targets)
}
