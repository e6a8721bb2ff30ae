//! `cargo xtask gpu-test` and `gpu-bench`: programs for a real GPU, in a folder that runs without Rust.
//!
//! The folder has the program, the files that it needs and a script. Where this machine has a GPU, the script runs here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::workspace::Workspace;

/// A program for a machine with a GPU, and what lies beside it.
pub(crate) struct Kit {
    program: &'static str,
    script: &'static str,
    /// From where in the workspace to where in the folder.
    files: &'static [(&'static str, &'static str)],
}

/// `gpu-test`.
pub(crate) const TEST: Kit = Kit {
    program: "gpu-test",
    script: CHECKS,
    files: &[
        ("tests/golden/gram", "golden/gram"),
        ("tests/golden/eisl", "golden/eisl"),
    ],
};

/// `gpu-bench`.
pub(crate) const BENCH: Kit = Kit {
    program: "gpu-bench",
    script: MEASURES,
    files: &[("tests/gpu/rivals.py", "rivals.py")],
};

/// What the folder runs: the checks, then a part of them under NVIDIA's tool where it is installed. 3 is what the program
/// answers where there is no GPU.
const CHECKS: &str = "\
#!/bin/sh
# The checks of rivergram's kernels on this machine's GPU. It needs the NVIDIA driver, and nothing else.
# Exit codes: 0 all passed, 1 something failed, 2 wrong usage, 3 nothing ran on a GPU.
cd \"$(dirname \"$0\")\" || exit 1
export RIVERGRAM_GOLDEN=\"$PWD/golden\"
./gpu-test \"$@\" || exit $?
if ! command -v compute-sanitizer >/dev/null; then
    echo 'compute-sanitizer is not installed: accesses and races were not checked on the GPU'
    exit 0
fi
for tool in memcheck racecheck initcheck; do
    echo \"compute-sanitizer --tool $tool\"
    compute-sanitizer --tool $tool --error-exitcode 1 ./gpu-test \"$@\" || exit 1
done
";

/// Our times, then those of the rivals where Python has torch. A JSON object a line.
const MEASURES: &str = "\
#!/bin/sh
# The times of rivergram's kernels on this machine's GPU, and of what torch takes where it is installed. JSON lines.
# Exit codes: 0 all measured, 1 something failed, 2 wrong usage, 3 nothing ran on a GPU.
cd \"$(dirname \"$0\")\" || exit 1
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader >&2
./gpu-bench \"$@\" || exit $?
if ! python3 -c 'import torch' 2>/dev/null; then
    echo 'torch is not installed: no rival was measured' >&2
    exit 0
fi
python3 rivals.py \"$@\"
";

/// What was asked for.
struct Request<'a> {
    build_only: bool,
    out: Option<&'a str>,
    part: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut request = Request {
            build_only: false,
            out: None,
            part: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--build-only" => request.build_only = true,
                "--out" => {
                    let folder = words.next().ok_or("--out: a folder expected")?;
                    request.out = Some(folder);
                }
                flag if flag.starts_with('-') => return Err(format!("{flag}: no such flag")),
                part if request.part.is_none() => request.part = Some(part),
                more => return Err(format!("{more}: one part expected")),
            }
        }
        Ok(request)
    }
}

/// Builds the folder and, unless only that was asked for, runs it; its exit code is ours.
pub(crate) fn answer(kit: &Kit, words: &[&str]) -> Result<ExitCode, String> {
    let request = Request::parse(words)?;
    let workspace = Workspace::load()?;
    let folder = match request.out {
        Some(folder) => PathBuf::from(folder),
        None => workspace.target.join(kit.program),
    };
    match build(kit, &workspace, &folder) {
        Ok(true) => {}
        Ok(false) => return Ok(ExitCode::FAILURE),
        Err(e) => return Err(format!("{}: {e}", folder.display())),
    }
    println!(
        "built {}: copy it to a machine with a GPU, and run run.sh",
        folder.display()
    );
    if request.build_only {
        return Ok(ExitCode::SUCCESS);
    }
    let mut script = Command::new("sh");
    script.arg(folder.join("run.sh")).args(request.part);
    let status = script.status().map_err(|e| format!("sh: {e}"))?;
    let code = status.code().map_or(1, |code| code.clamp(0, 255) as u8);
    Ok(ExitCode::from(code))
}

/// The program, its files and the script; whether cargo could build it.
fn build(kit: &Kit, workspace: &Workspace, folder: &Path) -> std::io::Result<bool> {
    let words = ["build", "--release", "--package", "rivergram-gpu", "--bin"];
    let mut cargo = workspace.cargo(&words);
    if !cargo.arg(kit.program).status()?.success() {
        return Ok(false);
    }
    fs::create_dir_all(folder)?;
    let program = workspace.target.join("release").join(kit.program);
    fs::copy(program, folder.join(kit.program))?;
    for (from, to) in kit.files {
        copy(&workspace.root.join(from), &folder.join(to))?;
    }
    let script = folder.join("run.sh");
    fs::write(&script, kit.script)?;
    make_executable(&script)?;
    Ok(true)
}

/// Copies a file, or the files of a folder.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_file() {
        return fs::copy(from, to).map(|_| ());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_part_and_flags() {
        let request = Request::parse(&["--build-only", "search", "--out", "there"]);
        let request = request.expect("known words");
        let found = (request.build_only, request.out, request.part);
        assert_eq!(found, (true, Some("there"), Some("search")));
        for wrong in [&["--out"][..], &["--fast"], &["a", "b"]] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
