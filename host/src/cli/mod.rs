//! The command line: flags in, tables and lines out. No mathematics.

mod ask;
mod gallery;
mod interrupt;
mod machine;
mod output;
mod paths;
mod progress;
mod search;
#[cfg(feature = "demo-data")]
mod stream;
mod table;
mod train;
#[cfg(feature = "demo-data")]
mod tune;
mod value;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Id, Parser, Subcommand};

/// The exit code of bad usage.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  rivergram                                   the main job on the built-in data
  rivergram train --loss gram --hidden 0      one alignment with linear heads
  rivergram train --data train.safetensors --test test.safetensors
  rivergram train --modality image=i.npy --modality text=t.npy --anchor text
  rivergram train --noise shuffle:5,blank:0.5 --ngrams 1:0.8,2:0.2
  rivergram train --resume runs/001           goes on where a run stopped
  rivergram ask runs/001 decay 100            a decay now, while it trains
  rivergram train --json > run.jsonl          for programs
  rivergram gallery --data items.safetensors --out items.gallery
  rivergram search items.gallery --queries texts.npy --by distance
  rivergram stream --seeds 3                  schedules on a stream that drifts
  rivergram paths                             what this machine has";

#[cfg(feature = "demo-data")]
const STREAM_EXAMPLES: &str = "\
Parts of the built-in data arrive one after the other, each with voices and writers of its own. At
random moments a release is asked for: after a decay its weights are measured on what is new and on
what is old, with every schedule, with and without replay of a few samples. docs/stream.md has the
table and says what it means.

Examples:
  rivergram stream --picture stream.svg
  rivergram stream --schedule wsd-s,constant-ema --seeds 10
  rivergram stream --updates 3000 --arrivals 8 --releases 10 --memory 0
  rivergram stream --json > stream.jsonl

Ctrl-C tells what was finished. Exit codes: 0 done, 1 the system failed, 2 bad input, 130 interrupted.";

const TRAIN_EXAMPLES: &str = "\
Without flags it is the main job: the built-in numbers 0 to 99 as text, image and audio are
aligned by the loss gram-symmetric and by the best baseline, and a head that transcribes strips of
digits is trained for each of five noises.

Own data: row i of every modality belongs to the same item. Modalities have the order of their
names (--data) or of the flags (--modality); the anchor is --anchor, else \"text\", else the first.
A row of zeros is an absent modality. The first lines say what was found: the modalities in their
order, the anchor, how many rows are there and how many absent, the items of a batch.

