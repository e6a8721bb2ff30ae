//! The nearest items of anchors on a device: a gallery in parts that fit its memory.

use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::Search;
use rivergram_cuda_kernels::device::Global;
use rivergram_cuda_kernels::kernels::pairs::TILE;
use rivergram_cuda_kernels::kernels::prepare::Normalise;
use rivergram_cuda_kernels::kernels::search::{MOST, Nearest};
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::device::{Counted, Device, Queue, Session, check_blocks, count, countable, split};
use super::driver::{Room, Task, warps};
use super::pairs::{Given, Inputs, check_sizes, code, fewer};

/// How anchors are looked for: their sizes \[anchors, m, items, d\], of which the items are a part of the gallery, into how
/// many parts that goes, how many are found, by what, and how many blocks keep the device busy.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    sizes: [usize; 4],
    parts: usize,
    best: u32,
    measure: u32,
    waves: u32,
}

/// The most anchors at a time.
const ROWS: usize = 1 << 16;

/// The best of each anchor, \[anchors, best\]: where there are fewer, NaN and `u32::MAX`.
#[derive(Clone, Copy)]
pub(super) struct Best {
    pub(super) scores: Global<F32>,
    pub(super) indices: Global<u32>,
}

impl Plan {
    /// Of a gallery in one part.
    pub(super) fn new(
        search: Search,
        best: usize,
        sizes: [usize; 4],
        waves: u32,
    ) -> Result<Self, Failure> {
        check_sizes(sizes)?;
        if search.tile == 0 || best == 0 {
            return Err(Failure::Input);
        }
        if best > MOST as usize {
            return Err(Failure::NoKernel("a search for more than 32"));
        }
        if search.zero_rows != ZeroRows::Missing {
            return Err(Failure::NoKernel("a search whose zero vectors are there"));
        }
        let ends = search.offset.checked_add(sizes[2]).ok_or(Failure::Size)?;
        countable(&[ends.saturating_add(1)])?;
        Ok(Plan {
            sizes,
            parts: 1,
            best: count(best)?,
            measure: code(search.measure)?,
            waves,
        })
    }

    /// Of so many anchors, and of so many items at a time.
    fn of(self, [a, b]: [usize; 2]) -> Self {
        let [_, m, items, d] = self.sizes;
        Plan {
            sizes: [a, m, b, d],
            parts: items.div_ceil(b.max(1)),
            ..self
        }
    }

    /// Blocks of a launch: across they share the items of a part, down each has a tile of anchors.
    fn blocks(self) -> Result<[u32; 2], Failure> {
        let [a, _, b, _] = self.sizes;
        let down = count(a.div_ceil(TILE as usize))?;
        let tiles = count(b.div_ceil(TILE as usize))?;
        Ok([(self.waves / down.max(1)).clamp(1, tiles.max(1)), down])
    }
}

/// The search of anchors among items that lie on the device.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    /// With the lists of all parts, and those of the vectors that are there and not zero.
    p: Nearest,
    /// Blocks across, of a part.
    across: u32,
    present: Global<F32>,
    inverse_norm: Global<F32>,
}

impl Lists {
    /// With room for all but the inputs and the best.
    pub(super) fn new(
        queue: &mut impl Queue,
        plan: Plan,
        inputs: Inputs,
        best: Best,
    ) -> Result<Self, Failure> {
        let [a, m, b, _] = plan.sizes;
        let [across, down] = plan.blocks()?;
        check_blocks([across, down])?;
        let lists = count(plan.parts)?
            .checked_mul(across)
            .ok_or(Failure::Size)?;
        countable(&[a, lists as usize])?;
        let len = (a * lists as usize).saturating_mul(plan.best as usize);
        let there = Inputs {
            present: queue.room(m * b)?,
            ..inputs
        };
        let blocks = across.checked_mul(down).ok_or(Failure::Size)?;
        Ok(Lists {
            p: Nearest {
                pairs: there.pairs(queue, plan.sizes, blocks, plan.measure)?,
                scores: queue.room(len)?,
                indices: queue.room(len)?,
                best_scores: best.scores,
                best_indices: best.indices,
                best: plan.best,
                blocks: lists,
                offset: 0,
                zeros_are_missing: 1,
            },
            across,
            present: inputs.present,
            inverse_norm: queue.room(m * b)?,
        })
    }

    /// With room for the inputs and the best too.
    fn whole(queue: &mut impl Queue, plan: Plan) -> Result<(Self, Inputs), Failure> {
        let inputs = Inputs::room(queue, plan.sizes)?;
        let len = plan.sizes[0] * plan.best as usize;
        let best = Best {
            scores: queue.room(len)?,
            indices: queue.room(len)?,
        };
        Ok((Lists::new(queue, plan, inputs, best)?, inputs))
    }

    /// In the same room for fewer anchors and items.
    fn of(self, sizes: [usize; 2]) -> Result<Self, Failure> {
        let p = Nearest {
            pairs: fewer(self.p.pairs, sizes)?,
            ..self.p
        };
        Ok(Lists { p, ..self })
    }

    /// Queues which vectors of a part are there and not zero, and the bases of its items.
    pub(super) fn queue_items(&self, queue: &mut impl Queue) -> Result<(), Failure> {
        let items = self.p.pairs.items;
        // Which are zero is found by normalising them into what the bases overwrite.
        let find = Normalise {
            vectors: items.vectors,
            present: self.present,
            unit: items.q,
            there: items.present,
            inverse_norm: self.inverse_norm,
            rows: items.m * items.items,
            d: items.d,
        };
        queue.launch(&Task::Normalise(find), warps(find.rows))?;
        queue.launch(&Task::Bases(items), warps(items.items))
    }

