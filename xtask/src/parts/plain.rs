//! The parts that are one call of cargo over the whole workspace.

use super::{CLIPPY as CLIPPY_TOOL, DENY_WARNINGS, Part, RUSTFMT};
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
        job.cargo(&["test", "--workspace", "--no-fail-fast", EMULATION]);
    },
};
