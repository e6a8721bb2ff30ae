//! A NOR flash for machines that have none under QEMU: a file of the host, reached by semihosting. A process that is
//! killed is a power cut, and what it wrote before stays.

use core::ffi::CStr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use semihosting::fs::File;
use semihosting::io::{Read, Seek, SeekFrom, Write};

/// Bytes that are written at once: a cut falls between them.
const PIECE: usize = 64;

/// The flash.
pub struct FileFlash {
    file: File,
    /// Says whether something is being written, for whoever cuts the power to count.
    busy: File,
    length: usize,
}

/// The host refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl FileFlash {
    /// A file that is there.
    pub fn open(path: &CStr) -> Option<Self> {
        let file = File::options().read(true).write(true).open(path).ok()?;
        let length = file.metadata().ok()?.len() as usize;
        let busy = File::create(c"busy").ok()?;
        Some(FileFlash { file, busy, length })
    }

    /// Does what changes the flash, and says so in the file `busy`.
    fn change(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        self.mark(1)?;
        operation(self)?;
        self.mark(0)
    }

    fn mark(&mut self, busy: u8) -> Result<(), Refused> {
        self.busy.seek(SeekFrom::Start(0)).map_err(|_| Refused)?;
        self.busy.write_all(&[busy]).map_err(|_| Refused)
    }

    fn seek(&mut self, at: u32) -> Result<(), Refused> {
        let place = SeekFrom::Start(u64::from(at));
        self.file.seek(place).map(|_| ()).map_err(|_| Refused)
    }

    fn write_at(&mut self, at: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.seek(at)?;
        self.file.write_all(bytes).map_err(|_| Refused)
    }
}

impl ErrorType for FileFlash {
    type Error = Refused;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.seek(offset)?;
        self.file.read_exact(bytes).map_err(|_| Refused)
    }

    fn capacity(&self) -> usize {
        self.length
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.change(|flash| {
            for at in (from..to).step_by(PIECE) {
                flash.write_at(at, &[0xff; PIECE])?;
            }
            Ok(())
        })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.change(|flash| {
            for (at, piece) in (offset..).step_by(PIECE).zip(bytes.chunks(PIECE)) {
                let mut held = [0; PIECE];
                let held = &mut held[..piece.len()];
                flash.read(at, held)?;
                // Bits are cleared, never set.
                for (to, from) in held.iter_mut().zip(piece) {
                    *to &= *from;
                }
                flash.write_at(at, held)?;
            }
            Ok(())
        })
    }
}
