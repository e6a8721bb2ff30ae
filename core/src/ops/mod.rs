//! Algorithms over rows: vectors of length D that an algorithm touches only as a whole.
//!
//! [`RowOps`] is what can be done with a row. On a CPU a row is a slice and every [`Isa`] implements it;
//! on a GPU a row is a strided view that the lanes of a warp share, and a reduction returns the same
//! value to all of them. So an algorithm over rows runs on both as it is written.
//!
//! The free functions are the CPU's, for code that has slices at hand. Rows of one call have one length;
//! where they do not, the result is unspecified, but nothing panics.

mod matrix;
mod sum;
pub(crate) mod tile;
mod walk;

pub use matrix::{matmul_nn, matmul_nt, matmul_tn};
pub(crate) use sum::Sum;
pub(crate) use walk::{Walk, part, split, take};

use crate::lanes::{Isa, Kernel, Lanes, Real};

/// What algorithms may do with rows of one length.
pub trait RowOps: Copy {
    /// The number type.
    type Scalar: Real;
    /// A row to read.
    type Row<'a>: Copy;
    /// A row to write.
    type RowMut<'a>;

    /// The row behind a writable one.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, ops::RowOps};
    ///
    /// let mut numbers = [1.0_f32, 2.0];
    /// let row = &mut numbers[..];
    /// assert_eq!(RowOps::read(One::<f32>::new(), &row), [1.0, 2.0]);
    /// ```
    fn read<'a>(self, row: &'a Self::RowMut<'_>) -> Self::Row<'a>;
    /// Σ a·b.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, ops::RowOps};
    ///
    /// assert_eq!(RowOps::dot(One::<f32>::new(), &[1.0, 2.0], &[3.0, 4.0]), 11.0);
    /// ```
    fn dot(self, a: Self::Row<'_>, b: Self::Row<'_>) -> Self::Scalar;
    /// y += α·x.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, ops::RowOps};
    ///
    /// let mut y = [1.0_f32, 2.0];
    /// RowOps::axpy(One::<f32>::new(), 10.0, &[1.0, -1.0], &mut &mut y[..]);
    /// assert_eq!(y, [11.0, -8.0]);
    /// ```
    fn axpy(self, alpha: Self::Scalar, x: Self::Row<'_>, y: &mut Self::RowMut<'_>);
    /// y = α·y.
    ///
    /// ```
    /// use rivergram_core::{lanes::One, ops::RowOps};
    ///
    /// let mut y = [1.0_f32, 2.0];
    /// RowOps::scale(One::<f32>::new(), 0.5, &mut &mut y[..]);
    /// assert_eq!(y, [0.5, 1.0]);
    /// ```
    fn scale(self, alpha: Self::Scalar, y: &mut Self::RowMut<'_>);
    /// y = x − s·b, as if the product were exact ([`Lanes::sub_product`]).
    ///
    /// ```
    /// use rivergram_core::{lanes::One, ops::RowOps};
    ///
    /// let mut y = [0.0_f32; 2];
    /// RowOps::sub_product(One::<f32>::new(), &[5.0, 1.0], 2.0, &[1.0, 3.0], &mut &mut y[..]);
    /// assert_eq!(y, [3.0, -5.0]);
    /// ```
    fn sub_product(
        self,
        x: Self::Row<'_>,
        s: Self::Scalar,
        b: Self::Row<'_>,
        y: &mut Self::RowMut<'_>,
    );
}

impl<I: Isa> RowOps for I {
    type Scalar = I::Scalar;
    type Row<'a> = &'a [I::Scalar];
    type RowMut<'a> = &'a mut [I::Scalar];

    #[inline(always)]
    fn read<'a>(self, row: &'a &mut [I::Scalar]) -> &'a [I::Scalar] {
        row
    }
    #[inline(always)]
    fn dot(self, a: &[I::Scalar], b: &[I::Scalar]) -> I::Scalar {
        dot(self, a, b)
    }
    #[inline(always)]
    fn axpy(self, alpha: I::Scalar, x: &[I::Scalar], y: &mut &mut [I::Scalar]) {
        axpy(self, alpha, x, y);
    }
    #[inline(always)]
    fn scale(self, alpha: I::Scalar, y: &mut &mut [I::Scalar]) {
        scale(self, alpha, y);
    }
    #[inline(always)]
    fn sub_product(self, x: &[I::Scalar], s: I::Scalar, b: &[I::Scalar], y: &mut &mut [I::Scalar]) {
        self.share(SubProduct { x, s, b, y });
    }
}

