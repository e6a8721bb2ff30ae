//! Builds for other machines: which toolchain has the library `core` for a target, and how it is called.
//!
//! rustup's is taken where its target is installed. Elsewhere Debian's compiler builds `core` from the
//! source that Debian has for it; the two come in one version and so fit together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::job::Job;
use crate::tools::{Probe, Tool};
use crate::workspace::Workspace;

/// Debian's pair. The names are those of a stable release, which has an older compiler besides.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A compiler for targets that this machine does not run.
pub(crate) const COMPILER: Tool = Tool {
    probe: Probe::Look(
        "toolchain for the targets (of rustup, by `rustup target add`, or of Debian)",
        is_ready,
    ),
    apt: "rustc-web rust-web-src cargo-web",
    component: None,
};

/// What links programs for bare machines.
pub(crate) const LINKER: Tool = Tool {
    probe: Probe::Command(&[LLD, "--version"]),
    apt: "lld-22",
    component: None,
};

pub(crate) const LLD: &str = "ld.lld-22";

/// The C library below `std` in WebAssembly with files.
pub(crate) const WASI_LIBC: Tool = Tool {
    probe: Probe::Look("C library for wasm32-wasip1", has_wasi_libc),
    apt: "wasi-libc",
    component: None,
};

/// Clippy for code that compiles for bare machines only.
pub(crate) const CLIPPY: Tool = Tool {
    probe: Probe::Look("clippy that fits the toolchain for the targets", has_clippy),
    apt: "rust-web-clippy",
    component: None,
};

const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// A bare machine, or one in a browser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) triple: &'static str,
    /// Whether there is a standard library for it, which the features `std` need.
    pub(crate) has_std: bool,
    /// For the compiler, besides the target.
    pub(crate) flags: &'static [&'static str],
}

/// A target without a standard library.
const fn bare(triple: &'static str) -> Target {
    Target {
        triple,
        has_std: false,
        flags: &[],
    }
}

/// WebAssembly, with these flags.
const fn wasm(flags: &'static [&'static str]) -> Target {
    Target {
        triple: "wasm32-unknown-unknown",
        has_std: true,
        flags,
    }
}

/// Everything that the crates without a standard library are compiled for.
pub(crate) const TARGETS: &[Target] = &[
    bare("thumbv6m-none-eabi"),
    bare("thumbv7m-none-eabi"),
    bare("thumbv7em-none-eabihf"),
    bare("thumbv8m.main-none-eabihf"),
    bare("riscv32imac-unknown-none-elf"),
    bare("riscv32imafc-unknown-none-elf"),
    bare("aarch64-unknown-none"),
    wasm(&[]),
    wasm(&["-Ctarget-feature=+simd128"]),
];

/// What of the standard library a build needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Library {
    /// A bare machine has no more.
    Core,
    /// All of it.
    Std,
    /// And what runs tests.
    Test,
}

/// Where the compiled `core` of a target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Toolchain {
    /// rustup installed it.
    Rustup,
    /// Debian's compiler builds it.
    Debian,
}

impl Toolchain {
    /// The toolchain that has a target.
    pub(crate) fn of(triple: &str) -> Result<Self, String> {
        choose(has_rustup_target(triple), is_debian_complete()).ok_or_else(|| {
            format!(
                "no toolchain for {triple}: `rustup target add {triple}`, or `apt-get install {}`, or run \
                 with --setup",
                COMPILER.apt
            )
        })
    }

    /// The targets by the toolchain that has them; what none has is a failure of the job.
    pub(crate) fn group(
        job: &mut Job<'_>,
        triples: &[&'static str],
    ) -> BTreeMap<Self, Vec<&'static str>> {
        let mut toolchains: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for triple in triples {
            match Self::of(triple) {
                Ok(toolchain) => toolchains.entry(toolchain).or_default().push(*triple),
                Err(why) => job.fail(why),
            }
        }
        toolchains
    }

    /// A cargo command for bare machines of this toolchain, which links its programs side by side.
    pub(crate) fn bare(
        self,
        workspace: &Workspace,
        triples: &[&str],
        arguments: &[&str],
    ) -> Command {
        let mut command = self.cargo(workspace, Library::Core, arguments);
        for triple in triples {
            let linker = format!("target.{triple}.linker=\"{LLD}\"");
            command.args(["--target", triple, "--config", &linker]);
        }
        command
    }

