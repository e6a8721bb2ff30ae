//! `cargo xtask bench`: the program `rivergram-bench` in the profile that users get.

use std::process::ExitCode;

use crate::workspace::Workspace;

/// Where it lies: a workspace of its own.
pub(crate) const CRATE: &str = "bench";

/// Runs it with the words after `bench`; its exit code is ours.
pub(crate) fn answer(words: &[&str]) -> ExitCode {
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let manifest = format!("{CRATE}/Cargo.toml");
    let build = [
        "run",
        "--quiet",
        "--release",
        "--manifest-path",
        &manifest,
        "--",
    ];
    match workspace.cargo(&[&build[..], words].concat()).status() {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code.clamp(0, 255) as u8)),
        Err(error) => {
            eprintln!("error: cargo run: {error}");
            ExitCode::FAILURE
        }
    }
}
