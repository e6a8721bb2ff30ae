//! A NOR flash that can lose its power at any operation, tear what it was doing, and wear out.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use embedded_storage_async::nor_flash as asynchronous;

use crate::random::Random;

/// What a flash says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power is gone: nothing works any more.
    Power,
    /// What was asked for is not allowed.
    Usage(NorFlashErrorKind),
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Fault::Power => NorFlashErrorKind::Other,
            Fault::Usage(kind) => *kind,
        }
    }
}

/// A flash with pages of `PAGE` bytes, written in units of `UNIT`. One operation is the write of one unit or the
/// erasure of one page. A unit is written once between two erasures, or it is an error.
#[derive(Clone, Debug)]
pub struct Nor<const PAGE: usize, const UNIT: usize> {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Erasures of each page.
    pub erases: Vec<u64>,
    /// Units written.
    pub writes: u64,
    written: Vec<bool>,
    /// Operations that are left until the power goes; the last of them is torn.
    left: Option<u64>,
    random: Random,
    /// Bits that can no longer be written: they stay set.
    stuck: Vec<(usize, u8)>,
}

impl<const PAGE: usize, const UNIT: usize> Nor<PAGE, UNIT> {
    /// As it comes: erased.
    pub fn new(pages: usize) -> Self {
        Nor {
            bytes: vec![0xff; pages * PAGE],
            erases: vec![0; pages],
            writes: 0,
            written: vec![false; pages * PAGE / UNIT],
            left: None,
            random: Random::new(1),
            stuck: Vec::new(),
        }
    }

    /// Lets so many operations pass, and tears the next; what is torn is decided by the seed.
    pub fn cut_after(&mut self, operations: u64, seed: u64) {
        self.left = Some(operations);
        self.random = Random::new(seed);
    }

    /// The power is back.
    pub fn power(&mut self) {
        self.left = None;
    }

    /// A bit of a byte cannot be cleared any more.
    pub fn wear_out(&mut self, byte: usize, bit: u8) {
        self.stuck.push((byte, 1 << bit));
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.writes + self.erases.iter().sum::<u64>()
    }

    /// Whether the next operation is whole, is torn, or finds no power.
    fn next(&mut self) -> Result<bool, Fault> {
        match &mut self.left {
            None => Ok(true),
            Some(0) => {
                // After this one nothing works.
                self.left = Some(u64::MAX);
                Ok(false)
            }
            Some(u64::MAX) => Err(Fault::Power),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
        }
    }

    fn check(&self, from: usize, to: usize, unit: usize) -> Result<(), Fault> {
        if from > to || to > self.bytes.len() {
            return Err(Fault::Usage(NorFlashErrorKind::OutOfBounds));
        }
        match from.is_multiple_of(unit) && to.is_multiple_of(unit) {
            true => Ok(()),
            false => Err(Fault::Usage(NorFlashErrorKind::NotAligned)),
        }
    }

    fn erase_page(&mut self, page: usize) -> Result<(), Fault> {
        let whole = self.next()?;
        self.erases[page] += 1;
        let bytes = &mut self.bytes[page * PAGE..][..PAGE];
        if whole {
            bytes.fill(0xff);
        } else {
            tear_erasure(bytes, &mut self.random);
        }
        self.written[page * PAGE / UNIT..][..PAGE / UNIT].fill(!whole);
        if whole { Ok(()) } else { Err(Fault::Power) }
    }

    fn write_unit(&mut self, at: usize, unit: &[u8]) -> Result<(), Fault> {
        let whole = self.next()?;
        self.writes += 1;
        let written = std::mem::replace(&mut self.written[at / UNIT], true);
        assert!(
            !written,
            "the unit at {at:#x} is written twice without an erasure"
        );
        // A torn write has cleared the bits of the first bytes, some of those of one, and none of the rest.
        let torn = self.random.below(UNIT);
        let some = self.random.bits() as u8;
        for (i, (to, from)) in self.bytes[at..].iter_mut().zip(unit).enumerate() {
            *to &= match (whole, i.cmp(&torn)) {
                (true, _) | (false, std::cmp::Ordering::Less) => *from,
                (false, std::cmp::Ordering::Equal) => *from | some,
                (false, std::cmp::Ordering::Greater) => 0xff,
            };
        }
        for (byte, bits) in &self.stuck {
            if (at..at + UNIT).contains(byte) {
                self.bytes[*byte] |= bits;
            }
        }
        if whole { Ok(()) } else { Err(Fault::Power) }
    }
}

/// An erasure first clears every cell, from the lowest address up, then sets all of them. Torn in the one it leaves
/// zeros before what was there, torn in the other each byte as it was, zero, set or something between, by stretches.
fn tear_erasure(bytes: &mut [u8], random: &mut Random) {
    if random.below(2) == 0 {
        let cleared = 1 + random.below(bytes.len());
        bytes[..cleared].fill(0);
        return;
    }
    for stretch in bytes.chunks_mut(16) {
        let kind = random.below(4);
        for byte in stretch {
            match kind {
                0 => {}
                1 => *byte = 0,
                2 => *byte = 0xff,
                _ => *byte = random.bits() as u8,
            }
        }
    }
}

impl<const PAGE: usize, const UNIT: usize> ErrorType for Nor<PAGE, UNIT> {
    type Error = Fault;
}

impl<const PAGE: usize, const UNIT: usize> ReadNorFlash for Nor<PAGE, UNIT> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = offset as usize;
        self.check(from, from + bytes.len(), 1)?;
        bytes.copy_from_slice(&self.bytes[from..from + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const PAGE: usize, const UNIT: usize> NorFlash for Nor<PAGE, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        self.check(from as usize, to as usize, PAGE)?;
        (from as usize / PAGE..to as usize / PAGE).try_for_each(|page| self.erase_page(page))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let from = offset as usize;
        self.check(from, from + bytes.len(), UNIT)?;
        let units = bytes.chunks_exact(UNIT).enumerate();
        units
            .map(|(i, unit)| (from + i * UNIT, unit))
            .try_for_each(|(at, unit)| self.write_unit(at, unit))
    }
}

impl<const PAGE: usize, const UNIT: usize> asynchronous::ReadNorFlash for Nor<PAGE, UNIT> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        Yield(false).await;
        ReadNorFlash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const PAGE: usize, const UNIT: usize> asynchronous::NorFlash for Nor<PAGE, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        Yield(false).await;
        NorFlash::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        Yield(false).await;
        NorFlash::write(self, offset, bytes)
    }
}

/// Not ready the first time, as a real driver is not.
struct Yield(bool);

impl std::future::Future for Yield {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    }
}
