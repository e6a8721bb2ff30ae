//! The nearest items of queries: a pass over the bases, then the candidates once more by their vectors.

use std::ops::Range;
use std::sync::OnceLock;

use rivergram_core::crew::{Crew, Work};
use rivergram_core::error::GramError;
use rivergram_core::gram::pair::{Measure, volume_matrix, volume_matrix_workspace_len};
use rivergram_core::gram::retrieval::TopK;
use rivergram_core::gram::search::{Search, nearest_prepared_part, nearest_prepared_workspace_len};
use rivergram_core::gram::stored::{
    Anchors, Numbers, nearest_stored, nearest_stored_workspace_len, quantise_anchor,
};
use rivergram_core::lanes::Isa;

use super::{Gallery, Kind};
use crate::cuda::{Device, Failure, Precision};
use crate::engine::{Engine, Threads};
use crate::error::{Error, Result};

/// The most items that are found, and the most candidates.
pub const MOST: usize = 1024;

/// Candidates per item that is asked for, where nothing else is said: this many times as many, and as many besides.
pub const CANDIDATES: (usize, usize) = (4, 32);

/// Items of a tile in `f32` or in 8 bits.
const TILE: usize = 256;

/// Items of a tile in 16 bits, of which a nearer cache holds a plane that is widened.
const TILE_HALF: usize = 64;

/// Queries that the threads take at a time, so that what they keep of each stays small.
const AT_ONCE: usize = 64;

/// Ranges of items per thread, so that none waits long for the last.
const RANGES: usize = 4;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What ranks the items.
    pub measure: Measure,
    /// How many are found.
    pub top: usize,
    /// How many candidates are scored by their vectors; `None` for [`CANDIDATES`]. Where bases and vectors are in
    /// `f32` there are none.
    pub candidates: Option<usize>,
}

/// An item that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Its index.
    pub item: usize,
    /// Its volume, its distance or its sum of cosines with the query.
    pub score: f32,
}

impl Found {
    /// An item that is yet to be scored.
    fn unscored(item: usize) -> Self {
        Found { item, score: 0.0 }
    }
}

/// A search in a gallery, for any number of queries.
#[derive(Debug)]
pub struct Searcher<'a> {
    gallery: &'a Gallery,
    threads: &'a Threads,
    /// Who may have a GPU.
    engine: Option<&'a Engine>,
    /// What that GPU has no kernel for.
    missing: OnceLock<Failure>,
    options: Options,
    /// How many the pass over the bases keeps.
    kept: usize,
    /// How many candidates there are where that pass is not exact.
    candidates: usize,
    is_exact: bool,
}

/// The most that a GPU finds among vectors in `f32`, of which it keeps [`LIST`].
const MOST_EXACT: usize = 24;

/// Items of a list on a GPU.
const LIST: usize = 32;

impl<'a> Searcher<'a> {
    /// Prepares a search.
    ///
    /// # Errors
    /// A number of items or of candidates that is 0 or above [`MOST`]; fewer candidates than items.
    pub fn new(gallery: &'a Gallery, threads: &'a Threads, options: Options) -> Result<Self> {
        let in_range = |flag, number: usize, least: usize| match (least..=MOST).contains(&number) {
            true => Ok(()),
            false => {
                let problem = format!("{number}: a number from {least} to {MOST} expected");
                Err(Error::flag(flag, problem))
            }
        };
        in_range("--top", options.top, 1)?;
        if let Some(candidates) = options.candidates {
            in_range("--candidates", candidates, options.top)?;
        }
        let is_exact = gallery.bases().is_some();
        let (times, besides) = CANDIDATES;
        let usual = (options.top * times + besides).min(MOST);
        let candidates = options.candidates.unwrap_or(usual);
        let kept = match is_exact {
            true => options.top,
            false => candidates,
        };
        Ok(Searcher {
            gallery,
            threads,
            engine: None,
            missing: OnceLock::new(),
            options,
            kept,
            candidates,
            is_exact,
        })
    }

