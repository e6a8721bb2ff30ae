//! The proof that core and the C API cannot panic, and that their `f32` paths do without double precision: programs of
//! `tests/no-panic` link, or do not, and their symbols are read.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{CLIPPY, DENY_WARNINGS, Part, RUSTFMT};
use crate::cross::{self, Toolchain};
use crate::job::{Job, say};
use crate::panic_paths;

pub(super) const PART: Part = Part {
    name: "no-panic",
    about: "core and the C API cannot panic, and compute f32 without double precision: proven by the linker",
    tools: &[
        cross::COMPILER,
        cross::LINKER,
        panic_paths::LLVM,
        CLIPPY,
        RUSTFMT,
    ],
    run,
};

/// Instruction sets with and without a floating-point unit.
const TRIPLES: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi"];

/// The profiles of the crate's manifest, with the programs that each proves: for speed and for size, with and
/// without overflow checks. `f64` is proven without checks: what calculates with integers is the same code in
/// both, but for that in libm, which is not ours.
const PROFILES: [(&str, &[&str]); 4] = [
    ("speed", &["f32", "f64", "c", WAITS]),
    ("speed-checked", &["f32", "c", WAITS]),
    ("size", &["f32", "f64", "c", WAITS]),
    ("size-checked", &["f32", "c", WAITS]),
];

/// The program of futures, which have a panic that none is without: it links, and is read.
const WAITS: &str = "waits";

/// The program that can panic.
const COUNTERPART: &str = "panics";

/// The function that the panic handler calls and nobody defines.
const MISSING: &str = "a_panic_is_possible";

/// Defines it and names the lines of the source, so that a program that does not link can be read.
const READABLE: &str = "-Clink-arg=--defsym=a_panic_is_possible=0 -Cdebuginfo=line-tables-only";

/// Where the programs lie.
const CRATE: &str = "tests/no-panic";

fn run(job: &mut Job<'_>) {
    // The crate is no member of the workspace: the parts `fmt` and `clippy` do not see it.
    let folder = job.workspace.root.join(CRATE);
    let mut format = job.workspace.cargo(&["fmt", "--check"]);
    job.run(format.current_dir(&folder));
    let mut lint = job.workspace.cargo(&["clippy", "--profile", "speed"]);
    job.run(lint.args(DENY_WARNINGS).current_dir(&folder));

    for (profile, programs) in PROFILES {
        for (toolchain, triples) in Toolchain::group(job, &TRIPLES) {
            let links = job.run(&mut build(job, toolchain, &triples, profile, programs));
            if !links {
                // The linker only says that the handler is reached. Every program is read: it is built once more.
                let mut again = build(job, toolchain, &triples, profile, programs);
                job.run(again.env("RUSTFLAGS", READABLE));
            }
            for triple in triples {
                let case = Case {
                    folder: toolchain
                        .target_folder(&job.workspace.target)
                        .join(triple)
                        .join(profile),
                    name: format!("{triple}, {profile}"),
                };
                for program in programs {
                    if *program == WAITS {
                        case.waits(job);
                    } else if links {
                        say(&format!("{program} links for {}: no panic", case.name));
                        case.doubles(job, program);
                    } else {
                        case.explain(job, program);
                    }
                }
                if links {
                    case.roots(job, triple.ends_with("eabihf"));
                }
                case.disprove(
                    job,
                    &mut build(job, toolchain, &[triple], profile, &[COUNTERPART]),
                );
            }
        }
    }
}

/// One call for all targets and programs, which are linked side by side.
fn build(
    job: &Job<'_>,
    toolchain: Toolchain,
    triples: &[&str],
    profile: &str,
    programs: &[&str],
) -> Command {
    let words = ["build", "--profile", profile];
    let mut command = toolchain.bare(job.workspace, triples, &words);
    for program in programs {
        command.args(["--bin", program]);
    }
    command.current_dir(job.workspace.root.join(CRATE));
    command
}

/// The programs of one target in one profile.
struct Case {
    folder: PathBuf,
    name: String,
}

impl Case {
    /// Names the places of a program, linked with the missing function, that can panic.
    fn explain(&self, job: &mut Job<'_>, program: &str) {
        match panic_paths::of(&self.folder.join(program), &job.workspace.root) {
            Err(why) => job.fail(why),
            Ok(paths) => {
                for path in paths {
                    let name = &self.name;
                    job.fail(format_args!("{program} can panic for {name}: {path}"));
                }
            }
        }
    }

