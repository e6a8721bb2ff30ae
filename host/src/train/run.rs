//! A run: some jobs side by side, each in its folder.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::align::Align;
use super::beside::Beside;
use super::event::{Event, RunReport};
use super::job::Task;
use super::options::{JobKind, JobOptions, RunOptions};
#[cfg(feature = "demo-data")]
use super::strips::{self, Strips};
use super::{Context, defaults, job};
use crate::error::{Error, Result};
use crate::schedule::{self, Leg};
use crate::store::{self, LATEST, RunFolder};

/// A job whose data are loaded.
type Loaded = Box<dyn Task + Send>;

/// Trains everything that the options name, in a new folder. With one job its checkpoints lie in the folder
/// itself, with several each has a folder of its name. The folder states the precision of the engine.
///
/// # Errors
/// Options or data that do not fit, found before the folder is made; a folder that is not new; what the system
/// refuses.
pub fn run(options: &RunOptions, folder: &Path, context: &Context<'_>) -> Result<RunReport> {
    let mut options = options.clone().with_files()?;
    options.precision = context.engine.stated_precision();
    let options = options.sealed()?;
    let tasks = load(&options)?;
    let folder = RunFolder::create(folder, &options)?;
    train(&options, tasks, &folder, context)
}

/// Goes on with a run that was stopped, as if it never had been. A finished run stays as it is, unless there are
/// budgets to add: alignments then go on as if they had known of them from the start.
///
/// # Errors
/// As [`run`]; a folder that is no run; a configuration or data files that are not those that it began with; budgets
/// that cannot be added.
pub fn resume(
    folder: &Path,
    add_budgets: &[u64],
    context: &Context<'_>,
) -> Result<(RunOptions, RunReport)> {
    let sound = |file: &Path, options: &RunOptions| options.check_seal(file);
    let (folder, mut options, lost) = RunFolder::open_mended(folder, sound)?;
    if let Some(lost) = lost {
        let message = format!("{lost}: put back from its copy");
        (context.observe)(Event::Warning { message });
    }
    options.check_files()?;
    if !add_budgets.is_empty() {
        options = with_budgets(options, add_budgets, folder.path())?;
    }
    let tasks = load(&options)?;
    if !add_budgets.is_empty() {
        write_again(&options, &folder)?;
    }
    if options.path != context.engine.name() {
        let message = format!(
            "the run began on path {}: on {} the results differ in rounding from an uninterrupted run",
            options.path,
            context.engine.name()
        );
        (context.observe)(Event::Warning { message });
    }
    let precision = context.engine.stated_precision();
    if options.path == context.engine.name() && options.precision != precision {
        let name = |precision: &Option<String>| precision.clone().unwrap_or("exact".to_string());
        let message = format!(
            "the run had products in precision {}: from here on they are in {}, and the results differ in rounding from an uninterrupted run",
            name(&options.precision),
            name(&precision)
        );
        (context.observe)(Event::Warning { message });
        options.precision = precision;
        options = options.sealed()?;
        write_again(&options, &folder)?;
    }
    if options.version != defaults::VERSION {
        let message = format!(
            "the run began with version {}: with {} the results may differ from an uninterrupted run",
            options.version,
            defaults::VERSION
        );
        (context.observe)(Event::Warning { message });
    }
    let report = train(&options, tasks, &folder, context)?;
    Ok((options, report))
}

/// The options with more budgets for every job, each beyond the end that the job in its folder has.
fn with_budgets(mut options: RunOptions, more: &[u64], folder: &Path) -> Result<RunOptions> {
    let is_one = options.jobs.len() == 1;
    for job in &mut options.jobs {
        let latest = match is_one {
            true => folder.join(LATEST),
            false => folder.join(&job.name).join(LATEST),
        };
        match &mut job.kind {
            JobKind::Align(align) => align.schedule.add_budgets(more, job::end_of(&latest))?,
            JobKind::Strips(_) => {
                let problem = format!("{}: the parts of a transcription are fixed", job.name);
                return Err(Error::flag("--add-budgets", problem));
            }
        }
    }
    options.sealed()
}

/// Replaces the configuration of a run, the jobs' own first.
fn write_again(options: &RunOptions, run: &RunFolder) -> Result<()> {
    for job in options.jobs.iter().filter(|_| options.jobs.len() > 1) {
        RunFolder::open_known(&run.path().join(&job.name), job)?;
    }
    run.configure(options)
}

