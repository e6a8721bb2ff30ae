//! Programs for bare machines, run by QEMU; what they print is compared with `tests/firmware/snapshots`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::no_panic::doubles_in;
use super::{DENY_WARNINGS, Part, RUSTFMT};
use crate::cross::{self, Toolchain};
use crate::job::{Job, say};
use crate::panic_paths::{self, llvm};
use crate::qemu::{self, BOARDS, Board, Outcome};

pub(super) const PART: Part = Part {
    name: "firmware",
    about: "golden values and training on five kinds of processor under QEMU, as in the snapshots",
    tools: &[
        cross::COMPILER,
        cross::LINKER,
        cross::CLIPPY,
        RUSTFMT,
        panic_paths::LLVM,
        qemu::ARM,
        qemu::RISCV,
    ],
    run,
};

/// Where the programs lie.
pub(super) const WORKSPACE: &str = "tests/firmware";

/// Programs that must fail, with the codes that `tests/firmware/board` ends them with.
const FAILING: [(&str, i32); 2] = [("panics", 101), ("faults", 102)];

/// A program, and the data in its flash.
struct Program {
    name: &'static str,
    data: &'static [&'static str],
    /// Whether it prints through defmt.
    prints: bool,
}

const PROGRAMS: [Program; 5] = [
    Program {
        name: "golden",
        data: &[],
        prints: true,
    },
    Program {
        name: "eight-bits",
        data: &[],
        prints: true,
    },
    Program {
        name: "fine-tune",
        data: &["numbers.bin", "strips.bin"],
        prints: true,
    },
    Program {
        name: "reports",
        data: &[],
        prints: true,
    },
    Program {
        name: SILENT,
        data: &["numbers.bin"],
        prints: false,
    },
];

/// What a program that prints nothing exits with, plus the 64 bytes of stack that it took so many times.
const SILENT_SUCCESS: i32 = 128;
const STACK_UNIT: i32 = 64;

/// Sections that lie in flash (`.data` in both), and in RAM.
const IN_FLASH: [&str; 4] = [".vector_table", ".text", ".rodata", ".data"];
const IN_RAM: [&str; 2] = [".data", ".bss"];

/// Lines that say how large something is, in bytes: compilers differ in it.
const SIZES: [&str; 4] = [
    "flash without data: ",
    "static data: ",
    "state: ",
    "stack: ",
];

/// What sizes of a program on a board must not exceed together, in bytes, whatever the snapshot says.
struct Limit {
    program: &'static str,
    board: &'static str,
    /// Of [`SIZES`].
    sizes: &'static [&'static str],
    most: u64,
}

const LIMITS: [Limit; 7] = [
    // Heads, SGD without a buffer for the gradient, the GRAM loss: of the 16 KB of a microbit.
    Limit {
        program: "heads",
        board: "cortex-m0",
        sizes: &["static data: "],
        most: 12 << 10,
    },
    // And after it a head of 64 features and 11 tokens, strips of up to 12 digits, SGD, the sequence loss.
    Limit {
        program: "fine-tune",
        board: "cortex-m0",
        sizes: &["static data: ", "stack: "],
        most: 16 << 10,
    },
    // The same two with AdamW: of the first 19,008 bytes are parameters and moments, 5,920 the workspace.
    Limit {
        program: "heads",
        board: "cortex-m4f",
        sizes: &["static data: ", "stack: "],
        most: 26 << 10,
    },
    // The stack of a step on the smallest of them.
    Limit {
        program: "heads",
        board: "cortex-m0",
        sizes: &["stack: "],
        most: 1_408,
    },
    // What a recipe links, the program and the start included.
    Limit {
        program: "heads",
        board: "cortex-m4f",
        sizes: &["flash without data: "],
        most: 26_000,
    },
    // Both, with defmt.
    Limit {
        program: "fine-tune",
        board: "cortex-m4f",
        sizes: &["flash without data: "],
        most: 54 << 10,
    },
    Limit {
        program: "fine-tune",
        board: "cortex-m4f",
        sizes: &["static data: ", "stack: "],
        most: 28 << 10,
    },
];

/// The most that a size may have grown, in percent, before it is looked at and blessed.
const GROWTH: u64 = 5;

/// A program takes seconds; this is for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(180);

