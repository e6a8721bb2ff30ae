//! A thread of the emulated GPU, with the methods of one of NVPTX.

use core::fmt::{Debug, Formatter, Result as FmtResult};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::rc::Rc;

use super::block::{Call, Ids, Yields};
use super::fault::FaultKind;
use super::memory::{Machine, Place};
use super::tensor::{self, Fragment};
use super::visits::Visitor;
use crate::device::{Element, Format, Global, Shared, WARP};
use crate::lanes::F32;

/// What a thread knows of itself.
pub(super) struct Context<'a> {
    ids: Ids,
    index: u32,
    epoch: Cell<u32>,
    machine: Rc<RefCell<Machine>>,
    /// Words that its copies are on their way to: of each group, and last of the group that is open.
    copies: RefCell<VecDeque<Vec<Place>>>,
    yielder: &'a Yields,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        ids: Ids,
        index: u32,
        epoch: u32,
        machine: Rc<RefCell<Machine>>,
        yielder: &'a Yields,
    ) -> Self {
        Context {
            ids,
            index,
            epoch: Cell::new(epoch),
            machine,
            copies: RefCell::new(VecDeque::from([Vec::new()])),
            yielder,
        }
    }
}

/// What a thread is and can do.
#[derive(Clone, Copy)]
pub struct Thread<'a> {
    context: &'a Context<'a>,
}

impl Debug for Thread<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "Thread({})", self.index())
    }
}

impl<'a> Thread<'a> {
    pub(super) fn of(context: &'a Context<'a>) -> Self {
        Thread { context }
    }
}

