//! The trainer: heads, loss, optimizer and schedule over the caller's storage, one batch at a time.
//!
//! ```text
//! heads forward → loss and its gradient → heads backward → clip → update at the schedule's rate
//! ```
//!
//! Firmware gives it slices of one static struct, a host gives it vectors; both run this very code. It
//! draws no random numbers: what a step does depends on its batch and on the state, which
//! [`Trainer::save`] writes and [`Trainer::load`] reads back.
//!
//! The examples of the methods begin with this trainer: one linear head that gives the logits of three tokens.
//!
//! ```
//! use rivergram_core::eisl::{Batch, Config, Shape};
//! use rivergram_core::head::Head;
//! use rivergram_core::lanes::One;
//! use rivergram_core::optim::Optimizer;
//! use rivergram_core::schedule::{Plan, Settings, State};
//! use rivergram_core::trainer::{Setup, Storage, Trainer};
//!
//! let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
//! let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
//! let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
//! let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
//! let mut workspace = [0.0; 64];
//! let storage = Storage {
//!     parameters: &mut parameters,
//!     gradient: &mut gradient,
//!     moments: &mut moments,
//!     workspace: &mut workspace,
//! };
//! let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
//!
//! let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
//! let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
//! let (step, _) = trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
//! assert!((step.loss - 3.0_f32.ln()).abs() < 1e-6); // Three equal logits.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod beside;
mod early;
pub mod fixed;
#[cfg(feature = "flash")]
mod flash;
mod half;
mod learn;

use crate::eisl;
use crate::encode::{Crc32, OVERHEAD, Reader, Writer};
use crate::error::{EncodeError, TrainBuffer, TrainError};
use crate::features::{self, Features, Int8};
use crate::gram::contrastive::{self, Anchor, GramLoss, GramReport, Term, gram_loss_in_place};
use crate::head::{Forward, Head};
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{split, take};
use crate::optim::Optimizer;
use crate::schedule::State;
#[cfg(feature = "flash")]
pub use flash::SavedHead;
use learn::{Backward, Learn};

pub use beside::Average;
pub use early::EarlyDecay;
pub use half::Rounded;

const MAGIC: [u8; 4] = *b"rgTR";
const VERSION: u32 = 1;

/// What stays the same while a trainer runs.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a, T> {
    /// The heads; their parameters follow each other.
    pub heads: &'a [Head],
    /// The rule of the updates.
    pub optimizer: Optimizer<T>,
    /// The gradient of all parameters is scaled down to this norm, at least 0; `None` leaves it.
    pub clip: Option<T>,
}

