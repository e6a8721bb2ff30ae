//! The cost of functions on microcontrollers is that of the committed table, within 5%.

use super::{DENY_WARNINGS, Part, RUSTFMT};
use crate::cross::{self, Toolchain};
use crate::job::Job;
use crate::panic_paths;
use crate::qemu;
use crate::size;

pub(super) const PART: Part = Part {
    name: "size",
    about: "flash, stack, memory and instructions on microcontrollers are those of docs/size.md",
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

/// The target that clippy reads the crate for: they differ in how a machine starts.
const LINTED: &str = "thumbv7em-none-eabihf";

fn run(job: &mut Job<'_>) {
    // The crate is no member of the workspace: the parts `fmt` and `clippy` do not see it.
    let folder = job.workspace.root.join(size::CRATE);
    let mut format = job.workspace.cargo(&["fmt", "--check"]);
    job.run(format.current_dir(&folder));
    for (toolchain, triples) in Toolchain::group(job, &[LINTED]) {
        let words = ["clippy", "--profile", "speed"];
        let mut lint = toolchain.bare(job.workspace, &triples, &words);
        job.run(lint.args(DENY_WARNINGS).current_dir(&folder));
    }
    size::check(job);
}
