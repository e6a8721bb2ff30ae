//! The proof that core cannot panic, and that its `f32` paths do without double precision: programs of
//! `tests/no-panic` link, or do not, and their symbols are read.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{CLIPPY, DENY_WARNINGS, Part, RUSTFMT};
use crate::cross::{self, Toolchain};
use crate::job::{Job, say};
use crate::panic_paths::{self, PanicPath};
use crate::tools::{Probe, Tool};

pub(super) const PART: Part = Part {
    name: "no-panic",
    about: "core cannot panic, and computes f32 without double precision: proven by the linker",
    tools: &[cross::COMPILER, LLD, panic_paths::LLVM, CLIPPY, RUSTFMT],
    run,
};

const LLD: Tool = Tool {
    probe: Probe::Command(&[LINKER, "--version"]),
    apt: "lld-22",
    component: None,
};

const LINKER: &str = "ld.lld-22";

/// Instruction sets with and without a floating-point unit.
const TRIPLES: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv6m-none-eabi"];

/// A profile of the crate's manifest.
#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    /// The programs that must link. `f64` needs not link with overflow checks: what calculates with integers
    /// is the same code in both, but for that in libm, which is not ours.
    programs: &'static [&'static str],
    /// Where the compiler makes small code, it keeps the library's divisions by the length of chunks as
    /// functions of their own, in which it does not see that the length is not 0. There the program is linked
    /// with the missing function, and every call of a panic but these is an error.
    is_small: bool,
}

const PROFILES: [Profile; 4] = [
    Profile {
        name: "speed",
        programs: &["f32", "f64"],
        is_small: false,
    },
    Profile {
        name: "speed-checked",
        programs: &["f32"],
        is_small: false,
    },
    Profile {
        name: "size",
        programs: &["f32"],
        is_small: true,
    },
    Profile {
        name: "size-checked",
        programs: &["f32"],
        is_small: true,
    },
];

/// The program that must not link.
const COUNTERPART: &str = "panics";

/// The function that nobody defines.
const UNDEFINED: &str = "a_panic_is_possible";

/// Where the programs lie.
const CRATE: &str = "tests/no-panic";

fn run(job: &mut Job<'_>) {
    // The crate is no member of the workspace: the parts `fmt` and `clippy` do not see it.
    let folder = job.workspace.root.join(CRATE);
    let mut format = job.workspace.cargo(&["fmt", "--check"]);
    job.run(format.current_dir(&folder));
    let mut lint = job.workspace.cargo(&["clippy", "--profile", "speed"]);
    job.run(lint.args(DENY_WARNINGS).current_dir(&folder));

    for triple in TRIPLES {
        let toolchain = match Toolchain::of(triple) {
            Ok(toolchain) => toolchain,
            Err(why) => return job.fail(why),
        };
        for profile in PROFILES {
            let case = Case {
                toolchain,
                triple,
                profile,
            };
            case.prove(job);
            case.disprove(job);
        }
    }
}

/// One way to compile the programs.
struct Case {
    toolchain: Toolchain,
    triple: &'static str,
    profile: Profile,
}

impl Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.triple, self.profile.name)
    }
}

impl Case {
    /// The programs have no path to a panic.
    fn prove(&self, job: &mut Job<'_>) {
        let programs = self.profile.programs;
        if self.profile.is_small {
            for program in programs {
                self.read(job, program);
            }
        } else {
            let mut build = self.cargo(job, "build");
            build.args(programs.iter().flat_map(|name| ["--bin", name]));
            if !job.run(&mut build) {
                for program in programs {
                    self.read(job, program);
                }
                return;
            }
        }
        self.doubles(job);
    }

    fn cargo(&self, job: &Job<'_>, subcommand: &str) -> Command {
        let (profile, triple) = (self.profile.name, self.triple);
        let words = [subcommand, "--profile", profile, "--target", triple];
        let mut command = self.toolchain.cargo(job.workspace, false, &words);
        let linker = format!("target.{triple}.linker=\"{LINKER}\"");
        command
            .args(["--config", &linker])
            .current_dir(job.workspace.root.join(CRATE));
        command
    }

    fn file(&self, job: &Job<'_>, program: &str) -> PathBuf {
        let folder = self.toolchain.target_folder(&job.workspace.target);
        folder
            .join(self.triple)
            .join(self.profile.name)
            .join(program)
    }

    /// Links with the missing function defined, and with line numbers, and names the calls of it.
    fn read(&self, job: &mut Job<'_>, program: &str) {
        if !job.run(&mut self.link_with_panics(job, program)) {
            return;
        }
        match self.panics_of(job, program) {
            Err(why) => job.fail(why),
            Ok(paths) => {
                for path in paths {
                    job.fail(format_args!("{program} can panic for {self}: {path}"));
                }
            }
        }
    }

    fn link_with_panics(&self, job: &Job<'_>, program: &str) -> Command {
        let mut command = self.cargo(job, "rustc");
        let lines = format!("profile.{}.debug=\"line-tables-only\"", self.profile.name);
        let define = format!("-Clink-arg=--defsym={UNDEFINED}=0");
        command.args(["--config", &lines, "--bin", program, "--", &define]);
        command
    }

    /// The places of a program, linked so, that can panic.
    fn panics_of(&self, job: &Job<'_>, program: &str) -> Result<Vec<PanicPath>, String> {
        let mut paths = panic_paths::of(&self.file(job, program), &job.workspace.root)?;
        paths.retain(|path| !(self.profile.is_small && path.is_chunk_count()));
        Ok(paths)
    }

    /// The program that can panic is found out.
    fn disprove(&self, job: &mut Job<'_>) {
        let found = if self.profile.is_small {
            job.run(&mut self.link_with_panics(job, COUNTERPART))
                && self
                    .panics_of(job, COUNTERPART)
                    .is_ok_and(|paths| !paths.is_empty())
        } else {
            let mut command = self.cargo(job, "build");
            let output = command.args(["--quiet", "--bin", COUNTERPART]).output();
            output.is_ok_and(|output| {
                let errors = String::from_utf8_lossy(&output.stderr);
                !output.status.success() && errors.contains(UNDEFINED)
            })
        };
        if found {
            say(&format!(
                "`{COUNTERPART}` is found out for {self}, as it should be"
            ));
        } else {
            job.fail(format_args!(
                "`{COUNTERPART}` indexes freely, and that is not found for {self}: the proof proves nothing"
            ));
        }
    }

    /// No function of double precision is in the program for `f32`; in that for `f64` there are some, or
    /// the search would not find them.
    fn doubles(&self, job: &mut Job<'_>) {
        for program in self.profile.programs {
            let found = match doubles_in(&self.file(job, program)) {
                Ok(found) => found,
                Err(why) => return job.fail(why),
            };
            match (*program, found.as_slice()) {
                ("f32", []) => say(&format!("no double precision in `f32` for {self}")),
                ("f32", found) => job.fail(format_args!(
                    "double precision on an f32 path for {self}: {}",
                    found.join(" ")
                )),
                (_, []) => job.fail("no double precision in `f64`: the search finds nothing"),
                _ => {}
            }
        }
    }
}

/// The functions of double precision in a program.
fn doubles_in(program: &Path) -> Result<Vec<String>, String> {
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
