//! Anchors against items on a device: the volume matrix, and the nearest items, in parts that fit its memory.

use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::Search;
use rivergram_cuda_kernels::device::{Format, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::pairs::{Pairs, TILE, Volumes};
use rivergram_cuda_kernels::kernels::prepare::Normalise;
use rivergram_cuda_kernels::kernels::search::{MOST, Nearest};
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, Operands, Precision, TensorVolumes};
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::device::{Device, Queue, Session, count, countable, split};
use super::driver::{Numbers, Room, Task, warps};

/// Warps of a block of the products.
pub(super) const BLOCK_WARPS: u32 = 8;
const _: () = assert!(BLOCK_WARPS * 32 == tensor::THREADS);

/// The most vectors of an item that a warp holds.
const M_MAX: usize = 32;

pub(super) fn code(measure: Measure) -> Result<u32, Failure> {
    match measure {
        Measure::Volume => Ok(0),
        Measure::Distance => Ok(1),
        Measure::Cosine => Err(Failure::NoKernel("sums of cosines")),
    }
}

/// What is measured: `sizes` \[anchors, m, items, d\].
#[derive(Clone, Copy)]
struct Given<'a> {
    anchors: &'a [f32],
    items: &'a [f32],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
}

impl Given<'_> {
    fn check(&self) -> Result<(), Failure> {
        let [b1, m, b2, d] = self.sizes;
        let len = |n: usize| n.checked_mul(d);
        let flags = m.checked_mul(b2).ok_or(Failure::Size)?;
        let fits = len(b1) == Some(self.anchors.len())
            && len(flags) == Some(self.items.len())
            && self.present.is_none_or(|present| present.len() == flags)
            && b1 > 0
            && m > 0
            && b2 > 0
            && d > 0;
        if !fits {
            return Err(Failure::Input);
        }
        if m > M_MAX {
            return Err(Failure::NoKernel("items of more than 32 vectors"));
        }
        let tiles = |n: usize| n.div_ceil(TILE as usize);
        countable(&[tiles(b1), tiles(b2)])?;
        countable(&[b1.max(flags)])?;
        count(d).map(|_| ())
    }

    /// The vectors of items `start` to `start + n`, plane by plane, and their flags.
    fn part(&self, start: usize, n: usize) -> (Vec<f32>, Vec<f32>) {
        let [_, m, b2, d] = self.sizes;
        let (mut vectors, mut flags) = (Vec::with_capacity(m * n * d), Vec::with_capacity(m * n));
        for plane in 0..m {
            let first = plane * b2 + start;
            vectors.extend_from_slice(&self.items[first * d..(first + n) * d]);
            match self.present {
                Some(present) => {
                    let of = |there: &bool| f32::from(u8::from(*there));
                    flags.extend(present[first..first + n].iter().map(of));
                }
                None => flags.resize(flags.len() + n, 1.0),
            }
        }
        (vectors, flags)
    }
}

/// Floats of so many anchors, and of so many items, with their bases.
fn floats([a, b]: [usize; 2], m: usize, d: usize) -> u64 {
    let [a, b, m, d] = [a, b, m, d].map(|n| n as u64);
    a * (d + 1) + b * (2 * m * (d + 1) + m * m + 2)
}

/// The views of a part of the anchors against a part of the items.
struct Part {
    pairs: Pairs,
    flags: Global<F32>,
    inverse_norm: Global<F32>,
}

impl Part {
    fn new(
        session: &mut Session<'_>,
        [a, m, b, d]: [usize; 4],
        blocks: u32,
        measure: u32,
    ) -> Result<Self, Failure> {
        let flags = session.room(m * b)?;
        let items = Items {
            vectors: session.room(m * b * d)?,
            present: session.room(m * b)?,
            q: session.room(m * b * d)?,
            r: session.room(b * m * m)?,
            volume: session.room(b)?,
            any: session.room(b)?,
            items: count(b)?,
            m: count(m)?,
            d: count(d)?,
            skip: u32::MAX,
        };
        let warps = BLOCK_WARPS as usize * blocks as usize;
        Ok(Part {
            pairs: Pairs {
                anchors: session.room(a * d)?,
                squares: session.room(a)?,
                items,
                residuals: session.room(warps * d)?,
                rows: count(a)?,
                measure,
            },
            flags,
            inverse_norm: session.room(m * b)?,
        })
    }

