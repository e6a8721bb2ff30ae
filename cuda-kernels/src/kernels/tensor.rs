//! Anchors against items on tensor cores, from sm_80 on: a block per tile of 128 anchors and 64 items, two planes of the
//! basis at a time.
//!
//! ```text
//! y = Q·a          d = sqrt(max(|a|² − |y|², 0))          V = vol · d
//! ```
//!
//! The operands are copies of anchors and bases in a narrow [`Format`], made by [`narrow`]; the sums are in `f32`, of
//! eight bits exact integers. Near pairs are computed from the residual in `f32`, as in [`super::pairs`], so what is left
//! of the error stays small: outside of them d ≥ |a|/2, and ΔV ≤ 2·vol·|y|·|Δy|/d. Of unit vectors Δy is at most 2⁻¹⁰ in
//! TF32 and in binary16, and 2⁻⁷ in bf16, and in 512 dimensions far below, since roundings cancel: |ΔV| ≤ 2e-3 and 1e-2.
//!
//! # How a tile goes by
//!
//! Rows are cut into steps of 16 words (64 bytes). Three steps are in shared memory at a time, 16 KB each, copied by
//! `cp.async` while an earlier one is multiplied: one barrier per step, no registers for what is on its way. Each of the
//! 8 warps has 64 anchors by 16 items by two planes: 16 products for 6 loads of matrices, 3 KB of shared memory for 16 ·
//! 1024 multiply-adds of TF32, where an SM of compute capability 8.0 takes 24 cycles for the loads and 32 for the
//! products, so the tensor cores set the pace.
//!
//! The 16 bytes `chunk` of row r lie at chunk ^ (r/2 mod 4). So the 8 rows that `ldmatrix` reads at a time, and the 8
//! chunks that neighbouring threads copy, are in all 32 banks: there are no conflicts (a test counts them).
//!
//! Blocks take tiles in bands of eight rows of tiles, so that those which run at the same time share their anchors and
//! items in the second-level cache.

use rivergram_core::gram::int8::Step;
use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, Real};
use rivergram_core::optim::rounding::Half;

use super::pairs::{Pairs, no_coordinate};
use super::warp_of_grid;
use crate::device::{Format, Global, Shared, Thread, WARP};
use crate::lanes::F32;
use crate::rows::Warp;

/// How precisely anchors are multiplied with items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In `f32`: the table of precision that every path keeps.
    #[default]
    Exact,
    /// From operands rounded to TF32: volumes of unit vectors within 2e-3, near pairs as exact as ever.
    Tf32,
    /// From operands rounded to bf16: within 1e-2.
    Bf16,
}

impl Precision {
    /// What a GPU of this compute capability does when asked for it: before 8.0 no tensor core has either format, and the
    /// products are exact.
    ///
    /// ```
    /// use rivergram_cuda_kernels::kernels::tensor::Precision;
    ///
    /// assert_eq!(Precision::Bf16.on(9, 0), Precision::Bf16);
    /// assert_eq!(Precision::Bf16.on(7, 5), Precision::Exact);
    /// ```
    #[must_use]
    pub const fn on(self, major: u32, _minor: u32) -> Self {
        if major < 8 { Precision::Exact } else { self }
    }

    /// The operands that [`narrow`] makes for it; none where the products are exact.
    pub const fn format(self) -> Option<Format> {
        match self {
            Precision::Exact => None,
            Precision::Tf32 => Some(Format::Tf32),
            Precision::Bf16 => Some(Format::Bf16),
        }
    }
}

/// Anchors of a tile.
pub const ROWS: u32 = 128;
/// Items of a tile.
pub const COLUMNS: u32 = 64;
/// Planes of the basis that are multiplied at a time; the last one alone where they are odd.
const PLANES: u32 = 2;
/// Threads of a block.
pub const THREADS: u32 = 256;
/// Words of a row that are in shared memory at a time; rows are multiples of it long.
pub const DEPTH: u32 = 16;
/// Steps that are in shared memory.
const STAGES: u32 = 3;
/// Words of the anchors, and of the items, of a step.
const HALF: u32 = ROWS * DEPTH;
const _: () = assert!(HALF == PLANES * COLUMNS * DEPTH);
/// Words of shared memory: 48 KB, which every GPU has without asking.
pub const SHARED: u32 = STAGES * 2 * HALF;
/// Words of 16 bytes.
const CHUNK: u32 = 4;
/// Rows of tiles that blocks go through together.
const BAND: u32 = 8;

