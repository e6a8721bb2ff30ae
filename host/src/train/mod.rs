//! The loop around core's trainer: jobs, checkpoints, evaluation.

pub mod defaults;
mod event;
mod options;
// TEMPORARY, dropped at the merge of the training loop.
mod stub;

pub use event::{BudgetReport, Event, JobReport, Metrics, RunReport};
pub use options::{
    AlignOptions, DecayKind, JobKind, JobOptions, LossKind, RunOptions, ScheduleKind,
    ScheduleOptions, SelectKind, Source, StripsOptions,
};

use std::sync::atomic::AtomicBool;

use rivergram_simd::Level;

// TEMPORARY, dropped at the merge of the training loop.
pub use stub::{read_options, resume, run, tune};

/// What a run needs besides its options; none of it changes the result, but for the path's rounding.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The instruction set.
    pub level: Level,
    /// Jobs side by side; 0 for as many as there are cores.
    pub threads: usize,
    /// Set it to stop: the jobs save their latest checkpoints and return.
    pub stop: &'a AtomicBool,
    /// Called from the threads of all jobs.
    pub observe: &'a (dyn Fn(Event) + Sync),
}