Lengths are in steps, which are updates, unless --unit says otherwise. There is no --replay: the
data of a run do not drift, and each of its batches is drawn from all of them (see \"stream\").

Examples:
  rivergram train --loss gram-symmetric --pairs 0.3 --budgets 600,1000,1500
  rivergram train --schedule cosine --steps 800 --lr 1e-3
  rivergram train --data train.safetensors --test test.safetensors --out runs/mine
  rivergram train --modality image=i.npy --modality text=t.npy --anchor text --batch 32
  rivergram train --noise shuffle:5 --select logsumexp --ngrams 1,2
  rivergram train --loss gram --path cuda --precision tf32
  rivergram train --resume runs/mine

Ctrl-C saves and says how to go on. Exit codes: 0 done, 1 the system failed, 2 bad input,
130 interrupted.";

#[cfg(feature = "demo-data")]
const TUNE_EXAMPLES: &str = "\
Each loss is trained on the built-in data at each temperature, without some of the training voices,
which are then scored: the mean of R@1 in %, with its standard error over the seeds. The
default temperatures of \"train\" were chosen by all defaults.

Examples:
  rivergram tune
  rivergram tune --loss gram,gram-symmetric --tau 0.03,0.05,0.07 --seeds 5
  rivergram tune --hidden 0 --steps 300 --json > tune.jsonl

Ctrl-C ends it at once: nothing is saved. Exit codes: 0 done, 1 the system failed, 2 bad input.";

const PATHS_EXAMPLES: &str = "\
A path is an instruction set, or a GPU (cuda). Commands take --path NAME; without it the variable
RIVERGRAM_PATH decides, and without that the fastest instruction set of this machine (auto).

Examples:
  rivergram paths
  rivergram paths --path cuda                 is there a GPU, and if not, why
  RIVERGRAM_PATH=scalar rivergram paths --json";

const ASK_EXAMPLES: &str = "\
The run takes it between two updates; one that is stopped takes it when it is resumed. Lengths are
in the unit of the run (--unit). At the end of a decay that was asked for the run writes and
evaluates release-START-END.safetensors, then goes on: wsd-s and constant from there, at the peak
again; wsd from before the decay.

Examples:
  rivergram ask runs/mine decay 100           a decay of 100 steps from now on
  rivergram ask runs/mine decay 10%           of a tenth of what the run has behind it
  rivergram ask runs/mine cancel              back to the peak
  rivergram ask runs/mine extend 50           the decay, else the budget, ends 50 steps later
  rivergram train --resume runs/mine --add-budgets 2000,3000";

const GALLERY_EXAMPLES: &str = "\
An item is one row of each modality. The file has its vectors, an orthonormal basis of them, their
volume and checksums. A search reads the bases from end to end and of the vectors those of a few
candidates; it is a safetensors file, which other programs read too (docs/search.md).

Examples:
  rivergram gallery --data items.safetensors --out items.gallery
  rivergram gallery --modality image=i.npy --modality audio=a.npy --out items.gallery
  rivergram gallery --data items.safetensors --items image,audio --bases int8 --out small.gallery
  rivergram gallery --run runs/mine --out numbers.gallery

Ctrl-C leaves no file. Exit codes: 0 done, 1 the system failed, 2 bad input, 130 interrupted.";

const SEARCH_EXAMPLES: &str = "\
A query is one row: the nearest items are those whose vectors span the smallest volume with it, are
the least distance from it, or have the largest sum of cosines. Equals come by their index.

Examples:
  rivergram search items.gallery --queries texts.npy --top 5
  rivergram search items.gallery --queries texts.safetensors --modality text --by distance
  rivergram search items.gallery --queries texts.npy --format jsonl > found.jsonl
  rivergram search small.gallery --queries texts.npy --path cuda
  rivergram search numbers.gallery --run runs/mine --first 3

With --format jsonl each query is one line: {\"query\":0,\"found\":[{\"item\":7,\"score\":0.12}]}.
Exit codes: 0 done, 1 the system failed, 2 bad input, 130 interrupted.";

/// Aligns modalities by Gramian volumes and fine-tunes sequence heads on noisy labels
#[derive(Parser, Debug)]
#[command(version, after_help = EXAMPLES, allow_negative_numbers = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Train; what happens when no command is given
    #[command(after_help = TRAIN_EXAMPLES, allow_negative_numbers = true)]
    Train(Box<train::Flags>),
    /// Repeat the choice of the default temperatures on held-out training voices
    #[cfg(feature = "demo-data")]
    #[command(after_help = TUNE_EXAMPLES, allow_negative_numbers = true)]
    Tune(tune::Flags),
    /// Ask a run for something while it goes on: a decay now, its end, more time
    #[command(after_help = ASK_EXAMPLES, allow_negative_numbers = true)]
    Ask(ask::Flags),
    /// Compare schedules, averages and replay on a stream that drifts and has no known end
    #[cfg(feature = "demo-data")]
    #[command(after_help = STREAM_EXAMPLES, allow_negative_numbers = true)]
    Stream(Box<stream::Flags>),
    /// Make a gallery: a file of items in which a search finds the nearest
    #[command(after_help = GALLERY_EXAMPLES)]
    Gallery(gallery::Flags),
    /// Find the items of a gallery that are nearest to each of some queries
    #[command(after_help = SEARCH_EXAMPLES)]
    Search(search::Flags),
    /// Say which paths (instruction sets) this machine has and why one is chosen
    #[command(after_help = PATHS_EXAMPLES)]
    Paths(paths::Flags),
}

/// The program.
pub(crate) fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches_from(arguments(std::env::args_os()));
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?.command, matches)));
    let (command, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => return refuse(&e),
    };
    let done = match command {
        Command::Train(flags) => {
            let used = used(&matches);
            train::check(&flags, &used).and_then(|()| train::run(&flags))
        }
        #[cfg(feature = "demo-data")]
        Command::Tune(flags) => tune::run(&flags),
        Command::Ask(flags) => ask::run(&flags),
        #[cfg(feature = "demo-data")]
        Command::Stream(flags) => stream::run(&flags),
        Command::Gallery(flags) => gallery::run(&flags),
        Command::Search(flags) => search::run(&flags),
        Command::Paths(flags) => paths::run(&flags),
    };
    done.unwrap_or_else(|e| {
        output::report(&format!("error: {e}"));
        ExitCode::from(e.exit_code())
    })
}

/// The names of the flags that stand on the command line.
fn used(matches: &ArgMatches) -> Vec<String> {
    let Some((_, matches)) = matches.subcommand() else {
        return Vec::new();
    };
    let given = |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    // Groups of flags have names like types; flags have none with capitals.
    let flag = |id: &&Id| !id.as_str().contains(char::is_uppercase);
    let ids = matches.ids().filter(given).filter(flag);
    ids.map(|id| format!("--{}", id.as_str().replace('_', "-")))
        .collect()
}

/// The arguments, with the command `train` where there is none.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let mut arguments: Vec<OsString> = given.collect();
    if arguments.is_empty() {
        arguments.push("rivergram".into());
    }
    let has_command = arguments.get(1).is_some_and(|first| {
        let first = first.to_string_lossy();
        !first.starts_with('-') || OWN.contains(&first.as_ref())
    });
    if !has_command {
        arguments.insert(1, "train".into());
    }
    arguments
}

/// Help goes to stdout; what is wrong goes to stderr, in one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        output::print(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let text = text.replace("For more information", "for more information");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("Usage:"));
    let mut message = String::new();
    for line in lines {
        let hint = line.starts_with("tip:") || line.starts_with("for more");
        message += match () {
            () if message.is_empty() => "",
            () if hint => "; ",
            () => " ",
        };
        message += line.trim_end_matches('.');
    }
    output::report(&message);
    ExitCode::from(USAGE)
}
