//! The end of the backward pass: the matching pairs, and the way through the bases and the normalisation.

use rivergram_core::gram::basis;
use rivergram_core::lanes::{Lanes, Real};
use rivergram_core::ops::{self, RowOps};

use super::weights::add_residual;
use super::{Loss, THREADS};
use crate::device::Thread;
use crate::kernels::{block_sum, warp_of_grid};
use crate::lanes::F32;
use crate::rows::Warp;

/// The matching pairs, which pull against all others; a warp per pair.
#[inline(always)]
pub fn diagonal(thread: Thread<'_>, p: Loss) {
    let Some(i) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    if p.counts_of(thread, i) == F32::ZERO {
        return;
    }
    let warp = Warp(thread);
    let of = |table, which| p.read(thread, table, which, i);
    let pulled = of(p.sums, 0) + of(p.sums, 1);
    let w = -(p.share(thread) * p.scale) * pulled;
    let (d, products) = (of(p.rows, 4), of(p.sums, 2));
    let rest = p.pairs.residuals.row(i, p.d());
    let c = add_residual(thread, p, [i, i], [w, d], rest);
    if c != F32::ZERO {
        let mut gradient = p.gradient.row(p.anchor_plane() * p.b() + i, p.d());
        warp.axpy(c, rest, &mut gradient);
    }
    if thread.lane() == 0 {
        let products = w.mul_add(p.volume(thread, i, d), products);
        thread.write(p.line(p.sums, 4), i, products);
    }
}

/// dO_j = R_j⁻¹ · ((Σ_i W V) Q_j − E_j), through the normalisation; a warp per item.
#[inline(always)]
pub fn items_gradient(thread: Thread<'_>, p: Loss) {
    let Some(j) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let (warp, items, m) = (Warp(thread), p.pairs.items, p.m());
    let counted = p.counts_of(thread, j) != F32::ZERO;
    let which = if counted { 4 } else { 2 };
    let products = p.read(thread, p.sums, which, j);
    if thread.read(items.volume, j) == F32::ZERO {
        for q in 0..m {
            warp.scale(F32::ZERO, &mut p.item_gradient(q, j));
        }
        return;
    }
    for q in 0..m {
        let mut g = p.item_gradient(q, j);
        basis::reject(warp, items.q_of(m, j), &mut g);
        warp.axpy(products, items.q_row(q, j), &mut g);
    }
    let r = items.r_of(j);
    for q in (0..m).rev() {
        let row = r.row(q, m);
        let coefficients = (q + 1..m).map(|s| thread.read(row, s));
        let done = (q + 1..m).map(|s| p.item_gradient(s, j));
        let pivot = thread.read(row, q);
        basis::solve_row(
            warp,
            pivot,
            coefficients.zip(done),
            &mut p.item_gradient(q, j),
        );
    }
    for q in 0..m {
        let plane = if q < p.anchor_plane() { q } else { q + 1 };
        let unit = items.vectors.row(plane * p.b() + j, p.d());
        let inverse = p.read(thread, p.inverse_norm, plane, j);
        ops::through_normalisation(warp, unit, inverse, &mut p.item_gradient(q, j));
    }
}

/// The gradient of each anchor, through the normalisation; a warp per anchor.
#[inline(always)]
pub fn anchors_gradient(thread: Thread<'_>, p: Loss) {
    let Some(i) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let inverse = p.read(thread, p.inverse_norm, p.anchor_plane(), i);
    let mut gradient = p.gradient.row(p.anchor_plane() * p.b() + i, p.d());
    ops::through_normalisation(Warp(thread), p.anchor(i), inverse, &mut gradient);
}

/// dL/dτ. One block.
#[inline(always)]
pub fn report(thread: Thread<'_>, p: Loss) {
    let mut product = F32::ZERO;
    let mut i = thread.index() as usize;
    while i < p.b() {
        product += p.read(thread, p.sums, 3, i);
        i += THREADS as usize;
    }
    let sum = block_sum(thread, product, 0);
    if thread.index() == 0 {
        // dl/dτ = −l/τ.
        thread.write(p.report, 2, p.scale * (p.share(thread) * sum));
    }
}