impl<T: Real> Setup<'_, T> {
    /// Floats of parameters, and of their gradient.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::trainer::Setup;
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup::<f32> { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// assert_eq!(setup.parameters_len(), 3 * 2 + 3);
    /// ```
    pub fn parameters_len(&self) -> usize {
        parameters_len(self.heads)
    }

    /// Floats of the optimizer's state.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::trainer::Setup;
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup::<f32> { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// assert_eq!(setup.moments_len(), 9); // Lion keeps one per parameter.
    /// ```
    pub fn moments_len(&self) -> usize {
        self.optimizer.state_len(self.parameters_len())
    }

    /// Floats of workspace for [`Trainer::align`] with `rows` tuples: outputs, their gradient, what the heads keep,
    /// and the loss. Features in 8 bits take up to four rows of the widest input more, as
    /// [`lean_align_workspace_len`] has them.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::trainer::Setup;
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup::<f32> { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// use rivergram_core::trainer::align_workspace_len;
    ///
    /// assert_eq!(setup.align_workspace_len(8), align_workspace_len(&heads, 8));
    /// assert!(setup.align_workspace_len(16) > setup.align_workspace_len(8));
    /// ```
    pub fn align_workspace_len(&self, rows: usize) -> usize {
        align_workspace_len(self.heads, rows)
    }

    /// Floats of workspace for [`Trainer::transcribe`] with these options and a batch of these sizes: the logits, what
    /// the head keeps, and the loss's. Of the batch its shape and its places for references count; what it holds
    /// does not, so a batch without targets will do. Features in 8 bits take up to four rows, 4·input floats, more.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::trainer::Setup;
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup::<f32> { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// use rivergram_core::eisl::{Batch, Config, Shape};
    ///
    /// let shape = Shape { batch: 2, positions: 4, targets: 3, vocabulary: 3 };
    /// let (config, batch) = (Config::new(&[(1, 0.8), (2, 0.2)]), Batch::new(shape, &[]));
    /// let loss = batch.workspace_len(&config);
    /// assert_eq!(setup.transcribe_workspace_len(&config, &batch), 2 * 4 * 3 + 2 * 4 + loss);
    /// ```
    pub fn transcribe_workspace_len(
        &self,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
    ) -> usize {
        let loss = batch.workspace_len(config);
        self.heads.first().map_or(0, |head| {
            transcribe_len(head, batch.shape, loss, Packing::NONE)
        })
    }

    /// Bytes of [`Trainer::save`].
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::trainer::Setup;
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup::<f32> { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// let more = Setup { optimizer: Optimizer::adamw(), ..setup };
    /// assert_eq!(more.saved_len() - setup.saved_len(), 9 * 4); // Nine more floats of state.
    /// ```
    pub fn saved_len(&self) -> usize {
        let floats = self.parameters_len().saturating_add(self.moments_len());
        floats
            .saturating_mul(size_of::<T>())
            .saturating_add(OVERHEAD)
            .saturating_add(4 + 8)
            .saturating_add(State::<T>::SAVED_LEN)
    }

    #[inline(always)]
    fn check(&self) -> Result<(), TrainError> {
        for (index, head) in (0..self.heads.len()).zip(self.heads) {
            head.check(index)?;
        }
        self.optimizer.check()?;
        let may_clip = |limit: T| limit >= T::ZERO;
        if !self.clip.is_none_or(may_clip) {
            return Err(TrainError::Clip);
        }
        Ok(())
    }

    /// Of everything in it: a saved state fits only an equal setup.
    fn hash(&self) -> u32 {
        let mut crc = Crc32::new();
        for head in self.heads {
            for size in [head.input, head.hidden, head.output] {
                crc.update(&(size as u64).to_le_bytes());
            }
            crc.update(&[u8::from(head.normalise)]);
        }
        let (kind, numbers) = match self.optimizer {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => (0, [momentum, weight_decay, T::ZERO, T::ZERO]),
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => (1, [beta1, beta2, epsilon, weight_decay]),
            Optimizer::Lion {
                beta1,
                beta2,
                weight_decay,
            } => (2, [beta1, beta2, weight_decay, T::ZERO]),
        };
        crc.update(&[kind]);
        for number in numbers {
            crc.update(&number.to_bits().to_le_bytes());
        }
        let limit = self.clip.unwrap_or(T::INFINITY);
        crc.update(&limit.to_bits().to_le_bytes());
        crc.value()
    }
}

/// [`Setup::parameters_len`] as a constant, for arrays. Cost: one step per head.
///
/// ```
/// use rivergram_core::{head::Head, trainer};
///
/// const HEADS: [Head; 2] = [Head { input: 4, hidden: 0, output: 3, normalise: true }; 2];
/// const PARAMETERS: usize = trainer::parameters_len(&HEADS);
/// assert_eq!(PARAMETERS, 2 * (4 + 1) * 3);
/// ```
pub const fn parameters_len(heads: &[Head]) -> usize {
    let (mut sum, mut rest) = (0_usize, heads);
    while let [head, others @ ..] = rest {
        sum = sum.saturating_add(head.parameters_len());
        rest = others;
    }
    sum
}

/// [`Setup::align_workspace_len`] as a constant, for arrays. Cost: one step per head.
///
/// ```
/// use rivergram_core::{head::Head, trainer};
///
/// const HEADS: [Head; 2] = [Head { input: 4, hidden: 0, output: 3, normalise: true }; 2];
/// let workspace = [0.0_f32; trainer::align_workspace_len(&HEADS, 8)];
/// assert!(workspace.len() >= 2 * 2 * 8 * 3); // Outputs and their gradient, and more.
/// ```
pub const fn align_workspace_len(heads: &[Head], rows: usize) -> usize {
    align_len(heads, rows, Term::Volume(Anchor::Each), Packing::NONE)
}

/// Floats of workspace for [`Trainer::align`] and [`Trainer::align_int8`] with `rows` tuples where memory is short:
/// without a gradient in [`Storage`], and for this term of the loss, of which those with one anchor need less. With a
/// gradient there it is enough for features in 8 bits, however wide, and more than they need.
/// Cost: one step per head.
///
/// ```text
/// 2·k·rows·d + Σ cache_len + max(loss, max (parameters_len + scratch_len + 4·input))
/// ```
/// The sum and the second maximum are over the heads. `loss` is [`contrastive::workspace_len`] less k·rows·d, since
/// the outputs need not be copied, and with one anchor less (k − 1)·rows·d besides.
///
/// ```
/// use rivergram_core::gram::contrastive::{Anchor, Term};
/// use rivergram_core::{head::Head, trainer};
///
/// const HEADS: [Head; 3] = [Head { input: 32, hidden: 0, output: 16, normalise: true }; 3];
/// const PAPER: Term = Term::Volume(Anchor::One(0));
/// const FLOATS: usize = trainer::lean_align_workspace_len(&HEADS, 8, PAPER);
/// let saved = trainer::parameters_len(&HEADS) + trainer::align_workspace_len(&HEADS, 8) - FLOATS;
/// assert!(saved >= trainer::parameters_len(&HEADS)); // The gradient, if not more.
/// ```
pub const fn lean_align_workspace_len(heads: &[Head], rows: usize, term: Term) -> usize {
    align_len(heads, rows, term, Packing::ALL)
}

/// Floats of workspace for [`Trainer::transcribe`] and [`Trainer::transcribe_int8`] where memory is short: without a
/// gradient in [`Storage`], for labels without references, and so many orders ([`eisl::workspace_len`]). With a gradient
/// there it is enough for features in 8 bits, however wide, and more than they need.
///
/// ```text
/// batch·positions·output + cache_len + max(loss, parameters_len + scratch_len + 4·input)
/// ```
///
/// ```
/// use rivergram_core::{eisl::Shape, head::Head, trainer};
///
/// const HEAD: Head = Head { input: 64, hidden: 0, output: 11, normalise: false };
/// const SHAPE: Shape = Shape { batch: 1, positions: 12, targets: 8, vocabulary: 11 };
/// const FLOATS: usize = trainer::lean_transcribe_workspace_len(&HEAD, SHAPE, 2);
/// // Logits, what the head keeps, its gradient, four rows of features.
/// assert_eq!(FLOATS, 12 * 11 + HEAD.cache_len(12) + HEAD.parameters_len() + 4 * 64);
/// ```
pub const fn lean_transcribe_workspace_len(
    head: &Head,
    shape: eisl::Shape,
    orders: usize,
) -> usize {
    transcribe_len(
        head,
        shape,
        eisl::workspace_len(shape, orders),
        Packing::ALL,
    )
}

/// What a step keeps in the workspace where it has no other place.
#[derive(Clone, Copy)]
struct Packing {
    /// The gradient of a head.
    gradient: bool,
    /// A few rows of features.
    features: bool,
}

impl Packing {
    const NONE: Self = Packing {
        gradient: false,
        features: false,
    };
    const ALL: Self = Packing {
        gradient: true,
        features: true,
    };
}

const fn align_len(heads: &[Head], rows: usize, term: Term, packing: Packing) -> usize {
    let [first, ..] = heads else {
        return 0;
    };
    let outputs = heads
        .len()
        .saturating_mul(rows)
        .saturating_mul(first.output);
    let loss = contrastive::in_place_len(term, heads.len(), rows, first.output);
    step_len(heads, rows, outputs.saturating_mul(2), loss, packing)
}

const fn transcribe_len(head: &Head, shape: eisl::Shape, loss: usize, packing: Packing) -> usize {
    let rows = shape.batch.saturating_mul(shape.positions);
    let outputs = rows.saturating_mul(shape.vocabulary);
    step_len(core::slice::from_ref(head), rows, outputs, loss, packing)
}

/// Outputs, what the heads keep, and what is first the loss's and then that of one head after the other.
const fn step_len(
    heads: &[Head],
    rows: usize,
    outputs: usize,
    loss: usize,
    packing: Packing,
) -> usize {
    let (mut caches, mut shared, mut rest) = (0_usize, loss, heads);
    while let [head, others @ ..] = rest {
        caches = caches.saturating_add(head.cache_len(rows));
        let mut backward = head.scratch_len(rows);
        if packing.gradient {
            backward = backward.saturating_add(head.parameters_len());
        }
        if packing.features {
            backward = backward.saturating_add(features::tile_len(head.input));
        }
        if shared < backward {
            shared = backward;
        }
        rest = others;
    }
    outputs.saturating_add(caches).saturating_add(shared)
}

/// The caller's buffers. Parameters are the caller's to initialise ([`Head::initialise`]); moments start
/// at 0; gradient and workspace may hold anything.
#[derive(Debug)]
pub struct Storage<'a, T> {
    /// [`Setup::parameters_len`] floats.
    pub parameters: &'a mut [T],
    /// As many, or none. Without it a step makes the gradient of one head at a time in the workspace
    /// ([`lean_align_workspace_len`]), and twice where its norm must be known before the first update: to clip it, or
    /// with a hidden layer. The updates are the same bit for bit, but for the last digits of a norm to clip to.
    pub gradient: &'a mut [T],
    /// [`Setup::moments_len`] floats.
    pub moments: &'a mut [T],
    /// The most that any step will need.
    pub workspace: &'a mut [T],
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Step<T> {
    /// The loss before the update.
    pub loss: T,
    /// The rate of the update.
    pub rate: T,
    /// The norm of the gradient before it was clipped.
    pub gradient_norm: T,
}

/// Heads in training.
///
/// Three modalities of four features each, two tuples a batch, in storage of fixed size, as firmware has it:
///
/// ```
/// use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term};
/// use rivergram_core::head::Head;
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::Optimizer;
/// use rivergram_core::schedule::{Plan, Settings, State};
/// use rivergram_core::trainer::{self, Setup, Storage, Trainer};
///
/// const HEADS: [Head; 3] = [Head { input: 4, hidden: 0, output: 3, normalise: true }; 3];
/// const ROWS: usize = 2;
/// const PARAMETERS: usize = trainer::parameters_len(&HEADS);
///
/// struct Memory {
///     parameters: [f32; PARAMETERS],
///     gradient: [f32; PARAMETERS],
///     moments: [f32; 2 * PARAMETERS],
///     workspace: [f32; trainer::align_workspace_len(&HEADS, ROWS)],
/// }
/// let mut memory = Memory {
///     // Any numbers but equal ones; see `Head::initialise`.
///     parameters: core::array::from_fn(|i| (i * i % 7) as f32 * 0.1 - 0.3),
///     gradient: [0.0; PARAMETERS],
///     moments: [0.0; 2 * PARAMETERS],
///     workspace: [0.0; trainer::align_workspace_len(&HEADS, ROWS)],
/// };
/// let storage = Storage {
///     parameters: &mut memory.parameters,
///     gradient: &mut memory.gradient,
///     moments: &mut memory.moments,
///     workspace: &mut memory.workspace,
/// };
/// let setup = Setup { heads: &HEADS, optimizer: Optimizer::adamw(), clip: Some(1.0) };
/// let plan = Plan::new(Settings::constant(0.002_f32), &[])?;
/// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
///
/// let image = [0.9_f32, 0.1, 0.3, 0.0, 0.2, 0.8, 0.0, 0.5];
/// let audio = [0.0, 0.7, 0.4, 0.2, 0.6, 0.1, 0.9, 0.3];
/// let text = [0.5, 0.5, 0.0, 1.0, 0.1, 0.3, 0.7, 0.0];
/// let loss = GramLoss { term: Term::Volume(Anchor::Each), normalise: false, ..GramLoss::paper(0) };
/// let mut step = || trainer.align(One::new(), &loss, &[&image, &audio, &text], None, ROWS);
/// let (first, _) = step()?;
/// let (second, _) = step()?;
/// assert!(second.loss < first.loss);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trainer<'a, T> {
    setup: Setup<'a, T>,
    storage: Storage<'a, T>,
    schedule: State<'a, T>,
    updates: u64,
}

impl<'a, T: Real> Trainer<'a, T> {
    /// A trainer before its first update. Cost: linear in the number of heads.
    ///
    /// # Errors
    /// An empty head, numbers of the optimizer or a norm to clip to that are out of their range, buffers of the
    /// wrong length.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// use rivergram_core::error::{TrainBuffer, TrainError};
    ///
    /// assert_eq!(trainer.updates(), 0);
    /// let (mut parameters, mut gradient) = ([0.5_f32; 9], [0.0; 9]);
    /// let without_moments = Storage {
    ///     parameters: &mut parameters,
    ///     gradient: &mut gradient,
    ///     moments: &mut [],
    ///     workspace: &mut [],
    /// };
    /// let refused = Trainer::new(setup, without_moments, State::new(&plan));
    /// let buffer = TrainBuffer::Moments;
    /// assert_eq!(refused.err(), Some(TrainError::Storage { buffer, need: 9, have: 0 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        setup: Setup<'a, T>,
        storage: Storage<'a, T>,
        schedule: State<'a, T>,
    ) -> Result<Self, TrainError> {
        Self::resume(setup, storage, schedule, 0)
    }

    /// A trainer whose storage has been through so many updates: one that is put together anew for every step,
    /// over memory that lies with somebody else in between. Cost: that of [`Trainer::new`].
    ///
    /// # Errors
    /// As [`Trainer::new`].
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// let trainer = Trainer::resume(setup, storage, State::at(&plan, 40), 40)?;
    /// assert_eq!((trainer.updates(), trainer.schedule().step()), (40, 40));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(
        setup: Setup<'a, T>,
        storage: Storage<'a, T>,
        schedule: State<'a, T>,
        updates: u64,
    ) -> Result<Self, TrainError> {
        setup.check()?;
        let (parameters, moments) = (setup.parameters_len(), setup.moments_len());
        let gradient = if storage.gradient.is_empty() {
            0
        } else {
            parameters
        };
        for (buffer, need, have) in [
            (
                TrainBuffer::Parameters,
                parameters,
                storage.parameters.len(),
            ),
            (TrainBuffer::Gradient, gradient, storage.gradient.len()),
            (TrainBuffer::Moments, moments, storage.moments.len()),
        ] {
            check_len(buffer, need, have)?;
        }
        Ok(Trainer {
            setup,
            storage,
            schedule,
            updates,
        })
    }

    /// What the trainer was made with.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert_eq!(trainer.setup().heads, heads);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn setup(&self) -> &Setup<'a, T> {
        &self.setup
    }

    /// The parameters of all heads, one head after the other.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert_eq!(trainer.parameters(), [0.5; 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parameters(&self) -> &[T] {
        self.storage.parameters
    }

    /// The optimizer's state, [`Setup::moments_len`] floats.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert_eq!(trainer.moments(), [0.0; 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn moments(&self) -> &[T] {
        self.storage.moments
    }

    /// Updates made, whatever the unit of the schedule.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::lanes::One;
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
    /// assert_eq!(trainer.updates(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The schedule.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert_eq!(trainer.schedule().rate(), 0.125);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn schedule(&self) -> &State<'a, T> {
        &self.schedule
    }

    /// The schedule, to ask for a decay, or to go on under another plan. Where it counts samples or tokens, a step has
    /// counted one of its batch: [`State::advance_by`](crate::schedule::State::advance_by) after it counts the others.
    /// The rate of a step is that of all units before it.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// assert!(trainer.schedule_mut().request_decay(4));
    /// assert_eq!(trainer.schedule().position().remaining, Some(4));
    /// // After a step, which has counted one, with a batch of three tokens:
    /// trainer.schedule_mut().advance_by(3 - 1);
    /// assert_eq!(trainer.schedule().position().remaining, Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn schedule_mut(&mut self) -> &mut State<'a, T> {
        &mut self.schedule
    }

    /// Takes parameters, moments and counts from elsewhere, such as a checkpoint. Cost: one look and one copy.
    ///
    /// # Errors
    /// [`TrainError::Storage`]: lengths. [`TrainError::Value`]: numbers that are not finite; a step does not look
    /// at moments, and would spread them to every parameter. Nothing has then changed.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// trainer.restore(&[1.0; 9], &[0.0; 9], 100, State::at(&plan, 100))?;
    /// assert_eq!((trainer.updates(), trainer.parameters()), (100, &[1.0; 9][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(
        &mut self,
        parameters: &[T],
        moments: &[T],
        updates: u64,
        schedule: State<'a, T>,
    ) -> Result<(), TrainError> {
        let storage = &mut self.storage;
        check_len(
            TrainBuffer::Parameters,
            storage.parameters.len(),
            parameters.len(),
        )?;
        check_len(TrainBuffer::Moments, storage.moments.len(), moments.len())?;
        check_finite(TrainBuffer::Parameters, parameters)?;
        check_finite(TrainBuffer::Moments, moments)?;
        copy(parameters, storage.parameters);
        copy(moments, storage.moments);
        self.updates = updates;
        self.schedule = schedule;
        Ok(())
    }

    /// One step of alignment: `inputs` holds for each head its \[rows, input\] features, row i of each
    /// belonging together; absent ones are `false` in `present` \[heads, rows\]. They pass through their head all
    /// the same, so they must be finite, such as zeros. The heads should normalise ([`Head::normalise`]), and
    /// the loss then need not.
    ///
    /// Cost: 6 operations per parameter and row, and those of [`gram_loss`](contrastive::gram_loss).
    ///
    /// # Errors
    /// Sizes, everything that [`gram_loss`](contrastive::gram_loss) refuses, a loss that is not finite. After an
    /// error nothing has changed.
    ///
    /// ```
    /// # use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::lanes::One;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// let heads = [Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
    /// let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.001_f32), &[])?;
    /// # let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
    /// # let (mut gradient, mut workspace) = ([0.0; 12], vec![0.0; setup.align_workspace_len(2)]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let loss = GramLoss { normalise: false, ..GramLoss::paper(0) };
    /// let (first, second) = ([1.0, 0.0, 0.0, 1.0], [0.9, 0.1, 0.2, 0.8]);
    /// let mut losses = [0.0; 2];
    /// for to in &mut losses {
    ///     let (step, _) = trainer.align(One::new(), &loss, &[&first, &second], None, 2)?;
    ///     *to = step.loss;
    /// }
    /// assert!(losses[1] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn align<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        loss: &GramLoss<T>,
        inputs: &[&[T]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<T>, GramReport<T>), TrainError> {
        self.align_features(isa, loss, inputs, present, rows)
    }

    /// [`Trainer::align`] whose loss is computed elsewhere, as by a GPU: `by` is given the outputs of the heads as a
    /// batch, and the buffer for the gradient by them, \[heads, rows, output\], which holds anything. That gradient goes
    /// through the heads as that of [`Trainer::align`] does. The buffers are those of [`Anchor::Each`].
    ///
    /// Cost: 6 operations per parameter and row, and what `by` takes.
    ///
    /// # Errors
    /// Sizes, what `by` returns, a loss that is not finite. After an error nothing has changed.
    ///
    /// ```
    /// # use rivergram_core::error::TrainError;
    /// # use rivergram_core::gram::contrastive::{GramLoss, gram_loss, workspace_len};
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::lanes::One;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// let heads = [Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.001_f32), &[])?;
    /// # let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
    /// # let (mut gradient, mut workspace) = ([0.0; 12], vec![0.0; setup.align_workspace_len(2)]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let (loss, inputs) = (GramLoss::paper(0), [&[1.0, 0.0, 0.0, 1.0][..], &[0.9, 0.1, 0.2, 0.8]]);
    /// let (step, report) = trainer.align_by(One::new(), &inputs, None, 2, |batch, gradient| {
    ///     let mut work = [0.0; workspace_len(2, 2, 2)];
    ///     gram_loss(One::new(), &loss, batch, gradient, &mut work).map_err(TrainError::from)
    /// })?;
    /// assert!(step.loss == report.loss && trainer.updates() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn align_by<I: Isa<Scalar = T>, E: From<TrainError>>(
        &mut self,
        isa: I,
        inputs: &[&[T]],
        present: Option<&[bool]>,
        rows: usize,
        by: impl FnOnce(&contrastive::Batch<'_, T>, &mut [T]) -> Result<GramReport<T>, E>,
    ) -> Result<(Step<T>, GramReport<T>), E> {
        let term = Term::Volume(Anchor::Each);
        self.align_on(
            isa,
            term,
            inputs,
            present,
            rows,
            |batch, outputs, gradient, _| {
                let vectors = &*outputs;
                by(&contrastive::Batch { vectors, ..*batch }, gradient)
            },
        )
    }

    /// [`Trainer::align`] of features in 8 bits, such as lie in flash; a step unpacks four rows at a time.
    /// Cost: its, and the unpacking.
    ///
    /// # Errors
    /// Those of [`Trainer::align`].
    ///
    /// ```
    /// use rivergram_core::features::Int8;
    /// use rivergram_core::gram::contrastive::{GramLoss, Term, Anchor};
    /// use rivergram_core::head::Head;
    /// use rivergram_core::lanes::One;
    /// use rivergram_core::optim::Optimizer;
    /// use rivergram_core::schedule::{Plan, Settings, State};
    /// use rivergram_core::trainer::{Setup, Storage, Trainer, lean_align_workspace_len};
    ///
    /// static FEATURES: [[i8; 4]; 2] = [[100, 0, 5, 90], [90, 10, 20, 80]];
    /// const HEADS: [Head; 2] = [Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
    /// let setup = Setup { heads: &HEADS, optimizer: Optimizer::sgd(), clip: None };
    /// let plan = Plan::new(Settings::constant(0.001_f32), &[])?;
    /// let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
    /// let loss = GramLoss { normalise: false, ..GramLoss::paper(0) };
    /// let mut workspace = [0.0; lean_align_workspace_len(&HEADS, 2, Term::Volume(Anchor::One(0)))];
    /// let storage = Storage {
    ///     parameters: &mut parameters,
    ///     gradient: &mut [], // Each head is updated as soon as its gradient is there.
    ///     moments: &mut [],
    ///     workspace: &mut workspace,
    /// };
    /// let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let inputs = FEATURES.each_ref().map(|values| Int8 { values, scale: 0.01 });
    /// let (first, _) = trainer.align_int8(One::new(), &loss, &inputs, None, 2)?;
    /// let (second, _) = trainer.align_int8(One::new(), &loss, &inputs, None, 2)?;
    /// assert!(second.loss < first.loss);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn align_int8<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        loss: &GramLoss<T>,
        inputs: &[Int8<'_, T>],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<T>, GramReport<T>), TrainError> {
        self.align_features(isa, loss, inputs, present, rows)
    }

    #[inline(always)]
    fn align_features<I: Isa<Scalar = T>, F: Features<T>>(
        &mut self,
        isa: I,
        loss: &GramLoss<T>,
        inputs: &[F],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<T>, GramReport<T>), TrainError> {
        self.align_on(
            isa,
            loss.term,
            inputs,
            present,
            rows,
            |batch, outputs, gradient, scratch| {
                let found = gram_loss_in_place(isa, loss, batch, outputs, gradient, scratch);
                found.map_err(TrainError::from)
            },
        )
    }

    /// `by` is given a batch without vectors, the outputs, room for their gradient and the rest of the workspace.
    #[inline(always)]
    fn align_on<I: Isa<Scalar = T>, F: Features<T>, E: From<TrainError>>(
        &mut self,
        isa: I,
        term: Term,
        inputs: &[F],
        present: Option<&[bool]>,
        rows: usize,
        by: impl FnOnce(
            &contrastive::Batch<'_, T>,
            &mut [T],
            &mut [T],
            &mut [T],
        ) -> Result<GramReport<T>, E>,
    ) -> Result<(Step<T>, GramReport<T>), E> {
        let heads = self.setup.heads;
        let d = check_align(
            heads,
            term,
            inputs,
            rows,
            self.packing::<F>(),
            self.storage.workspace.len(),
        )?;
        let plane = rows.saturating_mul(d).max(1);
        let outputs_len = heads.len().saturating_mul(plane);
        let (outputs, rest) = take(self.storage.workspace, outputs_len);
        let (d_outputs, rest) = take(rest, outputs_len);
        let caches_len = heads.iter().fold(0_usize, |sum, head| {
            sum.saturating_add(head.cache_len(rows))
        });
        let (caches, scratch) = take(rest, caches_len);

        let parameters = &*self.storage.parameters;
        let bundle = Bundle {
            heads,
            rows,
            inputs,
        };
        bundle.forward::<false, I>(isa, parameters, outputs, caches, scratch);
        let batch = contrastive::Batch {
            vectors: &[],
            present,
            k: heads.len(),
            rows,
            d,
        };
        let report = by(&batch, outputs, d_outputs, scratch)?;
        let backward = Backward {
            inputs,
            rows,
            y: outputs,
            dy: d_outputs,
            caches,
            scratch,
        };
        let step = isa.enter(Learn::<_, _, _, false> {
            setup: &self.setup,
            backward,
            parameters: self.storage.parameters,
            gradient: self.storage.gradient,
            moments: self.storage.moments,
            rates: &mut self.schedule,
            updates: &mut self.updates,
            loss: report.loss,
        })?;
        Ok((step, report))
    }

    /// One step of transcription: the only head, which must not normalise, gives the logits of every output
    /// position, `inputs` \[B, T, input\], for a sequence loss with labels.
    ///
    /// Cost: 6 operations per parameter and position, and those of
    /// [`eisl::loss_and_gradient_in_place`].
    ///
    /// # Errors
    /// Sizes, everything that the sequence loss refuses, a loss that is not finite. After an error nothing has
    /// changed.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::lanes::One;
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let inputs = [1.0, 0.5];
    /// let (first, _) = trainer.transcribe(One::new(), &config, &batch, &inputs)?;
    /// let (second, _) = trainer.transcribe(One::new(), &config, &batch, &inputs)?;
    /// assert!(second.loss < first.loss);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn transcribe<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: &[T],
    ) -> Result<(Step<T>, eisl::Losses<T>), TrainError> {
        self.transcribe_features(isa, config, batch, inputs)
    }

    /// [`Trainer::transcribe`] whose loss is computed elsewhere, as by a GPU: `by` is given the logits \[batch, positions,
    /// vocabulary\], which it replaces by their gradient. That gradient goes through the head as that of
    /// [`Trainer::transcribe`] does. The buffers are its, too.
    ///
    /// Cost: 6 operations per parameter and position, and what `by` takes.
    ///
    /// # Errors
    /// Sizes, what `by` returns, a loss that is not finite. After an error nothing has changed.
    ///
    /// ```
    /// # use rivergram_core::error::TrainError;
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::sgd(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut workspace) = ([0.5; 9], [0.0; 9], [0.0; 64]);
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut [],
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # use rivergram_core::eisl::{Batch, Config, Parts, Shape, loss_and_gradient_in_place};
    /// # use rivergram_core::lanes::One;
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let inputs = [1.0, 0.5];
    /// let (step, losses) = trainer.transcribe_by(One::new(), &config, &batch, &inputs, |logits| {
    ///     let mut work = [0.0; 16];
    ///     let (isa, parts) = (One::new(), Parts::none());
    ///     loss_and_gradient_in_place(isa, &config, &batch, logits, parts, &mut work).map_err(TrainError::from)
    /// })?;
    /// assert!(step.loss == losses.total && trainer.updates() == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn transcribe_by<I: Isa<Scalar = T>, E: From<TrainError>>(
        &mut self,
        isa: I,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: &[T],
        by: impl FnOnce(&mut [T]) -> Result<eisl::Losses<T>, E>,
    ) -> Result<(Step<T>, eisl::Losses<T>), E> {
        self.transcribe_on(isa, config, batch, inputs, |logits, _| by(logits))
    }

    /// [`Trainer::transcribe`] of features in 8 bits, such as lie in flash; a step unpacks four rows at a time.
    /// Cost: its, and the unpacking.
    ///
    /// # Errors
    /// Those of [`Trainer::transcribe`].
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::lanes::One;
    /// use rivergram_core::features::Int8;
    ///
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let inputs = Int8 { values: &[100, 50], scale: 0.01 };
    /// let (first, _) = trainer.transcribe_int8(One::new(), &config, &batch, inputs)?;
    /// let (second, _) = trainer.transcribe_int8(One::new(), &config, &batch, inputs)?;
    /// assert!(second.loss < first.loss);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn transcribe_int8<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: Int8<'_, T>,
    ) -> Result<(Step<T>, eisl::Losses<T>), TrainError> {
        self.transcribe_features(isa, config, batch, inputs)
    }

    #[inline(always)]
    fn transcribe_features<I: Isa<Scalar = T>, F: Features<T>>(
        &mut self,
        isa: I,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: F,
    ) -> Result<(Step<T>, eisl::Losses<T>), TrainError> {
        self.transcribe_on(isa, config, batch, inputs, |logits, scratch| {
            let parts = eisl::Parts::none();
            let found =
                eisl::loss_and_gradient_in_place(isa, config, batch, logits, parts, scratch);
            found.map_err(TrainError::from)
        })
    }

    /// `by` is given the logits, which it replaces by their gradient, and the rest of the workspace.
    #[inline(always)]
    fn transcribe_on<I: Isa<Scalar = T>, F: Features<T>, E: From<TrainError>>(
        &mut self,
        isa: I,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: F,
        by: impl FnOnce(&mut [T], &mut [T]) -> Result<eisl::Losses<T>, E>,
    ) -> Result<(Step<T>, eisl::Losses<T>), E> {
        let head = self.check_transcribe(config, batch, inputs)?;
        let rows = batch.shape.batch.saturating_mul(batch.shape.positions);
        let outputs_len = rows.saturating_mul(head.output);
        let (logits, rest) = take(self.storage.workspace, outputs_len);
        let (cache, scratch) = take(rest, head.cache_len(rows));
        let (tile, _) = take(scratch, features::tile_len_of::<F, _>(head.input));
        head.forward_on(isa, self.storage.parameters, inputs, logits, cache, tile);
        let losses = by(logits, scratch)?;
        let backward = Backward {
            inputs: &[inputs],
            rows,
            y: &[],
            dy: logits,
            caches: cache,
            scratch,
        };
        let step = isa.enter(Learn::<_, _, _, false> {
            setup: &self.setup,
            backward,
            parameters: self.storage.parameters,
            gradient: self.storage.gradient,
            moments: self.storage.moments,
            rates: &mut self.schedule,
            updates: &mut self.updates,
            loss: losses.total,
        })?;
        Ok((step, losses))
    }

    fn check_transcribe<F: Features<T>>(
        &self,
        config: &eisl::Config<'_, T>,
        batch: &eisl::Batch<'_, T>,
        inputs: F,
    ) -> Result<Head, TrainError> {
        let [head] = self.setup.heads else {
            return Err(TrainError::Heads {
                need: 1,
                have: self.setup.heads.len(),
            });
        };
        let shape = batch.shape;
        if head.normalise {
            return Err(TrainError::Normalised { head: 0 });
        }
        if head.output != shape.vocabulary {
            return Err(TrainError::Output {
                head: 0,
                need: shape.vocabulary,
                have: head.output,
            });
        }
        let rows = shape.batch.saturating_mul(shape.positions);
        check_input(0, head, rows, inputs)?;
        let loss = batch.workspace_len(config);
        let need = transcribe_len(head, shape, loss, self.packing::<F>());
        check_workspace(need, self.storage.workspace.len())?;
        Ok(*head)
    }

    fn packing<F: Features<T>>(&self) -> Packing {
        Packing {
            gradient: self.storage.gradient.is_empty(),
            features: F::PACKED,
        }
    }

    /// Writes parameters, moments, counts and the schedule's state to the start of `to`; returns the
    /// length, [`Setup::saved_len`]. Cost: one copy and a checksum.
    ///
    /// # Errors
    /// [`TrainError::Encode`]: fewer bytes than that; none is then written.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// let mut bytes = [0; 256];
    /// assert_eq!(trainer.save(&mut bytes), Ok(setup.saved_len()));
    /// assert!(trainer.save(&mut bytes[..10]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, to: &mut [u8]) -> Result<usize, TrainError> {
        let (need, have) = (self.setup.saved_len(), to.len());
        if have < need {
            return Err(EncodeError::NoSpace { need, have }.into());
        }
        let mut writer = Writer::new(to, MAGIC, VERSION);
        writer.u32(self.setup.hash());
        writer.u64(self.updates);
        writer.reals(self.storage.parameters);
        writer.reals(self.storage.moments);
        let frame = writer.finish()?;
        let rest = to.get_mut(frame..).unwrap_or_default();
        Ok(frame.saturating_add(self.schedule.save(rest)?))
    }

    /// Reads what a trainer of an equal setup and schedule saved; what follows it in `bytes` is not looked at.
    /// Cost: one copy and a checksum.
    ///
    /// # Errors
    /// Bytes that are cut or damaged, or saved by a trainer of another setup or schedule. After an error nothing
    /// has changed.
    ///
    /// ```
    /// # use rivergram_core::head::Head;
    /// # use rivergram_core::optim::Optimizer;
    /// # use rivergram_core::schedule::{Plan, Settings, State};
    /// # use rivergram_core::trainer::{Setup, Storage, Trainer};
    /// # let heads = [Head { input: 2, hidden: 0, output: 3, normalise: false }];
    /// # let setup = Setup { heads: &heads, optimizer: Optimizer::lion(), clip: None };
    /// # let plan = Plan::new(Settings::constant(0.125_f32), &[])?;
    /// # let (mut parameters, mut gradient, mut moments) = ([0.5; 9], [0.0; 9], [0.0; 9]);
    /// # let mut workspace = [0.0; 64];
    /// # let storage = Storage {
    /// #     parameters: &mut parameters,
    /// #     gradient: &mut gradient,
    /// #     moments: &mut moments,
    /// #     workspace: &mut workspace,
    /// # };
    /// # let mut trainer = Trainer::new(setup, storage, State::new(&plan))?;
    /// # use rivergram_core::eisl::{Batch, Config, Shape};
    /// # use rivergram_core::lanes::One;
    /// # let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
    /// # let (config, batch) = (Config::cross_entropy(0.0), Batch::new(shape, &[2]));
    /// let mut bytes = [0; 256];
    /// trainer.save(&mut bytes)?;
    /// trainer.transcribe(One::new(), &config, &batch, &[1.0, 0.5])?;
    /// assert_ne!(trainer.parameters(), [0.5; 9]);
    /// trainer.load(&bytes)?; // Back to before the step.
    /// assert_eq!((trainer.updates(), trainer.parameters()), (0, &[0.5; 9][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let mut reader = Reader::open(bytes, MAGIC, VERSION)?;
        if reader.u32()? != self.setup.hash() {
            return Err(TrainError::OtherTrainer);
        }
        let updates = reader.u64()?;
        let storage = &mut self.storage;
        let floats = storage
            .parameters
            .len()
            .saturating_add(storage.moments.len());
        if reader.remaining() != floats.saturating_mul(size_of::<T>()) {
            return Err(TrainError::OtherTrainer);
        }
        let rest = bytes.get(reader.frame_len()..).unwrap_or(&[]);
        self.schedule = State::load(self.schedule.plan(), rest)?;
        reader.reals(storage.parameters)?;
        reader.reals(storage.moments)?;
        self.updates = updates;
        Ok(())
    }
}

