//! The crates that do without a standard library compile for the machines that have none, with every
//! combination of features, and without a warning.

use std::collections::BTreeMap;

use super::Part;
use super::features::{combinations, selection};
use crate::cross::{self, Library, TARGETS, Target, Toolchain};
use crate::job::Job;

pub(super) const PART: Part = Part {
    name: "targets",
    about: "core and simd compile for bare Arm, RISC-V and AArch64 and for wasm, with every feature",
    tools: &[cross::COMPILER],
    run,
};

/// Targets that one call of cargo checks: of one toolchain, with the same flags and features.
type Group = (Toolchain, bool, &'static [&'static str]);

fn run(job: &mut Job<'_>) {
    let mut groups: BTreeMap<Group, Vec<&str>> = BTreeMap::new();
    for Target {
        triple,
        has_std,
        flags,
    } in TARGETS
    {
        match Toolchain::of(triple) {
            Ok(toolchain) => groups
                .entry((toolchain, *has_std, flags))
                .or_default()
                .push(triple),
            Err(why) => job.fail(why),
        }
    }
    let workspace = job.workspace;
    for ((toolchain, has_std, flags), triples) in groups {
        // Flags turn vectors on, which change nothing for a crate without.
        let packages = workspace
            .packages
            .iter()
            .filter(|package| package.no_std && (flags.is_empty() || package.has_vectors));
        for package in packages {
            let features = package.features.iter().map(String::as_str);
            let features: Vec<&str> = features.filter(|name| has_std || *name != "std").collect();
            for features in combinations(&features) {
                let library = if has_std { Library::Std } else { Library::Core };
                let words = ["check", "--package", &package.name];
                let mut command = toolchain.cargo(workspace, library, &words);
                command.args(selection(&features));
                command.args(triples.iter().flat_map(|triple| ["--target", triple]));
                // Not `clippy -- --deny warnings`: Debian's pair comes without clippy.
                let all_flags: Vec<&str> = ["-Dwarnings"].iter().chain(flags).copied().collect();
                command.env("RUSTFLAGS", all_flags.join(" "));
                // Nothing is run, so the library `core` need not be optimised for seven targets.
                command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
                job.run(command.env("CARGO_PROFILE_DEV_DEBUG", "0"));
            }
        }
    }
}
