//! The nearest items of many anchors, as [`rivergram_core::gram::search`]: tiles of the gallery go by, and each anchor
//! keeps its best.
//!
//! A list of up to 32 candidates lies in a warp: lane l holds the l-th best. One vote tells where a new one goes. The
//! lists of the blocks are merged by a second kernel. The order of candidates is total, so the result does not depend
//! on how the gallery was split.
//!
//! [`nearest`] has the lists in shared memory. The kernels on tensor cores ([`super::tensor`]) go through a gallery in 16 or
//! 8 bits: the basis of each item, which is all that they read. Their lists are in global memory, where they come only
//! with a candidate that is better than the worst; that one a lane remembers for each row. Scores are those of the
//! rounded numbers: look for a few more than are wanted, and score those again. `NEAR` is for who has the gallery in `f32`
//! too: near pairs come from their residual. What a driver finds is without, which leaves more registers.

use rivergram_core::gram::retrieval::Order;
use rivergram_core::lanes::Real;
use rivergram_core::ops;

use super::pairs::{Pairs, SHARED as PAIRS_SHARED, TILE, distances, no_coordinate, rows_of_warp};
use super::tensor::{self, COLUMNS, Operands, ROWS};
use super::warp_of_grid;
use crate::device::{Format, Global, Shared, Thread, WARP};
use crate::lanes::F32;

/// The most candidates of a list.
pub const MOST: u32 = WARP;
/// Words of shared memory of [`nearest`].
pub const SHARED: u32 = PAIRS_SHARED + 2 * TILE * MOST;

/// The parameters of [`nearest`] and of [`merge`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Nearest {
    /// Anchors and the gallery.
    pub pairs: Pairs,
    /// The scores of each block's best, \[anchors, blocks, best\]; NaN where there are fewer.
    pub scores: Global<F32>,
    /// Their items, \[anchors, blocks, best\]; `u32::MAX` where there are fewer.
    pub indices: Global<u32>,
    /// Those of all blocks, \[anchors, best\].
    pub best_scores: Global<F32>,
    /// Their items, \[anchors, best\].
    pub best_indices: Global<u32>,
    /// Candidates per anchor, at most [`MOST`].
    pub best: u32,
    /// Blocks that share the gallery.
    pub blocks: u32,
    /// The index of the first item.
    pub offset: u32,
    /// 1 where an anchor that is zero finds nothing.
    pub zeros_are_missing: u32,
}

/// The parameters of [`nearest_f16`], [`nearest_bf16`] and [`nearest_i8`]: of blocks of [`tensor::THREADS`], so many
/// across as share the gallery, and one down for [`tensor::ROWS`] anchors. Of [`Pairs`] and its items they read the
/// squares, the volumes and which are there, and the rest only where near pairs are computed.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scan {
    /// What is looked for, and where the lists are.
    pub nearest: Nearest,
    /// Anchors and gallery, narrow.
    pub operands: Operands,
}

/// A place in a list.
#[derive(Clone, Copy)]
struct Candidate {
    score: F32,
    index: u32,
}

impl Candidate {
    /// After every candidate.
    const NONE: Self = Candidate {
        score: F32(f32::NAN),
        index: u32::MAX,
    };

    #[inline(always)]
    fn before(self, other: Self) -> bool {
        let (a, b) = (self.index as usize, other.index as usize);
        Order::Ascending.before((self.score, a), (other.score, b))
    }

    /// The candidate of a lane.
    #[inline(always)]
    fn of_lane(self, thread: Thread<'_>, lane: u32) -> Self {
        Candidate {
            score: thread.shuffle(self.score, lane),
            index: thread.shuffle(self.index, lane),
        }
    }
}

/// Puts the candidates of some lanes, those that `offered` marks, into the list of a warp.
#[inline(always)]
fn insert(
    thread: Thread<'_>,
    list: &mut Candidate,
    best: u32,
    candidate: Candidate,
    offered: bool,
) {
    let worst = list.of_lane(thread, best - 1);
    let mut left = thread.ballot(offered && candidate.before(worst));
    while left != 0 {
        let next = candidate.of_lane(thread, left.trailing_zeros());
        left &= left - 1;
        let place = thread.ballot(next.before(*list)).trailing_zeros();
        let lane = thread.lane();
        let above = list.of_lane(thread, lane.saturating_sub(1));
        if lane == place {
            *list = next;
        } else if lane > place {
            *list = above;
        }
    }
    if thread.lane() >= best {
        *list = Candidate::NONE;
    }
}

