//! A run folder: everything of one run, written by one process at a time.
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the whole configuration, written before anything else |
//! | `latest.safetensors` | the newest checkpoint |
//! | `before-decay.safetensors` | where the last decay began, of WSD-S |
//! | `budget-000600.safetensors`, … | the decayed checkpoint of each budget |
//! | `metrics.jsonl` | one line per logged step |
//! | `run.lock` | empty; locked while a process works here |

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::atomic::{self, UNFINISHED};
use super::checkpoint::Checkpoint;
use super::metrics::Metrics;
use crate::error::{Error, Result};

/// The configuration's file name.
pub const CONFIG: &str = "config.json";
/// The newest checkpoint's file name.
pub const LATEST: &str = "latest.safetensors";
/// The file name of the checkpoint before the last decay.
pub const BEFORE_DECAY: &str = "before-decay.safetensors";
/// The log's file name.
pub const METRICS: &str = "metrics.jsonl";
/// The lock's file name.
pub const LOCK: &str = "run.lock";

/// The file name of a budget's checkpoint, such as `budget-000600.safetensors`.
pub fn budget_name(step: u64) -> String {
    format!("budget-{step:06}.safetensors")
}

/// The step of a [`budget_name`].
fn budget_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("budget-")?.strip_suffix(".safetensors")?;
    step.parse().ok()
}

/// An open run folder, locked until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes a run folder, with its parents, and writes the configuration into it.
    ///
    /// # Errors
    /// A folder that is a run already or holds other files, one that another process works in, and what the system
    /// refuses.
    pub fn create(path: &Path, config: &impl Serialize) -> Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(
                path,
                "not a folder: a new or an empty one expected",
            ));
        }
        refuse_occupied(path)?;
        fs::create_dir_all(path).map_err(|e| Error::io(path, "make the folder", e))?;
        atomic::sync_folder_of(path)?;
        let folder = Self::lock(path)?;
        // Again, now that nobody else can make it one.
        refuse_occupied(path)?;
        folder.configure(config)?;
        Ok(folder)
    }

    /// Replaces the configuration atomically.
    ///
    /// # Errors
    /// As [`RunFolder::replace`].
    pub fn configure(&self, config: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec_pretty(config);
        let mut text = text.map_err(|e| Error::file(&self.file(CONFIG), e))?;
        text.push(b'\n');
        self.replace(CONFIG, &text)
    }

    /// Opens a run folder in order to go on, removes unfinished files and reads the configuration.
    ///
    /// # Errors
    /// A folder that is missing or no run, one that another process works in, a damaged configuration.
    pub fn open<C: DeserializeOwned>(path: &Path) -> Result<(Self, C)> {
        let config = path.join(CONFIG);
        if !path.is_dir() {
            return Err(Error::file(path, "no such folder: a run folder expected"));
        }
        if !config.is_file() {
            let problem = format!("no run folder: it has no {CONFIG}");
            return Err(Error::file(path, problem));
        }
        let folder = Self::lock(path)?;
        for unfinished in folder.unfinished()? {
            let removed = fs::remove_file(&unfinished);
            removed.map_err(|e| Error::io(&unfinished, "remove the unfinished file", e))?;
        }
        let text = fs::read(&config).map_err(|e| Error::unreadable(&config, &e))?;
        match serde_json::from_slice(&text) {
            Ok(content) => Ok((folder, content)),
            Err(e) => Err(Error::file(
                &config,
                format_args!("no configuration of a run: {e}"),
            )),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file atomically: a picture, a report.
    ///
    /// # Errors
    /// A name that is no plain file name, and what the system refuses; the old file then stays as it was.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        atomic::replace(&self.plain(name)?, bytes)
    }

    /// Writes a checkpoint atomically, under [`LATEST`] or a [`budget_name`]. Sync the metrics before.
    ///
    /// # Errors
    /// As [`RunFolder::replace`] and [`Checkpoint::to_bytes`].
    pub fn save(&self, name: &str, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.write(&self.plain(name)?)
    }

    /// Removes all but the newest checkpoints of budgets.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep_budgets(&self, most: usize) -> Result<()> {
        let mut budgets: Vec<(u64, PathBuf)> = entries(&self.path)?
            .iter()
            .filter_map(|entry| Some((budget_of(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        budgets.sort_unstable();
        let old = budgets.len().saturating_sub(most.max(1));
        for (_, path) in budgets.into_iter().take(old) {
            fs::remove_file(&path).map_err(|e| Error::io(&path, "remove it", e))?;
        }
        Ok(())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn load(&self, name: &str) -> Result<Checkpoint> {
        Checkpoint::read(&self.plain(name)?)
    }

    /// The newest checkpoint; nothing where the run was stopped before its first.
    ///
    /// # Errors
    /// A damaged file.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        match self.file(LATEST).exists() {
            true => self.load(LATEST).map(Some),
            false => Ok(None),
        }
    }

    /// The log, cut off after `most` lines or before the first that is torn or damaged; [`Metrics::lines`] tells how many
    /// are left.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn metrics(&self, most: u64) -> Result<Metrics> {
        Metrics::open(&self.file(METRICS), most)
    }

    /// Files that a killed process left unfinished.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = entries(&self.path)?
            .iter()
            .filter(|entry| is_unfinished(entry))
            .map(DirEntry::path)
            .collect();
        paths.sort();
        Ok(paths)
    }

    fn plain(&self, name: &str) -> Result<PathBuf> {
        let path = Path::new(name);
        match path.file_name() == Some(path.as_os_str()) && !name.ends_with(UNFINISHED) {
            true => Ok(self.file(name)),
            false => Err(Error::file(path, "no plain file name")),
        }
    }

    fn lock(path: &Path) -> Result<Self> {
        let place = path.join(LOCK);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let lock = options
            .open(&place)
            .map_err(|e| Error::io(&place, "open it for writing", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(
                    path,
                    "another process works in this run folder",
                ));
            }
            // A file system without locks is no reason not to train.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(Error::io(&place, "lock it", e)),
        }
        let path = path.to_owned();
        Ok(Self { path, _lock: lock })
    }
}

/// A folder that does not exist, or holds only what a process killed before its configuration left, is free.
fn refuse_occupied(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if path.join(CONFIG).exists() {
        let problem = format!("a run already: --resume {} continues it", path.display());
        return Err(Error::file(path, problem));
    }
    let foreign = |entry: &&DirEntry| entry.file_name() != LOCK && !is_unfinished(entry);
    match entries(path)?.iter().find(foreign) {
        Some(entry) => {
            let name = entry.file_name();
            let problem = format!(
                "not empty (\"{}\"): a new or an empty folder expected",
                name.display()
            );
            Err(Error::file(path, problem))
        }
        None => Ok(()),
    }
}

fn entries(path: &Path) -> Result<Vec<DirEntry>> {
    let listed = fs::read_dir(path).and_then(Iterator::collect);
    listed.map_err(|e| Error::io(path, "list the folder", e))
}

fn is_unfinished(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    name.to_string_lossy().ends_with(UNFINISHED)
}
