//! One part while it runs: its commands, their output and what they count.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use crate::tools::{Tool, has_rustup};
use crate::workspace::Workspace;

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Counts {
    /// The counts of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, list) = line
            .trim()
            .strip_prefix("test result: ")?
            .split_once(". ")?;
        let number = |word: &str| {
            let mut fields = list.split("; ").map(|field| field.split_once(' '));
            fields.find_map(|field| field.filter(|(_, name)| *name == word)?.0.parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            skipped: number("ignored")?,
        })
    }
}

/// A part that runs.
pub(crate) struct Job<'a> {
    pub(crate) workspace: &'a Workspace,
    /// Whether what is stored for comparison is to be written anew.
    pub(crate) bless: bool,
    /// Whether faults are injected for longer.
    pub(crate) long: bool,
    tests: Counts,
    /// Something failed that no test counts: a build, a check, a missing tool.
    broken: bool,
}

impl<'a> Job<'a> {
    pub(crate) fn new(workspace: &'a Workspace) -> Self {
        Self {
            workspace,
            bless: false,
            long: false,
            tests: Counts::default(),
            broken: false,
        }
    }

    /// Runs `cargo` with these arguments, see [`Job::run`].
    pub(crate) fn cargo(&mut self, arguments: &[&str]) -> bool {
        let mut command = self.workspace.cargo(arguments);
        self.run(&mut command)
    }

    /// Runs a command, passes its output on as it comes and counts the test results in it. A failure is
    /// noted, and the part may go on with its next command.
    pub(crate) fn run(&mut self, command: &mut Command) -> bool {
        say(&format!("$ {}", spelled(command)));
        match stream(command) {
            Ok((success, tests)) => {
                self.note(success, tests);
                success
            }
            Err(error) => {
                self.fail(format_args!("{}: {error}", spelled(command)));
                false
            }
        }
    }

    /// Whether all of these tools are here. Each that is not is a failure, with what to type to get it.
    pub(crate) fn has(&mut self, tools: &[Tool]) -> bool {
        let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.is_here()).collect();
        for tool in &missing {
            let remedy = tool.remedy(has_rustup());
            self.fail(format_args!(
                "{}: {remedy}, or run with --setup",
                tool.probe
            ));
        }
        missing.is_empty()
    }

    /// Notes a failure that is not a command's.
    pub(crate) fn fail(&mut self, why: impl Display) {
        say(&format!("error: {why}"));
        self.broken = true;
    }

    /// The tests that ran, and one more for what failed outside them; a part without tests counts as one.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.tests;
        counts.failed += u64::from(self.broken);
        if counts == Counts::default() {
            counts.passed = 1;
        }
        counts
    }

    /// A command that fails without a failed test has failed by itself.
    fn note(&mut self, success: bool, tests: Counts) {
        self.tests += tests;
        self.broken |= !success && tests.failed == 0;
    }
}

/// Does the same for each of a few things, all at once; the results are in their order.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    things: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = things
            .iter()
            .map(|thing| scope.spawn(move || work(thing)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Whether the command succeeded, and the tests that it ran.
fn stream(command: &mut Command) -> std::io::Result<(bool, Counts)> {
    // The child stays in this process group: an interrupt from the terminal stops both.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let tests = match child.stdout.take() {
        Some(pipe) => pass_on(BufReader::new(pipe), std::io::stdout())?,
        None => Counts::default(),
    };
    Ok((child.wait()?.success(), tests))
}

/// Copies line by line and counts the test results.
fn pass_on(mut from: impl BufRead, mut to: impl Write) -> std::io::Result<Counts> {
    let mut tests = Counts::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        if let Some(counts) = Counts::of_line(&String::from_utf8_lossy(&line)) {
            tests += counts;
        }
        line.clear();
    }
    Ok(tests)
}

/// A line of our own, in order with the output of the commands.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nothing is left to tell when the reader has gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The command as one would type it.
pub(crate) fn spelled(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn workspace() -> Workspace {
        Workspace {
            root: PathBuf::from("."),
            target: PathBuf::from("target"),
            packages: Vec::new(),
        }
    }

    #[test]
    fn result_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 7 filtered out; finished in 0.01s\n";
        let want = Counts {
            passed: 12,
            failed: 3,
            skipped: 4,
        };
        assert_eq!(Counts::of_line(line), Some(want));
        assert_eq!(Counts::of_line("test result of nothing"), None);
        assert_eq!(want.to_string(), "12 passed, 3 failed, 4 skipped");
        assert_eq!(Counts::default().to_string(), "0 passed, 0 failed");
    }

    #[test]
    fn output_is_passed_on_whole_and_counted() {
        let text = "test a ... ok\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\
            \u{e9}\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\nend";
        let mut copy = Vec::new();
        let counts = pass_on(text.as_bytes(), &mut copy).unwrap_or_default();
        assert_eq!(counts.to_string(), "3 passed, 1 failed, 1 skipped");
        assert_eq!(copy, text.as_bytes());
    }

    #[test]
    fn a_part_without_tests_counts_as_one() {
        let workspace = workspace();
        let mut job = Job::new(&workspace);
        job.note(true, Counts::default());
        assert_eq!(job.counts().to_string(), "1 passed, 0 failed");
        job.note(false, Counts::default());
        job.note(false, Counts::default());
        assert_eq!(job.counts().to_string(), "0 passed, 1 failed");
    }

    #[test]
    fn a_failing_test_is_counted_once_and_a_failing_build_too() {
        let counts = |passed, failed| Counts {
            passed,
            failed,
            skipped: 0,
        };
        let workspace = workspace();
        let mut job = Job::new(&workspace);
        job.note(true, counts(2, 0));
        job.note(false, counts(1, 1));
        assert_eq!(job.counts().to_string(), "3 passed, 1 failed");
        job.note(false, counts(0, 0));
        assert_eq!(job.counts().to_string(), "3 passed, 2 failed");
    }

    #[test]
    fn a_command_gives_its_verdict() {
        assert!(stream(&mut Command::new("no-such-program-here")).is_err());
        let verdict = |program| stream(&mut Command::new(program)).ok();
        assert_eq!(verdict("true"), Some((true, Counts::default())));
        assert_eq!(verdict("false"), Some((false, Counts::default())));
    }
}
