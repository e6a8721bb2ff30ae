//! The tests of core's operations on vectors that this machine does not have: NEON in QEMU, wasm128 in Node. They are
//! the files of `tests/tests`, built as one program by `tests/levels`.

use std::process::Command;

use super::{CLIPPY, Part, RUSTFMT, plain};
use crate::cross::{self, Library, Toolchain};
use crate::job::Job;
use crate::tools::{Probe, Tool};

pub(super) const PART: Part = Part {
    name: "levels",
    about: "golden values and oracles on NEON (in QEMU) and on wasm128 (in Node), for every operation",
    tools: &[
        cross::COMPILER,
        cross::LINKER,
        Tool {
            probe: Probe::Command(&["aarch64-linux-gnu-gcc", "--version"]),
            apt: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
            component: None,
        },
        Tool {
            probe: Probe::Command(&["qemu-aarch64", "--version"]),
            apt: "qemu-user",
            component: None,
        },
        cross::WASI_LIBC,
        Tool {
            probe: Probe::Command(&["node", "--version"]),
            apt: "nodejs",
            component: None,
        },
        CLIPPY,
        RUSTFMT,
    ],
    run,
};

/// Where the program lies.
const CRATE: &str = "tests/levels";

/// A machine whose vectors are tested.
struct Machine {
    triple: &'static str,
    /// For cargo: values below `target.<triple>`.
    settings: &'static [&'static str],
    /// The same, where the compiler is Debian's, which has no C library of its own for the target.
    debian: &'static [&'static str],
}

const MACHINES: [Machine; 2] = [
    Machine {
        triple: "aarch64-unknown-linux-gnu",
        settings: &[
            r#"linker="aarch64-linux-gnu-gcc""#,
            r#"runner=["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]"#,
        ],
        debian: &[],
    },
    Machine {
        triple: "wasm32-wasip1",
        settings: &[
            r#"rustflags=["-Ctarget-feature=+simd128"]"#,
            r#"runner=["node", "--no-warnings", "run.mjs"]"#,
        ],
        // The C library of Debian 12 has no function for threads; run.mjs defines those that the library `std` names.
        debian: &[
            r#"rustflags=["-Clinker=wasm-ld-22", "-Clink-self-contained=no",
            "-L/usr/lib/wasm32-wasi", "-Clink-arg=/usr/lib/wasm32-wasi/crt1-command.o",
            "-Clink-arg=--allow-undefined"]"#,
        ],
    },
];

fn run(job: &mut Job<'_>) {
    let folder = job.workspace.root.join(CRATE);
    plain::check_alone(job, &folder, &[]);
    for machine in &MACHINES {
        match Toolchain::of(machine.triple) {
            Ok(toolchain) => {
                let mut test = command(job, toolchain, machine);
                job.run(test.current_dir(&folder));
            }
            Err(why) => job.fail(why),
        }
    }
}

fn command(job: &Job<'_>, toolchain: Toolchain, machine: &Machine) -> Command {
    let words = ["test", "--test", "levels", "--target", machine.triple];
    let mut command = toolchain.cargo(job.workspace, Library::Test, &words);
    let debian = match toolchain {
        Toolchain::Debian => machine.debian,
        Toolchain::Rustup => &[],
    };
    // Two lists of one name are joined.
    for setting in machine.settings.iter().chain(debian) {
        command.args(["--config", &format!("target.{}.{setting}", machine.triple)]);
    }
    // What one number at a time gives was tested here, case by case.
    command.env("RIVERGRAM_EMULATED", "1");
    // The flags of a caller would replace ours.
    command.env_remove("RUSTFLAGS");
    command
}
