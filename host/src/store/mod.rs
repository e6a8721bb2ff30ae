//! Run folders and checkpoints.
//!
//! Whatever happens, a file under its name is whole: it is written under another name, synced and renamed. A
//! checkpoint's bytes depend on its content alone, so that two runs of the same steps write the same files.

mod atomic;
mod checkpoint;
mod metrics;
mod run;

pub(crate) use atomic::{Replacement, replace};
pub use checkpoint::{Checkpoint, Tensor};
pub use metrics::{DAMAGED, Metrics};
pub(crate) use metrics::{is_whole, sealed};
pub use run::{
    BEFORE_DECAY, BUDGETS, CONFIG, CONFIG_COPY, LATEST, LOCK, MAINS, METRICS, PREVIOUS, RELEASES,
    RunFolder, UPDATE, budget_name, main_name, moved_name, release_name,
};
pub(crate) use run::{newest, read_configuration};