/// The options of a run, or those of their copy, without touching it.
///
/// # Errors
/// A folder that is no run; options that are damaged in both places.
pub fn read_options(folder: &Path) -> Result<RunOptions> {
    let sound = |file: &Path, options: &RunOptions| options.check_seal(file);
    store::read_configuration(folder, &sound).map(|(options, _)| options)
}

/// Loads everything, so that bad options or data are found before anything is written.
fn load(options: &RunOptions) -> Result<Vec<Loaded>> {
    let task = |job: &JobOptions| -> Result<Loaded> {
        legs(job)?;
        Beside::new(job, 0)?;
        let task: Loaded = match &job.kind {
            JobKind::Align(align) => Box::new(Align::new(align, job.seed)?),
            #[cfg(feature = "demo-data")]
            JobKind::Strips(strips) => Box::new(Strips::new(strips, job.seed)?),
            #[cfg(not(feature = "demo-data"))]
            JobKind::Strips(_) => return Err(super::no_demo_data()),
        };
        job::check_names(task.as_ref())?;
        Ok(task)
    };
    options.jobs.iter().map(task).collect()
}

pub(super) fn legs(job: &JobOptions) -> Result<Vec<Leg<'_>>> {
    match &job.kind {
        JobKind::Align(align) => schedule::legs(&align.schedule),
        #[cfg(feature = "demo-data")]
        JobKind::Strips(strips) => strips::legs(&strips.schedule),
        #[cfg(not(feature = "demo-data"))]
        JobKind::Strips(_) => Err(super::no_demo_data()),
    }
}

/// What a job needs, handed to the thread that trains it.
struct Ready<'a> {
    options: &'a JobOptions,
    /// Taken when the job begins, so that its data go when it ends.
    task: Mutex<Option<Loaded>>,
    /// Its own folder, where the run has several jobs.
    folder: Option<RunFolder>,
}

fn train(
    options: &RunOptions,
    tasks: Vec<Loaded>,
    folder: &RunFolder,
    context: &Context<'_>,
) -> Result<RunReport> {
    let folders = job_folders(options, folder, context)?;
    let jobs = options.jobs.iter().zip(tasks).zip(folders);
    let jobs: Vec<Ready<'_>> = jobs
        .map(|((options, task), folder)| Ready {
            options,
            task: Mutex::new(Some(task)),
            folder,
        })
        .collect();
    let results = in_order(&jobs, context.threads, |job| -> Result<_> {
        let task = job
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else {
            return Ok(None);
        };
        let legs = legs(job.options)?;
        let folder = job.folder.as_ref().unwrap_or(folder);
        job::run(
            job.options,
            task.as_mut(),
            &legs,
            folder,
            (options.save_every, options.keep_budgets),
            context,
        )
        .map(Some)
    })?;
    let (done, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut report = RunReport {
        jobs: Vec::new(),
        interrupted: false,
    };
    for (job, interrupted) in done.into_iter().flatten().flatten() {
        report.jobs.push(job);
        report.interrupted |= interrupted;
    }
    let Some(error) = failed.into_iter().find_map(Result::err) else {
        return Ok(report);
    };
    if !report.jobs.is_empty() {
        let names: Vec<&str> = report.jobs.iter().map(|job| job.name.as_str()).collect();
        let message = format!("a job failed; saved are {}", names.join(", "));
        (context.observe)(Event::Warning { message });
    }
    Err(error)
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

/// The folders of the jobs, where they have their own. Those that exist are looked at first, so that a damaged one
/// is found before anything is written.
fn job_folders(
    options: &RunOptions,
    run: &RunFolder,
    context: &Context<'_>,
) -> Result<Vec<Option<RunFolder>>> {
    if options.jobs.len() == 1 {
        run.check()?;
        return Ok(vec![None]);
    }
    let path = |job: &JobOptions| run.path().join(&job.name);
    let existing = |job: &JobOptions| -> Result<Option<RunFolder>> {
        let Some((folder, lost)) = RunFolder::open_known(&path(job), job)? else {
            return Ok(None);
        };
        if let Some(lost) = lost {
            let message = format!("{lost}: written again");
            (context.observe)(Event::Warning { message });
        }
        folder.check()?;
        Ok(Some(folder))
    };
    let folders: Vec<_> = options.jobs.iter().map(existing).collect::<Result<_>>()?;
    let each = options.jobs.iter().zip(folders);
    each.map(|(job, folder)| match folder {
        Some(folder) => Ok(Some(folder)),
        // New, or killed before its configuration was written.
        None => RunFolder::create(&path(job), job).map(Some),
    })
    .collect()
}
