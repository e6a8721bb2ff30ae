//! Anchors against items, as [`rivergram_core::gram::pair`]: a block per tile of 64 anchors and 64 items.
//!
//! ```text
//! y = Q·a          d = sqrt(max(|a|² − |y|², 0))          V = vol · d
//! ```
//!
//! The products are multiply-adds in `f32`, 16 sums per thread and plane. The epilogue stays in registers: |y|² of the
//! planes is added up there, and only d goes to shared memory, so that warps walk along the rows of the tile and
//! compute near pairs anew from the residual.

use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, Real};

use super::basis::Items;
use crate::device::{Global, Shared, Thread, WARP};
use crate::lanes::F32;
use crate::rows::{Row, Warp};

/// Anchors, and items, of a tile.
pub const TILE: u32 = 64;
/// Threads of a block.
pub const THREADS: u32 = 256;
/// Each thread has so many rows and so many columns of a tile.
const SIDE: u32 = 4;
/// Threads along a side of the tile.
const ACROSS: u32 = TILE / SIDE;
/// Dimensions that are in shared memory at a time.
const DEPTH: u32 = 16;
/// Dimensions that one sum runs over before it goes to a total, as in core's dot product: a single sum over all would
/// round several times as much.
const RUN: u32 = 64;
/// From one dimension of the operands to the next; a multiple of 4, and no power of 2.
const PITCH: u32 = TILE + 4;
/// From one row of the distances to the next.
const ROW: u32 = TILE + 1;
/// Words of shared memory of [`volumes`].
pub const SHARED: u32 = 2 * DEPTH * PITCH + TILE * ROW;
/// Rows of the tile that a warp walks along.
const ROWS_PER_WARP: u32 = TILE * WARP / THREADS;

/// The products of a thread: 4 rows by 4 columns.
pub(crate) type Sums = [[F32; SIDE as usize]; SIDE as usize];

/// Anchors and what they are measured against.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pairs {
    /// \[anchors, d\].
    pub anchors: Global<F32>,
    /// |a|², \[anchors\], of [`squares`].
    pub squares: Global<F32>,
    /// The items.
    pub items: Items,
    /// Room for a residual per warp: \[blocks, 8, d\].
    pub residuals: Global<F32>,
    /// Anchors.
    pub rows: u32,
    /// 0 for the volume, 1 for the distance.
    pub measure: u32,
}

/// The parameters of [`volumes`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Volumes {
    /// Anchors and items.
    pub pairs: Pairs,
    /// V or d of each pair, \[anchors, items\].
    pub out: Global<F32>,
}

/// One side of a product: rows over which the tile runs, of numbers over which the sums run.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    /// The matrix.
    data: Global<F32>,
    /// The first row of the tile.
    first: u32,
    /// Rows.
    rows: u32,
    /// Whether it is stored transposed: a line of `rows` numbers for each number of a row.
    transposed: bool,
}

impl Operand {
    /// A tile from row `first` on of a matrix of so many rows.
    #[inline(always)]
    pub(crate) const fn rows_of(data: Global<F32>, first: u32, rows: u32) -> Self {
        Operand {
            data,
            first,
            rows,
            transposed: false,
        }
    }

    /// A tile from column `first` on of a matrix of so many columns.
    #[inline(always)]
    pub(crate) const fn columns_of(data: Global<F32>, first: u32, columns: u32) -> Self {
        Operand {
            data,
            first,
            rows: columns,
            transposed: true,
        }
    }
}

