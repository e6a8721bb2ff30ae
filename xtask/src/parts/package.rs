//! Every crate that is published can be: its archive holds all that it needs to compile, and the licences.
//!
//! Cargo's own verification keeps a crate's siblings unpacked by name and version, and so compares with
//! what they were when they were packaged first. Here all archives are unpacked anew, side by side, and
//! compiled as one workspace.

use std::path::Path;

use super::Part;
use crate::job::Job;
use crate::tools::{Probe, Tool};
use crate::workspace::Package;

pub(super) const PART: Part = Part {
    name: "package",
    about: "every published crate can be packaged, holds the licences and compiles from its archive",
    tools: &[Tool {
        probe: Probe::Command(&["tar", "--version"]),
        apt: "tar",
        component: None,
    }],
    run,
};

/// The licence texts: both ask to go with every copy. A crate holds copies, not links, which some systems
/// check out as files with a path in them.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

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
        if let Err(error) = licences(&workspace.root, &folder.join(stem(package))) {
            job.fail(error);
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

/// Whether an unpacked crate holds the licence texts of the root, letter for letter.
fn licences(root: &Path, unpacked: &Path) -> Result<(), String> {
    for file in LICENCES {
        let read = |folder: &Path| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        if read(root)? != read(unpacked)? {
            let folder = unpacked.display();
            return Err(format!("{folder}/{file} is not the text of the root"));
        }
    }
    Ok(())
}

/// Siblings are found by path, not in the registry, which does not have them yet.
fn manifest(packages: &[Package]) -> String {
    let mut text =
        String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n[patch.crates-io]\n");
    for package in packages {
        let (name, folder) = (&package.name, stem(package));
        text.push_str(&format!("{name} = {{ path = \"{folder}\" }}\n"));
    }
    text
}

fn archive(package: &Package) -> String {
    format!("{}.crate", stem(package))
}

/// The folder in the archive.
fn stem(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_licences_is_named() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().unwrap_or(own);
        assert_eq!(licences(root, &root.join("core")), Ok(()));
        let error = licences(root, own).unwrap_err();
        assert!(error.contains("xtask/LICENSE-APACHE"), "{error}");
    }
}