fn run(job: &mut Job<'_>) {
    let folder = job.workspace.root.join(WORKSPACE);
    let mut format = job.workspace.cargo(&["fmt", "--all", "--check"]);
    job.run(format.current_dir(&folder));
    let mut lint = job
        .workspace
        .cargo(&["clippy", "--package", "rivergram-decode"]);
    job.run(lint.args(DENY_WARNINGS).current_dir(&folder));
    let mut decoder = job
        .workspace
        .cargo(&["build", "--package", "rivergram-decode"]);
    if !job.run(decoder.current_dir(&folder)) {
        return;
    }
    let triples = BOARDS.map(|board| board.triple);
    for (toolchain, triples) in Toolchain::group(job, &triples) {
        let call = |words: &[&str]| {
            let mut command = toolchain.bare(job.workspace, &triples, words);
            command.current_dir(&folder);
            command
        };
        let mut lint = call(&["clippy", "--release"]);
        let mut build = call(&["build", "--release"]);
        job.run(lint.args(DENY_WARNINGS));
        if !job.run(&mut build) {
            continue;
        }
        let target = toolchain.target_folder(&job.workspace.target);
        for board in BOARDS
            .iter()
            .filter(|board| triples.contains(&board.triple))
        {
            let images = target.join(board.triple).join("release");
            for (program, code) in FAILING {
                let found = run_program(board, &images.join(program), code..=code).map(|_| ());
                match found {
                    Ok(()) => say(&format!("{program} is found out on {}", board.name)),
                    Err(why) => job.fail(why),
                }
            }
            for program in &PROGRAMS {
                match print(job, board, program, &images.join(program.name)) {
                    Ok(text) => {
                        for why in broken(program.name, board.name, &text) {
                            job.fail(why);
                        }
                        compare(job, board, program, &text);
                    }
                    Err(why) => job.fail(why),
                }
            }
            if let Err(why) = roots(board, &images.join(SILENT)) {
                job.fail(why);
            }
            for name in SINGLE {
                if let Err(why) = no_doubles(board, name, &images.join(name)) {
                    job.fail(why);
                }
            }
        }
    }
}

/// The program that prints nothing.
const SILENT: &str = "heads";

/// The programs that train, in `f32` only. The others compare with values in double precision.
const SINGLE: [&str; 2] = [SILENT, "fine-tune"];

/// The square root of an instruction set with a floating-point unit, and the end of the name of targets that have it.
const ROOTS: [(&str, &str); 2] = [
    ("vsqrt.f32", "eabihf"),
    ("fsqrt.s", "imafc-unknown-none-elf"),
];

/// Whether a program takes square roots by the instruction of the board's processor where it has one, and only there.
fn roots(board: &Board, image: &Path) -> Result<(), String> {
    // An image of a Cortex-M33 does not say that it has a unit.
    let unit: &[&str] = match board.triple.starts_with("thumb") {
        true => &["-d", "--mattr=+vfp2sp"],
        false => &["-d"],
    };
    let code = llvm("objdump", unit, image)?;
    for (root, targets) in ROOTS {
        let (has, should) = (code.contains(root), board.triple.ends_with(targets));
        if has != should {
            let is = if has { "in" } else { "missing from" };
            return Err(format!("`{root}` is {is} {SILENT} on {}", board.name));
        }
    }
    Ok(())
}

/// Whether a program does without double precision, defmt included.
fn no_doubles(board: &Board, name: &str, image: &Path) -> Result<(), String> {
    match doubles_in(image)? {
        found if found.is_empty() => Ok(()),
        found => Err(format!(
            "double precision in {name} on {}: {}",
            board.name,
            found.join(" ")
        )),
    }
}

/// Runs a program that should exit with one of these codes.
fn run_program(
    board: &Board,
    image: &Path,
    codes: std::ops::RangeInclusive<i32>,
) -> Result<(i32, Outcome), String> {
    let outcome = board.run(image, LIMIT, &[])?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    match outcome.code {
        Some(code) if codes.contains(&code) => Ok((code, outcome)),
        _ => Err(format!(
            "{name} on {}: exit code {} expected: {outcome}",
            board.name,
            codes.start()
        )),
    }
}

/// What is compared of a program: the lines that it prints, and its sizes.
fn print(job: &Job<'_>, board: &Board, program: &Program, image: &Path) -> Result<String, String> {
    let mut text = if program.prints {
        // What it printed tells more of a failure than its code does.
        let outcome = board.run(image, LIMIT, &[])?;
        let text = decode(job, image, &outcome.output)?;
        match outcome.code {
            Some(0) => text,
            _ => {
                let Outcome { code, errors, .. } = outcome;
                let place = format!("{} on {}", program.name, board.name);
                return Err(format!("{place}: exit code {code:?}\n{text}{errors}"));
            }
        }
    } else {
        let success = SILENT_SUCCESS..=SILENT_SUCCESS + 64;
        let (code, _) = run_program(board, image, success)?;
        format!("stack: {} bytes\n", (code - SILENT_SUCCESS) * STACK_UNIT)
    };
    let sections = llvm("size", &["--format=sysv"], image)?;
    let mut data = 0;
    for file in program.data {
        let path = job
            .workspace
            .root
            .join(WORKSPACE)
            .join("programs/data")
            .join(file);
        let file = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        data += file.len();
    }
    let flash = sum(&sections, &IN_FLASH).saturating_sub(data);
    let ram = sum(&sections, &IN_RAM);
    text += &format!("flash without data: {flash} bytes\nstatic data: {ram} bytes\n");
    Ok(text)
}

