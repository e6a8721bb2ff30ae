//! What makes a commit valid: the record at the end of its area, in two copies.

use super::layout::Geometry;
use super::{MAX_BUDGETS, SLOTS};
use crate::encode::{Reader, Writer};
use crate::error::DecodeError;

const MAGIC: [u8; 4] = *b"rgFC";
const VERSION: u32 = 1;

/// Bytes of a copy, before it is padded to a unit.
pub(super) const RECORD: usize = 128;

/// The area of a slot in which nothing lies.
pub(super) const NOWHERE: u8 = u8::MAX;

/// All slots after a commit: latest, before the decay, budgets with the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Record {
    /// Counts commits.
    pub(super) sequence: u64,
    /// The area that the record lies in.
    pub(super) area: u8,
    /// Bytes of the commit.
    pub(super) length: u32,
    /// The area of each slot.
    pub(super) slots: [u8; SLOTS],
    /// The steps of the budgets.
    pub(super) steps: [u64; MAX_BUDGETS],
}

/// A copy of a record that was read.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Nothing was written there.
    Blank,
    /// What was written is no record.
    Damaged,
    /// A record of another version.
    OtherVersion(u32),
    /// A record that was written with another layout.
    OtherLayout,
    /// A record.
    Whole(Record),
}

impl Record {
    /// Before the first commit.
    pub(super) const NONE: Self = Record {
        sequence: 0,
        area: NOWHERE,
        length: 0,
        slots: [NOWHERE; SLOTS],
        steps: [0; MAX_BUDGETS],
    };

    pub(super) fn write(&self, geometry: &Geometry, to: &mut [u8]) {
        let mut writer = Writer::new(to, MAGIC, VERSION);
        writer.u64(self.sequence);
        writer.u32(geometry.pages);
        writer.u8(geometry.areas);
        writer.u8(self.area);
        writer.u32(self.length);
        writer.bytes(&self.slots);
        for step in self.steps {
            writer.u64(step);
        }
        // 108 bytes of the 128.
        let _ = writer.finish();
    }

    pub(super) fn read(geometry: &Geometry, area: u8, bytes: &[u8]) -> Reading {
        if bytes.iter().all(|byte| *byte == 0xff) {
            return Reading::Blank;
        }
        match Self::decode(bytes) {
            Ok((record, pages, areas)) => {
                let same =
                    pages == geometry.pages && areas == geometry.areas && record.area == area;
                if same {
                    Reading::Whole(record)
                } else {
                    Reading::OtherLayout
                }
            }
            // A torn record may state any version: one of another version is whole.
            Err(DecodeError::Version { found, .. })
                if Reader::open(bytes, MAGIC, found).is_ok() =>
            {
                Reading::OtherVersion(found)
            }
            Err(_) => Reading::Damaged,
        }
    }

    fn decode(bytes: &[u8]) -> Result<(Self, u32, u8), DecodeError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        let sequence = reader.u64()?;
        let (pages, areas) = (reader.u32()?, reader.u8()?);
        let mut record = Record {
            sequence,
            area: reader.u8()?,
            length: reader.u32()?,
            ..Self::NONE
        };
        for slot in &mut record.slots {
            *slot = reader.u8()?;
        }
        for step in &mut record.steps {
            *step = reader.u64()?;
        }
        Ok((record, pages, areas))
    }

    /// Empties the slots that lie in an area.
    pub(super) fn forget(&mut self, area: u8) {
        for slot in &mut self.slots {
            if *slot == area {
                *slot = NOWHERE;
            }
        }
    }

    /// Whether a slot lies in an area.
    pub(super) fn holds(&self, area: u8) -> bool {
        self.slots.contains(&area)
    }
}