/// Warps along the anchors of a tile.
const WARPS_DOWN: u32 = 2;
/// Anchors of a warp, in products of 16.
const DOWN: usize = (ROWS / WARPS_DOWN / 16) as usize;
/// Items of a warp, in products of 8.
const ACROSS: usize = 2;
const _: () = assert!(THREADS / WARP / WARPS_DOWN * ACROSS as u32 * 8 == COLUMNS);

/// The words of a thread, of one plane: for each product of 16 anchors by 8 items four.
type Words = [[[u32; 4]; ACROSS]; DOWN];
/// Numbers instead of words.
pub(crate) type Numbers = [[[F32; 4]; ACROSS]; DOWN];

/// Words of a row of `d` numbers: whole steps.
///
/// ```
/// use rivergram_cuda_kernels::device::Format;
/// use rivergram_cuda_kernels::kernels::tensor::row_words;
///
/// assert_eq!([512, 513].map(|d| row_words(Format::Bf16, d)), [256, 272]);
/// ```
pub const fn row_words(format: Format, d: u32) -> u32 {
    d.div_ceil(format.per_word()).next_multiple_of(DEPTH)
}

/// The parameters of [`narrow`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Narrow {
    /// \[rows, d\].
    pub numbers: Global<F32>,
    /// \[rows, words\], with zeros after the numbers of a row.
    pub words: Global<u32>,
    /// What the numbers of a row are counted in, \[rows\]: of integers max|x|/127, else 1.
    pub scales: Global<F32>,
    /// Rows.
    pub rows: u32,
    /// Dimensions.
    pub d: u32,
    /// Words of a row ([`row_words`]).
    pub row_words: u32,
    /// [`Format`], as a number.
    pub format: u32,
}

/// The operands of products on tensor cores.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Operands {
    /// The anchors, \[anchors, words\], of [`narrow`].
    pub anchors: Global<u32>,
    /// Their scales, \[anchors\].
    pub anchor_scales: Global<F32>,
    /// Q, \[m, items, words\].
    pub q: Global<u32>,
    /// Its scales, \[m, items\].
    pub q_scales: Global<F32>,
    /// Words of a row.
    pub row_words: u32,
    /// Whether near pairs are computed from the residual, which takes the items' vectors and Q in `f32`: 1 or 0.
    pub residuals: u32,
}

/// The parameters of [`volumes_tf32`] and [`volumes_bf16`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TensorVolumes {
    /// Anchors and items, in `f32`; room for a residual per warp: \[blocks, 8, d\].
    pub pairs: Pairs,
    /// The same, narrow.
    pub operands: Operands,
    /// V or d of each pair, \[anchors, items\].
    pub out: Global<F32>,
}

/// Rows in a narrow format; a warp per row.
#[inline(always)]
pub fn narrow(thread: Thread<'_>, p: Narrow) {
    let Some(row) = warp_of_grid(thread, p.rows) else {
        return;
    };
    let (warp, d) = (Warp(thread), p.d as usize);
    let numbers = p.numbers.row(row, d);
    let words = p.words.row(row, p.row_words as usize);
    let mut step = Step::ONE;
    if p.format == Format::I8 as u32 {
        let mut most = F32::ZERO;
        for i in warp.own(d) {
            most = most.max(thread.read(numbers, i).abs());
        }
        step = Step::of(warp.maximum(most).0);
    }
    let number = |i: usize| {
        if i < d {
            thread.read(numbers, i)
        } else {
            F32::ZERO
        }
    };
    for i in warp.own(p.row_words as usize) {
        let halves = |half: Half| {
            let [low, high] = [0, 1].map(|part| half.nearest(number(2 * i + part).0));
            u32::from(low) | u32::from(high) << 16
        };
        let word = if p.format == Format::Tf32 as u32 {
            thread.to_tf32(number(i))
        } else if p.format == Format::F16 as u32 {
            halves(Half::F16)
        } else if p.format == Format::Bf16 as u32 {
            halves(Half::Bf16)
        } else {
            u32::from_le_bytes([0, 1, 2, 3].map(|part| step.round(number(4 * i + part).0) as u8))
        };
        thread.write(words, i, word);
    }
    if thread.lane() == 0 {
        thread.write(p.scales, row, F32(step.scale));
    }
}

