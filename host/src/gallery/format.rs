//! The file of a gallery: a safetensors file, so that other programs can read it.
//!
//! | tensor | shape | type |
//! |---|---|---|
//! | `vectors` | \[m, items, D\] | F32, F16 or BF16; zeros where a vector is absent |
//! | `bases` | \[m, items, D\] | F32, F16, BF16 or I8: the rows of Q |
//! | `scales` | \[m, items\] | F32; with bases in I8: q = scale · n |
//! | `volume` | \[items\] | F32: vol |
//! | `cosines` | \[m, items\] | F32: the weights c of Σ_p cos(a, x_p) = Σ_p c_p·(q_p·a)/\|a\| |
//! | `present` | \[m, items\] | F32: 1, or 0 where a vector is absent |
//! | `labels` | \[items\] | I64; where the items have any |
//!
//! The metadata has `format`, `version`, the names of the modalities as a JSON list, a CRC-32 of each tensor
//! (`crc32.NAME`) and one of the header itself with eight zeros in its place (`crc32`). The largest tensors come first,
//! and the first begins at a multiple of 64.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use rivergram_core::gram::int8::MOST_DIMENSIONS;
use rivergram_core::optim::rounding::Half;
use safetensors::{Dtype, SafeTensors};

use super::{Kind, VECTORS_MAX};
use crate::data::safetensors::parse;
use crate::error::{Error, Result};
use crate::map;

pub(super) const VECTORS: &str = "vectors";
pub(super) const BASES: &str = "bases";
pub(super) const SCALES: &str = "scales";
pub(super) const VOLUME: &str = "volume";
pub(super) const COSINES: &str = "cosines";
pub(super) const PRESENT: &str = "present";
pub(super) const LABELS: &str = "labels";

const FORMAT: &str = "rivergram-gallery";
const VERSION: &str = "1";
/// Before a checksum of the header is known.
const NO_SUM: &str = "00000000";
/// What stands before the header's checksum, and nowhere else: a quote within a text has a backslash before it.
const OWN_SUM: &str = "\"crc32\":\"";
const ALIGNMENT: usize = 64;

/// What a gallery holds, and where.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) modalities: Vec<String>,
    pub(super) items: usize,
    pub(super) d: usize,
    pub(super) bases: Kind,
    pub(super) vectors: Kind,
    tensors: Vec<Tensor>,
    /// The bytes before the first tensor.
    payload: usize,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    /// From the first tensor's first byte on.
    bytes: Range<usize>,
    crc: u32,
}

impl Header {
    /// The header of a new gallery; nothing where its sizes leave the range.
    pub(super) fn new(
        modalities: Vec<String>,
        [items, d]: [usize; 2],
        [bases, vectors]: [Kind; 2],
        has_labels: bool,
    ) -> Option<Self> {
        let m = modalities.len();
        let mut tensors = Vec::new();
        let mut end = 0_usize;
        for (name, dtype, shape) in tensors_of([m, items, d], [bases, vectors], has_labels) {
            let numbers = shape
                .iter()
                .try_fold(1_usize, |n, &size| n.checked_mul(size))?;
            let start = end;
            end = start.checked_add(numbers.checked_mul(dtype.bitsize() / 8)?)?;
            tensors.push(Tensor {
                name,
                dtype,
                shape,
                bytes: start..end,
                crc: 0,
            });
        }
        let mut header = Header {
            modalities,
            items,
            d,
            bases,
            vectors,
            tensors,
            payload: 0,
        };
        header.payload = 8 + header.text().len();
        end.checked_add(header.payload)?;
        Some(header)
    }

