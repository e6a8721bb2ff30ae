//! The parts of the test command, in the order in which they run: the quick ones first.
//!
//! A new part is a file here and one line in [`ALL`].

mod c;
mod faults;
mod features;
mod firmware;
mod levels;
mod msrv;
mod no_panic;
mod package;
mod plain;
pub(crate) mod ptx;
mod size;
mod targets;

use crate::job::Job;
use crate::tools::{Probe, Tool};

/// A named part of the test command.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// One line for `--list`.
    pub(crate) about: &'static str,
    /// What has to be installed besides the toolchain.
    pub(crate) tools: &'static [Tool],
    pub(crate) run: fn(&mut Job<'_>),
}

/// Every part.
pub(crate) const ALL: &[Part] = &[
    plain::FMT,
    plain::CLIPPY,
    features::PART,
    plain::DOCS,
    msrv::PART,
    targets::PART,
    plain::TEST,
    plain::BENCH,
    levels::PART,
    no_panic::PART,
    firmware::PART,
    faults::PART,
    size::PART,
    c::PART,
    ptx::PART,
    package::PART,
];

/// What `cargo xtask size` needs besides the toolchain.
pub(crate) const SIZE_TOOLS: &[Tool] = size::PART.tools;

const CLIPPY: Tool = Tool {
    probe: Probe::Command(&["cargo", "clippy", "--version"]),
    apt: "rust-clippy",
    component: Some("clippy"),
};

const RUSTFMT: Tool = Tool {
    probe: Probe::Command(&["cargo", "fmt", "--version"]),
    apt: "rustfmt",
    component: Some("rustfmt"),
};

/// Ends a clippy call: this way, other than by `RUSTFLAGS`, the dependencies stay built.
const DENY_WARNINGS: [&str; 3] = ["--", "--deny", "warnings"];
