//! Products of small dense matrices, row-major: what a head needs forward and backward.
//!
//! With X \[n, k\] the inputs of a batch, W \[m, k\] the weights and Y \[n, m\] the outputs:
//!
//! | product | | for a head |
//! |---|---|---|
//! | [`matmul_nt`] | C\[n, m\] += A·Bᵀ | forward: Y = X·Wᵀ |
//! | [`matmul_nn`] | C\[n, k\] += A·B | gradient of the inputs: dX = dY·W |
//! | [`matmul_tn`] | C\[m, k\] += Aᵀ·B | gradient of the weights: dW = dYᵀ·X |
//!
//! All take (m, k) and find n from the slices; any size may be 0. Where a slice is too short or too
//! long for whole rows, which numbers of C grow is unspecified.
//!
//! Cost: 2·n·m·k operations. The work is done in tiles of two rows by four, so that six loads serve
//! eight products; single rows left over go through [`dot`] and [`axpy`].

use super::{Walk, axpy, dot, take};
use crate::lanes::{Isa, Kernel, Lanes, Real};

/// Rows of B that stay in a near cache while all of A passes. A microcontroller has none, or all fits in it.
const NEARBY: usize = if cfg!(target_os = "none") {
    usize::MAX
} else {
    32
};

/// What a product reads, and the C that it adds to.
struct Operands<'a, T> {
    m: usize,
    k: usize,
    a: &'a [T],
    b: &'a [T],
    c: &'a mut [T],
}

/// C\[n, m\] += A\[n, k\] · B\[m, k\]ᵀ. Cost: 2·n·m·k operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// let (a, b) = ([1.0_f32, 2.0, 3.0], [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
/// let mut c = [0.0; 2];
/// ops::matmul_nt(One::<f32>::new(), 2, 3, &a, &b, &mut c);
/// assert_eq!(c, [1.0, 5.0]);
/// ```
#[inline(always)]
pub fn matmul_nt<I: Isa>(
    isa: I,
    m: usize,
    k: usize,
    a: &[I::Scalar],
    b: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    isa.enter(Nt(Operands { m, k, a, b, c }));
}

struct Nt<'a, T>(Operands<'a, T>);

impl<T: Real> Kernel<T> for Nt<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Operands { m, k, a, b, c } = self.0;
        if m == 0 || k == 0 {
            return;
        }
        let blocks = b.pieces(k.saturating_mul(NEARBY));
        for (first, b) in (0..usize::MAX).step_by(NEARBY).zip(blocks) {
            let mut a_pairs = a.rows(k.saturating_mul(2));
            let mut c_pairs = c.rows_mut(m.saturating_mul(2));
            for (a, c) in a_pairs.by_ref().zip(c_pairs.by_ref()) {
                if let Some((c0, c1)) = c.split_at_mut_checked(m) {
                    let c = [c0, c1].map(|c| columns(c, first));
                    two_rows(isa, k, rows(a, k), b, c);
                }
            }
            if !a_pairs.rest.is_empty() {
                for (b, c) in b.rows(k).zip(columns(c_pairs.rest, first)) {
                    *c += dot(isa, a_pairs.rest, b);
                }
            }
        }
    }
}

/// The columns of a row of C that some rows of B give.
#[inline(always)]
fn columns<T>(row: &mut [T], first: usize) -> &mut [T] {
    let (_, row) = take(row, first);
    let count = NEARBY.min(row.len());
    take(row, count).0
}

/// Two rows of C from two rows of A and some of B.
#[inline(always)]
fn two_rows<I: Isa>(
    isa: I,
    k: usize,
    a: [&[I::Scalar]; 2],
    b: &[I::Scalar],
    [c0, c1]: [&mut [I::Scalar]; 2],
) {
    let (mut b, four) = (b, k.saturating_mul(4));
    for (c0, c1) in c0.chunks_mut(4).zip(c1.chunks_mut(4)) {
        let (block, rest) = b.split_at_checked(four).unwrap_or((b, &[]));
        let sums = dots_2x4(isa, a, padded_rows(block, k));
        for ((c0, c1), sums) in c0.iter_mut().zip(c1).zip(sums) {
            *c0 += sums[0].sum();
            *c1 += sums[1].sum();
        }
        b = rest;
    }
}