    /// Where a tensor lies in the file.
    pub(super) fn place(&self, name: &str) -> Option<Range<usize>> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        Some(self.payload + tensor.bytes.start..self.payload + tensor.bytes.end)
    }

    /// The file's length.
    pub(super) fn len(&self) -> usize {
        let end = self.tensors.last().map_or(0, |tensor| tensor.bytes.end);
        self.payload + end
    }

    /// Notes the checksum of a tensor.
    pub(super) fn set_sum(&mut self, name: &str, crc: u32) {
        if let Some(tensor) = self.tensors.iter_mut().find(|tensor| tensor.name == name) {
            tensor.crc = crc;
        }
    }

    /// The bytes before the first tensor.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let text = self.text();
        let own = format!("{OWN_SUM}{:08x}", crc32fast::hash(text.as_bytes()));
        let text = text.replacen(&format!("{OWN_SUM}{NO_SUM}"), &own, 1);
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// The header without its own checksum.
    fn text(&self) -> String {
        let names: Vec<String> = self.modalities.iter().map(|name| quoted(name)).collect();
        let names = quoted(&format!("[{}]", names.join(",")));
        let mut text = format!(
            "{{\"__metadata__\":{{\"format\":\"{FORMAT}\",\"version\":\"{VERSION}\",\"modalities\":{names}"
        );
        for Tensor { name, crc, .. } in &self.tensors {
            let _ = write!(text, ",\"crc32.{name}\":\"{crc:08x}\"");
        }
        let _ = write!(text, ",{OWN_SUM}{NO_SUM}\"}}");
        for tensor in &self.tensors {
            let Tensor {
                name,
                dtype,
                shape,
                bytes: Range { start, end },
                ..
            } = tensor;
            let _ = write!(
                text,
                ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
            );
        }
        text.push('}');
        let len = (8 + text.len()).next_multiple_of(ALIGNMENT) - 8;
        text += &" ".repeat(len - text.len());
        text
    }

    /// Reads and checks the header of a file.
    pub(super) fn read(file: &Path, bytes: &[u8]) -> Result<Self> {
        let content = parse(file, bytes)?;
        let (length, header) =
            SafeTensors::read_metadata(bytes).map_err(|e| Error::file(file, e))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry = |key: &str| metadata.get(key).map(String::as_str);
        match (entry("format"), entry("version")) {
            (Some(FORMAT), Some(VERSION)) => {}
            (Some(FORMAT), version) => {
                let version = version.unwrap_or("none");
                let problem = format!(
                    "a gallery of version {version}, and this program reads version {VERSION}: build it again"
                );
                return Err(Error::file(file, problem));
            }
            _ => {
                let problem = "no gallery: \"rivergram gallery\" makes one";
                return Err(Error::file(file, problem));
            }
        }
        check_own_sum(file, bytes.get(8..8 + length).unwrap_or(&[]))?;
        let names = entry("modalities").and_then(|text| serde_json::from_str(text).ok());
        let modalities: Vec<String> = names.ok_or_else(|| {
            Error::file(
                file,
                "its metadata have no list of the names of its modalities",
            )
        })?;
        if !(1..=VECTORS_MAX).contains(&modalities.len()) {
            let problem = format!(
                "{} modalities: 1 to {VECTORS_MAX} expected",
                modalities.len()
            );
            return Err(Error::file(file, problem));
        }
        let kind_of = |name: &str| -> Result<(Kind, Vec<usize>)> {
            let tensor = content
                .tensor(name)
                .map_err(|_| Error::tensor(file, name, "missing"))?;
            let kind = match tensor.dtype() {
                Dtype::F32 => Kind::F32,
                Dtype::F16 => Kind::Half(Half::F16),
                Dtype::BF16 => Kind::Half(Half::Bf16),
                Dtype::I8 if name == BASES => Kind::Int8,
                other => {
                    let problem = format!("type {other}: no type of a gallery's {name}");
                    return Err(Error::tensor(file, name, problem));
                }
            };
            Ok((kind, tensor.shape().to_vec()))
        };
        let ((bases, shape), (vectors, _)) = (kind_of(BASES)?, kind_of(VECTORS)?);
        let &[m, items, d] = shape.as_slice() else {
            let problem = format!("shape {shape:?}: [modalities, items, D] expected");
            return Err(Error::tensor(file, BASES, problem));
        };
        if m != modalities.len()
            || items == 0
            || d == 0
            || (bases == Kind::Int8 && d > MOST_DIMENSIONS)
        {
            let problem = format!(
                "shape {shape:?}: [{}, items, D] expected, neither 0, and D at most {MOST_DIMENSIONS} in I8",
                modalities.len()
            );
            return Err(Error::tensor(file, BASES, problem));
        }
        let mut tensors = Vec::new();
        let has_labels = content.tensor(LABELS).is_ok();
        for (name, dtype, shape) in tensors_of([m, items, d], [bases, vectors], has_labels) {
            let tensor = content
                .tensor(name)
                .map_err(|_| Error::tensor(file, name, "missing"))?;
            if (tensor.dtype(), tensor.shape()) != (dtype, shape.as_slice()) {
                let problem = format!(
                    "{} {:?}: {dtype} {shape:?} expected",
                    tensor.dtype(),
                    tensor.shape()
                );
                return Err(Error::tensor(file, name, problem));
            }
            let stated = entry(&format!("crc32.{name}"));
            let crc = stated.and_then(|text| u32::from_str_radix(text, 16).ok());
            let info = header.info(name).map(|info| info.data_offsets);
            let (Some(crc), Some((start, end))) = (crc, info) else {
                return Err(Error::tensor(file, name, "its checksum is not stated"));
            };
            let place = bytes
                .get(8 + length + start..8 + length + end)
                .unwrap_or(&[]);
            let fits = match dtype {
                Dtype::F32 => map::numbers::<f32>(place).is_some(),
                Dtype::F16 | Dtype::BF16 => map::numbers::<u16>(place).is_some(),
                _ => true,
            };
            if !fits {
                let problem = format!("it begins at byte {start}, which is no place for {dtype}");
                return Err(Error::tensor(file, name, problem));
            }
            tensors.push(Tensor {
                name,
                dtype,
                shape,
                bytes: start..end,
                crc,
            });
        }
        Ok(Header {
            modalities,
            items,
            d,
            bases,
            vectors,
            tensors,
            payload: 8 + length,
        })
    }

    /// Compares the checksums of all tensors.
    pub(super) fn check_sums(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        for Tensor { name, crc, .. } in &self.tensors {
            let place = self.place(name).and_then(|place| bytes.get(place));
            let found = crc32fast::hash(place.unwrap_or(&[]));
            if found != *crc {
                let problem = format!(
                    "damaged: its checksum is {found:08x}, and the header states {crc:08x}"
                );
                return Err(Error::tensor(file, name, problem));
            }
        }
        Ok(())
    }
}

