//! Algorithms over rows: vectors of length D that an algorithm touches only as a whole.
//!
//! [`RowOps`] is what can be done with a row. On a CPU a row is a slice and every [`Isa`] implements it;
//! on a GPU a row is a strided view that the lanes of a warp share, and a reduction returns the same
//! value to all of them. So an algorithm over rows runs on both as it is written.
//!
//! The free functions are the CPU's, for code that has slices at hand. Rows of one call have one length;
//! where they do not, the result is unspecified, but nothing panics.

use crate::lanes::{Isa, Lanes, Real};

/// What algorithms may do with rows of one length.
pub trait RowOps: Copy {
    /// The number type.
    type Scalar: Real;
    /// A row to read.
    type Row<'a>: Copy;
    /// A row to write.
    type RowMut<'a>;

    /// The row behind a writable one.
    fn read<'a>(self, row: &'a Self::RowMut<'_>) -> Self::Row<'a>;
    /// Σ a·b.
    fn dot(self, a: Self::Row<'_>, b: Self::Row<'_>) -> Self::Scalar;
    /// y += α·x.
    fn axpy(self, alpha: Self::Scalar, x: Self::Row<'_>, y: &mut Self::RowMut<'_>);
    /// y = α·y.
    fn scale(self, alpha: Self::Scalar, y: &mut Self::RowMut<'_>);
    /// y = x − s·b, as if the product were exact ([`Lanes::sub_product`]).
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
        let s = self.splat(s);
        for ((x, b), y) in x
            .chunks(I::WIDTH)
            .zip(b.chunks(I::WIDTH))
            .zip(y.chunks_mut(I::WIDTH))
        {
            self.store(self.load(x).sub_product(s, self.load(b)), y);
        }
    }
}

/// Σ a·b.
#[inline(always)]
pub fn dot<I: Isa>(isa: I, a: &[I::Scalar], b: &[I::Scalar]) -> I::Scalar {
    // Two sums hide the latency of the additions.
    let mut sums = [isa.splat(I::Scalar::ZERO); 2];
    let (a_pairs, b_pairs) = (a.chunks_exact(2 * I::WIDTH), b.chunks_exact(2 * I::WIDTH));
    let (a_rest, b_rest) = (a_pairs.remainder(), b_pairs.remainder());
    for (x, y) in a_pairs.zip(b_pairs) {
        let ((x0, x1), (y0, y1)) = (x.split_at(I::WIDTH), y.split_at(I::WIDTH));
        sums[0] = isa.load(x0).mul_add(isa.load(y0), sums[0]);
        sums[1] = isa.load(x1).mul_add(isa.load(y1), sums[1]);
    }
    for (x, y) in a_rest.chunks(I::WIDTH).zip(b_rest.chunks(I::WIDTH)) {
        sums[0] = isa.load(x).mul_add(isa.load(y), sums[0]);
    }
    (sums[0] + sums[1]).sum()
}

/// y += α·x.
#[inline(always)]
pub fn axpy<I: Isa>(isa: I, alpha: I::Scalar, x: &[I::Scalar], y: &mut [I::Scalar]) {
    let alpha = isa.splat(alpha);
    for (x, y) in x.chunks(I::WIDTH).zip(y.chunks_mut(I::WIDTH)) {
        isa.store(alpha.mul_add(isa.load(x), isa.load(y)), y);
    }
}

/// y = α·y.
#[inline(always)]
pub fn scale<I: Isa>(isa: I, alpha: I::Scalar, y: &mut [I::Scalar]) {
    let alpha = isa.splat(alpha);
    for y in y.chunks_mut(I::WIDTH) {
        isa.store(alpha * isa.load(y), y);
    }
}
