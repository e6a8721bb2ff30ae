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
const ERRORS: &str = "c-api/tests/errors.c";
const NOTHING: &str = "c-api/tests/nothing.c";
const HEADER: &str = "c-api/include/rivergram.h";

/// Besides the options that the README names.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// The commands of the README are what is run here.
const README: &str = "c-api/README.md";
const GCC: &str = "gcc";
const WEAKEN: &str = "llvm-objcopy";

/// The panic handler, as the end of a symbol.
const HANDLER: &str = "rust_begin_unwind";

/// How far the code of a function may be from what the README says, in percent.
const NEAR: u64 = 5;

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
    let readme = match std::fs::read_to_string(job.workspace.root.join(README)) {
        Ok(readme) => readme,
        Err(error) => return job.fail(format_args!("{README}: {error}")),
    };
    on_this_machine(job, &folder, &readme);
    on_a_board(job, &folder, &readme);
}

/// The words of the command that a text shows, without its name; empty where it shows none.
fn words_of(readme: &str, program: &str) -> Vec<String> {
    let text = readme.replace("\\\n", " ");
    let lines = text.lines().map(str::split_whitespace);
    let mut commands = lines.filter(|words| words.clone().next() == Some(program));
    let words = commands.next().into_iter().flatten().skip(1);
    words.map(|word| word.replace('\'', "")).collect()
}

/// The options among them, but for the file that is written.
fn options_of(readme: &str, program: &str) -> Vec<String> {
    let mut options = Vec::new();
    let mut words = words_of(readme, program).into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-o" => drop(words.next()),
            "-T" => options.extend([Some(word), words.next()].into_iter().flatten()),
            "-lm" => {}
            _ if word.starts_with('-') => options.push(word),
            _ => {}
        }
    }
    options
}

/// Static and shared library with gcc, and the header in C++.
fn on_this_machine(job: &mut Job<'_>, folder: &Path, readme: &str) {
    let options = options_of(readme, GCC);
    let words = ["c-lib", "--quiet"];
    if !job.cargo(&words) {
        return;
    }
    let release = job.workspace.target.join("release");
    let archive = release.join("librivergram_c.a");
    let shared = release.join("librivergram_c.so");
    own_names(job, &shared);
    let link = |job: &mut Job<'_>, sources: &[&str], library: &Path, kind: &str| {
        let program = folder.join(format!("{kind}-{}", stem(sources)));
        let mut compile = job.workspace.command("gcc");
        compile.args(&options).args(STRICT).args(sources);
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
    compile.args(["-std=c++17", "-Ic-api/include"]).args(STRICT);
    compile.arg("c-api/tests/header.cpp").arg(&archive);
    if job.run(compile.arg("-o").arg(&program)) {
        job.run(&mut Command::new(&program));
    }
}

/// The static library without the standard library, with newlib.
fn on_a_board(job: &mut Job<'_>, folder: &Path, readme: &str) {
    let options = options_of(readme, ARM_GCC);
    let Some(board) = BOARDS.iter().find(|board| board.name == BOARD) else {
        return job.fail(format_args!("there is no board {BOARD}"));
    };
    let Some(archive) = bare_library(job, board) else {
        return;
    };
    let link = |job: &mut Job<'_>, sources: &[&str], name: &str, more: &[String]| {
        let program = folder.join(name);
        let mut compile = job.workspace.command(ARM_GCC);
        compile.args(&options).args(STRICT).args(more);
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
    if let Some(program) = link(job, &[ERRORS], "errors.elf", &[]) {
        match board.run(&program, LIMIT, &[]) {
            Ok(outcome) if outcome.code == Some(0) => say(&format!("errors, {BOARD}: passed")),
            Ok(outcome) => job.fail(format_args!("{ERRORS} on {BOARD}: {outcome}")),
            Err(why) => job.fail(why),
        }
    }
    let keep = |name: &str| format!("-Wl,--undefined={name}");
    let code = |job: &mut Job<'_>, name: &str, more: &[String]| {
        let program = link(job, &[NOTHING], &format!("{name}.elf"), more)?;
        report_size(job, &program)
    };
    if let Some(start) = code(job, "nothing", &[]) {
        let stated = sizes_in(readme);
        if stated.is_empty() {
            job.fail(format_args!("{README} says no function's size"));
        }
        for (name, size) in stated {
            let Some(found) = code(job, name, &[keep(name)]) else {
                continue;
            };
            let found = found.saturating_sub(start);
            if found.abs_diff(size) * 100 > size * NEAR {
                job.fail(format_args!(
                    "{name} adds {found} bytes of code, and {README} says {size}"
                ));
            }
        }
    }
    weaken(job, &archive, &folder.join("weakened.a"), readme);
    // A program that keeps every function of the header.
    match std::fs::read_to_string(job.workspace.root.join(HEADER)) {
        Err(error) => job.fail(format_args!("{HEADER}: {error}")),
        Ok(header) => {
            let all: Vec<String> = functions(&header).into_iter().map(keep).collect();
            say(&format!("{} functions", all.len()));
            if let Some(program) = link(job, &[NOTHING], "all.elf", &all) {
                nothing_panics(job, &program);
            }
        }
    }
}