/// A·Bᵀ of a tile, of rows of `d` numbers. All threads call.
#[inline(always)]
pub(crate) fn products(thread: Thread<'_>, [a, b]: [Operand; 2], d: u32) -> Sums {
    let (x, y) = (thread.index() % ACROSS, thread.index() / ACROSS);
    let a_tile = Shared::<F32>::new(0, DEPTH * PITCH);
    let b_tile = Shared::<F32>::new(DEPTH * PITCH, DEPTH * PITCH);
    let mut total = Sums::default();
    let mut run = 0;
    while run < d {
        let mut sums = Sums::default();
        let end = d.min(run + RUN);
        let mut start = run;
        while start < end {
            load(thread, a, a_tile, start, d);
            load(thread, b, b_tile, start, d);
            thread.sync_threads();
            for k in 0..DEPTH {
                let a = thread.read_shared_four(a_tile, k * PITCH + y * SIDE);
                let b = thread.read_shared_four(b_tile, k * PITCH + x * SIDE);
                add_products(&mut sums, a, b);
            }
            thread.sync_threads();
            start += DEPTH;
        }
        for r in 0..SIDE as usize {
            for c in 0..SIDE as usize {
                total[r][c] += sums[r][c];
            }
        }
        run += RUN;
    }
    total
}

/// Calls with each row and column of a tile that the thread has, counted from the tile's first.
#[inline(always)]
pub(crate) fn for_each_sum(thread: Thread<'_>, sums: Sums, mut call: impl FnMut(u32, u32, F32)) {
    let (x, y) = (thread.index() % ACROSS, thread.index() / ACROSS);
    for r in 0..SIDE {
        for c in 0..SIDE {
            call(y * SIDE + r, x * SIDE + c, sums[r as usize][c as usize]);
        }
    }
}

/// sums += a·bᵀ.
#[inline(always)]
fn add_products(sums: &mut Sums, a: [F32; 4], b: [F32; 4]) {
    for r in 0..SIDE as usize {
        for c in 0..SIDE as usize {
            sums[r][c] = a[r].mul_add(b[c], sums[r][c]);
        }
    }
}

/// Some numbers of a tile's rows into shared memory, a number of all rows after the other; zeros beyond the matrix.
#[inline(always)]
fn load(thread: Thread<'_>, from: Operand, tile: Shared<F32>, start: u32, d: u32) {
    const EACH: u32 = TILE * DEPTH / THREADS;
    for i in 0..EACH {
        // Neighbours in memory go to neighbouring threads.
        let (row, k) = if from.transposed {
            (thread.index() % TILE, thread.index() / TILE * EACH + i)
        } else {
            let each = DEPTH / EACH;
            (thread.index() / each, thread.index() % each * EACH + i)
        };
        let (line, column) = (from.first + row, start + k);
        let value = if line < from.rows && column < d {
            let at = if from.transposed {
                column as usize * from.rows as usize + line as usize
            } else {
                line as usize * d as usize + column as usize
            };
            thread.read(from.data, at)
        } else {
            F32::ZERO
        };
        thread.write_shared(tile, k * PITCH + row, value);
    }
}