/// Up to four rows, the first in place of those that are not there: a number of C has the same bits wherever its row
/// of B stands.
#[inline(always)]
fn padded_rows<T>(block: &[T], length: usize) -> [&[T]; 4] {
    let mut rows = block.rows(length);
    let first = rows.next().unwrap_or(&[]);
    let mut row = || rows.next().unwrap_or(first);
    [first, row(), row(), row()]
}

/// Blocks that one turn of an inner loop takes. A microcontroller without indexed loads of floats advances six
/// pointers by instructions of their own in each turn.
const UNROLL: usize = if cfg!(target_os = "none") { 4 } else { 1 };

/// The products of two rows with four, summed by lane: eight sums hide the latency of the additions,
/// and six loads serve eight products.
#[inline(always)]
fn dots_2x4<I: Isa>(isa: I, a: [&[I::Scalar]; 2], b: [&[I::Scalar]; 4]) -> [[I::Lanes; 2]; 4] {
    let [(a0, a0_tail), (a1, a1_tail)] = a.map(|row| isa.blocks(row));
    let [(b0, b0_tail), (b1, b1_tail), (b2, b2_tail), (b3, b3_tail)] = b.map(|row| isa.blocks(row));
    let [(a0, a0_rest), (a1, a1_rest)] = [a0, a1].map(|row| row.as_chunks::<UNROLL>());
    let [(b0, b0_rest), (b1, b1_rest), (b2, b2_rest), (b3, b3_rest)] =
        [b0, b1, b2, b3].map(|row| row.as_chunks::<UNROLL>());
    let mut sums = [[isa.splat(I::Scalar::ZERO); 2]; 4];
    let a = a0.iter().zip(a1);
    for (((((a0, a1), b0), b1), b2), b3) in a.zip(b0).zip(b1).zip(b2).zip(b3) {
        add_products(isa, [a0, a1], [b0, b1, b2, b3], &mut sums);
    }
    let b_rest = [b0_rest, b1_rest, b2_rest, b3_rest];
    add_products(isa, [a0_rest, a1_rest], b_rest, &mut sums);
    if !a0_tail.is_empty() {
        let b_tails = [b0_tail, b1_tail, b2_tail, b3_tail];
        add_loaded(isa, [a0_tail, a1_tail], b_tails, &mut sums);
    }
    sums
}

#[inline(always)]
fn add_products<I: Isa>(
    isa: I,
    [a0, a1]: [&[I::Block]; 2],
    [b0, b1, b2, b3]: [&[I::Block]; 4],
    sums: &mut [[I::Lanes; 2]; 4],
) {
    let a = a0.iter().zip(a1);
    for (((((a0, a1), b0), b1), b2), b3) in a.zip(b0).zip(b1).zip(b2).zip(b3) {
        let b = [b0.as_ref(), b1.as_ref(), b2.as_ref(), b3.as_ref()];
        add_loaded(isa, [a0.as_ref(), a1.as_ref()], b, sums);
    }
}

/// Adds the products of as many numbers as there are lanes, or of fewer.
#[inline(always)]
fn add_loaded<I: Isa>(
    isa: I,
    a: [&[I::Scalar]; 2],
    b: [&[I::Scalar]; 4],
    sums: &mut [[I::Lanes; 2]; 4],
) {
    let a = [isa.load(a[0]), isa.load(a[1])];
    for (b, sums) in b.into_iter().zip(sums) {
        let b = isa.load(b);
        sums[0] = a[0].mul_add(b, sums[0]);
        sums[1] = a[1].mul_add(b, sums[1]);
    }
}

/// C\[n, k\] += A\[n, m\] · B\[m, k\]. Cost: 2·n·m·k operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// let (a, b) = ([1.0_f32, 2.0], [1.0, 0.0, 3.0, 0.0, 1.0, 4.0]);
/// let mut c = [10.0; 3];
/// ops::matmul_nn(One::<f32>::new(), 2, 3, &a, &b, &mut c);
/// assert_eq!(c, [11.0, 12.0, 21.0]);
/// ```
#[inline(always)]
pub fn matmul_nn<I: Isa>(
    isa: I,
    m: usize,
    k: usize,
    a: &[I::Scalar],
    b: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    isa.enter(Nn(Operands { m, k, a, b, c }));
}

