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

use super::{axpy, dot};
use crate::lanes::{Isa, Kernel, Lanes, Real};

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
        let (a_pairs, mut c_pairs) = (
            a.chunks_exact(k.saturating_mul(2)),
            c.chunks_exact_mut(m.saturating_mul(2)),
        );
        let a_last = a_pairs.remainder();
        for (a, c) in a_pairs.zip(c_pairs.by_ref()) {
            if let Some((c0, c1)) = c.split_at_mut_checked(m) {
                two_rows(isa, k, rows(a, k), b, [c0, c1]);
            }
        }
        if !a_last.is_empty() {
            for (b, c) in b.chunks_exact(k).zip(c_pairs.into_remainder()) {
                *c += dot(isa, a_last, b);
            }
        }
    }
}

/// Two rows of C from two rows of A and all of B.
#[inline(always)]
fn two_rows<I: Isa>(
    isa: I,
    k: usize,
    a: [&[I::Scalar]; 2],
    b: &[I::Scalar],
    [c0, c1]: [&mut [I::Scalar]; 2],
) {
    let blocks = b.chunks_exact(k.saturating_mul(4));
    let b_rest = blocks.remainder();
    let (mut c0, mut c1) = (c0.chunks_exact_mut(4), c1.chunks_exact_mut(4));
    for ((b, c0), c1) in blocks.zip(c0.by_ref()).zip(c1.by_ref()) {
        let sums = dots_2x4(isa, a, rows(b, k));
        for ((c0, c1), sums) in c0.iter_mut().zip(c1).zip(sums) {
            *c0 += sums[0].sum();
            *c1 += sums[1].sum();
        }
    }
    let (c0, c1) = (c0.into_remainder(), c1.into_remainder());
    for ((b, c0), c1) in b_rest.chunks_exact(k).zip(c0).zip(c1) {
        *c0 += dot(isa, a[0], b);
        *c1 += dot(isa, a[1], b);
    }
}

/// Vectors that one turn of an inner loop takes. A microcontroller without indexed loads of floats advances six
/// pointers by instructions of their own in each turn.
const UNROLL: usize = if cfg!(target_os = "none") { 4 } else { 1 };

/// The products of two rows with four, summed by lane: eight sums hide the latency of the additions,
/// and six loads serve eight products.
#[inline(always)]
fn dots_2x4<I: Isa>(isa: I, a: [&[I::Scalar]; 2], b: [&[I::Scalar]; 4]) -> [[I::Lanes; 2]; 4] {
    let [a0, a1] = a.map(|row| row.chunks_exact(UNROLL * I::WIDTH));
    let [b0, b1, b2, b3] = b.map(|row| row.chunks_exact(UNROLL * I::WIDTH));
    let tails = (
        [a0.remainder(), a1.remainder()],
        [
            b0.remainder(),
            b1.remainder(),
            b2.remainder(),
            b3.remainder(),
        ],
    );
    let mut sums = [[isa.splat(I::Scalar::ZERO); 2]; 4];
    for (((((a0, a1), b0), b1), b2), b3) in a0.zip(a1).zip(b0).zip(b1).zip(b2).zip(b3) {
        add_products(isa, [a0, a1], [b0, b1, b2, b3], &mut sums);
    }
    add_products(isa, tails.0, tails.1, &mut sums);
    sums
}

