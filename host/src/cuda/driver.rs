//! The few calls of a driver that the host makes, and what it is told to run.
//!
//! There are two drivers: NVIDIA's, and, with the feature `emulation`, one without a GPU for tests. Everything is
//! queued, in order, and only [`Driver::download`] and [`Driver::wait`] wait.

use std::fmt::Debug;

use rivergram_cuda_kernels::device::Launch;
use rivergram_cuda_kernels::kernels::basis::Items;
use rivergram_cuda_kernels::kernels::contrastive::{self, Loss, TensorLoss};
use rivergram_cuda_kernels::kernels::eisl::{self, Eisl};
use rivergram_cuda_kernels::kernels::optim::Update;
use rivergram_cuda_kernels::kernels::pairs::{self, Pairs, Volumes};
use rivergram_cuda_kernels::kernels::prepare::Normalise;
use rivergram_cuda_kernels::kernels::search::{self, Nearest, Scan};
use rivergram_cuda_kernels::kernels::tensor::{self, Narrow, TensorVolumes};
use rivergram_cuda_kernels::lanes::Bf16;

use super::Failure;

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Its name.
    pub name: String,
    /// Its compute capability, before and after the point.
    pub capability: (u32, u32),
    /// Its multiprocessors.
    pub multiprocessors: u32,
}

