//! The nearest items of anchors among bases that are stored in 16 or 8 bits, on tensor cores, in parts that fit a device's
//! memory: candidates, whose vectors are then scored.
//!
//! A list of a kernel has 32 places, and more candidates than that may be wanted. So the lists of all blocks come to the
//! host, which knows of each list that is full what it may have left out: nothing that is better than its last place.

use std::cmp::Ordering;

use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::retrieval::Order;
use rivergram_core::gram::search::Search;
use rivergram_core::gram::stored::{Numbers as Kept, Stored};
use rivergram_core::lanes::One;
use rivergram_core::ops;
use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::device::{Format, Global};
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::pairs::Pairs;
use rivergram_cuda_kernels::kernels::search::{MOST, Nearest, Scan};
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, Operands, Precision, row_words};
use rivergram_cuda_kernels::lanes::F32;

use super::Failure;
use super::device::{Device, Queue, Session, count, countable, split};
use super::driver::{Numbers, Room, Task, warps};
use super::pairs::{code, narrow, narrow_room};

/// Candidates that are wanted per list: so few, so that hardly ever more than [`MOST`] of them are in one.
const PER_LIST: usize = 8;

/// The most anchors at a time.
const ANCHORS: usize = 1 << 12;

/// Anchors times powers of two, so that the largest number of each is from 1 to 2: a format of 16 bits holds them then, and
/// the order of their candidates is the same. And which of them are zero.
fn scaled(anchors: &[f32], d: usize) -> Result<(Vec<f32>, Vec<bool>), Failure> {
    let mut found = anchors.to_vec();
    let mut zeros = Vec::with_capacity(anchors.len() / d);
    for row in found.chunks_mut(d) {
        let square = ops::dot(One::<f32>::new(), row, row);
        if !square.is_finite() {
            return Err(Failure::Input);
        }
        let is_zero = ops::is_zero(square);
        zeros.push(is_zero);
        let most = row.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        // The exponent as it is stored; the square is in range, so this is far from either end.
        let exponent = most.to_bits() >> 23;
        let factor = match is_zero {
            true => 0.0,
            false => f32::from_bits((254 - exponent.min(253)) << 23),
        };
        row.iter_mut().for_each(|x| *x *= factor);
    }
    Ok((found, zeros))
}

/// What is looked for, and how the bases are multiplied.
struct Given<'a> {
    search: Search,
    stored: &'a Stored<'a>,
    format: Format,
    /// Candidates of each anchor.
    most: usize,
    measure: u32,
}

/// A candidate: its score and its index.
type Candidate = (f32, usize);

fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    if a == b {
        Ordering::Equal
    } else if Order::Ascending.before(*a, *b) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

/// The best candidates of an anchor so far.
#[derive(Clone, Default)]
struct Best {
    candidates: Vec<Candidate>,
    /// The first of those that were last in a full list: what no list has comes after it.
    limit: Option<Candidate>,
}