/// The sizes of these sections together, from lines of name, size and address.
fn sum(table: &str, sections: &[&str]) -> u64 {
    let size = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        sections
            .contains(&name)
            .then(|| words.next()?.parse::<u64>().ok())?
    };
    table.lines().filter_map(size).sum()
}

/// The lines that a program printed through defmt.
fn decode(job: &Job<'_>, image: &Path, output: &[u8]) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("rivergram-decode: {error}");
    let program = job.workspace.target.join("debug/rivergram-decode");
    let mut child = job
        .workspace
        .command(program)
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(output).map_err(failed)?;
    }
    let decoded = child.wait_with_output().map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match decoded.status.success() {
        true => Ok(text(&decoded.stdout)),
        false => Err(format!("{}: {}", image.display(), text(&decoded.stderr))),
    }
}

/// Compares with the snapshot, or writes it.
fn compare(job: &mut Job<'_>, board: &Board, program: &Program, text: &str) {
    let path: PathBuf = [WORKSPACE, "snapshots", program.name, board.name]
        .iter()
        .collect();
    let path = path.with_extension("txt");
    let full = job.workspace.root.join(&path);
    if job.bless {
        let folder = full.parent().unwrap_or(&full);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&full, text));
        if let Err(error) = written {
            return job.fail(format_args!("{}: {error}", path.display()));
        }
        say(&format!("wrote {}", path.display()));
    }
    if (program.name, board.name) == SHOWN.0 {
        show(job, text);
    }
    if job.bless {
        return;
    }
    let stored = std::fs::read_to_string(&full).unwrap_or_default();
    let differences = differences(&stored, text);
    if differences.is_empty() {
        return say(&format!("{} on {}: as stored", program.name, board.name));
    }
    job.fail(format_args!(
        "{} on {} prints something else than {} (`cargo xtask firmware --bless` writes it anew):\n{}",
        program.name,
        board.name,
        path.display(),
        differences.join("\n")
    ));
}

/// What the page for users shows: of which program and board, and the line before it.
const SHOWN: ((&str, &str), &str, &str) = (
    ("fine-tune", "cortex-m4f"),
    "docs/firmware.md",
    "From the Cortex-M4F:\n\n```text\n",
);

/// Compares what the page for users shows with what was printed; with `--bless` writes it.
fn show(job: &mut Job<'_>, printed: &str) {
    let (_, page, before) = SHOWN;
    let path = job.workspace.root.join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let shown = text.split_once(before).and_then(|(start, rest)| {
        let (shown, end) = rest.split_once("```\n")?;
        Some((start, shown, end))
    });
    let Some((start, shown, end)) = shown else {
        return job.fail(format_args!("{page} does not show what fine-tune prints"));
    };
    if differences(shown, printed).is_empty() && !job.bless {
        return;
    }
    if !job.bless {
        return job.fail(format_args!(
            "{page} shows something else than fine-tune prints (`cargo xtask firmware --bless` writes it anew)"
        ));
    }
    if let Err(error) = std::fs::write(&path, format!("{start}{before}{printed}```\n{end}")) {
        job.fail(format_args!("{page}: {error}"));
    }
}

/// The lines that differ, but for sizes that have grown little, or have shrunk.
fn differences(stored: &str, printed: &str) -> Vec<String> {
    let count = stored.lines().count().max(printed.lines().count());
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::to_string);
        lines
            .chain(std::iter::repeat(String::new()))
            .take(count)
            .collect()
    };
    let pairs = lines(stored).into_iter().zip(lines(printed));
    let differ = pairs.filter(|(stored, printed)| stored != printed && !is_near(stored, printed));
    differ
        .map(|(stored, printed)| format!("- {stored}\n+ {printed}"))
        .collect()
}

/// What a program itself printed: a snapshot without the sizes.
pub(super) fn without_sizes(snapshot: &str) -> String {
    let lines = snapshot.lines();
    let printed = lines.filter(|line| !SIZES.iter().any(|name| line.starts_with(name)));
    printed.map(|line| format!("{line}\n")).collect()
}

