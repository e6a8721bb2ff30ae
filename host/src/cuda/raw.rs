//! Raw handles: the kernels on memory of a context that the caller owns, such as one of `cust`, cudarc or PyTorch.
//!
//! A [`Device`] made by [`Device::in_context`] runs on the caller's stream, beside what the caller queues there. The
//! functions with `_at` take device addresses and queue: they copy nothing, allocate nothing and wait for nothing. With
//! [`Device::launch`] any kernel can be started by itself.
//!
//! All contracts are here. An address is that of 32-bit numbers in memory of the device's context, aligned to 4 bytes; that
//! of a workspace is aligned to 16, that of logits in bf16 to 2. It must stay allocated, and nobody else may write to it,
//! until what was queued is done.
#![allow(unsafe_code)]

use std::ffi::c_void;

use rivergram_core::gram::contrastive::GramLoss;
use rivergram_core::gram::pair::Measure;
use rivergram_core::gram::search::Search;
use rivergram_core::optim::AdamW;
use rivergram_cuda_kernels::device::{Element, Global};
use rivergram_cuda_kernels::kernels::eisl::Eisl;
use rivergram_cuda_kernels::kernels::optim::Update;
use rivergram_cuda_kernels::kernels::tensor::Precision;
use rivergram_cuda_kernels::lanes::{Bf16, F32};

use super::device::{Device, Queue, Session, check_blocks, place};
use super::driver::{Mark, Numbers, Room, Task};
use super::gram::{self, Plan};
use super::nearest::{self, Best, Lists};
use super::nvidia::Nvidia;
use super::pairs::{self, Inputs, Matrix, check_sizes};
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

/// Where anchors and items are on the device, and where their volumes or distances go.
#[derive(Clone, Copy, Debug)]
pub struct MatrixMemory {
    /// \[anchors, d\].
    pub anchors: u64,
    /// \[m, items, d\]: plane p has vector p of each item.
    pub items: u64,
    /// \[m, items\], `f32`: 0 where a vector is absent. An absent vector may hold anything.
    pub present: u64,
    /// \[anchors, items\], `f32`; it may hold anything.
    pub out: u64,
    /// Numbers of any kind, [`Device::volume_matrix_workspace_len`]; aligned to 16 bytes.
    pub workspace: u64,
    /// How many they are.
    pub workspace_len: u64,
}

/// Where anchors and a gallery are on the device, and where the best items go.
#[derive(Clone, Copy, Debug)]
pub struct NearestMemory {
    /// \[anchors, d\].
    pub anchors: u64,
    /// \[m, items, d\]: plane p has vector p of each item.
    pub items: u64,
    /// \[m, items\], `f32`: 0 where a vector is absent. An absent vector may hold anything.
    pub present: u64,
    /// \[anchors, k\], `f32`: the volumes or distances of each anchor's best items, best first. NaN where there are fewer
    /// than k.
    pub scores: u64,
    /// \[anchors, k\], `u32`: their indices, counted from [`Search::offset`]; of equal scores the lower one comes first.
    /// `u32::MAX` where there are fewer than k.
    pub indices: u64,
    /// Numbers of any kind, [`Device::nearest_workspace_len`]; aligned to 16 bytes.
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
    /// Bytes of a number.
    size: usize,
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

    /// As a kernel takes it: numbers of as many bits as it was made for.
    pub fn view<T: Element>(&self) -> Global<T> {
        Global::new(self.address, self.len as u64)
    }

    /// Queues a copy of numbers to its place `start`; they may change as soon as this returns.
    ///
    /// # Errors
    /// [`Failure::Input`]: more than there is room for, or of other bits. The call fails.
    pub fn write(&self, start: usize, numbers: Numbers<'_>) -> Result<(), Failure> {
        let end = start.checked_add(numbers.len());
        if numbers.size() != self.size || end.is_none_or(|end| end > self.len) {
            return Err(Failure::Input);
        }
        let to = self.address + (start * self.size) as u64;
        let to: Global<F32> = Global::new(to, numbers.len() as u64);
        self.device.session()?.upload(numbers, to)
    }

