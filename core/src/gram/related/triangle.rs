//! The area of the triangle with corners a, b, c.
//!
//! ```text
//! A = ½·V(u, v) = ½·sqrt(|u|²|v|² − (u·v)²)          u = a − b,  v = a − c
//! ```
//! (TRIANGLE, arXiv 2509.24734.) V is the volume of two vectors, so the area has its accuracy: relative 1e-6 in
//! `f32` for the rounded u and v. Rounding them costs up to condition × ε where the corners are far apart and
//! nearly on one line; differences of near corners are exact. Three vectors are taken as rows a, b, c; the
//! order of b and c does not matter.

use crate::error::GramError;
use crate::gram::tuple;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{self, Walk, take};

/// The area of a triangle of fixed size. Cost: 4·D additions and multiply-adds.
///
/// ```
/// use rivergram_core::gram::related::triangle::area;
/// assert_eq!(area(&[[1.0, 1.0], [4.0, 1.0], [1.0, 5.0]]), 6.0);
/// ```
#[inline(never)]
pub fn area<const D: usize>(corners: &[[f32; D]; 3]) -> f32 {
    0.5 * tuple::volume(&sides(corners))
}

/// The area, and its gradient with respect to the corners; 0 where the area is 0. Cost: about twice that of
/// [`area`].
///
/// ```
/// use rivergram_core::gram::related::triangle::area_gradient;
///
/// let mut gradient = [[0.0; 2]; 3];
/// let area = area_gradient(&[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], &mut gradient);
/// assert_eq!((area, gradient), (6.0, [[-2.0, -1.5], [2.0, 0.0], [0.0, 1.5]]));
/// ```
#[inline(never)]
pub fn area_gradient<const D: usize>(corners: &[[f32; D]; 3], gradient: &mut [[f32; D]; 3]) -> f32 {
    let [of_a, of_b, of_c] = gradient;
    let mut of_sides = [[0.0; D]; 2];
    let volume = tuple::volume_gradient(&sides(corners), &mut of_sides);
    *of_b = of_sides[0];
    *of_c = of_sides[1];
    to_corners(f32::one_lane(), of_a, of_b, of_c);
    0.5 * volume
}

fn sides<const D: usize>([a, b, c]: &[[f32; D]; 3]) -> [[f32; D]; 2] {
    let mut sides = [[0.0; D]; 2];
    for (side, corner) in sides.iter_mut().zip([b, c]) {
        subtract(a, corner, side);
    }
    sides
}

/// side = a − corner.
#[inline(always)]
fn subtract<T: Real>(a: &[T], corner: &[T], side: &mut [T]) {
    for ((side, a), corner) in side.iter_mut().zip(a).zip(corner) {
        *side = *a - *corner;
    }
}

/// dV/du in `of_b` and dV/dv in `of_c` to dA/da, dA/db and dA/dc.
#[inline(always)]
fn to_corners<I: Isa>(
    isa: I,
    of_a: &mut [I::Scalar],
    of_b: &mut [I::Scalar],
    of_c: &mut [I::Scalar],
) {
    let half = I::Scalar::constant(0.5);
    ops::scale(isa, -half, of_b);
    ops::scale(isa, -half, of_c);
    of_a.fill(I::Scalar::ZERO);
    ops::axpy(isa, -I::Scalar::ONE, of_b, of_a);
    ops::axpy(isa, -I::Scalar::ONE, of_c, of_a);
}

/// The score that the TRIANGLE code computes, without the root: (|u|²|v|² − (u·v)²)/2 = 2·A². It ranks as the
/// area does, and keeps the area's digits, which the products of squares would lose. Its gradient is 4·A
/// times the area's. Cost: an addition and a multiplication.
///
/// ```
/// use rivergram_core::gram::related::triangle::score_without_root;
/// assert_eq!(score_without_root(3.0_f32), 18.0);
/// ```
pub fn score_without_root<T: Real>(area: T) -> T {
    (area + area) * area
}

/// Floats of workspace for [`area_on`] and [`area_gradient_on`].
///
/// ```
/// use rivergram_core::gram::related::triangle::workspace_len;
/// assert_eq!(workspace_len(512), 1024);
/// ```
pub const fn workspace_len(d: usize) -> usize {
    d.saturating_mul(2)
}

/// [`area`] over a slice of corners \[3, d\], row-major, on any instruction set. Errors: sizes, the workspace, a
/// corner that is not finite or too large to square, with its row as `modality`. Cost: 7·d operations.
///
/// ```
/// use rivergram_core::gram::related::triangle::{area_on, workspace_len};
/// use rivergram_core::lanes::One;
///
/// let corners = [1.0_f64, 1.0, /**/ 4.0, 1.0, /**/ 1.0, 5.0];
/// let area = area_on(One::new(), &corners, 2, &mut [0.0; workspace_len(2)])?;
/// assert_eq!(area, 6.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn area_on<I: Isa>(
    isa: I,
    corners: &[I::Scalar],
    d: usize,
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(Area {
        corners,
        d,
        gradient: None,
        workspace,
    })
}

/// [`area_gradient`] over slices: `corners` and `gradient` are \[3, d\]. Errors as [`area_on`]. Cost: about
/// twice that of [`area_on`].
///
/// ```
/// use rivergram_core::gram::related::triangle::{area_gradient_on, workspace_len};
/// use rivergram_core::lanes::One;
///
/// let corners = [0.0_f64, 0.0, /**/ 3.0, 0.0, /**/ 0.0, 4.0];
/// let (mut gradient, mut workspace) = ([0.0; 6], [0.0; workspace_len(2)]);
/// let area = area_gradient_on(One::new(), &corners, 2, &mut gradient, &mut workspace)?;
/// assert_eq!((area, gradient), (6.0, [-2.0, -1.5, /**/ 2.0, 0.0, /**/ 0.0, 1.5]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn area_gradient_on<I: Isa>(
    isa: I,
    corners: &[I::Scalar],
    d: usize,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<I::Scalar, GramError> {
    isa.enter(Area {
        corners,
        d,
        gradient: Some(gradient),
        workspace,
    })
}

struct Area<'a, T> {
    corners: &'a [T],
    d: usize,
    gradient: Option<&'a mut [T]>,
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for Area<'_, T> {
    type Output = Result<T, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let d = self.d;
        tuple::check_vectors(isa, self.corners, 3, d)?;
        let (need, have) = (workspace_len(d), self.workspace.len());
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        let (sides, _) = take(self.workspace, need);
        let (a, others) = ops::split(self.corners, d);
        for (side, corner) in sides.rows_mut(d).zip(others.rows(d)) {
            subtract(a, corner, side);
        }
        let half = T::constant(0.5);
        let Some(gradient) = self.gradient else {
            return Ok(half * tuple::slice_volume::<I, false>(isa, sides, 2, d, &mut []));
        };
        let (need, have) = (self.corners.len(), gradient.len());
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        let (of_a, of_sides) = take(gradient, d);
        let volume = tuple::slice_gradient::<I, false>(isa, sides, 2, d, of_sides, &mut []);
        let (of_b, of_c) = take(of_sides, d);
        to_corners(isa, of_a, of_b, of_c);
        Ok(half * volume)
    }
}
