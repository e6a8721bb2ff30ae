//! `metrics.jsonl`: one JSON object a line, in the order of training.
//!
//! A killed run can leave lines beyond its last checkpoint, and a torn last line. Both are cut off on resume.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The open log of a run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the log for appending, made if it does not exist, and cuts it off at the first line that is torn or
    /// that `keep` refuses. A log with no such line is not touched.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(path: &Path, keep: impl Fn(&Value) -> bool) -> Result<Self> {
        let failed = |e| Error::io(path, "open it for writing", e);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let kept = kept_length(&content, keep);
        if kept < content.len() {
            file.set_len(kept as u64).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(kept as u64)).map_err(failed)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// What the system refuses, such as a full disk.
    pub fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|e| Error::file(&self.path, e))?;
        text.push(b'\n');
        let written = self.file.write_all(&text);
        written.map_err(|e| Error::io(&self.path, "append to it", e))
    }

    /// Makes the lines so far last through a power cut: before the checkpoint that they lead to.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|e| Error::io(&self.path, "sync it", e))
    }
}

/// The length of the lines before the first that is torn or refused.
fn kept_length(content: &[u8], keep: impl Fn(&Value) -> bool) -> usize {
    let lines = content.split_inclusive(|&byte| byte == b'\n');
    let whole = |line: &&[u8]| {
        let value: Option<Value> = serde_json::from_slice(line).ok();
        line.ends_with(b"\n") && value.is_some_and(|value| keep(&value))
    };
    lines.take_while(whole).map(<[u8]>::len).sum()
}
