//! `cargo xtask gpu-test` and `gpu-bench`: programs for a real GPU, in a folder that runs without Rust.
//!
//! The folder has the program, the files that it needs and a script. Where this machine has a GPU, the script runs here.

mod table;

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

impl Kit {
    /// Whether its program measures.
    fn has_rows(&self) -> bool {
        self.program == BENCH.program
    }

    /// A text of the folder with what is known once the program is built.
    fn fill(&self, text: &str, glibc: Option<[u32; 2]>) -> String {
        let version = glibc.map_or(String::new(), |[major, minor]| format!("{major}.{minor}"));
        let libc = match glibc {
            Some(_) => format!("glibc {version} or newer"),
            None => "no C library".to_string(),
        };
        text.replace("{start}", START)
            .replace("{program}", self.program)
            .replace("{machine}", std::env::consts::ARCH)
            .replace("{glibc}", &version)
            .replace("{libc}", &libc)
            .replace("{more}", if self.has_rows() { README_BENCH } else { "" })
    }
}

/// The rows of a run, in the folder.
const ROWS: &str = "gpu-bench.jsonl";

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

/// What both scripts begin with: that the program starts here.
const START: &str = "\
cd \"$(dirname \"$0\")\" || exit 1
machine=$(uname -m)
if [ \"$machine\" != {machine} ]; then
    echo \"nothing ran on a GPU: {program} is built for {machine}, this is $machine\" >&2
    exit 3
fi
needed={glibc}
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //')
if [ -n \"$needed\" ] && [ -n \"$glibc\" ] &&
    [ \"$(printf '%s\\n' \"$needed\" \"$glibc\" | sort -V | head -n 1)\" != \"$needed\" ]; then
    echo \"nothing ran on a GPU: {program} needs glibc $needed or newer, here is $glibc\" >&2
    exit 3
fi
";

/// What the folder runs: the checks, then the same under NVIDIA's tool where it is installed. 3 is what the program
/// answers where there is no GPU.
const CHECKS: &str = "\
#!/bin/sh
# The checks of rivergram's kernels on this machine's GPU. It needs the NVIDIA driver, and nothing else.
# Usage: ./run.sh [PART...]   the checks whose names contain a PART, else all
# Exit codes: 0 all passed, 1 something failed, 2 wrong usage, 3 nothing ran on a GPU.
{start}export RIVERGRAM_GOLDEN=\"$PWD/golden\"
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

/// The ceilings, our times, then those of the rivals where Python has torch. The rows of both programs go to one file.
const MEASURES: &str = "\
#!/bin/sh
# The times of rivergram's kernels on this machine's GPU, and of what torch takes where it is installed. JSON lines, also
# in gpu-bench.jsonl; those of the run before are in gpu-bench.previous.jsonl.
# Usage: ./run.sh [PART...]   the rows whose names contain a PART, else all; PYTHON=... another Python than python3
# Exit codes: 0 all measured, 1 something failed, 2 wrong usage, 3 nothing ran on a GPU.
{start}./gpu-bench --list \"$@\" >&2 || exit $?
python=${PYTHON:-python3}
RIVERGRAM_BENCH_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
RIVERGRAM_BENCH_DRIVER=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1)
if [ -z \"$RIVERGRAM_BENCH_DRIVER\" ]; then
    RIVERGRAM_BENCH_DRIVER=$(grep -o '[0-9][0-9]*\\.[0-9.]*' /proc/driver/nvidia/version 2>/dev/null | head -n 1)
fi
: \"${RIVERGRAM_BENCH_DRIVER:=unknown}\"
export RIVERGRAM_BENCH_DATE RIVERGRAM_BENCH_DRIVER
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv,noheader >&2
[ -s gpu-bench.jsonl ] && mv gpu-bench.jsonl gpu-bench.previous.jsonl

# Runs a program whose rows go to the file as well; $code is its exit code.
rows() {
    { code=$({ { \"$@\"; echo $? >&3; } | tee -a gpu-bench.jsonl >&4; } 3>&1); } 4>&1
    [ \"$code\" = 0 ]
}

worst=0
rivals=yes
if ! \"$python\" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    echo 'torch with CUDA is not installed: no rival is measured' >&2
    rivals=no
fi
# The ceilings before all else: products by torch here, the copy is the first row of gpu-bench.
[ $rivals = no ] || rows \"$python\" rivals.py --only ceilings \"$@\" || worst=1
if ! rows ./gpu-bench \"$@\"; then
    [ \"$code\" != 3 ] || exit 3
    worst=1
fi
if [ $rivals = yes ] && ! rows \"$python\" rivals.py --only rivals \"$@\"; then
    # 4: no rival has such a name.
    [ \"$code\" = 4 ] || worst=1
fi
exit $worst
";

/// What lies beside the script for who finds the folder.
const README: &str = "\
# {program}

`./run.sh [PART...]` on a machine with an NVIDIA GPU of compute capability 7.5 or newer; the script's first lines say more.

It needs the NVIDIA driver (11.8 of CUDA, or newer), {machine} and {libc}. Neither Rust nor CUDA has to be installed.
{more}";

/// Of `gpu-bench` alone.
const README_BENCH: &str = "
The rows are in `gpu-bench.jsonl` afterwards. In a checkout of rivergram `cargo xtask gpu-bench --table gpu-bench.jsonl` makes
tables of them. To report a card: run gpu-test first, then this without a PART, and send both outputs and that file.
What torch takes is measured where Python has torch with CUDA and, for one row, Triton.
";

/// What was asked for.
#[derive(Default)]
struct Request<'a> {
    build_only: bool,
    out: Option<&'a str>,
    /// Rows of which a table is to be made; then nothing runs.
    table: Option<&'a str>,
    parts: Vec<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut request = Request::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = |what: &str| words.next().ok_or(format!("{word}: a {what} expected"));
            match *word {
                "--build-only" => request.build_only = true,
                "--out" => request.out = Some(value("folder")?),
                "--table" => request.table = Some(value("file")?),
                "--filter" => request.parts.push(value("text")?),
                flag if flag.starts_with('-') => return Err(format!("{flag}: no such flag")),
                part => request.parts.push(part),
            }
        }
        Ok(request)
    }
}

/// Builds the folder and, unless only that was asked for, runs it; its exit code is ours.
pub(crate) fn answer(kit: &Kit, words: &[&str]) -> Result<ExitCode, String> {
    let request = Request::parse(words)?;
    if let Some(file) = request.table {
        if !kit.has_rows() {
            return Err("--table: only gpu-bench has rows".to_string());
        }
        print!("{}", tables(Path::new(file))?);
        return Ok(ExitCode::SUCCESS);
    }
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
    script.arg(folder.join("run.sh")).args(&request.parts);
    let status = script.status().map_err(|e| format!("sh: {e}"))?;
    let code = status.code().map_or(1, |code| code.clamp(0, 255) as u8);
    // 0 or 1: rows were measured.
    if kit.has_rows() && code < 2 {
        print!("\n{}", tables(&folder.join(ROWS))?);
    }
    Ok(ExitCode::from(code))
}

/// The tables of a file of rows.
fn tables(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string());
    text.and_then(|text| table::markdown(&text))
        .map_err(|e| format!("{}: {e}", file.display()))
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
    let glibc = glibc(&fs::read(&program)?);
    fs::copy(program, folder.join(kit.program))?;
    for (from, to) in kit.files {
        copy(&workspace.root.join(from), &folder.join(to))?;
    }
    let script = folder.join("run.sh");
    fs::write(&script, kit.fill(kit.script, glibc))?;
    make_executable(&script)?;
    fs::write(folder.join("README.md"), kit.fill(README, glibc))?;
    Ok(true)
}

/// The newest version of the C library that a program asks for: of all names of versions in it, such as `GLIBC_2.34`.
fn glibc(program: &[u8]) -> Option<[u32; 2]> {
    const NAME: &[u8] = b"GLIBC_";
    let starts = program.windows(NAME.len()).enumerate();
    let names = starts.filter(|(_, word)| *word == NAME);
    let version = |(at, _): (usize, &[u8])| {
        let rest = &program[at + NAME.len()..];
        let is_version = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
        let text: String = rest
            .iter()
            .take_while(is_version)
            .map(|b| char::from(*b))
            .collect();
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        Some([numbers.next()??, numbers.next()??])
    };
    names.filter_map(version).max()
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
        let words = [
            "--build-only",
            "search",
            "--out",
            "there",
            "--filter",
            "gram loss",
        ];
        let request = Request::parse(&words).expect("known words");
        assert!(request.build_only);
        assert_eq!((request.out, request.table), (Some("there"), None));
        assert_eq!(request.parts, ["search", "gram loss"]);
        let table = Request::parse(&["--table", "rows"]).expect("known words");
        assert_eq!(table.table, Some("rows"));
        for wrong in [&["--out"][..], &["--fast"], &["--filter"], &["--table"]] {
            assert!(Request::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(answer(&TEST, &["--table", "rows"]).is_err());
    }

    #[test]
    fn the_newest_version_of_the_c_library_is_found() {
        let program = b"\0GLIBC_2.2.5\0memcpy@GLIBC_2.14\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_2";
        assert_eq!(glibc(program), Some([2, 14]));
        assert_eq!(glibc(b"GLIBC_PRIVATE"), None);
    }

    #[test]
    fn texts_of_the_folder_are_filled() {
        for kit in [&TEST, &BENCH] {
            for text in [kit.script, README] {
                let text = kit.fill(text, Some([2, 34]));
                let names = [
                    "{start}",
                    "{program}",
                    "{machine}",
                    "{glibc}",
                    "{libc}",
                    "{more}",
                ];
                assert!(!names.iter().any(|name| text.contains(name)), "{text}");
                assert!(
                    text.contains("2.34") && text.contains(kit.program),
                    "{text}"
                );
            }
        }
        assert!(TEST.fill(CHECKS, None).contains("\nneeded=\n"));
    }
}
