//! A driver without a GPU, for tests: it runs the kernels by the emulation of `rivergram-cuda-kernels`, one thread at a
//! time, and fails when it is told to.
//!
//! A kernel that faults, with an access outside its views, a race or a barrier that not all reach, is a mistake of this
//! library, not a failure of a device: then this panics with the fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use rivergram_cuda_kernels::device::{Element, Fault, Global, Launch, Memory, Order};
use rivergram_cuda_kernels::kernels::eisl::{Eisl, Logit};
use rivergram_cuda_kernels::kernels::{
    basis, contrastive, eisl, optim, pairs, prepare, search, tensor,
};
use rivergram_cuda_kernels::lanes::{Bf16, F32};

use super::Failure;
use super::driver::{
    Driver, EislPass, GramPass, Mark, Numbers, Properties, Room, Task, TensorPass,
};

/// What the device is, and what fails.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// In which order its threads run.
    pub order: Order,
    /// Its compute capability: it decides which kernels there are.
    pub capability: (u32, u32),
    /// Its multiprocessors: they decide how many blocks there are.
    pub multiprocessors: u32,
    /// Bytes of its memory.
    pub memory: u64,
    /// Allocations from this one on fail, counted from 0, though memory is free.
    pub fails_allocation: Option<u64>,
    /// Copies, zeros and waits from this one on fail.
    pub fails_copy: Option<u64>,
    /// Launches from this one on fail.
    pub fails_launch: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            order: Order::Forward,
            capability: (9, 0),
            multiprocessors: 1,
            memory: 1 << 32,
            fails_allocation: None,
            fails_copy: None,
            fails_launch: None,
        }
    }
}

/// What a device was asked for so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations.
    pub allocations: u64,
    /// Copies, zeros and waits.
    pub copies: u64,
    /// Launches.
    pub launches: u64,
    /// Downloads and waits: what the host waited for.
    pub waits: u64,
    /// Bytes that are given out.
    pub bytes: u64,
    /// The most that were at a time.
    pub most_bytes: u64,
}

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// The driver. A copy of it is the same device.
#[derive(Clone, Debug)]
pub struct Emulated {
    settings: Settings,
    /// The memory lives on a thread of its own.
    work: mpsc::Sender<Work>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    /// Bytes of what is given out, by address, and of a number there.
    given: BTreeMap<u64, (u64, u64)>,
    marks: [Option<Instant>; 2],
}

impl Emulated {
    /// A device with nothing in its memory.
    pub fn new(settings: Settings) -> Self {
        let (work, received) = mpsc::channel::<Work>();
        thread::spawn(move || {
            let mut memory = Memory::new();
            for work in received {
                work(&mut memory);
            }
        });
        Emulated {
            settings,
            work,
            state: Arc::default(),
        }
    }

    /// What it was asked for so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the memory, and waits for it.
    fn on<R: Send + 'static>(&self, work: impl FnOnce(&mut Memory) -> R + Send + 'static) -> R {
        let (answer, received) = mpsc::channel();
        let work: Work = Box::new(move |memory| {
            let _ = answer.send(work(memory));
        });
        self.work.send(work).expect("the thread of the device");
        received.recv().expect("an answer of the device")
    }

    /// Memory for some numbers.
    fn room<T: Element>(&self, numbers: usize) -> Result<u64, Failure> {
        let need = (T::BYTES * numbers as u64).next_multiple_of(4);
        let mut state = self.state();
        let this = state.counts.allocations;
        state.counts.allocations += 1;
        let free = self.settings.memory - state.counts.bytes;
        let fails = self.settings.fails_allocation;
        if need > free || fails.is_some_and(|first| this >= first) {
            return Err(Failure::Memory { need, free });
        }
        let address = self.on(move |memory| memory.room::<T>(numbers).at(0));
        state.given.insert(address, (need, T::BYTES));
        state.counts.bytes += need;
        state.counts.most_bytes = state.counts.most_bytes.max(state.counts.bytes);
        Ok(address)
    }

    /// What is there.
    fn numbers<T: Element + Send>(&self, from: u64, len: u64) -> Vec<T> {
        self.on(move |memory| memory.numbers(Global::new(from, len)))
    }

    /// Writes there.
    fn store<T: Element + Send>(&self, to: u64, numbers: Vec<T>) {
        let to = Global::new(to, numbers.len() as u64);
        self.on(move |memory| memory.store(to, &numbers));
    }

    /// Counts a copy; fails where it is told to.
    fn moves(&self) -> Result<(), Failure> {
        let mut state = self.state();
        let this = state.counts.copies;
        state.counts.copies += 1;
        match self.settings.fails_copy {
            Some(first) if this >= first => Err(Failure::Driver {
                call: "cuMemcpyAsync",
                code: 719,
            }),
            _ => Ok(()),
        }
    }
}