    /// Lets the GPU of an engine find the candidates, if it has one that can: their vectors are scored as ever, so the
    /// result is the same as without it, but for an item that is no candidate because the GPU rounds the queries, too,
    /// to the bits of the bases. Bases and vectors in `f32` are searched exactly; with [`Precision::Bf16`] their
    /// bases are rounded for the pass. What a GPU has no kernel for, the threads do: cosines, more than 24 items of a
    /// gallery in `f32`, galleries in fewer bits before compute capability 8.0.
    #[must_use]
    pub fn by(self, engine: &'a Engine) -> Self {
        Searcher {
            engine: Some(engine),
            ..self
        }
    }

    /// How many candidates are scored by their vectors; `None` where the pass over the bases is exact.
    pub fn candidates(&self) -> Option<usize> {
        (!self.is_exact).then_some(self.kept)
    }

    /// The nearest items of each query, `queries` \[n, D\], best first and of equals the lower index first. A query of
    /// zeros finds nothing, and an item of which nothing is there is not found. The same on any number of threads.
    /// Memory: n·(m + 1) numbers per tile and thread, and what is found. Cost: one pass over the bases for all queries,
    /// 2·n·items·m·D operations, and per query m²·D multiply-adds for each candidate.
    ///
    /// # Errors
    /// Queries that are no whole rows, or not finite: the row is that of `queries`.
    pub fn nearest(&self, queries: &[f32]) -> Result<Vec<Vec<Found>>> {
        let d = self.gallery.dimensions();
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        if !queries.len().is_multiple_of(d) {
            let problem = format!("{} numbers: rows of {d} expected", queries.len());
            return Err(Error::input("the queries", problem));
        }
        let by_device = self.engine.and_then(|engine| {
            engine.on_device(|device| {
                let found = self.candidates_of(device, queries);
                if let Err(failure @ Failure::NoKernel(_)) = found {
                    self.missing.get_or_init(|| failure);
                }
                found
            })
        });
        let Some(found) = by_device else {
            return self.on_threads(queries);
        };
        let (mut scored, mut unknown): (Vec<Scored<'_>>, Vec<f32>) = Default::default();
        let is_known: Vec<bool> = found.iter().map(Option::is_some).collect();
        for (query, items) in queries.chunks_exact(d).zip(found) {
            match items {
                Some(items) => scored.push(Scored {
                    query,
                    items: items.into_iter().map(Found::unscored).collect(),
                    done: Ok(()),
                }),
                None => unknown.extend(query),
            }
        }
        let mut by_device = self.score(scored).map_err(|e| refused(e, 0))?.into_iter();
        // Where not all candidates are known, the threads look.
        let mut by_threads = self.on_threads(&unknown)?.into_iter();
        let each = is_known.into_iter().map(|is_known| match is_known {
            true => by_device.next(),
            false => by_threads.next(),
        });
        Ok(each.map(Option::unwrap_or_default).collect())
    }

    /// Why the threads search though there is a GPU: it has no kernel for this. Known after a search.
    pub fn missing(&self) -> Option<Failure> {
        self.missing.get().copied()
    }

    /// The candidates of each query by a GPU; none for a query whose candidates it does not know.
    fn candidates_of(
        &self,
        device: &Device,
        queries: &[f32],
    ) -> std::result::Result<Vec<Option<Vec<usize>>>, Failure> {
        let (stored, search) = (self.gallery.stored(), Search::by(self.options.measure));
        let bases = self.gallery.bases();
        let Some(bases) = bases.filter(|_| device.precision() != Precision::Bf16) else {
            return device.nearest_stored(search, queries, &stored, self.candidates);
        };
        if self.options.top > MOST_EXACT {
            return Err(Failure::NoKernel("a search in f32 for more than 24"));
        }
        let (m, d, items) = (stored.m, stored.d, stored.items);
        let count = queries.len() / d;
        let present: Vec<bool> = stored.present.iter().map(|there| *there != 0.0).collect();
        let mut top = vec![TopK::<f32, LIST>::new(self.options.measure.order()); count];
        let sizes = [count, m, items, d];
        device.nearest(
            search,
            queries,
            bases.vectors,
            Some(&present),
            sizes,
            &mut top,
        )?;
        let indices = |top: &TopK<f32, LIST>| top.best().iter().map(|best| best.1).collect();
        Ok(top.iter().map(|top| Some(indices(top))).collect())
    }

    fn on_threads(&self, queries: &[f32]) -> Result<Vec<Vec<Found>>> {
        let mut all = Vec::new();
        let pieces = queries.chunks(AT_ONCE * self.gallery.dimensions());
        for (piece, queries) in pieces.enumerate() {
            let found = match self.kept {
                0..=16 => self.found::<16>(queries),
                17..=128 => self.found::<128>(queries),
                _ => self.found::<MOST>(queries),
            };
            all.extend(found.map_err(|e| refused(e, piece * AT_ONCE))?);
        }
        Ok(all)
    }

    fn found<const K: usize>(&self, queries: &[f32]) -> Scanned<Vec<Vec<Found>>> {
        let scanned = self.scan::<K>(queries)?;
        let kept = |top: &TopK<f32, K>, most: usize| -> Vec<Found> {
            let best = top.best().iter().take(most);
            best.map(|&(score, item)| Found { item, score }).collect()
        };
        if self.is_exact {
            return Ok(scanned
                .iter()
                .map(|top| kept(top, self.options.top))
                .collect());
        }
        let d = self.gallery.dimensions();
        let found = scanned
            .iter()
            .zip(queries.chunks_exact(d))
            .map(|(top, query)| Scored {
                query,
                items: kept(top, self.kept),
                done: Ok(()),
            })
            .collect();
        self.score(found)
    }

    /// Scores candidates by their vectors.
    fn score(&self, mut found: Vec<Scored<'_>>) -> Scanned<Vec<Vec<Found>>> {
        let work = Score {
            gallery: self.gallery,
            options: self.options,
        };
        self.threads.each(found.iter_mut(), &work);
        let each = found.into_iter();
        each.map(|scored| scored.done.map(|()| scored.items))
            .collect()
    }

    /// The best of all items by their bases.
    fn scan<const K: usize>(&self, queries: &[f32]) -> Scanned<Vec<TopK<f32, K>>> {
        let d = self.gallery.dimensions();
        let count = queries.len() / d;
        let integers = Integers::new(self.gallery, queries)?;
        let (tile, items) = (self.tile(), self.gallery.items());
        let hands = self.threads.hands();
        let ranges = if hands > 1 { hands * RANGES } else { 1 };
        let step = items.div_ceil(tile).div_ceil(ranges) * tile;
        let empty = TopK::new(self.options.measure.order());
        let mut parts: Vec<Part<K>> = (0..items)
            .step_by(step)
            .map(|first| Part {
                items: first..items.min(first + step),
                top: vec![empty.clone(); count],
                done: Ok(()),
            })
            .collect();
        let work = Scan {
            gallery: self.gallery,
            search: Search::by(self.options.measure),
            anchors: Anchors {
                vectors: queries,
                numbers: &integers.numbers,
                scales: &integers.scales,
            },
            tile,
        };
        self.threads.each(parts.iter_mut(), &work);
        let mut all = vec![empty; count];
        for part in parts {
            part.done?;
            for (all, top) in all.iter_mut().zip(&part.top) {
                all.merge(top);
            }
        }
        Ok(all)
    }

    fn tile(&self) -> usize {
        match self.gallery.kinds() {
            [Kind::Half(_), _] => TILE_HALF,
            _ => TILE,
        }
    }
}

/// What a pass finds, or what core refuses.
type Scanned<T> = std::result::Result<T, GramError>;

/// What core refuses of the queries from row `first` on: only a query can be wrong here.
fn refused(e: GramError, first: usize) -> Error {
    match e {
        GramError::NotFinite { row, .. } => Error::input(
            "the queries",
            format!("row {}: NaN, infinite or too long", first + row),
        ),
        other => Error::input("the search", other),
    }
}

/// Queries in integers, where the bases are.
struct Integers {
    numbers: Vec<i16>,
    scales: Vec<f32>,
}

impl Integers {
    fn new(gallery: &Gallery, queries: &[f32]) -> Scanned<Self> {
        let mut integers = Integers {
            numbers: Vec::new(),
            scales: Vec::new(),
        };
        let d = gallery.dimensions();
        if !matches!(gallery.stored().q, Numbers::Int8(..)) {
            return Ok(integers);
        }
        integers.numbers.resize(queries.len(), 0);
        let rows = queries
            .chunks_exact(d)
            .zip(integers.numbers.chunks_exact_mut(d));
        for (row, (query, numbers)) in rows.enumerate() {
            let scale = quantise_anchor(query, numbers).map_err(|e| match e {
                GramError::NotFinite { modality, .. } => GramError::NotFinite { modality, row },
                other => other,
            })?;
            integers.scales.push(scale);
        }
        Ok(integers)
    }
}

/// A range of items, and the best of them.
struct Part<const K: usize> {
    items: Range<usize>,
    top: Vec<TopK<f32, K>>,
    done: Scanned<()>,
}

struct Scan<'a> {
    gallery: &'a Gallery,
    search: Search,
    anchors: Anchors<'a>,
    tile: usize,
}