/// The tensors of a gallery in their order: the large ones first, those of small numbers last, so that each is aligned.
fn tensors_of(
    [m, items, d]: [usize; 3],
    [bases, vectors]: [Kind; 2],
    has_labels: bool,
) -> Vec<(&'static str, Dtype, Vec<usize>)> {
    let of_f32 = |shape: Vec<usize>| (Dtype::F32, shape);
    let mut tensors = vec![
        (VOLUME, of_f32(vec![items])),
        (COSINES, of_f32(vec![m, items])),
        (PRESENT, of_f32(vec![m, items])),
    ];
    if bases == Kind::Int8 {
        tensors.push((SCALES, of_f32(vec![m, items])));
    }
    for (name, kind) in [(VECTORS, vectors), (BASES, bases)] {
        tensors.push((name, (dtype(kind), vec![m, items, d])));
    }
    if has_labels {
        tensors.push((LABELS, (Dtype::I64, vec![items])));
    }
    let rank = |tensor: &(&str, (Dtype, Vec<usize>))| match (tensor.0, tensor.1.0) {
        (LABELS, _) => 4,
        (VECTORS | BASES, Dtype::F32) => 0,
        (_, Dtype::F32) => 1,
        (_, Dtype::I8) => 3,
        _ => 2,
    };
    tensors.sort_by_key(rank);
    let flat = tensors.into_iter();
    flat.map(|(name, (dtype, shape))| (name, dtype, shape))
        .collect()
}

fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::F32 => Dtype::F32,
        Kind::Half(Half::F16) => Dtype::F16,
        Kind::Half(Half::Bf16) => Dtype::BF16,
        Kind::Int8 => Dtype::I8,
    }
}

/// A text as JSON writes it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Compares the header's own checksum.
fn check_own_sum(file: &Path, text: &[u8]) -> Result<()> {
    let mut text = text.to_vec();
    let place = text
        .windows(OWN_SUM.len())
        .position(|window| window == OWN_SUM.as_bytes())
        .map(|at| at + OWN_SUM.len()..at + OWN_SUM.len() + NO_SUM.len());
    let own = place.and_then(|place| text.get_mut(place));
    let stated = own.and_then(|own| {
        let stated = std::str::from_utf8(own).ok()?;
        let stated = u32::from_str_radix(stated, 16).ok()?;
        own.copy_from_slice(NO_SUM.as_bytes());
        Some(stated)
    });
    let found = crc32fast::hash(&text);
    match stated {
        Some(stated) if stated == found => Ok(()),
        Some(stated) => {
            let problem = format!(
                "damaged: the checksum of its header is {found:08x}, and it states {stated:08x}"
            );
            Err(Error::file(file, problem))
        }
        None => Err(Error::file(
            file,
            "the checksum of its header is not stated",
        )),
    }
}