/// The library exports functions of its own name only.
fn own_names(job: &mut Job<'_>, shared: &Path) {
    match panic_paths::llvm(
        "nm",
        &["--dynamic", "--defined-only", "--format=just-symbols"],
        shared,
    ) {
        Err(why) => job.fail(why),
        Ok(names) => {
            let (own, others): (Vec<&str>, Vec<&str>) = names
                .lines()
                .partition(|name| name.starts_with("rivergram_"));
            if own.is_empty() || !others.is_empty() {
                job.fail(format_args!(
                    "{}: {} names of its own, and {others:?}",
                    shared.display(),
                    own.len()
                ));
            }
        }
    }
}

/// No function of the library, compiled as the README says, has a way to the panic handler.
fn nothing_panics(job: &mut Job<'_>, program: &Path) {
    match panic_paths::of(program, &job.workspace.root) {
        Err(why) => job.fail(why),
        Ok(paths) => {
            for path in paths {
                job.fail(format_args!("{}: {path}", program.display()));
            }
        }
    }
}

/// The panic handler gives way to another's after what the README says.
fn weaken(job: &mut Job<'_>, archive: &Path, copy: &Path, readme: &str) {
    let words = words_of(readme, WEAKEN);
    let options: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((_, options)) = options.split_last() else {
        return job.fail(format_args!("{README} does not show `{WEAKEN}`"));
    };
    if let Err(error) = std::fs::copy(archive, copy) {
        return job.fail(format_args!("{}: {error}", copy.display()));
    }
    let symbols = panic_paths::llvm("objcopy", options, copy)
        .and_then(|_| panic_paths::llvm("nm", &["--defined-only"], copy));
    match symbols {
        Err(why) => job.fail(why),
        Ok(symbols) => {
            let handlers = symbols.lines().filter(|line| line.ends_with(HANDLER));
            let kinds: Vec<_> = handlers
                .map(|line| line.split_whitespace().nth(1))
                .collect();
            if kinds.is_empty() || kinds.iter().any(|kind| *kind != Some("W")) {
                job.fail(format_args!("{HANDLER} is not weak: {kinds:?}"));
            }
        }
    }
}

/// The functions of a table of sizes, and the first number of each line.
fn sizes_in(readme: &str) -> Vec<(&str, u64)> {
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `rivergram_"));
    let sizes = rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let number = rest.split('|').nth(1)?.trim().replace(',', "");
        let start = readme.find(&format!("rivergram_{name}`"))?;
        let name = readme.get(start..start + "rivergram_".len() + name.len())?;
        Some((name, number.parse().ok()?))
    });
    sizes.collect()
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
        let text = String::from_utf8_lossy(printed);
        match std::fs::read_to_string(job.workspace.root.join(file)) {
            Ok(want) if firmware::without_sizes(&want) == firmware::without_sizes(&text) => {
                say(&format!("{name}, {on}: prints {file}"));
                if let Some(why) = firmware::larger_state(&want, &text) {
                    job.fail(format_args!("{name}, {on}: {why}"));
                }
            }
            Ok(_) => job.fail(format_args!(
                "{name}, {on}: does not print {file}, but\n{text}"
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
    fn commands_and_sizes_of_a_text_are_found() {
        let text = "```sh\ngcc -a -T x \\\n    -lm f.c -o y\nllvm-objcopy --b='*c' d.a\n```\n\
            | `rivergram_a` | 5,288 | 4,468 |\n| `rivergram_b`, any k | 60 |\n";
        assert_eq!(options_of(text, "gcc"), ["-a", "-T", "x"]);
        assert_eq!(words_of(text, "llvm-objcopy"), ["--b=*c", "d.a"]);
        assert!(words_of(text, "cc").is_empty());
        assert_eq!(sizes_in(text), [("rivergram_a", 5288), ("rivergram_b", 60)]);
    }

    #[test]
    fn the_size_of_the_code_is_the_first_number() {
        let table = "   text\t   data\tfilename\n  11020\t    108\ta.elf\n";
        assert_eq!(code_in(table), Some(11020));
        assert_eq!(code_in("error\n"), None);
    }
}