impl<const K: usize> Work<f32, &mut Part<K>> for Scan<'_> {
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(&self, isa: I, part: &mut Part<K>) {
        let stored = self.gallery.stored();
        let bases = self.gallery.bases();
        let (m, d, count) = (stored.m, stored.d, part.top.len());
        let need = nearest_prepared_workspace_len(count, m, self.tile, d)
            .max(nearest_stored_workspace_len(count, m, self.tile, d));
        let mut workspace = vec![0.0; need];
        for first in part.items.clone().step_by(self.tile) {
            let items = [first, self.tile.min(part.items.end - first)];
            let top = &mut part.top;
            part.done = match &bases {
                Some(bases) if self.search.measure != Measure::Cosine => nearest_prepared_part(
                    isa,
                    self.search,
                    self.anchors.vectors,
                    bases,
                    items,
                    top,
                    &mut workspace,
                ),
                _ => nearest_stored(
                    isa,
                    self.search,
                    self.anchors,
                    &stored,
                    items,
                    top,
                    &mut workspace,
                ),
            };
            if part.done.is_err() {
                return;
            }
        }
    }
}

/// A query with its candidates, which give way to what is found.
struct Scored<'a> {
    query: &'a [f32],
    items: Vec<Found>,
    done: Scanned<()>,
}

