//! The threads of a block as coroutines: who runs next, and what they do together.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::Order;
use super::fault::{Fault, FaultKind};
use super::memory::{Machine, Memory};
use super::tensor::{self, Fragment};
use super::thread::{Context, Thread};
use crate::device::{Format, Launch, WARP};

/// Which block of which launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) launch: Launch,
    pub(super) block: [u32; 2],
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Barrier,
    Shuffle {
        word: u32,
        lane: u32,
    },
    Vote(bool),
    /// A row of a matrix, for the lanes that get a word of it.
    Row(u32),
    Product(Format, Fragment),
    Fault(FaultKind),
}

/// A thread that stopped, and where.
pub(super) type Stop = (Call, &'static Location<'static>);

/// What a thread goes on with: the numbers that it was given, and the barriers that its block has passed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reply {
    pub(super) words: [u32; 4],
    pub(super) epoch: u32,
}

pub(super) type Yields = Yielder<Reply, Stop>;
type Fibre = Coroutine<Reply, Stop, (), DefaultStack>;

const LANES: usize = WARP as usize;

impl Call {
    /// Whether it is the same as what another lane does.
    fn fits(self, other: Call) -> bool {
        let in_warp = !matches!(self, Call::Shuffle { lane, .. } if lane >= WARP);
        in_warp && std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn is_of_warp(self) -> bool {
        !matches!(self, Call::Barrier | Call::Fault(_))
    }

    fn word(self) -> u32 {
        match self {
            Call::Shuffle { word, .. } | Call::Row(word) => word,
            Call::Vote(yes) => u32::from(yes),
            _ => 0,
        }
    }

    fn fragment(self) -> Fragment {
        match self {
            Call::Product(_, fragment) => fragment,
            _ => Fragment::default(),
        }
    }
}

/// What each lane of a warp gets when all have come.
fn together(given: [Call; LANES]) -> [[u32; 4]; LANES] {
    match given[0] {
        Call::Product(format, _) => tensor::product(format, &given.map(Call::fragment)),
        Call::Vote(_) => {
            let yes = given.map(Call::word).into_iter().enumerate();
            [[yes.fold(0, |bits, (lane, yes)| bits | yes << lane); 4]; LANES]
        }
        _ => std::array::from_fn(|lane| match given[lane] {
            Call::Shuffle { lane, .. } => [given[lane as usize].word(); 4],
            _ => [0, 1, 2, 3].map(|matrix| given[tensor::row_of(lane, matrix)].word()),
        }),
    }
}

struct Block {
    ids: Ids,
    epoch: u32,
    threads: Vec<Fibre>,
    /// Where each thread stopped; none before its start and after its end.
    stops: Vec<Option<Stop>>,
}

/// Bytes of the stack of a thread.
const STACK: usize = 1 << 18;

impl Memory {
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
        self.machine.borrow_mut().forget_visits();
        let mut stacks = Vec::new();
        for block in order.of(across * down) {
            let block = [block % across, block / across];
            let ids = Ids { launch, block };
            self.machine.borrow_mut().share(launch.shared);
            let mut running = Block::start(ids, &self.machine, kernel, parameters, &mut stacks);
            running.run(order)?;
            running.end(&mut stacks);
        }
        Ok(())
    }
}

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
                let context = Context::new(ids, index, reply.epoch, machine, yielder);
                kernel(Thread::of(&context), parameters);
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
            match self.meeting(all.clone()) {
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
    fn meeting(&self, threads: std::ops::Range<u32>) -> Result<bool, u32> {
        let stop_of = |thread: u32| self.stops[thread as usize];
        let first = stop_of(threads.start);
        for thread in threads.clone() {
            let same = match (first, stop_of(thread)) {
                (None, None) => true,
                (Some((first, at)), Some((call, place))) => at == place && call.fits(first),
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
        let mut replies = [[0; 4]; LANES];
        loop {
            for lane in order.of(WARP) {
                let thread = lanes.start + lane;
                self.resume(thread, replies[lane as usize])?;
            }
            let own = lanes.start as usize..lanes.end as usize;
            let meets = |stop: &Option<Stop>| stop.is_some_and(|(call, _)| call.is_of_warp());
            if !self.stops[own.clone()].iter().any(meets) {
                return Ok(());
            }
            if let Err(thread) = self.meeting(lanes.clone()) {
                return Err(self.fault(thread, FaultKind::Shuffle));
            }
            let stops = &mut self.stops[own];
            let mut given = [Call::Barrier; LANES];
            for (given, stop) in given.iter_mut().zip(stops) {
                if let Some((call, _)) = stop.take() {
                    *given = call;
                }
            }
            replies = together(given);
        }
    }

    /// One thread to where it stops next.
    fn resume(&mut self, thread: u32, words: [u32; 4]) -> Result<(), Fault> {
        let index = thread as usize;
        if self.threads[index].done() {
            self.stops[index] = None;
            return Ok(());
        }
        if self.stops[index].is_some() {
            return Ok(());
        }
        let epoch = self.epoch;
        self.stops[index] = match self.threads[index].resume(Reply { words, epoch }) {
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
