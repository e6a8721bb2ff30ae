//! Backward: what each pair pulls, and the near pairs, whose gradient comes from their residual.

use rivergram_core::gram::info_nce::pull;
use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, Real};
use rivergram_core::ops::RowOps;

use super::Loss;
use crate::device::{Thread, WARP};
use crate::kernels::warp_of_grid;
use crate::lanes::F32;
use crate::rows::{Row, Warp};

/// What a pair adds up to, away from the target.
#[derive(Clone, Copy)]
struct Pull {
    row: F32,
    column: F32,
    /// dL/dV.
    weight: F32,
    /// Σ dL/dl·(l − target), without the share.
    product: F32,
}

impl Loss {
    /// What the pair of row i and column j, which are there and no match, adds up to.
    #[inline(always)]
    fn pull(self, thread: Thread<'_>, [i, j]: [usize; 2], distance: F32) -> Pull {
        let l = self.scale * self.volume(thread, j, distance);
        let of = |table, which, at| self.read(thread, table, which, at);
        let [row_uniform, column_uniform] = self.uniform(thread);
        let row = pull(
            l,
            of(self.rows, 0, i),
            of(self.rows, 1, i),
            row_uniform,
            self.counts_of(thread, i),
        );
        let column = pull(
            l,
            of(self.columns, 0, j),
            of(self.columns, 1, j),
            column_uniform,
            self.counts_of(thread, j),
        );
        let product = row * (l - of(self.rows, 3, i));
        Pull {
            row,
            column,
            weight: (row + column) * (self.share(thread) * self.scale),
            product: column.mul_add(l - of(self.rows, 3, j), product),
        }
    }
}

/// What each column of a strip pulls, and Σ W·V; a thread per column.
#[inline(always)]
pub fn column_weights(thread: Thread<'_>, p: Loss) {
    let j = (thread.block() * thread.threads() + thread.index()) as usize;
    if j >= p.b() {
        return;
    }
    let lines = [1, 2].map(|which| p.line(p.sums, which));
    let [mut pulled, mut products] = [F32::ZERO; 2];
    if p.start > 0 {
        [pulled, products] = lines.map(|line| thread.read(line, j));
    }
    let there = p.item_is_there(thread, j);
    for r in 0..p.strip as usize {
        let i = p.start as usize + r;
        if there && i != j && p.anchor_is_there(thread, i) {
            let d = thread.read(p.distance, r * p.b() + j);
            let found = p.pull(thread, [i, j], d);
            pulled += found.column;
            products = found.weight.mul_add(p.volume(thread, j, d), products);
        }
    }
    thread.write(lines[0], j, pulled);
    thread.write(lines[1], j, products);
}

/// W → C and y → −C·y of a strip, and the near pairs of its anchors; a warp per row.
#[inline(always)]
pub fn row_weights(thread: Thread<'_>, p: Loss) {
    let Some(r) = warp_of_grid(thread, p.strip) else {
        return;
    };
    let (warp, b, i) = (Warp(thread), p.b(), p.start as usize + r);
    let (anchor, square) = (p.anchor(i), thread.read(p.pairs.squares, i));
    let rest = p.pairs.residuals.row(r, p.d());
    let mut gradient = p.gradient.row(p.anchor_plane() * b + i, p.d());
    let anchor_there = p.anchor_is_there(thread, i);
    let [mut pulled, mut product, mut sum] = [F32::ZERO; 3];
    let mut base = 0;
    while base < b {
        let j = base + thread.lane() as usize;
        let there = anchor_there && j < b && i != j && p.item_is_there(thread, j);
        let [mut c, mut w, mut d] = [F32::ZERO; 3];
        let mut near = false;
        if there {
            d = thread.read(p.distance, r * b + j);
            let found = p.pull(thread, [i, j], d);
            w = found.weight;
            pulled += found.row;
            product += found.product;
            near = pair::is_near(square, d * d);
            if !near {
                c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
            }
        }
        sum += c;
        if j < b {
            for plane in 0..p.m() {
                let at = (plane * p.strip as usize + r) * b + j;
                thread.write(p.y, at, -(c * thread.read(p.y, at)));
            }
        }
        let mut left = thread.ballot(near);
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let (w, d) = (thread.shuffle(w, bit), thread.shuffle(d, bit));
            let j = base + bit as usize;
            let c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
            if c != F32::ZERO {
                let _ = p.pairs.items.residual(thread, anchor, j, rest);
                warp.axpy(c, rest, &mut gradient);
            }
        }
        base += WARP as usize;
    }
    warp.axpy(warp.sum(sum), anchor, &mut gradient);
    let (pulled, product) = (warp.sum(pulled), warp.sum(product));
    if thread.lane() == 0 {
        thread.write(p.line(p.sums, 0), i, pulled);
        thread.write(p.line(p.sums, 3), i, product);
    }
}

/// The near pairs of the items in a strip, added to −E; a warp per item.
#[inline(always)]
pub fn near_items(thread: Thread<'_>, p: Loss) {
    let Some(j) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let rest = p.pairs.residuals.row(j, p.d());
    let item_there = p.item_is_there(thread, j);
    let strip = p.strip as usize;
    let mut base = 0;
    while base < strip {
        let r = base + thread.lane() as usize;
        let i = p.start as usize + r;
        let there = item_there && r < strip && i != j && p.anchor_is_there(thread, i);
        let [mut w, mut d] = [F32::ZERO; 2];
        let mut near = false;
        if there {
            d = thread.read(p.distance, r * p.b() + j);
            near = pair::is_near(thread.read(p.pairs.squares, i), d * d);
            if near {
                w = p.pull(thread, [i, j], d).weight;
            }
        }
        let mut left = thread.ballot(near);
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let (w, d) = (thread.shuffle(w, bit), thread.shuffle(d, bit));
            let i = p.start as usize + base + bit as usize;
            let _ = add_residual(thread, p, [i, j], [w, d], rest);
        }
        base += WARP as usize;
    }
}

/// −E_jp −= C·y_p·r of one pair; returns C, and leaves r in `rest`.
#[inline(always)]
pub(super) fn add_residual(
    thread: Thread<'_>,
    p: Loss,
    [i, j]: [usize; 2],
    [w, d]: [F32; 2],
    rest: Row,
) -> F32 {
    let c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
    if c != F32::ZERO {
        let (_, y) = p.pairs.items.residual(thread, p.anchor(i), j, rest);
        for plane in 0..p.m() {
            let factor = -(c * thread.shuffle(y, plane as u32));
            Warp(thread).axpy(factor, rest, &mut p.item_gradient(plane, j));
        }
    }
    c
}