/// Bytes of the features of a batch, which a program in C copies and one in Rust reads where they lie.
const COPIED: u64 = 3 * 8 * 32;

/// Whether a program in C keeps more than the one that a snapshot is of, and more than a copy of a batch, where it says
/// so; that is of a board.
pub(super) fn larger_state(snapshot: &str, printed: &str) -> Option<String> {
    let state = |text: &str| {
        let mut sizes = text.lines().filter_map(size);
        sizes.find(|(name, _)| *name == "state: ")
    };
    let ((_, most), (_, found)) = (state(snapshot)?, state(printed)?);
    let most = most + COPIED;
    (found > most).then(|| format!("a state of {found} bytes, and {most} are enough"))
}

/// The limits that a program exceeds, a sentence each.
fn broken(program: &str, board: &str, printed: &str) -> Vec<String> {
    let limits = LIMITS.iter();
    let own = limits.filter(|limit| limit.program == program && limit.board == board);
    let broken = own.filter_map(|limit| {
        let numbers: Vec<u64> = printed
            .lines()
            .filter_map(size)
            .filter(|(name, _)| limit.sizes.contains(name))
            .map(|(_, number)| number)
            .collect();
        let sum: u64 = numbers.iter().sum();
        let what = limit.sizes.concat();
        if numbers.len() != limit.sizes.len() {
            return Some(format!("{program} on {board}: does not say {what}"));
        }
        (sum > limit.most).then(|| {
            let most = limit.most;
            format!("{program} on {board}: {what}{sum} bytes, and {most} is the limit")
        })
    });
    broken.collect()
}

/// The name and the bytes of a line that says how large something is.
fn size(line: &str) -> Option<(&'static str, u64)> {
    let name = SIZES.iter().find(|name| line.starts_with(**name))?;
    let number = line.strip_prefix(name)?.strip_suffix(" bytes")?;
    Some((*name, number.parse().ok()?))
}

fn is_near(stored: &str, printed: &str) -> bool {
    match (size(stored), size(printed)) {
        (Some((name, old)), Some((same, new))) => {
            // The stack is told in units.
            name == same && new <= old + (old * GROWTH / 100).max(STACK_UNIT as u64)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_added() {
        let table =
            "image  :\nsection  size  addr\n.text  100  0\n.rodata  20  100\n.bss 7 9\nTotal 127\n";
        assert_eq!(sum(table, &IN_FLASH), 120);
        assert_eq!(sum(table, &IN_RAM), 7);
    }

    #[test]
    fn what_exceeds_a_limit_or_is_not_said_is_named() {
        let broken = |text| broken("fine-tune", "cortex-m0", text);
        assert!(broken("stack: 384 bytes\nstatic data: 16000 bytes\n").is_empty());
        assert_eq!(
            broken("stack: 385 bytes\nstatic data: 16000 bytes\n"),
            ["fine-tune on cortex-m0: static data: stack: 16385 bytes, and 16384 is the limit"]
        );
        assert_eq!(
            broken("stack: 1 bytes\n"),
            ["fine-tune on cortex-m0: does not say static data: stack: "]
        );
    }

    #[test]
    fn a_snapshot_without_sizes_is_what_was_printed() {
        let snapshot = "state: 8 bytes\nR@1 1/2\nstack: 9 bytes\n";
        assert_eq!(without_sizes(snapshot), "R@1 1/2\n");
    }

    #[test]
    fn a_state_larger_than_that_of_a_snapshot_is_named() {
        let small = "state: 8 bytes\nR@1 1/2\n";
        assert_eq!(larger_state(small, small), None);
        let state = |bytes: u64| format!("state: {bytes} bytes\n");
        assert_eq!(larger_state(small, &state(8 + COPIED)), None);
        assert!(larger_state(small, &state(9 + COPIED)).is_some());
        assert_eq!(larger_state("R@1 1/2\n", small), None);
    }

    #[test]
    fn sizes_may_shrink_and_grow_a_little_and_nothing_else_may() {
        let same = |a, b| differences(a, b).is_empty();
        assert!(same("stack: 2000 bytes\n", "stack: 2100 bytes\n"));
        assert!(same("stack: 2000 bytes\n", "stack: 100 bytes\n"));
        assert!(!same("stack: 2000 bytes\n", "stack: 2101 bytes\n"));
        assert!(!same("stack: 2000 bytes\n", "state: 2000 bytes\n"));
        assert!(!same("R@1 100/200\n", "R@1 101/200\n"));
        assert_eq!(differences("a\nb\n", "a\n"), ["- b\n+ "]);
    }
}
