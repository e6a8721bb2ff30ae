//! `rivergram stream`: schedules on a stream that drifts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use rivergram::error::{Error, Result};
use rivergram::path;
use rivergram::plot::releases::{self, Bar, Line, Panel, Releases};
use rivergram::train::stream::{
    self, Estimate, StreamOptions, StreamReport, StreamRow, StreamSchedule,
};
use rivergram::train::{Context, DecayKind, Event};
use serde::Serialize;

use super::interrupt::{self, INTERRUPTED};
use super::machine::MachineFlags;
use super::output;
use super::progress::{Progress, Screen};
use super::table::{Table, percent};
use super::value;

/// Its flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    #[arg(long, help = value::list("Schedules, with commas (default: all)", &StreamSchedule::ALL, StreamSchedule::name), hide_possible_values = true, value_delimiter = ',', value_parser = value::named(&StreamSchedule::ALL, StreamSchedule::name))]
    schedule: Vec<StreamSchedule>,
    /// Updates; the stream ends with its last release (default: 900)
    #[arg(long, value_name = "N", value_parser = value::steps)]
    updates: Option<u64>,
    /// Parts of the data that arrive one after the other (default: 5)
    #[arg(long, value_name = "N", value_parser = value::number(|n: &usize| (2..=8).contains(n), "a number from 2 to 8"))]
    arrivals: Option<usize>,
    /// Releases that are asked for, at moments drawn at random (default: 6)
    #[arg(long, value_name = "N", value_parser = value::number(|n: &usize| (1..=1000).contains(n), "a number from 1 to 1000"))]
    releases: Option<usize>,
    /// Updates of a decay, from the asking to the release (default: 45)
    #[arg(long, value_name = "N", value_parser = value::steps)]
    decay_updates: Option<u64>,
    #[arg(long, help = value::list("The decays of wsd-s and wsd (default: linear)", &DecayKind::ALL, DecayKind::label), value_name = "SHAPE", value_parser = DecayKind::parse)]
    decay: Option<DecayKind>,
    /// Samples that are kept for replay; 0: no rows with replay (default: 200)
    #[arg(long, value_name = "N", value_parser = value::size_or_none)]
    memory: Option<usize>,
    /// Items that are replayed besides those of a batch (default: 8)
    #[arg(long, value_name = "N", value_parser = value::size)]
    replayed: Option<usize>,
    /// The half-life of the exponential average, in updates (default: 30)
    #[arg(long, value_name = "N", value_parser = value::positive)]
    half_life: Option<f32>,
    /// Items of a batch (default: 32)
    #[arg(long, value_name = "N", value_parser = value::number(|n: &usize| (2..=100).contains(n), "a number from 2 to 100"))]
    batch: Option<usize>,
    /// Hidden units of each head; 0: linear (default: 32)
    #[arg(long, value_name = "N", value_parser = value::size_or_none)]
    hidden: Option<usize>,
    /// The largest learning rate (default: 1e-2)
    #[arg(long, value_name = "RATE", value_parser = value::positive)]
    lr: Option<f32>,
    /// Streams, each with data, moments and weights of its own (default: 8)
    #[arg(long, value_name = "N", value_parser = value::number(|n: &u64| (1..=1000).contains(n), "a number from 1 to 1000"))]
    seeds: Option<u64>,
    /// The first seed (default: 0)
    #[arg(long, value_name = "N", value_parser = value::number(|_: &u64| true, "a whole number"))]
    seed: Option<u64>,
    /// Draw the scores at each release into this SVG file (default: no picture)
    #[arg(long, value_name = "FILE", value_parser = value::path())]
    picture: Option<PathBuf>,
    #[command(flatten)]
    machine: MachineFlags,
}

impl Flags {
    fn options(&self) -> StreamOptions {
        let base = StreamOptions::default();
        StreamOptions {
            schedules: match self.schedule.is_empty() {
                true => base.schedules,
                false => self.schedule.clone(),
            },
            updates: self.updates.unwrap_or(base.updates),
            arrivals: self.arrivals.unwrap_or(base.arrivals),
            releases: self.releases.unwrap_or(base.releases),
            decay: self.decay_updates.unwrap_or(base.decay),
            shape: self.decay.unwrap_or(base.shape),
            batch: self.batch.unwrap_or(base.batch),
            hidden: self.hidden.unwrap_or(base.hidden),
            peak: self.lr.unwrap_or(base.peak),
            half_life: self.half_life.unwrap_or(base.half_life),
            memory: self.memory.unwrap_or(base.memory),
            replayed: self.replayed.unwrap_or(base.replayed),
            seeds: self.seeds.unwrap_or(base.seeds),
            seed: self.seed.unwrap_or(base.seed),
            ..base
        }
    }
}

/// Trains on the streams and prints the table.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let began = Instant::now();
    let choice = path::choose(flags.machine.path.as_deref())?;
    let exact = choice.set_precision(flags.machine.precision.unwrap_or_default())?;
    let options = flags.options();
    if let Some(file) = &flags.picture {
        check_place(file)?;
    }
    let screen = Screen::new(flags.machine.quiet);
    let progress = Progress::new(screen.clone(), &flags.machine);
    for message in choice.engine.warning().into_iter().chain(exact) {
        progress.observe(Event::Warning { message });
    }
    let report = stream::run(
        &options,
        &Context {
            engine: &choice.engine,
            threads: flags.machine.threads,
            stop: interrupt::listen(screen.clone(), "update"),
            observe: &|event| progress.observe(event),
        },
    );
    screen.clear();
    let report = report?;
    match flags.machine.json {
        true => output::print_json(&Json {
            event: "summary",
            path: choice.engine.name(),
            seconds: began.elapsed().as_secs_f64(),
            options: &options,
            report: &report,
        }),
        false => output::print(&text(&options, &report)),
    }
    if let (Some(file), false) = (&flags.picture, report.rows.is_empty()) {
        let svg = releases::draw(&picture(&options, &report))?;
        std::fs::write(file, svg).map_err(|e| Error::io(file, "write it", e))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    screen.tell(&format!(
        "{seconds:.1} s on path {}",
        choice.engine.described()
    ));
    if !report.interrupted {
        return Ok(ExitCode::SUCCESS);
    }
    screen.say(match report.rows.is_empty() {
        true => "stopped; nothing was finished",
        false => "stopped; the rows are of what was finished",
    });
    Ok(ExitCode::from(INTERRUPTED))
}

