//! Training steps of heads over the caller's memory.

use rivergram_core::eisl::{Batch, Config, Losses};
use rivergram_core::error::TrainError;
use rivergram_core::features::Int8;
use rivergram_core::gram::contrastive::{Anchor, GramLoss, GramReport, Term};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::trainer::{
    Setup, Step, Storage, Trainer, lean_align_workspace_len, lean_transcribe_workspace_len,
};

use crate::eisl::{Arrays, rivergram_eisl_batch, rivergram_eisl_losses, rivergram_eisl_options};
use crate::gram::{rivergram_gram_options, rivergram_gram_report};
use crate::head::{rivergram_head, rivergram_optimizer};
use crate::raw::{In, Out, Span, answer, apart, reported};
use crate::status::{Failure, check_finite, rivergram_error, rivergram_status};
use crate::wsds::{Schedule, rivergram_wsds};

/// The most heads of a trainer.
pub const RIVERGRAM_HEADS_MAX: usize = 8;

/// A trainer: heads, optimizer, schedule, and where their numbers lie. Fill it in; everything is checked at each call,
/// and what lies in the arrays may be read and changed in between.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_trainer {
    /// 1 to `RIVERGRAM_HEADS_MAX`.
    pub heads: *const rivergram_head,
    /// How many.
    pub heads_len: usize,
    /// The optimizer.
    pub optimizer: rivergram_optimizer,
    /// The norm that the gradient is clipped to; INFINITY: it is not.
    pub clip: f32,
    /// The parameters of all heads, one head after the other.
    pub parameters: *mut f32,
    /// Their number, see `rivergram_trainer_lens_of`.
    pub parameters_len: usize,
    /// The gradient, as long as the parameters. NULL where memory is short: a step then makes that of one head at a
    /// time in the workspace, and the updates are the same.
    pub gradient: *mut f32,
    /// Its length, or 0.
    pub gradient_len: usize,
    /// The optimizer's moments; they begin as zeros, and one that is not finite is an error of a step.
    pub moments: *mut f32,
    /// Their number; 0 for SGD without momentum.
    pub moments_len: usize,
    /// What a step needs besides; longer is fine.
    pub workspace: *mut f32,
    /// Its length.
    pub workspace_len: usize,
    /// The rates. A step counts one; where the schedule counts samples or tokens, `rivergram_wsds_advance` after each
    /// step counts the others of its batch.
    pub schedule: *mut rivergram_wsds,
    /// Updates made so far: begin with 0.
    pub updates: u64,
}

/// Lengths that belong to a trainer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct rivergram_trainer_lens {
    /// Floats of parameters, and of the gradient.
    pub parameters: usize,
    /// Floats of moments.
    pub moments: usize,
    /// Floats of workspace for `rivergram_trainer_align` with so many rows and a gradient.
    pub align_workspace: usize,
    /// The same without a gradient or with features in 8 bits, for a loss with one anchor. With each modality as the
    /// anchor (heads - 1) rows d more, d being the length of an output.
    pub lean_align_workspace: usize,
    /// Bytes that `rivergram_trainer_save` writes.
    pub saved: usize,
}

/// Features in 8 bits: x = scale * value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rivergram_features_i8 {
    /// `[rows, input]`.
    pub values: *const i8,
    /// Their number.
    pub values_len: usize,
    /// How much a step of 1 is.
    pub scale: f32,
}

/// What one step did.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct rivergram_step {
    /// The loss before the update.
    pub loss: f32,
    /// The rate of the update.
    pub rate: f32,
    /// The norm of the gradient before it was clipped.
    pub gradient_norm: f32,
}

impl From<Step<f32>> for rivergram_step {
    fn from(step: Step<f32>) -> Self {
        rivergram_step {
            loss: step.loss,
            rate: step.rate,
            gradient_norm: step.gradient_norm,
        }
    }
}

/// Heads as core wants them.
type Heads = [Head; RIVERGRAM_HEADS_MAX];

/// The arrays that a trainer points to.
struct Memory {
    heads: In<rivergram_head>,
    parameters: Out<f32>,
    gradient: Out<f32>,
    moments: Out<f32>,
    workspace: Out<f32>,
    schedule: Out<rivergram_wsds>,
}

