//! A GPU on the host, one thread at a time: for tests, not for speed.
//!
//! The threads of a block are coroutines. One runs until it meets others, at a barrier or where lanes exchange numbers;
//! blocks run one after the other. So every run is the same, and so is its result in either [`Order`] unless the kernel
//! depends on who comes first.
//!
//! What a GPU would do silently is a [`Fault`] that names the kernel, the block, the thread and the address: an access
//! outside the view or the allocation, a read of what nobody wrote, two threads at one word without a barrier between
//! them where one writes, a barrier or a shuffle that not all reach.

use core::fmt::{Display, Formatter, Result as FmtResult};
use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::{BYTES, Element, Global, Launch, Shared, WARP};
use crate::lanes::F32;

/// a·b + c, rounded once.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// √x, rounded to nearest.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

/// In which order blocks and threads run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    #[default]
    Forward,
    /// The last one first.
    Backward,
}

/// Where a thread went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kernel.
    pub kernel: &'static str,
    /// The block, across and down.
    pub block: [u32; 2],
    /// The thread in it.
    pub thread: u32,
    /// What it did.
    pub kind: FaultKind,
    /// The line of the kernel, or of what it called.
    pub place: &'static Location<'static>,
}

/// What went wrong. Addresses of global memory are the emulation's; those of shared memory are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An index beyond the view, or an address beyond the memory that was given out.
    OutOfBounds {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// Four numbers at an address that is not a multiple of four words.
    Misaligned {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// A number that was never written.
    Uninitialised {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// Another thread was at this word since the last barrier, and one of the two writes.
    Race {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
        /// The other thread, counted through all blocks; one of several.
        other: u32,
    },
    /// A barrier that not all threads of the block reach, or not at the same line.
    Barrier,
    /// A shuffle or a vote that not all lanes of the warp reach, or not at the same line.
    Shuffle,
    /// A launch without threads, or with a warp that is not whole.
    Launch,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let [x, y] = self.block;
        let Fault { kernel, thread, .. } = self;
        write!(f, "{kernel}: block ({x}, {y}), thread {thread}: ")?;
        let memory = |shared| if shared { "shared word" } else { "address" };
        match self.kind {
            FaultKind::OutOfBounds { shared, address } => {
                write!(f, "{} {address:#x} is out of bounds", memory(shared))
            }
            FaultKind::Misaligned { shared, address } => {
                write!(f, "{} {address:#x} is misaligned", memory(shared))
            }
            FaultKind::Uninitialised { shared, address } => {
                write!(f, "{} {address:#x} was never written", memory(shared))
            }
            FaultKind::Race {
                shared,
                address,
                other,
            } => {
                let memory = memory(shared);
                write!(
                    f,
                    "{memory} {address:#x}: a race with thread {other} of all"
                )
            }
            FaultKind::Barrier => f.write_str("a barrier that not all threads reach"),
            FaultKind::Shuffle => f.write_str("a shuffle that not all lanes reach"),
            FaultKind::Launch => f.write_str("no whole warps to launch"),
        }?;
        write!(f, " (at {})", self.place)
    }
}

impl core::error::Error for Fault {}

/// Who was at a word, and when: threads counted through all blocks, from 1; 0 is nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Visits {
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
struct Visitor {
    /// From 1.
    thread: u32,
    threads: u32,
    /// Barriers that its block has passed.
    epoch: u32,
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
    fn read(&mut self, by: Visitor) -> Option<u32> {
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

    fn write(&mut self, by: Visitor) -> Option<u32> {
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

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    bits: u32,
    is_written: bool,
    visits: Visits,
}

/// Allocations lie this far apart: no index that a kernel computes by mistake lands in another one.
const APART: u64 = 1 << 40;

/// The memory of the emulated device.
#[derive(Debug, Default)]
pub struct Memory {
    machine: Rc<RefCell<Machine>>,
}

#[derive(Debug, Default)]
struct Machine {
    global: Vec<Vec<Word>>,
    shared: Vec<Word>,
}

impl Machine {
    /// The words of global memory from an address on.
    fn global(&mut self, address: u64) -> Option<&mut Word> {
        let allocation = usize::try_from(address / APART).ok()?.checked_sub(1)?;
        let word = usize::try_from(address % APART / BYTES).ok()?;
        self.global.get_mut(allocation)?.get_mut(word)
    }
}

impl Memory {
    /// Nothing is allocated yet.
    pub fn new() -> Self {
        Memory::default()
    }

    fn push<T: Element>(&mut self, words: Vec<Word>) -> Global<T> {
        let mut machine = self.machine.borrow_mut();
        let len = words.len() as u64;
        machine.global.push(words);
        Global::new(machine.global.len() as u64 * APART, len)
    }

    /// Room for `len` numbers that nobody has written: to read them is a fault.
    pub fn room<T: Element>(&mut self, len: usize) -> Global<T> {
        self.push(vec![Word::default(); len])
    }

    /// A copy of some numbers.
    pub fn copy<T: Element>(&mut self, numbers: &[T]) -> Global<T> {
        let word = |x: &T| Word {
            bits: x.to_word(),
            is_written: true,
            visits: Visits::default(),
        };
        self.push(numbers.iter().map(word).collect())
    }

    /// A copy of some `f32`.
    pub fn copy_f32(&mut self, numbers: &[f32]) -> Global<F32> {
        let numbers: Vec<F32> = numbers.iter().copied().map(F32).collect();
        self.copy(&numbers)
    }

    /// The numbers of a view; zeros where nobody wrote.
    pub fn numbers<T: Element>(&self, view: Global<T>) -> Vec<T> {
        let mut machine = self.machine.borrow_mut();
        let mut word = |index| machine.global(view.at(index)).map_or(0, |word| word.bits);
        let words: Vec<u32> = (0..view.len()).map(&mut word).collect();
        words.into_iter().map(T::from_word).collect()
    }

    /// The `f32` of a view.
    pub fn numbers_f32(&self, view: Global<F32>) -> Vec<f32> {
        self.numbers(view).into_iter().map(f32::from).collect()
    }

    /// Overwrites the start of a view; what lies outside the memory that was given out is left alone.
    pub fn store<T: Element>(&mut self, to: Global<T>, numbers: &[T]) {
        let mut machine = self.machine.borrow_mut();
        for (index, x) in numbers.iter().take(to.len()).enumerate() {
            if let Some(word) = machine.global(to.at(index)) {
                (word.bits, word.is_written) = (x.to_word(), true);
            }
        }
    }

    /// Takes back what begins at this address: to use it from now on is a fault.
    pub fn release(&mut self, address: u64) {
        let mut machine = self.machine.borrow_mut();
        let allocation = usize::try_from(address / APART).unwrap_or(usize::MAX);
        if let Some(words) = allocation
            .checked_sub(1)
            .and_then(|index| machine.global.get_mut(index))
        {
            *words = Vec::new();
        }
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The first [`Fault`] of its threads.
    #[track_caller]
    pub fn launch<P: Copy + 'static>(
        &mut self,
        launch: Launch,
        order: Order,
        kernel: fn(Thread<'_>, P),
        parameters: P,
    ) -> Result<(), Fault> {
        let place = Location::caller();
        let [across, down] = launch.blocks;
        let whole = launch.threads > 0 && launch.threads.is_multiple_of(WARP);
        if !whole || across == 0 || down == 0 {
            return Err(Fault {
                kernel: launch.kernel,
                block: [0, 0],
                thread: 0,
                kind: FaultKind::Launch,
                place,
            });
        }
        for words in &mut self.machine.borrow_mut().global {
            for word in words {
                word.visits = Visits::default();
            }
        }
        let mut stacks = Vec::new();
        for block in order.of(across * down) {
            let block = [block % across, block / across];
            let ids = Ids { launch, block };
            self.machine.borrow_mut().shared = vec![Word::default(); launch.shared as usize];
            let mut running = Block::start(ids, &self.machine, kernel, parameters, &mut stacks);
            running.run(order)?;
            running.end(&mut stacks);
        }
        Ok(())
    }
}

impl Order {
    fn of(self, n: u32) -> Box<dyn Iterator<Item = u32>> {
        match self {
            Order::Forward => Box::new(0..n),
            Order::Backward => Box::new((0..n).rev()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ids {
    launch: Launch,
    block: [u32; 2],
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug)]
enum Call {
    Barrier,
    Exchange { word: u32, lane: u32 },
    Vote(bool),
    Fault(FaultKind),
}

/// A thread that stopped, and where.
type Stop = (Call, &'static Location<'static>);

/// What a thread goes on with: the number that it was given, and the barriers that its block has passed.
#[derive(Clone, Copy, Debug, Default)]
struct Reply {
    word: u32,
    epoch: u32,
}

type Fibre = Coroutine<Reply, Stop, (), DefaultStack>;

struct Block {
    ids: Ids,
    epoch: u32,
    threads: Vec<Fibre>,
    /// Where each thread stopped; none before its start and after its end.
    stops: Vec<Option<Stop>>,
}

/// Bytes of the stack of a thread.
const STACK: usize = 1 << 18;

impl Block {
    fn start<P: Copy + 'static>(
        ids: Ids,
        machine: &Rc<RefCell<Machine>>,
        kernel: fn(Thread<'_>, P),
        parameters: P,
        stacks: &mut Vec<DefaultStack>,
    ) -> Self {
        let fibre = |index| {
            let machine = Rc::clone(machine);
            let stack = stacks.pop().unwrap_or_else(|| {
                DefaultStack::new(STACK).expect("memory for the stack of a thread")
            });
            Fibre::with_stack(stack, move |yielder, reply: Reply| {
                let context = Context {
                    ids,
                    index,
                    epoch: RefCell::new(reply.epoch),
                    machine,
                    yielder,
                };
                kernel(Thread { context: &context }, parameters);
            })
        };
        let threads: Vec<Fibre> = (0..ids.launch.threads).map(fibre).collect();
        Block {
            ids,
            epoch: 0,
            stops: vec![None; threads.len()],
            threads,
        }
    }

    /// From barrier to barrier, to the end.
    fn run(&mut self, order: Order) -> Result<(), Fault> {
        let all = 0..self.ids.launch.threads;
        loop {
            for warp in order.of(self.ids.launch.threads / WARP) {
                self.run_warp(warp * WARP..(warp + 1) * WARP, order)?;
            }
            let waiting = self.meeting(all.clone(), |call| matches!(call, Call::Barrier));
            match waiting {
                Err(thread) => return Err(self.fault(thread, FaultKind::Barrier)),
                Ok(false) => return Ok(()),
                Ok(true) => self.epoch += 1,
            }
            for stop in &mut self.stops {
                *stop = None;
            }
        }
    }

    /// Whether all of these threads wait for each other, or all have ended; else one that does not fit.
    fn meeting(
        &self,
        threads: std::ops::Range<u32>,
        fits: impl Fn(Call) -> bool,
    ) -> Result<bool, u32> {
        let stop_of = |thread: u32| self.stops[thread as usize];
        let first = stop_of(threads.start);
        for thread in threads.clone() {
            let same = match (first, stop_of(thread)) {
                (None, None) => true,
                (Some((_, at)), Some((call, place))) => at == place && fits(call),
                _ => false,
            };
            if !same {
                // Of a thread that waits and one that has ended, the one that waits.
                let waits = stop_of(thread).is_some();
                return Err(if waits { thread } else { threads.start });
            }
        }
        Ok(first.is_some())
    }

    /// The lanes of a warp to their next barrier, or to their end.
    fn run_warp(&mut self, lanes: std::ops::Range<u32>, order: Order) -> Result<(), Fault> {
        let mut words = [0; WARP as usize];
        loop {
            for lane in order.of(WARP) {
                let thread = lanes.start + lane;
                self.resume(thread, words[lane as usize])?;
            }
            let stops = &self.stops[lanes.start as usize..lanes.end as usize];
            let meets_lanes = |stop: &Option<Stop>| {
                matches!(stop, Some((Call::Exchange { .. } | Call::Vote(_), _)))
            };
            let Some(lane) = stops.iter().position(meets_lanes) else {
                return Ok(());
            };
            let vote = matches!(stops[lane], Some((Call::Vote(_), _)));
            let fits = |call| match call {
                Call::Vote(_) => vote,
                Call::Exchange { lane, .. } => !vote && lane < WARP,
                _ => false,
            };
            if let Err(thread) = self.meeting(lanes.clone(), fits) {
                return Err(self.fault(thread, FaultKind::Shuffle));
            }
            let stops = &mut self.stops[lanes.start as usize..lanes.end as usize];
            let given: Vec<Call> = stops
                .iter_mut()
                .flat_map(|stop| stop.take())
                .map(|s| s.0)
                .collect();
            for (word, call) in words.iter_mut().zip(&given) {
                *word = match call {
                    Call::Exchange { lane, .. } => match given[*lane as usize] {
                        Call::Exchange { word, .. } => word,
                        _ => 0,
                    },
                    _ => given.iter().enumerate().fold(0, |bits, (lane, call)| {
                        bits | u32::from(matches!(call, Call::Vote(true))) << lane
                    }),
                };
            }
        }
    }

    /// One thread to where it stops next.
    fn resume(&mut self, thread: u32, word: u32) -> Result<(), Fault> {
        let index = thread as usize;
        if self.threads[index].done() {
            self.stops[index] = None;
            return Ok(());
        }
        if self.stops[index].is_some() {
            return Ok(());
        }
        let reply = Reply {
            word,
            epoch: self.epoch,
        };
        self.stops[index] = match self.threads[index].resume(reply) {
            CoroutineResult::Yield(stop) => Some(stop),
            CoroutineResult::Return(()) => None,
        };
        match self.stops[index] {
            Some((Call::Fault(kind), _)) => Err(self.fault(thread, kind)),
            _ => Ok(()),
        }
    }

    fn fault(&self, thread: u32, kind: FaultKind) -> Fault {
        let place = self.stops[thread as usize].map_or(Location::caller(), |(_, place)| place);
        Fault {
            kernel: self.ids.launch.kernel,
            block: self.ids.block,
            thread,
            kind,
            place,
        }
    }

    fn end(self, stacks: &mut Vec<DefaultStack>) {
        stacks.extend(self.threads.into_iter().map(Coroutine::into_stack));
    }
}

struct Context<'a> {
    ids: Ids,
    index: u32,
    epoch: RefCell<u32>,
    machine: Rc<RefCell<Machine>>,
    yielder: &'a Yielder<Reply, Stop>,
}

/// What a thread is and can do.
#[derive(Clone, Copy)]
pub struct Thread<'a> {
    context: &'a Context<'a>,
}

impl core::fmt::Debug for Thread<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "Thread({})", self.index())
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
        T::from_word(self.stop(Call::Exchange { word, lane }))
    }

    /// Which lanes say yes: a bit for each.
    #[track_caller]
    pub fn ballot(self, yes: bool) -> u32 {
        self.stop(Call::Vote(yes))
    }

    /// A number of global memory.
    #[track_caller]
    pub fn read<T: Element>(self, from: Global<T>, index: usize) -> T {
        T::from_word(self.visit(false, from.at(index), index < from.len(), None))
    }

    /// Writes a number to global memory.
    #[track_caller]
    pub fn write<T: Element>(self, to: Global<T>, index: usize, x: T) {
        self.visit(false, to.at(index), index < to.len(), Some(x.to_word()));
    }

    /// A number of shared memory.
    #[track_caller]
    pub fn read_shared<T: Element>(self, from: Shared<T>, index: u32) -> T {
        let word = u64::from(from.first) + u64::from(index);
        T::from_word(self.visit(true, word, index < from.len, None))
    }

    /// Four numbers of shared memory, from an index that is a multiple of 4 on.
    #[track_caller]
    pub fn read_shared_four(self, from: Shared<F32>, index: u32) -> [F32; 4] {
        let address = u64::from(from.first + index);
        if !address.is_multiple_of(4) {
            let shared = true;
            self.stop(Call::Fault(FaultKind::Misaligned { shared, address }));
        }
        [0, 1, 2, 3].map(|i| self.read_shared(from, index + i))
    }

    /// Writes a number to shared memory.
    #[track_caller]
    pub fn write_shared<T: Element>(self, to: Shared<T>, index: u32, x: T) {
        let word = u64::from(to.first) + u64::from(index);
        self.visit(true, word, index < to.len, Some(x.to_word()));
    }

    /// One word, read or written.
    #[track_caller]
    fn visit(self, shared: bool, address: u64, in_view: bool, write: Option<u32>) -> u32 {
        match self.try_visit(shared, address, in_view, write) {
            Ok(word) => word,
            Err(kind) => self.stop(Call::Fault(kind)),
        }
    }

    fn try_visit(
        self,
        shared: bool,
        address: u64,
        in_view: bool,
        write: Option<u32>,
    ) -> Result<u32, FaultKind> {
        let [across, _] = self.context.ids.launch.blocks;
        let block = self.block_y() * across + self.block();
        let by = Visitor {
            thread: block * self.threads() + self.index() + 1,
            threads: self.threads(),
            epoch: *self.context.epoch.borrow(),
        };
        let mut machine = self.context.machine.borrow_mut();
        let word = if shared {
            machine.shared.get_mut(address as usize)
        } else {
            machine.global(address)
        };
        let word = word.filter(|_| in_view);
        let word = word.ok_or(FaultKind::OutOfBounds { shared, address })?;
        let race = |other: u32| FaultKind::Race {
            shared,
            address,
            other: other - 1,
        };
        match write {
            Some(bits) => {
                word.visits
                    .write(by)
                    .map_or(Ok(()), |other| Err(race(other)))?;
                (word.bits, word.is_written) = (bits, true);
            }
            None => {
                word.visits
                    .read(by)
                    .map_or(Ok(()), |other| Err(race(other)))?;
                if !word.is_written {
                    return Err(FaultKind::Uninitialised { shared, address });
                }
            }
        }
        Ok(word.bits)
    }

    /// Gives way to the others; goes on with what they give.
    #[track_caller]
    fn stop(self, call: Call) -> u32 {
        let reply = self.context.yielder.suspend((call, Location::caller()));
        *self.context.epoch.borrow_mut() = reply.epoch;
        reply.word
    }
}