impl Driver for Emulated {
    fn properties(&self) -> Properties {
        Properties {
            name: "emulation".to_string(),
            capability: self.settings.capability,
            multiprocessors: self.settings.multiprocessors,
        }
    }

    fn free_bytes(&mut self) -> Result<u64, Failure> {
        Ok(self.settings.memory - self.state().counts.bytes)
    }

    fn allocate(&mut self, words: usize) -> Result<u64, Failure> {
        self.room::<F32>(words)
    }

    fn allocate_halves(&mut self, numbers: usize) -> Result<u64, Failure> {
        self.room::<Bf16>(numbers)
    }

    fn free(&mut self, address: u64) {
        let mut state = self.state();
        let (bytes, _) = state.given.remove(&address).expect("an allocation");
        state.counts.bytes -= bytes;
        self.on(move |memory| memory.release(address));
    }

    fn zero(&mut self, at: u64, words: usize) -> Result<(), Failure> {
        self.moves()?;
        self.store(at, vec![F32(0.0); words]);
        Ok(())
    }

    fn upload(&mut self, numbers: Numbers<'_>, to: u64) -> Result<(), Failure> {
        self.moves()?;
        match numbers {
            Numbers::F32(x) => self.store(to, x.iter().copied().map(F32).collect()),
            Numbers::I32(x) => self.store(to, x.to_vec()),
            Numbers::U32(x) => self.store(to, x.to_vec()),
            Numbers::U16(x) => self.store(to, x.iter().copied().map(Bf16).collect()),
        }
        Ok(())
    }

