//! `cargo xtask gpu-test`: the checks of the kernels on a real GPU, in a folder that runs without Rust.
//!
//! The folder has the program, the golden files and a script. Where the machine has a GPU, the script runs here too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::workspace::Workspace;

/// The program of the tests.
const PROGRAM: &str = "gpu-test";

/// What the folder runs: the checks, then a part of them under NVIDIA's tool where it is installed. 3 is what the program
/// answers where there is no GPU.
const SCRIPT: &str = "\
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
pub(crate) fn answer(words: &[&str]) -> Result<ExitCode, String> {
    let request = Request::parse(words)?;
    let workspace = Workspace::load()?;
    let folder = match request.out {
        Some(folder) => PathBuf::from(folder),
        None => workspace.target.join(PROGRAM),
    };
    match build(&workspace, &folder) {
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

/// The program, the golden files and the script; whether cargo could build it.
fn build(workspace: &Workspace, folder: &Path) -> std::io::Result<bool> {
    let words = [
        "build",
        "--release",
        "--package",
        "rivergram-gpu",
        "--bin",
        PROGRAM,
    ];
    if !workspace.cargo(&words).status()?.success() {
        return Ok(false);
    }
    fs::create_dir_all(folder)?;
    let program = workspace.target.join("release").join(PROGRAM);
    fs::copy(program, folder.join(PROGRAM))?;
    let golden = workspace.root.join("tests/golden");
    for room in ["gram", "eisl"] {
        let to = folder.join("golden").join(room);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(golden.join(room))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    let script = folder.join("run.sh");
    fs::write(&script, SCRIPT)?;
    make_executable(&script)?;
    Ok(true)
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