/// Some heads, and what they read.
struct Bundle<'a, F> {
    heads: &'a [Head],
    inputs: &'a [F],
    rows: usize,
}

impl<F> Bundle<'_, F> {
    /// The outputs of all heads \[heads, rows, output\], and what they keep. `LINEAR`: no head has a hidden layer, and
    /// the code of those that do is left out.
    #[inline(always)]
    fn forward<const LINEAR: bool, I: Isa>(
        &self,
        isa: I,
        mut parameters: &[I::Scalar],
        outputs: &mut [I::Scalar],
        mut caches: &mut [I::Scalar],
        scratch: &mut [I::Scalar],
    ) where
        F: Features<I::Scalar>,
    {
        let rows = self.rows;
        let mut outputs = outputs;
        for (head, x) in self.heads.iter().zip(self.inputs) {
            let head = if LINEAR { head.linear() } else { *head };
            let (own, others) = split(parameters, head.parameters_len());
            let (cache, other_caches) = take(caches, head.cache_len(rows));
            let (y, other_outputs) = take(outputs, rows.saturating_mul(head.output));
            let (tile, _) = take(scratch, features::tile_len_of::<F, _>(head.input));
            let forward = Forward {
                head,
                parameters: own,
                x: *x,
                y,
                cache,
                tile,
            };
            if LINEAR {
                forward.run(isa);
            } else {
                isa.enter(forward);
            }
            (parameters, caches, outputs) = (others, other_caches, other_outputs);
        }
    }
}