impl Memory {
    fn new(trainer: &rivergram_trainer) -> Self {
        let array = Out::<f32>::array;
        Memory {
            heads: In::array(c"heads", trainer.heads, trainer.heads_len),
            parameters: array(c"parameters", trainer.parameters, trainer.parameters_len),
            gradient: array(c"gradient", trainer.gradient, trainer.gradient_len),
            moments: array(c"moments", trainer.moments, trainer.moments_len),
            workspace: array(c"workspace", trainer.workspace, trainer.workspace_len),
            schedule: Out::one(c"schedule", trainer.schedule),
        }
    }

    fn spans(&self) -> Result<[Span; 6], Failure> {
        Ok([
            self.heads.span()?,
            self.parameters.span()?,
            self.gradient.span()?,
            self.moments.span()?,
            self.workspace.span()?,
            self.schedule.span()?,
        ])
    }

    /// One step. Its moments are looked at before it: what is not finite there would be in every parameter after it.
    ///
    /// # Safety
    /// As [`Memory::with`].
    #[inline(always)]
    unsafe fn step<R>(
        &self,
        options: &rivergram_trainer,
        spans: &[Span],
        updates: &mut u64,
        call: impl FnOnce(&mut Trainer<'_, f32>) -> Result<R, TrainError>,
    ) -> Result<R, Failure> {
        // SAFETY: as promised to this function.
        unsafe {
            check_finite(c"moments", self.moments.slice())?;
            self.with(options, spans, updates, call)
        }
    }

    /// Calls with a trainer in core's types; updates and the schedule then stand where it left them.
    ///
    /// # Safety
    /// The contract of [`crate::raw`]; `spans` are all memory of the call but the budgets that the schedule holds on to,
    /// [`Memory::spans`] included, and are [`apart`].
    #[inline(always)]
    unsafe fn with<R>(
        &self,
        options: &rivergram_trainer,
        spans: &[Span],
        updates: &mut u64,
        call: impl FnOnce(&mut Trainer<'_, f32>) -> Result<R, TrainError>,
    ) -> Result<R, Failure> {
        let mut heads = NO_HEADS;
        // SAFETY: as promised to this function.
        let (setup, mut schedule, storage) = unsafe {
            let storage = Storage {
                parameters: self.parameters.slice(),
                gradient: self.gradient.slice(),
                moments: self.moments.slice(),
                workspace: self.workspace.slice(),
            };
            let setup = setup(options, self.heads.slice(), &mut heads)?;
            (setup, Schedule::of_mut(&self.schedule, spans)?, storage)
        };
        let mut trainer = Trainer::resume(setup, storage, schedule.state()?, options.updates)?;
        let result = call(&mut trainer)?;
        *updates = trainer.updates();
        let progress = trainer.schedule().progress();
        schedule.set(progress);
        Ok(result)
    }
}

/// A term of the loss with one anchor; which one makes no difference to lengths.
const PAPER: Term = Term::Volume(Anchor::One(0));

const NO_HEADS: Heads = [Head {
    input: 0,
    hidden: 0,
    output: 0,
    normalise: false,
}; RIVERGRAM_HEADS_MAX];

fn setup<'a>(
    options: &rivergram_trainer,
    heads: &[rivergram_head],
    own: &'a mut Heads,
) -> Result<Setup<'a, f32>, Failure> {
    for (to, head) in own.iter_mut().zip(heads) {
        *to = head.to_core()?;
    }
    let too_many = Failure::length(c"heads", RIVERGRAM_HEADS_MAX, heads.len());
    Ok(Setup {
        heads: own.get(..heads.len()).ok_or(too_many)?,
        optimizer: options.optimizer.to_core()?,
        clip: (options.clip != f32::INFINITY).then_some(options.clip),
    })
}