/// A tile, for one thread of its block.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'t> {
    pub(crate) thread: Thread<'t>,
    /// What the operands hold; known where the code is.
    pub(crate) format: Format,
    pub(crate) pairs: Pairs,
    pub(crate) operands: Operands,
    /// Its first anchor and item.
    pub(crate) first: [u32; 2],
}

/// Where the 16 bytes `chunk` of a row lie in a step of the anchors, or of the items.
#[inline(always)]
const fn place(row: u32, chunk: u32) -> u32 {
    row * DEPTH + (chunk ^ (row / 2 % CHUNK)) * CHUNK
}

/// Where tile `index` of so many down and across lies: in bands of [`BAND`] rows of tiles, column by column.
#[inline(always)]
fn tile_of(index: u32, [down, across]: [u32; 2]) -> [u32; 2] {
    let first = BAND * index.checked_div(BAND * across).unwrap_or(0);
    let within = index - first * across;
    let height = BAND.min(down - first);
    let column = within.checked_div(height).unwrap_or(0);
    [first + within - column * height, column]
}

impl Tile<'_> {
    /// The shared memory of a step of the anchors (0) or the items (1).
    #[inline(always)]
    fn step_memory(self, stage: u32, operand: u32) -> Shared<u32> {
        Shared::new((2 * stage + operand) * HALF, HALF)
    }

    /// Starts to copy a step of anchors and of `N` planes of items, zeros where there are none.
    #[inline(always)]
    fn copy_step<const N: usize>(self, plane: u32, step: u32, stage: u32) {
        let Tile {
            thread,
            pairs,
            operands,
            first,
            ..
        } = self;
        let words = operands.row_words as usize;
        let copy = |operand, line: u32, there, from, to, chunk: u32| {
            let row = if there { line as usize } else { 0 };
            let at = row * words + (step * DEPTH + chunk * CHUNK) as usize;
            thread.copy_async(self.step_memory(stage, operand), to, from, at, there);
        };
        for part in 0..HALF / CHUNK / THREADS {
            let index = thread.index() + part * THREADS;
            let (row, chunk) = (index / (DEPTH / CHUNK), index % (DEPTH / CHUNK));
            let to = place(row, chunk);
            let anchor = first[0] + row;
            copy(0, anchor, anchor < pairs.rows, operands.anchors, to, chunk);
            if row / COLUMNS < N as u32 {
                let (plane, item) = (plane + row / COLUMNS, first[1] + row % COLUMNS);
                let line = plane * pairs.items.items + item;
                let there = item < pairs.items.items;
                copy(1, line, there, operands.q, to, chunk);
            }
        }
        thread.commit_copies();
    }

    /// The warp's place in the tile: its first anchor and its first item.
    #[inline(always)]
    fn of_warp(self) -> [u32; 2] {
        let warp = self.thread.index() / WARP;
        let across = THREADS / WARP / WARPS_DOWN;
        [
            warp / across * (ROWS / WARPS_DOWN),
            warp % across * (8 * ACROSS as u32),
        ]
    }

    /// Q·a of `N` planes. All threads call.
    #[inline(always)]
    fn products<const N: usize>(self, plane: u32) -> [Words; N] {
        let thread = self.thread;
        let mut sums = [Words::default(); N];
        let steps = self.operands.row_words / DEPTH;
        for step in 0..STAGES - 1 {
            self.copy_if::<N>(step < steps, plane, step, step);
        }
        let mut stage = 0;
        for step in 0..steps {
            // All but the latest group, which is of the next step.
            thread.wait_copies::<{ STAGES as usize - 2 }>();
            thread.sync_threads();
            let next = step + STAGES - 1;
            let free = if stage == 0 { STAGES - 1 } else { stage - 1 };
            self.copy_if::<N>(next < steps, plane, next, free);
            for k in 0..DEPTH / 8 {
                let a = self.load_anchors(stage, k);
                for q in 0..N {
                    let b = self.load_items(stage, k, q as u32);
                    self.add_products(&mut sums[q], a, b);
                }
            }
            stage = if stage + 1 == STAGES { 0 } else { stage + 1 };
        }
        thread.sync_threads();
        sums
    }

    /// A group of copies, of nothing where there is no such step: so every step has one.
    #[inline(always)]
    fn copy_if<const N: usize>(self, there: bool, plane: u32, step: u32, stage: u32) {
        if there {
            self.copy_step::<N>(plane, step, stage);
        } else {
            self.thread.commit_copies();
        }
    }

    /// 8 words of the warp's anchors.
    #[inline(always)]
    fn load_anchors(self, stage: u32, k: u32) -> [[u32; 4]; DOWN] {
        let (memory, lane) = (self.step_memory(stage, 0), self.thread.lane());
        let mut a = [[0; 4]; DOWN];
        for i in 0..DOWN {
            let row = self.of_warp()[0] + 16 * i as u32 + lane % 16;
            let at = place(row, 2 * k + lane / 16);
            a[i] = self.thread.load_matrices(memory, at);
        }
        a
    }

    /// 8 words of a plane of the warp's items.
    #[inline(always)]
    fn load_items(self, stage: u32, k: u32, plane: u32) -> [u32; 4] {
        let (memory, lane) = (self.step_memory(stage, 1), self.thread.lane());
        let row = plane * COLUMNS + self.of_warp()[1] + lane % 8 + lane / 16 * 8;
        let at = place(row, 2 * k + lane / 8 % 2);
        self.thread.load_matrices(memory, at)
    }

    #[inline(always)]
    fn add_products(self, sums: &mut Words, a: [[u32; 4]; DOWN], b: [u32; 4]) {
        for i in 0..DOWN {
            for j in 0..ACROSS {
                let b = [b[2 * j], b[2 * j + 1]];
                sums[i][j] = self.thread.product(self.format, a[i], b, sums[i][j]);
            }
        }
    }

    /// The anchor and the item of a lane's number.
    #[inline(always)]
    fn pair_of(self, lane: u32, [i, j, part]: [u32; 3]) -> [u32; 2] {
        let [row, column] = self.of_warp();
        [
            self.first[0] + row + 16 * i + 8 * (part / 2) + lane / 4,
            self.first[1] + column + 8 * j + 2 * (lane % 4) + part % 2,
        ]
    }

    /// Calls with where each number of the thread is, its anchor and its item, and whether both are there.
    #[inline(always)]
    pub(crate) fn for_each(self, mut call: impl FnMut([usize; 3], [usize; 2], bool)) {
        let lane = self.thread.lane();
        for i in 0..DOWN {
            for j in 0..ACROSS {
                for part in 0..4 {
                    let pair = self.pair_of(lane, [i, j, part].map(|x| x as u32));
                    let inside = pair[0] < self.pairs.rows && pair[1] < self.pairs.items.items;
                    call([i, j, part], pair.map(|x| x as usize), inside);
                }
            }
        }
    }

    /// The distances of a tile, in registers; the coordinates y go to `coordinate` (plane, row, column). All threads call.
    #[inline(always)]
    pub(crate) fn distances(self, mut coordinate: impl FnMut(usize, usize, usize, F32)) -> Numbers {
        let mut numbers = Numbers::default();
        let (m, thread) = (self.pairs.items.m, self.thread);
        for plane in (0..m - m % 2).step_by(2) {
            let sums = self.products::<2>(plane);
            self.add_squares(&mut numbers, sums, plane, &mut coordinate);
        }
        if m % 2 == 1 {
            let sums = self.products::<1>(m - 1);
            self.add_squares(&mut numbers, sums, m - 1, &mut coordinate);
        }
        let mut near = 0_u32;
        self.for_each(|[i, j, part], [row, _], inside| {
            let square = if inside {
                thread.read(self.pairs.squares, row)
            } else {
                F32::ZERO
            };
            let distance = pair::distance_square(square, numbers[i][j][part]);
            if inside && pair::is_near(square, distance) {
                near |= 1 << index([i, j, part]);
            }
            numbers[i][j][part] = distance.sqrt();
        });
        if self.operands.residuals != 0 {
            self.compute_near(near, &mut numbers);
        }
        numbers
    }

    /// squares += y².
    #[inline(always)]
    fn add_squares<const N: usize>(
        self,
        squares: &mut Numbers,
        sums: [Words; N],
        plane: u32,
        mut coordinate: impl FnMut(usize, usize, usize, F32),
    ) {
        let (thread, operands) = (self.thread, self.operands);
        for q in 0..N {
            let plane = plane as usize + q;
            let line = plane * self.pairs.items.items as usize;
            self.for_each(|[i, j, part], [row, column], inside| {
                let mut y = number(self.format, sums[q][i][j][part]);
                if self.format == Format::I8 && inside {
                    let scale = thread.read(operands.anchor_scales, row);
                    y = y * scale * thread.read(operands.q_scales, line + column);
                }
                let square = &mut squares[i][j][part];
                *square = y.mul_add(y, *square);
                if inside {
                    coordinate(plane, row, column, y);
                }
            });
        }
    }

    /// The distances of near pairs anew, one after the other, each by the whole warp; a bit of `near` for each number.
    #[inline(always)]
    fn compute_near(self, mut near: u32, numbers: &mut Numbers) {
        let Tile { thread, pairs, .. } = self;
        let d = pairs.items.d as usize;
        let warp = thread.index() / WARP;
        let slot = (thread.block_y() * thread.blocks() + thread.block()) * (THREADS / WARP) + warp;
        let rest = pairs.residuals.row(slot as usize, d);
        loop {
            let lanes = thread.ballot(near != 0);
            if lanes == 0 {
                return;
            }
            let lane = lanes.trailing_zeros();
            let which = thread.shuffle(near, lane).trailing_zeros();
            let at = [
                which / 4 / ACROSS as u32,
                which / 4 % ACROSS as u32,
                which % 4,
            ];
            let [i, j] = self.pair_of(lane, at);
            let anchor = pairs.anchors.row(i as usize, d);
            let (found, _) = pairs.items.residual(thread, anchor, j as usize, rest);
            if thread.lane() == lane {
                near &= near - 1;
                // By comparison: an index that is not known would put the numbers into memory.
                self.for_each(|at, _, _| {
                    if index(at) == which {
                        numbers[at[0]][at[1]][at[2]] = found;
                    }
                });
            }
        }
    }
}

