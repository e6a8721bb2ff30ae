//! Training steps of heads over the caller's memory.

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::trainer::{Setup, Step, Storage, Trainer};

use crate::eisl::{Arrays, rivergram_eisl_batch, rivergram_eisl_losses, rivergram_eisl_options};
use crate::gram::{rivergram_gram_options, rivergram_gram_report};
use crate::head::{rivergram_head, rivergram_optimizer};
use crate::raw::{In, Out, Span, answer, apart};
use crate::status::{Failure, rivergram_error, rivergram_status};
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
    /// The gradient, as long as the parameters.
    pub gradient: *mut f32,
    /// Its length.
    pub gradient_len: usize,
    /// The optimizer's moments; they begin as zeros.
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
    /// Floats of workspace for `rivergram_trainer_align` with so many rows.
    pub align_workspace: usize,
    /// Bytes that `rivergram_trainer_save` writes.
    pub saved: usize,
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

    /// Calls with a trainer in core's types; updates and the schedule then stand where it left them.
    ///
    /// # Safety
    /// The contract of [`crate::raw`], and [`Memory::spans`] were checked.
    #[inline(always)]
    unsafe fn with<R>(
        &self,
        options: &rivergram_trainer,
        updates: &mut u64,
        call: impl FnOnce(&mut Trainer<'_, f32>) -> Result<R, TrainError>,
    ) -> Result<R, Failure> {
        let mut heads = NO_HEADS;
        // SAFETY: as promised to this function.
        let (setup, schedule, storage) = unsafe {
            let storage = Storage {
                parameters: self.parameters.slice(),
                gradient: self.gradient.slice(),
                moments: self.moments.slice(),
                workspace: self.workspace.slice(),
            };
            let setup = setup(options, self.heads.slice(), &mut heads)?;
            (setup, Schedule::of_mut(&self.schedule)?, storage)
        };
        let mut trainer = Trainer::resume(setup, storage, schedule.state()?, options.updates)?;
        let result = call(&mut trainer)?;
        *updates = trainer.updates();
        let progress = trainer.schedule().progress();
        schedule.set(progress);
        Ok(result)
    }
}

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
            apart(&[own, memory.heads.span()?, lens.span()?])?;
            let mut heads = NO_HEADS;
            let setup = setup(options, memory.heads.slice(), &mut heads)?;
            lens.write(rivergram_trainer_lens {
                parameters: setup.parameters_len(),
                moments: setup.moments_len(),
                align_workspace: setup.align_workspace_len(rows),
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
    let trainer = Out::one(c"trainer", trainer);
    let loss = In::one(c"loss", loss);
    let inputs = In::array(c"inputs", inputs, inputs_count);
    let inputs_len = In::array(c"inputs_len", inputs_len, inputs_count);
    let present = In::optional(c"present", present, present_len);
    let (step, report) = (Out::one(c"step", step), Out::optional(c"report", report));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let outer = [
                trainer.span()?,
                loss.span()?,
                inputs.span()?,
                inputs_len.span()?,
                present.span()?,
                step.span()?,
                report.span()?,
            ];
            let options = *trainer.get()?;
            let memory = Memory::new(&options);
            let arrays = inputs_of(inputs.slice(), inputs_len.slice())?;
            let mut spans = [Span::NONE; 7 + 6 + RIVERGRAM_HEADS_MAX];
            for (to, from) in spans
                .iter_mut()
                .zip(outer.into_iter().chain(memory.spans()?))
            {
                *to = from;
            }
            for (to, array) in spans.iter_mut().rev().zip(&arrays) {
                *to = array.span()?;
            }
            apart(&spans)?;
            let slices = arrays.each_ref().map(|array| array.slice());
            let slices = slices.get(..inputs_count).unwrap_or_default();
            let present = present.flags(options.heads_len.saturating_mul(rows))?;
            let loss = loss.get()?.to_core()?;
            let updates = &mut trainer.get()?.updates;
            let (taken, found) = memory.with(&options, updates, |trainer| {
                trainer.align(One::new(), &loss, slices, present, rows)
            })?;
            step.write(taken.into());
            report.write(found.into());
            Ok(())
        })
    }
}

/// The input of each head; those that are not there are empty.
fn inputs_of(
    pointers: &[*const f32],
    lens: &[usize],
) -> Result<[In<f32>; RIVERGRAM_HEADS_MAX], Failure> {
    let mut inputs = [In::array(c"inputs", core::ptr::null(), 0); RIVERGRAM_HEADS_MAX];
    if pointers.len() > inputs.len() {
        return Err(Failure::length(c"inputs", inputs.len(), pointers.len()));
    }
    for ((to, pointer), len) in inputs.iter_mut().zip(pointers).zip(lens) {
        *to = In::array(c"inputs", *pointer, *len);
    }
    Ok(inputs)
}

