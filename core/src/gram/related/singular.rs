//! The singular values of a tuple: of the matrix X \[k, d\] whose rows are its vectors.
//!
//! ```text
//! X = Σ_r σ_r·u_r·v_rᵀ          V = Π σ_r          d f(σ)/dX = Σ_r (df/dσ_r)·u_r·v_rᵀ
//! ```
//!
//! Vectors that agree have one large singular value and k − 1 small ones, whichever of them is the anchor. PMRL
//! (arXiv 2507.17343) makes a loss of that, [`rank_loss`].
//!
//! First the orthonormal basis of the item, X = Rᵀ·Q ([`crate::gram::basis`]); then Jacobi rotations of the
//! rows of R until they are orthogonal (one-sided Jacobi on the triangular factor: J. Demmel and K. Veselić,
//! SIAM J. Matrix Anal. Appl. 13, 1992), all on the stack. Precision in `f32`: 1e-6 of the largest singular
//! value, however the vectors lie (the worst seen is 4e-7). A small one has an error of ε times the condition
//! that is left once the lengths and a common centre of the vectors are taken out, since it comes from small
//! rows of R: vectors of any lengths, or in a cone of any width, keep 1e-6 of *each* value where they are
//! otherwise well apart; nearly coplanar vectors that are far apart do not. Dependent vectors, zero vectors and
//! k > d have zeros or values within the first bound, never NaN. What counts as a zero vector:
//! [`crate::ops::is_zero`].

use core::mem::swap;

use crate::error::GramError;
use crate::gram::basis::{self, Item, Rows};
use crate::gram::{inverse_temperature, matching, tuple};
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{self, Walk};

/// The most vectors.
pub const K_MAX: usize = tuple::K_WITHOUT_WORKSPACE;

/// Sweeps over all pairs of rows; five or six are enough for eight rows, and one that rotates nothing ends it.
const SWEEPS: usize = 16;

/// Floats of workspace for [`Singular::of`].
///
/// ```
/// use rivergram_core::gram::related::singular::workspace_len;
/// assert_eq!(workspace_len(2, 3), 3 * 3 + 3 * 2);
/// ```
pub const fn workspace_len(k: usize, d: usize) -> usize {
    basis::item_len(k, d)
}

/// The singular values of a tuple with their vectors; the workspace holds the basis for the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Singular<'a, T> {
    values: [T; K_MAX],
    /// u_r, over the vectors of the tuple.
    left: [[T; K_MAX]; K_MAX],
    /// v_r, over the rows of Q.
    right: [[T; K_MAX]; K_MAX],
    q: &'a [T],
    k: usize,
    d: usize,
}

impl<'a, T: Real> Singular<'a, T> {
    /// Of k vectors \[k, d\], row-major, k from 1 to [`K_MAX`]. Errors: sizes, k, the workspace, a vector that is
    /// not finite or too large to square. Cost: at least 2·k²·d multiply-adds, and some 20·k³ for the rest.
    ///
    /// ```
    /// use rivergram_core::gram::related::singular::{Singular, workspace_len};
    /// use rivergram_core::lanes::One;
    ///
    /// let x = [3.0_f32, 0.0, 0.0, /**/ 0.0, -4.0, 0.0];
    /// let mut workspace = [0.0; workspace_len(2, 3)];
    /// let singular = Singular::of(One::new(), &x, 2, 3, &mut workspace)?;
    /// assert_eq!(singular.values(), [4.0, 3.0]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    #[inline(always)]
    pub fn of<I: Isa<Scalar = T>>(
        isa: I,
        vectors: &[T],
        k: usize,
        d: usize,
        workspace: &'a mut [T],
    ) -> Result<Self, GramError> {
        isa.enter(Decompose {
            vectors,
            k,
            d,
            workspace,
        })
    }

