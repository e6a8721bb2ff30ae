//! Products of matrices whose rows are words of a narrow format: a block per tile of 128 rows by two times 64 columns.
//!
//! # How a tile goes by
//!
//! Rows are cut into steps of 16 words (64 bytes). Three steps are in shared memory at a time, 16 KB each, copied by
//! `cp.async` while an earlier one is multiplied: one barrier per step, no registers for what is on its way. Each of the
//! 8 warps has 64 rows by 16 columns of either half: 16 products for 6 loads of matrices, 3 KB of shared memory for 16 ·
//! 1024 multiply-adds of TF32, where an SM of compute capability 8.0 takes 24 cycles for the loads and 32 for the
//! products, so the tensor cores set the pace.
//!
//! The 16 bytes `chunk` of row r lie at chunk ^ (r/2 mod 4). So the 8 rows that `ldmatrix` reads at a time, and the 8
//! chunks that neighbouring threads copy, are in all 32 banks: there are no conflicts (a test counts them).

use crate::device::{Format, Global, Shared, Thread, WARP};

/// Rows of a tile.
pub const ROWS: u32 = 128;
/// Columns of half a tile.
pub const COLUMNS: u32 = 64;
/// Halves of a tile: two planes of the same items, or columns that follow each other.
const HALVES: u32 = 2;
/// Threads of a block.
pub const THREADS: u32 = 256;
/// Words of a row that are in shared memory at a time; rows are multiples of it long.
pub const DEPTH: u32 = 16;
/// Steps that are in shared memory.
const STAGES: u32 = 3;
/// Words of either side of a step.
const SIDE: u32 = ROWS * DEPTH;
const _: () = assert!(SIDE == HALVES * COLUMNS * DEPTH);
/// Words of shared memory: 48 KB, which every GPU has without asking.
pub const SHARED: u32 = STAGES * 2 * SIDE;
/// Words of 16 bytes.
const CHUNK: u32 = 4;

/// Warps along the rows of a tile.
const WARPS_DOWN: u32 = 2;
/// Rows of a warp, in products of 16.
pub(crate) const DOWN: usize = (ROWS / WARPS_DOWN / 16) as usize;
/// Columns of a warp in either half, in products of 8.
pub(crate) const ACROSS: usize = 2;
const _: () = assert!(THREADS / WARP / WARPS_DOWN * ACROSS as u32 * 8 == COLUMNS);

/// The sums of a thread, of one half: for each product of 16 rows by 8 columns four.
pub(crate) type Words = [[[u32; 4]; ACROSS]; DOWN];

/// One side of a product.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    /// Its rows, one after the other.
    pub(crate) words: Global<u32>,
    /// Words from one to the next.
    pub(crate) row_words: u32,
    /// The tile's first.
    pub(crate) first: u32,
}

/// A tile of A·Bᵀ, for one thread of its block.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'t> {
    pub(crate) thread: Thread<'t>,
    /// What the words hold; known where the code is.
    pub(crate) format: Format,
    pub(crate) a: Side,
    /// Rows of A.
    pub(crate) rows: u32,
    pub(crate) b: Side,
    /// The columns, rows of B, of either half: those from here on are zero.
    pub(crate) columns: [u32; HALVES as usize],
    /// From a column of the first half to that of the second, in rows of B.
    pub(crate) stride: u32,
    /// Words that the sums run over: whole steps.
    pub(crate) depth: u32,
}

/// Where the 16 bytes `chunk` of a row lie in a step of either side.
#[inline(always)]
const fn place(row: u32, chunk: u32) -> u32 {
    row * DEPTH + (chunk ^ (row / 2 % CHUNK)) * CHUNK
}

/// The place in a tile of the warp of a thread: its first row, and its first column of either half.
#[inline(always)]
fn of_warp(index: u32) -> [u32; 2] {
    let warp = index / WARP;
    let across = THREADS / WARP / WARPS_DOWN;
    [
        warp / across * (ROWS / WARPS_DOWN),
        warp % across * (8 * ACROSS as u32),
    ]
}

/// The row, and the column of either half, of a number of a thread, counted from the tile's first.
#[inline(always)]
pub(crate) fn place_of(index: u32, [i, j, part]: [u32; 3]) -> [u32; 2] {
    let (lane, [row, column]) = (index % WARP, of_warp(index));
    [
        row + 16 * i + 8 * (part / 2) + lane / 4,
        column + 8 * j + 2 * (lane % 4) + part % 2,
    ]
}

/// Calls with where each number of a thread is among its own, and in the tile.
#[inline(always)]
pub(crate) fn for_each_place(index: u32, mut call: impl FnMut([usize; 3], [u32; 2])) {
    for i in 0..DOWN {
        for j in 0..ACROSS {
            for part in 0..4 {
                let place = place_of(index, [i, j, part].map(|x| x as u32));
                call([i, j, part], place);
            }
        }
    }
}

