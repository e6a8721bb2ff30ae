//! A checkpoint as a safetensors file.
//!
//! Tensors of f32 sorted by name, then the bytes of the schedule as a U8 tensor `schedule`. The metadata holds the
//! format, the step, a CRC-32 over everything else, and what the caller adds, sorted by key. The header is written
//! here and not by the `safetensors` crate, whose metadata is a hash map: its order, and with it the bytes, would
//! change from run to run. Reading goes through the crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::atomic;
use crate::data::safetensors::parse;
use crate::error::{Error, Result};

const FORMAT: &str = "rivergram-checkpoint-1";
const FORMAT_KEY: &str = "format";
const STEP_KEY: &str = "step";
const CRC_KEY: &str = "crc32";
const SCHEDULE: &str = "schedule";
const METADATA: &str = "__metadata__";

/// A tensor of f32 with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape; the product is the number of values.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl Tensor {
    /// A tensor; [`Checkpoint::to_bytes`] checks its size.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let name = name.into();
        Self {
            name,
            shape,
            values,
        }
    }
}

/// All that training needs in order to go on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Weights, optimizer state, statistics of the data. Reading gives them sorted by name.
    pub tensors: Vec<Tensor>,
    /// The state of the schedule, in its own encoding.
    pub schedule: Vec<u8>,
    /// How many updates were made.
    pub step: u64,
    /// What else belongs to it, such as a hash of the configuration. The keys `format`, `step` and `crc32` are taken.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The file's bytes, a function of the content alone: the order of `tensors` does not matter.
    ///
    /// # Errors
    /// A tensor whose shape is not its number of values, a name that stands twice or is reserved, a reserved key.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = self.checked()?;
        let crc = crc(&tensors, &self.schedule, self.step, &self.metadata);
        let mut metadata: BTreeMap<&str, &str> = BTreeMap::new();
        metadata.extend(self.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let (step, crc) = (self.step.to_string(), format!("{crc:08x}"));
        metadata.extend([(FORMAT_KEY, FORMAT), (STEP_KEY, &step), (CRC_KEY, &crc)]);

        let mut header = format!("{{{}", json_entry(METADATA, &metadata)?);
        let mut payload = Vec::new();
        for tensor in tensors {
            let start = payload.len();
            payload.extend(tensor.values.iter().flat_map(|x| x.to_le_bytes()));
            header += ",";
            header += &json_entry(
                &tensor.name,
                &Entry::new("F32", &tensor.shape, start, payload.len()),
            )?;
        }
        let start = payload.len();
        payload.extend_from_slice(&self.schedule);
        let shape = [self.schedule.len()];
        let entry = Entry::new("U8", &shape, start, payload.len());
        header += &format!(",{}}}", json_entry(SCHEDULE, &entry)?);
        // The payload begins at a multiple of 8, so that a reader may map it as numbers.
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());

        let length = (header.len() as u64).to_le_bytes();
        Ok([&length[..], header.as_bytes(), &payload].concat())
    }

    /// Reads a file's bytes; `file` names it in messages.
    ///
    /// # Errors
    /// No safetensors file, a wrong checksum, and tensors or metadata that a checkpoint does not have.
    pub fn from_bytes(file: &Path, bytes: &[u8]) -> Result<Self> {
        let content = parse(file, bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| Error::file(file, e))?;
        let all = header.metadata().iter().flatten();
        let mut metadata: BTreeMap<String, String> =
            all.map(|(k, v)| (k.clone(), v.clone())).collect();
        match metadata.remove(FORMAT_KEY).as_deref() {
            Some(FORMAT) => {}
            Some(other) => {
                let problem = format!("format \"{other}\": {FORMAT} expected");
                return Err(Error::file(file, problem));
            }
            None => return Err(Error::file(file, "a safetensors file, but no checkpoint")),
        }
        let step = take(file, &mut metadata, STEP_KEY, |text| text.parse().ok())?;
        let stated = take(file, &mut metadata, CRC_KEY, |text| {
            u32::from_str_radix(text, 16).ok()
        })?;

        let (tensors, schedule) = read_tensors(file, &content)?;
        let sorted: Vec<&Tensor> = tensors.iter().collect();
        let found = crc(&sorted, &schedule, step, &metadata);
        if found != stated {
            let problem =
                format!("damaged: its checksum is {found:08x}, and it states {stated:08x}");
            return Err(Error::file(file, problem));
        }
        Ok(Self {
            tensors,
            schedule,
            step,
            metadata,
        })
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    /// As [`Checkpoint::to_bytes`], and what the system refuses; an old file of this name then stays as it was.
    pub fn write(&self, file: &Path) -> Result<()> {
        atomic::replace(file, &self.to_bytes()?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that is missing, and as [`Checkpoint::from_bytes`].
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).map_err(|e| Error::unreadable(file, &e))?;
        Self::from_bytes(file, &bytes)
    }

    /// The values of a tensor of this shape; `file` names the checkpoint in messages.
    ///
    /// # Errors
    /// No tensor of the name, or one of another shape.
    pub fn values(&self, file: &Path, name: &str, shape: &[usize]) -> Result<&[f32]> {
        match self.tensors.iter().find(|tensor| tensor.name == name) {
            Some(tensor) if tensor.shape == shape => Ok(&tensor.values),
            Some(tensor) => {
                let problem = format!("shape {:?}: {shape:?} expected", tensor.shape);
                Err(Error::tensor(file, name, problem))
            }
            None => Err(Error::tensor(file, name, "missing")),
        }
    }

    /// The tensors sorted by name, if the file can hold them.
    fn checked(&self) -> Result<Vec<&Tensor>> {
        let place = |tensor: &Tensor| format!("checkpoint: tensor \"{}\"", tensor.name);
        for tensor in &self.tensors {
            let size = tensor
                .shape
                .iter()
                .try_fold(1_usize, |n, &d| n.checked_mul(d));
            if size != Some(tensor.values.len()) {
                let problem = format!(
                    "{} values do not fill its shape {:?}",
                    tensor.values.len(),
                    tensor.shape
                );
                return Err(Error::input(place(tensor), problem));
            }
            if [SCHEDULE, METADATA].contains(&tensor.name.as_str()) {
                return Err(Error::input(place(tensor), "the name is reserved"));
            }
        }
        let reserved = [FORMAT_KEY, STEP_KEY, CRC_KEY];
        if let Some(key) = reserved
            .iter()
            .find(|&&key| self.metadata.contains_key(key))
        {
            let problem = format!("the metadata key \"{key}\" is reserved");
            return Err(Error::input("checkpoint", problem));
        }
        let mut sorted: Vec<&Tensor> = self.tensors.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
        match pairs.find(|(a, b)| a.name == b.name) {
            Some((twice, _)) => Err(Error::input(place(twice), "the name stands twice")),
            None => Ok(sorted),
        }
    }
}

