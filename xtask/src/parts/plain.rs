//! The parts that are one call of cargo over the whole workspace, or a few over one of its own.

use std::path::Path;

use super::{CLIPPY as CLIPPY_TOOL, DENY_WARNINGS, Part, RUSTFMT};
use crate::bench;
use crate::job::Job;
use crate::tools::{Probe, Tool};

/// The kernels run on an emulated GPU: without this their tests would be left out.
const EMULATION: &str = "--features=rivergram-cuda-kernels/emulation";

pub(super) const FMT: Part = Part {
    name: "fmt",
    about: "the code is formatted by rustfmt",
    tools: &[RUSTFMT],
    run: |job| {
        job.cargo(&["fmt", "--all", "--check"]);
    },
};

pub(super) const CLIPPY: Part = Part {
    name: "clippy",
    about: "no warning from rustc or clippy in any target of any crate",
    tools: &[CLIPPY_TOOL],
    run: |job| {
        let words = ["clippy", "--workspace", "--all-targets", EMULATION];
        job.cargo(&[&words[..], &DENY_WARNINGS[..]].concat());
    },
};

pub(super) const DOCS: Part = Part {
    name: "docs",
    about: "the documentation builds without a warning, with every feature",
    tools: &[],
    run: |job| {
        let mut command =
            job.workspace
                .cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
        let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
        flags.push_str(" --deny warnings");
        job.run(command.env("RUSTDOCFLAGS", flags.trim()));
    },
};

pub(super) const TEST: Part = Part {
    name: "test",
    about: "every test of every crate, the golden ones, house rules and documentation examples included",
    // A test reads the machine code of an example.
    tools: &[Tool {
        probe: Probe::Command(&["objdump", "--version"]),
        apt: "binutils",
        component: None,
    }],
    run: |job| {
        let words = ["test", "--workspace", "--no-fail-fast", EMULATION];
        // Without the programs in `examples`: the part `clippy` checks them, and the test of machine code builds them.
        for what in ["--tests", "--doc"] {
            job.cargo(&[&words[..], &[what]].concat());
        }
    },
};

pub(super) const BENCH: Part = Part {
    name: "bench",
    about: "the bench and its rivals in Rust compile without a warning, and its own tests pass; nothing is measured",
    tools: &[CLIPPY_TOOL, RUSTFMT],
    run: |job| {
        let folder = job.workspace.root.join(bench::CRATE);
        // The rival in C takes minutes to compile; `cargo xtask bench` does.
        check_alone(job, &folder, &["--no-default-features"]);
        let mut test = job.workspace.cargo(&["test", "--no-default-features"]);
        job.run(test.current_dir(&folder));
    },
};

/// The format and the warnings of a crate that is a workspace of its own: the parts `fmt` and `clippy` do not see it.
pub(super) fn check_alone(job: &mut Job<'_>, folder: &Path, features: &[&str]) {
    let mut format = job.workspace.cargo(&["fmt", "--check"]);
    job.run(format.current_dir(folder));
    let mut lint = job.workspace.cargo(&["clippy", "--all-targets"]);
    lint.args(features);
    job.run(lint.args(DENY_WARNINGS).current_dir(folder));
}
