//! One tuple of K vectors of any length, where K is known when compiling: of the code for 1 to 8 vectors that the
//! functions over slices of [`mod@super::tuple`] bring, only that of K is linked.

use super::tuple::{K_WITHOUT_WORKSPACE, check_vectors, slice_gradient, slice_volume};
use crate::error::GramError;
use crate::lanes::{Isa, Kernel, Real};

/// [`tuple::volume_on`](super::tuple::volume_on) of K vectors: the same value, errors and cost. K is 1 to
/// [`K_WITHOUT_WORKSPACE`]; another one does not compile. Source: arXiv 2412.11959, eq. 4.
///
/// ```
/// use rivergram_core::gram::fixed::volume_on;
/// use rivergram_core::lanes::One;
///
/// let v = volume_on::<2, _>(One::<f32>::new(), &[3.0, 0.0, /**/ 5.0, 4.0], 2)?;
/// assert_eq!(v, 12.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn volume_on<const K: usize, I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    d: usize,
) -> Result<I::Scalar, GramError> {
    const { assert!(K != 0 && K <= K_WITHOUT_WORKSPACE) };
    isa.enter(VolumeKernel::<_, K> { vectors, d })
}

/// [`tuple::volume_gradient_on`](super::tuple::volume_gradient_on) of K vectors: the same value, gradient, errors and
/// cost. K is as for [`volume_on`].
///
/// ```
/// use rivergram_core::gram::fixed::volume_gradient_on;
/// use rivergram_core::lanes::One;
///
/// let (isa, mut g) = (One::<f64>::new(), [0.0; 4]);
/// let v = volume_gradient_on::<2, _>(isa, &[1.0, 0.0, /**/ 0.0, 2.0], 2, &mut g)?;
/// assert_eq!((v, g), (2.0, [2.0, 0.0, /**/ 0.0, 1.0]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn volume_gradient_on<const K: usize, I: Isa>(
    isa: I,
    vectors: &[I::Scalar],
    d: usize,
    gradient: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    const { assert!(K != 0 && K <= K_WITHOUT_WORKSPACE) };
    isa.enter(GradientKernel::<_, K> {
        vectors,
        d,
        gradient,
    })
}

struct VolumeKernel<'a, T, const K: usize> {
    vectors: &'a [T],
    d: usize,
}

impl<T: Real, const K: usize> Kernel<T> for VolumeKernel<'_, T, K> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check_vectors(isa, self.vectors, K, self.d)?;
        Ok(slice_volume::<I, false>(
            isa,
            self.vectors,
            K,
            self.d,
            &mut [],
        ))
    }
}

struct GradientKernel<'a, T, const K: usize> {
    vectors: &'a [T],
    d: usize,
    gradient: &'a mut [T],
}

impl<T: Real, const K: usize> Kernel<T> for GradientKernel<'_, T, K> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        check_vectors(isa, self.vectors, K, self.d)?;
        let (need, have) = (self.vectors.len(), self.gradient.len());
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        Ok(slice_gradient::<I, false>(
            isa,
            self.vectors,
            K,
            self.d,
            self.gradient,
            &mut [],
        ))
    }
}