    /// The program of futures panics where one is polled after its end, and nowhere else.
    fn waits(&self, job: &mut Job<'_>) {
        match panic_paths::of(&self.folder.join(WAITS), &job.workspace.root) {
            Err(why) => job.fail(why),
            Ok(paths) if paths.is_empty() => job.fail(format_args!(
                "no panic is found in `{WAITS}` for {}, and futures have one: the search finds nothing",
                self.name
            )),
            Ok(paths) => {
                let mut all = true;
                for path in paths.iter().filter(|path| !path.is_resumed_future()) {
                    all = false;
                    job.fail(format_args!(
                        "{WAITS} can panic for {}, built with RUSTFLAGS=-Cdebuginfo=line-tables-only it says where: {path}",
                        self.name
                    ));
                }
                if all {
                    say(&format!("{WAITS}, {}: no panic but of a future after its end", self.name));
                }
            }
        }
    }

    /// The program that can panic does not link, for want of the missing function.
    fn disprove(&self, job: &mut Job<'_>, build: &mut Command) {
        let refused = build.output().map(|output| {
            let why = String::from_utf8_lossy(&output.stderr);
            !output.status.success() && why.contains(&format!("undefined symbol: {MISSING}"))
        });
        match refused {
            Err(error) => job.fail(error),
            Ok(true) => say(&format!("{COUNTERPART} does not link for {}", self.name)),
            Ok(false) => job.fail(format_args!(
                "`{COUNTERPART}` indexes freely and is not refused for {}: the proof proves nothing",
                self.name
            )),
        }
    }

    /// No function of double precision is in a program but that for `f64`, where there are some, or the search would
    /// not find them.
    fn doubles(&self, job: &mut Job<'_>, program: &str) {
        match doubles_in(&self.folder.join(program)) {
            Err(why) => job.fail(why),
            Ok(found) if program != "f64" && !found.is_empty() => job.fail(format_args!(
                "double precision in `{program}` for {}: {}",
                self.name,
                found.join(" ")
            )),
            Ok(found) if program == "f64" && found.is_empty() => {
                job.fail("no double precision is found in `f64`: the search finds nothing");
            }
            Ok(_) => {}
        }
    }

    /// The program for `f32` takes square roots by the instruction of a floating-point unit where there is one, and
    /// only there.
    fn roots(&self, job: &mut Job<'_>, has_unit: bool) {
        let code = panic_paths::llvm("objdump", &["-d"], &self.folder.join("f32"));
        match code.map(|code| code.contains("vsqrt.f32")) {
            Err(why) => job.fail(why),
            Ok(found) if found != has_unit => job.fail(format_args!(
                "`vsqrt.f32` is {} the program for {}",
                if found { "in" } else { "missing from" },
                self.name
            )),
            Ok(_) => {}
        }
    }
}

/// The functions of double precision in a program.
pub(super) fn doubles_in(program: &Path) -> Result<Vec<String>, String> {
    let symbols = panic_paths::llvm("nm", &["--format=just-symbols"], program)?;
    Ok(symbols
        .lines()
        .filter(|name| is_double(name))
        .map(str::to_string)
        .collect())
}

/// Whether a name is that of software double precision: of Arm's run-time ABI (IHI 0043, 4.1.2) or, where
/// `df` is the type, of the compiler's library.
fn is_double(name: &str) -> bool {
    match name.strip_prefix("__aeabi_") {
        Some(arm) => arm.starts_with('d') || arm.starts_with("cd") || arm.ends_with("2d"),
        None => name.starts_with("__") && name.contains("df"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_double_precision_is_known_by_name() {
        for name in [
            "__aeabi_dadd",
            "__aeabi_cdcmple",
            "__aeabi_f2d",
            "__aeabi_ul2d",
            "__aeabi_d2f",
            "__muldf3",
            "__truncdfsf2",
        ] {
            assert!(is_double(name), "{name}");
        }
        for name in [
            "__aeabi_fadd",
            "__aeabi_uidiv",
            "__aeabi_f2iz",
            "__aeabi_memcpy4",
            "__aeabi_cfcmple",
            "__mulsf3",
            "__udivmoddi4",
            "_start",
        ] {
            assert!(!is_double(name), "{name}");
        }
    }
}
