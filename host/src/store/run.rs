//! A run folder: everything of one run, written by one process at a time.
//!
//! | file | content |
//! |---|---|
//! | `config.json` | the whole configuration, written before anything else |
//! | `config.copy.json` | the same once more |
//! | `latest.safetensors` | the newest checkpoint |
//! | `previous.safetensors` | the checkpoint before it that needs no other file |
//! | `before-decay.safetensors` | where the last decay began, of WSD-S |
//! | `budget-000600.safetensors`, … | the decayed checkpoint of each budget; of a branch whose end was moved with both |
//! | `release-000600-000660.safetensors`, … | the end of a decay that was asked for |
//! | `main-000540.safetensors`, … | where the newest branches began, of WSD |
//! | `metrics.jsonl` | one line per logged step |
//! | `run.lock` | empty; locked while a process works here |

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::atomic::{self, UNFINISHED};
use super::checkpoint::Checkpoint;
use super::metrics::{self, Metrics};
use crate::error::{Error, Result};

/// The configuration's file name.
pub const CONFIG: &str = "config.json";
/// The file name of its copy.
pub const CONFIG_COPY: &str = "config.copy.json";
/// The newest checkpoint's file name.
pub const LATEST: &str = "latest.safetensors";
/// The file name of the checkpoint that is gone on from where [`LATEST`] is lost.
pub const PREVIOUS: &str = "previous.safetensors";
/// The file name of the checkpoint before the last decay.
pub const BEFORE_DECAY: &str = "before-decay.safetensors";
/// The log's file name.
pub const METRICS: &str = "metrics.jsonl";
/// The lock's file name.
pub const LOCK: &str = "run.lock";

/// What the names of the checkpoints of budgets begin with.
pub const BUDGETS: &str = "budget-";
/// What the names of the checkpoints of decays that were asked for begin with.
pub const RELEASES: &str = "release-";
/// What the names of the checkpoints of main branches begin with.
pub const MAINS: &str = "main-";
/// In the metadata of a checkpoint: the updates that a run had made when it was saved, those that it went back behind
/// included.
pub const UPDATE: &str = "update";
/// What the names of checkpoints end in.
const CHECKPOINT: &str = ".safetensors";

/// The file name of a budget's checkpoint, such as `budget-000600.safetensors`.
pub fn budget_name(step: u64) -> String {
    format!("{BUDGETS}{step:06}{CHECKPOINT}")
}

/// The file name of the checkpoint at the end of a decay that was asked for, such as
/// `release-000600-000660.safetensors`: decays of different lengths may end at one step.
pub fn release_name(start: u64, end: u64) -> String {
    format!("{RELEASES}{start:06}-{end:06}{CHECKPOINT}")
}

/// The file name of a checkpoint of a main branch that is gone back to, such as `main-000540.safetensors`.
pub fn main_name(step: u64) -> String {
    format!("{MAINS}{step:06}{CHECKPOINT}")
}

/// The file name of the end of a branch that was moved, such as `budget-000600-000660.safetensors`: its budget, and where
/// it ended. Another branch may end there too.
pub fn moved_name(budget: u64, end: u64) -> String {
    format!("{BUDGETS}{budget:06}-{end:06}{CHECKPOINT}")
}

/// The steps in a name of a kind.
fn steps_of(name: &str, kind: &str) -> Option<Vec<u64>> {
    let steps = name.strip_prefix(kind)?.strip_suffix(CHECKPOINT)?;
    steps.split('-').map(|step| step.parse().ok()).collect()
}

/// The updates that a run had made when a checkpoint was saved; nothing where it cannot be read or does not say it.
fn update_of(folder: &Path, name: &str) -> Option<u64> {
    let checkpoint = Checkpoint::read(&folder.join(name)).ok()?;
    checkpoint.metadata.get(UPDATE)?.parse().ok()
}