/// The distances of a tile from `first` on; the coordinates y go to `coordinate` (plane, row, column), d is given to `visit` as warps walk along its rows: the row, the column, whether
/// there is such an item, and d, for each lane's column. All threads call; `visit` is called by whole warps.
#[inline(always)]
pub(crate) fn distances(
    thread: Thread<'_>,
    p: Pairs,
    first: [u32; 2],
    mut coordinate: impl FnMut(usize, usize, usize, F32),
    mut visit: impl FnMut(usize, usize, bool, F32),
) {
    let (items, d) = (p.items, p.items.d);
    let mut squares = Sums::default();
    for plane in 0..items.m {
        let of_plane = items.items as usize * d as usize;
        let q = items.q.row(plane as usize, of_plane);
        let a = Operand::rows_of(p.anchors, first[0], p.rows);
        let q = Operand::rows_of(q, first[1], items.items);
        let y = products(thread, [a, q], d);
        for r in 0..SIDE as usize {
            for c in 0..SIDE as usize {
                squares[r][c] = y[r][c].mul_add(y[r][c], squares[r][c]);
            }
        }
        for_each_sum(thread, y, |r, c, y| {
            let (i, j) = (first[0] + r, first[1] + c);
            if i < p.rows && j < items.items {
                coordinate(plane as usize, i as usize, j as usize, y);
            }
        });
    }
    let tile = Shared::<F32>::new(2 * DEPTH * PITCH, TILE * ROW);
    let (x, y) = (thread.index() % ACROSS, thread.index() / ACROSS);
    for r in 0..SIDE {
        let row = y * SIDE + r;
        let i = first[0] + row;
        let square = if i < p.rows {
            thread.read(p.squares, i as usize)
        } else {
            F32::ZERO
        };
        for c in 0..SIDE {
            let projection = squares[r as usize][c as usize];
            let distance = pair::distance_square(square, projection).sqrt();
            thread.write_shared(tile, row * ROW + x * SIDE + c, distance);
        }
    }
    thread.sync_threads();
    let (warp, lane) = (thread.index() / WARP, thread.lane());
    let slot = (thread.block_y() * thread.blocks() + thread.block()) * (THREADS / WARP) + warp;
    let rest = p.residuals.row(slot as usize, d as usize);
    for row in rows_of_warp(thread) {
        let i = first[0] + row;
        if i >= p.rows {
            break;
        }
        let anchor = p.anchors.row(i as usize, d as usize);
        let square = thread.read(p.squares, i as usize);
        for half in 0..TILE / WARP {
            let column = half * WARP + lane;
            let inside = first[1] + column < items.items;
            let mut distance = thread.read_shared(tile, row * ROW + column);
            let near = inside && pair::is_near(square, distance * distance);
            let mut left = thread.ballot(near);
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let j = first[1] + half * WARP + bit;
                let (found, _) = items.residual(thread, anchor, j as usize, rest);
                if lane == bit {
                    distance = found;
                }
            }
            visit(i as usize, (first[1] + column) as usize, inside, distance);
        }
    }
}

/// For who wants distances alone.
#[inline(always)]
pub(crate) fn no_coordinate(_: usize, _: usize, _: usize, _: F32) {}

/// The rows of a tile that the thread's warp walks along.
#[inline(always)]
pub(crate) fn rows_of_warp(thread: Thread<'_>) -> core::ops::Range<u32> {
    let first = thread.index() / WARP * ROWS_PER_WARP;
    first..first + ROWS_PER_WARP
}

impl Pairs {
    /// The score of a pair, given its distance.
    #[inline(always)]
    pub(crate) fn score(self, thread: Thread<'_>, j: usize, distance: F32) -> F32 {
        match self.measure {
            0 => pair::volume(distance, thread.read(self.items.volume, j)),
            _ => distance,
        }
    }
}

/// |a|² of each anchor; a warp per row.
#[inline(always)]
pub fn squares(thread: Thread<'_>, p: Pairs) {
    let Some(i) = super::warp_of_grid(thread, p.rows) else {
        return;
    };
    let row: Row = p.anchors.row(i, p.items.d as usize);
    let square = rivergram_core::ops::RowOps::dot(Warp(thread), row, row);
    if thread.lane() == 0 {
        thread.write(p.squares, i, square);
    }
}

/// The first anchor and item of the tile that a block comes to after so many others; none after the last. Blocks take tiles
/// in turn.
#[inline(always)]
pub(crate) fn next_tile(thread: Thread<'_>, p: Pairs, turn: u32) -> Option<[u32; 2]> {
    let across = p.items.items.div_ceil(TILE).max(1);
    let tile = thread.block() + turn * thread.blocks();
    let row = tile / across;
    let there = row < p.rows.div_ceil(TILE);
    there.then_some([row * TILE, (tile - row * across) * TILE])
}

/// The volume or the distance of every anchor with every item.
#[inline(always)]
pub fn volumes(thread: Thread<'_>, p: Volumes) {
    let Volumes { pairs, out } = p;
    let mut turn = 0;
    while let Some(first) = next_tile(thread, pairs, turn) {
        distances(
            thread,
            pairs,
            first,
            no_coordinate,
            |i, j, inside, distance| {
                if inside {
                    let score = pairs.score(thread, j, distance);
                    thread.write(out, i * pairs.items.items as usize + j, score);
                }
            },
        );
        turn += 1;
    }
}
