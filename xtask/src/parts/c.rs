//! The C functions as C sees them: the library is linked into programs in C and C++, on this machine and for a
//! Cortex-M4F under QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Part, firmware};
use crate::cross::{self, Library, Toolchain};
use crate::job::{Job, say};
use crate::panic_paths;
use crate::qemu::{self, BOARDS, Board};
use crate::tools::{Probe, Tool};

pub(super) const PART: Part = Part {
    name: "c",
    about: "the C library in programs: every error, the examples here and on a Cortex-M4F",
    tools: &[
        cross::COMPILER,
        panic_paths::LLVM,
        qemu::ARM,
        tool(&["gcc", "--version"], "gcc"),
        tool(&["g++", "--version"], "g++"),
        tool(&[ARM_GCC, "--version"], "gcc-arm-none-eabi"),
        Tool {
            probe: Probe::Look("newlib for Cortex-M", has_newlib),
            apt: "libnewlib-arm-none-eabi",
            component: None,
        },
    ],
    run,
};

const fn tool(probe: &'static [&'static str], apt: &'static str) -> Tool {
    Tool {
        probe: Probe::Command(probe),
        apt,
        component: None,
    }
}

const ARM_GCC: &str = "arm-none-eabi-gcc";
const BOARD: &str = "cortex-m4f";

/// An example: its files, and the file that says what it prints everywhere.
struct Example {
    sources: &'static [&'static str],
    output: &'static str,
}

const EXAMPLES: [Example; 2] = [
    Example {
        sources: &["c-api/examples/tour.c"],
        output: "c-api/examples/tour.txt",
    },
    // The same data, seeds and settings as those of the firmware in Rust, and so the same lines.
    Example {
        sources: &["c-api/examples/fine_tune.c", "c-api/examples/data.S"],
        output: "tests/firmware/snapshots/fine-tune/cortex-m4f.txt",
    },
];

const BARE: &str = "c-api/examples/cortex-m4f/startup.c";
const SCRIPT: &str = "-Tc-api/examples/cortex-m4f/mps2-an386.ld";
const ERRORS: &str = "c-api/tests/errors.c";
const ONE: &str = "c-api/tests/volume_only.c";
const HEADER: &str = "c-api/include/rivergram.h";

const STRICT: [&str; 8] = [
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pedantic",
    "-Ic-api/include",
    "-Wl,--gc-sections",
    "-Wa,-Itests/firmware/programs/data",
];

const CORTEX_M4F: [&str; 9] = [
    "-std=c11",
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfloat-abi=hard",
    "-mfpu=fpv4-sp-d16",
    "-ffunction-sections",
    "-nostartfiles",
    "--specs=nano.specs",
    SCRIPT,
];

/// The most bytes of code of a program that calls only the volume of three vectors; 3.3 KB are the start and newlib.
const CODE_OF_ONE: u64 = 12 << 10;

/// A program takes seconds; this is for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

/// newlib's small variant, for a processor with a floating-point unit.
fn has_newlib() -> bool {
    let output = Command::new(ARM_GCC)
        .arg("-print-file-name=nano.specs")
        .output();
    // A file that it does not have is named without a folder.
    output.is_ok_and(|output| output.stdout.contains(&b'/'))
}

fn run(job: &mut Job<'_>) {
    let folder = job.workspace.target.join("c");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        return job.fail(format_args!("{}: {error}", folder.display()));
    }
    on_this_machine(job, &folder);
    on_a_board(job, &folder);
}

/// Static and shared library with gcc, and the header in C++.
fn on_this_machine(job: &mut Job<'_>, folder: &Path) {
    let words = ["c-lib", "--quiet"];
    if !job.cargo(&words) {
        return;
    }
    let release = job.workspace.target.join("release");
    let archive = release.join("librivergram_c.a");
    let shared = release.join("librivergram_c.so");
    let link = |job: &mut Job<'_>, sources: &[&str], library: &Path, kind: &str| {
        let program = folder.join(format!("{kind}-{}", stem(sources)));
        let mut compile = job.workspace.command("gcc");
        compile.arg("-std=c11").args(STRICT).args(sources);
        compile.arg(library).arg("-lm").arg("-o").arg(&program);
        if !job.run(&mut compile) {
            return None;
        }
        let mut start = job.workspace.command(&program);
        start.env("LD_LIBRARY_PATH", &release);
        Some(start)
    };
    for (kind, library) in [("static", &archive), ("shared", &shared)] {
        if let Some(mut start) = link(job, &[ERRORS], library, kind) {
            job.run(&mut start);
        }
        for example in &EXAMPLES {
            let Some(mut start) = link(job, example.sources, library, kind) else {
                continue;
            };
            match start.output() {
                Ok(output) if output.status.success() => {
                    example.compare(job, &output.stdout, kind);
                }
                Ok(output) => job.fail(format_args!("{start:?}: {}", output.status)),
                Err(error) => job.fail(format_args!("{start:?}: {error}")),
            }
        }
    }
    let program = folder.join("header");
    let mut compile = job.workspace.command("g++");
    compile.arg("-std=c++17").args(STRICT);
    compile.arg("c-api/tests/header.cpp").arg(&archive);
    if job.run(compile.arg("-o").arg(&program)) {
        job.run(&mut Command::new(&program));
    }
}