/// y = x − s·b.
struct SubProduct<'a, T> {
    x: &'a [T],
    s: T,
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> Kernel<T> for SubProduct<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let SubProduct { x, s, b, y } = self;
        let s = isa.splat(s);
        let ((x, x_tail), (b, b_tail)) = (isa.blocks(x), isa.blocks(b));
        let (y, y_tail) = isa.blocks_mut(y);
        for ((x, b), y) in x.iter().zip(b).zip(y) {
            let difference = isa.load(x.as_ref()).sub_product(s, isa.load(b.as_ref()));
            isa.store(difference, y.as_mut());
        }
        if !y_tail.is_empty() {
            let difference = isa.load(x_tail).sub_product(s, isa.load(b_tail));
            isa.store(difference, y_tail);
        }
    }
}

/// Terms that one lane adds up before the sum goes to a total: with D = 512 on one lane, a single sum
/// would round about eight times as much.
const BLOCK: usize = 64;

/// Σ a·b. Cost: 2·D operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// assert_eq!(ops::dot(One::<f32>::new(), &[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
#[inline(always)]
pub fn dot<I: Isa>(isa: I, a: &[I::Scalar], b: &[I::Scalar]) -> I::Scalar {
    isa.share(Dot(a, b))
}

struct Dot<'a, T>(&'a [T], &'a [T]);

impl<T: Real> Kernel<T> for Dot<'_, T> {
    type Output = T;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> T {
        let n = self.0.len().min(self.1.len());
        let (a, a_tail) = isa.blocks(split(self.0, n).0);
        let (b, b_tail) = isa.blocks(split(self.1, n).0);
        let mut total = isa.load(a_tail) * isa.load(b_tail);
        if a.len() <= BLOCK {
            return (dot_blocks(isa, a, b) + total).sum();
        }
        for (a, b) in a.pieces(BLOCK).zip(b.pieces(BLOCK)) {
            total = total + dot_blocks(isa, a, b);
        }
        total.sum()
    }
}

#[inline(always)]
fn dot_blocks<I: Isa>(isa: I, a: &[I::Block], b: &[I::Block]) -> I::Lanes {
    // Four sums hide the latency of the additions.
    let mut sums = [isa.splat(I::Scalar::ZERO); 4];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = isa.load(a.as_ref()).mul_add(isa.load(b.as_ref()), *sum);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = isa.load(a.as_ref()).mul_add(isa.load(b.as_ref()), *sum);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// y += α·x. Cost: 2·D operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// let mut y = [1.0_f32, 2.0];
/// ops::axpy(One::new(), 10.0, &[1.0, -1.0], &mut y);
/// assert_eq!(y, [11.0, -8.0]);
/// ```
#[inline(always)]
pub fn axpy<I: Isa>(isa: I, alpha: I::Scalar, x: &[I::Scalar], y: &mut [I::Scalar]) {
    isa.share(Axpy(alpha, x, y));
}

struct Axpy<'a, T>(T, &'a [T], &'a mut [T]);

impl<T: Real> Kernel<T> for Axpy<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Axpy(alpha, x, y) = self;
        let alpha = isa.splat(alpha);
        let ((x, x_tail), (y, y_tail)) = (isa.blocks(x), isa.blocks_mut(y));
        for (x, y) in x.iter().zip(y) {
            let sum = alpha.mul_add(isa.load(x.as_ref()), isa.load(y.as_ref()));
            isa.store(sum, y.as_mut());
        }
        if !y_tail.is_empty() {
            let sum = alpha.mul_add(isa.load(x_tail), isa.load(y_tail));
            isa.store(sum, y_tail);
        }
    }
}

/// y = α·y. Cost: D operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// let mut y = [1.0_f32, -2.0];
/// ops::scale(One::new(), 0.5, &mut y);
/// assert_eq!(y, [0.5, -1.0]);
/// ```
#[inline(always)]
pub fn scale<I: Isa>(isa: I, alpha: I::Scalar, y: &mut [I::Scalar]) {
    isa.share(Scale(alpha, y));
}

struct Scale<'a, T>(T, &'a mut [T]);

