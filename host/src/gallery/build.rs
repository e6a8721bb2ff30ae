//! Building a gallery: some items at a time, so that memory does not grow with their number.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crc32fast::Hasher;
use rivergram_core::error::GramError;
use rivergram_core::gram::basis::{cosine_weights, item_len};
use rivergram_core::gram::contrastive::ZeroRows;
use rivergram_core::gram::int8::{MOST_DIMENSIONS, quantise};
use rivergram_core::gram::pair::{BasesMut, bases_len};
use rivergram_simd::Level;

use super::format::{self, Header};
use super::{Kind, VECTORS_MAX};
use crate::data::rows::{Rows, Table};
use crate::error::{Error, Result};
use crate::store::Replacement;

/// Items that are in memory at a time.
const BLOCK: usize = 256;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// How the bases are kept, which a search reads as a whole.
    pub bases: Kind,
    /// How the vectors are kept, of which a search reads those of its candidates: not in 8 bits.
    pub vectors: Kind,
    /// The instruction set.
    pub level: Level,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Items.
    pub items: usize,
    /// Vectors that are absent: rows of zeros.
    pub absent: usize,
    /// Items of which nothing is there: no query finds them.
    pub empty: usize,
    /// Items whose vectors are dependent: their volume is 0, the best, for every query.
    pub dependent: usize,
    /// Bytes of the file.
    pub bytes: usize,
}

/// Builds a gallery of the rows of all modalities: row j of each belongs to item j, and a row of zeros is an absent
/// vector. `progress` hears after each block how many items are done; `None` where `stop` was set, and then there is no
/// file. Memory: 256 items. Cost: one pass over the data, 2·items·m²·D multiply-adds.
///
/// # Errors
/// Modalities that are none or more than [`VECTORS_MAX`], without rows, or of different sizes; numbers that are not
/// finite or leave the range of what they are kept in, with modality and row; what the system refuses. An older file of
/// this name then stays as it was.
pub fn build(
    table: &Table,
    options: &Build,
    file: &Path,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize),
) -> Result<Option<Built>> {
    let mut header = check(table, options, file)?;
    let items = header.items;
    let mut out = Output::new(file, &header)?;
    let mut block = Block::new(table.modalities.len(), header.d);
    let mut built = Built {
        items,
        absent: 0,
        empty: 0,
        dependent: 0,
        bytes: header.len(),
    };
    for first in (0..items).step_by(BLOCK) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let n = BLOCK.min(items - first);
        block.fill(table, options, first..first + n, &mut built)?;
        block.write(options, first..first + n, &mut out)?;
        progress(first + n);
    }
    if let Some(labels) = &table.labels {
        let bytes: Vec<u8> = labels
            .iter()
            .flat_map(|label| label.to_le_bytes())
            .collect();
        out.write(format::LABELS, 0, 0, &bytes)?;
    }
    out.finish(&mut header)?;
    Ok(Some(built))
}

/// Everything that can be wrong before a number is read.
fn check(table: &Table, options: &Build, file: &Path) -> Result<Header> {
    let modalities = &table.modalities;
    let (Some(first), true) = (modalities.first(), modalities.len() <= VECTORS_MAX) else {
        let problem = format!(
            "{} modalities: 1 to {VECTORS_MAX} expected, the vectors of an item",
            modalities.len()
        );
        return Err(Error::file(file, problem));
    };
    let wrong = |other: &&Rows| (other.n, other.dim) != (first.n, first.dim);
    if let Some(other) = modalities.iter().find(wrong) {
        let problem = format!(
            "\"{}\" is [{}, {}] and \"{}\" is [{}, {}]: vectors of one space, as many of each, expected",
            first.name, first.n, first.dim, other.name, other.n, other.dim
        );
        return Err(Error::input(other.place(), problem));
    }
    if first.n == 0 {
        return Err(Error::input(
            first.place(),
            "no rows: at least one item expected",
        ));
    }
    if options.bases == Kind::Int8 && first.dim > MOST_DIMENSIONS {
        let problem = format!("{} dimensions: int8 takes {MOST_DIMENSIONS}", first.dim);
        return Err(Error::input(first.place(), problem));
    }
    if options.vectors == Kind::Int8 {
        let problem =
            "int8: the vectors are what candidates are scored by: f32, f16 or bf16 expected";
        return Err(Error::flag("--vectors", problem));
    }
    let mut names: Vec<&str> = modalities.iter().map(|rows| rows.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        let problem = format!("modality \"{}\" stands twice", pair.first().unwrap_or(&""));
        return Err(Error::file(file, problem));
    }
    let labels = table.labels.as_ref().map(Vec::len);
    if let Some(labels) = labels.filter(|labels| *labels != first.n) {
        let problem = format!("{} rows and {labels} labels: as many expected", first.n);
        return Err(Error::input(first.place(), problem));
    }
    let names = modalities.iter().map(|rows| rows.name.clone()).collect();
    let kinds = [options.bases, options.vectors];
    Header::new(names, [first.n, first.dim], kinds, labels.is_some())
        .ok_or_else(|| Error::input(first.place(), "too many numbers for one file"))
}