impl Thread<'_> {
    /// The index of the thread in its block.
    pub fn index(self) -> u32 {
        self.context.index
    }

    /// Threads per block.
    pub fn threads(self) -> u32 {
        self.context.ids.launch.threads
    }

    /// The index of the block, across.
    pub fn block(self) -> u32 {
        self.context.ids.block[0]
    }

    /// The index of the block, down.
    pub fn block_y(self) -> u32 {
        self.context.ids.block[1]
    }

    /// Blocks across.
    pub fn blocks(self) -> u32 {
        self.context.ids.launch.blocks[0]
    }

    /// The index of the thread in its warp.
    pub fn lane(self) -> u32 {
        self.index() % WARP
    }

    /// The same number, as if it were not known before: so that what follows from it is computed where it is used, and takes no
    /// register earlier.
    pub fn here(self, x: u32) -> u32 {
        x
    }

    /// Waits for all threads of the block; what they wrote before is seen after.
    #[track_caller]
    pub fn sync_threads(self) {
        self.stop(Call::Barrier);
    }

    /// The number that the lane `lane` xor `mask` gives.
    #[track_caller]
    pub fn shuffle_xor<T: Element>(self, x: T, mask: u32) -> T {
        self.shuffle(x, self.lane() ^ mask)
    }

    /// The number that lane `lane` gives.
    #[track_caller]
    pub fn shuffle<T: Element>(self, x: T, lane: u32) -> T {
        let word = x.to_word();
        T::from_word(self.stop(Call::Shuffle { word, lane })[0])
    }

    /// Which lanes say yes: a bit for each.
    #[track_caller]
    pub fn ballot(self, yes: bool) -> u32 {
        self.stop(Call::Vote(yes))[0]
    }

    /// A number of global memory.
    #[track_caller]
    pub fn read<T: Element>(self, from: Global<T>, index: usize) -> T {
        T::from_word(self.read_at(Place::of(from, index)))
    }

    /// Writes a number to global memory.
    #[track_caller]
    pub fn write<T: Element>(self, to: Global<T>, index: usize, x: T) {
        self.write_at(Place::of(to, index), x.to_word());
    }

    /// Sixteen bytes of global memory, from an index on whose address is a multiple of 16.
    #[track_caller]
    pub fn read_16_bytes<T: Element>(self, from: Global<T>, index: usize) -> [u32; 4] {
        self.aligned(from.at(index), 16, false);
        let mut words = [0; 4];
        for i in 0..16 / T::BYTES {
            let number = self.read_at(Place::of(from, index + i as usize));
            let (word, bit) = (i * T::BYTES / 4, 8 * (i * T::BYTES % 4));
            words[word as usize] |= number << bit;
        }
        words
    }

    /// Writes sixteen bytes of global memory, from an index on whose address is a multiple of 16.
    #[track_caller]
    pub fn write_16_bytes<T: Element>(self, to: Global<T>, index: usize, words: [u32; 4]) {
        self.aligned(to.at(index), 16, false);
        for i in 0..16 / T::BYTES {
            let (word, bit) = (i * T::BYTES / 4, 8 * (i * T::BYTES % 4));
            let number = T::from_word(words[word as usize] >> bit);
            self.write_at(Place::of(to, index + i as usize), number.to_word());
        }
    }

    /// A number of shared memory.
    #[track_caller]
    pub fn read_shared<T: Element>(self, from: Shared<T>, index: u32) -> T {
        T::from_word(self.read_at(Place::of_shared(from.first, from.len, index)))
    }

    /// Four numbers of shared memory, from an index that is a multiple of 4 on.
    #[track_caller]
    pub fn read_shared_four(self, from: Shared<F32>, index: u32) -> [F32; 4] {
        self.aligned(u64::from(from.first + index), 4, true);
        let mut four = [F32(0.0); 4];
        for i in 0..4 {
            four[i as usize] = self.read_shared(from, index + i);
        }
        four
    }

    /// Writes a number to shared memory.
    #[track_caller]
    pub fn write_shared<T: Element>(self, to: Shared<T>, index: u32, x: T) {
        self.write_at(Place::of_shared(to.first, to.len, index), x.to_word());
    }

    /// Starts to copy four words of global to shared memory, from indices that are multiples of 4 on; zeros where they
    /// are not `there`. Who reads them waits for the copy and meets who started it.
    #[track_caller]
    pub fn copy_async(
        self,
        to: Shared<u32>,
        index: u32,
        from: Global<u32>,
        at: usize,
        there: bool,
    ) {
        self.aligned(u64::from(to.first + index), 4, true);
        self.aligned(from.at(at), 16, false);
        for i in 0..4 {
            let bits = if there {
                self.read_at(Place::of(from, at + i as usize))
            } else {
                0
            };
            let place = Place::of_shared(to.first, to.len, index + i);
            self.try_with(|machine, by| machine.start_copy(by, place, bits));
            let mut copies = self.context.copies.borrow_mut();
            copies.back_mut().expect("a group is open").push(place);
        }
    }

    /// The copies so far are a group.
    pub fn commit_copies(self) {
        self.context.copies.borrow_mut().push_back(Vec::new());
    }

    /// Waits for all groups of copies of this thread but the latest `N`.
    #[track_caller]
    pub fn wait_copies<const N: usize>(self) {
        loop {
            let ended = {
                let mut copies = self.context.copies.borrow_mut();
                if copies.len() <= N + 1 {
                    return;
                }
                copies.pop_front().unwrap_or_default()
            };
            for place in ended {
                self.try_with(|machine, by| machine.end_copy(by, place));
            }
        }
    }

    /// Four matrices of 8 rows of 4 words: lane l gives where row l % 8 of matrix l / 8 starts, a multiple of 4, and gets
    /// word l % 4 of row l / 4 of each.
    #[track_caller]
    pub fn load_matrices(self, from: Shared<u32>, index: u32) -> [u32; 4] {
        self.aligned(u64::from(from.first + index), 4, true);
        let mut words = self.stop(Call::Row(index));
        for matrix in 0..4 {
            words[matrix] = self.read_shared(from, words[matrix] + self.lane() % 4);
        }
        words
    }

    /// A·B + C of a warp: 16 rows and 8 columns of 8 words, as the lanes hold them.
    #[track_caller]
    pub fn product(self, format: Format, a: [u32; 4], b: [u32; 2], c: [u32; 4]) -> [u32; 4] {
        self.stop(Call::Product(format, Fragment { a, b, c }))
    }

    /// The nearest number of TF32, of two the one away from zero.
    pub fn to_tf32(self, x: F32) -> u32 {
        tensor::to_tf32(x.0)
    }

    #[track_caller]
    fn aligned(self, address: u64, to: u64, shared: bool) {
        if !address.is_multiple_of(to) {
            self.stop(Call::Fault(FaultKind::Misaligned { shared, address }));
        }
    }

    #[track_caller]
    fn read_at(self, place: Place) -> u32 {
        self.try_with(|machine, by| machine.read(by, place))
    }

    #[track_caller]
    fn write_at(self, place: Place, bits: u32) {
        self.try_with(|machine, by| machine.write(by, place, bits));
    }

    /// Does something with the memory; a fault ends the thread.
    #[track_caller]
    fn try_with<R: Default>(
        self,
        call: impl FnOnce(&mut Machine, Visitor) -> Result<R, FaultKind>,
    ) -> R {
        let [across, _] = self.context.ids.launch.blocks;
        let block = self.block_y() * across + self.block();
        let by = Visitor {
            thread: block * self.threads() + self.index() + 1,
            threads: self.threads(),
            epoch: self.context.epoch.get(),
        };
        let found = call(&mut self.context.machine.borrow_mut(), by);
        match found {
            Ok(found) => found,
            Err(kind) => {
                self.stop(Call::Fault(kind));
                R::default()
            }
        }
    }

    /// Gives way to the others; goes on with what they give.
    #[track_caller]
    fn stop(self, call: Call) -> [u32; 4] {
        let reply = self.context.yielder.suspend((call, Location::caller()));
        self.context.epoch.set(reply.epoch);
        reply.words
    }
}