/// The best of each anchor among the tiles of a block, which takes them in turn; blocks down take other anchors.
#[inline(always)]
pub fn nearest(thread: Thread<'_>, p: Nearest) {
    let pairs = p.pairs;
    let scores = Shared::<F32>::new(PAIRS_SHARED, TILE * MOST);
    let indices = Shared::<u32>::new(PAIRS_SHARED + TILE * MOST, TILE * MOST);
    let lane = thread.lane();
    let first_row = thread.block_y() * TILE;
    let own_rows = rows_of_warp(thread);
    for row in own_rows.clone() {
        thread.write_shared(scores, row * MOST + lane, Candidate::NONE.score);
        thread.write_shared(indices, row * MOST + lane, Candidate::NONE.index);
    }
    let mut column = thread.block() * TILE;
    while column < pairs.items.items {
        distances(
            thread,
            pairs,
            [first_row, column],
            no_coordinate,
            |i, j, inside, distance| {
                // The lane that comes here again is the one that wrote.
                let at = (i as u32 - first_row) * MOST + lane;
                let mut list = Candidate {
                    score: thread.read_shared(scores, at),
                    index: thread.read_shared(indices, at),
                };
                let there = inside && thread.read(pairs.items.any, j) != F32::ZERO;
                let candidate = Candidate {
                    score: if there {
                        pairs.score(thread, j, distance)
                    } else {
                        F32::ZERO
                    },
                    index: p.offset.wrapping_add(j as u32),
                };
                insert(thread, &mut list, p.best, candidate, there);
                thread.write_shared(scores, at, list.score);
                thread.write_shared(indices, at, list.index);
            },
        );
        column += thread.blocks() * TILE;
    }
    for row in own_rows {
        let i = first_row + row;
        if i < pairs.rows && lane < p.best {
            let list = (i * p.blocks + thread.block()) as usize * p.best as usize;
            let at = list + lane as usize;
            thread.write(p.scores, at, thread.read_shared(scores, row * MOST + lane));
            thread.write(
                p.indices,
                at,
                thread.read_shared(indices, row * MOST + lane),
            );
        }
    }
}

/// Anchors of a warp.
const ROWS_PER_WARP: u32 = ROWS * WARP / tensor::THREADS;
/// From one row of the distances in shared memory to the next.
const PITCH: u32 = COLUMNS + 1;
const _: () = assert!(ROWS * PITCH <= tensor::SHARED);

/// A list in global memory, a candidate per lane.
#[derive(Clone, Copy)]
struct List {
    scores: Global<F32>,
    indices: Global<u32>,
    best: u32,
}

impl List {
    /// That of an anchor and a block.
    #[inline(always)]
    fn of(p: Nearest, i: u32, block: u32) -> Self {
        let (at, best) = ((i * p.blocks + block) as usize, p.best as usize);
        List {
            scores: p.scores.row(at, best),
            indices: p.indices.row(at, best),
            best: p.best,
        }
    }

    #[inline(always)]
    fn read(self, thread: Thread<'_>) -> Candidate {
        let lane = thread.lane() as usize;
        if lane >= self.best as usize {
            return Candidate::NONE;
        }
        Candidate {
            score: thread.read(self.scores, lane),
            index: thread.read(self.indices, lane),
        }
    }

    #[inline(always)]
    fn write(self, thread: Thread<'_>, candidate: Candidate) {
        let lane = thread.lane() as usize;
        if lane < self.best as usize {
            thread.write(self.scores, lane, candidate.score);
            thread.write(self.indices, lane, candidate.index);
        }
    }
}