/// Which number of a thread it is.
#[inline(always)]
const fn index([i, j, part]: [usize; 3]) -> u32 {
    ((i * ACROSS + j) * 4 + part) as u32
}

/// What a sum is, without its scales.
#[inline(always)]
fn number(format: Format, word: u32) -> F32 {
    match format {
        Format::I8 => F32(word.cast_signed() as f32),
        _ => F32(f32::from_bits(word)),
    }
}

/// The tile of anchors and items that a block comes to after so many others; none after the last. Blocks take them in turn.
#[inline(always)]
pub(crate) fn next_tile(
    thread: Thread<'_>,
    format: Format,
    pairs: Pairs,
    operands: Operands,
    turn: u32,
) -> Option<Tile<'_>> {
    let tiles = [
        pairs.rows.div_ceil(ROWS),
        pairs.items.items.div_ceil(COLUMNS),
    ];
    let index = thread.block() + turn * thread.blocks();
    if index >= tiles[0] * tiles[1] {
        return None;
    }
    let [row, column] = tile_of(index, tiles);
    Some(Tile {
        thread,
        format,
        pairs,
        operands,
        first: [row * ROWS, column * COLUMNS],
    })
}

#[inline(always)]
fn volumes(thread: Thread<'_>, p: TensorVolumes, format: Format) {
    let TensorVolumes {
        pairs,
        operands,
        out,
    } = p;
    let mut turn = 0;
    while let Some(tile) = next_tile(thread, format, pairs, operands, turn) {
        let mut numbers = tile.distances(no_coordinate);
        tile.for_each(|[i, j, part], [_, column], inside| {
            if inside {
                let number = &mut numbers[i][j][part];
                *number = pairs.score(thread, column, *number);
            }
        });
        tile.for_each(|[i, j, part], [row, column], inside| {
            if inside {
                let at = row * pairs.items.items as usize + column;
                thread.write(out, at, numbers[i][j][part]);
            }
        });
        turn += 1;
    }
}

/// The volume or the distance of every anchor with every item, from operands in TF32.
#[inline(always)]
pub fn volumes_tf32(thread: Thread<'_>, p: TensorVolumes) {
    volumes(thread, p, Format::Tf32);
}

/// The volume or the distance of every anchor with every item, from operands in bf16.
#[inline(always)]
pub fn volumes_bf16(thread: Thread<'_>, p: TensorVolumes) {
    volumes(thread, p, Format::Bf16);
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
            (0..HALF / CHUNK).map(|i| i * CHUNK).collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_tile_goes_by_once() {
        for tiles in [[1, 1], [3, 5], [8, 2], [19, 7]] {
            let mut found: Vec<_> = (0..tiles[0] * tiles[1])
                .map(|i| tile_of(i, tiles))
                .collect();
            found.sort_unstable();
            let all = (0..tiles[0]).flat_map(|row| (0..tiles[1]).map(move |column| [row, column]));
            assert_eq!(found, all.collect::<Vec<_>>());
        }
    }
}
