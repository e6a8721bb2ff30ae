//! What the trainings have in common: rule, schedule, memory, and what they keep.

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{Setup, Storage, Trainer, parameters_len};

use crate::random::Random;

/// Where memory is short, the rule without state.
pub const SMALL: bool = cfg!(small);

/// The rule of the updates.
pub const OPTIMIZER: Optimizer<f32> = if SMALL {
    Optimizer::Sgd {
        momentum: 0.0,
        weight_decay: 0.0,
    }
} else {
    Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
    }
};

/// Numbers of its state per parameter.
const STATE: usize = if SMALL { 0 } else { 2 };

/// Floats of parameters and their state.
pub const fn kept(parameters: usize) -> usize {
    (1 + STATE) * parameters
}

/// WSD-S to a hundredth of the peak.
pub fn settings(peak: f32) -> Settings<f32> {
    Settings {
        warmup: 10,
        ..Settings::wsd_s(peak, peak / 100.0)
    }
}

/// Memory for a training, or for several that follow each other.
pub struct Room<const FLOATS: usize, const BYTES: usize> {
    /// Of parameters, moments, workspace.
    pub floats: [f32; FLOATS],
    /// Of a batch of features.
    pub bytes: [i8; BYTES],
}

impl<const FLOATS: usize, const BYTES: usize> Room<FLOATS, BYTES> {
    /// Zeros, which take no flash.
    pub const fn new() -> Self {
        Self {
            floats: [0.0; FLOATS],
            bytes: [0; BYTES],
        }
    }
}

impl<const FLOATS: usize, const BYTES: usize> Default for Room<FLOATS, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// The larger length, of two trainings in one room.
pub const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Heads in training.
pub struct Training<'a> {
    heads: &'static [Head],
    /// Of all heads, one after the other.
    pub parameters: &'a mut [f32],
    /// Of the optimizer.
    pub moments: &'a mut [f32],
    /// For a step, or for what is done between steps.
    pub workspace: &'a mut [f32],
    /// A batch.
    pub inputs: &'a mut [i8],
    /// What draws it.
    pub random: Random,
    /// Updates made.
    pub updates: u64,
}

impl<'a> Training<'a> {
    /// Heads with random weights, which need so many floats of workspace and bytes of features; nothing where the
    /// memory is less.
    pub fn new(
        heads: &'static [Head],
        seed: u32,
        [workspace_len, bytes_len]: [usize; 2],
        floats: &'a mut [f32],
        bytes: &'a mut [i8],
    ) -> Option<Self> {
        let mut random = Random::new(seed);
        let len = parameters_len(heads);
        let (parameters, rest) = floats.split_at_mut_checked(len)?;
        let (moments, workspace) = rest.split_at_mut_checked(kept(len) - len)?;
        let (inputs, _) = bytes.split_at_mut_checked(bytes_len)?;
        let mut rest = &mut *parameters;
        for head in heads {
            let (own, others) = rest.split_at_mut_checked(head.parameters_len())?;
            head.initialise(own, |bound| random.symmetric(bound));
            rest = others;
        }
        moments.fill(0.0);
        (workspace.len() >= workspace_len).then_some(Self {
            heads,
            parameters,
            moments,
            workspace,
            inputs,
            random,
            updates: 0,
        })
    }

    /// The trainer, a batch, and what draws it.
    pub fn trainer<'t>(
        &'t mut self,
        plan: &'t Plan<'_, f32>,
    ) -> Result<(Trainer<'t, f32>, &'t mut [i8], &'t mut Random), TrainError> {
        let setup = Setup {
            heads: self.heads,
            optimizer: OPTIMIZER,
            clip: None,
        };
        let storage = Storage {
            parameters: &mut *self.parameters,
            gradient: &mut [],
            moments: &mut *self.moments,
            workspace: &mut *self.workspace,
        };
        let schedule = State::at(plan, self.updates);
        let trainer = Trainer::resume(setup, storage, schedule, self.updates)?;
        Ok((trainer, self.inputs, &mut self.random))
    }
}