impl Best {
    /// Takes a list, best first; `u32::MAX` marks places without a candidate.
    fn add(&mut self, scores: &[f32], indices: &[u32]) -> Result<(), Failure> {
        let found = scores.iter().zip(indices);
        let found = found.take_while(|(_, index)| **index != u32::MAX);
        let mut last = None;
        let before = self.candidates.len();
        for (score, index) in found {
            if !score.is_finite() {
                return Err(Failure::Input);
            }
            last = Some((*score, *index as usize));
            self.candidates.extend(last);
        }
        if self.candidates.len() - before == scores.len() {
            let first = |a: Candidate, b: Candidate| if compare(&a, &b).is_lt() { a } else { b };
            self.limit = match (self.limit, last) {
                (Some(a), Some(b)) => Some(first(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(())
    }

    /// Keeps the best `most`.
    fn keep(&mut self, most: usize) {
        if self.candidates.len() > most {
            self.candidates.select_nth_unstable_by(most, compare);
            self.candidates.truncate(most);
        }
    }

    /// The indices of the best, if none can be missing.
    fn done(mut self, most: usize) -> Option<Vec<usize>> {
        self.candidates.sort_unstable_by(compare);
        let is_whole = self.limit.is_none_or(|limit| {
            let worst = self
                .candidates
                .last()
                .filter(|_| self.candidates.len() == most);
            worst.is_some_and(|worst| compare(worst, &limit).is_le())
        });
        is_whole.then(|| {
            self.candidates
                .into_iter()
                .map(|(_, index)| index)
                .collect()
        })
    }
}

impl<'a> Given<'a> {
    fn new(
        search: Search,
        anchors: &[f32],
        stored: &'a Stored<'a>,
        most: usize,
        precision: Precision,
    ) -> Result<Self, Failure> {
        let Stored { m, items, d, .. } = *stored;
        let flags = m.checked_mul(items).ok_or(Failure::Size)?;
        let numbers = flags.checked_mul(d).ok_or(Failure::Size)?;
        let (format, len, scales) = match stored.q {
            Kept::Half(Half::F16, q) => (Format::F16, q.len(), flags),
            Kept::Half(Half::Bf16, q) => (Format::Bf16, q.len(), flags),
            Kept::Int8(q, scales) => (Format::I8, q.len(), scales.len()),
            Kept::F32(q) if precision == Precision::Bf16 => (Format::Bf16, q.len(), flags),
            Kept::F32(_) => return Err(Failure::NoKernel("a scan of bases in f32")),
        };
        let fits = numbers > 0
            && len == numbers
            && scales == flags
            && stored.volume.len() == items
            && stored.present.len() == flags
            && !anchors.is_empty()
            && anchors.len().is_multiple_of(d)
            && most > 0;
        if !fits || d > rivergram_core::gram::int8::MOST_DIMENSIONS && format == Format::I8 {
            return Err(Failure::Input);
        }
        if search.zero_rows != ZeroRows::Missing {
            return Err(Failure::NoKernel("a search whose zero vectors are there"));
        }
        countable(&[search
            .offset
            .checked_add(items)
            .ok_or(Failure::Size)?
            .saturating_add(1)])?;
        countable(&[flags])?;
        Ok(Given {
            search,
            stored,
            format,
            most,
            measure: code(search.measure)?,
        })
    }

    fn row_words(&self) -> usize {
        row_words(
            self.format,
            u32::try_from(self.stored.d).unwrap_or(u32::MAX),
        ) as usize
    }

    /// Whether the bases are made narrow on the device.
    fn is_wide(&self) -> bool {
        matches!(self.stored.q, Kept::F32(_))
    }

    /// Places of a list.
    fn places(&self) -> usize {
        self.most.min(MOST as usize)
    }

    /// Lists of each anchor: blocks that share the items of a part.
    fn lists(&self, [a, b]: [usize; 2], waves: u32) -> usize {
        let tiles = |n: usize, tile: u32| n.div_ceil(tile as usize).max(1);
        let busy = waves as usize / tiles(a, tensor::ROWS);
        let enough = self.most.div_ceil(PER_LIST);
        busy.max(enough).clamp(1, tiles(b, tensor::COLUMNS))
    }

    /// Bytes for so many anchors and items at a time.
    fn bytes(&self, [a, b]: [usize; 2], waves: u32) -> u64 {
        let lists = 2 * self.lists([a, b], waves) * self.places();
        let Stored { m, d, .. } = *self.stored;
        let [a, b, m, d] = [a, b, m, d].map(|n| n as u64);
        let words = self.row_words() as u64;
        let wide = if self.is_wide() { m * d } else { 0 };
        let of_anchor = d + 2 + words + lists as u64;
        let of_item = m * (words + 1) + wide + 2;
        4 * a
            .saturating_mul(of_anchor)
            .saturating_add(b.saturating_mul(of_item))
    }

    /// The numbers of items `first` to `first + n`, as words of whole rows, plane by plane.
    fn words(&self, first: usize, n: usize) -> Vec<u32> {
        let Stored { m, items, d, .. } = *self.stored;
        let row_words = self.row_words();
        let mut words = vec![0; m * n * row_words];
        let planes = (0..m).map(|p| (p * items + first) * d..(p * items + first + n) * d);
        for (place, to) in planes.zip(words.chunks_mut(n * row_words)) {
            let to = to.chunks_mut(row_words);
            match self.stored.q {
                Kept::Half(_, q) => {
                    for (to, row) in to.zip(q[place].chunks(d)) {
                        for (to, pair) in to.iter_mut().zip(row.chunks(2)) {
                            let high = pair.get(1).map_or(0, |x| u32::from(*x));
                            *to = u32::from(pair[0]) | high << 16;
                        }
                    }
                }
                Kept::Int8(q, _) => {
                    for (to, row) in to.zip(q[place].chunks(d)) {
                        for (to, four) in to.iter_mut().zip(row.chunks(4)) {
                            let byte = |i: usize| four.get(i).map_or(0, |x| x.cast_unsigned());
                            *to = u32::from_le_bytes([0, 1, 2, 3].map(byte));
                        }
                    }
                }
                Kept::F32(_) => {}
            }
        }
        words
    }

    /// Rows of a table \[m, items\] that belong to some items.
    fn part<T: Copy>(&self, table: &[T], each: usize, first: usize, n: usize) -> Vec<T> {
        let Stored { m, items, .. } = *self.stored;
        let planes = (0..m).map(|p| (p * items + first) * each..(p * items + first + n) * each);
        planes
            .flat_map(|place| table[place].iter().copied())
            .collect()
    }

    /// Whether anything of an item is there, as numbers.
    fn any(&self, first: usize, n: usize) -> Vec<f32> {
        let Stored {
            m, items, present, ..
        } = *self.stored;
        let any = |j: usize| (0..m).any(|p| present[p * items + j] != 0.0);
        (first..first + n)
            .map(|j| f32::from(u8::from(any(j))))
            .collect()
    }
}

/// The views of a part.
struct Part {
    pairs: Pairs,
    anchors: Narrow,
    q: Narrow,
    scores: Global<F32>,
    indices: Global<u32>,
}

impl Part {
    fn new(
        session: &mut Session<'_>,
        given: &Given<'_>,
        [a, b]: [usize; 2],
        lists: usize,
    ) -> Result<Self, Failure> {
        let Stored { m, d, .. } = *given.stored;
        let none = Global::new(0, 0);
        let wide = if given.is_wide() { m * b * d } else { 0 };
        let items = Items {
            vectors: none,
            present: none,
            q: session.room(wide)?,
            r: none,
            volume: session.room(b)?,
            any: session.room(b)?,
            items: count(b)?,
            m: count(m)?,
            d: count(d)?,
            skip: u32::MAX,
        };
        let pairs = Pairs {
            anchors: session.room(a * d)?,
            squares: session.room(a)?,
            items,
            residuals: none,
            rows: count(a)?,
            measure: given.measure,
        };
        let places = a * lists * given.places();
        countable(&[a, lists, given.places()])?;
        Ok(Part {
            pairs,
            anchors: narrow_room(session, pairs.anchors, [a, d], given.format)?,
            q: narrow_room(session, items.q, [m * b, d], given.format)?,
            scores: session.room(places)?,
            indices: session.room(places)?,
        })
    }

    /// Copies `n` items from `first` on.
    fn load(
        &self,
        session: &mut Session<'_>,
        given: &Given<'_>,
        first: usize,
        n: usize,
    ) -> Result<(), Failure> {
        let Stored { m, d, volume, .. } = *given.stored;
        let items = self.pairs.items;
        session.upload(Numbers::F32(&volume[first..first + n]), items.volume)?;
        session.upload(Numbers::F32(&given.any(first, n)), items.any)?;
        match given.stored.q {
            Kept::F32(q) => {
                session.upload(Numbers::F32(&given.part(q, d, first, n)), items.q)?;
                return narrow(session, self.q, count(m * n)?);
            }
            Kept::Int8(_, scales) => {
                let scales = given.part(scales, 1, first, n);
                session.upload(Numbers::F32(&scales), self.q.scales)?;
            }
            Kept::Half(..) => {}
        }
        session.upload(Numbers::U32(&given.words(first, n)), self.q.words)
    }

    /// The kernel's parameters for the first so many anchors and items.
    fn scan(
        &self,
        given: &Given<'_>,
        [a, n]: [usize; 2],
        first: usize,
        lists: usize,
    ) -> Result<Task, Failure> {
        let none = Global::new(0, 0);
        let items = Items {
            items: count(n)?,
            ..self.pairs.items
        };
        let nearest = Nearest {
            pairs: Pairs {
                rows: count(a)?,
                items,
                ..self.pairs
            },
            scores: self.scores,
            indices: self.indices,
            best_scores: none,
            best_indices: Global::new(0, 0),
            best: count(given.places())?,
            blocks: count(lists)?,
            offset: count(given.search.offset + first)?,
            zeros_are_missing: 1,
        };
        let p = Scan {
            nearest,
            operands: Operands::of(self.anchors, self.q, false),
        };
        Ok(match given.format {
            Format::F16 => Task::NearestF16(p),
            Format::I8 => Task::NearestI8(p),
            _ => Task::NearestBf16(p),
        })
    }
}

impl Device {
    /// [`nearest_stored`](rivergram_core::gram::stored::nearest_stored) over all items by the kernels: for each of the
    /// `anchors` \[n, d\] its `most` candidates, best first and of equals the lower index first, with
    /// [`Search::offset`] before their indices. None where a list was too short to know them all, as where many of them
    /// lie beside each other: then ask the CPU. Of an anchor that is zero there are no candidates.
    ///
    /// The anchors are rounded to the format of the bases, so what comes last may be another than on the CPU: score the
    /// candidates by their vectors. Bases in `f32` are rounded to bf16 where [`Device::precision`] says so. The gallery goes
    /// by in parts that fit the device's memory, once for 4096 anchors. Waits for each part.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, bases in `f32` that are to stay exact, a device before compute capability 8.0, zero
    /// vectors that are there. [`Failure::Input`]: what core refuses. Others: what became of the device.
    pub fn nearest_stored(
        &self,
        search: Search,
        anchors: &[f32],
        stored: &Stored<'_>,
        most: usize,
    ) -> Result<Vec<Option<Vec<usize>>>, Failure> {
        let (major, minor) = self.properties().capability;
        if Precision::Bf16.on(major, minor) == Precision::Exact {
            return Err(Failure::NoKernel(
                "a search among bases in few bits before compute capability 8.0",
            ));
        }
        let mut session = self.session()?;
        let given = Given::new(search, anchors, stored, most, session.precision())?;
        let d = stored.d;
        let budget = session.budget()?;
        let waves = self.waves();
        let rows = (anchors.len() / d).min(ANCHORS);
        let sizes = [rows, stored.items];
        let [a, b] = split(sizes, budget, |sizes| given.bytes(sizes, waves))?;
        let lists = given.lists([a, b], waves);
        let part = Part::new(&mut session, &given, [a, b], lists)?;
        let mut found = Vec::with_capacity(anchors.len() / d);
        for these in anchors.chunks(a * d) {
            found.extend(nearest_of(&mut session, &given, &part, these, [b, lists])?);
        }
        Ok(found)
    }
}

/// The candidates of some anchors, over items `b` at a time.
fn nearest_of(
    session: &mut Session<'_>,
    given: &Given<'_>,
    part: &Part,
    anchors: &[f32],
    [b, lists]: [usize; 2],
) -> Result<Vec<Option<Vec<usize>>>, Failure> {
    let Stored { items, d, .. } = *given.stored;
    let (rows, places) = (anchors.len() / d, given.places());
    let pairs = Pairs {
        rows: count(rows)?,
        ..part.pairs
    };
    let (anchors, zeros) = scaled(anchors, d)?;
    session.upload(Numbers::F32(&anchors), pairs.anchors)?;
    session.launch(&Task::Squares(pairs), warps(pairs.rows))?;
    narrow(session, part.anchors, pairs.rows)?;
    let mut scores = vec![0.0; rows * lists * places];
    let mut indices = vec![0; scores.len()];
    let mut best = vec![Best::default(); rows];
    for first in (0..items).step_by(b) {
        let n = b.min(items - first);
        part.load(session, given, first, n)?;
        let down = count(rows.div_ceil(tensor::ROWS as usize))?;
        let task = part.scan(given, [rows, n], first, lists)?;
        session.launch(&task, [count(lists)?, down])?;
        session.download(&mut [
            (part.scores.at(0), Room::F32(&mut scores)),
            (part.indices.at(0), Room::U32(&mut indices)),
        ])?;
        let each = scores
            .chunks(lists * places)
            .zip(indices.chunks(lists * places));
        for (best, (scores, indices)) in best.iter_mut().zip(each) {
            for (scores, indices) in scores.chunks(places).zip(indices.chunks(places)) {
                best.add(scores, indices)?;
            }
            best.keep(given.most);
        }
    }
    let done = best
        .into_iter()
        .zip(zeros)
        .map(|(best, is_zero)| match is_zero {
            true => Some(Vec::new()),
            false => best.done(given.most),
        });
    Ok(done.collect())
}