/// The best of each anchor among the tiles of a block.
#[inline(always)]
fn scan<const NEAR: bool>(thread: Thread<'_>, p: Scan, format: Format) {
    let Scan {
        nearest: n,
        operands,
    } = p;
    let (pairs, lane) = (n.pairs, thread.lane());
    let first_row = thread.block_y() * ROWS;
    let own = thread.index() / WARP * ROWS_PER_WARP;
    let rows = ROWS_PER_WARP.min(pairs.rows.saturating_sub(first_row + own));
    for r in 0..rows {
        List::of(n, first_row + own + r, thread.block()).write(thread, Candidate::NONE);
    }
    // Of row l of the warp lane l has the worst.
    let mut worst = Candidate::NONE;
    let memory = Shared::<F32>::new(0, ROWS * PITCH);
    let mut column = thread.block() * COLUMNS;
    while column < pairs.items.items {
        let tile = tensor::Tile {
            thread,
            format,
            pairs,
            operands,
            first: [first_row, column],
        };
        let numbers = tile.distances::<NEAR>(no_coordinate);
        tile.for_each(|[i, j, part], [row, item], _| {
            let at = (row as u32 - first_row) * PITCH + (item as u32 - column);
            thread.write_shared(memory, at, numbers[i][j][part]);
        });
        thread.sync_threads();
        for r in 0..rows {
            let list = List::of(n, first_row + own + r, thread.block());
            let mut limit = worst.of_lane(thread, r);
            for half in 0..COLUMNS / WARP {
                let within = half * WARP + lane;
                let j = (column + within) as usize;
                let mut there = j < pairs.items.items as usize;
                let mut score = F32::ZERO;
                if there {
                    let distance = thread.read_shared(memory, (own + r) * PITCH + within);
                    score = pairs.score(thread, j, distance);
                    there = thread.read(pairs.items.any, j) != F32::ZERO;
                }
                let index = n.offset.wrapping_add(j as u32);
                let candidate = Candidate { score, index };
                let better = there && candidate.before(limit);
                if thread.ballot(better) != 0 {
                    let mut found = list.read(thread);
                    insert(thread, &mut found, n.best, candidate, better);
                    list.write(thread, found);
                    limit = found.of_lane(thread, n.best - 1);
                }
            }
            if lane == r {
                worst = limit;
            }
        }
        thread.sync_threads();
        column += thread.blocks() * COLUMNS;
    }
}

/// The best of each anchor among the tiles of a block, of a gallery in binary16.
#[inline(always)]
pub fn nearest_f16<const NEAR: bool>(thread: Thread<'_>, p: Scan) {
    scan::<NEAR>(thread, p, Format::F16);
}

/// The best of each anchor among the tiles of a block, of a gallery in bf16.
#[inline(always)]
pub fn nearest_bf16<const NEAR: bool>(thread: Thread<'_>, p: Scan) {
    scan::<NEAR>(thread, p, Format::Bf16);
}

/// The best of each anchor among the tiles of a block, of a gallery in eight bits: the products are exact integers.
#[inline(always)]
pub fn nearest_i8<const NEAR: bool>(thread: Thread<'_>, p: Scan) {
    scan::<NEAR>(thread, p, Format::I8);
}

/// The best of all blocks' best; a warp per anchor.
#[inline(always)]
pub fn merge(thread: Thread<'_>, p: Nearest) {
    let Some(i) = warp_of_grid(thread, p.pairs.rows) else {
        return;
    };
    let (lane, best) = (thread.lane() as usize, p.best as usize);
    let mut list = Candidate::NONE;
    for block in 0..p.blocks as usize {
        let at = (i * p.blocks as usize + block) * best + lane;
        let mut candidate = Candidate::NONE;
        if lane < best {
            candidate = Candidate {
                score: thread.read(p.scores, at),
                index: thread.read(p.indices, at),
            };
        }
        let is_one = candidate.index != u32::MAX;
        insert(thread, &mut list, p.best, candidate, is_one);
    }
    let is_zero = ops::is_zero(thread.read(p.pairs.squares, i));
    if p.zeros_are_missing != 0 && is_zero {
        list = Candidate::NONE;
    }
    if lane < best {
        thread.write(p.best_scores, i * best + lane, list.score);
        thread.write(p.best_indices, i * best + lane, list.index);
    }
}
