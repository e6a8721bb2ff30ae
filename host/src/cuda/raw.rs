//! Raw handles: the kernels on memory of a context that the caller owns, such as one of `cust`, cudarc or PyTorch.
//!
//! A [`Device`] made by [`Device::in_context`] runs on the caller's stream, beside what the caller queues there. The
//! functions with `_at` take device addresses and queue: they copy nothing, allocate nothing and wait for nothing. With
//! [`Device::launch`] any kernel can be started by itself.
//!
//! All contracts are here. An address is that of 32-bit numbers in memory of the device's context, aligned to 4 bytes. It
//! must stay allocated, and nobody else may write to it, until what was queued is done.
#![allow(unsafe_code)]

use std::ffi::c_void;

use rivergram_core::gram::contrastive::GramLoss;
use rivergram_core::optim::AdamW;
use rivergram_cuda_kernels::device::{Element, Global};
use rivergram_cuda_kernels::kernels::eisl::Eisl;
use rivergram_cuda_kernels::kernels::optim::Update;
use rivergram_cuda_kernels::lanes::F32;

use super::device::{Device, Queue, Session, check_blocks};
use super::driver::{Mark, Numbers, Room, Task};
use super::gram::{self, Plan};
use super::nvidia::Nvidia;
use super::{Failure, eisl, optim};

/// Where a batch is on the device, and where its loss goes.
#[derive(Clone, Copy, Debug)]
pub struct GramMemory {
    /// \[k, rows, d\].
    pub vectors: u64,
    /// \[k, rows\], `f32`: 0 where a vector is absent. An absent vector may hold anything.
    pub present: u64,
    /// Of the vectors, \[k, rows, d\]; it may hold anything, and may not be the vectors.
    pub gradient: u64,
    /// Half the mean cross-entropy of rows, of columns, and dL/dτ: 3 numbers. The loss is the sum of the first two.
    pub report: u64,
    /// Numbers of any kind, [`Device::gram_workspace_len`]; aligned to 16 bytes.
    pub workspace: u64,
    /// How many they are.
    pub workspace_len: u64,
}

/// Numbers on a device, for who has no other crate to allocate them; given back when it is dropped.
#[derive(Debug)]
pub struct Buffer<'a> {
    device: &'a Device,
    address: u64,
    len: usize,
}

impl Buffer<'_> {
    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As a kernel takes it.
    pub fn view<T: Element>(&self) -> Global<T> {
        Global::new(self.address, self.len as u64)
    }

    /// Queues a copy of numbers to its place `start`; they may change as soon as this returns.
    ///
    /// # Errors
    /// [`Failure::Input`]: more than there is room for. The call fails.
    pub fn write(&self, start: usize, numbers: Numbers<'_>) -> Result<(), Failure> {
        let end = start.checked_add(numbers.len());
        if end.is_none_or(|end| end > self.len) {
            return Err(Failure::Input);
        }
        let to = self.view::<F32>().part(start, numbers.len());
        self.device.session()?.upload(numbers, to)
    }

    /// Waits for all that was queued, and copies numbers from its start.
    ///
    /// # Errors
    /// [`Failure::Input`]: fewer than there is room for. A kernel failed.
    pub fn read(&self, room: Room<'_>) -> Result<(), Failure> {
        if room.len() > self.len {
            return Err(Failure::Input);
        }
        self.device.session()?.download(&mut [(self.address, room)])
    }

    /// Queues a copy of all of it into another one, as long or longer.
    ///
    /// # Errors
    /// [`Failure::Input`]: it is shorter. The call fails.
    pub fn copy_to(&self, other: &Buffer<'_>) -> Result<(), Failure> {
        if other.len < self.len {
            return Err(Failure::Input);
        }
        let mut session = self.device.session()?;
        let done = session.driver().copy(self.address, other.address, self.len);
        session.noted(done)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.device.give_back(self.address);
    }
}

/// Memory of the caller's, given out from its start on.
struct Bump<'a, 'd> {
    session: &'a mut Session<'d>,
    next: u64,
    left: u64,
}

impl Queue for Bump<'_, '_> {
    fn room<T: Element>(&mut self, len: usize) -> Result<Global<T>, Failure> {
        let (need, free) = (gram::place(len), self.left);
        self.left = free.checked_sub(need).ok_or(Failure::Memory {
            need: 4 * need,
            free: 4 * free,
        })?;
        let view = Global::new(self.next, len as u64);
        self.next += 4 * need;
        Ok(view)
    }

    fn zero(&mut self, view: Global<F32>) -> Result<(), Failure> {
        self.session.zero(view)
    }

    fn launch(&mut self, task: &Task, blocks: [u32; 2]) -> Result<(), Failure> {
        self.session.launch(task, blocks)
    }
}

