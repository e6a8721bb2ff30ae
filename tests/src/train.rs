//! Trainers for tests: their buffers, their batches, and one step in either precision.

use rivergram_core::eisl;
use rivergram_core::error::TrainError;
use rivergram_core::gram::contrastive::{GramLoss, GramReport};
use rivergram_core::lanes::{One, Real};
use rivergram_core::trainer::{Setup, Step, Storage, Trainer};
use rivergram_simd::Level;

use crate::convert::cast;
use crate::random::Random;

/// What a trainer borrows.
#[derive(Clone, Debug)]
pub struct Buffers<T> {
    /// Normal numbers.
    pub parameters: Vec<T>,
    /// NaN: whatever it held must not matter.
    pub gradient: Vec<T>,
    /// Zeros.
    pub moments: Vec<T>,
    /// NaN.
    pub workspace: Vec<T>,
}

impl<T: Real> Buffers<T> {
    /// As long as the setup asks for, with parameters from a seed.
    pub fn new(setup: &Setup<'_, T>, workspace: usize, seed: u64) -> Self {
        let n = setup.parameters_len();
        let nan = T::constant(f64::NAN);
        Buffers {
            parameters: cast(&Random::new(seed).normals(1, n).concat()),
            gradient: vec![nan; n],
            moments: vec![T::ZERO; setup.moments_len()],
            workspace: vec![nan; workspace],
        }
    }

    /// As a trainer takes them.
    pub fn storage(&mut self) -> Storage<'_, T> {
        Storage {
            parameters: &mut self.parameters,
            gradient: &mut self.gradient,
            moments: &mut self.moments,
            workspace: &mut self.workspace,
        }
    }
}

/// Steps in one precision; `level` counts for `f32` only.
pub trait Steps: Real {
    /// [`Trainer::align`].
    fn align(
        level: Level,
        trainer: &mut Trainer<'_, Self>,
        loss: &GramLoss<Self>,
        inputs: &[&[Self]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<Self>, GramReport<Self>), TrainError>;

    /// [`Trainer::transcribe`].
    fn transcribe(
        level: Level,
        trainer: &mut Trainer<'_, Self>,
        config: &eisl::Config<'_, Self>,
        batch: &eisl::Batch<'_, Self>,
        inputs: &[Self],
    ) -> Result<(Step<Self>, eisl::Losses<Self>), TrainError>;
}

impl Steps for f32 {
    fn align(
        level: Level,
        trainer: &mut Trainer<'_, f32>,
        loss: &GramLoss<f32>,
        inputs: &[&[f32]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<f32>, GramReport<f32>), TrainError> {
        level.align(trainer, loss, inputs, present, rows)
    }

    fn transcribe(
        level: Level,
        trainer: &mut Trainer<'_, f32>,
        config: &eisl::Config<'_, f32>,
        batch: &eisl::Batch<'_, f32>,
        inputs: &[f32],
    ) -> Result<(Step<f32>, eisl::Losses<f32>), TrainError> {
        level.transcribe(trainer, config, batch, inputs)
    }
}

impl Steps for f64 {
    fn align(
        _: Level,
        trainer: &mut Trainer<'_, f64>,
        loss: &GramLoss<f64>,
        inputs: &[&[f64]],
        present: Option<&[bool]>,
        rows: usize,
    ) -> Result<(Step<f64>, GramReport<f64>), TrainError> {
        trainer.align(One::new(), loss, inputs, present, rows)
    }

    fn transcribe(
        _: Level,
        trainer: &mut Trainer<'_, f64>,
        config: &eisl::Config<'_, f64>,
        batch: &eisl::Batch<'_, f64>,
        inputs: &[f64],
    ) -> Result<(Step<f64>, eisl::Losses<f64>), TrainError> {
        trainer.transcribe(One::new(), config, batch, inputs)
    }
}
