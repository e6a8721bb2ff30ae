//! What is done to the flash, one operation after the other.
//!
//! A procedure says what comes next and looks at what was read; who does it, blocking or not, is not its business.

use super::Slot;
use super::layout::{Geometry, PIECE, TRAILER};
use super::parts::{self, Part, PartMut};
use super::record::{RECORD, Reading, Record};
use crate::encode::Crc32;
use crate::error::FlashError;
use crate::lanes::Real;

/// What is to be done next. What is written lies at the start of the buffer, and so does what was read.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Erase { from: u32, to: u32 },
    Write { at: u32, length: usize },
    Read { at: u32, length: usize },
}

/// The bytes on their way.
pub(super) type Buffer = [u8; PIECE];

/// A list of operations, of which later ones may depend on what earlier ones read.
pub(super) trait Procedure {
    /// The next operation; none once all are done, however often it is asked.
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation>;
}

/// Erases an area, the first page first: while the page of a record is erased, its cells may hold anything, and an
/// area whose record is damaged and whose first page is whole is a commit that was lost.
pub(super) struct Erase {
    geometry: Geometry,
    area: u8,
    page: u32,
}

impl Erase {
    pub(super) fn new(geometry: Geometry, area: u8) -> Self {
        Erase {
            geometry,
            area,
            page: 0,
        }
    }
}

impl Procedure for Erase {
    fn next(&mut self, _: &mut Buffer) -> Option<Operation> {
        let page = self.page;
        if page >= self.geometry.pages {
            return None;
        }
        self.page = page.saturating_add(1);
        let from = self.geometry.address(self.area, page, 0);
        let to = self.geometry.end(self.area, page);
        Some(Operation::Erase { from, to })
    }
}

/// Where one is in an area: page after page, piece after piece, then the trailer.
#[derive(Clone, Copy)]
struct Cursor {
    geometry: Geometry,
    area: u8,
    /// Bytes of the payload in all.
    length: usize,
    page: u32,
    /// The first page that is none of its own.
    end: u32,
    /// Bytes of the payload before this page.
    before: usize,
    /// Bytes done in this page.
    done: usize,
    crc: Crc32,
}

/// What comes next in a page.
enum Piece {
    Data {
        at: u32,
        place: usize,
        length: usize,
    },
    Trailer {
        at: u32,
    },
}

impl Cursor {
    fn new(geometry: Geometry, area: u8, length: usize) -> Self {
        Cursor {
            geometry,
            area,
            length,
            page: 0,
            end: geometry.pages,
            before: 0,
            done: 0,
            crc: Crc32::new(),
        }
    }

    /// Bytes of the payload in this page.
    fn data(&self) -> usize {
        let left = self.length.saturating_sub(self.before);
        self.geometry.data(self.page).min(left)
    }

    fn piece(&self) -> Option<Piece> {
        if self.page >= self.end {
            return None;
        }
        let length = self.data().saturating_sub(self.done).min(PIECE);
        Some(if length > 0 {
            Piece::Data {
                at: self.geometry.address(self.area, self.page, self.done),
                place: self.before.saturating_add(self.done),
                length,
            }
        } else {
            Piece::Trailer {
                at: self.geometry.trailer(self.area, self.page),
            }
        })
    }

    /// After a piece of data.
    fn took(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.done = self.done.saturating_add(bytes.len());
    }

    /// The trailer that belongs to the data of this page.
    fn trailer(&self, sequence: u64) -> [u8; TRAILER] {
        let (sequence, length) = (sequence.to_le_bytes(), (self.length as u32).to_le_bytes());
        let mut crc = self.crc;
        crc.update(&self.page.to_le_bytes());
        crc.update(&sequence);
        crc.update(&length);
        let mut trailer = [0; TRAILER];
        let bytes = sequence
            .into_iter()
            .chain(length)
            .chain(crc.value().to_le_bytes());
        for (to, from) in trailer.iter_mut().zip(bytes) {
            *to = from;
        }
        trailer
    }