/// The lengths of a trainer's buffers, for steps of so many rows. Of the trainer, heads and optimizer are looked at.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `heads`, OPTION.
///
/// Cost: one step per head.
///
/// # Safety
/// `trainer` points to a `rivergram_trainer`, `lens` to a `rivergram_trainer_lens`; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_lens_of(
    trainer: *const rivergram_trainer,
    rows: usize,
    lens: *mut rivergram_trainer_lens,
    error: *mut rivergram_error,
) -> rivergram_status {
    let (trainer, lens) = (In::one(c"trainer", trainer), Out::one(c"lens", lens));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let own = trainer.span()?;
            let options = trainer.get()?;
            let memory = Memory::new(options);
            apart(&[
                reported(error).span()?,
                own,
                memory.heads.span()?,
                lens.span()?,
            ])?;
            let mut heads = NO_HEADS;
            let setup = setup(options, memory.heads.slice(), &mut heads)?;
            lens.write(rivergram_trainer_lens {
                parameters: setup.parameters_len(),
                moments: setup.moments_len(),
                align_workspace: setup.align_workspace_len(rows),
                lean_align_workspace: lean_align_workspace_len(setup.heads, rows, PAPER),
                saved: setup.saved_len(),
            });
            Ok(())
        })
    }
}

/// One step of alignment with the GRAM loss: `inputs[i]` `[rows, input of head i]` of each head, `inputs_len[i]` floats
/// of it; the outputs of the heads, all of one length, are the modalities of a tuple. `present` `[heads, rows]` has a 0
/// where a modality is absent; NULL: all are there. `report` may be NULL.
///
/// Cost: 6 operations per parameter and row, and those of `rivergram_gram_loss`.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE, ZERO_ROW, HEAD, DIVERGED,
/// NOT_A_STATE. An input or a parameter that is not finite is found in the output of its head: `index` is head and
/// row. After an error nothing has changed but gradient and workspace.
///
/// # Safety
/// Behind each pointer, also in `trainer` and `inputs`, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_align(
    trainer: *mut rivergram_trainer,
    loss: *const rivergram_gram_options,
    inputs: *const *const f32,
    inputs_len: *const usize,
    inputs_count: usize,
    present: *const u8,
    present_len: usize,
    rows: usize,
    step: *mut rivergram_step,
    report: *mut rivergram_gram_report,
    error: *mut rivergram_error,
) -> rivergram_status {
    let inputs = In::array(c"inputs", inputs, inputs_count);
    let inputs_len = In::array(c"inputs_len", inputs_len, inputs_count);
    let call = Align {
        trainer: Out::one(c"trainer", trainer),
        loss: In::one(c"loss", loss),
        present: In::optional(c"present", present, present_len),
        rows,
        step: Out::one(c"step", step),
        report: Out::optional(c"report", report),
        error: reported(error),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            let lists = [inputs.span()?, inputs_len.span()?];
            let pairs = inputs.slice().iter().zip(inputs_len.slice());
            let arrays = inputs_of(inputs_count, pairs.map(|(pointer, len)| (*pointer, *len)))?;
            call.run(lists, &arrays, |trainer, loss, slices, present| {
                let slices = slices.get(..inputs_count).unwrap_or_default();
                trainer.align(One::new(), loss, slices, present, rows)
            })
        })
    }
}

/// `rivergram_trainer_align` of features in 8 bits, such as lie in flash: a step unpacks four rows at a time, into a
/// workspace of `lean_align_workspace` floats.
///
/// Cost and Errors: those of `rivergram_trainer_align`.
///
/// # Safety
/// As `rivergram_trainer_align`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_align_i8(
    trainer: *mut rivergram_trainer,
    loss: *const rivergram_gram_options,
    inputs: *const rivergram_features_i8,
    inputs_count: usize,
    present: *const u8,
    present_len: usize,
    rows: usize,
    step: *mut rivergram_step,
    report: *mut rivergram_gram_report,
    error: *mut rivergram_error,
) -> rivergram_status {
    let inputs = In::array(c"inputs", inputs, inputs_count);
    let call = Align {
        trainer: Out::one(c"trainer", trainer),
        loss: In::one(c"loss", loss),
        present: In::optional(c"present", present, present_len),
        rows,
        step: Out::one(c"step", step),
        report: Out::optional(c"report", report),
        error: reported(error),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            let lists = [inputs.span()?, Span::NONE];
            let features = inputs.slice();
            let pairs = features
                .iter()
                .map(|input| (input.values, input.values_len));
            let arrays = inputs_of(inputs_count, pairs)?;
            call.run(lists, &arrays, |trainer, loss, slices, present| {
                let mut packed = slices.map(|values| Int8 { values, scale: 0.0 });
                for (to, input) in packed.iter_mut().zip(features) {
                    to.scale = input.scale;
                }
                let packed = packed.get(..inputs_count).unwrap_or_default();
                trainer.align_int8(One::new(), loss, packed, present, rows)
            })
        })
    }
}

