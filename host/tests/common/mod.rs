//! The program in a folder of its own, and files for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use half::{bf16, f16};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The program in a folder of its own.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with some arguments; without the name of a command it trains.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rivergram"));
        command.env_remove("RIVERGRAM_PATH").current_dir(&self.0);
        command.args(line.split_whitespace());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program starts")
    }

    /// The stdout of what has to succeed.
    #[track_caller]
    pub(crate) fn stdout(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What has to be refused with one line, before anything is written.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str, parts: &[&str]) {
        let before = listing(self.0.path());
        assert_refused(line, &self.run(line), parts);
        assert_eq!(listing(self.0.path()), before, "{line}: something is left");
    }

    /// A safetensors file.
    pub(crate) fn write(&self, name: &str, tensors: &[Raw]) {
        fs::write(self.file(name), safetensors(tensors)).expect("written");
    }
}

#[track_caller]
pub(crate) fn assert_refused(line: &str, output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {text}");
    assert!(output.stdout.is_empty(), "{line}: {output:?}");
    assert_eq!(text.lines().count(), 1, "{line}: {text}");
    assert!(text.starts_with("error: "), "{line}: {text}");
    for part in parts {
        assert!(text.contains(part), "{line}: {part:?} is not in {text}");
    }
}

/// Every file below a folder, by its path in it. A file that was renamed between the list and the look is none: a run
/// that goes on does that.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = PathBuf::from(path.file_name().expect("a name"));
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(file, bytes)| (name.join(file), bytes)));
        } else {
            match fs::read(&path) {
                Ok(bytes) => drop(found.insert(name, bytes)),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => panic!("{}: {e}", path.display()),
            }
        }
    }
    found
}

/// Every file below a folder with its time.
pub(crate) fn listing(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let time = |file: &Path| {
        let data = fs::metadata(folder.join(file)).expect("a file");
        data.modified().expect("a time")
    };
    let names = files(folder).into_keys();
    names.map(|file| (file.clone(), time(&file))).collect()
}

/// The lines of a text, each an object of JSON.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    text.lines().map(parse).collect()
}

/// A tensor as a safetensors file holds it.
pub(crate) struct Raw {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Rows of F32, F16 or BF16.
pub(crate) fn floats(name: &str, dtype: &'static str, dim: usize, rows: &[f32]) -> Raw {
    let bytes = match dtype {
        "F32" => rows.iter().flat_map(|x| x.to_le_bytes()).collect(),
        "F16" => rows
            .iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect(),
        _ => rows
            .iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect(),
    };
    let (name, shape) = (name.to_string(), vec![rows.len() / dim, dim]);
    Raw {
        name,
        dtype,
        shape,
        bytes,
    }
}

/// Labels of I64 or I32.
pub(crate) fn labels(dtype: &'static str, labels: &[i64]) -> Raw {
    let bytes = match dtype {
        "I64" => labels.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => labels
            .iter()
            .flat_map(|x| (*x as i32).to_le_bytes())
            .collect(),
    };
    let (name, shape) = ("labels".to_string(), vec![labels.len()]);
    Raw {
        name,
        dtype,
        shape,
        bytes,
    }
}

fn safetensors(tensors: &[Raw]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut payload = Vec::new();
    for tensor in tensors {
        let start = payload.len();
        payload.extend_from_slice(&tensor.bytes);
        let offsets = [start, payload.len()];
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets});
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &payload].concat()
}

/// An array of rows, whose numbers stand row by row or, with `fortran`, column by column.
pub(crate) fn npy(dim: usize, fortran: bool, numbers: &[f32]) -> Vec<u8> {
    let (n, order) = (numbers.len() / dim, if fortran { "True" } else { "False" });
    let text = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({n}, {dim}), }}");
    let text = format!("{text:117}\n");
    let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), &data].concat()
}