    fn next_page(&mut self) {
        self.before = self.before.saturating_add(self.data());
        self.done = 0;
        self.crc = Crc32::new();
        self.page = self.page.saturating_add(1);
    }
}

/// The start of the buffer.
fn start(buffer: &mut Buffer, length: usize) -> &mut [u8] {
    buffer.get_mut(..length).unwrap_or_default()
}

/// Writes the pages of a commit, padded with what an erased flash holds.
struct WritePages<'a, T> {
    cursor: Cursor,
    sequence: u64,
    parts: &'a [Part<'a, T>],
}

impl<T: Real> Procedure for WritePages<'_, T> {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        let cursor = &mut self.cursor;
        let piece = cursor.piece()?;
        buffer.fill(0xff);
        let (at, length) = match piece {
            Piece::Data { at, place, length } => {
                let data = start(buffer, length);
                parts::read(self.parts, place, data);
                cursor.took(data);
                (at, length)
            }
            Piece::Trailer { at } => {
                let trailer = cursor.trailer(self.sequence);
                for (to, from) in buffer.iter_mut().zip(trailer) {
                    *to = from;
                }
                cursor.next_page();
                (at, TRAILER)
            }
        };
        let length = cursor.geometry.padded(length);
        Some(Operation::Write { at, length })
    }
}

/// What reading pages is for.
pub(super) enum Sink<'a, 'b, T> {
    /// To check them.
    Nothing,
    /// To have their start.
    Start(&'a mut [u8]),
    /// To have all of them.
    Parts(&'a mut [PartMut<'b, T>]),
}

/// Reads the pages of a commit and checks them, up to the first that is damaged.
pub(super) struct ReadPages<'a, 'b, T> {
    cursor: Cursor,
    sequence: u64,
    sink: Sink<'a, 'b, T>,
    asked: Option<Piece>,
    /// The first page that is damaged, of the flash.
    pub(super) damaged: Option<u32>,
}

impl<'a, 'b, T: Real> ReadPages<'a, 'b, T> {
    fn new(cursor: Cursor, sequence: u64, sink: Sink<'a, 'b, T>) -> Self {
        ReadPages {
            cursor,
            sequence,
            sink,
            asked: None,
            damaged: None,
        }
    }

    fn look(&mut self, buffer: &Buffer) {
        let cursor = &mut self.cursor;
        match self.asked.take() {
            None => {}
            Some(Piece::Data { place, length, .. }) => {
                let data = buffer.get(..length).unwrap_or_default();
                cursor.took(data);
                match &mut self.sink {
                    Sink::Nothing => {}
                    Sink::Start(to) => {
                        let to = to.get_mut(place..).unwrap_or_default();
                        for (to, from) in to.iter_mut().zip(data) {
                            *to = *from;
                        }
                    }
                    Sink::Parts(parts) => parts::write(parts, place, data),
                }
            }
            Some(Piece::Trailer { at }) => {
                let trailer = cursor.trailer(self.sequence);
                if buffer.first_chunk() == Some(&trailer) {
                    cursor.next_page();
                } else {
                    self.damaged = Some(cursor.geometry.page_of(at));
                }
            }
        }
    }
}

impl<T: Real> Procedure for ReadPages<'_, '_, T> {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        self.look(buffer);
        if self.damaged.is_some() {
            return None;
        }
        let piece = self.cursor.piece()?;
        let (at, length) = match piece {
            Piece::Data { at, length, .. } => (at, length),
            Piece::Trailer { at } => (at, TRAILER),
        };
        self.asked = Some(piece);
        let length = self.cursor.geometry.padded(length);
        Some(Operation::Read { at, length })
    }
}

/// Writes both copies of a record.
struct WriteRecord {
    geometry: Geometry,
    record: Record,
    copy: usize,
}

/// Copies of a record.
const COPIES: usize = 2;