/// Whether heads, inputs and workspace fit; the length of an output.
fn check_align<T: Real, F: Features<T>>(
    heads: &[Head],
    term: Term,
    inputs: &[F],
    rows: usize,
    packing: Packing,
    workspace: usize,
) -> Result<usize, TrainError> {
    if inputs.len() != heads.len() {
        return Err(TrainError::Heads {
            need: inputs.len(),
            have: heads.len(),
        });
    }
    let d = heads.first().map_or(0, |head| head.output);
    for (index, (head, x)) in (0..heads.len()).zip(heads.iter().zip(inputs)) {
        if head.output != d {
            return Err(TrainError::Output {
                head: index,
                need: d,
                have: head.output,
            });
        }
        check_input(index, head, rows, *x)?;
    }
    check_workspace(align_len(heads, rows, term, packing), workspace)?;
    Ok(d)
}

#[inline(always)]
fn check_input<T, F: Features<T>>(
    index: usize,
    head: &Head,
    rows: usize,
    x: F,
) -> Result<(), TrainError> {
    let buffer = TrainBuffer::Input { head: index };
    check_len(
        buffer,
        rows.saturating_mul(head.input),
        x.numbers(head.input),
    )
}

fn check_workspace(need: usize, have: usize) -> Result<(), TrainError> {
    if have < need {
        let buffer = TrainBuffer::Workspace;
        return Err(TrainError::Storage { buffer, need, have });
    }
    Ok(())
}

#[inline(always)]
fn check_len(buffer: TrainBuffer, need: usize, have: usize) -> Result<(), TrainError> {
    if need == have {
        Ok(())
    } else {
        Err(TrainError::Storage { buffer, need, have })
    }
}

fn check_finite<T: Real>(buffer: TrainBuffer, numbers: &[T]) -> Result<(), TrainError> {
    let mut places = (0..numbers.len()).zip(numbers);
    match places.find(|(_, x)| !x.is_finite()) {
        Some((index, _)) => Err(TrainError::Value { buffer, index }),
        None => Ok(()),
    }
}

#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