/// What both functions take besides the inputs.
struct Align {
    trainer: Out<rivergram_trainer>,
    loss: In<rivergram_gram_options>,
    present: In<u8>,
    rows: usize,
    step: Out<rivergram_step>,
    report: Out<rivergram_gram_report>,
    error: Out<rivergram_error>,
}

/// The input of each head; those that are not there are empty.
type Inputs<T> = [In<T>; RIVERGRAM_HEADS_MAX];

impl Align {
    /// Checks all memory, the lists of the inputs and the inputs included, and makes a step.
    ///
    /// # Safety
    /// The contract of [`crate::raw`].
    #[inline(always)]
    unsafe fn run<T>(
        &self,
        lists: [Span; 2],
        inputs: &Inputs<T>,
        align: impl FnOnce(
            &mut Trainer<'_, f32>,
            &GramLoss<f32>,
            [&[T]; RIVERGRAM_HEADS_MAX],
            Option<&[bool]>,
        ) -> Result<(Step<f32>, GramReport<f32>), TrainError>,
    ) -> Result<(), Failure> {
        let [first, second] = lists;
        let outer = [
            self.error.span()?,
            self.trainer.span()?,
            self.loss.span()?,
            first,
            second,
            self.present.span()?,
            self.step.span()?,
            self.report.span()?,
        ];
        // SAFETY: as promised to this function; the trainer was just seen, and all that it points to is before it is
        // used.
        unsafe {
            let options = *self.trainer.get()?;
            let memory = Memory::new(&options);
            let mut spans = [Span::NONE; 8 + 6 + RIVERGRAM_HEADS_MAX];
            for (to, from) in spans
                .iter_mut()
                .zip(outer.into_iter().chain(memory.spans()?))
            {
                *to = from;
            }
            for (to, input) in spans.iter_mut().rev().zip(inputs) {
                *to = input.span()?;
            }
            apart(&spans)?;
            let slices = inputs.each_ref().map(|input| input.slice());
            let present = self
                .present
                .flags(options.heads_len.saturating_mul(self.rows))?;
            let loss = self.loss.get()?.to_core()?;
            let updates = &mut self.trainer.get()?.updates;
            let (taken, found) = memory.step(&options, &spans, updates, |trainer| {
                align(trainer, &loss, slices, present)
            })?;
            self.step.write(taken.into());
            self.report.write(found.into());
            Ok(())
        }
    }
}

fn inputs_of<T>(
    count: usize,
    pairs: impl Iterator<Item = (*const T, usize)>,
) -> Result<Inputs<T>, Failure> {
    let mut inputs = core::array::from_fn(|_| In::array(c"inputs", core::ptr::null(), 0));
    if count > inputs.len() {
        return Err(Failure::length(c"inputs", inputs.len(), count));
    }
    for (to, (pointer, len)) in inputs.iter_mut().zip(pairs) {
        *to = In::array(c"inputs", pointer, len);
    }
    Ok(inputs)
}

/// Floats of workspace for `rivergram_trainer_transcribe` with these options and a batch of these sizes. Of the
/// trainer the heads are looked at, of the batch the sizes. Where the trainer has no gradient there is room for it, and
/// for four rows of features in 8 bits. Where it has one `rivergram_trainer_transcribe_i8` takes up to these four rows,
/// 4 * input floats, more.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `heads` or `orders`, OPTION.
///
/// Cost: O(1).
///
/// # Safety
/// Behind each pointer, also in the structures, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_transcribe_workspace_len(
    trainer: *const rivergram_trainer,
    loss: *const rivergram_eisl_options,
    batch: *const rivergram_eisl_batch,
    len: *mut usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let trainer = In::one(c"trainer", trainer);
    let (loss, batch) = (In::one(c"loss", loss), In::one(c"batch", batch));
    let len = Out::one(c"len", len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let outer = [
                reported(error).span()?,
                trainer.span()?,
                loss.span()?,
                batch.span()?,
                len.span()?,
            ];
            let options = trainer.get()?;
            let memory = Memory::new(options);
            let arrays = Arrays::new(loss.get()?, batch.get()?);
            let mut spans = [Span::NONE; 5 + 1 + 6];
            let inner = arrays.spans()?.into_iter().chain([memory.heads.span()?]);
            for (to, from) in spans.iter_mut().zip(outer.into_iter().chain(inner)) {
                *to = from;
            }
            apart(&spans)?;
            let mut heads = NO_HEADS;
            let setup = setup(options, memory.heads.slice(), &mut heads)?;
            let is_lean = options.gradient_len == 0;
            let need = arrays.with(loss.get()?, batch.get()?, |config, batch| {
                let orders = config.orders.len().saturating_add(config.from_length.len());
                Ok(match setup.heads.first().filter(|_| is_lean) {
                    Some(head) => lean_transcribe_workspace_len(head, batch.shape, orders),
                    None => setup.transcribe_workspace_len(config, batch),
                })
            })?;
            len.write(need);
            Ok(())
        })
    }
}