    /// A cargo command for targets of this toolchain. It says nothing of the targets yet.
    pub(crate) fn cargo(
        self,
        workspace: &Workspace,
        library: Library,
        arguments: &[&str],
    ) -> Command {
        let target = self.target_folder(&workspace.target);
        match self {
            Toolchain::Rustup => {
                let mut command = workspace.cargo(arguments);
                command.env("CARGO_TARGET_DIR", target);
                command
            }
            Toolchain::Debian => {
                let is_clippy = arguments.first() == Some(&"clippy");
                let mut command = workspace.command(if is_clippy {
                    DEBIAN_CLIPPY
                } else {
                    DEBIAN_CARGO
                });
                command.args(arguments);
                command.arg(match library {
                    Library::Core => "-Zbuild-std=core",
                    Library::Std => "-Zbuild-std=std,panic_abort",
                    Library::Test => "-Zbuild-std=std,panic_abort,test",
                });
                // What rustup set for the toolchain that runs this program.
                for variable in ["RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTDOC"] {
                    command.env_remove(variable);
                }
                // Building `core` is not a stable option of cargo.
                command
                    .env("CARGO", DEBIAN_CARGO)
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_DIR", target);
                command
            }
        }
    }

    /// The version of its compiler.
    pub(crate) fn version(self) -> Result<String, String> {
        let rustc = match self {
            Toolchain::Rustup => "rustc",
            Toolchain::Debian => DEBIAN_RUSTC,
        };
        ask(rustc, &["--version"]).ok_or_else(|| format!("`{rustc} --version` does not answer"))
    }

    /// One for each compiler: in a shared one each would rebuild what the other left.
    pub(crate) fn target_folder(self, workspace: &Path) -> PathBuf {
        match self {
            Toolchain::Rustup => workspace.to_path_buf(),
            Toolchain::Debian => workspace.join("debian"),
        }
    }
}

fn choose(rustup: bool, debian: bool) -> Option<Toolchain> {
    match (rustup, debian) {
        (true, _) => Some(Toolchain::Rustup),
        (false, true) => Some(Toolchain::Debian),
        (false, false) => None,
    }
}

/// Whether every target has a toolchain.
fn is_ready() -> bool {
    is_debian_complete() || has_rustup_targets()
}

fn has_rustup_targets() -> bool {
    let mut targets = TARGETS.iter();
    targets.all(|target| has_rustup_target(target.triple))
}

/// Whether clippy is there, rustup's where its targets are, else one of the same version as Debian's compiler.
fn has_clippy() -> bool {
    if has_rustup_targets() {
        return ask("cargo", &["clippy", "--version"]).is_some();
    }
    let clippy = ask("/usr/bin/clippy-driver", &["--rustc", "--version"]);
    clippy.is_some() && clippy == ask(DEBIAN_RUSTC, &["--version"])
}

/// rustup's target brings its own.
fn has_wasi_libc() -> bool {
    Path::new("/usr/lib/wasm32-wasi/libc.a").is_file() || has_rustup_target("wasm32-wasip1")
}

fn has_rustup_target(triple: &str) -> bool {
    library("rustc").is_some_and(|library| library.join(triple).is_dir())
}

/// The compiler, its cargo and the source of `core`.
fn is_debian_complete() -> bool {
    let source =
        library(DEBIAN_RUSTC).map(|library| library.join("src/rust/library/core/Cargo.toml"));
    source.is_some_and(|file| file.is_file()) && Path::new(DEBIAN_CARGO).is_file()
}

/// Where a compiler has its libraries.
fn library(rustc: &str) -> Option<PathBuf> {
    let sysroot = ask(rustc, &["--print", "sysroot"])?;
    Some(Path::new(&sysroot).join("lib/rustlib"))
}

/// What a program of a toolchain answers.
fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    if program.starts_with("/usr/bin/") {
        // What rustup set for its own.
        command.env_remove("LD_LIBRARY_PATH");
    }
    let output = command.args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_target_goes_first() {
        assert_eq!(choose(true, true), Some(Toolchain::Rustup));
        assert_eq!(choose(false, true), Some(Toolchain::Debian));
        assert_eq!(choose(false, false), None);
    }

    #[test]
    fn the_host_is_installed_and_nonsense_is_not() {
        assert!(!has_rustup_target("no-such-target"));
        assert_eq!(library("no-such-compiler"), None);
    }

    #[test]
    fn the_call_of_debian_names_its_own_compiler() {
        let workspace = Workspace {
            root: PathBuf::from("."),
            target: PathBuf::from("/t"),
            packages: Vec::new(),
        };
        let command = Toolchain::Debian.cargo(&workspace, Library::Core, &["check"]);
        let variable = |name: &str| {
            let mut all = command.get_envs();
            all.find(|(key, _)| *key == name)
                .and_then(|(_, value)| value?.to_str())
        };
        assert_eq!(variable("RUSTC"), Some(DEBIAN_RUSTC));
        assert_eq!(variable("CARGO_TARGET_DIR"), Some("/t/debian"));
        assert!(command.get_args().any(|word| word == "-Zbuild-std=core"));
    }
}