    fn download(&mut self, parts: &mut [(u64, Room<'_>)]) -> Result<(), Failure> {
        self.wait()?;
        for (from, room) in parts {
            let (from, len) = (*from, room.len() as u64);
            match room {
                Room::F32(x) => {
                    let numbers = x.iter_mut().zip(self.numbers::<F32>(from, len));
                    numbers.for_each(|(x, number)| *x = number.0);
                }
                Room::U32(x) => x.copy_from_slice(&self.numbers(from, len)),
                Room::U16(x) => {
                    let numbers = x.iter_mut().zip(self.numbers::<Bf16>(from, len));
                    numbers.for_each(|(x, number)| *x = number.0);
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, launch: Launch, task: &Task) -> Result<(), Failure> {
        if task.is_on_tensor_cores() && self.settings.capability.0 < 8 {
            return Err(Failure::NoKernel(launch.kernel));
        }
        let this = {
            let mut state = self.state();
            state.counts.launches += 1;
            state.counts.launches - 1
        };
        if self
            .settings
            .fails_launch
            .is_some_and(|first| this >= first)
        {
            let kernel = launch.kernel;
            return Err(Failure::Launch { kernel, code: 719 });
        }
        let (order, task) = (self.settings.order, *task);
        if let Err(fault) = self.on(move |memory| run(memory, launch, order, task)) {
            panic!("{fault}");
        }
        Ok(())
    }

    fn copy(&mut self, from: u64, to: u64, words: usize) -> Result<(), Failure> {
        self.moves()?;
        let halves = {
            let state = self.state();
            let given = state.given.range(..=from).next_back();
            given.is_some_and(|(_, (_, bytes))| *bytes == Bf16::BYTES)
        };
        if halves {
            self.store(to, self.numbers::<Bf16>(from, 2 * words as u64));
        } else {
            self.store(to, self.numbers::<u32>(from, words as u64));
        }
        Ok(())
    }

    fn mark(&mut self, which: Mark) -> Result<(), Failure> {
        self.state().marks[which as usize] = Some(Instant::now());
        Ok(())
    }

    fn between(&mut self) -> Result<f32, Failure> {
        let marks = self.state().marks;
        let [Some(first), Some(second)] = marks else {
            return Err(Failure::Input);
        };
        Ok(second.duration_since(first).as_secs_f32() * 1e3)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        self.state().counts.waits += 1;
        self.moves()
    }
}

fn run(memory: &mut Memory, launch: Launch, order: Order, task: Task) -> Result<(), Fault> {
    match task {
        Task::Normalise(p) => memory.launch(launch, order, prepare::normalise, p),
        Task::Bases(p) => memory.launch(launch, order, basis::bases, p),
        Task::Squares(p) => memory.launch(launch, order, pairs::squares, p),
        Task::Volumes(p) => memory.launch(launch, order, pairs::volumes, p),
        Task::Nearest(p) => memory.launch(launch, order, search::nearest, p),
        Task::Merge(p) => memory.launch(launch, order, search::merge, p),
        Task::AdamW(p) => memory.launch(launch, order, optim::adamw, p),
        Task::Eisl(pass, p) => run_eisl(memory, launch, order, pass, p),
        Task::EislBf16(pass, p) => run_eisl(memory, launch, order, pass, p),
        Task::Narrow(p) => memory.launch(launch, order, tensor::narrow, p),
        Task::NarrowTransposed(p) => memory.launch(launch, order, tensor::narrow_transposed, p),
        Task::VolumesTf32(p) => memory.launch(launch, order, tensor::volumes_tf32, p),
        Task::VolumesBf16(p) => memory.launch(launch, order, tensor::volumes_bf16, p),
        Task::NearestF16(p) => memory.launch(launch, order, search::nearest_f16::<false>, p),
        Task::NearestBf16(p) => memory.launch(launch, order, search::nearest_bf16::<false>, p),
        Task::NearestI8(p) => memory.launch(launch, order, search::nearest_i8::<false>, p),
        Task::GramTf32(pass, p) => {
            let kernel = match pass {
                TensorPass::Scores => contrastive::scores_tf32,
                TensorPass::AnchorsProduct => contrastive::anchors_product_tf32,
                TensorPass::ItemsProduct => contrastive::items_product_tf32,
            };
            memory.launch(launch, order, kernel, p)
        }
        Task::Gram(pass, p) => {
            let kernel = match pass {
                GramPass::Count => contrastive::count,
                GramPass::Scores => contrastive::scores,
                GramPass::RowSums => contrastive::row_sums,
                GramPass::ColumnSums => contrastive::column_sums,
                GramPass::Losses => contrastive::losses,
                GramPass::ColumnWeights => contrastive::column_weights,
                GramPass::RowWeights => contrastive::row_weights,
                GramPass::NearItems => contrastive::near_items,
                GramPass::AnchorsProduct => contrastive::anchors_product,
                GramPass::ItemsProduct => contrastive::items_product,
                GramPass::Diagonal => contrastive::diagonal,
                GramPass::ItemsGradient => contrastive::items_gradient,
                GramPass::AnchorsGradient => contrastive::anchors_gradient,
                GramPass::Report => contrastive::report,
            };
            memory.launch(launch, order, kernel, p)
        }
    }
}

fn run_eisl<T: Logit>(
    memory: &mut Memory,
    launch: Launch,
    order: Order,
    pass: EislPass,
    p: Eisl<T>,
) -> Result<(), Fault> {
    let kernel = match pass {
        EislPass::Read => eisl::read,
        EislPass::Ngrams => eisl::ngrams,
        EislPass::Write => eisl::write,
    };
    memory.launch(launch, order, kernel, p)
}
