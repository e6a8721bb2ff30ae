//! Every crate that is published can be: its archive holds all that it needs to compile.
//!
//! Cargo's own verification keeps a crate's siblings unpacked by name and version, and so compares with
//! what they were when they were packaged first. Here all archives are unpacked anew, side by side, and
//! compiled as one workspace.

use std::path::Path;

use super::Part;
use crate::job::Job;
use crate::tools::Tool;
use crate::workspace::Package;

pub(super) const PART: Part = Part {
    name: "package",
    about: "every published crate can be packaged, and compiles from its archive",
    tools: &[Tool {
        probe: &["tar", "--version"],
        apt: "tar",
        component: None,
    }],
    run,
};

fn run(job: &mut Job<'_>) {
    let workspace = job.workspace;
    let mut published = workspace.packages.clone();
    published.retain(|package| package.publishable);

    let mut package = workspace.cargo(&["package", "--no-verify", "--allow-dirty"]);
    for crate_name in published.iter().map(|package| &package.name) {
        package.args(["--package", crate_name]);
    }
    if !job.run(&mut package) {
        return;
    }
    let folder = workspace.target.join("package-check");
    if let Err(error) = prepare(&folder, &workspace.root, &published) {
        return job.fail(format_args!("{}: {error}", folder.display()));
    }
    for package in &published {
        let archive = workspace.target.join("package").join(archive(package));
        // The files of an archive are dated alike: `m` dates them now, so that cargo sees what is new.
        let mut unpack = workspace.command("tar");
        if !job.run(unpack.arg("xzmf").arg(archive).arg("-C").arg(&folder)) {
            return;
        }
    }
    job.run(
        workspace
            .cargo(&["check", "--workspace"])
            .current_dir(&folder),
    );
}

/// Makes the folder anew, with the manifest and the lock file of a workspace of the unpacked crates.
fn prepare(folder: &Path, root: &Path, packages: &[Package]) -> std::io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    std::fs::write(folder.join("Cargo.toml"), manifest(packages))
}

/// Siblings are found by path, not in the registry, which does not have them yet.
fn manifest(packages: &[Package]) -> String {
    let mut text =
        String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n[patch.crates-io]\n");
    for package in packages {
        let Package { name, version, .. } = package;
        text.push_str(&format!("{name} = {{ path = \"{name}-{version}\" }}\n"));
    }
    text
}

fn archive(package: &Package) -> String {
    format!("{}-{}.crate", package.name, package.version)
}
