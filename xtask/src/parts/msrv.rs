//! The oldest toolchain that is promised: one number in the manifests and in the texts, and the code
//! checked with it, or with the oldest installed one that is not older.

use std::process::Command;

use super::Part;
use crate::job::{Job, say};

/// Major and minor number of a toolchain.
type Version = (u32, u32);

pub(super) const PART: Part = Part {
    name: "msrv",
    about: "the promised toolchain is the same everywhere, and the oldest at hand compiles the code",
    tools: &[],
    run,
};

fn run(job: &mut Job<'_>) {
    let Some(promised) = promised(job) else {
        return;
    };
    for name in ["README.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(job.workspace.root.join(name)).unwrap_or_default();
        for (number, stated) in mentions(&text) {
            if stated != promised {
                job.fail(format_args!(
                    "{name}:{number}: Rust {}.{}, but the manifests say {}.{}",
                    stated.0, stated.1, promised.0, promised.1
                ));
            }
        }
    }
    let check = ["check", "--workspace", "--all-targets"];
    let current = version_of(Command::new("rustc").arg("--version"));
    match oldest(installed(), promised, current) {
        Some(toolchain) => {
            let mut command = job.workspace.command("rustup");
            // A compiler that this variable names would win over the toolchain's.
            command.env_remove("RUSTC");
            job.run(command.args(["run", &toolchain, "cargo"]).args(check));
        }
        None => {
            if current != Some(promised) {
                say("note: no older toolchain is installed: checking with the one at hand");
            }
            job.cargo(&check);
        }
    }
}

/// The one `rust-version` of all manifests.
fn promised(job: &mut Job<'_>) -> Option<Version> {
    let mut first: Option<Version> = None;
    for package in &job.workspace.packages {
        let version = package.rust_version.as_deref().and_then(version);
        match (version, first) {
            (None, _) => {
                job.fail(format_args!(
                    "{}: no rust-version in its manifest",
                    package.name
                ));
                return None;
            }
            (Some(version), Some(other)) if version != other => {
                job.fail(format_args!(
                    "{}: another rust-version than the rest",
                    package.name
                ));
                return None;
            }
            (version, _) => first = version,
        }
    }
    first
}

/// Each `Rust 1.2` of a text, with the number of its line.
fn mentions(text: &str) -> Vec<(usize, Version)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let after = line.split("Rust ").skip(1);
        found.extend(
            after
                .filter_map(version)
                .map(|version| (index + 1, version)),
        );
    }
    found
}

/// The installed toolchain to check with, unless that is the current one.
fn oldest(
    installed: Vec<(Version, String)>,
    promised: Version,
    current: Option<Version>,
) -> Option<String> {
    let new_enough = installed
        .into_iter()
        .filter(|(version, _)| *version >= promised);
    let (version, name) = new_enough.min()?;
    (current.is_none_or(|current| version < current)).then_some(name)
}

/// The released toolchains that rustup has.
fn installed() -> Vec<(Version, String)> {
    let Ok(output) = Command::new("rustup").args(["toolchain", "list"]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter_map(|name| {
            let mut command = Command::new("rustup");
            let version = version_of(command.args(["run", name, "rustc", "--version"]))?;
            Some((version, name.to_string()))
        })
        .collect()
}

/// The version that a compiler prints, unless it is a nightly or beta.
fn version_of(command: &mut Command) -> Option<Version> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let word = text.strip_prefix("rustc ")?.split_whitespace().next()?;
    if word.contains('-') {
        None
    } else {
        version(word)
    }
}

/// The version that a text begins with.
fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_texts() {
        let text =
            "It needs Rust 1.95 or newer.\nRust is a language.\n**Rust 2.0.1**, Rust\u{a0}1.1";
        assert_eq!(mentions(text), [(1, (1, 95)), (3, (2, 0))]);
    }

    #[test]
    fn the_oldest_that_is_new_enough_is_taken() {
        let list = || {
            let toolchain = |minor, name: &str| ((1, minor), name.to_string());
            vec![toolchain(97, "c"), toolchain(80, "a"), toolchain(96, "b")]
        };
        assert_eq!(oldest(list(), (1, 95), Some((1, 97))).as_deref(), Some("b"));
        assert_eq!(oldest(list(), (1, 95), Some((1, 96))), None);
        assert_eq!(oldest(list(), (1, 98), Some((1, 98))), None);
    }
}