    /// Waits for all that was queued, and copies numbers from its start.
    ///
    /// # Errors
    /// [`Failure::Input`]: fewer than there is room for, or of other bits. A kernel failed.
    pub fn read(&self, room: Room<'_>) -> Result<(), Failure> {
        if room.size() != self.size || room.len() > self.len {
            return Err(Failure::Input);
        }
        self.device.session()?.download(&mut [(self.address, room)])
    }

    /// Queues a copy of all of it into another one, as long or longer.
    ///
    /// # Errors
    /// [`Failure::Input`]: it is shorter, or its numbers have other bits. The call fails.
    pub fn copy_to(&self, other: &Buffer<'_>) -> Result<(), Failure> {
        if other.size != self.size || other.len < self.len {
            return Err(Failure::Input);
        }
        // Memory is of whole words.
        let words = (self.len * self.size).div_ceil(4);
        let mut session = self.device.session()?;
        let done = session.driver().copy(self.address, other.address, words);
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

impl<'a, 'd> Bump<'a, 'd> {
    /// All of a workspace, which is aligned to 16 bytes; the other addresses are those of 32-bit numbers.
    fn new(
        session: &'a mut Session<'d>,
        [workspace, len]: [u64; 2],
        others: &[u64],
    ) -> Result<Self, Failure> {
        if !workspace.is_multiple_of(16) {
            return Err(Failure::Input);
        }
        aligned(others, 4)?;
        Ok(Bump {
            session,
            next: workspace,
            left: len,
        })
    }
}

/// Refuses addresses that are no multiples of so many bytes.
fn aligned(addresses: &[u64], bytes: u64) -> Result<(), Failure> {
    let all = addresses
        .iter()
        .all(|address| address.is_multiple_of(bytes));
    all.then_some(()).ok_or(Failure::Input)
}

impl Queue for Bump<'_, '_> {
    fn room<T: Element>(&mut self, len: usize) -> Result<Global<T>, Failure> {
        let (need, free) = (place::<T>(len), self.left);
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

    /// Memory for `len` numbers of 32 bits, which hold anything.
    ///
    /// # Errors
    /// [`Failure::Memory`]; the call fails.
    pub fn buffer(&self, len: usize) -> Result<Buffer<'_>, Failure> {
        self.buffer_of::<F32>(len)
    }

    /// Memory for `len` numbers of 16 bits, which hold anything.
    ///
    /// # Errors
    /// [`Failure::Memory`]; the call fails.
    pub fn buffer_of_halves(&self, len: usize) -> Result<Buffer<'_>, Failure> {
        self.buffer_of::<Bf16>(len)
    }

    fn buffer_of<T: Element>(&self, len: usize) -> Result<Buffer<'_>, Failure> {
        let address = self.session()?.keep::<T>(len)?;
        Ok(Buffer {
            device: self,
            address,
            len,
            size: T::BYTES as usize,
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
    /// Those of [`Device::gram_loss`]. [`Failure::NoKernel`]: each anchor in turn, and [`GramLoss::pairs`].
    /// [`Failure::Memory`]: a workspace that is too short. [`Failure::Input`]: one that is not aligned to 16 bytes, another
    /// address not to 4. Numbers that are not finite are not noticed.
    ///
    /// # Safety
    /// The addresses of `memory` are of the device, and each has as many numbers as it says for these sizes
    /// \[k, rows, d\]. What is written, the gradient, the report and the workspace, overlaps nothing else.
    pub unsafe fn gram_loss_at(
        &self,
        config: &GramLoss<f32>,
        sizes: [usize; 3],
        strip: usize,
        memory: GramMemory,
    ) -> Result<(), Failure> {
        let [k, rows, d] = sizes;
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
        let workspace = [memory.workspace, memory.workspace_len];
        let others = views.map(|view| view.at(0));
        let mut queue = Bump::new(&mut session, workspace, &others)?;
        gram::queue_loss(&mut queue, plan, config, views)
    }

    fn matrix_plan(&self, measure: u32, sizes: [usize; 4], precision: Precision) -> pairs::Plan {
        pairs::Plan {
            sizes,
            measure,
            precision,
            waves: self.waves(),
        }
    }

    /// Numbers of workspace of [`Device::volume_matrix_at`] for \[anchors, m, items, d\]. It depends on
    /// [`Device::precision`], so ask after [`Device::set_precision`]. `u64::MAX` for sizes that are refused.
    pub fn volume_matrix_workspace_len(&self, sizes: [usize; 4]) -> u64 {
        pairs::matrix_words(self.matrix_plan(0, sizes, self.precision()))
    }

    /// Queues [`Device::volume_matrix`] of anchors and items on the device, for `sizes` \[anchors, m, items, d\], as precise
    /// as [`Device::precision`] says: the bases of the items, the lengths of the anchors, what is rounded of both, and the
    /// matrix. Nothing goes by in parts: the workspace has room for all items.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, more than 32 vectors per item. [`Failure::Input`]: a size of 0, a workspace that is
    /// not aligned to 16 bytes, another address not to 4. [`Failure::Memory`]: a workspace that is too short.
    /// [`Failure::Size`]: more than a kernel can count. After these nothing was queued. Others: it does not start.
    /// Numbers that are not finite are not noticed.
    ///
    /// # Safety
    /// The addresses of `memory` are of the device, and each has as many numbers as it says for these sizes. What is
    /// written, `out` and the workspace, overlaps nothing else.
    pub unsafe fn volume_matrix_at(
        &self,
        measure: Measure,
        sizes: [usize; 4],
        memory: MatrixMemory,
    ) -> Result<(), Failure> {
        check_sizes(sizes)?;
        let measure = pairs::code(measure)?;
        let mut session = self.session()?;
        let plan = self.matrix_plan(measure, sizes, session.precision());
        let MatrixMemory {
            anchors,
            items,
            present,
            out,
            workspace,
            workspace_len,
        } = memory;
        let inputs = Inputs::at([anchors, items, present], sizes);
        let len = (sizes[0] as u64).saturating_mul(sizes[2] as u64);
        let others = [anchors, items, present, out];
        let mut queue = Bump::new(&mut session, [workspace, workspace_len], &others)?;
        let matrix = Matrix::new(&mut queue, plan, inputs, Global::new(out, len))?;
        matrix.queue_items(&mut queue)?;
        matrix.queue(&mut queue)
    }

    /// Numbers of workspace of [`Device::nearest_at`] for the `k` best and \[anchors, m, items, d\]. `u64::MAX` for what is
    /// refused.
    pub fn nearest_workspace_len(&self, k: usize, sizes: [usize; 4]) -> u64 {
        let search = Search::by(Measure::Volume);
        nearest::nearest_words(nearest::Plan::new(search, k, sizes, self.waves()))
    }

    /// Queues [`Device::nearest`] of anchors and a gallery on the device, for `sizes` \[anchors, m, items, d\]: which vectors
    /// are there and not zero, the bases of the items, the lengths of the anchors, the `k` best of each block, and the best
    /// of those. It is exact, whatever [`Device::precision`] is. The lists stay on the device, as [`NearestMemory`]
    /// describes them; an anchor that is zero, and an item of which nothing is there, find nothing and are not found.
    ///
    /// # Errors
    /// [`Failure::NoKernel`]: cosines, more than 32 best, more than 32 vectors per item, zero vectors that are there.
    /// [`Failure::Input`]: a size of 0, `k` or [`Search::tile`] 0, a workspace that is not aligned to 16 bytes, another
    /// address not to 4. [`Failure::Memory`]: a workspace that is too short. [`Failure::Size`]: more than a kernel can
    /// count. After these nothing was queued. Others: it does not start. Numbers that are not finite are not noticed.
    ///
    /// # Safety
    /// The addresses of `memory` are of the device, and each has as many numbers as it says for these sizes. What is
    /// written, the lists and the workspace, overlaps nothing else.
    pub unsafe fn nearest_at(
        &self,
        search: Search,
        k: usize,
        sizes: [usize; 4],
        memory: NearestMemory,
    ) -> Result<(), Failure> {
        let plan = nearest::Plan::new(search, k, sizes, self.waves())?;
        let NearestMemory {
            anchors,
            items,
            present,
            scores,
            indices,
            workspace,
            workspace_len,
        } = memory;
        let inputs = Inputs::at([anchors, items, present], sizes);
        let len = (sizes[0] as u64).saturating_mul(k as u64);
        let best = Best {
            scores: Global::new(scores, len),
            indices: Global::new(indices, len),
        };
        let mut session = self.session()?;
        let others = [anchors, items, present, scores, indices];
        let mut queue = Bump::new(&mut session, [workspace, workspace_len], &others)?;
        let lists = Lists::new(&mut queue, plan, inputs, best)?;
        lists.queue_items(&mut queue)?;
        lists.queue_anchors(&mut queue)?;
        lists.queue_part(&mut queue, 0, search.offset)?;
        lists.queue_best(&mut queue)
    }

    /// Queues the sequence loss and its gradient over the logits; `parameters` are those of the kernels, which say the shape
    /// of each view. The losses stay in parts: E of each n-gram in [`Eisl::values`], whose weight is −wₙ/(B·Mₙ) with Mₙ
    /// n-grams in its row, and the cross-entropy of each position in [`Eisl::cross_entropy`].
    ///
    /// # Errors
    /// [`Failure::Input`]: no rows or positions, an address that is not aligned to 4 bytes. [`Failure::Size`]: more than 65535
    /// rows. After these nothing was queued. Others: it does not start. Numbers that are not finite are not noticed.
    ///
    /// # Safety
    /// Every view of `parameters` is memory of the device, of the length that [`Eisl`] says, and overlaps no other one.
    pub unsafe fn eisl_loss_at(&self, parameters: Eisl) -> Result<(), Failure> {
        self.eisl_at(parameters)
    }

    /// [`Device::eisl_loss_at`] of logits in bf16, which are widened; every sum is in `f32`, and the gradient is rounded to
    /// nearest where it takes their place.
    ///
    /// # Errors
    /// Those of [`Device::eisl_loss_at`]; the logits are aligned to 2 bytes.
    ///
    /// # Safety
    /// That of [`Device::eisl_loss_at`].
    pub unsafe fn eisl_loss_bf16_at(&self, parameters: Eisl<Bf16>) -> Result<(), Failure> {
        self.eisl_at(parameters)
    }

    fn eisl_at<T: eisl::Stored>(&self, p: Eisl<T>) -> Result<(), Failure> {
        aligned(&[p.logits.at(0)], T::BYTES)?;
        let integers = [
            p.labels.at(0),
            p.tokens.at(0),
            p.outputs.at(0),
            p.lengths.at(0),
        ];
        aligned(&integers, 4)?;
        let floats = [
            p.factors,
            p.sums,
            p.scores,
            p.work,
            p.gradient,
            p.values,
            p.cross_entropy,
        ];
        aligned(&floats.map(|view| view.at(0)), 4)?;
        eisl::queue_loss(&mut self.session()?, p)
    }

    /// Queues one update of `len` parameters: weights, their gradient, both moments.
    ///
    /// # Errors
    /// [`Failure::Input`]: an address that is not aligned to 4 bytes; then nothing was queued. Others: it does not start.
    ///
    /// # Safety
    /// Each address has `len` numbers of the device, and they do not overlap.
    pub unsafe fn adamw_at(
        &self,
        rule: AdamW<f32>,
        [weights, gradient, first, second]: [u64; 4],
        len: usize,
    ) -> Result<(), Failure> {
        aligned(&[weights, gradient, first, second], 4)?;
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