    /// The k singular values, the largest first. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::related::singular::{Singular, workspace_len};
    /// use rivergram_core::lanes::One;
    ///
    /// let mut workspace = [0.0; workspace_len(3, 1)];
    /// let singular = Singular::of(One::new(), &[2.0_f64, 0.0, 0.0], 3, 1, &mut workspace)?;
    /// assert_eq!(singular.values(), [2.0, 0.0, 0.0]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    pub fn values(&self) -> &[T] {
        self.values.get(..self.k).unwrap_or(&[])
    }

    /// Σ_r c_r·u_r·v_rᵀ into `gradient` \[k, d\]: the gradient of a function of the singular values of which
    /// `weights` c \[k\] is the derivative. A singular value of 0 contributes nothing, a valid subgradient; of
    /// equal ones with different weights the result is that of one of the choices of their vectors. Errors:
    /// sizes. Cost: k²·d multiply-adds.
    ///
    /// ```
    /// use rivergram_core::gram::related::singular::{Singular, workspace_len};
    /// use rivergram_core::lanes::One;
    ///
    /// let (isa, mut workspace) = (One::new(), [0.0; workspace_len(2, 2)]);
    /// let singular = Singular::of(isa, &[3.0_f64, 0.0, /**/ 0.0, -4.0], 2, 2, &mut workspace)?;
    /// let mut gradient = [0.0; 4];
    /// singular.gradient(isa, &[1.0, 0.0], &mut gradient)?;
    /// assert_eq!(gradient, [0.0, 0.0, /**/ 0.0, -1.0]);
    /// # Ok::<(), rivergram_core::error::GramError>(())
    /// ```
    #[inline(always)]
    pub fn gradient<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        weights: &[T],
        gradient: &mut [T],
    ) -> Result<(), GramError> {
        let (k, d) = (self.k, self.d);
        for (need, have) in [(k, weights.len()), (k.saturating_mul(d), gradient.len())] {
            if need != have {
                return Err(GramError::BufferSize { need, have });
            }
        }
        // [k, k] over the rows of Q.
        let mut matrix = [T::ZERO; K_MAX * K_MAX];
        for (p, row) in (0..k).zip(matrix.rows_mut(k)) {
            for ((c, u), v) in weights.iter().zip(&self.left).zip(&self.right) {
                let factor = *c * u.get(p).copied().unwrap_or_default();
                for (entry, v) in row.iter_mut().zip(v) {
                    *entry += factor * *v;
                }
            }
        }
        let (matrix, _) = ops::split(&matrix, k.saturating_mul(k));
        gradient.fill(T::ZERO);
        ops::matmul_nn(isa, k, d, matrix, self.q, gradient);
        Ok(())
    }
}

struct Decompose<'v, 'a, T> {
    vectors: &'v [T],
    k: usize,
    d: usize,
    workspace: &'a mut [T],
}

impl<'a, T: Real> Kernel<T> for Decompose<'_, 'a, T> {
    type Output = Result<Singular<'a, T>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let Decompose {
            vectors,
            k,
            d,
            workspace,
        } = self;
        if k > K_MAX {
            return Err(GramError::Vectors { k, most: K_MAX });
        }
        tuple::check_vectors(isa, vectors, k, d)?;
        let (need, have) = (workspace_len(k, d), workspace.len());
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        let mut item = Item::split(workspace, k, d);
        // The square of a shorter vector has lost its digits.
        let present = vectors.rows(d).map(|x| !ops::is_zero(ops::dot(isa, x, x)));
        basis::orthonormalise(
            isa,
            Rows::contiguous(vectors, d),
            present.clone(),
            &mut item,
        );
        let mut rows = [[T::ZERO; K_MAX]; K_MAX];
        for (to, from) in rows.iter_mut().zip(item.r.rows(k)) {
            for ((to, from), present) in to.iter_mut().zip(from).zip(present.clone()) {
                *to = if present { *from } else { T::ZERO };
            }
        }
        let scale = normalise(&mut rows);
        let mut right = [[T::ZERO; K_MAX]; K_MAX];
        for r in 0..K_MAX {
            right[r][r] = T::ONE;
        }
        orthogonalise(k, &mut rows, &mut right);
        let mut values = [T::ZERO; K_MAX];
        for (value, row) in values.iter_mut().zip(&mut rows) {
            let length = dot(row, row).sqrt();
            *value = length * scale;
            ops::scale(isa, ops::inverse_or_zero(length), row);
        }
        sort(k, &mut values, &mut rows, &mut right);
        Ok(Singular {
            values,
            left: rows,
            right,
            q: item.q,
            k,
            d,
        })
    }
}

/// Divides all by the power of two below the largest entry, so that squares stay in range; returns it.
#[inline(always)]
fn normalise<T: Real>(rows: &mut [[T; K_MAX]; K_MAX]) -> T {
    let largest = rows
        .iter()
        .flatten()
        .fold(T::ZERO, |largest, x| Lanes::max(largest, Lanes::abs(*x)));
    if largest < T::MIN_POSITIVE {
        return T::ONE;
    }
    let (exponent, _) = Lanes::split(largest);
    let inverse = (-exponent).pow2();
    for x in rows.iter_mut().flatten() {
        *x = *x * inverse;
    }
    exponent.pow2()
}

