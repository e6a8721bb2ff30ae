//! A store in flash that loses nothing: whatever moment the power goes at, the last commit is there, whole, or the
//! new one is.
//!
//! A commit writes the payload, cut into pages with a checksum each, to an area that holds nothing of value, reads it
//! back, and writes a record after it. The record makes the commit valid, and it tells for every [`Slot`] where it
//! lies, so one commit may fill several slots at the price of one. Areas are used in turn, which spreads the wear:
//! a commit erases each page of one area once.
//!
//! - **What is stored** is a list of [`Part`]s, written from where they lie: no second copy in memory.
//!   [`Trainer::parts`](crate::trainer::Trainer::parts) are those of a whole training: weights, optimizer moments, the
//!   state of the schedule, the counters of updates and of units. Beside them stands what else the caller has: an
//!   average, a generator, samples.
//! - **What is damaged** is named. Every page has a checksum, every record two copies. The newest commit that lost its
//!   record is told by [`Store::lost`], and [`Store::open_before`] goes back before a commit.
//! - **Blocking or not**: every function that touches the flash has an `async` twin, over the traits of
//!   `embedded-storage` and `embedded-storage-async`. A future that is dropped half-way is a power cut.
//!
//! ```
//! use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
//!
//! let mut memory = [0xff; 8 * 4096];
//! let mut flash = RamFlash::<4096, 4>::new(&mut memory);
//! let layout = Layout { start: 0, end: 8 * 4096, payload: 1000, budgets: 2 };
//!
//! let weights = [1.0_f32, 2.0, 3.0];
//! let mut store = Store::open(&mut flash, &layout)?;
//! store.commit(&mut flash, &[Slot::Latest], &[Part::Bytes(b"step 7"), Part::Numbers(&weights)])?;
//!
//! // After the power came back:
//! let store = Store::open(&mut flash, &layout)?;
//! let (mut bytes, mut weights) = ([0; 6], [0.0_f32; 3]);
//! let mut parts = [PartMut::Bytes(&mut bytes), PartMut::Numbers(&mut weights)];
//! store.load(&mut flash, Slot::Latest, &mut parts)?;
//! assert_eq!((bytes, weights), (*b"step 7", [1.0, 2.0, 3.0]));
//! # Ok::<(), rivergram_core::error::FlashError>(())
//! ```

mod layout;
mod parts;
mod ram;
mod record;
mod work;

use core::fmt::{Display, Formatter};

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};
use embedded_storage_async::nor_flash::NorFlash as AsyncNorFlash;

use crate::error::{FlashAction, FlashError, FlashFault};
use crate::lanes::Real;
use layout::{Device, Geometry, PIECE};
pub use parts::{Part, PartMut};
pub use ram::{RamFault, RamFlash};
use record::{NOWHERE, Record};
use work::{Commit, Load, Open, Operation, Procedure, Sink};

/// Budgets that a store can keep at most.
pub const MAX_BUDGETS: usize = 8;

/// Latest, before the decay, and the budgets.
const SLOTS: usize = 2 + MAX_BUDGETS;

/// What a commit is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Slot {
    /// Where to go on.
    Latest,
    /// Before the decay, for who goes on from there (WSD) and not from the decayed weights (WSD-S).
    BeforeDecay,
    /// The decayed state of a budget, by its step. Of more than the layout keeps, the oldest goes.
    Budget(u64),
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> core::fmt::Result {
        match self {
            Slot::Latest => write!(f, "latest"),
            Slot::BeforeDecay => write!(f, "before the decay"),
            Slot::Budget(step) => write!(f, "budget {step}"),
        }
    }
}

/// Which part of the flash a store has, and what it has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layout {
    /// The first byte of the range, a multiple of the page.
    pub start: u32,
    /// The byte after its last, a multiple of the page. What is there beyond one area for each slot and one besides
    /// spreads the wear; 254 areas are used at most.
    pub end: u32,
    /// Bytes of the longest commit.
    pub payload: usize,
    /// Budgets that are kept, at most [`MAX_BUDGETS`].
    pub budgets: usize,
}

