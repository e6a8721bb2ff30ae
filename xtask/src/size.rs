//! `cargo xtask size`: what functions of core cost on microcontrollers, beside what else one would use.
//!
//! `tests/size` is an archive with a function for each line. Linked alone, a function tells its flash with all
//! that it pulls in. Linked together, they are a program that measures itself in QEMU.

mod limits;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::Value;

use self::table::{Cost, Section, Table};
use crate::cross::{LLD, Toolchain};
use crate::job::{Job, say, side_by_side};
use crate::panic_paths::llvm;
use crate::qemu::BOARDS;
use crate::tools::{self, Tool};
use crate::workspace::Workspace;

/// Where the functions lie.
pub(crate) const CRATE: &str = "tests/size";

/// Where the table lies.
pub(crate) const FILE: &str = "docs/size.md";

/// The profiles of the crate's manifest: for speed and for size.
const PROFILES: [&str; 2] = ["speed", "size"];

/// How long a program may take to measure itself.
const LIMIT: Duration = Duration::from_secs(300);

/// A target, and the board that runs its code.
struct Machine {
    triple: &'static str,
    /// What the target is known as.
    name: &'static str,
    /// Of [`BOARDS`].
    board: &'static str,
    /// Where code and data lie.
    code: u32,
    memory: u32,
}

const MACHINES: &[Machine] = &[
    Machine {
        triple: "thumbv7em-none-eabihf",
        name: "Cortex-M4F",
        board: "cortex-m4f",
        code: 0,
        memory: 0x2000_0000,
    },
    // QEMU's board with a Cortex-M0 has no clock that counts instructions. A Cortex-M3 runs the same code.
    Machine {
        triple: "thumbv6m-none-eabi",
        name: "Cortex-M0",
        board: "cortex-m3",
        code: 0,
        memory: 0x2000_0000,
    },
    Machine {
        triple: "riscv32imac-unknown-none-elf",
        name: "RISC-V without F",
        board: "rv32imac",
        code: 0x8000_0000,
        memory: 0x8040_0000,
    },
];

