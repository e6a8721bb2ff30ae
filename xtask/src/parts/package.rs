//! Every crate that is published can be: its archive holds all that it needs to build.
//!
//! One call packages them together, since cargo then resolves a crate's siblings from the archives that
//! it just made, not from a registry that does not have them yet.

use super::Part;
use crate::job::Job;

pub(super) const PART: Part = Part {
    name: "package",
    about: "every published crate packages and builds from its own archive",
    tools: &[],
    run,
};

fn run(job: &mut Job<'_>) {
    let workspace = job.workspace;
    let mut arguments = vec!["package", "--allow-dirty"];
    for package in workspace
        .packages
        .iter()
        .filter(|package| package.publishable)
    {
        arguments.extend(["--package", &package.name]);
    }
    job.cargo(&arguments);
}