/// One step of transcription: the only head, which must not normalise, gives the logits of every output position,
/// `inputs` `[B, T, input]`, for a sequence loss with labels. `losses` may be NULL.
///
/// Cost: 6 operations per parameter and position, and those of `rivergram_eisl_loss_and_gradient`.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_FINITE (the logits: `index` is row, position
/// and token), TOKEN, ROW_LENGTH, HEAD, DIVERGED, NOT_A_STATE. After one nothing has changed but gradient and
/// workspace.
///
/// # Safety
/// Behind each pointer, also in the structures, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_transcribe(
    trainer: *mut rivergram_trainer,
    loss: *const rivergram_eisl_options,
    batch: *const rivergram_eisl_batch,
    inputs: *const f32,
    inputs_len: usize,
    step: *mut rivergram_step,
    losses: *mut rivergram_eisl_losses,
    error: *mut rivergram_error,
) -> rivergram_status {
    let inputs = In::array(c"inputs", inputs, inputs_len);
    let call = Transcribe {
        trainer: Out::one(c"trainer", trainer),
        loss: In::one(c"loss", loss),
        batch: In::one(c"batch", batch),
        step: Out::one(c"step", step),
        losses: Out::optional(c"losses", losses),
        error: reported(error),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            call.run(inputs.span()?, Span::NONE, |trainer, config, batch| {
                trainer.transcribe(One::new(), config, batch, inputs.slice())
            })
        })
    }
}

/// `rivergram_trainer_transcribe` of features in 8 bits, such as lie in flash: a step unpacks four rows at a time.
///
/// Cost and Errors: those of `rivergram_trainer_transcribe`.
///
/// # Safety
/// As `rivergram_trainer_transcribe`; `inputs` points to one `rivergram_features_i8`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_transcribe_i8(
    trainer: *mut rivergram_trainer,
    loss: *const rivergram_eisl_options,
    batch: *const rivergram_eisl_batch,
    inputs: *const rivergram_features_i8,
    step: *mut rivergram_step,
    losses: *mut rivergram_eisl_losses,
    error: *mut rivergram_error,
) -> rivergram_status {
    let inputs = In::one(c"inputs", inputs);
    let call = Transcribe {
        trainer: Out::one(c"trainer", trainer),
        loss: In::one(c"loss", loss),
        batch: In::one(c"batch", batch),
        step: Out::one(c"step", step),
        losses: Out::optional(c"losses", losses),
        error: reported(error),
    };
    // SAFETY: the contract of `raw`, which the caller keeps; `run` sees all memory before it is used.
    unsafe {
        answer(error, || {
            let own = inputs.span()?;
            let features = *inputs.get()?;
            let values = In::array(c"inputs", features.values, features.values_len);
            call.run(values.span()?, own, |trainer, config, batch| {
                let packed = Int8 {
                    values: values.slice(),
                    scale: features.scale,
                };
                trainer.transcribe_int8(One::new(), config, batch, packed)
            })
        })
    }
}

/// What both functions take besides the inputs.
struct Transcribe {
    trainer: Out<rivergram_trainer>,
    loss: In<rivergram_eisl_options>,
    batch: In<rivergram_eisl_batch>,
    step: Out<rivergram_step>,
    losses: Out<rivergram_eisl_losses>,
    error: Out<rivergram_error>,
}

