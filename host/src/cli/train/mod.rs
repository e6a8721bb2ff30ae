//! `rivergram train`: begins a run or goes on with one.

mod flags;
pub(crate) mod inputs;
mod plan;
pub(crate) mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rivergram::cuda::Precision;
use rivergram::engine::{CUDA, Engine};
use rivergram::error::{Error, Result};
use rivergram::path::{self, Choice, Reason, VARIABLE};
use rivergram::train::{self, Context, Event, RunOptions};
use rivergram_simd::Level;

pub(crate) use flags::Flags;
use summary::Summary;

use super::interrupt::{self, INTERRUPTED};
use super::output;
use super::progress::{Progress, Screen};

/// Flags that go together with `--resume`: they change nothing of what was trained.
const WITH_RESUME: [&str; 7] = [
    "--resume",
    "--add-budgets",
    "--threads",
    "--path",
    "--precision",
    "--json",
    "--quiet",
];

/// Refuses to go on with a run under other settings.
pub(crate) fn check(flags: &Flags, used: &[String]) -> Result<()> {
    let other = |flag: &&String| !WITH_RESUME.contains(&flag.as_str());
    let others: Vec<&str> = used.iter().filter(other).map(String::as_str).collect();
    match flags.run.resume.is_some() && !others.is_empty() {
        true => Err(Error::flag(
            "--resume",
            format_args!(
                "cannot be used with {}: a run goes on as it began",
                others.join(", ")
            ),
        )),
        false => Ok(()),
    }
}

/// Trains.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let began = Instant::now();
    let screen = Screen::new(flags.machine.quiet);
    let progress = Progress::new(screen.clone(), &flags.machine);
    let asked = flags.machine.path.as_deref();
    let precision = flags.machine.precision;
    let (choice, options, folder, exact) = match &flags.run.resume {
        Some(folder) => {
            let options = train::read_options(folder)?;
            let choice = choose_again(asked, &options, folder)?;
            // That of the run, on the path that has it.
            let own = path::precision_named(options.precision.as_deref());
            let own = if choice.asks_for_gpu() {
                own
            } else {
                Precision::Exact
            };
            let exact = choice.set_precision(precision.unwrap_or(own))?;
            (choice, options, folder.clone(), exact)
        }
        None => {
            let choice = path::choose(asked)?;
            let exact = choice.set_precision(precision.unwrap_or_default())?;
            let options = plan::options(flags, choice.engine.name())?;
            let folder = flags.run.out.clone().unwrap_or_else(next_folder);
            (choice, options, folder, exact)
        }
    };
    // Said once a job has begun: what is refused before is told in one line.
    let opening = Mutex::new(Some((opening(&options, &folder, &choice), Vec::new())));
    let observe = |event: Event| {
        let mut opening = opening.lock().unwrap_or_else(PoisonError::into_inner);
        match (opening.as_mut(), &event) {
            (Some((_, held)), Event::Warning { .. }) => return held.push(event),
            (Some((line, held)), _) => {
                screen.tell(line);
                held.drain(..).for_each(|warning| progress.observe(warning));
                *opening = None;
            }
            (None, _) => {}
        }
        drop(opening);
        progress.observe(event);
    };
    let context = Context {
        engine: &choice.engine,
        threads: flags.machine.threads,
        stop: interrupt::listen(screen.clone(), "update"),
        observe: &observe,
    };
    for message in choice.engine.warning().into_iter().chain(exact) {
        observe(Event::Warning { message });
    }
    let done = match flags.run.resume {
        Some(_) => {
            let more = flags.run.add_budgets.as_ref();
            train::resume(&folder, more.map_or(&[], |more| &more.0), &context)
        }
        None => train::run(&options, &folder, &context).map(|report| (options, report)),
    };
    screen.clear();
    let (options, report) = done?;
    let interrupted = report.interrupted;
    let summary = Summary {
        options: &options,
        report: &report,
        folder: &folder,
        choice: &choice,
        seconds: began.elapsed().as_secs_f64(),
    };
    match (flags.machine.json, interrupted) {
        (true, _) => output::print_json(&summary.json()),
        (false, false) => output::print(&summary.text()),
        (false, true) => {}
    }
    if !interrupted {
        return Ok(ExitCode::SUCCESS);
    }
    screen.say(&format!(
        "stopped and saved; to go on: rivergram train --resume {}",
        folder.display()
    ));
    Ok(ExitCode::from(INTERRUPTED))
}

/// The path that is asked for; else the one that the run began on, so that it goes on bit for bit; else, where this
/// machine does not have it, the fastest.
fn choose_again(asked: Option<&str>, options: &RunOptions, folder: &Path) -> Result<Choice> {
    let variable = std::env::var_os(VARIABLE).is_some_and(|name| !name.is_empty());
    if asked.is_some() || variable {
        return path::choose(asked);
    }
    let reason = Reason::AskedFor(folder.join("config.json").display().to_string());
    match Level::named(&options.path) {
        Ok(level) => Ok(Choice {
            engine: Engine::new(level),
            reason,
        }),
        Err(_) if options.path == CUDA => {
            let choice = path::choose(Some(CUDA))?;
            match choice.engine.failure() {
                Some(_) => Ok(choice),
                None => Ok(Choice { reason, ..choice }),
            }
        }
        Err(_) => path::choose(None),
    }
}

/// The next free number under `runs`.
fn next_folder() -> PathBuf {
    let runs = Path::new("runs");
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let taken = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let next = taken.max().unwrap_or(0).saturating_add(1);
    runs.join(format!("{next:03}"))
}

fn opening(options: &RunOptions, folder: &Path, choice: &Choice) -> String {
    let jobs = match options.jobs.as_slice() {
        [job] => job.name.clone(),
        jobs => format!("{} jobs", jobs.len()),
    };
    format!(
        "{jobs} in {}, path {} ({})",
        folder.display(),
        choice.engine.described(),
        choice.reason
    )
}