/// Some items in memory.
struct Block {
    m: usize,
    d: usize,
    /// \[m, n, d\], rounded to what they are kept in.
    vectors: Vec<f32>,
    /// \[m, n\].
    there: Vec<bool>,
    flags: Vec<f32>,
    storage: Vec<f32>,
    scratch: Vec<f32>,
    /// \[m, n\].
    cosines: Vec<f32>,
    bytes: Vec<u8>,
}

impl Block {
    fn new(m: usize, d: usize) -> Self {
        Block {
            m,
            d,
            vectors: vec![0.0; m * BLOCK * d],
            there: vec![false; m * BLOCK],
            flags: vec![0.0; m * BLOCK],
            storage: vec![0.0; bases_len(m, BLOCK, d)],
            scratch: vec![0.0; item_len(m, d)],
            cosines: vec![0.0; m * BLOCK],
            bytes: Vec::new(),
        }
    }

    /// Reads some items and makes their bases.
    fn fill(
        &mut self,
        table: &Table,
        options: &Build,
        rows: Range<usize>,
        built: &mut Built,
    ) -> Result<()> {
        let (m, n, d) = (self.m, rows.len(), self.d);
        self.vectors.truncate(m * n * d);
        self.there.truncate(m * n);
        self.flags.truncate(m * n);
        self.cosines.truncate(m * n);
        for (rows_of, vectors) in table.modalities.iter().zip(self.vectors.chunks_mut(n * d)) {
            rows_of.read(rows.start, vectors)?;
            if let Kind::Half(format) = options.vectors {
                for (at, x) in vectors.iter_mut().enumerate() {
                    let rounded = format.widen(format.nearest(*x));
                    if rounded.is_infinite() {
                        let problem = format!(
                            "row {}, column {} is {x}: beyond the range of {}",
                            rows.start + at / d,
                            at % d,
                            options.vectors.name()
                        );
                        return Err(Error::input(rows_of.place(), problem));
                    }
                    *x = rounded;
                }
            }
        }
        let named = |e: GramError| match e {
            GramError::NotFinite { modality, row } => {
                let place = table.modalities.get(modality).map_or("", Rows::place);
                let problem = format!(
                    "row {} is too long: its square leaves the range",
                    rows.start + row
                );
                Error::input(place, problem)
            }
            other => Error::input("the gallery", other),
        };
        let sizes = [m, n, d];
        let level = options.level;
        built.absent += level
            .present_vectors(
                ZeroRows::Missing,
                &self.vectors,
                None,
                sizes,
                0,
                &mut self.there,
            )
            .map_err(named)?;
        built.empty += (0..n)
            .filter(|j| !self.there.iter().skip(*j).step_by(n).any(|there| *there))
            .count();
        for ((x, there), flag) in self
            .vectors
            .chunks_mut(d)
            .zip(&self.there)
            .zip(&mut self.flags)
        {
            *flag = f32::from(u8::from(*there));
            if !there {
                x.fill(0.0);
            }
        }
        let storage = BasesMut::split(&mut self.storage, m, n, d);
        let (bases, dependent) = level
            .bases(
                storage,
                &self.vectors,
                &self.flags,
                sizes,
                &mut self.scratch,
            )
            .map_err(named)?;
        built.dependent += dependent;
        let mut weights = vec![0.0; m];
        for j in 0..n {
            cosine_weights(bases.r_of(j), &mut weights);
            let places = self.cosines.iter_mut().skip(j).step_by(n);
            places.zip(&weights).for_each(|(to, weight)| *to = *weight);
        }
        Ok(())
    }