/// A tensor in the header.
#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

impl<'a> Entry<'a> {
    fn new(dtype: &'static str, shape: &'a [usize], start: usize, end: usize) -> Self {
        let data_offsets = [start, end];
        Self {
            dtype,
            shape,
            data_offsets,
        }
    }
}

/// `"key":value`.
fn json_entry(key: &str, value: &impl Serialize) -> Result<String> {
    let parts = (serde_json::to_string(key), serde_json::to_string(value));
    match parts {
        (Ok(key), Ok(value)) => Ok(format!("{key}:{value}")),
        (Err(e), _) | (_, Err(e)) => Err(Error::input("checkpoint", e)),
    }
}

/// Removes a metadata entry and reads it.
fn take<T>(
    file: &Path,
    metadata: &mut BTreeMap<String, String>,
    key: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T> {
    let text = metadata.remove(key);
    let value = text.as_deref().and_then(read);
    value.ok_or_else(|| match text {
        Some(text) => Error::file(
            file,
            format_args!("\"{key}\" is \"{text}\" in its metadata: a number expected"),
        ),
        None => Error::file(file, format_args!("no \"{key}\" in its metadata")),
    })
}

/// The tensors sorted by name, and the schedule.
fn read_tensors(file: &Path, content: &SafeTensors<'_>) -> Result<(Vec<Tensor>, Vec<u8>)> {
    let mut names = content.names();
    names.sort_unstable();
    let mut tensors = Vec::new();
    let mut schedule = None;
    for name in names {
        let tensor = content.tensor(name).map_err(|e| Error::file(file, e))?;
        match (name, tensor.dtype()) {
            (SCHEDULE, Dtype::U8) => schedule = Some(tensor.data().to_vec()),
            (SCHEDULE, other) => {
                return Err(Error::tensor(
                    file,
                    name,
                    format_args!("type {other}: U8 expected"),
                ));
            }
            (_, Dtype::F32) => {
                let (words, _) = tensor.data().as_chunks::<4>();
                let values = words.iter().map(|&b| f32::from_le_bytes(b)).collect();
                tensors.push(Tensor::new(name, tensor.shape().to_vec(), values));
            }
            (_, other) => {
                return Err(Error::tensor(
                    file,
                    name,
                    format_args!("type {other}: F32 expected"),
                ));
            }
        }
    }
    match schedule {
        Some(schedule) => Ok((tensors, schedule)),
        None => Err(Error::tensor(file, SCHEDULE, "missing")),
    }
}

/// Over names, shapes and values, the schedule, the step and the metadata: nothing in the file can change unseen.
fn crc(
    tensors: &[&Tensor],
    schedule: &[u8],
    step: u64,
    metadata: &BTreeMap<String, String>,
) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut bytes = |bytes: &[u8]| {
        // With the length in front no two contents are the same bytes.
        crc.update(&(bytes.len() as u64).to_le_bytes());
        crc.update(bytes);
    };
    for tensor in tensors {
        bytes(tensor.name.as_bytes());
        let shape: Vec<u8> = tensor
            .shape
            .iter()
            .flat_map(|&d| (d as u64).to_le_bytes())
            .collect();
        bytes(&shape);
        let values: Vec<u8> = tensor.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&values);
    }
    bytes(schedule);
    bytes(&step.to_le_bytes());
    for (key, value) in metadata {
        bytes(key.as_bytes());
        bytes(value.as_bytes());
    }
    crc.finalize()
}