/// What lies in a flash: where each slot is. It holds no flash and no payload, and is lent both.
///
/// A page of 4096 bytes that is written in units of at most 16 takes 4080 bytes of a payload, the last one of an area
/// 3824.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Store {
    geometry: Geometry,
    newest: Record,
    /// The largest sequence that was ever begun, and its area.
    largest: u64,
    last: u8,
    lost: Option<u32>,
}

impl Store {
    /// Looks for the newest commit. Cost: two reads of a record per area.
    ///
    /// # Errors
    /// A layout that does not fit the flash; records of another layout or version (erase the range to begin anew); a
    /// driver that refuses.
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, RamFlash, Store};
    ///
    /// let mut memory = [0xff; 8192];
    /// let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// assert_eq!(Store::open(&mut flash, &layout)?.sequence(), 0);
    /// assert!(Store::open(&mut flash, &Layout { end: 8000, ..layout }).is_err());
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn open<F: NorFlash>(flash: &mut F, layout: &Layout) -> Result<Self, FlashError> {
        Self::open_before(flash, layout, u64::MAX)
    }

    /// [`Store::open`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, RamFlash, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// assert_eq!(block_on(Store::open_async(&mut flash, &layout))?, Store::open(&mut flash, &layout)?);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn open_async<F: AsyncNorFlash>(
        flash: &mut F,
        layout: &Layout,
    ) -> Result<Self, FlashError> {
        Self::open_before_async(flash, layout, u64::MAX).await
    }

    /// What there was before the commit of this number: where the newest one is damaged. The one before it is always
    /// whole; more of them are as far as the range has areas to spare, and a slot whose area a later commit has taken
    /// is empty. The next commit stands above all. Cost: that of [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
    ///
    /// let mut memory = [0xff; 8192];
    /// let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"old")])?;
    /// let newest = store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"new")])?;
    ///
    /// let store = Store::open_before(&mut flash, &layout, newest)?;
    /// let mut bytes = [0; 3];
    /// store.load(&mut flash, Slot::Latest, &mut [PartMut::<f32>::Bytes(&mut bytes)])?;
    /// assert_eq!(bytes, *b"old");
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn open_before<F: NorFlash>(
        flash: &mut F,
        layout: &Layout,
        sequence: u64,
    ) -> Result<Self, FlashError> {
        let device = Device {
            read: F::READ_SIZE,
            write: F::WRITE_SIZE,
            page: F::ERASE_SIZE,
            capacity: flash.capacity(),
        };
        let geometry = Geometry::new(layout, device)?;
        let mut work = Open::new(geometry, sequence);
        drive(geometry, flash, &mut work)?;
        Self::opened(geometry, &work)
    }

    /// [`Store::open_before`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// let store = block_on(Store::open_before_async(&mut flash, &layout, 1))?;
    /// assert_eq!(store.sequence(), 0);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn open_before_async<F: AsyncNorFlash>(
        flash: &mut F,
        layout: &Layout,
        sequence: u64,
    ) -> Result<Self, FlashError> {
        let device = Device {
            read: F::READ_SIZE,
            write: F::WRITE_SIZE,
            page: F::ERASE_SIZE,
            capacity: flash.capacity(),
        };
        let geometry = Geometry::new(layout, device)?;
        let mut work = Open::new(geometry, sequence);
        drive_async(geometry, flash, &mut work).await?;
        Self::opened(geometry, &work)
    }

    fn opened(geometry: Geometry, work: &Open) -> Result<Self, FlashError> {
        match work.refused {
            Some(error) => Err(error),
            None => Ok(Store {
                geometry,
                newest: work.newest,
                largest: work.largest,
                last: work.last,
                lost: work.lost,
            }),
        }
    }

    /// The number of the newest commit; 0 where there is none.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// let number = store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// assert_eq!((number, store.sequence()), (1, 1));
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn sequence(&self) -> u64 {
        self.newest.sequence
    }

    /// A commit newer than [`Store::sequence`] that was made and whose record can no longer be read; the slots are
    /// then as they were before it. A cut commit is none: it never was made. Cost: O(1).
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// use rivergram_core::error::FlashError;
    ///
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// memory[768..1024].fill(0); // Both copies of the record.
    /// let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let store = Store::open(&mut flash, &layout)?;
    /// assert_eq!(store.lost(), Some(FlashError::Record { slot: None, page: 0 }));
    /// # Ok::<(), FlashError>(())
    /// ```
    pub fn lost(&self) -> Option<FlashError> {
        self.lost
            .map(|page| FlashError::Record { slot: None, page })
    }

    /// Whether something was committed to a slot. Cost: one comparison per slot.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Budget(600)], &[Part::<f32>::Bytes(b"state")])?;
    /// assert!(store.has(Slot::Budget(600)) && !store.has(Slot::Latest));
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn has(&self, slot: Slot) -> bool {
        self.area(slot).is_some()
    }

    /// The steps of the budgets that are kept, the oldest first. Cost: one step per budget.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 2 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// for step in [600, 1000, 1500] {
    ///     store.commit(&mut flash, &[Slot::Budget(step)], &[Part::<f32>::Bytes(b"state")])?;
    /// }
    /// assert_eq!(store.budgets().collect::<Vec<u64>>(), [1000, 1500]);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn budgets(&self) -> impl Iterator<Item = u64> + '_ {
        let areas = self.newest.slots.iter().skip(FIRST_BUDGET);
        let kept = areas.zip(self.newest.steps);
        kept.filter_map(|(area, step)| (*area != NOWHERE).then_some(step))
    }

    /// Pages that a commit erases, each once.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, RamFlash, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let layout = Layout { start: 0, end: 8192, payload: 1000, budgets: 1 };
    /// assert_eq!(Store::open(&mut flash, &layout)?.erases_per_commit(), 2);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn erases_per_commit(&self) -> u32 {
        self.geometry.pages
    }

    /// Areas that commits take turns in: with n slots in use, n less for the next one.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, RamFlash, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let layout = Layout { start: 0, end: 8192, payload: 1000, budgets: 1 };
    /// assert_eq!(Store::open(&mut flash, &layout)?.areas(), 4);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn areas(&self) -> u8 {
        self.geometry.areas
    }

    /// Stores the parts, one after the other, and makes them what is in these slots; returns the number of the
    /// commit. Until then, and after any error but one of the driver, all slots are what they were.
    ///
    /// Cost: [`Store::erases_per_commit`] erasures; the payload is written once and read once.
    ///
    /// # Errors
    /// Parts that are longer than the layout has room for, no slot, a page that did not take what was written, a
    /// driver that refuses.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// // A budget is reached, and the run goes on from here: one commit.
    /// let parts = [Part::Numbers(&[0.5_f32; 100])];
    /// store.commit(&mut flash, &[Slot::Latest, Slot::Budget(600)], &parts)?;
    /// assert!(store.commit(&mut flash, &[Slot::Latest], &[Part::Numbers(&[0.5_f32; 200])]).is_err());
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn commit<F: NorFlash, T: Real>(
        &mut self,
        flash: &mut F,
        slots: &[Slot],
        parts: &[Part<'_, T>],
    ) -> Result<u64, FlashError> {
        let record = self.begin(slots, parts::length(parts))?;
        let mut work = Commit::new(self.geometry, record, parts);
        drive(self.geometry, flash, &mut work)?;
        self.end(record, work.worn())
    }

    /// [`Store::commit`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// let parts = [Part::Numbers(&[0.5_f32; 100])];
    /// let number = block_on(store.commit_async(&mut flash, &[Slot::Latest], &parts))?;
    /// assert_eq!(number, 1);
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn commit_async<F: AsyncNorFlash, T: Real>(
        &mut self,
        flash: &mut F,
        slots: &[Slot],
        parts: &[Part<'_, T>],
    ) -> Result<u64, FlashError> {
        let record = self.begin(slots, parts::length(parts))?;
        let mut work = Commit::new(self.geometry, record, parts);
        drive_async(self.geometry, flash, &mut work).await?;
        self.end(record, work.worn())
    }

    /// Reads what is in a slot into parts of the same lengths. It is checked as a whole first: after an error nothing
    /// of the parts has changed, but where the driver refuses. Cost: the payload is read twice.
    ///
    /// # Errors
    /// An empty slot, a damaged record or page, parts of other lengths, a driver that refuses.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
    /// use rivergram_core::error::FlashError;
    ///
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::Numbers(&[0.5_f32; 100])])?;
    /// memory[42] ^= 1;
    /// let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// let mut weights = [0.0_f32; 100];
    /// let loaded = store.load(&mut flash, Slot::Latest, &mut [PartMut::Numbers(&mut weights)]);
    /// assert_eq!(loaded, Err(FlashError::Page { slot: Slot::Latest, page: 0 }));
    /// assert_eq!(weights, [0.0; 100]);
    /// # Ok::<(), FlashError>(())
    /// ```
    pub fn load<F: NorFlash, T: Real>(
        &self,
        flash: &mut F,
        slot: Slot,
        parts: &mut [PartMut<'_, T>],
    ) -> Result<(), FlashError> {
        let mut work = self.reads(slot, Sink::Parts(parts))?;
        drive(self.geometry, flash, &mut work)?;
        work.error.map_or(Ok(()), Err)
    }

    /// [`Store::load`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::load`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, PartMut, RamFlash, Slot, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// let mut bytes = [0; 5];
    /// let mut parts = [PartMut::<f32>::Bytes(&mut bytes)];
    /// block_on(store.load_async(&mut flash, Slot::Latest, &mut parts))?;
    /// assert_eq!(bytes, *b"state");
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn load_async<F: AsyncNorFlash, T: Real>(
        &self,
        flash: &mut F,
        slot: Slot,
        parts: &mut [PartMut<'_, T>],
    ) -> Result<(), FlashError> {
        let mut work = self.reads(slot, Sink::Parts(parts))?;
        drive_async(self.geometry, flash, &mut work).await?;
        work.error.map_or(Ok(()), Err)
    }

    /// Reads the first bytes of what is in a slot, all of which is checked before. Cost: the payload is read twice.
    ///
    /// # Errors
    /// As [`Store::load`]; fewer bytes are stored.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"head and body")])?;
    /// let mut head = [0; 4];
    /// store.load_start(&mut flash, Slot::Latest, &mut head)?;
    /// assert_eq!(head, *b"head");
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub fn load_start<F: NorFlash>(
        &self,
        flash: &mut F,
        slot: Slot,
        to: &mut [u8],
    ) -> Result<(), FlashError> {
        let mut work = self.reads::<f32>(slot, Sink::Start(to))?;
        drive(self.geometry, flash, &mut work)?;
        work.error.map_or(Ok(()), Err)
    }

    /// [`Store::load_start`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::load_start`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// let mut start = [0; 2];
    /// block_on(store.load_start_async(&mut flash, Slot::Latest, &mut start))?;
    /// assert_eq!(start, *b"st");
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn load_start_async<F: AsyncNorFlash>(
        &self,
        flash: &mut F,
        slot: Slot,
        to: &mut [u8],
    ) -> Result<(), FlashError> {
        let mut work = self.reads::<f32>(slot, Sink::Start(to))?;
        drive_async(self.geometry, flash, &mut work).await?;
        work.error.map_or(Ok(()), Err)
    }

    /// Checks what is in a slot, both copies of its record included. Cost: the payload is read once.
    ///
    /// # Errors
    /// An empty slot, a damaged page, a damaged copy of the record (also one that a cut left unwritten: the commit is
    /// whole as long as the other is), a driver that refuses.
    ///
    /// ```
    /// # use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    /// use rivergram_core::error::FlashError;
    ///
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// assert_eq!(store.check(&mut flash, Slot::Latest), Ok(()));
    /// let empty = store.check(&mut flash, Slot::BeforeDecay);
    /// assert_eq!(empty, Err(FlashError::Empty { slot: Slot::BeforeDecay }));
    /// # Ok::<(), FlashError>(())
    /// ```
    pub fn check<F: NorFlash>(&self, flash: &mut F, slot: Slot) -> Result<(), FlashError> {
        let mut work = self.reads::<f32>(slot, Sink::Nothing)?;
        drive(self.geometry, flash, &mut work)?;
        work.error.map_or(Ok(()), Err)
    }

    /// [`Store::check`] without blocking. Cost: the same.
    ///
    /// # Errors
    /// As [`Store::check`].
    ///
    /// ```
    /// use rivergram_core::flash::{Layout, Part, RamFlash, Slot, Store};
    ///
    /// # use core::{pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<R>(future: impl Future<Output = R>) -> R {
    /// #     let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    /// #     loop {
    /// #         if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
    /// #             return result;
    /// #         }
    /// #     }
    /// # }
    /// # let mut memory = [0xff; 8192];
    /// # let mut flash = RamFlash::<1024, 4>::new(&mut memory);
    /// # let layout = Layout { start: 0, end: 8192, payload: 500, budgets: 1 };
    /// let mut store = Store::open(&mut flash, &layout)?;
    /// store.commit(&mut flash, &[Slot::Latest], &[Part::<f32>::Bytes(b"state")])?;
    /// assert_eq!(block_on(store.check_async(&mut flash, Slot::Latest)), Ok(()));
    /// # Ok::<(), rivergram_core::error::FlashError>(())
    /// ```
    pub async fn check_async<F: AsyncNorFlash>(
        &self,
        flash: &mut F,
        slot: Slot,
    ) -> Result<(), FlashError> {
        let mut work = self.reads::<f32>(slot, Sink::Nothing)?;
        drive_async(self.geometry, flash, &mut work).await?;
        work.error.map_or(Ok(()), Err)
    }

    /// The area of a slot.
    fn area(&self, slot: Slot) -> Option<u8> {
        let Record { slots, steps, .. } = &self.newest;
        let area = match slot {
            Slot::Latest => slots.first(),
            Slot::BeforeDecay => slots.get(1),
            Slot::Budget(step) => {
                let mut kept = slots.iter().skip(FIRST_BUDGET).zip(steps);
                kept.find(|(area, own)| **own == step && **area != NOWHERE)
                    .map(|(area, _)| area)
            }
        };
        area.copied().filter(|area| *area != NOWHERE)
    }

    /// What reads a slot.
    fn reads<'a, 'b, T: Real>(
        &self,
        slot: Slot,
        sink: Sink<'a, 'b, T>,
    ) -> Result<Load<'a, 'b, T>, FlashError> {
        let area = self.area(slot).ok_or(FlashError::Empty { slot })?;
        Ok(Load::new(
            self.geometry,
            (slot, area),
            self.newest.sequence,
            sink,
        ))
    }

    /// The record of the next commit. Its number and its area are taken, whatever comes of it.
    fn begin(&mut self, slots: &[Slot], length: usize) -> Result<Record, FlashError> {
        let need = self.geometry.payload;
        let too_long = FlashError::Length { need, have: length };
        if length > need {
            return Err(too_long);
        }
        if slots.is_empty() {
            return Err(FlashError::NoSlot);
        }
        let is_free = |area: &u8| !self.newest.holds(*area);
        // There are more areas than slots.
        let area = self.geometry.after(self.last).find(is_free);
        let area = area.ok_or(FlashError::NoSlot)?;
        let mut record = Record {
            sequence: self.largest.saturating_add(1),
            area,
            length: u32::try_from(length).map_err(|_| too_long)?,
            ..self.newest
        };
        for slot in slots {
            match *slot {
                Slot::Latest => set(&mut record.slots, 0, area),
                Slot::BeforeDecay => set(&mut record.slots, 1, area),
                Slot::Budget(step) => self.keep(&mut record, step)?,
            }
        }
        self.largest = record.sequence;
        self.last = area;
        Ok(record)
    }

    /// Puts a budget behind all others, without the one of the same step, or without the oldest.
    fn keep(&self, record: &mut Record, step: u64) -> Result<(), FlashError> {
        let most = self.geometry.budgets;
        if most == 0 {
            return Err(FlashError::NoSlot);
        }
        let new = (record.area, step);
        let (slots, steps) = (record.slots, record.steps);
        let old = slots.into_iter().skip(FIRST_BUDGET).zip(steps);
        let others = || {
            let old = old.clone();
            old.filter(move |(area, own)| *area != NOWHERE && *own != step)
        };
        let count = others().fold(0_usize, |n, _| n.saturating_add(1));
        let dropped = count.saturating_add(1).saturating_sub(most);
        let mut kept = others().skip(dropped).chain([new]);
        let places = record.slots.iter_mut().skip(FIRST_BUDGET);
        for (area, own) in places.zip(&mut record.steps) {
            (*area, *own) = kept.next().unwrap_or((NOWHERE, 0));
        }
        Ok(())
    }

    /// After all was written: the commit is made, unless a page did not take it.
    fn end(&mut self, record: Record, worn: Option<u32>) -> Result<u64, FlashError> {
        if let Some(page) = worn {
            return Err(FlashError::Worn { page });
        }
        self.newest = record;
        self.lost = None;
        Ok(record.sequence)
    }
}

/// The place of the first budget among the slots.
const FIRST_BUDGET: usize = 2;

fn set(slots: &mut [u8], index: usize, area: u8) {
    if let Some(slot) = slots.get_mut(index) {
        *slot = area;
    }
}

/// Does what a procedure says.
fn drive<F: NorFlash>(
    geometry: Geometry,
    flash: &mut F,
    work: &mut impl Procedure,
) -> Result<(), FlashError> {
    let mut buffer = [0xff; PIECE];
    while let Some(operation) = work.next(&mut buffer) {
        let done = match operation {
            Operation::Erase { from, to } => flash.erase(from, to),
            Operation::Write { at, length } => {
                flash.write(at, buffer.get(..length).unwrap_or_default())
            }
            Operation::Read { at, length } => {
                flash.read(at, buffer.get_mut(..length).unwrap_or_default())
            }
        };
        done.map_err(|e| refused(geometry, operation, e.kind()))?;
    }
    Ok(())
}

/// The same without blocking.
async fn drive_async<F: AsyncNorFlash>(
    geometry: Geometry,
    flash: &mut F,
    work: &mut impl Procedure,
) -> Result<(), FlashError> {
    let mut buffer = [0xff; PIECE];
    while let Some(operation) = work.next(&mut buffer) {
        let done = match operation {
            Operation::Erase { from, to } => flash.erase(from, to).await,
            Operation::Write { at, length } => {
                let bytes = buffer.get(..length).unwrap_or_default();
                flash.write(at, bytes).await
            }
            Operation::Read { at, length } => {
                let bytes = buffer.get_mut(..length).unwrap_or_default();
                flash.read(at, bytes).await
            }
        };
        done.map_err(|e| refused(geometry, operation, e.kind()))?;
    }
    Ok(())
}

/// What a driver said, with the page.
fn refused(geometry: Geometry, operation: Operation, kind: NorFlashErrorKind) -> FlashError {
    let (at, action) = match operation {
        Operation::Erase { from, .. } => (from, FlashAction::Erase),
        Operation::Write { at, .. } => (at, FlashAction::Write),
        Operation::Read { at, .. } => (at, FlashAction::Read),
    };
    let fault = match kind {
        NorFlashErrorKind::NotAligned => FlashFault::NotAligned,
        NorFlashErrorKind::OutOfBounds => FlashFault::OutOfBounds,
        _ => FlashFault::Other,
    };
    FlashError::Device {
        page: geometry.page_of(at),
        action,
        fault,
    }
}
