//! `--data FILE.safetensors`: one tensor of N rows and D columns per modality.
//!
//! Tensors of f32, f16 or bf16; the tensor's name is the modality's. An optional tensor `labels` of N i64 or i32
//! is no modality. The modalities stand in the order of their names, whatever their order in the file: writers
//! reorder tensors as they like, and the program should not depend on it.

use std::fs;
use std::path::Path;

use ::safetensors::tensor::{SafeTensors, TensorView};
use ::safetensors::{Dtype, SafeTensorError};
use npyz::Order;

use super::floats::{Layout, Storage, words};
use super::{Dataset, Modality, other_format};
use crate::error::{Error, Result, tensor_place};

/// The name of the tensor that is no modality.
pub const LABELS: &str = "labels";

/// Reads a dataset.
///
/// # Errors
/// A file that is missing, cut off or contradicts itself; a tensor of another type or shape; and what
/// [`Modality::new`] and [`Dataset::new`] refuse. Each names the file and the tensor.
pub fn read(file: &Path) -> Result<Dataset> {
    let bytes = fs::read(file).map_err(|e| Error::unreadable(file, &e))?;
    let Contents { modalities, labels } = locate(file, &bytes)?;
    let modality = |(name, array): &(String, Layout)| {
        let rows = array.read_all(&bytes);
        Modality::new(&tensor_place(file, name), name, array.dim, rows)
    };
    let modalities = modalities.iter().map(modality).collect::<Result<_>>()?;
    Dataset::new(&file.display().to_string(), modalities, labels)
}

/// What a file holds: the arrays of its modalities, in the order of their names, and its labels.
pub(super) struct Contents {
    pub(super) modalities: Vec<(String, Layout)>,
    pub(super) labels: Option<Vec<i64>>,
}

/// Where the modalities of a file lie in its bytes.
pub(super) fn locate(file: &Path, bytes: &[u8]) -> Result<Contents> {
    let tensors = parse(file, bytes)?;
    let mut names = tensors.names();
    names.sort_unstable();
    let (mut modalities, mut labels) = (Vec::new(), None);
    for name in names {
        let tensor = tensors.tensor(name).map_err(|e| Error::file(file, e))?;
        if name == LABELS {
            labels = Some(read_labels(file, &tensor)?);
        } else {
            modalities.push((name.to_owned(), layout(file, name, &tensor, bytes)?));
        }
    }
    Ok(Contents { modalities, labels })
}

/// The tensors of a file that is in memory. Every stated size is compared with the file's before use.
pub(crate) fn parse<'a>(file: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        let problem = format!(
            "{} bytes: no safetensors file, which begins with an 8-byte header length",
            bytes.len()
        );
        return Err(Error::file(file, problem));
    };
    if let Some(what) = other_format(bytes) {
        return Err(Error::file(file, what));
    }
    let header = u64::from_le_bytes(*length);
    if header > rest.len() as u64 {
        let problem = format!(
            "cut off, or no safetensors file: it states a header of {header} bytes, and {} follow",
            rest.len()
        );
        return Err(Error::file(file, problem));
    }
    SafeTensors::deserialize(bytes).map_err(|e| Error::file(file, explain(&e, bytes, header)))
}

/// The library's finding in words; where it names no tensor, the header is searched for the one it means.
fn explain(error: &SafeTensorError, bytes: &[u8], header: u64) -> String {
    let payload = bytes.len() as u64 - 8 - header;
    match error {
        SafeTensorError::InvalidOffset(name) => format!(
            "tensor \"{name}\": its data offsets leave a gap, overlap another tensor or run backwards"
        ),
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "cut off or too long: {payload} bytes follow the header, which is not what the tensors' offsets say"
        ),
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            let name = contradicting_tensor(bytes, header);
            let place = name.map_or_else(|| "a tensor".to_owned(), |n| format!("tensor \"{n}\""));
            format!("{place}: its shape and type do not give the size of its data offsets")
        }
        other => format!("no valid safetensors header: {other}"),
    }
}

/// The first tensor by name whose shape does not give the size of its offsets.
fn contradicting_tensor(bytes: &[u8], header: u64) -> Option<String> {
    let text = bytes.get(8..)?.get(..usize::try_from(header).ok()?)?;
    let entries: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(text).ok()?;
    let contradicts = |entry: &serde_json::Value| {
        let info: ::safetensors::tensor::TensorInfo = serde_json::from_value(entry.clone()).ok()?;
        let count = info
            .shape
            .iter()
            .try_fold(1_usize, |n, &d| n.checked_mul(d));
        let bits = count.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        let (start, end) = info.data_offsets;
        Some(bits.map(|bits| bits / 8) != end.checked_sub(start))
    };
    let mut entries = entries.into_iter();
    let found =
        entries.find(|(name, entry)| name != "__metadata__" && contradicts(entry) == Some(true));
    found.map(|(name, _)| name)
}

fn layout(file: &Path, name: &str, tensor: &TensorView<'_>, bytes: &[u8]) -> Result<Layout> {
    let storage = match tensor.dtype() {
        Dtype::F32 => Storage::F32,
        Dtype::F16 => Storage::F16,
        Dtype::BF16 => Storage::Bf16,
        other => {
            let problem = format!("type {other}: F32, F16 or BF16 expected");
            return Err(Error::tensor(file, name, problem));
        }
    };
    let &[n, dim] = tensor.shape() else {
        let problem = format!("shape {:?}: [N, D] expected", tensor.shape());
        return Err(Error::tensor(file, name, problem));
    };
    Ok(Layout {
        start: offset_of(bytes, tensor.data()),
        storage,
        order: Order::C,
        n,
        dim,
    })
}

/// Where a part of some bytes begins.
fn offset_of(all: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(all.as_ptr() as usize)
}

fn read_labels(file: &Path, tensor: &TensorView<'_>) -> Result<Vec<i64>> {
    let &[_] = tensor.shape() else {
        let problem = format!("shape {:?}: [N] expected", tensor.shape());
        return Err(Error::tensor(file, LABELS, problem));
    };
    match tensor.dtype() {
        Dtype::I64 => Ok(words(tensor.data()).map(i64::from_le_bytes).collect()),
        Dtype::I32 => Ok(words(tensor.data())
            .map(|b| i32::from_le_bytes(b).into())
            .collect()),
        other => {
            let problem = format!("type {other}: I64 or I32 expected");
            Err(Error::tensor(file, LABELS, problem))
        }
    }
}
