//! `--modality NAME=FILE.npy`: one two-dimensional array per modality.
//!
//! f4, f2 or f8, little-endian; rows first. A Fortran-ordered array is transposed while reading.

use std::fs;
use std::path::{Path, PathBuf};

use npyz::{DType, Endianness, NpyHeader, TypeChar};

use super::floats::{Layout, Storage};
use super::safetensors::LABELS;
use super::{Dataset, Modality, other_format};
use crate::error::{Error, Result};

const FLAG: &str = "--modality";

/// The largest nesting of brackets in a header: a plain array needs two, one that pickles deep types more.
const NESTING: usize = 8;

/// Splits `NAME=FILE`.
///
/// # Errors
/// No `=`, an empty name, an empty file name, or the name `labels`.
pub fn parse_flag(value: &str) -> Result<(String, PathBuf)> {
    match value.split_once('=') {
        Some((LABELS, _)) => {
            let problem = "labels: no name of a modality, since labels are none";
            Err(Error::flag(FLAG, problem))
        }
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => {
            let problem = format!("\"{value}\": NAME=FILE.npy expected");
            Err(Error::flag(FLAG, problem))
        }
    }
}

/// Reads one file per modality, in the order given; there are no labels.
///
/// # Errors
/// As [`read`] and [`Dataset::new`].
pub fn read_all(files: &[(String, PathBuf)]) -> Result<Dataset> {
    let modalities = files
        .iter()
        .map(|(name, file)| read(name, file))
        .collect::<Result<Vec<_>>>()?;
    Dataset::new(FLAG, modalities, None)
}

/// Reads one modality.
///
/// # Errors
/// A file that is missing, cut off or no NPY file; another type than f4, f2, f8 little-endian; another number of
/// dimensions than two; and what [`Modality::new`] refuses.
pub fn read(name: &str, file: &Path) -> Result<Modality> {
    let bytes = fs::read(file).map_err(|e| Error::unreadable(file, &e))?;
    let array = locate(file, &bytes)?;
    Modality::new(&place(file, name), name, array.dim, array.read_all(&bytes))
}

/// How messages name a modality.
pub(super) fn place(file: &Path, name: &str) -> String {
    format!("{}: modality \"{name}\"", file.display())
}

/// Where the array of a file lies in its bytes.
pub(super) fn locate(file: &Path, bytes: &[u8]) -> Result<Layout> {
    let (header, data) = split_header(file, bytes)?;
    let storage = storage(file, &header.dtype())?;
    let (n, dim) = shape(file, header.shape(), storage, data.len())?;
    Ok(Layout {
        start: bytes.len().saturating_sub(data.len()),
        storage,
        order: header.order(),
        n,
        dim,
    })
}

/// Reads the header, after its length and its numbers were found to be possible.
fn split_header<'a>(file: &Path, bytes: &'a [u8]) -> Result<(NpyHeader, &'a [u8])> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
        let problem = format!("{} bytes: no NPY file", bytes.len());
        return Err(Error::file(file, problem));
    };
    if !magic.starts_with(b"\x93NUMPY") {
        let problem = other_format(bytes).unwrap_or("no NPY file: its first bytes are others");
        return Err(Error::file(file, problem));
    }
    let wide = magic.get(6).is_some_and(|&major| major >= 2);
    let stated = match wide {
        true => rest
            .split_first_chunk()
            .map(|(b, rest)| (u32::from_le_bytes(*b) as usize, rest)),
        false => rest
            .split_first_chunk()
            .map(|(b, rest)| (u16::from_le_bytes(*b).into(), rest)),
    };
    let parts = stated.and_then(|(length, rest)| rest.split_at_checked(length));
    let Some((text, data)) = parts else {
        return Err(Error::file(file, "cut off within its NPY header"));
    };
    check_text(text).map_err(|problem| Error::file(file, problem))?;
    let header = NpyHeader::from_reader(bytes)
        .map_err(|e| Error::file(file, format_args!("no valid NPY header: {e}")))?;
    Ok((header, data))
}

/// Refuses what the parser would recurse or overflow on: deep nesting, sizes whose product has no meaning.
fn check_text(text: &[u8]) -> std::result::Result<(), &'static str> {
    let mut depth = 0_usize;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING {
            return Err("no valid NPY header: its brackets nest too deeply");
        }
    }
    let numbers = text
        .split(|b| !b.is_ascii_digit())
        .filter(|digits| !digits.is_empty());
    let product = numbers
        .map(number)
        .try_fold(1_u64, |product, n| product.checked_mul(n?.max(1)));
    match product {
        Some(_) => Ok(()),
        None => Err("its NPY header states impossibly large sizes"),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn storage(file: &Path, dtype: &DType) -> Result<Storage> {
    if let DType::Plain(plain) = dtype {
        let little = plain.endianness() == Endianness::Little;
        match (plain.type_char(), plain.size_field()) {
            (TypeChar::Float, 2) if little => return Ok(Storage::F16),
            (TypeChar::Float, 4) if little => return Ok(Storage::F32),
            (TypeChar::Float, 8) if little => return Ok(Storage::F64),
            _ => {}
        }
    }
    let problem = format!("type {}: '<f4', '<f2' or '<f8' expected", dtype.descr());
    Err(Error::file(file, problem))
}

/// N and D, once the data is found to be exactly as long as they say.
fn shape(file: &Path, shape: &[u64], storage: Storage, bytes: usize) -> Result<(usize, usize)> {
    let &[n, dim] = shape else {
        let problem = format!("shape {shape:?}: [N, D] expected");
        return Err(Error::file(file, problem));
    };
    let size = n
        .checked_mul(dim)
        .and_then(|count| count.checked_mul(storage.size() as u64));
    if size != Some(bytes as u64) {
        let problem = format!(
            "cut off or too long: shape [{n}, {dim}] of {}-byte numbers, and {bytes} bytes of data",
            storage.size()
        );
        return Err(Error::file(file, problem));
    }
    // Both fit: their product is the length of a slice, unless one is 0.
    Ok((n as usize, dim as usize))
}
