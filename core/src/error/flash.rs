//! What can be wrong with a store in flash.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

use crate::flash::Slot;

/// What a flash was asked to do, in [`FlashError::Device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashAction {
    /// To erase a page.
    Erase,
    /// To write.
    Write,
    /// To read.
    Read,
}

/// What the driver of a flash said: the kinds of `embedded_storage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FlashFault {
    /// The address or the length is not aligned.
    NotAligned,
    /// Beyond the end of the flash.
    OutOfBounds,
    /// Anything else.
    Other,
}

/// What is wrong with a store in flash. Pages are counted from the start of the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FlashError {
    /// A range that does not begin and end with a page, or that is longer than the flash.
    Range {
        /// Its first byte.
        start: u32,
        /// The byte after its last.
        end: u32,
        /// Bytes of a page.
        page: usize,
    },
    /// A flash with pages too small, or with units of reading and writing that do not divide each other and the
    /// page, or that are too large.
    Unit {
        /// Bytes that are read at least.
        read: usize,
        /// Bytes that are written at least.
        write: usize,
        /// Bytes of a page.
        page: usize,
    },
    /// More budgets than [`MAX_BUDGETS`](crate::flash::MAX_BUDGETS).
    Budgets {
        /// The most.
        most: usize,
        /// Those of the layout.
        have: usize,
    },
    /// A range with too few pages for all slots and the commit that replaces one.
    Pages {
        /// Pages needed.
        need: usize,
        /// Pages of the range.
        have: usize,
    },
    /// A flash that was written with another layout: other sizes, or another format of the pages.
    OtherLayout {
        /// The page of the record that says so.
        page: u32,
    },
    /// A record of another format version.
    Version {
        /// The page of the record.
        page: u32,
        /// The version of the record.
        found: u32,
    },
    /// Parts that are longer than the layout has room for, or that are not as long as what is stored.
    Length {
        /// Bytes of the layout, or of what is stored.
        need: usize,
        /// Bytes of the parts.
        have: usize,
    },
    /// A commit to no slot, or to a budget where the layout keeps none.
    NoSlot,
    /// Nothing was committed to the slot.
    Empty {
        /// Which slot.
        slot: Slot,
    },
    /// The record of a commit is damaged: in both copies, or in one where [`Store::check`] looks.
    ///
    /// [`Store::check`]: crate::flash::Store::check
    Record {
        /// A slot of the commit; none where the record alone knew.
        slot: Option<Slot>,
        /// The page of the record.
        page: u32,
    },
    /// A page of what was committed to a slot is damaged.
    Page {
        /// Which slot.
        slot: Slot,
        /// Which page.
        page: u32,
    },
    /// A page did not hold what was written to it: it is worn out. Nothing was committed, and the next commit goes
    /// to other pages, if the layout has an area more than it needs or a slot is empty.
    Worn {
        /// Which page.
        page: u32,
    },
    /// The driver of the flash refused. A commit that this happened to was made or not, whole in either case.
    Device {
        /// Which page.
        page: u32,
        /// What it was asked to do.
        action: FlashAction,
        /// What it said.
        fault: FlashFault,
    },
}

impl Display for FlashError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Range { start, end, page } => {
                write!(
                    f,
                    "flash from {start:#x} to {end:#x}: whole pages of {page} bytes within it expected"
                )
            }
            Self::Unit { read, write, page } => write!(
                f,
                "flash with reads of {read}, writes of {write} and pages of {page} bytes is not supported"
            ),
            Self::Budgets { most, have } => {
                write!(f, "{have} budgets to keep, and at most {most} can be")
            }
            Self::Pages { need, have } => {
                write!(f, "{have} pages of flash where the slots need {need}")
            }
            Self::OtherLayout { page } => {
                write!(
                    f,
                    "page {page} was written with another layout of the store: erase the range to begin anew"
                )
            }
            Self::Version { page, found } => {
                write!(
                    f,
                    "page {page} holds a record of format version {found}: erase the range to begin anew"
                )
            }
            Self::Length { need, have } => {
                write!(f, "{have} bytes where the store has {need}")
            }
            Self::NoSlot => write!(f, "no slot to commit to"),
            Self::Empty { slot } => write!(f, "{slot}: nothing is stored"),
            Self::Record {
                slot: Some(slot),
                page,
            } => write!(f, "{slot}: its record in page {page} is damaged"),
            Self::Record { slot: None, page } => {
                write!(f, "the record of a commit in page {page} is damaged")
            }
            Self::Page { slot, page } => write!(f, "{slot}: page {page} is damaged"),
            Self::Worn { page } => {
                write!(f, "page {page} does not hold what was written to it")
            }
            Self::Device {
                page,
                action,
                fault,
            } => write!(f, "page {page}: {action:?} failed, {fault:?}"),
        }
    }
}

impl Error for FlashError {}