/// The static library without the standard library, with newlib.
fn on_a_board(job: &mut Job<'_>, folder: &Path) {
    let Some(board) = BOARDS.iter().find(|board| board.name == BOARD) else {
        return job.fail(format_args!("there is no board {BOARD}"));
    };
    let Some(archive) = bare_library(job, board) else {
        return;
    };
    let link = |job: &mut Job<'_>, sources: &[&str], name: &str, more: &[String]| {
        let program = folder.join(name);
        let mut compile = job.workspace.command(ARM_GCC);
        compile.args(STRICT).args(CORTEX_M4F).args(more);
        compile.args(sources).arg(BARE).arg(&archive).arg("-lm");
        job.run(compile.arg("-o").arg(&program)).then_some(program)
    };
    for example in &EXAMPLES {
        let name = example.name();
        let Some(program) = link(job, example.sources, &format!("{name}.elf"), &[]) else {
            continue;
        };
        match board.run(&program, LIMIT, &[]) {
            Ok(outcome) if outcome.code == Some(0) => example.compare(job, &outcome.output, BOARD),
            Ok(outcome) => job.fail(format_args!("{name} on {BOARD}: {outcome}")),
            Err(why) => job.fail(why),
        }
        report_size(job, &program);
    }
    if let Some(program) = link(job, &[ONE], "volume_only.elf", &[]) {
        match report_size(job, &program) {
            Some(code) if code > CODE_OF_ONE => job.fail(format_args!(
                "{ONE}: {code} bytes of code, and {CODE_OF_ONE} is the limit"
            )),
            _ => {}
        }
    }
    // A program that keeps every function of the header.
    match std::fs::read_to_string(job.workspace.root.join(HEADER)) {
        Err(error) => job.fail(format_args!("{HEADER}: {error}")),
        Ok(header) => {
            let keep: Vec<String> = functions(&header)
                .into_iter()
                .map(|name| format!("-Wl,--undefined={name}"))
                .collect();
            say(&format!("{} functions", keep.len()));
            link(job, &[ONE], "all.elf", &keep);
        }
    }
}

/// Builds the library for a board.
fn bare_library(job: &mut Job<'_>, board: &Board) -> Option<PathBuf> {
    let toolchain = match Toolchain::of(board.triple) {
        Ok(toolchain) => toolchain,
        Err(why) => {
            job.fail(why);
            return None;
        }
    };
    let words = ["rustc", "--release", "--package", "rivergram-c"];
    let mut build = toolchain.cargo(job.workspace, Library::Core, &words);
    build.args(["--crate-type", "staticlib", "--no-default-features"]);
    build.args(["--features", "panic-handler", "--target", board.triple]);
    let folder = toolchain.target_folder(&job.workspace.target);
    let archive = folder.join(board.triple).join("release/librivergram_c.a");
    job.run(&mut build).then_some(archive)
}

/// The names of the functions that a header declares.
fn functions(header: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in header.lines() {
        // A comment is indented or begins with a star, and a macro with its own word.
        let Some((before, _)) = line.split_once('(') else {
            continue;
        };
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        if before.starts_with(|c: char| c.is_ascii_lowercase()) && name.starts_with("rivergram_") {
            names.push(name);
        }
    }
    names
}

/// The name of the first file, without its ending.
fn stem(sources: &[&str]) -> String {
    let first = sources.first().map(Path::new).and_then(Path::file_stem);
    first.unwrap_or_default().display().to_string()
}

impl Example {
    fn name(&self) -> String {
        stem(self.sources)
    }

    fn compare(&self, job: &mut Job<'_>, printed: &[u8], on: &str) {
        let (name, file) = (self.name(), self.output);
        match std::fs::read_to_string(job.workspace.root.join(file)) {
            Ok(want) if firmware::without_sizes(&want).as_bytes() == printed => {
                say(&format!("{name}, {on}: prints {file}"));
            }
            Ok(_) => job.fail(format_args!(
                "{name}, {on}: does not print {file}, but\n{}",
                String::from_utf8_lossy(printed)
            )),
            Err(error) => job.fail(format_args!("{file}: {error}")),
        }
    }
}

/// Prints the sizes of a program; returns the bytes of code, constants included.
fn report_size(job: &mut Job<'_>, program: &Path) -> Option<u64> {
    let table = match panic_paths::llvm("size", &["--format=berkeley"], program) {
        Ok(table) => table,
        Err(why) => {
            job.fail(why);
            return None;
        }
    };
    say(&table);
    let code = code_in(&table);
    if code.is_none() {
        job.fail(format_args!("llvm-size printed no number: `{table}`"));
    }
    code
}

/// The first number below the headings.
fn code_in(table: &str) -> Option<u64> {
    table
        .lines()
        .nth(1)?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_header_are_found() {
        let header = "/**\n * Not rivergram_a(x).\n */\nrivergram_status rivergram_b(float *x,\n\
            const char *rivergram_c(uint32_t status);\n#define RIVERGRAM_D(x) rivergram_e(x)\n";
        assert_eq!(functions(header), ["rivergram_b", "rivergram_c"]);
    }

    #[test]
    fn the_size_of_the_code_is_the_first_number() {
        let table = "   text\t   data\tfilename\n  11020\t    108\ta.elf\n";
        assert_eq!(code_in(table), Some(11020));
        assert_eq!(code_in("error\n"), None);
    }
}
