//! What a run is asked for while it goes on: a file in its folder, which is taken between two updates.
//!
//! The run writes what comes of it into its next checkpoint, and only then removes the file. A run that is killed in
//! between finds the number of the request in the checkpoint, and does not take it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::options::{JobOptions, RunOptions};
use super::{job, run};
use crate::error::{Error, Result};
use crate::store::{self, LATEST};

/// The file.
pub(super) const REQUEST: &str = "request.json";

/// What can be asked for. Lengths are in the unit of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// A decay from here on, with a checkpoint at its end; then the run goes on, from the decayed weights (WSD-S) or
    /// from those before the decay (WSD).
    Decay {
        /// Its length.
        length: u64,
    },
    /// The same, as long as a part of what the run has behind it.
    DecayOfSeen {
        /// The part.
        millionths: u32,
    },
    /// The end of the decay that runs.
    Cancel,
    /// A later end of the decay that runs, else of the budget.
    Extend {
        /// By how much.
        by: u64,
    },
}

/// A request with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) ask: Ask,
}

impl Request {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).map_err(|e| Error::unreadable(file, &e))?;
        if !store::is_whole(&text) {
            return Err(Error::file(file, "damaged"));
        }
        serde_json::from_slice(&text).map_err(|e| Error::file(file, e))
    }
}

/// Asks the run of a folder, whether it goes on now or is resumed later. The file that says so.
///
/// # Errors
/// A folder that is no run or has several; a schedule that takes no requests; a run that is finished; a request that has
/// not been taken yet; what the system refuses.
pub fn ask(folder: &Path, ask: Ask) -> Result<PathBuf> {
    // One job of several has a configuration of its own, without a checksum.
    let own = store::read_configuration(folder, &|_, _: &JobOptions| Ok(()));
    let job = match own {
        Ok((job, _)) => job,
        Err(_) => one_job(folder, run::read_options(folder)?)?,
    };
    if !job::takes_requests(&job, &run::legs(&job)?) {
        return Err(Error::file(folder, job::UNFIT));
    }
    if job::is_finished(&job, &folder.join(LATEST))? {
        return Err(Error::file(folder, job::FINISHED));
    }
    let file = folder.join(REQUEST);
    if file.exists() {
        let problem = "the request before is not taken yet; remove the file to withdraw it";
        return Err(Error::file(&file, problem));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let id = now.map_or(1, |now| now.as_nanos() as u64);
    let text = serde_json::to_vec(&Request { id, ask }).map_err(|e| Error::file(&file, e))?;
    let text = store::sealed(&text).unwrap_or(text);
    store::replace(&file, &text)?;
    Ok(file)
}

/// The job of a run that has one.
fn one_job(folder: &Path, options: RunOptions) -> Result<JobOptions> {
    match options.jobs.as_slice() {
        [job] => Ok(job.clone()),
        jobs => {
            let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
            let problem = format!(
                "a run of several jobs: one of {} expected",
                names.join(", ")
            );
            Err(Error::file(folder, problem))
        }
    }
}
