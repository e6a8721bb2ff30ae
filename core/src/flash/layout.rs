//! Where things lie: areas of pages, and what a page holds.
//!
//! ```text
//! range:      area 0 | area 1 | …            one commit each
//! area:       page 0 | page 1 | … | last
//! page:       data … | trailer               sequence, length, CRC-32, padded to a unit
//! last page:  data … | trailer | record | record
//! ```

use super::record::RECORD;
use super::{Layout, MAX_BUDGETS, SLOTS};
use crate::error::FlashError;

/// Bytes that are written or read at once at most: what chips take in one go.
pub(super) const PIECE: usize = 256;

/// Sequence and length of the commit, and the checksum of the page.
pub(super) const TRAILER: usize = 16;

/// What a driver says of its flash.
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) read: usize,
    pub(super) write: usize,
    pub(super) page: usize,
    pub(super) capacity: usize,
}

/// A layout on a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Geometry {
    start: u32,
    page: usize,
    unit: usize,
    /// Pages of an area.
    pub(super) pages: u32,
    pub(super) areas: u8,
    /// Budgets that are kept.
    pub(super) budgets: usize,
    /// Bytes that a commit may have.
    pub(super) payload: usize,
}

impl Geometry {
    pub(super) fn new(layout: &Layout, device: Device) -> Result<Self, FlashError> {
        let Device {
            read,
            write,
            page,
            capacity,
        } = device;
        let Layout {
            start,
            end,
            payload,
            budgets,
        } = *layout;
        let unit = read.max(write);
        let divides = |a: usize, b: usize| b.checked_rem(a) == Some(0);
        let sound = unit <= PIECE
            && divides(unit, PIECE)
            && [read, write].iter().all(|x| divides(*x, unit))
            && divides(unit, page);
        let unsupported = FlashError::Unit { read, write, page };
        if !sound {
            return Err(unsupported);
        }
        let fixed = up(TRAILER, unit).saturating_add(up(RECORD, unit).saturating_mul(2));
        let (Some(last), Some(other)) =
            (page.checked_sub(fixed), page.checked_sub(up(TRAILER, unit)))
        else {
            return Err(unsupported);
        };
        let range = FlashError::Range { start, end, page };
        let bytes = (end as usize).checked_sub(start as usize).ok_or(range)?;
        if !divides(page, start as usize) || !divides(page, bytes) || end as usize > capacity {
            return Err(range);
        }
        if budgets > MAX_BUDGETS {
            return Err(FlashError::Budgets {
                most: MAX_BUDGETS,
                have: budgets,
            });
        }
        // The last page takes less; `other` is not 0, being larger than `last`.
        let beyond = payload.saturating_sub(last);
        let more = beyond
            .saturating_add(other.saturating_sub(1))
            .checked_div(other)
            .unwrap_or(0);
        let pages = more.saturating_add(1);
        let have = bytes.checked_div(page).unwrap_or(0);
        // Every slot, and the commit that replaces one.
        let least = SLOTS
            .saturating_sub(MAX_BUDGETS)
            .saturating_add(budgets)
            .saturating_add(1);
        let areas = have.checked_div(pages).unwrap_or(0);
        if areas < least {
            let need = least.saturating_mul(pages);
            return Err(FlashError::Pages { need, have });
        }
        Ok(Geometry {
            start,
            page,
            unit,
            pages: u32::try_from(pages).map_err(|_| range)?,
            areas: u8::try_from(areas).unwrap_or(u8::MAX - 1).min(u8::MAX - 1),
            budgets,
            payload,
        })
    }

    /// Of a length, up to whole units.
    pub(super) fn padded(&self, length: usize) -> usize {
        up(length, self.unit)
    }

    /// Bytes of data in a page of an area.
    pub(super) fn data(&self, page: u32) -> usize {
        let records = if page.saturating_add(1) == self.pages {
            up(RECORD, self.unit).saturating_mul(2)
        } else {
            0
        };
        self.page
            .saturating_sub(up(TRAILER, self.unit))
            .saturating_sub(records)
    }

    /// The address of a byte of a page of an area.
    pub(super) fn address(&self, area: u8, page: u32, offset: usize) -> u32 {
        let pages = u32::from(area)
            .saturating_mul(self.pages)
            .saturating_add(page);
        let bytes = (self.page as u32).saturating_mul(pages);
        self.start
            .saturating_add(bytes)
            .saturating_add(offset as u32)
    }

    /// The address of a trailer.
    pub(super) fn trailer(&self, area: u8, page: u32) -> u32 {
        self.address(area, page, self.data(page))
    }

    /// The address of a copy of the record of an area.
    pub(super) fn record(&self, area: u8, copy: usize) -> u32 {
        let last = self.pages.saturating_sub(1);
        let before =
            up(TRAILER, self.unit).saturating_add(up(RECORD, self.unit).saturating_mul(copy));
        self.address(area, last, self.data(last).saturating_add(before))
    }

    /// The page of an address, counted from the start of the flash.
    pub(super) fn page_of(&self, address: u32) -> u32 {
        address.checked_div(self.page as u32).unwrap_or(0)
    }

    /// Where a page of an area ends.
    pub(super) fn end(&self, area: u8, page: u32) -> u32 {
        self.address(area, page, self.page)
    }

    /// The areas after one, round and round, all of them once.
    pub(super) fn after(&self, area: u8) -> impl Iterator<Item = u8> + use<> {
        let areas = self.areas;
        (0..areas).scan(area, move |at, _| {
            let next = at.saturating_add(1);
            *at = if next < areas { next } else { 0 };
            Some(*at)
        })
    }
}

/// The next multiple of `unit`, a divisor of 256.
fn up(length: usize, unit: usize) -> usize {
    let rest = length.checked_rem(unit).unwrap_or(0);
    if rest == 0 {
        length
    } else {
        length.saturating_add(unit.saturating_sub(rest))
    }
}
