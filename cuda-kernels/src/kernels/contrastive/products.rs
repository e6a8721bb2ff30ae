//! Backward: the two products of the other pairs.

use super::Loss;
use crate::device::{Global, Thread};
use crate::kernels::pairs::{Operand, Sums, TILE, for_each_sum, products};
use crate::lanes::F32;

/// dA += Σ_p (−C·y_p)·Q_p of a strip; a block per tile of anchors and dimensions.
#[inline(always)]
pub fn anchors_product(thread: Thread<'_>, p: Loss) {
    let (b, d, strip) = (p.pairs.items.items, p.pairs.items.d, p.strip);
    let first = [thread.block_y() * TILE, thread.block() * TILE];
    for plane in 0..p.m() {
        let y = p.y.row(plane, strip as usize * b as usize);
        let y = Operand::rows_of(y, first[0], strip);
        let q = p.pairs.items.q.row(plane, b as usize * d as usize);
        let q = Operand::columns_of(q, first[1], d);
        let sums = products(thread, [y, q], b);
        let of_plane = p.gradient.row(p.anchor_plane(), p.b() * p.d());
        add_tile(
            thread,
            sums,
            first,
            [strip, d],
            of_plane.part(p.start as usize * p.d(), strip as usize * p.d()),
        );
    }
}

/// −E_p += (−C·y_p)ᵀ·A of a strip; a block per tile of items and dimensions, and per plane.
#[inline(always)]
pub fn items_product(thread: Thread<'_>, p: Loss) {
    let (b, d, strip) = (p.pairs.items.items, p.pairs.items.d, p.strip);
    let across = d.div_ceil(TILE).max(1);
    let plane = thread.block_y() as usize;
    let first = [
        thread.block() / across * TILE,
        thread.block() % across * TILE,
    ];
    let y = p.y.row(plane, strip as usize * b as usize);
    let y = Operand::columns_of(y, first[0], b);
    let anchors = Operand::columns_of(p.of_strip().anchors, first[1], d);
    let sums = products(thread, [y, anchors], strip);
    let of_plane = p.item_gradient(plane, 0).part(0, p.b() * p.d());
    add_tile(thread, sums, first, [b, d], of_plane);
}

/// Adds a tile to a matrix of these rows and columns.
#[inline(always)]
fn add_tile(
    thread: Thread<'_>,
    sums: Sums,
    first: [u32; 2],
    [rows, columns]: [u32; 2],
    to: Global<F32>,
) {
    for_each_sum(thread, sums, |r, c, sum| {
        let (r, c) = (first[0] + r, first[1] + c);
        if r < rows && c < columns {
            let at = r as usize * columns as usize + c as usize;
            thread.write(to, at, thread.read(to, at) + sum);
        }
    });
}
