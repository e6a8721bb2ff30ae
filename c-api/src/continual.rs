//! What a training without an end needs besides: averages of the weights, and a reservoir of samples.

use rivergram_core::error::{OptimError, ReplayError};
use rivergram_core::lanes::One;
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::replay::Reservoir;
use rivergram_core::trainer::Average;

use crate::convert::choose;
use crate::raw::{In, Out, answer, apart, reported};
use crate::status::{Failure, RIVERGRAM_NONE, check_finite, rivergram_error, rivergram_status};

/// Which average of the weights.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum rivergram_average_kind {
    /// Exponential: the older an update, the less it counts. The first sets it.
    Ema = 0,
    /// Of all updates, each alike.
    Mean = 1,
    /// Of the latest `copies` copies, one every `every` updates (LAWA, arXiv 2306.03241).
    Lawa = 2,
}

const KINDS: [(u32, rivergram_average_kind); 3] = [
    (
        rivergram_average_kind::Ema as u32,
        rivergram_average_kind::Ema,
    ),
    (
        rivergram_average_kind::Mean as u32,
        rivergram_average_kind::Mean,
    ),
    (
        rivergram_average_kind::Lawa as u32,
        rivergram_average_kind::Lawa,
    ),
];

/// An average. Its numbers lie in an array of the caller, `rivergram_average_len` of them; both are what to save.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct rivergram_average {
    /// One of `rivergram_average_kind`.
    pub kind: u32,
    /// Of an exponential one the decay constant, from 0 to below 1.
    pub beta: f32,
    /// Of the latest copies how many, at least 1.
    pub copies: usize,
    /// And the updates between two of them, at least 1.
    pub every: u64,
    /// Updates taken in so far: begin with 0.
    pub updates: u64,
}

/// A reservoir of samples: of all that were offered, each is kept with the same probability (Vitter 1985, algorithm R).
/// Its samples lie in an array of the caller; both are what to save.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct rivergram_reservoir {
    /// Samples that it keeps, at least 1.
    pub capacity: usize,
    /// Decides what is kept and drawn.
    pub seed: u64,
    /// Samples offered so far: begin with 0.
    pub seen: u64,
}

impl From<OptimError> for Failure {
    fn from(error: OptimError) -> Self {
        match error {
            OptimError::Decay { .. } => Failure::option(c"beta"),
            OptimError::Window { .. } => Failure::option(c"copies or every"),
            OptimError::Length { need, have } => Failure::length(c"numbers", need, have),
            _ => Failure::new(rivergram_status::Refused, c""),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Capacity => Failure::option(c"capacity"),
            ReplayError::Length { need, have } => Failure::length(c"samples", need, have),
            _ => Failure::new(rivergram_status::Refused, c""),
        }
    }
}

impl rivergram_average {
    fn to_core(self) -> Result<Average<f32>, Failure> {
        let average = match choose(c"kind", self.kind, &KINDS)? {
            rivergram_average_kind::Ema => {
                Average::Ema(Ema::with_decay(self.beta, Start::Unbiased)?)
            }
            rivergram_average_kind::Mean => Average::Mean(RunningMean::new()),
            rivergram_average_kind::Lawa => Average::Lawa(Lawa::new(self.copies, self.every)?),
        };
        Ok(average.after(self.updates))
    }
}

/// Whether the numbers that an average of `weights` weights holds already are finite.
fn check_held(average: &Average<f32>, weights: usize, numbers: &[f32]) -> Result<(), Failure> {
    let held = match average {
        Average::Lawa(lawa) => lawa.held().saturating_mul(weights),
        other if other.updates() == 0 => 0,
        _ => numbers.len(),
    };
    check_finite(c"numbers", numbers.get(..held).unwrap_or(numbers))
}

impl rivergram_reservoir {
    fn to_core(self) -> Result<Reservoir, Failure> {
        Ok(Reservoir::new(self.capacity, self.seed)?.after(self.seen))
    }
}

/// Numbers that an average of so many weights keeps: as many, or `copies` times as many.
///
/// Cost: a product.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION.
///
/// # Safety
/// Behind each pointer lies what its type says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_average_len(
    average: *const rivergram_average,
    weights: usize,
    len: *mut usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let (average, len) = (In::one(c"average", average), Out::one(c"len", len));
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[reported(error).span()?, average.span()?, len.span()?])?;
            len.write(average.get()?.to_core()?.storage_len(weights));
            Ok(())
        })
    }
}