/// The checkpoint of some kinds that was saved last, of a run that may go on meanwhile.
///
/// # Errors
/// One that is damaged: it may be the one.
pub(crate) fn newest(folder: &Path, kinds: &[&str]) -> Result<Option<String>> {
    let mut newest = None;
    for entry in entries(folder)? {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(steps) = kinds.iter().find_map(|kind| steps_of(&name, kind)) else {
            continue;
        };
        let checkpoint = Checkpoint::read(&folder.join(&name))?;
        let update = checkpoint.metadata.get(UPDATE).cloned();
        let update: u64 = update.and_then(|text| text.parse().ok()).unwrap_or(0);
        newest = newest.max(Some((update, steps, name)));
    }
    Ok(newest.map(|(_, _, name)| name))
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

    /// Replaces the configuration and its copy, each atomically, where they are not so already.
    ///
    /// # Errors
    /// As [`RunFolder::replace`].
    pub fn configure(&self, config: &impl Serialize) -> Result<()> {
        let text = self.text_of(config)?;
        for name in [CONFIG, CONFIG_COPY] {
            if !self.holds(name, &text) {
                self.replace(name, &text)?;
            }
        }
        Ok(())
    }

    fn text_of(&self, config: &impl Serialize) -> Result<Vec<u8>> {
        let text = serde_json::to_vec_pretty(config);
        let mut text = text.map_err(|e| Error::file(&self.file(CONFIG), e))?;
        text.push(b'\n');
        Ok(text)
    }

    fn holds(&self, name: &str, text: &[u8]) -> bool {
        fs::read(self.file(name)).is_ok_and(|found| found == text)
    }

    /// Opens a run folder in order to go on, removes unfinished files and reads the configuration.
    ///
    /// # Errors
    /// A folder that is missing or no run, one that another process works in, a damaged configuration.
    pub fn open<C: DeserializeOwned>(path: &Path) -> Result<(Self, C)> {
        let folder = Self::enter(path)?;
        let config = read_one(&folder.file(CONFIG), &|_, _| Ok(()))?;
        Ok((folder, config))
    }

    /// The same for a configuration that `check` accepts. Where it does not, or there is none, the copy is put in its
    /// place; what was wrong comes with it.
    ///
    /// # Errors
    /// As [`RunFolder::open`], where the copy does not serve either.
    pub fn open_mended<C: DeserializeOwned + Serialize>(
        path: &Path,
        check: impl Fn(&Path, &C) -> Result<()>,
    ) -> Result<(Self, C, Option<Error>)> {
        let folder = Self::enter(path)?;
        let (config, lost) = read_configuration(path, &check)?;
        // A run that was killed early has no copy yet.
        let copy = folder.file(CONFIG_COPY);
        let lost_copy = || read_one(&copy, &check).err().filter(|_| copy.exists());
        let lost = lost.or_else(lost_copy);
        folder.configure(&config)?;
        Ok((folder, config, lost))
    }

    /// Opens the folder of a job, whose configuration is known: where it is another one it is written again, and what
    /// was wrong comes with it. Nothing where no run has begun there.
    ///
    /// # Errors
    /// One that another process works in, and what the system refuses.
    pub fn open_known(
        path: &Path,
        config: &impl Serialize,
    ) -> Result<Option<(Self, Option<Error>)>> {
        let is_begun = path.join(CONFIG).exists()
            || path.join(CONFIG_COPY).exists()
            || path.join(LATEST).exists();
        if !is_begun {
            return Ok(None);
        }
        let folder = Self::lock(path)?;
        folder.clean()?;
        let is_same = folder.holds(CONFIG, &folder.text_of(config)?);
        folder.configure(config)?;
        let file = folder.file(CONFIG);
        let lost = (!is_same).then(|| Error::file(&file, "not that of the run"));
        Ok(Some((folder, lost)))
    }

    fn enter(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::file(path, "no such folder: a run folder expected"));
        }
        if !path.join(CONFIG).is_file() && !path.join(CONFIG_COPY).is_file() {
            let problem = format!("no run folder: it has no {CONFIG}");
            return Err(Error::file(path, problem));
        }
        let folder = Self::lock(path)?;
        folder.clean()?;
        Ok(folder)
    }

    /// Finishes what a killed process was about to do, and removes what it left unfinished.
    fn clean(&self) -> Result<()> {
        let (latest, previous) = (self.file(LATEST), self.file(PREVIOUS));
        let is_whole = |bytes: &[u8]| Checkpoint::from_bytes(&previous, bytes).is_ok();
        atomic::finish(&latest, &previous, is_whole)?;
        for unfinished in self.unfinished()? {
            let removed = fs::remove_file(&unfinished);
            removed.map_err(|e| Error::io(&unfinished, "remove the unfinished file", e))?;
        }
        Ok(())
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

    /// Writes the latest checkpoint; what was the latest becomes the previous one where it `stays`. At no moment are both
    /// one file: on a full disk, or after a kill, there are two checkpoints to go on from.
    ///
    /// # Errors
    /// As [`RunFolder::save`].
    pub fn save_latest(&self, checkpoint: &Checkpoint, stays: bool) -> Result<()> {
        let previous = stays.then(|| self.file(PREVIOUS));
        let bytes = checkpoint.to_bytes()?;
        atomic::replace_keeping(&self.file(LATEST), &bytes, previous.as_deref())
    }

    /// Removes all but the `most` newest checkpoints of a kind, such as [`BUDGETS`]. The newest is `last`, which was just
    /// written; of the others one is as old as the [`UPDATE`] that it was saved at says. Those of a later update than
    /// `last`, from a time that the run went back behind, go first, with those that cannot be read or do not say it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&self, kind: &str, most: usize, last: &str) -> Result<()> {
        let update = |name: &str| update_of(&self.path, name);
        let now = update(last);
        let others = self.checkpoints()?.into_iter();
        let mut others: Vec<(Option<u64>, Vec<u64>, String)> = others
            .filter(|name| name != last)
            .filter_map(|name| {
                let steps = steps_of(&name, kind)?;
                let made = update(&name).filter(|made| now.is_none_or(|now| *made <= now));
                Some((made, steps, name))
            })
            .collect();
        others.sort_unstable();
        let stay = most.saturating_sub(1);
        let gone = others.len().saturating_sub(stay);
        for (_, _, name) in others.into_iter().take(gone) {
            let path = self.file(&name);
            fs::remove_file(&path).map_err(|e| Error::io(&path, "remove it", e))?;
        }
        Ok(())
    }

    /// The names of all checkpoints.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn checkpoints(&self) -> Result<Vec<String>> {
        let names = entries(&self.path)?.into_iter();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(CHECKPOINT)).collect();
        names.sort();
        Ok(names)
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
    /// A damaged file, and one that is gone while others of the training are there.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        let file = self.file(LATEST);
        let is_there = file.try_exists();
        if is_there.map_err(|e| Error::unreadable(&file, &e))? {
            return self.load(LATEST).map(Some);
        }
        match self.is_trained()? {
            true => Err(Error::file(&file, "missing")),
            false => Ok(None),
        }
    }

    /// The checkpoint to go on from after something was lost.
    ///
    /// # Errors
    /// What was lost, where there is no such checkpoint either, with what is left to do.
    pub fn previous(&self, lost: &Error) -> Result<Checkpoint> {
        self.load(PREVIOUS).map_err(|e| {
            let problem = format!(
                "and nothing to go on from, since {e}: put a copy of either back, or train anew in another folder"
            );
            Error::input(lost, problem)
        })
    }

    /// Refuses a run that cannot go on: neither its newest checkpoint nor the previous one is whole.
    ///
    /// # Errors
    /// As [`RunFolder::previous`].
    pub fn check(&self) -> Result<()> {
        match self.latest() {
            Ok(_) => Ok(()),
            Err(lost) => self.previous(&lost).map(drop),
        }
    }

    /// Whether there are checkpoints or lines of a log.
    fn is_trained(&self) -> Result<bool> {
        let log = fs::metadata(self.file(METRICS));
        Ok(log.is_ok_and(|log| log.len() > 0) || !self.checkpoints()?.is_empty())
    }

    /// The lines of the log, one after the other, until the first that is torn or damaged; none where there is no log.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn log(&self) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
        metrics::read(&self.file(METRICS))
    }

    /// Whether the log has a damaged line: not one that a killed process left unfinished at its end.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn log_is_damaged(&self) -> Result<bool> {
        metrics::is_damaged(&self.file(METRICS))
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

