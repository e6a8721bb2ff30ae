//! Feature combinations of every crate that has features, as cargo lists them: none, each alone, all.
//!
//! The default set is what the part `clippy` checks. An example that needs a feature is in no set that cargo builds by
//! itself: each is checked with what it needs.

use super::{CLIPPY, DENY_WARNINGS, Part};
use crate::job::Job;

pub(super) const PART: Part = Part {
    name: "features",
    about: "each crate with no feature, each feature alone and all of them; examples that need a feature",
    tools: &[CLIPPY],
    run,
};

fn run(job: &mut Job<'_>) {
    let workspace = job.workspace;
    for package in &workspace.packages {
        let features: Vec<&str> = package.features.iter().map(String::as_str).collect();
        // Without features nothing differs from what the part `clippy` checks.
        for features in combinations(&features).filter(|_| !package.features.is_empty()) {
            let mut command = workspace.cargo(&["clippy", "--package", &package.name]);
            command.args(selection(&features)).args(DENY_WARNINGS);
            job.run(&mut command);
        }
        for (example, features) in &package.gated_examples {
            let mut command = workspace.cargo(&["clippy", "--package", &package.name]);
            command.arg(format!("--features={}", features.join(",")));
            command.args(["--example", example]).args(DENY_WARNINGS);
            job.run(&mut command);
        }
    }
}

/// None, all and each alone; where two would be the same, only the first.
pub(super) fn combinations<'a>(features: &[&'a str]) -> impl Iterator<Item = Vec<&'a str>> {
    let several = (features.len() > 1).then(|| features.to_vec());
    let alone: Vec<_> = features.iter().map(|feature| vec![*feature]).collect();
    std::iter::once(Vec::new()).chain(several).chain(alone)
}

/// Cargo's flags for exactly these features.
pub(super) fn selection(features: &[&str]) -> Vec<String> {
    let mut flags = vec!["--no-default-features".to_string()];
    if !features.is_empty() {
        flags.push(format!("--features={}", features.join(",")));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_all_and_each() {
        let of = |features: &[&'static str]| combinations(features).collect::<Vec<_>>();
        assert_eq!(of(&[]), [Vec::<&str>::new()]);
        assert_eq!(of(&["a"]), [vec![], vec!["a"]]);
        assert_eq!(
            of(&["a", "b"]),
            [vec![], vec!["a", "b"], vec!["a"], vec!["b"]]
        );
        assert_eq!(selection(&[]), ["--no-default-features"]);
        assert_eq!(
            selection(&["a", "b"]),
            ["--no-default-features", "--features=a,b"]
        );
    }
}