impl Transcribe {
    /// Checks all memory, the inputs and their description included, and makes a step.
    ///
    /// # Safety
    /// The contract of [`crate::raw`].
    #[inline(always)]
    unsafe fn run(
        &self,
        inputs: Span,
        description: Span,
        transcribe: impl FnOnce(
            &mut Trainer<'_, f32>,
            &Config<'_, f32>,
            &Batch<'_, f32>,
        ) -> Result<(Step<f32>, Losses<f32>), TrainError>,
    ) -> Result<(), Failure> {
        let outer = [
            self.error.span()?,
            self.trainer.span()?,
            self.loss.span()?,
            self.batch.span()?,
            inputs,
            description,
            self.step.span()?,
            self.losses.span()?,
        ];
        // SAFETY: as promised to this function; the structures were just seen, and all that they point to is before
        // it is used.
        unsafe {
            let (loss, batch) = (self.loss.get()?, self.batch.get()?);
            let options = *self.trainer.get()?;
            let memory = Memory::new(&options);
            let arrays = Arrays::new(loss, batch);
            let mut spans = [Span::NONE; 8 + 6 + 6];
            let inner = memory.spans()?.into_iter().chain(arrays.spans()?);
            for (to, from) in spans.iter_mut().zip(outer.into_iter().chain(inner)) {
                *to = from;
            }
            apart(&spans)?;
            let updates = &mut self.trainer.get()?.updates;
            let (taken, found) = arrays.with(loss, batch, |config, batch| {
                memory.step(&options, &spans, updates, |trainer| {
                    transcribe(trainer, config, batch)
                })
            })?;
            self.step.write(taken.into());
            self.losses.write(found.into());
            Ok(())
        }
    }
}

/// Writes parameters, moments, counts and the schedule's state to the start of `bytes`, with checksums;
/// `rivergram_trainer_lens_of` tells how many bytes.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_A_STATE.
///
/// Cost: a copy of parameters and moments, and a checksum over it.
///
/// # Safety
/// Behind each pointer, also in `trainer`, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_save(
    trainer: *const rivergram_trainer,
    bytes: *mut u8,
    bytes_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let trainer = In::one(c"trainer", trainer);
    let bytes = Out::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `stored` sees all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, trainer.span()?, bytes.span()?];
            stored(&trainer, spans, |trainer| {
                trainer.save(bytes.slice()).map(drop)
            })
            .map(drop)
        })
    }
}

/// Reads what a trainer with equal heads, optimizer, clip and schedule saved. After an error nothing has changed.
///
/// Errors: those of `rivergram_trainer_save`, and TRUNCATED, NOT_SAVED, FORMAT_VERSION, CHECKSUM, OTHER_SETTINGS,
/// PHASE.
///
/// Cost: that of `rivergram_trainer_save`.
///
/// # Safety
/// Behind each pointer, also in `trainer`, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_load(
    trainer: *mut rivergram_trainer,
    bytes: *const u8,
    bytes_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let trainer = Out::one(c"trainer", trainer);
    let bytes = In::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `stored` sees all memory before it is used.
    unsafe {
        answer(error, || {
            let spans = [reported(error).span()?, trainer.span()?, bytes.span()?];
            let updates = stored(&trainer.read(), spans, |trainer| {
                trainer.load(bytes.slice())
            })?;
            trainer.get()?.updates = updates;
            Ok(())
        })
    }
}

/// Calls with a trainer whose memory was checked, with that of `error`, the trainer itself and bytes; returns its
/// updates then.
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn stored(
    trainer: &In<rivergram_trainer>,
    [error, own, bytes]: [Span; 3],
    call: impl FnOnce(&mut Trainer<'_, f32>) -> Result<(), TrainError>,
) -> Result<u64, Failure> {
    // SAFETY: as promised to this function; the trainer was just seen, and all that it points to is before it is
    // used.
    unsafe {
        let options = *trainer.get()?;
        let memory = Memory::new(&options);
        let [a, b, c, d, e, f] = memory.spans()?;
        let spans = [error, own, bytes, a, b, c, d, e, f];
        apart(&spans)?;
        let mut updates = options.updates;
        memory.with(&options, &spans, &mut updates, call)?;
        Ok(updates)
    }
}
