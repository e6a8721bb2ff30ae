//! A gallery: items whose bases are made once and kept in a file, and the search in it.
//!
//! ```text
//! O_j = R_jᵀ·Q_j        vol_j = Π_p R_j,pp        d_ij = sqrt(|a_i|² − |Q_j·a_i|²)        V_ij = vol_j · d_ij
//! ```
//!
//! | module | does |
//! |---|---|
//! | `format` | the file: a safetensors file, its tensors and checksums |
//! | `build` | writes one, some items at a time |
//! | `search` | the nearest items of queries, in one pass over the bases |
//!
//! A search looks at the bases alone, which may be in fewer bits than the vectors. What it finds there are candidates;
//! their vectors, which the file has too, are scored again. `docs/search.md` says what that loses, and what it takes.
//!
//! Source: arXiv 2412.11959, eq. 4, with det G = vol²·d².

mod build;
mod format;
mod search;

use std::path::{Path, PathBuf};

use rivergram_core::gram::pair::Bases;
use rivergram_core::gram::stored::{Numbers, Stored};
use rivergram_core::optim::rounding::Half;

pub use build::{Build, Built, build};
pub use search::{CANDIDATES, Found, MOST, Options, Searcher};

use self::format::Header;
use crate::data::rows::labels;
use crate::error::{Error, Result};
use crate::map::{Map, numbers};

/// The most vectors of an item: with an anchor they are eight modalities.
pub const VECTORS_MAX: usize = 7;

/// How numbers are kept in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    F32,
    /// In 16 bits.
    Half(Half),
    /// In 8 bits, with a scale for each row; bases only.
    Int8,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [
        Kind::F32,
        Kind::Half(Half::F16),
        Kind::Half(Half::Bf16),
        Kind::Int8,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::F32 => "f32",
            Kind::Half(Half::F16) => "f16",
            Kind::Half(Half::Bf16) => "bf16",
            Kind::Int8 => "int8",
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::Half(_) => 2,
            Kind::Int8 => 1,
        }
    }
}

/// An open gallery, mapped into memory.
#[derive(Debug)]
pub struct Gallery {
    map: Map,
    header: Header,
}

impl Gallery {
    /// Opens a gallery and compares every checksum. Cost: one pass over the file.
    ///
    /// # Errors
    /// A file that is missing, that is no gallery or one of another version, whose sizes contradict each other, or
    /// whose bytes are not those that were written; the message names the tensor.
    pub fn open(file: &Path) -> Result<Self> {
        let gallery = Self::open_unchecked(file)?;
        gallery.header.check_sums(file, gallery.map.bytes())?;
        Ok(gallery)
    }

    /// Opens a gallery whose numbers are taken as they are. Cost: the header is read.
    ///
    /// # Errors
    /// As [`Gallery::open`], but for damaged numbers.
    pub fn open_unchecked(file: &Path) -> Result<Self> {
        if cfg!(target_endian = "big") {
            let problem = "a gallery is mapped as it lies, which needs a little-endian machine";
            return Err(Error::file(file, problem));
        }
        let map = Map::open(file)?;
        let header = Header::read(file, map.bytes())?;
        Ok(Gallery { map, header })
    }

    /// The number of items.
    pub fn items(&self) -> usize {
        self.header.items
    }

    /// Numbers of a vector.
    pub fn dimensions(&self) -> usize {
        self.header.d
    }

    /// The names of an item's vectors.
    pub fn modalities(&self) -> &[String] {
        &self.header.modalities
    }

    /// How the bases are kept, and the vectors.
    pub fn kinds(&self) -> [Kind; 2] {
        [self.header.bases, self.header.vectors]
    }

    /// The file's name and its bytes.
    pub fn file(&self) -> (PathBuf, usize) {
        (self.map.file().to_path_buf(), self.map.bytes().len())
    }

    /// The label of each item, if they have any.
    pub fn labels(&self) -> Option<Vec<i64>> {
        let bytes = self.header.place(format::LABELS)?;
        Some(labels(self.map.bytes().get(bytes)?).collect())
    }

    /// The number of items whose vectors are dependent: their volume is 0, the best, for every query, a reason to rank by
    /// the distance. Cost: a number per item.
    pub fn dependent(&self) -> usize {
        self.f32s(format::VOLUME)
            .iter()
            .filter(|v| **v <= 0.0)
            .count()
    }

    /// The bytes of a tensor. The header was found to fit the file.
    fn bytes(&self, tensor: &str) -> &[u8] {
        let place = self.header.place(tensor);
        let bytes = place.and_then(|place| self.map.bytes().get(place));
        bytes.unwrap_or(&[])
    }

    fn f32s(&self, tensor: &str) -> &[f32] {
        numbers(self.bytes(tensor)).unwrap_or(&[])
    }

    fn u16s(&self, tensor: &str) -> &[u16] {
        numbers(self.bytes(tensor)).unwrap_or(&[])
    }

    /// The bases, as they are stored.
    pub fn stored(&self) -> Stored<'_> {
        let q = match self.header.bases {
            Kind::F32 => Numbers::F32(self.f32s(format::BASES)),
            Kind::Half(format) => Numbers::Half(format, self.u16s(format::BASES)),
            Kind::Int8 => {
                let integers = numbers(self.bytes(format::BASES)).unwrap_or(&[]);
                Numbers::Int8(integers, self.f32s(format::SCALES))
            }
        };
        Stored {
            q,
            volume: self.f32s(format::VOLUME),
            cosines: self.f32s(format::COSINES),
            present: self.f32s(format::PRESENT),
            m: self.header.modalities.len(),
            items: self.header.items,
            d: self.header.d,
        }
    }

    /// The bases with their vectors, where both are in `f32`: then a search needs no candidates.
    pub fn bases(&self) -> Option<Bases<'_, f32>> {
        let stored = self.stored();
        let (Numbers::F32(q), Kind::F32) = (stored.q, self.header.vectors) else {
            return None;
        };
        Some(Bases {
            q,
            r: &[],
            volume: stored.volume,
            vectors: self.f32s(format::VECTORS),
            present: stored.present,
            skip: usize::MAX,
            m: stored.m,
            items: stored.items,
            d: stored.d,
        })
    }

    /// Vector p of item j into `to` \[d\], in `f32`; nothing where there is none.
    fn vector(&self, p: usize, j: usize, to: &mut [f32]) {
        let (items, d) = (self.header.items, self.header.d);
        let start = (p * items + j) * d;
        match self.header.vectors {
            Kind::Half(format) => {
                let from = self.u16s(format::VECTORS).get(start..start + d);
                let pairs = to.iter_mut().zip(from.unwrap_or(&[]));
                pairs.for_each(|(to, x)| *to = format.widen(*x));
            }
            _ => {
                let from = self.f32s(format::VECTORS).get(start..start + d);
                let pairs = to.iter_mut().zip(from.unwrap_or(&[]));
                pairs.for_each(|(to, x)| *to = *x);
            }
        }
    }

    /// Whether vector p of item j is there.
    fn is_present(&self, p: usize, j: usize) -> bool {
        let flag = self.f32s(format::PRESENT).get(p * self.header.items + j);
        flag.is_some_and(|flag| *flag != 0.0)
    }
}
