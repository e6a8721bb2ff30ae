//! `rivergram ask`: leaves a request in a run folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rivergram::error::Result;
use rivergram::train;

use super::output;
use super::value;

const DECAY_EXAMPLES: &str = "\
The rate falls to the floor within LENGTH; then the run writes release-START-END.safetensors,
evaluates it and goes on.

Examples:
  rivergram ask runs/endless decay 100        a decay of 100 steps
  rivergram ask runs/endless decay 10%        of a tenth of what the run has behind it";

/// Whom, and for what.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// The run folder; of a run of several jobs, the folder of one
    #[arg(value_name = "DIR", value_parser = value::path())]
    folder: PathBuf,
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Subcommand, Clone, Copy, Debug)]
enum Ask {
    /// A decay from now on, as long as a number of steps or a part of the past: 100 or 10%
    #[command(after_help = DECAY_EXAMPLES)]
    Decay {
        /// Steps (in the unit of the run), or a part of what it has behind it
        #[arg(value_name = "LENGTH", value_parser = length)]
        length: train::Ask,
    },
    /// Call off the decay that runs: wsd-s goes on at the peak, wsd from before the decay
    Cancel,
    /// End the decay that runs, else the budget, later by so many steps
    Extend {
        /// In the unit of the run
        #[arg(value_name = "STEPS", value_parser = value::steps)]
        by: u64,
    },
}

/// `100` or `10%`
fn length(text: &str) -> std::result::Result<train::Ask, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return value::steps(text).map(|length| train::Ask::Decay { length });
    };
    let part = value::number(
        |p: &f64| *p > 0.0 && *p <= 100.0,
        "a number of steps, or a part above 0% and at most 100%,",
    );
    let millionths = (part(percent)? * 1e4).round() as u32;
    Ok(train::Ask::DecayOfSeen { millionths })
}

/// Leaves the request.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let ask = match flags.ask {
        Ask::Decay { length } => length,
        Ask::Cancel => train::Ask::Cancel,
        Ask::Extend { by } => train::Ask::Extend { by },
    };
    let file = train::ask(&flags.folder, ask)?;
    output::report(&format!("asked: {}", file.display()));
    Ok(ExitCode::SUCCESS)
}
