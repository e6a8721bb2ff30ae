//! Feature combinations of every crate that has features, as cargo lists them: none, each alone, all.
//!
//! The default set is what the part `clippy` checks.

use super::{CLIPPY, DENY_WARNINGS, Part};
use crate::job::Job;
use crate::workspace::Package;

pub(super) const PART: Part = Part {
    name: "features",
    about: "each crate with no feature, each feature alone and all of them",
    tools: &[CLIPPY],
    run,
};

fn run(job: &mut Job<'_>) {
    let workspace = job.workspace;
    for package in workspace.packages.iter() {
        for flags in combinations(package) {
            let words = ["clippy", "--package", &package.name];
            job.cargo(&[&words[..], &flags[..], &DENY_WARNINGS[..]].concat());
        }
    }
}

/// The flags of each combination; where two would be the same one, only the first.
fn combinations(package: &Package) -> Vec<Vec<&str>> {
    let alone = package
        .features
        .iter()
        .map(|feature| vec!["--no-default-features", "--features", feature]);
    match package.features.len() {
        0 => Vec::new(),
        1 => [vec!["--no-default-features"]]
            .into_iter()
            .chain(alone)
            .collect(),
        _ => [vec!["--no-default-features"], vec!["--all-features"]]
            .into_iter()
            .chain(alone)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(features: &[&str]) -> usize {
        combinations(&Package {
            name: "crate".to_string(),
            version: "1.0.0".to_string(),
            publishable: true,
            features: features.iter().map(|name| name.to_string()).collect(),
            rust_version: None,
        })
        .len()
    }

    #[test]
    fn none_each_and_all() {
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["a"]), 2);
        assert_eq!(count(&["a", "b", "c"]), 5);
    }
}
