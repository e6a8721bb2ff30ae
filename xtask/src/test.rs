//! `cargo xtask test`: runs the parts one after the other and adds up.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::job::{Counts, Job, say};
use crate::parts::{ALL, Part, ptx};
use crate::tools::{self, Tool};
use crate::workspace::Workspace;

/// What was asked for.
pub(crate) struct Request {
    parts: Vec<&'static Part>,
    setup: bool,
    list: bool,
    bless: bool,
    long: bool,
}

impl Request {
    /// Reads the words after `test`. No part named means all; they run in the order of the list.
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let (flags, names): (Vec<&str>, Vec<&str>) =
            words.iter().partition(|word| word.starts_with('-'));
        if let Some(flag) = flags
            .iter()
            .find(|flag| !matches!(**flag, "--setup" | "--list" | "--bless" | "--long"))
        {
            return Err(format!("`test` has no flag `{flag}`"));
        }
        if let Some(name) = names
            .iter()
            .find(|name| !ALL.iter().any(|part| part.name == **name))
        {
            let known: Vec<&str> = ALL.iter().map(|part| part.name).collect();
            return Err(format!(
                "`test` has no part `{name}`; it has {}",
                known.join(", ")
            ));
        }
        Ok(Self {
            parts: ALL
                .iter()
                .filter(|part| names.is_empty() || names.contains(&part.name))
                .collect(),
            setup: flags.contains(&"--setup"),
            list: flags.contains(&"--list"),
            bless: flags.contains(&"--bless"),
            long: flags.contains(&"--long"),
        })
    }
}

/// One part after it ran.
struct Row {
    name: &'static str,
    counts: Counts,
    time: Duration,
}

/// Does what was asked for.
pub(crate) fn answer(request: &Request) -> ExitCode {
    if request.list {
        for part in &request.parts {
            say(&format!("{:<10}{}", part.name, part.about));
        }
        return ExitCode::SUCCESS;
    }
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    if request.setup {
        let needed: Vec<&Tool> = request.parts.iter().flat_map(|part| part.tools).collect();
        tools::install(&needed);
        if request.parts.iter().any(|part| part.name == "ptx") {
            ptx::setup(&workspace);
        }
    }
    let rows: Vec<Row> = request
        .parts
        .iter()
        .map(|part| run(part, &workspace, request))
        .collect();
    summary(&rows)
}

fn run(part: &Part, workspace: &Workspace, request: &Request) -> Row {
    say(&format!("\n== {}: {}", part.name, part.about));
    let start = Instant::now();
    let mut job = Job::new(workspace);
    job.bless = request.bless;
    job.long = request.long;
    if job.has(part.tools) {
        (part.run)(&mut job);
    }
    let row = Row {
        name: part.name,
        counts: job.counts(),
        time: start.elapsed(),
    };
    say(&format!(
        "== {}: {} in {:.1} s",
        row.name,
        row.verdict(),
        row.time.as_secs_f64()
    ));
    row
}

impl Row {
    fn verdict(&self) -> &'static str {
        if self.counts.failed == 0 {
            "passed"
        } else {
            "failed"
        }
    }
}

/// Prints the table and the total.
fn summary(rows: &[Row]) -> ExitCode {
    let mut total = Counts::default();
    say(&format!("\n{:<10}{:<8}{:>8}", "part", "result", "seconds"));
    for row in rows {
        total += row.counts;
        let seconds = row.time.as_secs_f64();
        say(&format!(
            "{:<10}{:<8}{seconds:>8.1}",
            row.name,
            row.verdict()
        ));
    }
    let seconds: f64 = rows.iter().map(|row| row.time.as_secs_f64()).sum();
    say(&format!("{:<10}{:<8}{seconds:>8.1}\n\n{total}", "all", ""));
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let request = Request::parse(words).unwrap_or_else(|message| panic!("{message}"));
        request.parts.iter().map(|part| part.name).collect()
    }

    #[test]
    fn parts_run_in_the_order_of_the_list() {
        assert_eq!(names(&["test", "--setup", "fmt", "test"]), ["fmt", "test"]);
        assert_eq!(names(&[]).len(), ALL.len());
    }

    #[test]
    fn unknown_words_are_named() {
        let message = |words: &[&str]| Request::parse(words).err().unwrap_or_default();
        assert!(message(&["fmt", "--fast"]).contains("`--fast`"));
        assert!(message(&["fnt"]).contains("`fnt`"));
    }

    #[test]
    fn names_are_unique_and_fit_the_table() {
        for (index, part) in ALL.iter().enumerate() {
            assert!(part.name.len() < 10, "{}", part.name);
            assert!(
                ALL.iter()
                    .skip(index + 1)
                    .all(|other| other.name != part.name)
            );
        }
    }
}
