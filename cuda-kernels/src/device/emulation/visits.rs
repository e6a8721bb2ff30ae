//! Races: who was at a word since the last barrier.

/// Who was at a word, and when: threads counted through all blocks, from 1; 0 is nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Visits {
    writer: u32,
    written: u32,
    reader: u32,
    read: u32,
    /// Threads of two blocks have read it.
    read_by_blocks: bool,
    /// Two threads of one block have read it since a barrier.
    read_by_several: bool,
}

/// Who comes to a word, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    /// From 1.
    pub(super) thread: u32,
    /// Of a block.
    pub(super) threads: u32,
    /// Barriers that its block has passed.
    pub(super) epoch: u32,
}

impl Visitor {
    fn same_block(self, other: u32) -> bool {
        (self.thread - 1) / self.threads == (other - 1) / self.threads
    }

    /// Whether what the other did then may happen at the same time as what this one does now.
    fn meets(self, other: u32, then: u32) -> bool {
        other != 0 && other != self.thread && (!self.same_block(other) || then == self.epoch)
    }
}

impl Visits {
    /// The other thread of a race, if there is one.
    pub(super) fn read(&mut self, by: Visitor) -> Option<u32> {
        if by.meets(self.writer, self.written) {
            return Some(self.writer);
        }
        if self.reader != 0 && !by.same_block(self.reader) {
            self.read_by_blocks = true;
        }
        let now = self.reader != 0 && self.read == by.epoch;
        self.read_by_several = now && (self.read_by_several || self.reader != by.thread);
        (self.reader, self.read) = (by.thread, by.epoch);
        None
    }

    /// As [`Visits::read`].
    pub(super) fn write(&mut self, by: Visitor) -> Option<u32> {
        if by.meets(self.writer, self.written) {
            return Some(self.writer);
        }
        let several = self.read_by_several && self.read == by.epoch;
        if self.read_by_blocks || several || by.meets(self.reader, self.read) {
            return Some(self.reader);
        }
        (self.writer, self.written) = (by.thread, by.epoch);
        None
    }
}