impl Procedure for WriteRecord {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        if self.copy >= COPIES {
            return None;
        }
        buffer.fill(0xff);
        self.record.write(&self.geometry, start(buffer, RECORD));
        let at = self.geometry.record(self.record.area, self.copy);
        self.copy = self.copy.saturating_add(1);
        let length = self.geometry.padded(RECORD);
        Some(Operation::Write { at, length })
    }
}

/// Reads both copies of the record of an area.
#[derive(Clone, Copy)]
pub(super) struct ReadRecord {
    geometry: Geometry,
    area: u8,
    asked: usize,
    copies: [Reading; COPIES],
}

/// What lies where a record could.
pub(super) enum Found {
    /// No commit, or one that was cut.
    Nothing,
    /// A record; whether both copies are whole.
    Record(Record, bool),
    /// Something was written to the second copy, and neither is whole: a record that was damaged, or an erasure that
    /// was cut.
    Damaged,
    /// A record of another version.
    OtherVersion(u32),
    /// A record that was written with another layout.
    OtherLayout,
}

impl ReadRecord {
    pub(super) fn new(geometry: Geometry, area: u8) -> Self {
        ReadRecord {
            geometry,
            area,
            asked: 0,
            copies: [Reading::Blank; COPIES],
        }
    }

    /// Once all is read.
    pub(super) fn found(&self) -> Found {
        match self.copies {
            [Reading::Whole(record), Reading::Whole(_)] => Found::Record(record, true),
            [Reading::Whole(record), _] | [_, Reading::Whole(record)] => {
                Found::Record(record, false)
            }
            [Reading::OtherVersion(found), _] | [_, Reading::OtherVersion(found)] => {
                Found::OtherVersion(found)
            }
            [Reading::OtherLayout, _] | [_, Reading::OtherLayout] => Found::OtherLayout,
            [_, Reading::Damaged] => Found::Damaged,
            [_, Reading::Blank] => Found::Nothing,
        }
    }

    /// The page that the record lies in, of the flash.
    pub(super) fn page(&self) -> u32 {
        self.geometry.page_of(self.geometry.record(self.area, 0))
    }
}

impl Procedure for ReadRecord {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        if let Some(copy) = self
            .asked
            .checked_sub(1)
            .and_then(|copy| self.copies.get_mut(copy))
        {
            let bytes = buffer.get(..RECORD).unwrap_or_default();
            *copy = Record::read(&self.geometry, self.area, bytes);
        }
        if self.asked >= COPIES {
            // What was read was looked at: not again.
            self.asked = usize::MAX;
            return None;
        }
        let at = self.geometry.record(self.area, self.asked);
        self.asked = self.asked.saturating_add(1);
        let length = self.geometry.padded(RECORD);
        Some(Operation::Read { at, length })
    }
}

/// One commit: erase, write, read back, make valid, read that back.
pub(super) struct Commit<'a, T> {
    erase: Erase,
    write: WritePages<'a, T>,
    check: ReadPages<'a, 'a, T>,
    record: WriteRecord,
    back: ReadRecord,
}

impl<'a, T: Real> Commit<'a, T> {
    pub(super) fn new(geometry: Geometry, record: Record, parts: &'a [Part<'a, T>]) -> Self {
        let (area, sequence) = (record.area, record.sequence);
        let cursor = Cursor::new(geometry, area, record.length as usize);
        Commit {
            erase: Erase::new(geometry, area),
            write: WritePages {
                cursor,
                sequence,
                parts,
            },
            check: ReadPages::new(cursor, sequence, Sink::Nothing),
            record: WriteRecord {
                geometry,
                record,
                copy: 0,
            },
            back: ReadRecord::new(geometry, area),
        }
    }

    /// The page that did not hold what was written to it.
    pub(super) fn worn(&self) -> Option<u32> {
        let is_valid = matches!(self.back.found(), Found::Record(..));
        self.check.damaged.or((!is_valid).then(|| self.back.page()))
    }
}