/// Numbers of the host, of 32 bits each or of 16.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Integers with a sign.
    I32(&'a [i32]),
    /// Integers without one.
    U32(&'a [u32]),
    /// Those of 16 bits, by their bits.
    U16(&'a [u16]),
}

impl Numbers<'_> {
    /// How many.
    pub fn len(self) -> usize {
        match self {
            Numbers::F32(x) => x.len(),
            Numbers::I32(x) => x.len(),
            Numbers::U32(x) => x.len(),
            Numbers::U16(x) => x.len(),
        }
    }

    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Numbers::F32(_) | Numbers::I32(_) | Numbers::U32(_) => 4,
            Numbers::U16(_) => 2,
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Room of the host for numbers.
#[derive(Debug)]
pub enum Room<'a> {
    /// For floats.
    F32(&'a mut [f32]),
    /// For integers without a sign.
    U32(&'a mut [u32]),
    /// For numbers of 16 bits, by their bits.
    U16(&'a mut [u16]),
}

impl Room<'_> {
    /// For how many.
    pub fn len(&self) -> usize {
        match self {
            Room::F32(x) => x.len(),
            Room::U32(x) => x.len(),
            Room::U16(x) => x.len(),
        }
    }

    /// Bytes of one.
    pub fn size(&self) -> usize {
        match self {
            Room::F32(_) | Room::U32(_) => 4,
            Room::U16(_) => 2,
        }
    }

    /// Whether for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A device with one stream, and memory. Addresses are the device's; memory holds anything until it is written.
pub trait Driver: Debug + Send {
    /// What the device is.
    fn properties(&self) -> Properties;

    /// Bytes of memory that are free.
    ///
    /// # Errors
    /// The call fails.
    fn free_bytes(&mut self) -> Result<u64, Failure>;

    /// Memory for `words` numbers.
    ///
    /// # Errors
    /// [`Failure::Memory`], or the call fails.
    fn allocate(&mut self, words: usize) -> Result<u64, Failure>;

    /// Memory for so many numbers of 16 bits: whole words. The emulation tells them from those of 32.
    ///
    /// # Errors
    /// Those of [`Driver::allocate`].
    fn allocate_halves(&mut self, numbers: usize) -> Result<u64, Failure> {
        self.allocate(numbers.div_ceil(2))
    }

    /// Gives memory back. Work that was queued before may still use it.
    fn free(&mut self, address: u64);

    /// Queues zeros.
    ///
    /// # Errors
    /// The call fails.
    fn zero(&mut self, at: u64, words: usize) -> Result<(), Failure>;

    /// Queues a copy within the device.
    ///
    /// # Errors
    /// The call fails.
    fn copy(&mut self, from: u64, to: u64, words: usize) -> Result<(), Failure>;

    /// Queues a copy to the device. `numbers` may change as soon as this returns. What is longer than the pinned
    /// memory between the two waits for its own first part.
    ///
    /// # Errors
    /// The call fails.
    fn upload(&mut self, numbers: Numbers<'_>, to: u64) -> Result<(), Failure>;

    /// Copies from the device what is there when all that was queued is done; waits for that.
    ///
    /// # Errors
    /// The call fails, or a kernel that was queued before did.
    fn download(&mut self, parts: &mut [(u64, Room<'_>)]) -> Result<(), Failure>;

    /// Queues a kernel.
    ///
    /// # Errors
    /// It does not start.
    fn launch(&mut self, launch: Launch, task: &Task) -> Result<(), Failure>;

    /// Queues one of two marks, the first or the second, in the place of an earlier one.
    ///
    /// # Errors
    /// The call fails.
    fn mark(&mut self, which: Mark) -> Result<(), Failure>;

    /// Milliseconds between the two marks, by the device's clock; waits for the second.
    ///
    /// # Errors
    /// A mark is missing, or a kernel failed.
    fn between(&mut self) -> Result<f32, Failure>;

    /// Waits for all that was queued.
    ///
    /// # Errors
    /// A kernel failed.
    fn wait(&mut self) -> Result<(), Failure>;
}

/// A place among what is queued, for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Where the time begins.
    First,
    /// Where it ends.
    Second,
}

/// The passes of the sequence loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EislPass {
    /// [`eisl::read`].
    Read,
    /// [`eisl::ngrams`].
    Ngrams,
    /// [`eisl::write()`].
    Write,
}

/// The passes of the contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GramPass {
    /// [`contrastive::count`].
    Count,
    /// [`contrastive::scores`].
    Scores,
    /// [`contrastive::row_sums`].
    RowSums,
    /// [`contrastive::column_sums`].
    ColumnSums,
    /// [`contrastive::losses`].
    Losses,
    /// [`contrastive::column_weights`].
    ColumnWeights,
    /// [`contrastive::row_weights`].
    RowWeights,
    /// [`contrastive::near_items`].
    NearItems,
    /// [`contrastive::anchors_product`].
    AnchorsProduct,
    /// [`contrastive::items_product`].
    ItemsProduct,
    /// [`contrastive::diagonal`].
    Diagonal,
    /// [`contrastive::items_gradient`].
    ItemsGradient,
    /// [`contrastive::anchors_gradient`].
    AnchorsGradient,
    /// [`contrastive::report`].
    Report,
}

/// The passes of the contrastive loss that run on tensor cores too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorPass {
    /// [`contrastive::scores_tf32`].
    Scores,
    /// [`contrastive::anchors_product_tf32`].
    AnchorsProduct,
    /// [`contrastive::items_product_tf32`].
    ItemsProduct,
}

/// A kernel and its parameters. The views in them must be memory of the device that it runs on.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// `normalise`.
    Normalise(Normalise),
    /// `bases`.
    Bases(Items),
    /// `squares`.
    Squares(Pairs),
    /// `volumes`.
    Volumes(Volumes),
    /// `nearest`.
    Nearest(Nearest),
    /// `merge`.
    Merge(Nearest),
    /// `adamw`.
    AdamW(Update),
    /// `eisl_…`.
    Eisl(EislPass, Eisl),
    /// The same of logits in bf16; [`eisl::ngrams`], which does not read them, is the same kernel.
    EislBf16(EislPass, Eisl<Bf16>),
    /// `gram_…`.
    Gram(GramPass, Loss),
    /// `narrow`; like all after it, from compute capability 8.0 on.
    Narrow(Narrow),
    /// `narrow_transposed`.
    NarrowTransposed(Narrow),
    /// `volumes_tf32`.
    VolumesTf32(TensorVolumes),
    /// `volumes_bf16`.
    VolumesBf16(TensorVolumes),
    /// `nearest_f16`.
    NearestF16(Scan),
    /// `nearest_bf16`.
    NearestBf16(Scan),
    /// `nearest_i8`.
    NearestI8(Scan),
    /// `gram_…_tf32`.
    GramTf32(TensorPass, TensorLoss),
}

/// Threads of a block in which each warp, or each thread, has work of its own.
const SMALL: u32 = 128;

impl Task {
    /// The name of the kernel in the PTX.
    pub fn kernel(&self) -> &'static str {
        match self {
            Task::Normalise(_) => "normalise",
            Task::Bases(_) => "bases",
            Task::Squares(_) => "squares",
            Task::Volumes(_) => "volumes",
            Task::Nearest(_) => "nearest",
            Task::Merge(_) => "merge",
            Task::AdamW(_) => "adamw",
            Task::Eisl(pass, _) => match pass {
                EislPass::Read => "eisl_read",
                EislPass::Ngrams => "eisl_ngrams",
                EislPass::Write => "eisl_write",
            },
            Task::EislBf16(pass, _) => match pass {
                EislPass::Read => "eisl_read_bf16",
                EislPass::Ngrams => "eisl_ngrams",
                EislPass::Write => "eisl_write_bf16",
            },
            Task::Gram(pass, _) => match pass {
                GramPass::Count => "gram_count",
                GramPass::Scores => "gram_scores",
                GramPass::RowSums => "gram_row_sums",
                GramPass::ColumnSums => "gram_column_sums",
                GramPass::Losses => "gram_losses",
                GramPass::ColumnWeights => "gram_column_weights",
                GramPass::RowWeights => "gram_row_weights",
                GramPass::NearItems => "gram_near_items",
                GramPass::AnchorsProduct => "gram_anchors_product",
                GramPass::ItemsProduct => "gram_items_product",
                GramPass::Diagonal => "gram_diagonal",
                GramPass::ItemsGradient => "gram_items_gradient",
                GramPass::AnchorsGradient => "gram_anchors_gradient",
                GramPass::Report => "gram_report",
            },
            Task::Narrow(_) => "narrow",
            Task::NarrowTransposed(_) => "narrow_transposed",
            Task::VolumesTf32(_) => "volumes_tf32",
            Task::VolumesBf16(_) => "volumes_bf16",
            Task::NearestF16(_) => "nearest_f16",
            Task::NearestBf16(_) => "nearest_bf16",
            Task::NearestI8(_) => "nearest_i8",
            Task::GramTf32(pass, _) => match pass {
                TensorPass::Scores => "gram_scores_tf32",
                TensorPass::AnchorsProduct => "gram_anchors_product_tf32",
                TensorPass::ItemsProduct => "gram_items_product_tf32",
            },
        }
    }

    /// Whether only GPUs from compute capability 8.0 on have its kernel.
    pub fn is_on_tensor_cores(&self) -> bool {
        matches!(
            self,
            Task::Narrow(_)
                | Task::NarrowTransposed(_)
                | Task::VolumesTf32(_)
                | Task::VolumesBf16(_)
                | Task::NearestF16(_)
                | Task::NearestBf16(_)
                | Task::NearestI8(_)
                | Task::GramTf32(..)
        )
    }

    /// How it is started with these blocks, across and down.
    pub fn launch(&self, blocks: [u32; 2]) -> Launch {
        let (threads, shared) = self.block();
        Launch {
            kernel: self.kernel(),
            blocks,
            threads,
            shared,
        }
    }

    /// Threads of a block, and its words of shared memory.
    fn block(&self) -> (u32, u32) {
        match self {
            Task::Normalise(_) | Task::Bases(_) | Task::Squares(_) | Task::Merge(_) => (SMALL, 0),
            Task::Volumes(_) => (pairs::THREADS, pairs::SHARED),
            Task::Nearest(_) => (pairs::THREADS, search::SHARED),
            Task::AdamW(_) | Task::Narrow(_) => (SMALL, 0),
            Task::NarrowTransposed(_) => {
                let [shared, threads] = tensor::TRANSPOSED;
                (threads, shared)
            }
            Task::VolumesTf32(_)
            | Task::VolumesBf16(_)
            | Task::NearestF16(_)
            | Task::NearestBf16(_)
            | Task::NearestI8(_)
            | Task::GramTf32(..) => (tensor::THREADS, tensor::SHARED),
            Task::Eisl(EislPass::Ngrams, _) | Task::EislBf16(EislPass::Ngrams, _) => (SMALL, 0),
            Task::Eisl(..) | Task::EislBf16(..) => (eisl::THREADS, eisl::SHARED),
            Task::Gram(pass, _) => match pass {
                GramPass::Count | GramPass::Losses | GramPass::Report => {
                    (contrastive::THREADS, contrastive::SHARED)
                }
                GramPass::Scores | GramPass::AnchorsProduct | GramPass::ItemsProduct => {
                    (pairs::THREADS, pairs::SHARED)
                }
                GramPass::RowSums
                | GramPass::ColumnSums
                | GramPass::ColumnWeights
                | GramPass::RowWeights
                | GramPass::NearItems
                | GramPass::Diagonal
                | GramPass::ItemsGradient
                | GramPass::AnchorsGradient => (SMALL, 0),
            },
        }
    }

    /// Where its parameters are, as a driver takes them, and how many bytes.
    pub fn parameters(&self) -> (*const std::ffi::c_void, usize) {
        fn of<T>(x: &T) -> (*const std::ffi::c_void, usize) {
            (std::ptr::from_ref(x).cast(), size_of::<T>())
        }
        match self {
            Task::Normalise(p) => of(p),
            Task::Bases(p) => of(p),
            Task::Squares(p) => of(p),
            Task::Volumes(p) => of(p),
            Task::Nearest(p) | Task::Merge(p) => of(p),
            Task::AdamW(p) => of(p),
            Task::Eisl(_, p) => of(p),
            Task::EislBf16(_, p) => of(p),
            Task::Gram(_, p) => of(p),
            Task::Narrow(p) | Task::NarrowTransposed(p) => of(p),
            Task::VolumesTf32(p) | Task::VolumesBf16(p) => of(p),
            Task::NearestF16(p) | Task::NearestBf16(p) | Task::NearestI8(p) => of(p),
            Task::GramTf32(_, p) => of(p),
        }
    }
}

/// Blocks of which each warp takes one of `n` rows.
pub(super) fn warps(n: u32) -> [u32; 2] {
    [n.div_ceil(SMALL / 32).max(1), 1]
}

/// Blocks of which each thread takes one of `n` columns.
pub(super) fn threads(n: u32) -> [u32; 2] {
    [n.div_ceil(SMALL).max(1), 1]
}