    /// Queues the lengths of the anchors.
    pub(super) fn queue_anchors(&self, queue: &mut impl Queue) -> Result<(), Failure> {
        let pairs = self.p.pairs;
        queue.launch(&Task::Squares(pairs), warps(pairs.rows))
    }

    /// Queues the lists of part `index` of the gallery, whose first item has the index `offset`.
    pub(super) fn queue_part(
        &self,
        queue: &mut impl Queue,
        index: usize,
        offset: usize,
    ) -> Result<(), Failure> {
        let Nearest {
            pairs,
            scores,
            indices,
            best,
            ..
        } = self.p;
        let first = index * self.across as usize * best as usize;
        let p = Nearest {
            scores: scores.part(first, scores.len() - first),
            indices: indices.part(first, indices.len() - first),
            offset: count(offset)?,
            ..self.p
        };
        let down = pairs.rows.div_ceil(TILE);
        queue.launch(&Task::Nearest(p), [self.across, down])
    }

    /// Queues the best of all lists.
    pub(super) fn queue_best(&self, queue: &mut impl Queue) -> Result<(), Failure> {
        queue.launch(&Task::Merge(self.p), warps(self.p.pairs.rows))
    }
}

/// Numbers that a search takes besides its inputs and the best; `u64::MAX` for what is refused.
pub(super) fn nearest_words(plan: Result<Plan, Failure>) -> u64 {
    Counted::of(|queue| {
        let plan = plan?;
        let best = Best {
            scores: Global::new(0, 0),
            indices: Global::new(0, 0),
        };
        Lists::new(queue, plan, Inputs::at([0; 3], plan.sizes), best)
    })
}

impl Device {
    /// [`nearest`](rivergram_core::gram::search::nearest) by the kernels: offers the best items to `top` \[anchors\];
    /// returns how many items are dependent. The gallery goes by in parts that fit the device's memory. Waits for the
    /// result, once per part of the anchors, and for each part of the gallery.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, more than 32 best, more than 32 vectors per item, zero vectors that are there.
    /// [`Failure::Input`]: what core refuses. Others: what became of the device. After an error `top` is as it was.
    pub fn nearest<const K: usize>(
        &self,
        search: Search,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        top: &mut [TopK<f32, K>],
    ) -> Result<usize, Failure> {
        let given = Given {
            anchors,
            items,
            present,
            sizes,
        };
        given.check()?;
        let [b1, _, b2, _] = sizes;
        if top.len() != b1 {
            return Err(Failure::Input);
        }
        let plan = Plan::new(search, K, sizes, self.waves())?;
        let mut session = self.session()?;
        let budget = session.budget()?;
        let [a, b] = split([b1.min(ROWS), b2], budget, |sizes| {
            Counted::of(|queue| Lists::whole(queue, plan.of(sizes))).saturating_mul(4)
        })?;
        let (lists, inputs) = Lists::whole(&mut session, plan.of([a, b]))?;
        let mut found = Vec::new();
        let mut degenerate = 0;
        for row in (0..b1).step_by(a) {
            let rows = a.min(b1 - row);
            given.load_anchors(&mut session, inputs, [row, rows])?;
            let these = lists.of([rows, b])?;
            these.queue_anchors(&mut session)?;
            for (index, column) in (0..b2).step_by(b).enumerate() {
                let n = b.min(b2 - column);
                given.load_items(&mut session, inputs, [column, n])?;
                let part = lists.of([rows, n])?;
                part.queue_items(&mut session)?;
                part.queue_part(&mut session, index, search.offset + column)?;
                if row == 0 {
                    degenerate += self::degenerate(&mut session, &part)?;
                }
            }
            these.queue_best(&mut session)?;
            let [mut squares, mut score] = [vec![0.0; rows], vec![0.0; rows * K]];
            let mut index = vec![0; rows * K];
            session.download(&mut [
                (these.p.pairs.squares.at(0), Room::F32(&mut squares)),
                (these.p.best_scores.at(0), Room::F32(&mut score)),
                (these.p.best_indices.at(0), Room::U32(&mut index)),
            ])?;
            if squares.iter().any(|x| !x.is_finite()) {
                return Err(Failure::Input);
            }
            found.extend(score.into_iter().zip(index));
        }
        let is_bad = |(score, index): &(f32, u32)| *index != u32::MAX && !score.is_finite();
        if found.iter().any(is_bad) {
            return Err(Failure::Input);
        }
        for (top, best) in top.iter_mut().zip(found.chunks(K)) {
            for (score, index) in best.iter().filter(|(_, index)| *index != u32::MAX) {
                top.push(*score, *index as usize);
            }
        }
        Ok(degenerate)
    }
}

/// How many items of a part are dependent.
fn degenerate(session: &mut Session<'_>, part: &Lists) -> Result<usize, Failure> {
    let items = part.p.pairs.items;
    let n = items.items as usize;
    let mut volume = vec![0.0; n];
    let mut inverse = vec![0.0; items.m as usize * n];
    session.download(&mut [
        (items.volume.at(0), Room::F32(&mut volume)),
        (part.inverse_norm.at(0), Room::F32(&mut inverse)),
    ])?;
    if inverse.iter().chain(&volume).any(|x| !x.is_finite()) {
        return Err(Failure::Input);
    }
    Ok(volume.iter().filter(|volume| **volume <= 0.0).count())
}