struct Nn<'a, T>(Operands<'a, T>);

impl<T: Real> Kernel<T> for Nn<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Operands { m, k, a, b, c } = self.0;
        if m == 0 || k == 0 {
            return;
        }
        let mut a_pairs = a.rows(m.saturating_mul(2));
        let mut c_pairs = c.rows_mut(k.saturating_mul(2));
        for (a, c) in a_pairs.by_ref().zip(c_pairs.by_ref()) {
            let ([a0, a1], Some((c0, c1))) = (rows(a, m), c.split_at_mut_checked(k)) else {
                return;
            };
            let ((a0, a0_rest), (a1, a1_rest)) = (a0.as_chunks(), a1.as_chunks());
            let mut blocks = b.rows(k.saturating_mul(4));
            for ((a0, a1), b) in a0.iter().zip(a1).zip(blocks.by_ref()) {
                axpy_2x4(isa, [*a0, *a1], rows(b, k), [c0, c1]);
            }
            for ((a0, a1), b) in a0_rest.iter().zip(a1_rest).zip(blocks.rest.rows(k)) {
                axpy(isa, *a0, b, c0);
                axpy(isa, *a1, b, c1);
            }
        }
        for (a, b) in a_pairs.rest.iter().zip(b.rows(k)) {
            axpy(isa, *a, b, c_pairs.rest);
        }
    }
}

/// C\[m, k\] += A\[n, m\]ᵀ · B\[n, k\]. Cost: 2·n·m·k operations.
///
/// ```
/// use rivergram_core::{lanes::One, ops};
///
/// // Two rows of one number, and two rows of two.
/// let (a, b) = ([1.0_f32, 2.0], [1.0, 2.0, 3.0, 4.0]);
/// let mut c = [0.0; 2];
/// ops::matmul_tn(One::<f32>::new(), 1, 2, &a, &b, &mut c);
/// assert_eq!(c, [7.0, 10.0]);
/// ```
#[inline(always)]
pub fn matmul_tn<I: Isa>(
    isa: I,
    m: usize,
    k: usize,
    a: &[I::Scalar],
    b: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    isa.enter(Tn(Operands { m, k, a, b, c }));
}

struct Tn<'a, T>(Operands<'a, T>);

impl<T: Real> Kernel<T> for Tn<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Operands { m, k, a, b, c } = self.0;
        if m == 0 || k == 0 {
            return;
        }
        let mut a_fours = a.rows(m.saturating_mul(4));
        let mut b_fours = b.rows(k.saturating_mul(4));
        for (a, b) in a_fours.by_ref().zip(b_fours.by_ref()) {
            rank_four(isa, k, rows(a, m), rows(b, k), c);
        }
        for (a, b) in a_fours.rest.rows(m).zip(b_fours.rest.rows(k)) {
            for (a, c) in a.iter().zip(c.rows_mut(k)) {
                axpy(isa, *a, b, c);
            }
        }
    }
}

/// C\[m, k\] += Aᵀ·B for four rows of A and of B.
#[inline(always)]
fn rank_four<I: Isa>(
    isa: I,
    k: usize,
    a: [&[I::Scalar]; 4],
    b: [&[I::Scalar]; 4],
    c: &mut [I::Scalar],
) {
    let [(a0, last0), (a1, last1), (a2, last2), (a3, last3)] = a.map(|row| row.as_chunks());
    let mut c = c.rows_mut(k.saturating_mul(2));
    for ((((a0, a1), a2), a3), c) in a0.iter().zip(a1).zip(a2).zip(a3).zip(c.by_ref()) {
        let Some((c0, c1)) = c.split_at_mut_checked(k) else {
            return;
        };
        let ([a00, a01], [a10, a11], [a20, a21], [a30, a31]) = (*a0, *a1, *a2, *a3);
        let alpha = [[a00, a10, a20, a30], [a01, a11, a21, a31]];
        axpy_2x4(isa, alpha, b, [c0, c1]);
    }
    for (a, b) in [last0, last1, last2, last3].into_iter().zip(b) {
        for a in a {
            axpy(isa, *a, b, c.rest);
        }
    }
}