/// Rotates pairs of the first k rows until all are orthogonal, and `right` with them.
#[inline(always)]
fn orthogonalise<T: Real>(
    k: usize,
    rows: &mut [[T; K_MAX]; K_MAX],
    right: &mut [[T; K_MAX]; K_MAX],
) {
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for q in 1..k {
            for p in 0..q {
                let Some((a, b)) = pair(rows, p, q) else {
                    return;
                };
                let Some(angle) = rotation(a, b) else {
                    continue;
                };
                rotate(a, b, angle);
                if let Some((a, b)) = pair(right, p, q) {
                    rotate(a, b, angle);
                }
                rotated = true;
            }
        }
        if !rotated {
            return;
        }
    }
}

/// Entries p < q; `None` where they are not there.
#[inline(always)]
fn pair<R>(rows: &mut [R; K_MAX], p: usize, q: usize) -> Option<(&mut R, &mut R)> {
    let (head, tail) = rows.split_at_mut_checked(q)?;
    Some((head.get_mut(p)?, tail.first_mut()?))
}

/// (tan ½φ, sin φ) of the rotation that makes a and b orthogonal; `None` where they are.
#[inline(always)]
fn rotation<T: Real>(a: &[T; K_MAX], b: &[T; K_MAX]) -> Option<(T, T)> {
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    // The product of roots: that of squares would leave the range first.
    let limit = T::constant(2.0) * T::EPSILON * (aa.sqrt() * bb.sqrt());
    if Lanes::abs(ab) <= limit {
        return None;
    }
    let cotangent = (bb - aa) / (ab + ab);
    let length = Lanes::abs(cotangent) + (T::ONE + cotangent * cotangent).sqrt();
    let tangent = if cotangent < T::ZERO {
        -(T::ONE / length)
    } else {
        T::ONE / length
    };
    let cosine = T::ONE / (T::ONE + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    Some((sine / (T::ONE + cosine), sine))
}

/// a ← a − s·(b + t·a), b ← b + s·(a − t·b): for a small angle only what changes is rounded.
#[inline(always)]
fn rotate<T: Real>(a: &mut [T; K_MAX], b: &mut [T; K_MAX], (t, s): (T, T)) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (*a - s * (*b + t * *a), *b + s * (*a - t * *b));
    }
}

#[inline(always)]
fn dot<T: Real>(a: &[T; K_MAX], b: &[T; K_MAX]) -> T {
    let mut sum = T::ZERO;
    for (a, b) in a.iter().zip(b) {
        sum += *a * *b;
    }
    sum
}

/// The first k by their values, the largest first; of equals the first first.
#[inline(always)]
fn sort<T: Real>(
    k: usize,
    values: &mut [T; K_MAX],
    left: &mut [[T; K_MAX]; K_MAX],
    right: &mut [[T; K_MAX]; K_MAX],
) {
    for end in 1..k {
        for r in (1..=end).rev() {
            let before = r.saturating_sub(1);
            match pair(values, before, r) {
                Some((a, b)) if *a < *b => swap(a, b),
                _ => continue,
            }
            for vectors in [&mut *left, &mut *right] {
                if let Some((a, b)) = pair(vectors, before, r) {
                    swap(a, b);
                }
            }
        }
    }
}

/// The loss that makes the first singular value stand out:
///
/// ```text
/// L = −ln(exp(σ_1/τ) / Σ_r exp(σ_r/τ))          dL/dσ_r = (p_r − [r = 1])/τ
/// ```
///
/// (PMRL, arXiv 2507.17343: cross-entropy of S/τ with class 0), and its derivative into `gradient` \[k\], the
/// weights of [`Singular::gradient`]. Of a batch take the mean. Errors: sizes, τ, a value that is not finite.
/// Cost: 2·k exponentials.
///
/// ```
/// use rivergram_core::gram::related::singular::rank_loss;
///
/// let mut gradient = [0.0_f64; 2];
/// let loss = rank_loss(&[1.0, 1.0], 0.5, &mut gradient)?;
/// assert!((loss - 2.0_f64.ln()).abs() < 1e-15);
/// assert_eq!(gradient, [-1.0, 1.0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn rank_loss<T: Real>(
    values: &[T],
    temperature: T,
    gradient: &mut [T],
) -> Result<T, GramError> {
    let k = values.len();
    if k == 0 || k > K_MAX {
        return Err(GramError::Vectors { k, most: K_MAX });
    }
    let (need, have) = (k, gradient.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    let scale = inverse_temperature(temperature)?;
    let mut logits = [T::ZERO; K_MAX];
    for ((column, logit), value) in (0..k).zip(&mut logits).zip(values) {
        *logit = *value * scale;
        if !logit.is_finite() {
            return Err(GramError::Score { row: 0, column });
        }
    }
    let (logits, _) = ops::split(&logits, k);
    Ok(matching::cross_entropy(logits, 0, scale, gradient))
}