/// Floats of workspace for `rivergram_trainer_transcribe` with these options and a batch of these sizes. Of the
/// trainer the heads are looked at, of the batch the sizes.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH of `heads` or `orders`, OPTION.
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
            let outer = [trainer.span()?, loss.span()?, batch.span()?, len.span()?];
            let options = trainer.get()?;
            let memory = Memory::new(options);
            let arrays = Arrays::new(loss.get()?, batch.get()?);
            let mut spans = [Span::NONE; 4 + 1 + 6];
            let inner = arrays.spans()?.into_iter().chain([memory.heads.span()?]);
            for (to, from) in spans.iter_mut().zip(outer.into_iter().chain(inner)) {
                *to = from;
            }
            apart(&spans)?;
            let mut heads = NO_HEADS;
            let setup = setup(options, memory.heads.slice(), &mut heads)?;
            let need = arrays.with(loss.get()?, batch.get()?, |config, batch| {
                Ok(setup.transcribe_workspace_len(config, batch))
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
    let trainer = Out::one(c"trainer", trainer);
    let (loss, batch) = (In::one(c"loss", loss), In::one(c"batch", batch));
    let inputs = In::array(c"inputs", inputs, inputs_len);
    let (step, losses) = (Out::one(c"step", step), Out::optional(c"losses", losses));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            let outer = [
                trainer.span()?,
                loss.span()?,
                batch.span()?,
                inputs.span()?,
                step.span()?,
                losses.span()?,
            ];
            let options = *trainer.get()?;
            let memory = Memory::new(&options);
            let arrays = Arrays::new(loss.get()?, batch.get()?);
            let mut spans = [Span::NONE; 6 + 6 + 6];
            let inner = memory.spans()?.into_iter().chain(arrays.spans()?);
            for (to, from) in spans.iter_mut().zip(outer.into_iter().chain(inner)) {
                *to = from;
            }
            apart(&spans)?;
            let updates = &mut trainer.get()?.updates;
            let (taken, found) = arrays.with(loss.get()?, batch.get()?, |config, batch| {
                memory.with(&options, updates, |trainer| {
                    trainer.transcribe(One::new(), config, batch, inputs.slice())
                })
            })?;
            step.write(taken.into());
            losses.write(found.into());
            Ok(())
        })
    }
}

/// Writes parameters, moments, counts and the schedule's state to the start of `bytes`, with checksums;
/// `rivergram_trainer_lens_of` tells how many bytes.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, SIZE, LENGTH, OPTION, NOT_A_STATE.
///
/// # Safety
/// Behind each pointer, also in `trainer`, lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_trainer_save(
    trainer: *mut rivergram_trainer,
    bytes: *mut u8,
    bytes_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let bytes = Out::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `stored` sees all memory before it is used.
    unsafe {
        answer(error, || {
            stored(trainer, bytes.span()?, |trainer| {
                trainer.save(bytes.slice()).map(drop)
            })
        })
    }
}

/// Reads what a trainer with equal heads, optimizer, clip and schedule saved. After an error nothing has changed.
///
/// Errors: those of `rivergram_trainer_save`, and TRUNCATED, NOT_SAVED, FORMAT_VERSION, CHECKSUM, OTHER_SETTINGS,
/// PHASE.
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
    let bytes = In::array(c"bytes", bytes, bytes_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `stored` sees all memory before it is used.
    unsafe {
        answer(error, || {
            stored(trainer, bytes.span()?, |trainer| {
                trainer.load(bytes.slice())
            })
        })
    }
}

/// Calls with a trainer whose memory was checked, that of `bytes` included.
///
/// # Safety
/// The contract of [`crate::raw`].
#[inline(always)]
unsafe fn stored(
    trainer: *mut rivergram_trainer,
    bytes: Span,
    call: impl FnOnce(&mut Trainer<'_, f32>) -> Result<(), TrainError>,
) -> Result<(), Failure> {
    let trainer = Out::one(c"trainer", trainer);
    let own = trainer.span()?;
    // SAFETY: as promised to this function; the trainer was just seen, and all that it points to is before it is
    // used.
    unsafe {
        let options = *trainer.get()?;
        let memory = Memory::new(&options);
        let [a, b, c, d, e, f] = memory.spans()?;
        apart(&[own, bytes, a, b, c, d, e, f])?;
        memory.with(&options, &mut trainer.get()?.updates, call)
    }
}
