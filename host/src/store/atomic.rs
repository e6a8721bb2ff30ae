//! Writing a file so that its name stands for the old content or the new, never for a part.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What the names of unfinished files end in.
pub(super) const UNFINISHED: &str = ".tmp";

/// Replaces the content of a file: write beside it, sync, rename, sync the folder.
///
/// # Errors
/// Whatever the system refuses; the unfinished file is removed and the old content stays.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_keeping(path, bytes, None)
}

/// The same, where the old content gets another name, which stood for something else or for nothing. The two names
/// never stand for one file: once the new content is on the disk the old one gets a third name, then the new content
/// takes the first, and the old one goes on to the second. After a kill between these [`finish`] does the last.
///
/// # Errors
/// As [`replace`].
pub(super) fn replace_keeping(path: &Path, bytes: &[u8], kept_as: Option<&Path>) -> Result<()> {
    let new = unfinished(path);
    let failed = |e| Error::io(path, "write it", e);
    let done = write_synced(&new, bytes)
        .map_err(failed)
        .and_then(|()| kept_as.map_or(Ok(()), |to| link(path, to)))
        .and_then(|()| fs::rename(&new, path).map_err(failed));
    if let Err(e) = done {
        // Best effort: what could not be written can perhaps not be removed either, and a later run does it.
        let _ = fs::remove_file(&new);
        return Err(e);
    }
    if let Some(to) = kept_as {
        let third = unfinished(to);
        let renamed = fs::rename(&third, to);
        // Renaming one name of a file to another of the same file does nothing.
        let _ = fs::remove_file(&third);
        renamed.map_err(|e| Error::io(to, "write it", e))?;
    }
    sync_folder_of(path)
}

/// A file that is written in parts and takes its name when it is whole; dropped before, it is removed.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    unfinished: PathBuf,
    file: Option<File>,
}

impl Replacement {
    /// Begins to write a file beside its name.
    ///
    /// # Errors
    /// Whatever the system refuses; so it is below.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let unfinished = unfinished(path);
        let file = File::create(&unfinished).map_err(|e| Error::io(path, "write it", e))?;
        Ok(Replacement {
            path: path.to_path_buf(),
            unfinished,
            file: Some(file),
        })
    }

    /// Makes the file as long as it will be.
    pub(crate) fn set_len(&mut self, length: u64) -> Result<()> {
        let done = self.file.as_mut().map(|file| file.set_len(length));
        done.unwrap_or(Ok(()))
            .map_err(|e| Error::io(&self.path, "write it", e))
    }

    /// Writes bytes at a place.
    pub(crate) fn write_at(&mut self, place: u64, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let done = file.seek(SeekFrom::Start(place));
        let done = done.and_then(|_| file.write_all(bytes));
        done.map_err(|e| Error::io(&self.path, "write it", e))
    }

    /// Gives the file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let done = file.sync_all();
        drop(file);
        if let Err(e) = done.and_then(|()| fs::rename(&self.unfinished, &self.path)) {
            // Best effort, as below.
            let _ = fs::remove_file(&self.unfinished);
            return Err(Error::io(&self.path, "write it", e));
        }
        sync_folder_of(&self.path)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: what could not be written can perhaps not be removed either.
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

/// Gives a file a third name, the unfinished one of `to`. Where a file system has no second names the content is
/// copied.
fn link(from: &Path, to: &Path) -> Result<()> {
    let third = unfinished(to);
    match fs::hard_link(from, &third) {
        Ok(()) => Ok(()),
        // What is in the way is not written through: it could be a name of the file itself.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Error::io(to, "write it", e)),
        Err(_) => {
            let bytes = fs::read(from).map_err(|e| Error::unreadable(from, &e))?;
            let written = write_synced(&third, &bytes);
            written.map_err(|e| Error::io(to, "write it", e))
        }
    }
}

/// Where a process was killed in [`replace_keeping`] after the new content of `path` had its name, the old one gets
/// its own: what is whole and is not what `path` stands for.
///
/// # Errors
/// Whatever the system refuses.
pub(super) fn finish(path: &Path, kept_as: &Path, is_whole: impl Fn(&[u8]) -> bool) -> Result<()> {
    let third = unfinished(kept_as);
    // No link, which may lead to what has no end.
    if !fs::symlink_metadata(&third).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let (Ok(old), Ok(new)) = (fs::read(&third), fs::read(path)) else {
        return Ok(());
    };
    match old != new && is_whole(&old) {
        true => fs::rename(&third, kept_as).map_err(|e| Error::io(kept_as, "write it", e)),
        false => Ok(()),
    }
}

/// Makes a new name in a folder last through a power cut.
pub(super) fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    sync_folder(folder).map_err(|e| Error::io(folder, "sync the folder", e))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A folder that is "" is the current one.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