impl Factors<'_> {
    /// The shared memory of a step of A (0) or B (1).
    #[inline(always)]
    fn step_memory(self, stage: u32, side: u32) -> Shared<u32> {
        Shared::new((2 * stage + side) * SIDE, SIDE)
    }

    /// Starts to copy a step of both sides, of B the first `N` halves, zeros where there are no rows.
    #[inline(always)]
    fn copy_step<const N: usize>(self, step: u32, stage: u32) {
        let copy = |which: u32, side: Side, row: u32, there: bool, [to, chunk]: [u32; 2]| {
            let row = if there { row as usize } else { 0 };
            let at = row * side.row_words as usize + (step * DEPTH + chunk * CHUNK) as usize;
            let memory = self.step_memory(stage, which);
            self.thread.copy_async(memory, to, side.words, at, there);
        };
        for part in 0..SIDE / CHUNK / THREADS {
            let index = self.thread.index() + part * THREADS;
            let (row, chunk) = (index / (DEPTH / CHUNK), index % (DEPTH / CHUNK));
            let to = [place(row, chunk), chunk];
            let of_a = self.a.first + row;
            copy(0, self.a, of_a, of_a < self.rows, to);
            let half = row / COLUMNS;
            if half < N as u32 {
                let column = self.b.first + row % COLUMNS;
                let columns = if half == 0 {
                    self.columns[0]
                } else {
                    self.columns[1]
                };
                let of_b = half * self.stride + column;
                copy(1, self.b, of_b, column < columns, to);
            }
        }
        self.thread.commit_copies();
    }

    /// A group of copies, of nothing where there is no such step: so every step has one.
    #[inline(always)]
    fn copy_if<const N: usize>(self, there: bool, step: u32, stage: u32) {
        if there {
            self.copy_step::<N>(step, stage);
        } else {
            self.thread.commit_copies();
        }
    }

    /// sums + A·Bᵀ, of the first `N` halves. All threads call.
    #[inline(always)]
    pub(crate) fn add_products<const N: usize>(self, mut sums: [Words; N]) -> [Words; N] {
        let thread = self.thread;
        let steps = self.depth / DEPTH;
        for step in 0..STAGES - 1 {
            self.copy_if::<N>(step < steps, step, step);
        }
        // With few rows some warps have none: the others have the tensor cores to themselves.
        let is_busy = self.a.first + of_warp(thread.index())[0] < self.rows;
        let mut stage = 0;
        for step in 0..steps {
            // All but the latest group, which is of the next step.
            thread.wait_copies::<{ STAGES as usize - 2 }>();
            thread.sync_threads();
            let next = step + STAGES - 1;
            let free = if stage == 0 { STAGES - 1 } else { stage - 1 };
            self.copy_if::<N>(next < steps, next, free);
            if is_busy {
                for k in 0..DEPTH / 8 {
                    let a = self.load_a(stage, k);
                    for half in 0..N {
                        let b = self.load_b(stage, k, half as u32);
                        self.multiply(&mut sums[half], a, b);
                    }
                }
            }
            stage = if stage + 1 == STAGES { 0 } else { stage + 1 };
        }
        thread.sync_threads();
        sums
    }

    /// 8 words of the warp's rows.
    #[inline(always)]
    fn load_a(self, stage: u32, k: u32) -> [[u32; 4]; DOWN] {
        let (memory, lane) = (self.step_memory(stage, 0), self.thread.lane());
        let mut a = [[0; 4]; DOWN];
        for i in 0..DOWN {
            let row = of_warp(self.thread.index())[0] + 16 * i as u32 + lane % 16;
            let at = place(row, 2 * k + lane / 16);
            a[i] = self.thread.load_matrices(memory, at);
        }
        a
    }

    /// 8 words of the warp's columns of a half.
    #[inline(always)]
    fn load_b(self, stage: u32, k: u32, half: u32) -> [u32; 4] {
        let (memory, lane) = (self.step_memory(stage, 1), self.thread.lane());
        let row = half * COLUMNS + of_warp(self.thread.index())[1] + lane % 8 + lane / 16 * 8;
        let at = place(row, 2 * k + lane / 8 % 2);
        self.thread.load_matrices(memory, at)
    }

    #[inline(always)]
    fn multiply(self, sums: &mut Words, a: [[u32; 4]; DOWN], b: [u32; 4]) {
        for i in 0..DOWN {
            for j in 0..ACROSS {
                let b = [b[2 * j], b[2 * j + 1]];
                sums[i][j] = self.thread.product(self.format, a[i], b, sums[i][j]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight groups of four banks that 16 bytes may lie in.
    fn groups(chunks: impl Iterator<Item = [u32; 2]>) -> Vec<u32> {
        let mut groups: Vec<u32> = chunks
            .map(|[row, chunk]| place(row, chunk) / CHUNK % 8)
            .collect();
        groups.sort_unstable();
        groups
    }

    #[test]
    fn no_two_lanes_meet_in_a_bank() {
        let all: Vec<u32> = (0..8).collect();
        for chunk in 0..DEPTH / CHUNK {
            for first in (0..ROWS).step_by(8) {
                // A matrix of `ldmatrix`, and what eight neighbouring threads copy.
                assert_eq!(groups((first..first + 8).map(|row| [row, chunk])), all);
                let copied = (0..8).map(|i| [first + i / 4, i % 4]);
                assert_eq!(groups(copied), all);
            }
        }
    }

    #[test]
    fn every_place_is_one_of_its_own() {
        let mut places: Vec<u32> = (0..ROWS * 4).map(|i| place(i / 4, i % 4)).collect();
        places.sort_unstable();
        assert_eq!(
            places,
            (0..SIDE / CHUNK).map(|i| i * CHUNK).collect::<Vec<_>>()
        );
    }
}
