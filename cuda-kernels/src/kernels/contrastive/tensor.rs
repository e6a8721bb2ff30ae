//! The products of the loss on tensor cores, in TF32, from sm_80 on: the same passes with [`scores_tf32`],
//! [`anchors_product_tf32`] and [`items_product_tf32`] in place of three kernels. Everything else is what it was, so near and
//! matching pairs keep their residuals, and the gradient is that of volumes within the bound of
//! [`Precision::Tf32`](crate::kernels::tensor::Precision).
//!
//! A product runs along rows that lie one word after the other, so what it sums over decides which way a matrix must lie:
//!
//! | product | sums over | left | right |
//! |---|---|---|---|
//! | y = Q·a | dimensions | A | Q |
//! | dA += (−C·y)·Q | items | −C·y | Qᵀ |
//! | −E += (−C·y)ᵀ·A | anchors of the strip | (−C·y)ᵀ | Aᵀ |
//!
//! [`narrow`](crate::kernels::tensor::narrow) and [`narrow_transposed`](crate::kernels::tensor::narrow_transposed) make them: of A and Q once,
//! of −C·y for each strip. All strips but the last one are multiples of 16 high.

use super::Loss;
use crate::device::{Format, Global, Thread};
use crate::kernels::tensor::{
    COLUMNS, Factors, Operands, ROWS, Side, Words, for_each_place, next_tile,
};
use crate::lanes::F32;

/// The parameters of [`scores_tf32`], [`anchors_product_tf32`] and [`items_product_tf32`]. The words are those of TF32.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TensorLoss {
    /// The loss.
    pub loss: Loss,
    /// A, \[B, words\], and Q, \[m, B, words\].
    pub operands: Operands,
    /// Aᵀ, \[d, batch words\].
    pub anchors_transposed: Global<u32>,
    /// Qᵀ, \[m, d, batch words\].
    pub q_transposed: Global<u32>,
    /// −C·y of the strip, \[m, strip, batch words\].
    pub y: Global<u32>,
    /// Its transpose, \[m, B, strip words\].
    pub y_transposed: Global<u32>,
    /// Words of a row of B numbers.
    pub batch_words: u32,
    /// Words of a row of as many numbers as the strip has rows.
    pub strip_words: u32,
}

/// Columns of a block.
const WIDE: u32 = 2 * COLUMNS;

/// The distances of a strip, and its coordinates where there is room for them. Blocks take tiles in turn.
#[inline(always)]
pub fn scores_tf32(thread: Thread<'_>, p: TensorLoss) {
    let (loss, row_words) = (p.loss, p.operands.row_words as usize);
    let (pairs, b, strip) = (loss.of_strip(), loss.b(), loss.strip as usize);
    let of_strip = loss.start as usize * row_words;
    let operands = Operands {
        anchors: p.operands.anchors.part(of_strip, strip * row_words),
        ..p.operands
    };
    let mut turn = 0;
    while let Some(tile) = next_tile(thread, Format::Tf32, pairs, operands, turn) {
        let numbers = tile.distances::<true>(|plane, i, j, y| {
            if loss.y.len() > 0 {
                thread.write(loss.y, (plane * strip + i) * b + j, y);
            }
        });
        tile.for_each(|[i, j, part], [row, column], inside| {
            if inside {
                thread.write(loss.distance, row * b + column, numbers[i][j][part]);
            }
        });
        turn += 1;
    }
}

/// dA += Σ_p (−C·y_p)·Q_p of a strip; a block per tile of 128 dimensions, across, and 128 anchors, down.
#[inline(always)]
pub fn anchors_product_tf32(thread: Thread<'_>, p: TensorLoss) {
    let (loss, words) = (p.loss, p.batch_words);
    let (d, strip) = (loss.pairs.items.d, loss.strip);
    let first = [thread.block_y() * ROWS, thread.block() * WIDE];
    let mut sums = [Words::default(); 2];
    for plane in 0..loss.m() {
        let y = p.y.row(plane, (strip * words) as usize);
        let q = p.q_transposed.row(plane, (d * words) as usize);
        let factors = tile(thread, [y, q], first, [strip, d], [words; 2], words);
        sums = factors.add_products(sums);
    }
    let (from, len) = (loss.start as usize * loss.d(), strip as usize * loss.d());
    let of_plane = loss.gradient.row(loss.anchor_plane(), loss.b() * loss.d());
    add_tile(thread, sums, first, [strip, d], of_plane.part(from, len));
}

/// −E_p += (−C·y_p)ᵀ·A of a strip; a block per tile of 128 items and 128 dimensions, across, and per plane, down.
#[inline(always)]
pub fn items_product_tf32(thread: Thread<'_>, p: TensorLoss) {
    let (loss, words) = (p.loss, p.strip_words);
    let (d, b, plane) = (
        loss.pairs.items.d,
        loss.pairs.items.items,
        thread.block_y() as usize,
    );
    let across = d.div_ceil(WIDE).max(1);
    let first = [
        thread.block() / across * ROWS,
        thread.block() % across * WIDE,
    ];
    let y = p.y_transposed.row(plane, (b * words) as usize);
    let (start, len) = (loss.start as usize, (d * p.batch_words) as usize);
    let anchors = p.anchors_transposed.part(start, len - start);
    let pitches = [words, p.batch_words];
    let factors = tile(thread, [y, anchors], first, [b, d], pitches, words);
    let sums = factors.add_products([Words::default(); 2]);
    let of_plane = loss.item_gradient(plane, 0).part(0, loss.b() * loss.d());
    add_tile(thread, sums, first, [b, d], of_plane);
}

/// A tile of the product of two matrices of so many rows, and words from one to the next.
#[inline(always)]
fn tile(
    thread: Thread<'_>,
    [a, b]: [Global<u32>; 2],
    first: [u32; 2],
    [rows, columns]: [u32; 2],
    pitches: [u32; 2],
    depth: u32,
) -> Factors<'_> {
    let side = |words, which: usize| Side {
        words,
        row_words: pitches[which],
        first: first[which],
    };
    Factors {
        thread,
        format: Format::Tf32,
        a: side(a, 0),
        rows,
        b: side(b, 1),
        columns: [columns, columns.saturating_sub(COLUMNS)],
        stride: COLUMNS,
        depth,
    }
}

/// Adds a tile to a matrix of these rows and columns.
#[inline(always)]
fn add_tile(
    thread: Thread<'_>,
    sums: [Words; 2],
    first: [u32; 2],
    [rows, columns]: [u32; 2],
    to: Global<F32>,
) {
    for half in 0..2 {
        for_each_place(thread.index(), |[i, j, part], [row, column]| {
            let (r, c) = (first[0] + row, first[1] + half * COLUMNS + column);
            if r < rows && c < columns {
                let at = r as usize * columns as usize + c as usize;
                let sum = F32(f32::from_bits(sums[half as usize][i][j][part]));
                thread.write(to, at, thread.read(to, at) + sum);
            }
        });
    }
}