impl<T: Real> Procedure for Commit<'_, T> {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        if let Some(operation) = self.erase.next(buffer) {
            return Some(operation);
        }
        if let Some(operation) = self.write.next(buffer) {
            return Some(operation);
        }
        if let Some(operation) = self.check.next(buffer) {
            return Some(operation);
        }
        if self.check.damaged.is_some() {
            return None;
        }
        if let Some(operation) = self.record.next(buffer) {
            return Some(operation);
        }
        self.back.next(buffer)
    }
}

/// Checks a commit, then reads it: nothing of one that is damaged is given out.
pub(super) struct Load<'a, 'b, T> {
    slot: Slot,
    /// The sequence of the newest commit.
    newest: u64,
    record: ReadRecord,
    sink: Sink<'a, 'b, T>,
    check: Option<ReadPages<'a, 'b, T>>,
    read: Option<ReadPages<'a, 'b, T>>,
    pub(super) error: Option<FlashError>,
}

impl<'a, 'b, T: Real> Load<'a, 'b, T> {
    pub(super) fn new(
        geometry: Geometry,
        (slot, area): (Slot, u8),
        newest: u64,
        sink: Sink<'a, 'b, T>,
    ) -> Self {
        Load {
            slot,
            newest,
            record: ReadRecord::new(geometry, area),
            sink,
            check: None,
            read: None,
            error: None,
        }
    }

    /// The record was read: what it says is what the pages are checked by.
    fn begin(&mut self) -> Result<(), FlashError> {
        let damaged = FlashError::Record {
            slot: Some(self.slot),
            page: self.record.page(),
        };
        let Found::Record(record, both) = self.record.found() else {
            return Err(damaged);
        };
        // A later commit has taken the place of this one.
        let gone = record.sequence > self.newest;
        let only_checks = matches!(self.sink, Sink::Nothing);
        if gone || only_checks && !both {
            return Err(damaged);
        }
        let need = record.length as usize;
        let (have, fits) = match &self.sink {
            Sink::Nothing => (need, true),
            Sink::Start(to) => (to.len(), to.len() <= need),
            Sink::Parts(parts) => {
                let have = parts::length_mut(parts);
                (have, have == need)
            }
        };
        if !fits {
            return Err(FlashError::Length { need, have });
        }
        let cursor = Cursor::new(self.record.geometry, self.record.area, need);
        self.check = Some(ReadPages::new(cursor, record.sequence, Sink::Nothing));
        if !only_checks {
            let sink = core::mem::replace(&mut self.sink, Sink::Nothing);
            self.read = Some(ReadPages::new(cursor, record.sequence, sink));
        }
        Ok(())
    }
}

impl<T: Real> Procedure for Load<'_, '_, T> {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        if let Some(operation) = self.record.next(buffer) {
            return Some(operation);
        }
        if self.error.is_none() && self.check.is_none() {
            self.error = self.begin().err();
        }
        for pages in [&mut self.check, &mut self.read].into_iter().flatten() {
            if self.error.is_some() {
                break;
            }
            if let Some(operation) = pages.next(buffer) {
                return Some(operation);
            }
            self.error = pages.damaged.map(|page| FlashError::Page {
                slot: self.slot,
                page,
            });
        }
        None
    }
}

/// Looks for the newest commit, and for one that was made and can no longer be read.
pub(super) struct Open {
    geometry: Geometry,
    /// Commits from this one on are left out.
    before: u64,
    phase: Phase,
    area: u8,
    record: ReadRecord,
    /// A page of an area whose record is damaged: its data tell whether it was a commit.
    first: Option<First>,
    pub(super) newest: Record,
    /// The largest sequence of any commit.
    pub(super) largest: u64,
    /// The area of that commit.
    pub(super) last: u8,
    /// The page of a record that is no longer there.
    pub(super) lost: Option<u32>,
    /// A record that this code cannot use.
    pub(super) refused: Option<FlashError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Phase {
    /// The newest record of all areas.
    Newest,
    /// Areas whose record is damaged, and those that later commits took.
    Damaged,
    Done,
}

/// The first page of an area, by what its own trailer says.
struct First {
    geometry: Geometry,
    area: u8,
    asked: bool,
    sequence: u64,
    pages: Option<ReadPages<'static, 'static, f32>>,
}

impl First {
    fn new(geometry: Geometry, area: u8) -> Self {
        First {
            geometry,
            area,
            asked: false,
            sequence: 0,
            pages: None,
        }
    }

