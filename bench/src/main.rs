//! What rivergram takes beside what others take, in one run: `cargo xtask bench`.

mod count;
mod eisl;
mod gallery;
mod gram;
mod kernels;
mod memory;
mod products;
mod python;
mod random;
mod report;
mod row;
mod search;
mod tile;
mod timing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

// The files of core that `tile` compiles look for it here.
use rivergram_core::lanes;
use rivergram_simd::Level;

use crate::python::Python;
use crate::row::{Entry, Setup};

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
struct Request {
    filter: String,
    json: bool,
    peers: bool,
    quick: bool,
    path: Option<String>,
}

/// After this time the rest is measured as in a quick run.
const LATE: Duration = Duration::from_secs(6 * 60);

const HELP: &str = "\
Measures rivergram beside what its work cannot go below, and beside its rivals, in one run, on one
thread unless the name of a row says two.

Usage: cargo xtask bench [--filter TEXT] [--json] [--peers] [--quick] [--path PATH]

Options:
  --filter TEXT   only rows whose name has this text
  --json          a line of JSON for each row instead of the table
  --peers         also torch and faiss, in the Python that RIVERGRAM_PYTHON names
  --quick         fewer rounds, and without the rows that take long
  --path PATH     scalar, sse2, avx2, neon, wasm128 or auto; else RIVERGRAM_PATH, else the fastest;
                  cuda: what `cargo xtask gpu-bench` does

Times are medians; everyone of a row takes turns. A bar is what a row may take at most, as a part of its floor or of
a rival; the bars are for AVX2. Instructions are counted where valgrind is.
";

impl Request {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut request = Request::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let next = words.next().cloned();
                next.ok_or_else(|| format!("`{word}` needs a value"))
            };
            match word.as_str() {
                "--filter" => request.filter = value()?,
                "--path" => request.path = Some(value()?),
                "--json" => request.json = true,
                "--peers" => request.peers = true,
                "--quick" => request.quick = true,
                _ => return Err(format!("`bench` has no `{word}`")),
            }
        }
        Ok(request)
    }

    fn wants(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.filter.to_lowercase())
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, repeat, path] = words.as_slice()
        && flag == count::FLAG
    {
        let level = level(Some(path.as_str()));
        let repeat = repeat
            .parse()
            .map_err(|_| format!("{repeat:?} is no number"));
        let done = level.and_then(|level| count::work(level, name, repeat?));
        return finish(done);
    }
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Request::parse(&words) {
        Ok(request) => finish(run(&request)),
        Err(why) => {
            eprintln!("error: {why}\nhelp: `cargo xtask bench --help`");
            ExitCode::from(2)
        }
    }
}

fn finish(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn level(name: Option<&str>) -> Result<Level, String> {
    match name {
        None | Some("" | "auto") => Ok(Level::detect()),
        Some("cuda") => {
            Err("path \"cuda\": cargo xtask gpu-bench measures the kernels".to_string())
        }
        Some(name) => Level::named(name).map_err(|why| format!("path {name:?}: {why}")),
    }
}

fn run(request: &Request) -> Result<(), String> {
    let variable = std::env::var("RIVERGRAM_PATH").ok();
    let level = level(request.path.as_deref().or(variable.as_deref()))?;
    let python = match request.peers {
        true => Some(Python::start()?),
        false => None,
    };
    let setup = Setup { level, python };
    let all = [
        kernels::ROWS,
        gram::ROWS,
        eisl::ROWS,
        search::ROWS,
        gallery::ROWS,
    ]
    .concat();
    let is_asked = |entry: &&Entry| request.wants(entry.name) && !(request.quick && entry.is_long);
    let entries: Vec<&Entry> = all.iter().filter(is_asked).collect();
    if !request.json && !entries.is_empty() {
        println!("{}\n\n{}", machine(level), report::HEADER);
    }
    let start = Instant::now();
    for entry in &entries {
        // On a busy machine the last rows are measured in fewer rounds, and the whole still ends.
        let quick = request.quick || start.elapsed() > LATE;
        let outcome = entry
            .run(&setup, quick)
            .map_err(|why| format!("{}: {why}", entry.name))?;
        match request.json {
            true => println!("{}", report::json(&outcome, level.name())),
            false => println!("{}", report::line(&outcome)),
        }
    }
    drop(setup);
    memory(request, level);
    instructions(request, level)
}

fn memory(request: &Request, level: Level) {
    let entries = memory::ENTRIES.iter();
    let is_asked =
        |entry: &&memory::Entry| request.wants(entry.name) && !(request.quick && entry.is_long);
    let entries: Vec<&memory::Entry> = entries.filter(is_asked).collect();
    if !request.json && !entries.is_empty() {
        println!("\n{}", report::MEMORY_HEADER);
    }
    for memory::Entry {
        name,
        threads,
        measure,
        ..
    } in entries
    {
        let bytes = measure(level);
        match request.json {
            true => println!(
                "{}",
                report::memory_json(name, level.name(), *threads, bytes)
            ),
            false => println!("{}", report::memory_line(name, bytes)),
        }
    }
}

fn instructions(request: &Request, level: Level) -> Result<(), String> {
    let asked = kernels::COUNTED.iter().map(|(name, _)| *name);
    let asked: Vec<&str> = asked.filter(|name| request.wants(name)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    if !count::is_here() {
        eprintln!("no instructions are counted: `apt-get install valgrind`");
        return Ok(());
    }
    if !request.json {
        println!("\n{}", report::COUNT_HEADER);
    }
    for name in asked {
        let count = count::instructions(level, name)?;
        match request.json {
            true => println!("{}", report::count_json(name, level.name(), count)),
            false => println!("| {name} | {count} |"),
        }
    }
    Ok(())
}

/// What the figures are of.
fn machine(level: Level) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let mut models = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"));
    let model = models
        .next()
        .map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']));
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("CPU {model}, {threads} threads, load {load} at the start; path {level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Request::parse(&words)
    }

    #[test]
    fn words_are_read() {
        let request = parse(&["--filter", "EISL", "--json", "--quick"]).expect("known words");
        assert!(request.json && request.quick && !request.peers);
        assert!(request.wants("eisl n=1") && !request.wants("volume"));
        assert!(parse(&["--filter"]).is_err() && parse(&["fast"]).is_err());
    }

    #[test]
    fn rows_have_names_of_their_own_and_bars_that_can_be_met() {
        let all = [
            kernels::ROWS,
            gram::ROWS,
            eisl::ROWS,
            search::ROWS,
            gallery::ROWS,
        ]
        .concat();
        for (index, entry) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name != entry.name));
            assert!(entry.bars.iter().all(|(_, at_most)| *at_most > 0.0));
        }
    }
}
