//! `rivergram tune`: repeats the choice of the default temperatures.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use rivergram::error::Result;
use rivergram::path;
use rivergram::train::defaults::HIDDEN;
use rivergram::train::tune::{self, TuneOptions, TuneReport};
use rivergram::train::{Context, Event, LossKind};
use serde::Serialize;

use super::machine::MachineFlags;
use super::output;
use super::progress::{Progress, Screen};
use super::table::{Table, percent};
use super::value;

/// Its flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    #[arg(long, help = value::list("Losses, with commas (default: all)", &LossKind::ALL, LossKind::name), hide_possible_values = true, value_delimiter = ',', value_parser = value::named(&LossKind::ALL, LossKind::name))]
    loss: Vec<LossKind>,
    /// Temperatures to try, separated by commas
    #[arg(long, value_name = "T,…", value_delimiter = ',', value_parser = value::positive, default_value = "0.03,0.05,0.07,0.1,0.15,0.25,0.4,0.6")]
    tau: Vec<f32>,
    /// Hidden units of each head; 0: linear
    #[arg(long, value_name = "N", value_parser = value::size_or_none, default_value_t = HIDDEN)]
    hidden: usize,
    /// Steps of each run
    #[arg(long, value_name = "N", value_parser = value::steps, default_value = "600")]
    steps: u64,
    /// Runs of each loss and temperature
    #[arg(long, value_name = "N", value_parser = value::number(|n: &u64| (1..=1000).contains(n), "a number from 1 to 1000"), default_value = "3")]
    seeds: u64,
    /// Training voices that are held out and scored
    #[arg(long, value_name = "N", value_parser = value::size, default_value = "6")]
    held_out_voices: usize,
    /// The first seed
    #[arg(long, value_name = "N", value_parser = value::number(|_: &u64| true, "a whole number"), default_value = "0")]
    seed: u64,
    #[command(flatten)]
    machine: MachineFlags,
}

impl Flags {
    fn options(&self) -> TuneOptions {
        TuneOptions {
            losses: match self.loss.is_empty() {
                true => LossKind::ALL.to_vec(),
                false => self.loss.clone(),
            },
            temperatures: self.tau.clone(),
            hidden: self.hidden,
            steps: self.steps,
            seeds: self.seeds,
            held_out_voices: self.held_out_voices,
            seed: self.seed,
        }
    }
}

/// Tries the temperatures and tells the best of each loss.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let began = Instant::now();
    let choice = path::choose(flags.machine.path.as_deref())?;
    let exact = choice.set_precision(flags.machine.precision.unwrap_or_default())?;
    let screen = Screen::new(flags.machine.quiet);
    let progress = Progress::new(screen.clone(), &flags.machine);
    // There is nothing to save: Ctrl-C ends the program at once.
    let stop = AtomicBool::new(false);
    for message in choice.engine.warning().into_iter().chain(exact) {
        progress.observe(Event::Warning { message });
    }
    let report = tune::run(
        &flags.options(),
        &Context {
            engine: &choice.engine,
            threads: flags.machine.threads,
            stop: &stop,
            observe: &|event| progress.observe(event),
        },
    );
    screen.clear();
    let report = report?;
    if flags.machine.json {
        let chosen = chosen(&report).map(|(loss, tau)| (loss.name(), tau));
        output::print_json(&Json {
            event: "summary",
            path: choice.engine.name(),
            seconds: began.elapsed().as_secs_f64(),
            chosen: chosen.collect(),
            report: &report,
        });
    } else {
        output::print(&table(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Json<'a> {
    event: &'static str,
    path: &'static str,
    seconds: f64,
    chosen: BTreeMap<&'static str, f32>,
    #[serde(flatten)]
    report: &'a TuneReport,
}

fn chosen(report: &TuneReport) -> impl Iterator<Item = (LossKind, f32)> {
    let best = report.rows.iter().filter(|row| row.best);
    best.map(|row| (row.loss, row.temperature))
}

fn table(report: &TuneReport) -> String {
    let mut table = Table::new(["loss", "pairs", "tau", "score %", "±", ""]);
    for row in &report.rows {
        table.row([
            row.loss.name().to_string(),
            row.pairs.to_string(),
            row.temperature.to_string(),
            percent(Some(row.score)),
            percent(Some(row.standard_error)),
            if row.best { "*" } else { "" }.to_string(),
        ]);
    }
    let mut text = format!("Score on held-out training voices, and its standard error\n{table}\n");
    for (loss, tau) in chosen(report) {
        text += &format!(
            "{}: tau {tau} would be chosen; the default is {}\n",
            loss.name(),
            loss.default_temperature()
        );
    }
    text
}