impl<T: Real> Kernel<T> for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let alpha = isa.splat(self.0);
        let (y, y_tail) = isa.blocks_mut(self.1);
        for y in y {
            isa.store(alpha * isa.load(y.as_ref()), y.as_mut());
        }
        if !y_tail.is_empty() {
            isa.store(alpha * isa.load(y_tail), y_tail);
        }
    }
}

/// Whether a vector counts as zero, given |x|²: where that is below the least normal number, hence |x| below
/// 1.1e-19 in `f32` and 1.5e-154 in `f64`. This is the one definition of a zero vector: of heads, losses,
/// searches and single tuples. Shorter vectors have a square without digits, so a length without digits.
/// False of NaN. Cost: O(1).
///
/// ```
/// use rivergram_core::ops::is_zero;
///
/// let square = |x: f32| x * x;
/// assert_eq!([0.0, 1e-19, 1.2e-19].map(|x| is_zero(square(x))), [true, true, false]);
/// ```
#[inline(always)]
pub fn is_zero<T: Real>(square: T) -> bool {
    square < T::MIN_POSITIVE
}

/// 1/|x|, given |x|²; 0 of a zero vector ([`is_zero`]). NaN where |x|² is NaN or infinite: 0 would turn a
/// vector that overflowed into a zero vector, which counts as absent. Cost: a square root and a division.
///
/// ```
/// use rivergram_core::ops::inverse_norm;
///
/// assert_eq!([inverse_norm(4.0_f32), inverse_norm(0.0)], [0.5, 0.0]);
/// assert!(inverse_norm(f32::INFINITY).is_nan());
/// ```
#[inline(always)]
pub fn inverse_norm<T: Real>(square: T) -> T {
    if is_zero(square) {
        T::ZERO
    } else {
        inverse_or_zero(square.sqrt())
    }
}

/// x̂ = x/|x|, given 1/|x|; the zero vector where that is 0. Cost: D operations.
///
/// ```
/// use rivergram_core::ops;
///
/// let mut unit = [0.0_f32; 2];
/// ops::normalise(&[3.0, 4.0], 0.2, &mut unit);
/// assert!((unit[0] - 0.6).abs() < 1e-6 && (unit[1] - 0.8).abs() < 1e-6);
/// ```
#[inline(always)]
pub fn normalise<T: Real>(x: &[T], inverse_norm: T, unit: &mut [T]) {
    for (unit, x) in unit.iter_mut().zip(x) {
        *unit = *x * inverse_norm;
    }
}

/// The gradient of a vector from that of its unit vector: g ← (g − x̂ (x̂·g)) · 1/|x|. Cost: 5·D operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// // x = (2, 0): only the part across x is left, and it shrinks by |x|.
/// let mut gradient = [5.0_f32, 3.0];
/// ops::normalisation_gradient(One::new(), &[1.0, 0.0], 0.5, &mut gradient);
/// assert_eq!(gradient, [0.0, 1.5]);
/// ```
#[inline(always)]
pub fn normalisation_gradient<I: Isa>(
    isa: I,
    unit: &[I::Scalar],
    inverse_norm: I::Scalar,
    gradient: &mut [I::Scalar],
) {
    through_normalisation(isa, unit, inverse_norm, &mut &mut *gradient);
}

/// [`normalisation_gradient`] of rows wherever they lie. Cost: that of it.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// let (isa, mut gradient) = (One::<f32>::new(), [5.0, 3.0]);
/// ops::through_normalisation(isa, &[1.0, 0.0], 0.5, &mut &mut gradient[..]);
/// assert_eq!(gradient, [0.0, 1.5]);
/// ```
#[inline(always)]
pub fn through_normalisation<O: RowOps>(
    ops: O,
    unit: O::Row<'_>,
    inverse_norm: O::Scalar,
    gradient: &mut O::RowMut<'_>,
) {
    let along = ops.dot(unit, ops.read(gradient));
    ops.axpy(-along, unit, gradient);
    ops.scale(inverse_norm, gradient);
}

/// 1/x of a length x, and 0 of none; NaN where x is NaN or infinite. Cost: a division.
///
/// ```
/// use rivergram_core::ops::inverse_or_zero;
///
/// assert_eq!([inverse_or_zero(4.0_f32), inverse_or_zero(0.0)], [0.25, 0.0]);
/// ```
#[inline(always)]
pub fn inverse_or_zero<T: Real>(x: T) -> T {
    if x <= T::ZERO {
        T::ZERO
    } else {
        T::ONE / x + T::ZERO * x
    }
}
