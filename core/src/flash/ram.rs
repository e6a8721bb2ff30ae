//! A flash in memory.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use embedded_storage_async::nor_flash as asynchronous;

/// A NOR flash that lies in the caller's memory, for tests and for memory that keeps what it holds: pages of `PAGE`
/// bytes are erased to 0xff, and writes of `UNIT` bytes clear bits.
///
/// ```
/// use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
/// use rivergram_core::flash::RamFlash;
///
/// let mut memory = [0; 128];
/// let mut flash = RamFlash::<64, 4>::new(&mut memory);
/// flash.erase(0, 64)?;
/// flash.write(4, &[0x0f; 4])?;
/// flash.write(4, &[0xf1; 4])?; // Bits are cleared, never set.
/// let mut bytes = [0; 4];
/// flash.read(4, &mut bytes)?;
/// assert_eq!(bytes, [0x01; 4]);
/// # Ok::<(), rivergram_core::flash::RamFault>(())
/// ```
#[derive(Debug)]
pub struct RamFlash<'a, const PAGE: usize, const UNIT: usize> {
    memory: &'a mut [u8],
}

impl<'a, const PAGE: usize, const UNIT: usize> RamFlash<'a, PAGE, UNIT> {
    /// A flash whose content is that of the memory. Cost: O(1).
    ///
    /// ```
    /// use embedded_storage::nor_flash::ReadNorFlash;
    /// use rivergram_core::flash::RamFlash;
    ///
    /// let mut memory = [0xff; 256];
    /// assert_eq!(RamFlash::<64, 4>::new(&mut memory).capacity(), 256);
    /// ```
    pub fn new(memory: &'a mut [u8]) -> Self {
        RamFlash { memory }
    }

    /// The bytes of a range, whose ends are multiples of `unit`.
    fn range(&mut self, from: usize, to: usize, unit: usize) -> Result<&mut [u8], RamFault> {
        let aligned = |x: usize| x.checked_rem(unit).unwrap_or(0) == 0;
        if !aligned(from) || !aligned(to) {
            return Err(RamFault::NotAligned);
        }
        self.memory.get_mut(from..to).ok_or(RamFault::OutOfBounds)
    }
}

/// What a [`RamFlash`] refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RamFault {
    /// The address or the length is no multiple of the unit.
    NotAligned,
    /// Beyond the end.
    OutOfBounds,
}

impl core::fmt::Display for RamFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            RamFault::NotAligned => "not aligned",
            RamFault::OutOfBounds => "out of bounds",
        })
    }
}

impl core::error::Error for RamFault {}

impl NorFlashError for RamFault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            RamFault::NotAligned => NorFlashErrorKind::NotAligned,
            RamFault::OutOfBounds => NorFlashErrorKind::OutOfBounds,
        }
    }
}

impl<const PAGE: usize, const UNIT: usize> ErrorType for RamFlash<'_, PAGE, UNIT> {
    type Error = RamFault;
}

impl<const PAGE: usize, const UNIT: usize> ReadNorFlash for RamFlash<'_, PAGE, UNIT> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamFault> {
        let from = offset as usize;
        let own = self.range(from, from.saturating_add(bytes.len()), 1)?;
        for (to, from) in bytes.iter_mut().zip(own) {
            *to = *from;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl<const PAGE: usize, const UNIT: usize> NorFlash for RamFlash<'_, PAGE, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), RamFault> {
        self.range(from as usize, to as usize, PAGE)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamFault> {
        let from = offset as usize;
        let own = self.range(from, from.saturating_add(bytes.len()), UNIT)?;
        for (to, from) in own.iter_mut().zip(bytes) {
            *to &= *from;
        }
        Ok(())
    }
}

impl<const PAGE: usize, const UNIT: usize> asynchronous::ReadNorFlash for RamFlash<'_, PAGE, UNIT> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamFault> {
        ReadNorFlash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl<const PAGE: usize, const UNIT: usize> asynchronous::NorFlash for RamFlash<'_, PAGE, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), RamFault> {
        NorFlash::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamFault> {
        NorFlash::write(self, offset, bytes)
    }
}