    /// The same room for fewer anchors and items.
    fn of(&self, [a, b]: [usize; 2]) -> Result<Pairs, Failure> {
        let items = Items {
            items: count(b)?,
            ..self.pairs.items
        };
        Ok(Pairs {
            rows: count(a)?,
            items,
            ..self.pairs
        })
    }

    /// Copies items and makes their bases. Where zeros are missing, only what is there and not zero counts.
    fn load(
        &self,
        session: &mut Session<'_>,
        p: Pairs,
        (vectors, flags): (Vec<f32>, Vec<f32>),
        zeros_are_missing: bool,
    ) -> Result<(), Failure> {
        session.upload(Numbers::F32(&vectors), p.items.vectors)?;
        let to = if zeros_are_missing {
            self.flags
        } else {
            p.items.present
        };
        session.upload(Numbers::F32(&flags), to)?;
        if zeros_are_missing {
            // Which are zero is found by normalising them into what the bases overwrite.
            let find = Normalise {
                vectors: p.items.vectors,
                present: self.flags,
                unit: p.items.q,
                there: p.items.present,
                inverse_norm: self.inverse_norm,
                rows: p.items.m * p.items.items,
                d: p.items.d,
            };
            session.launch(&Task::Normalise(find), warps(find.rows))?;
        }
        session.launch(&Task::Bases(p.items), warps(p.items.items))
    }
}

/// Blocks that share the tiles of a matrix, of so many anchors and items each.
fn blocks([a, b]: [usize; 2], [high, wide]: [u32; 2], waves: u32) -> u32 {
    let down = a.div_ceil(high as usize);
    let all = down.saturating_mul(b.div_ceil(wide as usize)).max(1);
    u32::try_from(all).unwrap_or(u32::MAX).min(waves)
}

/// Rows and a copy of them in a narrow format.
pub(super) fn narrow_room(
    queue: &mut impl Queue,
    numbers: Global<F32>,
    [rows, d]: [usize; 2],
    format: Format,
) -> Result<Narrow, Failure> {
    let row_words = tensor::row_words(format, count(d)?);
    Ok(Narrow {
        numbers,
        words: queue.room(rows * row_words as usize)?,
        scales: queue.room(rows)?,
        rows: count(rows)?,
        d: count(d)?,
        row_words,
        format: format as u32,
    })
}

/// Anchors and bases in the format of a precision.
struct Copies {
    anchors: Narrow,
    q: Narrow,
}

impl Copies {
    fn new(
        session: &mut Session<'_>,
        pairs: Pairs,
        [a, m, b, d]: [usize; 4],
        format: Format,
    ) -> Result<Self, Failure> {
        Ok(Copies {
            anchors: narrow_room(session, pairs.anchors, [a, d], format)?,
            q: narrow_room(session, pairs.items.q, [m * b, d], format)?,
        })
    }

    /// Numbers of them, of so many anchors and items.
    fn words([a, m, b, d]: [usize; 4], format: Format) -> u64 {
        let row_words = tensor::row_words(format, u32::try_from(d).unwrap_or(u32::MAX));
        (a as u64 + m as u64 * b as u64).saturating_mul(u64::from(row_words) + 1)
    }

    fn operands(&self) -> Operands {
        Operands::of(self.anchors, self.q, true)
    }
}

/// Makes a narrow copy of so many rows.
pub(super) fn narrow(queue: &mut impl Queue, p: Narrow, rows: u32) -> Result<(), Failure> {
    queue.launch(&Task::Narrow(Narrow { rows, ..p }), warps(rows))
}