    /// Writes them to the planes of the file.
    fn write(&mut self, options: &Build, rows: Range<usize>, out: &mut Output) -> Result<()> {
        let (n, d, first) = (rows.len(), self.d, rows.start);
        let (q, rest) = self.storage.split_at(self.m * n * d);
        let volume = rest
            .get(self.m * self.m * n..)
            .and_then(|rest| rest.get(..n));
        to_bytes(volume.unwrap_or(&[]), Kind::F32, &mut self.bytes);
        out.write(format::VOLUME, 0, first, &self.bytes)?;
        for p in 0..self.m {
            let flags = p * n..(p + 1) * n;
            for (name, numbers) in [
                (format::COSINES, &self.cosines),
                (format::PRESENT, &self.flags),
            ] {
                to_bytes(
                    numbers.get(flags.clone()).unwrap_or(&[]),
                    Kind::F32,
                    &mut self.bytes,
                );
                out.write(name, p, first, &self.bytes)?;
            }
            let plane = p * n * d..(p + 1) * n * d;
            let vectors = self.vectors.get(plane.clone()).unwrap_or(&[]);
            to_bytes(vectors, options.vectors, &mut self.bytes);
            out.write(format::VECTORS, p, first, &self.bytes)?;
            let q = q.get(plane).unwrap_or(&[]);
            if options.bases == Kind::Int8 {
                let (integers, scales) = quantised(q, d)?;
                to_bytes(&scales, Kind::F32, &mut self.bytes);
                out.write(format::SCALES, p, first, &self.bytes)?;
                out.write(format::BASES, p, first, &integers)?;
            } else {
                to_bytes(q, options.bases, &mut self.bytes);
                out.write(format::BASES, p, first, &self.bytes)?;
            }
        }
        Ok(())
    }
}

/// Rows in 8 bits, as bytes, and their scales.
fn quantised(q: &[f32], d: usize) -> Result<(Vec<u8>, Vec<f32>)> {
    let mut row = vec![0_i8; d];
    let (mut bytes, mut scales) = (Vec::with_capacity(q.len()), Vec::new());
    for q in q.chunks_exact(d.max(1)) {
        let scale = quantise(q, &mut row).map_err(|e| Error::input("a basis", e))?;
        scales.push(scale);
        bytes.extend(row.iter().map(|n| n.to_le_bytes()[0]));
    }
    Ok((bytes, scales))
}

/// Numbers as they are kept.
fn to_bytes(numbers: &[f32], kind: Kind, bytes: &mut Vec<u8>) {
    bytes.clear();
    match kind {
        Kind::Half(format) => {
            bytes.extend(
                numbers
                    .iter()
                    .flat_map(|x| format.nearest(*x).to_le_bytes()),
            );
        }
        _ => bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
    }
}

/// The file on its way: planes of tensors that grow side by side, each with its checksum.
struct Output {
    file: Replacement,
    planes: Vec<Plane>,
    payload: u64,
}

struct Plane {
    name: &'static str,
    index: usize,
    start: u64,
    /// Bytes of an item.
    item: u64,
    crc: Hasher,
}

impl Output {
    fn new(path: &Path, header: &Header) -> Result<Self> {
        let m = header.modalities.len();
        let d = header.d;
        let mut planes = Vec::new();
        let each = [
            (format::VOLUME, 1, 4),
            (format::COSINES, m, 4),
            (format::PRESENT, m, 4),
            (format::SCALES, m, 4),
            (format::VECTORS, m, d * header.vectors.size()),
            (format::BASES, m, d * header.bases.size()),
            (format::LABELS, 1, 8),
        ];
        for (name, count, item) in each {
            let Some(place) = header.place(name) else {
                continue;
            };
            let length = place.len() / count.max(1);
            planes.extend((0..count).map(|index| Plane {
                name,
                index,
                start: (place.start + index * length) as u64,
                item: item as u64,
                crc: Hasher::new(),
            }));
        }
        let mut file = Replacement::create(path)?;
        // So that a disk which is too small is found at once, where it can tell.
        file.set_len(header.len() as u64)?;
        Ok(Output {
            file,
            planes,
            payload: header.to_bytes().len() as u64,
        })
    }

    /// Writes the items from number `first` on to a plane of a tensor.
    fn write(&mut self, name: &str, index: usize, first: usize, bytes: &[u8]) -> Result<()> {
        let mut planes = self.planes.iter_mut();
        let plane = planes.find(|plane| plane.name == name && plane.index == index);
        let Some(plane) = plane else {
            return Ok(());
        };
        plane.crc.update(bytes);
        self.file
            .write_at(plane.start + first as u64 * plane.item, bytes)
    }

    /// Writes the header with all checksums, and gives the file its name.
    fn finish(mut self, header: &mut Header) -> Result<()> {
        let mut sums: Vec<(&'static str, Hasher)> = Vec::new();
        for plane in self.planes.drain(..) {
            match sums.iter_mut().find(|(name, _)| *name == plane.name) {
                Some((_, crc)) => crc.combine(&plane.crc),
                None => sums.push((plane.name, plane.crc)),
            }
        }
        for (name, crc) in sums {
            header.set_sum(name, crc.finalize());
        }
        let bytes = header.to_bytes();
        debug_assert_eq!(bytes.len() as u64, self.payload);
        self.file.write_at(0, &bytes)?;
        self.file.commit()
    }
}