/// The command: writes the table, or compares with it.
pub(crate) fn answer(words: &[&str], needed: &[Tool]) -> Result<ExitCode, String> {
    let known = ["--setup", "--check"];
    if let Some(word) = words.iter().find(|word| !known.contains(word)) {
        return Err(format!("`size` does not know `{word}`"));
    }
    let workspace = Workspace::load()?;
    if words.contains(&"--setup") {
        tools::install(&needed.iter().collect::<Vec<_>>());
    }
    let mut job = Job::new(&workspace);
    if job.has(needed) {
        if words.contains(&"--check") {
            check(&mut job);
        } else {
            write(&mut job);
        }
    }
    Ok(if job.counts().failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(job: &mut Job<'_>) {
    let Some(table) = measure(job) else { return };
    let path = job.workspace.root.join(FILE);
    match std::fs::write(&path, table.to_string()) {
        Ok(()) => say(&format!("wrote {FILE}")),
        Err(error) => job.fail(format_args!("{FILE}: {error}")),
    }
    for limit in limits::broken(&table) {
        job.fail(limit);
    }
}

/// Measures again, and compares with the committed table and with the limits.
pub(crate) fn check(job: &mut Job<'_>) {
    let path = job.workspace.root.join(FILE);
    let committed = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    let committed = match committed.and_then(|text| text.parse::<Table>()) {
        Ok(table) => table,
        Err(why) => return job.fail(format_args!("{FILE}: {why}")),
    };
    let Some(table) = measure(job) else { return };
    let changes = committed.changes(&table);
    if !changes.is_empty() {
        if committed.tools != table.tools {
            say(&format!(
                "{FILE} is of {}, this is {}",
                committed.tools, table.tools
            ));
        }
        say("`cargo xtask size` writes the table anew");
    }
    for change in changes.into_iter().chain(limits::broken(&table)) {
        job.fail(change);
    }
}

/// Builds, links, runs and reads everything. `None` where something failed, which is noted.
fn measure(job: &mut Job<'_>) -> Option<Table> {
    let mut tools: Vec<String> = Vec::new();
    let mut sections: BTreeMap<&str, Section> = BTreeMap::new();
    let triples: Vec<&str> = MACHINES.iter().map(|machine| machine.triple).collect();
    for (toolchain, triples) in Toolchain::group(job, &triples) {
        match toolchain.version() {
            Ok(version) => tools.push(version),
            Err(why) => job.fail(why),
        }
        for (column, profile) in PROFILES.into_iter().enumerate() {
            let words = ["build", "--profile", profile];
            let mut build = toolchain.bare(job.workspace, &triples, &words);
            build.env("RUSTFLAGS", "-Dwarnings");
            build.current_dir(job.workspace.root.join(CRATE));
            if !job.run(&mut build) {
                continue;
            }
            let scripts = match script_folders(&mut build) {
                Ok(folders) => folders,
                Err(why) => {
                    job.fail(why);
                    continue;
                }
            };
            let folder = toolchain.target_folder(&job.workspace.target);
            let machines = MACHINES.iter();
            let archives: Vec<Archive<'_>> = machines
                .filter(|machine| triples.contains(&machine.triple))
                .map(|machine| Archive {
                    file: folder
                        .join(machine.triple)
                        .join(profile)
                        .join("librivergram_size.a"),
                    script: job.workspace.root.join(CRATE).join("link.x"),
                    scripts: of_target(&scripts, machine.triple),
                    machine,
                })
                .collect();
            // Instructions are counted, not time: machines may be emulated side by side.
            let costs = side_by_side(&archives, Archive::costs);
            for (archive, costs) in archives.iter().zip(costs) {
                let machine = archive.machine;
                let section = sections.entry(machine.triple).or_default();
                section.name = machine.name.to_string();
                section.triple = machine.triple.to_string();
                match costs {
                    Ok(costs) => section.add(column, costs),
                    Err(why) => job.fail(why),
                }
            }
        }
    }
    match BOARDS[0].version() {
        Ok(version) => tools.push(version),
        Err(why) => job.fail(why),
    }
    let ordered = MACHINES
        .iter()
        .filter_map(|machine| sections.remove(machine.triple));
    let table = Table {
        tools: tools.join(", "),
        sections: ordered.collect(),
    };
    (job.counts().failed == 0).then_some(table)
}

/// Where the build scripts of a build, which is done, have put what a linker needs: the scripts of the runtimes.
fn script_folders(build: &mut Command) -> Result<Vec<PathBuf>, String> {
    build.arg("--message-format=json");
    let output = build.output().map_err(|error| format!("cargo: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout);
    Ok(messages.lines().flat_map(linked_paths).collect())
}

/// The folders in a line of cargo, where it is of a build script.
fn linked_paths(line: &str) -> Vec<PathBuf> {
    let message: Value = serde_json::from_str(line).unwrap_or_default();
    let paths = message["linked_paths"]
        .as_array()
        .map_or(&[][..], |paths| paths);
    let paths = paths.iter().filter_map(Value::as_str);
    paths
        .map(|path| PathBuf::from(path.trim_start_matches("native=")))
        .collect()
}

/// Those for one target of a build for several.
fn of_target(folders: &[PathBuf], triple: &str) -> Vec<PathBuf> {
    let folders = folders.iter();
    folders
        .filter(|folder| folder.iter().any(|part| part == triple))
        .cloned()
        .collect()
}

/// The functions of all lines, compiled for one machine in one profile.
struct Archive<'a> {
    file: PathBuf,
    /// For a function alone.
    script: PathBuf,
    /// Where the scripts for the program are that `tests/firmware/board` starts.
    scripts: Vec<PathBuf>,
    machine: &'a Machine,
}

impl Archive<'_> {
    /// The name and the cost of each line.
    fn costs(&self) -> Result<Vec<(String, Cost)>, String> {
        let board = BOARDS.iter().find(|board| board.name == self.machine.board);
        let board = board.ok_or("there is no such board")?;
        let program = self.link_all()?;
        // A nanosecond for each instruction: clocks count instructions, and every run is the same.
        let outcome = board.run(&program, LIMIT, &["-icount", "shift=0"])?;
        if outcome.code != Some(0) {
            return Err(format!(
                "{} on {}: {outcome}",
                program.display(),
                board.name
            ));
        }
        let output = String::from_utf8_lossy(&outcome.output);
        let lines = output.lines().filter(|line| line.contains('\t'));
        lines.map(|line| self.cost(line)).collect()
    }

    /// The cost of one line, of which the program printed memory, stack and instructions.
    fn cost(&self, line: &str) -> Result<(String, Cost), String> {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap_or_default();
        let mut number = || {
            let field = fields.next().unwrap_or_default();
            let number = field.trim().parse::<u64>();
            number.map_err(|_| format!("the program for size printed `{line}`"))
        };
        let (memory, stack, instructions) = (number()?, number()?, number()?);
        // With another input it is the same function.
        let flash = match name.contains(';') {
            true => None,
            false => Some(flash(&self.link(name)?)?),
        };
        let cost = Cost {
            flash,
            stack,
            memory,
            instructions,
        };
        Ok((name.to_string(), cost))
    }

    /// Links the program that measures everything.
    fn link_all(&self) -> Result<PathBuf, String> {
        let mut words = vec!["--script=link.x".to_string(), "--nmagic".to_string()];
        let folders = self.scripts.iter();
        words.extend(folders.map(|folder| format!("--library-path={}", folder.display())));
        self.link_with("the program", &words)
    }

    /// Links what `entry` needs, and nothing else.
    fn link(&self, entry: &str) -> Result<PathBuf, String> {
        let words = [
            format!("--entry={entry}"),
            format!("--undefined={entry}"),
            format!("--defsym=code={:#x}", self.machine.code),
            format!("--defsym=memory={:#x}", self.machine.memory),
            format!("--script={}", self.script.display()),
        ];
        self.link_with(entry, &words)
    }

    fn link_with(&self, what: &str, words: &[String]) -> Result<PathBuf, String> {
        let program = self.file.with_extension("elf");
        let output = Command::new(LLD)
            .arg("--gc-sections")
            .args(words)
            .arg(&self.file)
            .arg("-o")
            .arg(&program)
            .output()
            .map_err(|error| format!("{LLD}: {error}"))?;
        if output.status.success() {
            Ok(program)
        } else {
            let message = String::from_utf8_lossy(&output.stderr);
            Err(format!("{LLD}: {what}: {message}"))
        }
    }
}

/// Bytes of code, constants and initial values of a program.
fn flash(program: &Path) -> Result<u64, String> {
    let answer = llvm("size", &["--format=berkeley"], program)?;
    let numbers = answer.lines().nth(1).unwrap_or_default();
    let mut numbers = numbers.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(text)), Some(Ok(data))) => Ok(text + data),
        _ => Err(format!("llvm-size printed `{answer}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_build_scripts_are_found_by_target() {
        let line = |target| {
            format!(
                r#"{{"reason":"build-script-executed","linked_paths":["native=/t/{target}/out"]}}"#
            )
        };
        let lines = [line("thumbv6m"), line("thumbv7m"), "not json".to_string()];
        let folders: Vec<_> = lines.iter().flat_map(|line| linked_paths(line)).collect();
        assert_eq!(
            of_target(&folders, "thumbv7m"),
            [PathBuf::from("/t/thumbv7m/out")]
        );
    }
}
