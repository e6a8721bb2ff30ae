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
pub struct Room<const FLOATS: usize, B> {
    /// Of parameters, moments, workspace.
    pub floats: [f32; FLOATS],
    /// A batch: where its features lie in flash.
    pub batch: B,
}

impl<const FLOATS: usize, B> Room<FLOATS, B> {
    /// With zeros, which take no flash.
    pub const fn new(batch: B) -> Self {
        Self {
            floats: [0.0; FLOATS],
            batch,
        }
    }
}

/// The larger length, of two trainings in one room.
pub const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Heads in training.
pub struct Training<'a, B> {
    heads: &'static [Head],
    /// Of all heads, one after the other.
    pub parameters: &'a mut [f32],
    /// Of the optimizer.
    pub moments: &'a mut [f32],
    /// For a step, or for what is done between steps.
    pub workspace: &'a mut [f32],
    /// The batch of the next step.
    pub batch: &'a mut B,
    /// What draws it.
    pub random: Random,
    /// Updates made.
    pub updates: u64,
}

impl<'a, B> Training<'a, B> {
    /// Heads with random weights, which need so many floats of workspace; nothing where the memory is less.
    pub fn new(
        heads: &'static [Head],
        seed: u32,
        workspace_len: usize,
        floats: &'a mut [f32],
        batch: &'a mut B,
    ) -> Option<Self> {
        let mut random = Random::new(seed);
        let len = parameters_len(heads);
        let (parameters, rest) = floats.split_at_mut_checked(len)?;
        let (moments, workspace) = rest.split_at_mut_checked(kept(len) - len)?;
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
            batch,
            random,
            updates: 0,
        })
    }

    /// A trainer, and what draws batches.
    pub fn trainer<'t>(
        &'t mut self,
        plan: &'t Plan<'_, f32>,
    ) -> Result<(Trainer<'t, f32>, &'t mut Random), TrainError> {
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
        Ok((trainer, &mut self.random))
    }
}