impl Device {
    /// A device in a context of the caller's, on a stream of it. The kernels are loaded into the context; they are
    /// unloaded, after a wait, when this is dropped.
    ///
    /// # Errors
    /// What the device lacks.
    ///
    /// # Safety
    /// `context` is a `CUcontext` and `stream` a `CUstream` of it, or null for its default stream. Both live longer than
    /// the device.
    pub unsafe fn in_context(context: *mut c_void, stream: *mut c_void) -> Result<Self, Failure> {
        // SAFETY: the contract of this function.
        let driver = unsafe { Nvidia::in_context(context, stream) }?;
        Ok(Device::on(Box::new(driver)))
    }

    /// Queues one kernel on these blocks, across and down.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Safety
    /// Every view in the task is memory of the device as the kernel's module describes it, of at least its length. Operands
    /// of tensor cores (`Operands`, `Narrow`) are aligned to 16 bytes.
    pub unsafe fn launch(&self, task: &Task, blocks: [u32; 2]) -> Result<(), Failure> {
        check_blocks(blocks)?;
        self.session()?.launch(task, blocks)
    }

    /// Memory for `len` numbers, which hold anything.
    ///
    /// # Errors
    /// [`Failure::Memory`]; the call fails.
    pub fn buffer(&self, len: usize) -> Result<Buffer<'_>, Failure> {
        let address = self.session()?.keep(len)?;
        Ok(Buffer {
            device: self,
            address,
            len,
        })
    }

    /// Milliseconds by the device's clock of what `work` queues; waits for its end.
    ///
    /// # Errors
    /// Those of `work`; a kernel failed.
    pub fn timed(&self, work: impl FnOnce() -> Result<(), Failure>) -> Result<f32, Failure> {
        let mark = |which| self.session()?.driver().mark(which);
        mark(Mark::First)?;
        work()?;
        mark(Mark::Second)?;
        let mut session = self.session()?;
        let found = session.driver().between();
        session.noted(found)
    }

    /// Waits for all that was queued.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn wait(&self) -> Result<(), Failure> {
        let mut session = self.session()?;
        let done = session.driver().wait();
        session.noted(done)
    }

    /// Numbers of workspace of [`Device::gram_loss_at`] for \[k, rows, d\] in strips of `strip` anchors: the more, the
    /// fewer launches. It depends on [`Device::precision`]; in TF32 a strip is a multiple of 16.
    pub fn gram_workspace_len(&self, sizes: [usize; 3], strip: usize) -> u64 {
        let precision = self.precision();
        Plan::in_strips(sizes, strip, self.waves(), precision).words()
    }

    /// Queues [`Device::gram_loss`] with one anchor, of vectors on the device.
    ///
    /// # Errors
    /// Those of [`Device::gram_loss`]; a workspace that is too short, or not aligned. Numbers that are not finite are not noticed.
    ///
    /// # Safety
    /// The addresses of `memory` are of the device, and each has as many numbers as it says for these sizes
    /// \[k, rows, d\].
    pub unsafe fn gram_loss_at(
        &self,
        config: &GramLoss<f32>,
        sizes: [usize; 3],
        strip: usize,
        memory: GramMemory,
    ) -> Result<(), Failure> {
        let [k, rows, d] = sizes;
        if !memory.workspace.is_multiple_of(16) {
            return Err(Failure::Input);
        }
        if rows == 0 || d == 0 || !(2..=rivergram_core::gram::contrastive::K_MAX).contains(&k) {
            return Err(Failure::Input);
        }
        // Sizes that kernels cannot count are refused here.
        let precision = self.precision();
        Plan::new(sizes, u64::MAX, self.waves(), precision)?;
        let plan = Plan::in_strips(sizes, strip, self.waves(), precision);
        let view = |address, len: usize| Global::new(address, len as u64);
        let views = [
            view(memory.vectors, k * rows * d),
            view(memory.present, k * rows),
            view(memory.gradient, k * rows * d),
            view(memory.report, 3),
        ];
        let mut session = self.session()?;
        let mut queue = Bump {
            session: &mut session,
            next: memory.workspace,
            left: memory.workspace_len,
        };
        gram::queue_loss(&mut queue, plan, config, views)
    }

    /// Queues the sequence loss and its gradient over the logits; `parameters` are those of the kernels.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Safety
    /// Every view of `parameters` is memory of the device, of the length that [`Eisl`] says.
    pub unsafe fn eisl_loss_at(&self, parameters: Eisl) -> Result<(), Failure> {
        eisl::queue_loss(&mut self.session()?, parameters)
    }

    /// Queues one update of `len` parameters: weights, their gradient, both moments.
    ///
    /// # Errors
    /// It does not start.
    ///
    /// # Safety
    /// Each address has `len` numbers of the device.
    pub unsafe fn adamw_at(
        &self,
        rule: AdamW<f32>,
        [weights, gradient, first, second]: [u64; 4],
        len: usize,
    ) -> Result<(), Failure> {
        let view = |address| Global::new(address, len as u64);
        let p = Update {
            parameters: view(weights),
            gradient: view(gradient),
            first: view(first),
            second: view(second),
            constants: Update::constants(rule),
        };
        let blocks = [optim::blocks(len, self.waves()), 1];
        self.session()?.launch(&Task::AdamW(p), blocks)
    }
}