/// Takes the weights `[n]` after an update into an average. Call it where `rivergram_wsds_position` says that the phase is
/// stable; what `numbers` hold before the first update is not looked at.
///
/// Cost: two passes over the weights, and one over the numbers.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_average_update(
    average: *mut rivergram_average,
    weights: *const f32,
    weights_len: usize,
    numbers: *mut f32,
    numbers_len: usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let average = Out::one(c"average", average);
    let weights = In::array(c"weights", weights, weights_len);
    let numbers = Out::array(c"numbers", numbers, numbers_len);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                average.span()?,
                weights.span()?,
                numbers.span()?,
            ])?;
            let options = average.get()?;
            let mut core = options.to_core()?;
            check_finite(c"weights", weights.slice())?;
            check_held(&core, weights_len, numbers.slice())?;
            core.update(One::new(), weights.slice(), numbers.slice())?;
            options.updates = core.updates();
            Ok(())
        })
    }
}

/// Writes the averaged weights `[n]`. `is_there`, unless NULL: whether there are any, else nothing is written.
///
/// Cost: two passes over the numbers.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE.
///
/// # Safety
/// Behind each pointer lies what its length says; `is_there` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_average_read(
    average: *const rivergram_average,
    numbers: *const f32,
    numbers_len: usize,
    weights: *mut f32,
    weights_len: usize,
    is_there: *mut bool,
    error: *mut rivergram_error,
) -> rivergram_status {
    let average = In::one(c"average", average);
    let numbers = In::array(c"numbers", numbers, numbers_len);
    let weights = Out::array(c"weights", weights, weights_len);
    let is_there = Out::optional(c"is_there", is_there);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                average.span()?,
                numbers.span()?,
                weights.span()?,
                is_there.span()?,
            ])?;
            let core = average.get()?.to_core()?;
            check_held(&core, weights_len, numbers.slice())?;
            let found = core.read(One::new(), numbers.slice(), weights.slice())?;
            is_there.write(found);
            Ok(())
        })
    }
}

/// Offers a sample `[n]` to a reservoir, whose samples are `[capacity, n]`. `row`, unless NULL: where it is kept now, or
/// RIVERGRAM_NONE where it was passed over.
///
/// Cost: a pass over the sample, and a copy.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, LENGTH, OPTION, NOT_FINITE. After one nothing has changed.
///
/// # Safety
/// Behind each pointer lies what its length says; `row` and `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_reservoir_offer(
    reservoir: *mut rivergram_reservoir,
    sample: *const f32,
    sample_len: usize,
    samples: *mut f32,
    samples_len: usize,
    row: *mut usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let reservoir = Out::one(c"reservoir", reservoir);
    let sample = In::array(c"sample", sample, sample_len);
    let samples = Out::array(c"samples", samples, samples_len);
    let row = Out::optional(c"row", row);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                reservoir.span()?,
                sample.span()?,
                samples.span()?,
                row.span()?,
            ])?;
            let options = reservoir.get()?;
            let mut core = options.to_core()?;
            check_finite(c"sample", sample.slice())?;
            let kept = core.offer(sample.slice(), samples.slice())?;
            options.seen = core.seen();
            row.write(kept.unwrap_or(RIVERGRAM_NONE));
            Ok(())
        })
    }
}

/// Draws rows of the samples without repetition, the same for the same `number`, such as that of the update. `count`:
/// how many there are, fewer than asked for where fewer are kept.
///
/// Cost: quadratic in the rows.
///
/// Errors: NULL_POINTER, MISALIGNED, OVERLAP, OPTION.
///
/// # Safety
/// Behind each pointer lies what its length says; `error` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rivergram_reservoir_draw(
    reservoir: *const rivergram_reservoir,
    number: u64,
    rows: *mut usize,
    rows_len: usize,
    count: *mut usize,
    error: *mut rivergram_error,
) -> rivergram_status {
    let reservoir = In::one(c"reservoir", reservoir);
    let rows = Out::array(c"rows", rows, rows_len);
    let count = Out::one(c"count", count);
    // SAFETY: the contract of `raw`, which the caller keeps; `apart` saw all memory before it is used.
    unsafe {
        answer(error, || {
            apart(&[
                reported(error).span()?,
                reservoir.span()?,
                rows.span()?,
                count.span()?,
            ])?;
            let core = reservoir.get()?.to_core()?;
            count.write(core.draw(number, rows.slice()));
            Ok(())
        })
    }
}