#[inline(always)]
fn add_products<I: Isa>(
    isa: I,
    a: [&[I::Scalar]; 2],
    b: [&[I::Scalar]; 4],
    sums: &mut [[I::Lanes; 2]; 4],
) {
    let [a0, a1] = a.map(|row| row.chunks(I::WIDTH));
    let [b0, b1, b2, b3] = b.map(|row| row.chunks(I::WIDTH));
    for (((((a0, a1), b0), b1), b2), b3) in a0.zip(a1).zip(b0).zip(b1).zip(b2).zip(b3) {
        let a = [isa.load(a0), isa.load(a1)];
        for (b, sums) in [b0, b1, b2, b3].into_iter().zip(&mut *sums) {
            let b = isa.load(b);
            sums[0] = a[0].mul_add(b, sums[0]);
            sums[1] = a[1].mul_add(b, sums[1]);
        }
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
        let blocks = b.chunks_exact(k.saturating_mul(4));
        let (a_pairs, mut c_pairs) = (
            a.chunks_exact(m.saturating_mul(2)),
            c.chunks_exact_mut(k.saturating_mul(2)),
        );
        let a_last = a_pairs.remainder();
        for (a, c) in a_pairs.zip(c_pairs.by_ref()) {
            let ([a0, a1], Some((c0, c1))) = (rows(a, m), c.split_at_mut_checked(k)) else {
                return;
            };
            let ((a0, a0_rest), (a1, a1_rest)) = (a0.as_chunks(), a1.as_chunks());
            for ((a0, a1), b) in a0.iter().zip(a1).zip(blocks.clone()) {
                axpy_2x4(isa, [*a0, *a1], rows(b, k), [c0, c1]);
            }
            let b_rest = blocks.remainder().chunks_exact(k);
            for ((a0, a1), b) in a0_rest.iter().zip(a1_rest).zip(b_rest) {
                axpy(isa, *a0, b, c0);
                axpy(isa, *a1, b, c1);
            }
        }
        let c_last = c_pairs.into_remainder();
        for (a, b) in a_last.iter().zip(b.chunks_exact(k)) {
            axpy(isa, *a, b, c_last);
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
        let (a, b) = (
            a.chunks_exact(m.saturating_mul(4)),
            b.chunks_exact(k.saturating_mul(4)),
        );
        let (a_rest, b_rest) = (a.remainder(), b.remainder());
        for (a, b) in a.zip(b) {
            rank_four(isa, k, rows(a, m), rows(b, k), c);
        }
        for (a, b) in a_rest.chunks_exact(m).zip(b_rest.chunks_exact(k)) {
            for (a, c) in a.iter().zip(c.chunks_exact_mut(k)) {
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
    let mut c = c.chunks_exact_mut(k.saturating_mul(2));
    for ((((a0, a1), a2), a3), c) in a0.iter().zip(a1).zip(a2).zip(a3).zip(c.by_ref()) {
        let Some((c0, c1)) = c.split_at_mut_checked(k) else {
            return;
        };
        let ([a00, a01], [a10, a11], [a20, a21], [a30, a31]) = (*a0, *a1, *a2, *a3);
        let alpha = [[a00, a10, a20, a30], [a01, a11, a21, a31]];
        axpy_2x4(isa, alpha, b, [c0, c1]);
    }
    let c_last = c.into_remainder();
    for (a, b) in [last0, last1, last2, last3].into_iter().zip(b) {
        for a in a {
            axpy(isa, *a, b, c_last);
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
        let Axpy2x4 {
            alpha,
            x,
            y: [y0, y1],
        } = self;
        let alpha = [splat4(isa, alpha[0]), splat4(isa, alpha[1])];
        let [x0, x1, x2, x3] = x.map(|row| row.chunks_exact(UNROLL * I::WIDTH));
        let tails = [
            x0.remainder(),
            x1.remainder(),
            x2.remainder(),
            x3.remainder(),
        ];
        let (mut y0, mut y1) = (
            y0.chunks_exact_mut(UNROLL * I::WIDTH),
            y1.chunks_exact_mut(UNROLL * I::WIDTH),
        );
        let x = x0.zip(x1).zip(x2).zip(x3);
        for (((((x0, x1), x2), x3), y0), y1) in x.zip(y0.by_ref()).zip(y1.by_ref()) {
            add_multiples(isa, &alpha, [x0, x1, x2, x3], [y0, y1]);
        }
        let y = [y0.into_remainder(), y1.into_remainder()];
        add_multiples(isa, &alpha, tails, y);
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
    x: [&[I::Scalar]; 4],
    [y0, y1]: [&mut [I::Scalar]; 2],
) {
    let [x0, x1, x2, x3] = x.map(|row| row.chunks(I::WIDTH));
    let y = y0.chunks_mut(I::WIDTH).zip(y1.chunks_mut(I::WIDTH));
    for ((((x0, x1), x2), x3), (y0, y1)) in x0.zip(x1).zip(x2).zip(x3).zip(y) {
        let x = [isa.load(x0), isa.load(x1), isa.load(x2), isa.load(x3)];
        for (alpha, y) in alpha.iter().zip([y0, y1]) {
            let mut sum = isa.load(y);
            for (alpha, x) in alpha.iter().zip(x) {
                sum = alpha.mul_add(x, sum);
            }
            isa.store(sum, y);
        }
    }
}

/// The first `R` rows of `length` numbers; those that are not there are empty.
#[inline(always)]
fn rows<T, const R: usize>(block: &[T], length: usize) -> [&[T]; R] {
    let mut rows = block.chunks_exact(length);
    core::array::from_fn(|_| rows.next().unwrap_or(&[]))
}
