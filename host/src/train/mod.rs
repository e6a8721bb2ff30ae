//! The loop around core's trainer: jobs, checkpoints, evaluation.

mod align;
mod beside;
pub mod defaults;
mod embed;
mod evaluate;
mod event;
mod inputs;
mod job;
mod options;
mod request;
mod run;
#[cfg(feature = "demo-data")]
pub mod stream;
#[cfg(feature = "demo-data")]
mod strips;
pub mod tune;

use std::sync::atomic::AtomicBool;

pub use beside::{AverageKind, WeightKind};
pub use embed::{Embeddings, embed};
pub use event::{BudgetReport, Event, JobReport, Metrics, RunReport};
pub use inputs::{InputModality, InputSet, Inputs};
pub use options::{
    AlignOptions, DataFile, DecayKind, JobKind, JobOptions, LossKind, RunOptions, ScheduleKind,
    ScheduleOptions, SelectKind, Source, StripsOptions, Unit,
};
pub use request::{Ask, ask};
pub use run::{read_options, resume, run};

use crate::engine::Engine;

/// What a run needs besides its options; none of it changes the result, but for the path's rounding.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The path.
    pub engine: &'a Engine,
    /// Jobs side by side; 0 for as many as there are cores.
    pub threads: usize,
    /// Set it to stop: the jobs save their latest checkpoints and return.
    pub stop: &'a AtomicBool,
    /// Called from the threads of all jobs.
    pub observe: &'a (dyn Fn(Event) + Sync),
}

/// The built-in data are not in this build.
#[cfg(not(feature = "demo-data"))]
fn no_demo_data() -> crate::error::Error {
    let problem = "not in this build, which lacks the feature demo-data: give --data or --modality";
    crate::error::Error::input("the built-in data", problem)
}
