//! `metrics.jsonl`: one JSON object a line, in the order of training.
//!
//! The last field of a line, `"crc32":"89abcdef"`, is the CRC-32 of the line as it is without this field, a JSON object
//! that ends in `}`. A killed run can leave lines beyond its last checkpoint, and a torn last line; a disk, flipped bits.
//! The log is cut off there on resume, and its number of lines tells what is missing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// What a log is copied to before it is cut off at a damaged line.
pub const DAMAGED: &str = "metrics-damaged.jsonl";

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
    /// that is torn or damaged; a damaged one is kept as it was beside it, as [`DAMAGED`]. A log that is whole
    /// and no longer is not touched.
    ///
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(path: &Path, most: u64) -> Result<Self> {
        let failed = |e| Error::io(path, "open it for writing", e);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        let (mut lines, mut kept) = (0, 0);
        for line in whole_lines(BufReader::new(&file), path) {
            if lines == most {
                break;
            }
            lines += 1;
            kept += line?.len() as u64;
        }
        if kept < file.metadata().map_err(failed)?.len() {
            if lines < most && is_damaged(path)? {
                keep_damaged(path)?;
            }
            file.set_len(kept).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(kept)).map_err(failed)?;
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
pub(crate) fn sealed(object: &[u8]) -> Option<Vec<u8>> {
    let fields = object.strip_suffix(END)?;
    let has_fields = fields.starts_with(b"{") && fields.len() > 1;
    has_fields.then(|| [fields, &seal(object), END, LINE_END].concat())
}

/// The field of the checksum of a JSON object.
fn seal(object: &[u8]) -> Vec<u8> {
    format!(",\"crc32\":\"{:08x}\"", crc32fast::hash(object)).into_bytes()
}

/// Whether a line is as [`sealed`] makes it: there is one way to write a checksum, so that no changed bit is overlooked.
pub(crate) fn is_whole(line: &[u8]) -> bool {
    let text = line.strip_suffix(LINE_END);
    let text = text.and_then(|text| text.strip_suffix(END));
    let fields = text.and_then(|text| text.split_at_checked(text.len().checked_sub(SEAL_LEN)?));
    fields.is_some_and(|(fields, found)| found == seal(&[fields, END].concat()))
}

/// Bytes of [`seal`].
const SEAL_LEN: usize = ",\"crc32\":\"01234567\"".len();

/// The lines of a log until the first that is torn or damaged; none where there is no file.
pub(super) fn read(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(Error::unreadable(path, &e)),
    };
    let lines = file.map(|file| whole_lines(BufReader::new(file), path));
    Ok(lines.into_iter().flatten())
}

/// Whether a log has a damaged line, rather than one that was never finished.
pub(super) fn is_damaged(path: &Path) -> Result<bool> {
    let mut whole = 0;
    for line in read(path)? {
        whole += line?.len() as u64;
    }
    let failed = |e| Error::unreadable(path, &e);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(e)),
    };
    file.seek(SeekFrom::Start(whole)).map_err(failed)?;
    let mut rest = Vec::new();
    let mut rest_of = BufReader::new(file);
    rest_of.read_until(b'\n', &mut rest).map_err(failed)?;
    Ok(rest.ends_with(LINE_END))
}

/// Copies a damaged log beside it, in place of an older one.
fn keep_damaged(path: &Path) -> Result<()> {
    let copy = path.with_file_name(DAMAGED);
    let kept = std::fs::copy(path, &copy);
    kept.map(|_| ())
        .map_err(|e| Error::io(&copy, "keep the damaged log", e))
}

/// The lines before the first that is torn or damaged, read one by one.
fn whole_lines<R: BufRead>(
    mut reader: R,
    path: &Path,
) -> impl Iterator<Item = Result<Vec<u8>>> + use<R> {
    let path = path.to_owned();
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            Ok(_) => is_whole(&line).then_some(Ok(line)),
            Err(e) => Some(Err(Error::unreadable(&path, &e))),
        }
    })
}
