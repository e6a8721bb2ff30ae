//! `metrics.jsonl`: one JSON object a line, in the order of training.
//!
//! The last field of a line, `"crc32":"89abcdef"`, is the CRC-32 of the line as it is without this field, a JSON object
//! that ends in `}`. A killed run can leave lines beyond its last checkpoint, and a torn last line; a disk, flipped bits.
//! The log is cut off there on resume, and its number of lines tells what is missing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// What ends the JSON object of a line, and the line.
const END: &[u8] = b"}";
const LINE_END: &[u8] = b"\n";

/// The open log of a run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    lines: u64,
}

impl Metrics {
    /// Opens the log for appending, made if it does not exist, and cuts it off after `most` lines or before the first
    /// that is torn or damaged. A log that is whole and no longer is not touched.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(path: &Path, most: u64) -> Result<Self> {
        let failed = |e| Error::io(path, "open it for writing", e);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let (lines, kept) = whole_lines(&content, most);
        if kept < content.len() {
            file.set_len(kept as u64).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(kept as u64)).map_err(failed)?;
        let path = path.to_owned();
        Ok(Self { path, file, lines })
    }

    /// Lines that it has.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Appends one line.
    ///
    /// # Errors
    /// What is no JSON object with a field, and what the system refuses, such as a full disk.
    pub fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let object = serde_json::to_vec(line).map_err(|e| Error::file(&self.path, e))?;
        let Some(text) = sealed(&object) else {
            let problem = "a line is a JSON object with at least one field";
            return Err(Error::file(&self.path, problem));
        };
        let written = self.file.write_all(&text);
        written.map_err(|e| Error::io(&self.path, "append to it", e))?;
        self.lines += 1;
        Ok(())
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

/// A JSON object as a line with its checksum; nothing where it has no field.
fn sealed(object: &[u8]) -> Option<Vec<u8>> {
    let fields = object.strip_suffix(END)?;
    let has_fields = fields.starts_with(b"{") && fields.len() > 1;
    has_fields.then(|| [fields, &seal(object), END, LINE_END].concat())
}

/// The field of the checksum of a JSON object.
fn seal(object: &[u8]) -> Vec<u8> {
    format!(",\"crc32\":\"{:08x}\"", crc32fast::hash(object)).into_bytes()
}

/// Whether a line is as [`sealed`] makes it: there is one way to write a checksum, so that no changed bit is overlooked.
fn is_whole(line: &[u8]) -> bool {
    let text = line.strip_suffix(LINE_END);
    let text = text.and_then(|text| text.strip_suffix(END));
    let fields = text.and_then(|text| text.split_at_checked(text.len().checked_sub(SEAL_LEN)?));
    fields.is_some_and(|(fields, found)| found == seal(&[fields, END].concat()))
}

/// Bytes of [`seal`].
const SEAL_LEN: usize = ",\"crc32\":\"01234567\"".len();

/// The number of lines before the first that is torn or damaged, at most `most`, and their bytes.
fn whole_lines(content: &[u8], most: u64) -> (u64, usize) {
    let lines = content.split_inclusive(|&byte| byte == b'\n');
    let kept = (1..=most).zip(lines).take_while(|(_, line)| is_whole(line));
    kept.fold((0, 0), |(_, bytes), (n, line)| (n, bytes + line.len()))
}
