//! A run: some jobs side by side, each in its folder.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::align::Align;
use super::event::{Event, JobReport, RunReport};
use super::options::{JobKind, JobOptions, RunOptions};
#[cfg(feature = "demo-data")]
use super::strips::{self, Strips};
use super::{Context, job};
use crate::error::{Error, Result};
use crate::schedule::{self, Leg};
use crate::store::{CONFIG, RunFolder};

/// Trains everything that the options name, in a new folder. With one job its checkpoints lie in the folder
/// itself, with several each has a folder of its name.
///
/// # Errors
/// Options or data that do not fit, found before the folder is made; a folder that is not new; what the system
/// refuses.
pub fn run(options: &RunOptions, folder: &Path, context: &Context<'_>) -> Result<RunReport> {
    check(options)?;
    let folder = RunFolder::create(folder, options)?;
    train(options, &folder, context)
}

/// Goes on with a run that was stopped, as if it never had been. A finished run stays as it is.
///
/// # Errors
/// As [`run`], and a folder that is no run.
pub fn resume(folder: &Path, context: &Context<'_>) -> Result<(RunOptions, RunReport)> {
    let (folder, options) = RunFolder::open::<RunOptions>(folder)?;
    if options.path != context.level.name() {
        let message = format!(
            "the run began on path {}: on {} the results differ in rounding from an uninterrupted run",
            options.path, context.level
        );
        (context.observe)(Event::Warning { message });
    }
    let report = train(&options, &folder, context)?;
    Ok((options, report))
}

/// The options of a run, without touching it.
///
/// # Errors
/// A folder that is no run.
pub fn read_options(folder: &Path) -> Result<RunOptions> {
    let path = folder.join(CONFIG);
    let text = fs::read(&path).map_err(|e| Error::unreadable(&path, &e))?;
    serde_json::from_slice(&text).map_err(|e| Error::file(&path, e))
}

/// Loads everything once, so that bad options or data are found before anything is written.
fn check(options: &RunOptions) -> Result<()> {
    for job in &options.jobs {
        match &job.kind {
            JobKind::Align(align) => {
                schedule::legs(&align.schedule)?;
                Align::new(align, job.seed)?;
            }
            #[cfg(feature = "demo-data")]
            JobKind::Strips(options) => {
                strips::legs(&options.schedule)?;
                Strips::new(options, job.seed)?;
            }
            #[cfg(not(feature = "demo-data"))]
            JobKind::Strips(_) => return Err(super::no_demo_data()),
        }
    }
    Ok(())
}

fn train(options: &RunOptions, folder: &RunFolder, context: &Context<'_>) -> Result<RunReport> {
    let single = options.jobs.len() == 1;
    let results = in_order(&options.jobs, context.threads, |job| match single {
        true => train_job(job, folder, options.save_every, context),
        false => {
            let own = job_folder(folder, job)?;
            train_job(job, &own, options.save_every, context)
        }
    })?;
    let mut report = RunReport {
        jobs: Vec::new(),
        interrupted: false,
    };
    for result in results {
        let (job, interrupted) = result?;
        report.jobs.push(job);
        report.interrupted |= interrupted;
    }
    Ok(report)
}

/// The results of some work, side by side on `threads` threads, begun in the order of the list: the options name
/// the longest jobs first.
pub(super) fn in_order<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::flag("--threads", e))?;
    let next = AtomicUsize::new(0);
    let one_thread = |_: rayon::BroadcastContext<'_>| {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let mut results: Vec<(usize, R)> = pool.broadcast(one_thread).into_iter().flatten().collect();
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// The folder of one of several jobs. One that was killed before its configuration was written is made anew.
fn job_folder(run: &RunFolder, job: &JobOptions) -> Result<RunFolder> {
    let path = run.path().join(&job.name);
    if path.join(CONFIG).is_file() {
        return RunFolder::open::<JobOptions>(&path).map(|(folder, _)| folder);
    }
    if path.is_dir() {
        fs::remove_dir_all(&path)
            .map_err(|e| Error::io(&path, "remove the unfinished folder", e))?;
    }
    RunFolder::create(&path, job)
}

fn train_job(
    options: &JobOptions,
    folder: &RunFolder,
    save_every: u64,
    context: &Context<'_>,
) -> Result<(JobReport, bool)> {
    match &options.kind {
        JobKind::Align(align) => {
            let mut task = Align::new(align, options.seed)?;
            let legs: Vec<Leg<'_>> = schedule::legs(&align.schedule)?;
            job::run(options, &mut task, &legs, folder, save_every, context)
        }
        #[cfg(feature = "demo-data")]
        JobKind::Strips(strips) => {
            let mut task = Strips::new(strips, options.seed)?;
            let legs = strips::legs(&strips.schedule)?;
            job::run(options, &mut task, &legs, folder, save_every, context)
        }
        #[cfg(not(feature = "demo-data"))]
        JobKind::Strips(_) => Err(super::no_demo_data()),
    }
}
