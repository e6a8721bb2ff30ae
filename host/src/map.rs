//! A file as memory, and bytes as numbers, which is `unsafe`: what is promised stands at each block.
//!
//! A mapping shows the file as it is, also to a program that looks while another writes. What this program writes it
//! never changes: files are replaced as a whole ([`crate::store`]), and a mapping keeps the one that it was made of. If
//! something else writes into a mapped file, numbers change under the reader, which any bits may be; if something else
//! cuts it off, the system ends the program (SIGBUS).
#![allow(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A file that is mapped to be read.
#[derive(Debug)]
pub(crate) struct Map {
    file: PathBuf,
    bytes: Mmap,
}

impl Map {
    /// Maps a file. Cost: none of it is read yet.
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let opened = File::open(file).map_err(|e| Error::unreadable(file, &e))?;
        // SAFETY: the mapping is read only, as bytes and as numbers of which any bits are valid; see above for what
        // others may do to the file.
        let bytes = unsafe { Mmap::map(&opened) }.map_err(|e| Error::unreadable(file, &e))?;
        Ok(Map {
            file: file.to_path_buf(),
            bytes,
        })
    }

    /// The file's name.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Numbers of which any bits are valid.
pub(crate) trait Number: Copy {}

impl Number for f32 {}
impl Number for i8 {}
impl Number for u16 {}

/// Bytes of this machine as numbers; nothing where they are not aligned to such numbers, or not whole ones.
pub(crate) fn numbers<T: Number>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: any bits are valid in a `Number`.
    let (before, numbers, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}
