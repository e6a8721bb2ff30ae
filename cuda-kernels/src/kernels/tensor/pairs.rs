//! Anchors against items, as in [`crate::kernels::pairs`]: the tile of a batch.

use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, Real};

use super::multiply::{
    ACROSS, COLUMNS, DOWN, Factors, ROWS, Side, THREADS, Words, for_each_place, place_of,
};
use super::narrow::Narrow;
use crate::device::{Format, Global, Thread, WARP};
use crate::kernels::pairs::{Pairs, no_coordinate};
use crate::lanes::F32;

/// Rows of tiles that blocks go through together.
const BAND: u32 = 8;

/// The numbers of a thread, in the order of its sums.
pub(crate) type Numbers = [[[F32; 4]; ACROSS]; DOWN];

/// The operands of products on tensor cores.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Operands {
    /// The anchors, \[anchors, words\], of `narrow`.
    pub anchors: Global<u32>,
    /// Their scales, \[anchors\].
    pub anchor_scales: Global<F32>,
    /// Q, \[m, items, words\].
    pub q: Global<u32>,
    /// Its scales, \[m, items\].
    pub q_scales: Global<F32>,
    /// Words of a row.
    pub row_words: u32,
    /// Whether near pairs are computed from the residual, which takes the items' vectors and Q in `f32`: 1 or 0. A kernel
    /// without that code does not ask; of those with it `gram_scores_tf32` takes 255 registers on sm_80 where nobody asks,
    /// and 184 with the question.
    pub residuals: u32,
}

impl Operands {
    /// Those that two copies hold, of rows of one length and in one format.
    pub const fn of(anchors: Narrow, q: Narrow, residuals: bool) -> Self {
        Operands {
            anchors: anchors.words,
            anchor_scales: anchors.scales,
            q: q.words,
            q_scales: q.scales,
            row_words: q.row_words,
            residuals: residuals as u32,
        }
    }
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

/// A tile of 128 anchors and 64 items, for one thread of its block.
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
    /// Q·a of `N` planes. All threads call.
    #[inline(always)]
    fn products<const N: usize>(self, plane: u32) -> [Words; N] {
        let Tile {
            thread,
            format,
            pairs,
            operands,
            first,
        } = self;
        let (items, row_words) = (pairs.items.items, operands.row_words);
        let of_plane = items as usize * row_words as usize;
        let before = plane as usize * of_plane;
        let side = |words, first| Side {
            words,
            row_words,
            first,
        };
        let factors = Factors {
            thread,
            format,
            a: side(operands.anchors, first[0]),
            rows: pairs.rows,
            b: side(operands.q.part(before, N * of_plane), first[1]),
            columns: [items; 2],
            stride: items,
            depth: row_words,
        };
        factors.add_products([Words::default(); N])
    }

    /// The anchor and the item of a thread's number.
    #[inline(always)]
    fn pair_of(self, index: u32, at: [u32; 3]) -> [u32; 2] {
        let [row, column] = place_of(index, at);
        [self.first[0] + row, self.first[1] + column]
    }

    /// Calls with where each number of the thread is, its anchor and its item, and whether both are there.
    #[inline(always)]
    pub(crate) fn for_each(self, call: impl FnMut([usize; 3], [usize; 2], bool)) {
        self.for_each_of(self.index(), call);
    }

    /// The index of the thread. No register is kept for what follows from it while tiles are multiplied.
    #[inline(always)]
    fn index(self) -> u32 {
        self.thread.here(self.thread.index())
    }

    /// [`Tile::for_each`] of a thread.
    #[inline(always)]
    fn for_each_of(self, index: u32, mut call: impl FnMut([usize; 3], [usize; 2], bool)) {
        for_each_place(index, |at, [row, column]| {
            let [i, j] = [self.first[0] + row, self.first[1] + column];
            let inside = i < self.pairs.rows && j < self.pairs.items.items;
            call(at, [i as usize, j as usize], inside);
        });
    }

    /// The distances of a tile, in registers; the coordinates y go to `coordinate` (plane, row, column), those of eight bits
    /// over the anchor's scale. With `NEAR` those of near pairs come from the residual, where the operands say so; without, no
    /// register is kept for it. All threads call.
    #[inline(always)]
    pub(crate) fn distances<const NEAR: bool>(
        self,
        mut coordinate: impl FnMut(usize, usize, usize, F32),
    ) -> Numbers {
        let mut numbers = Numbers::default();
        let (m, thread) = (self.pairs.items.m, self.thread);
        let mut plane = 0;
        if !NEAR && m > 1 {
            // Two planes at a time while there is no square to keep in a register, then one: so two blocks fit a
            // multiprocessor.
            let sums = self.products::<2>(0);
            self.add_squares(&mut numbers, sums, 0, &mut coordinate);
            plane = 2;
        }
        while NEAR && plane + 1 < m {
            let sums = self.products::<2>(plane);
            self.add_squares(&mut numbers, sums, plane, &mut coordinate);
            plane += 2;
        }
        while plane < m {
            let sums = self.products::<1>(plane);
            self.add_squares(&mut numbers, sums, plane, &mut coordinate);
            plane += 1;
        }
        let mut near = 0_u32;
        self.for_each(|[i, j, part], [row, _], inside| {
            let mut square = F32::ZERO;
            let mut projection = numbers[i][j][part];
            if inside {
                square = thread.read(self.pairs.squares, row);
                if self.format == Format::I8 {
                    let scale = thread.read(self.operands.anchor_scales, row);
                    projection = projection * (scale * scale);
                }
            }
            let distance = pair::distance_square(square, projection);
            if NEAR && inside && pair::is_near(square, distance) {
                near |= 1 << index([i, j, part]);
            }
            numbers[i][j][part] = distance.sqrt();
        });
        if NEAR && self.operands.residuals != 0 {
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
        let index = self.index();
        for q in 0..N {
            let plane = plane as usize + q;
            let scales = self.scales(index, plane);
            self.for_each_of(index, |[i, j, part], [row, column], inside| {
                let mut y = number(self.format, sums[q][i][j][part]);
                if self.format == Format::I8 {
                    y = y * scales[j][part % 2];
                }
                let square = &mut squares[i][j][part];
                *square = y.mul_add(y, *square);
                if inside {
                    coordinate(plane, row, column, y);
                }
            });
        }
    }

    /// What the thread's columns of a plane are counted in.
    #[inline(always)]
    fn scales(self, index: u32, plane: usize) -> [[F32; 2]; ACROSS] {
        let mut scales = [[F32::ONE; 2]; ACROSS];
        if self.format == Format::I8 {
            let of_plane = self
                .operands
                .q_scales
                .row(plane, self.pairs.items.items as usize);
            for j in 0..ACROSS {
                for odd in 0..2 {
                    let at = [0, j as u32, odd];
                    let column = self.pair_of(index, at)[1] as usize;
                    if column < of_plane.len() {
                        scales[j][odd as usize] = self.thread.read(of_plane, column);
                    }
                }
            }
        }
        scales
    }

    /// The distances of near pairs anew, one after the other, each by the whole warp; a bit of `near` for each number.
    #[inline(always)]
    fn compute_near(self, mut near: u32, numbers: &mut Numbers) {
        let Tile { thread, pairs, .. } = self;
        let d = pairs.items.d as usize;
        let warp = self.index() / WARP;
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
            let [i, j] = self.pair_of(warp * WARP + lane, at);
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
        let mut numbers = tile.distances::<true>(no_coordinate);
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