/// yᵣ += Σₜ αᵣₜ·xₜ for two rows y and four rows x: six loads and two stores serve eight products.
#[inline(always)]
fn axpy_2x4<I: Isa>(
    isa: I,
    alpha: [[I::Scalar; 4]; 2],
    x: [&[I::Scalar]; 4],
    y: [&mut [I::Scalar]; 2],
) {
    isa.share(Axpy2x4 { alpha, x, y });
}

struct Axpy2x4<'a, T> {
    alpha: [[T; 4]; 2],
    x: [&'a [T]; 4],
    y: [&'a mut [T]; 2],
}

impl<T: Real> Kernel<T> for Axpy2x4<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let alpha = [splat4(isa, self.alpha[0]), splat4(isa, self.alpha[1])];
        let [(x0, x0_tail), (x1, x1_tail), (x2, x2_tail), (x3, x3_tail)] =
            self.x.map(|row| isa.blocks(row));
        let [(y0, y0_tail), (y1, y1_tail)] = self.y.map(|row| isa.blocks_mut(row));
        let [(x0, x0_rest), (x1, x1_rest), (x2, x2_rest), (x3, x3_rest)] =
            [x0, x1, x2, x3].map(|row| row.as_chunks::<UNROLL>());
        let [(y0, y0_rest), (y1, y1_rest)] = [y0, y1].map(|row| row.as_chunks_mut::<UNROLL>());
        let x = x0.iter().zip(x1).zip(x2).zip(x3);
        for (((((x0, x1), x2), x3), y0), y1) in x.zip(y0).zip(y1) {
            add_multiples(isa, &alpha, [x0, x1, x2, x3], [y0, y1]);
        }
        let x_rest = [x0_rest, x1_rest, x2_rest, x3_rest];
        add_multiples(isa, &alpha, x_rest, [y0_rest, y1_rest]);
        if !y0_tail.is_empty() {
            let x_tails = [x0_tail, x1_tail, x2_tail, x3_tail];
            add_loaded_multiples(isa, &alpha, x_tails, [y0_tail, y1_tail]);
        }
    }
}

#[inline(always)]
fn splat4<I: Isa>(isa: I, [a, b, c, d]: [I::Scalar; 4]) -> [I::Lanes; 4] {
    [isa.splat(a), isa.splat(b), isa.splat(c), isa.splat(d)]
}

#[inline(always)]
fn add_multiples<I: Isa>(
    isa: I,
    alpha: &[[I::Lanes; 4]; 2],
    [x0, x1, x2, x3]: [&[I::Block]; 4],
    [y0, y1]: [&mut [I::Block]; 2],
) {
    let x = x0.iter().zip(x1).zip(x2).zip(x3);
    for (((((x0, x1), x2), x3), y0), y1) in x.zip(y0).zip(y1) {
        let x = [x0.as_ref(), x1.as_ref(), x2.as_ref(), x3.as_ref()];
        add_loaded_multiples(isa, alpha, x, [y0.as_mut(), y1.as_mut()]);
    }
}

/// Adds multiples of as many numbers as there are lanes, or of fewer.
#[inline(always)]
fn add_loaded_multiples<I: Isa>(
    isa: I,
    alpha: &[[I::Lanes; 4]; 2],
    x: [&[I::Scalar]; 4],
    y: [&mut [I::Scalar]; 2],
) {
    let x = [
        isa.load(x[0]),
        isa.load(x[1]),
        isa.load(x[2]),
        isa.load(x[3]),
    ];
    for (alpha, y) in alpha.iter().zip(y) {
        let mut sum = isa.load(y);
        for (alpha, x) in alpha.iter().zip(x) {
            sum = alpha.mul_add(x, sum);
        }
        isa.store(sum, y);
    }
}

/// The first `R` rows of `length` numbers; those that are not there are empty.
#[inline(always)]
fn rows<T, const R: usize>(block: &[T], length: usize) -> [&[T]; R] {
    let mut rows = block.rows(length);
    core::array::from_fn(|_| rows.next().unwrap_or(&[]))
}
