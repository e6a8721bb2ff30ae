//! What a run has learned, as data: its test data through its heads.

use std::fs;
use std::path::Path;

use rivergram_simd::Level;

use super::align::Align;
use super::job;
use super::options::{JobKind, JobOptions, RunOptions};
use super::run::read_options;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::store::{BUDGETS, CONFIG, Checkpoint, LATEST, RELEASES, newest};

/// The embeddings of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One modality for each head; a row of zeros is absent.
    pub data: Dataset,
    /// The modality that was the anchor.
    pub anchor: String,
    /// The checkpoint that they are from.
    pub checkpoint: String,
}

/// The data that a run was evaluated on through the heads of its newest budget or release, else of its latest checkpoint. `folder` is
/// that of a run with one alignment, or of the job itself. Cost: one forward pass.
///
/// # Errors
/// A folder that holds no alignment, or several; a checkpoint or data files that are damaged or gone, or not those that
/// it began with.
pub fn embed(folder: &Path, level: Level) -> Result<Embeddings> {
    let job = job_of(folder)?;
    let JobKind::Align(options) = &job.kind else {
        return Err(Error::file(
            folder,
            "a transcription, which has no embeddings",
        ));
    };
    let align = Align::new(options, job.seed)?;
    let name = checkpoint(folder)?;
    let file = folder.join(&name);
    let parameters = job::parameters(&align, &file, &Checkpoint::read(&file)?)?;
    Ok(Embeddings {
        data: align.embedded(level, &parameters)?,
        anchor: align.anchor().to_string(),
        checkpoint: name,
    })
}

/// The options of the one alignment of a run, or of a job.
fn job_of(folder: &Path) -> Result<JobOptions> {
    let file = folder.join(CONFIG);
    let text = fs::read(&file).map_err(|e| Error::unreadable(&file, &e))?;
    if let Ok(job) = serde_json::from_slice::<JobOptions>(&text) {
        return Ok(job);
    }
    let options: RunOptions = read_options(folder)?;
    options.check_files()?;
    match options.jobs.as_slice() {
        [job] => Ok(job.clone()),
        jobs => {
            let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
            let problem = format!(
                "a run of several jobs: name the folder of one, {}",
                names.join(", ")
            );
            Err(Error::file(folder, problem))
        }
    }
}

/// The newest checkpoint whose weights are decayed, at a budget or where a decay was asked for; else the latest one.
fn checkpoint(folder: &Path) -> Result<String> {
    let decayed = newest(folder, &[BUDGETS, RELEASES])?;
    Ok(decayed.unwrap_or_else(|| LATEST.to_string()))
}