struct Score<'a> {
    gallery: &'a Gallery,
    options: Options,
}

impl Work<f32, &mut Scored<'_>> for Score<'_> {
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(&self, isa: I, scored: &mut Scored<'_>) {
        let (m, d) = (self.gallery.modalities().len(), self.gallery.dimensions());
        let n = scored.items.len();
        if n == 0 {
            return;
        }
        // In the order in which they lie in the file.
        scored.items.sort_unstable_by_key(|found| found.item);
        let mut vectors = vec![0.0; m * n * d];
        let mut present = vec![false; m * n];
        let places = (0..m).flat_map(|p| scored.items.iter().map(move |found| (p, found.item)));
        let rows = vectors.chunks_exact_mut(d).zip(&mut present);
        for ((p, item), (x, there)) in places.zip(rows) {
            self.gallery.vector(p, item, x);
            *there = self.gallery.is_present(p, item);
        }
        let mut scores = vec![0.0; n];
        let mut workspace = vec![0.0; volume_matrix_workspace_len(1, m, n, d)];
        scored.done = volume_matrix(
            isa,
            self.options.measure,
            scored.query,
            &vectors,
            Some(&present),
            [1, m, n, d],
            &mut scores,
            &mut workspace,
        );
        for (found, score) in scored.items.iter_mut().zip(scores) {
            found.score = score;
        }
        let order = self.options.measure.order();
        scored.items.sort_unstable_by(|a, b| {
            match order.before((a.score, a.item), (b.score, b.item)) {
                true => std::cmp::Ordering::Less,
                false => std::cmp::Ordering::Greater,
            }
        });
        scored.items.truncate(self.options.top);
    }
}
