//! What a run tells while it goes on, and what it found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::inputs::Inputs;

/// Named numbers, such as `text_to_image+audio_r1`. Rates of success are in \[0, 1\].
pub type Metrics = BTreeMap<String, f64>;

/// Something happened. Jobs run side by side: events of different jobs mix.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A job begins, or goes on.
    Started {
        /// Its name.
        job: String,
        /// Updates that were made before this process.
        done: u64,
        /// Updates of the whole job.
        total: u64,
    },
    /// What an alignment trains on; told after [`Event::Started`].
    Inputs {
        /// The job.
        job: String,
        /// The data.
        #[serde(flatten)]
        inputs: Inputs,
    },
    /// An update was made.
    Step {
        /// The job.
        job: String,
        /// The part of the job: `main`, `branch-600`, `cross-entropy`, `eisl`.
        leg: String,
        /// Updates of the whole job so far.
        update: u64,
        /// Updates of the whole job.
        total: u64,
        /// The step of the schedule, from 1.
        step: u64,
        /// The budget that comes next.
        budget: Option<u64>,
        /// `warmup`, `stable` or `decay`.
        phase: &'static str,
        /// The rate of the update.
        rate: f32,
        /// The loss before it.
        loss: f32,
    },
    /// A budget was reached: a checkpoint was evaluated and saved.
    Budget(BudgetReport),
    /// Progress of something that is no training of a job.
    Note {
        /// One line.
        message: String,
    },
    /// Something that the user should know.
    Warning {
        /// One line.
        message: String,
    },
}

/// An evaluated checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetReport {
    /// The job.
    pub job: String,
    /// The part of the job.
    pub leg: String,
    /// The step of the schedule.
    pub step: u64,
    /// The file.
    pub checkpoint: PathBuf,
    /// What was measured.
    pub metrics: Metrics,
    /// The same of the averaged weights; empty where there are none.
    #[serde(skip_serializing_if = "Metrics::is_empty")]
    pub average: Metrics,
}

/// What a job found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReport {
    /// Its name.
    pub name: String,
    /// Before the first update, or with random weights, where that is of interest.
    pub untrained: Metrics,
    /// At each budget, in the order in which they were reached.
    pub budgets: Vec<BudgetReport>,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// In the order of the options.
    pub jobs: Vec<JobReport>,
    /// Whether it was interrupted: the checkpoints are saved, [`crate::train::resume`] goes on.
    pub interrupted: bool,
}