/// The configuration of a run folder that `check` accepts, or else its copy, with what was wrong. Nothing is touched.
///
/// # Errors
/// Neither serves.
pub(crate) fn read_configuration<C: DeserializeOwned>(
    folder: &Path,
    check: &impl Fn(&Path, &C) -> Result<()>,
) -> Result<(C, Option<Error>)> {
    match read_one(&folder.join(CONFIG), check) {
        Ok(config) => Ok((config, None)),
        Err(_) if !folder.is_dir() => Err(Error::file(folder, "no such run folder")),
        Err(lost) => match read_one(&folder.join(CONFIG_COPY), check) {
            Ok(copy) => Ok((copy, Some(lost))),
            Err(e) => {
                let problem = format!("nor does its copy serve, {e}: put a copy of either back");
                Err(Error::input(lost, problem))
            }
        },
    }
}

fn read_one<C: DeserializeOwned>(
    file: &Path,
    check: &impl Fn(&Path, &C) -> Result<()>,
) -> Result<C> {
    let text = fs::read(file).map_err(|e| Error::unreadable(file, &e))?;
    let config = serde_json::from_slice(&text)
        .map_err(|e| Error::file(file, format_args!("no configuration of a run: {e}")))?;
    check(file, &config)?;
    Ok(config)
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
