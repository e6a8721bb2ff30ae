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
//! All take (m, k) and find n from the slices; any size may be 0. A slice that is too short or too long
//! counts as fewer rows, a product of fewer rows. Cost: 2·n·m·k operations; four rows of B stay in
//! registers' reach, so each number of C is loaded once per four products.

use super::{axpy, dot};
use crate::lanes::{Isa, Lanes, Real};

/// C\[n, m\] += A\[n, k\] · B\[m, k\]ᵀ.
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

/// The products of two rows with four, summed by lane: eight sums hide the latency of the additions,
/// and six loads serve eight products.
#[inline(always)]
fn dots_2x4<I: Isa>(isa: I, a: [&[I::Scalar]; 2], b: [&[I::Scalar]; 4]) -> [[I::Lanes; 2]; 4] {
    let [a0, a1] = a.map(|row| row.chunks_exact(I::WIDTH));
    let [b0, b1, b2, b3] = b.map(|row| row.chunks_exact(I::WIDTH));
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
    let a = [isa.load(a[0]), isa.load(a[1])];
    for (b, sums) in b.into_iter().zip(sums) {
        let b = isa.load(b);
        sums[0] = a[0].mul_add(b, sums[0]);
        sums[1] = a[1].mul_add(b, sums[1]);
    }
}

/// C\[n, k\] += A\[n, m\] · B\[m, k\].
#[inline(always)]
pub fn matmul_nn<I: Isa>(
    isa: I,
    m: usize,
    k: usize,
    a: &[I::Scalar],
    b: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    if m == 0 || k == 0 {
        return;
    }
    for (a, c) in a.chunks_exact(m).zip(c.chunks_exact_mut(k)) {
        let (a, blocks) = (a.chunks_exact(4), b.chunks_exact(k.saturating_mul(4)));
        let (a_rest, b_rest) = (a.remainder(), blocks.remainder());
        for (a, b) in a.zip(blocks) {
            axpy4(isa, [a[0], a[1], a[2], a[3]], rows(b, k), c);
        }
        for (a, b) in a_rest.iter().zip(b_rest.chunks_exact(k)) {
            axpy(isa, *a, b, c);
        }
    }
}

/// C\[m, k\] += A\[n, m\]ᵀ · B\[n, k\].
#[inline(always)]
pub fn matmul_tn<I: Isa>(
    isa: I,
    m: usize,
    k: usize,
    a: &[I::Scalar],
    b: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    if m == 0 || k == 0 {
        return;
    }
    let (a, b) = (
        a.chunks_exact(m.saturating_mul(4)),
        b.chunks_exact(k.saturating_mul(4)),
    );
    let (a_rest, b_rest) = (a.remainder(), b.remainder());
    for (a, b) in a.zip(b) {
        let [a0, a1, a2, a3] = rows(a, m);
        let columns = a0.iter().zip(a1).zip(a2).zip(a3);
        for ((((a0, a1), a2), a3), c) in columns.zip(c.chunks_exact_mut(k)) {
            axpy4(isa, [*a0, *a1, *a2, *a3], rows(b, k), c);
        }
    }
    for (a, b) in a_rest.chunks_exact(m).zip(b_rest.chunks_exact(k)) {
        for (a, c) in a.iter().zip(c.chunks_exact_mut(k)) {
            axpy(isa, *a, b, c);
        }
    }
}

/// y += α₀·x₀ + α₁·x₁ + α₂·x₂ + α₃·x₃.
#[inline(always)]
fn axpy4<I: Isa>(isa: I, alpha: [I::Scalar; 4], x: [&[I::Scalar]; 4], y: &mut [I::Scalar]) {
    let [alpha0, alpha1, alpha2, alpha3] = alpha;
    let alpha = [
        isa.splat(alpha0),
        isa.splat(alpha1),
        isa.splat(alpha2),
        isa.splat(alpha3),
    ];
    let [x0, x1, x2, x3] = x.map(|row| row.chunks_exact(I::WIDTH));
    let tails = [
        x0.remainder(),
        x1.remainder(),
        x2.remainder(),
        x3.remainder(),
    ];
    let mut y = y.chunks_exact_mut(I::WIDTH);
    for ((((x0, x1), x2), x3), y) in x0.zip(x1).zip(x2).zip(x3).zip(y.by_ref()) {
        add_multiples(isa, alpha, [x0, x1, x2, x3], y);
    }
    add_multiples(isa, alpha, tails, y.into_remainder());
}

#[inline(always)]
fn add_multiples<I: Isa>(isa: I, alpha: [I::Lanes; 4], x: [&[I::Scalar]; 4], y: &mut [I::Scalar]) {
    let mut sum = isa.load(y);
    for (alpha, x) in alpha.into_iter().zip(x) {
        sum = alpha.mul_add(isa.load(x), sum);
    }
    isa.store(sum, y);
}

/// The first `R` rows of `length` numbers; those that are not there are empty.
#[inline(always)]
fn rows<T, const R: usize>(block: &[T], length: usize) -> [&[T]; R] {
    let mut rows = block.chunks_exact(length);
    core::array::from_fn(|_| rows.next().unwrap_or(&[]))
}
