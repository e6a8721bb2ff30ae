//! Programs for bare machines, run by QEMU.

use std::time::Duration;

use super::{DENY_WARNINGS, Part, RUSTFMT};
use crate::cross::{self, Toolchain};
use crate::job::{Job, say};
use crate::qemu::{self, BOARDS};

pub(super) const PART: Part = Part {
    name: "firmware",
    about: "programs run on five kinds of processor under QEMU",
    tools: &[
        cross::COMPILER,
        cross::LINKER,
        cross::CLIPPY,
        RUSTFMT,
        qemu::ARM,
        qemu::RISCV,
    ],
    run,
};

/// Where the programs lie.
const WORKSPACE: &str = "tests/firmware";

/// Programs that must fail, with the codes that `tests/firmware/board` ends them with.
const FAILING: [(&str, i32); 2] = [("panics", 101), ("faults", 102)];

/// A program takes seconds; this is for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);

fn run(job: &mut Job<'_>) {
    let folder = job.workspace.root.join(WORKSPACE);
    let mut format = job.workspace.cargo(&["fmt", "--all", "--check"]);
    job.run(format.current_dir(&folder));
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
        let boards = BOARDS
            .iter()
            .filter(|board| triples.contains(&board.triple));
        for board in boards {
            let programs = target.join(board.triple).join("release");
            for (program, want) in FAILING {
                match board.run(&programs.join(program), LIMIT, &[]) {
                    Err(why) => job.fail(why),
                    Ok(outcome) if outcome.code == Some(want) => {
                        say(&format!("{program} is found out on {}", board.name));
                    }
                    Ok(outcome) => job.fail(format_args!(
                        "{program} on {}: exit code {want} expected: {outcome}",
                        board.name
                    )),
                }
            }
        }
    }
}