/// That a file can be made there, before the work of minutes.
fn check_place(file: &Path) -> Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if file.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
        let problem = format!(
            "{}: a file in a folder that exists expected",
            file.display()
        );
        return Err(Error::flag("--picture", problem));
    }
    Ok(())
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Json<'a> {
    event: &'static str,
    path: &'static str,
    seconds: f64,
    options: &'a StreamOptions,
    #[serde(flatten)]
    report: &'a StreamReport,
}

/// `without replay`, or how much is replayed.
fn kind(options: &StreamOptions, replay: bool) -> String {
    match replay {
        false => "without replay".to_string(),
        true => format!(
            "{} of {} kept samples replayed in each batch",
            options.replayed, options.memory
        ),
    }
}

fn text(options: &StreamOptions, report: &StreamReport) -> String {
    let rows = report.rows.as_slice();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{}\nR@1 in % on what is new (the latest arrival) and on what is old (all before it), ± standard error\n{}\n",
        options.describe(),
        summary(options, rows),
    );
    if rows.iter().any(|row| row.replay) {
        text += &format!("replay less none\n{}\n", by_replay(rows));
    }
    let new = by_release(options, rows, new_by_release);
    let old = by_release(options, rows, |row| row.old_by_release.clone());
    text + &format!("new, at each release\n{new}\nold, at each release\n{old}")
}

fn new_by_release(row: &StreamRow) -> Vec<Option<Estimate>> {
    row.new_by_release.iter().copied().map(Some).collect()
}

/// A table in which rows without replay and rows with it have headings.
fn sections(
    options: &StreamOptions,
    rows: &[StreamRow],
    mut table: Table,
    cells: impl Fn(&StreamRow) -> Vec<String>,
) -> Table {
    for rows in rows.chunk_by(|a, b| a.replay == b.replay) {
        let replay = rows.first().is_some_and(|row| row.replay);
        table.row([kind(options, replay)]);
        for row in rows {
            let name = format!("  {}", row.schedule.name());
            table.row(std::iter::once(name).chain(cells(row)));
        }
    }
    table
}

fn summary(options: &StreamOptions, rows: &[StreamRow]) -> Table {
    let names = "schedule|seeds|updates|Σ rate|new|±|old|±|new − wsd-s|±|old − wsd-s|±";
    sections(options, rows, Table::new(names.split('|')), |row| {
        let counts = [
            row.seeds.to_string(),
            format!("{:.0}", row.updates),
            format!("{:.2}", row.rates),
        ];
        let figures = [row.new, row.old, row.new_gain, row.old_gain];
        let figures = figures.into_iter().flat_map(figure);
        counts.into_iter().chain(figures).collect()
    })
}

/// A mean and its standard error in percent.
fn figure(estimate: Option<Estimate>) -> [String; 2] {
    [
        percent(estimate.map(|x| x.mean)),
        percent(estimate.and_then(|x| x.standard_error)),
    ]
}

fn by_replay(rows: &[StreamRow]) -> Table {
    let mut table = Table::new(["schedule", "new", "±", "old", "±"]);
    for row in rows.iter().filter(|row| row.replay) {
        let figures = [row.new_by_replay, row.old_by_replay];
        let name = format!("  {}", row.schedule.name());
        table.row(std::iter::once(name).chain(figures.into_iter().flat_map(figure)));
    }
    table
}

fn by_release(
    options: &StreamOptions,
    rows: &[StreamRow],
    of: impl Fn(&StreamRow) -> Vec<Option<Estimate>>,
) -> Table {
    let numbers = (1..=options.releases).flat_map(|release| [release.to_string(), "±".to_string()]);
    let names = std::iter::once("schedule".to_string()).chain(numbers);
    sections(options, rows, Table::new(names), |row| {
        of(row).into_iter().flat_map(figure).collect()
    })
}

fn picture(options: &StreamOptions, report: &StreamReport) -> Releases {
    let bar = |estimate: Estimate| Bar {
        mean: estimate.mean,
        error: estimate.standard_error.unwrap_or_default(),
    };
    let mut new = Vec::new();
    let mut old = Vec::new();
    for rows in report.rows.chunk_by(|a, b| a.replay == b.replay) {
        let replay = rows.first().is_some_and(|row| row.replay);
        let line = |row: &StreamRow, values: Vec<Option<Estimate>>| Line {
            name: row.schedule.name().to_string(),
            values: values.into_iter().map(|x| x.map(bar)).collect(),
        };
        let news = |row| line(row, new_by_release(row));
        let kind = kind(options, replay);
        new.push(Panel {
            title: format!("on what is new, {kind}"),
            lines: rows.iter().map(news).collect(),
        });
        old.push(Panel {
            title: format!("on what is old, {kind}"),
            lines: rows
                .iter()
                .map(|row| line(row, row.old_by_release.clone()))
                .collect(),
        });
    }
    Releases {
        title: options.describe(),
        panels: new.into_iter().chain(old).collect(),
    }
}