    /// The sequence of the commit that the page is of, if it is whole. Once all is read.
    fn sequence(&self) -> Option<u64> {
        let pages = self.pages.as_ref()?;
        pages.damaged.is_none().then_some(self.sequence)
    }
}

impl Procedure for First {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        if !self.asked {
            self.asked = true;
            let at = self.geometry.trailer(self.area, 0);
            let length = self.geometry.padded(TRAILER);
            return Some(Operation::Read { at, length });
        }
        if self.pages.is_none() {
            let (sequence, rest) = buffer.split_first_chunk()?;
            self.sequence = u64::from_le_bytes(*sequence);
            let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
            let mut cursor = Cursor::new(self.geometry, self.area, length);
            cursor.end = 1;
            self.pages = Some(ReadPages::new(cursor, self.sequence, Sink::Nothing));
        }
        self.pages.as_mut()?.next(buffer)
    }
}

impl Open {
    pub(super) fn new(geometry: Geometry, before: u64) -> Self {
        Open {
            geometry,
            before,
            phase: Phase::Newest,
            area: 0,
            record: ReadRecord::new(geometry, 0),
            first: None,
            newest: Record::NONE,
            largest: 0,
            last: geometry.areas.saturating_sub(1),
            lost: None,
            refused: None,
        }
    }

    /// The record of an area was read, in the search for the newest.
    fn look(&mut self) {
        let page = self.record.page();
        match self.record.found() {
            Found::Record(record, _) => {
                if record.sequence > self.largest {
                    self.largest = record.sequence;
                    self.last = record.area;
                }
                if record.sequence > self.newest.sequence && record.sequence < self.before {
                    self.newest = record;
                }
            }
            Found::OtherVersion(found) => self.refused = Some(FlashError::Version { page, found }),
            Found::OtherLayout => self.refused = Some(FlashError::OtherLayout { page }),
            Found::Nothing | Found::Damaged => {}
        }
    }

    /// On to the next area, or to the next phase.
    fn go_on(&mut self) {
        self.area = self.area.saturating_add(1);
        if self.area >= self.geometry.areas {
            self.area = 0;
            self.phase = match self.phase {
                Phase::Newest => Phase::Damaged,
                Phase::Damaged | Phase::Done => Phase::Done,
            };
        }
        self.record = ReadRecord::new(self.geometry, self.area);
    }
}

impl Procedure for Open {
    fn next(&mut self, buffer: &mut Buffer) -> Option<Operation> {
        while self.phase != Phase::Done {
            if let Some(first) = &mut self.first {
                if let Some(operation) = first.next(buffer) {
                    return Some(operation);
                }
                if first
                    .sequence()
                    .is_some_and(|s| s > self.newest.sequence && s < self.before)
                {
                    self.lost = Some(self.record.page());
                }
                self.first = None;
                self.go_on();
                continue;
            }
            if let Some(operation) = self.record.next(buffer) {
                return Some(operation);
            }
            if self.phase == Phase::Newest {
                self.look();
                self.go_on();
                continue;
            }
            match self.record.found() {
                Found::Damaged => {
                    self.first = Some(First::new(self.geometry, self.area));
                    continue;
                }
                // Its area may be one that a slot of the newest lay in.
                Found::Record(record, _) if record.sequence > self.newest.sequence => {
                    self.newest.forget(record.area);
                }
                _ => {}
            }
            self.go_on();
        }
        None
    }
}