impl Device {
    /// [`volume_matrix`](rivergram_core::gram::pair::volume_matrix) by the kernels: `sizes` is \[anchors, m, items, d\],
    /// `out` \[anchors, items\]. What does not fit the device's memory goes by in parts. Waits for each part. As precise as
    /// [`Device::precision`] says; what is rounded is off by so much times the lengths of the vectors.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, more than 32 vectors per item. [`Failure::Input`]: what core refuses. Others: what
    /// became of the device. After an error `out` is unspecified.
    pub fn volume_matrix(
        &self,
        measure: Measure,
        anchors: &[f32],
        items: &[f32],
        present: Option<&[bool]>,
        sizes: [usize; 4],
        out: &mut [f32],
    ) -> Result<(), Failure> {
        let given = Given {
            anchors,
            items,
            present,
            sizes,
        };
        given.check()?;
        let [b1, m, b2, d] = sizes;
        if b1.checked_mul(b2) != Some(out.len()) {
            return Err(Failure::Input);
        }
        let measure = code(measure)?;
        let mut session = self.session()?;
        let budget = session.budget()?;
        let format = session.precision().format();
        let tile = match format {
            None => [TILE; 2],
            Some(_) => [tensor::ROWS, tensor::COLUMNS],
        };
        let blocks = |sizes| blocks(sizes, tile, self.waves());
        let [a, b] = split([b1, b2], budget, |[a, b]| {
            let warps = u64::from(BLOCK_WARPS * blocks([a, b]));
            let matrix = (a as u64).saturating_mul(b as u64);
            let narrow = format.map_or(0, |format| Copies::words([a, m, b, d], format));
            4 * (floats([a, b], m, d) + warps * d as u64 + narrow).saturating_add(matrix)
        })?;
        let part = Part::new(&mut session, [a, m, b, d], blocks([a, b]), measure)?;
        let copies = match format {
            None => None,
            Some(format) => Some(Copies::new(&mut session, part.pairs, [a, m, b, d], format)?),
        };
        let matrix: Global<F32> = session.room(a * b)?;
        let mut found = vec![0.0; a * b];
        for column in (0..b2).step_by(b) {
            let n = b.min(b2 - column);
            part.load(&mut session, part.of([a, n])?, given.part(column, n), false)?;
            if let Some(copies) = &copies {
                narrow(&mut session, copies.q, count(m * n)?)?;
            }
            for row in (0..b1).step_by(a) {
                let rows = a.min(b1 - row);
                let pairs = part.of([rows, n])?;
                let these = &anchors[row * d..(row + rows) * d];
                session.upload(Numbers::F32(these), pairs.anchors)?;
                session.launch(&Task::Squares(pairs), warps(pairs.rows))?;
                let task = match &copies {
                    None => Task::Volumes(Volumes { pairs, out: matrix }),
                    Some(copies) => {
                        narrow(&mut session, copies.anchors, pairs.rows)?;
                        let p = TensorVolumes {
                            pairs,
                            operands: copies.operands(),
                            out: matrix,
                        };
                        match session.precision() {
                            Precision::Bf16 => Task::VolumesBf16(p),
                            _ => Task::VolumesTf32(p),
                        }
                    }
                };
                session.launch(&task, [blocks([rows, n]), 1])?;
                let found = &mut found[..rows * n];
                session.download(&mut [(matrix.at(0), Room::F32(found))])?;
                for (i, scores) in found.chunks(n).enumerate() {
                    let at = (row + i) * b2 + column;
                    out[at..at + n].copy_from_slice(scores);
                }
            }
        }
        // Numbers that are none, or too large: core says where.
        if out.iter().all(|x| x.is_finite()) {
            Ok(())
        } else {
            Err(Failure::Input)
        }
    }

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
        let [b1, m, b2, d] = sizes;
        if top.len() != b1 || search.tile == 0 || K == 0 {
            return Err(Failure::Input);
        }
        if K > MOST as usize {
            return Err(Failure::NoKernel("a search for more than 32"));
        }
        if search.zero_rows != ZeroRows::Missing {
            return Err(Failure::NoKernel("a search whose zero vectors are there"));
        }
        let ends = search.offset.checked_add(b2).ok_or(Failure::Size)?;
        countable(&[ends.saturating_add(1)])?;
        let measure = code(search.measure)?;
        let mut session = self.session()?;
        let budget = session.budget()?;
        let waves = self.waves();
        // Rows of tiles are shared out already: each takes its share of the blocks across.
        let across = |[a, b]: [usize; 2]| {
            let down = count(a.div_ceil(TILE as usize)).unwrap_or(u32::MAX);
            let tiles = count(b.div_ceil(TILE as usize)).unwrap_or(u32::MAX);
            (waves / down.max(1)).clamp(1, tiles.max(1))
        };
        let lists = |[a, b]: [usize; 2]| {
            let parts = b2.div_ceil(b) as u64 * u64::from(across([a, b]));
            (a as u64)
                .saturating_mul(parts + 1)
                .saturating_mul(2 * K as u64)
        };
        let rows = b1.min(1 << 16);
        let [a, b] = split([rows, b2], budget, |[a, b]| {
            let down = a.div_ceil(TILE as usize) as u64;
            let warps = u64::from(BLOCK_WARPS * across([a, b])) * down;
            let held = floats([a, b], m, d) + 2 * (m * b) as u64 + warps * d as u64;
            4 * held.saturating_add(lists([a, b]))
        })?;
        let per_part = across([a, b]);
        let parts = count(b2.div_ceil(b))?;
        let blocks = per_part.checked_mul(parts).ok_or(Failure::Size)?;
        countable(&[a, blocks as usize])?;
        let down = count(a.div_ceil(TILE as usize))?;
        let part = Part::new(&mut session, [a, m, b, d], per_part * down, measure)?;
        let (list, best) = (blocks as usize * K, a * K);
        let scores: Global<F32> = session.room(a * list)?;
        let indices: Global<u32> = session.room(a * list)?;
        let best_scores: Global<F32> = session.room(best)?;
        let best_indices: Global<u32> = session.room(best)?;
        let mut found = Vec::new();
        let mut degenerate = 0;
        for row in (0..b1).step_by(a) {
            let rows = a.min(b1 - row);
            let these = &anchors[row * d..(row + rows) * d];
            session.upload(Numbers::F32(these), part.pairs.anchors)?;
            let squares = part.of([rows, b])?;
            session.launch(&Task::Squares(squares), warps(squares.rows))?;
            for (index, column) in (0..b2).step_by(b).enumerate() {
                let n = b.min(b2 - column);
                let pairs = part.of([rows, n])?;
                part.load(&mut session, pairs, given.part(column, n), true)?;
                // The lists of this part of the gallery, among those of all.
                let first = index * per_part as usize * K;
                let p = Nearest {
                    pairs,
                    scores: scores.part(first, scores.len() - first),
                    indices: indices.part(first, indices.len() - first),
                    best_scores,
                    best_indices,
                    best: K as u32,
                    blocks,
                    offset: count(search.offset + column)?,
                    zeros_are_missing: 1,
                };
                let down = count(rows.div_ceil(TILE as usize))?;
                session.launch(&Task::Nearest(p), [per_part, down])?;
                if row == 0 {
                    degenerate += self::degenerate(&mut session, &part, pairs)?;
                }
            }
            let p = Nearest {
                pairs: part.of([rows, b])?,
                scores,
                indices,
                best_scores,
                best_indices,
                best: K as u32,
                blocks,
                offset: 0,
                zeros_are_missing: 1,
            };
            session.launch(&Task::Merge(p), warps(p.pairs.rows))?;
            let [mut squares, mut score] = [vec![0.0; rows], vec![0.0; rows * K]];
            let mut index = vec![0; rows * K];
            session.download(&mut [
                (part.pairs.squares.at(0), Room::F32(&mut squares)),
                (best_scores.at(0), Room::F32(&mut score)),
                (best_indices.at(0), Room::U32(&mut index)),
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
fn degenerate(session: &mut Session<'_>, part: &Part, p: Pairs) -> Result<usize, Failure> {
    let n = p.items.items as usize;
    let mut volume = vec![0.0; n];
    let mut inverse = vec![0.0; p.items.m as usize * n];
    session.download(&mut [
        (p.items.volume.at(0), Room::F32(&mut volume)),
        (part.inverse_norm.at(0), Room::F32(&mut inverse)),
    ])?;
    if inverse.iter().chain(&volume).any(|x| !x.is_finite()) {
        return Err(Failure::Input);
    }
    Ok(volume.iter().filter(|volume| **volume <= 0.0).count())
}
