//! The kernels as PTX: built by rustc's own backend, compared with what is committed, and assembled.
//!
//! The PTX is what the compiler makes of it, so its files name their compiler. With another one the bytes are not
//! compared; that it assembles, and which kernels it has, is. The same holds for the table of resources and the assembler.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Part;
use crate::cross::{self, Library, Toolchain};
use crate::job::{Job, say, side_by_side, spelled};
use crate::workspace::Workspace;

pub(super) const PART: Part = Part {
    name: "ptx",
    about: "the kernels' PTX is what their source gives, and assembles without spills or a stack",
    tools: &[cross::COMPILER],
    run,
};

/// The GPUs that PTX is built for: Turing, Ampere, Orin, Hopper. A later one takes the newest of them.
const ARCHITECTURES: [&str; 4] = ["sm_75", "sm_80", "sm_87", "sm_90"];
/// What else the newest PTX must assemble for.
const LATER: &str = "sm_120";
/// Where the files are.
const FOLDER: &str = "cuda-kernels/ptx";
/// The package of the registry of Python that has the assembler, at the version that made the table.
const WHEEL: &str = "nvidia-cuda-nvcc==13.5.37";

/// Threads of a block of those kernels of which two blocks must be on a multiprocessor at a time, so that one multiplies
/// while the other waits: the assembler keeps within the registers for that, 128 a thread. They are in the PTX, since the
/// compiler has no attribute for it. More threads cannot be started then. Only kernels that spill on no target are here; of
/// `volumes_tf32`, `volumes_bf16` and `gram_scores_tf32` one block takes all registers.
const TWO_BLOCKS: [(&str, u32); 5] = [
    ("nearest_f16", 256),
    ("nearest_bf16", 256),
    ("nearest_i8", 256),
    ("gram_anchors_product_tf32", 256),
    ("gram_items_product_tf32", 256),
];

fn run(job: &mut Job<'_>) {
    let Some(ptxas) = ptxas(job.workspace) else {
        return job
            .fail("there is no ptxas: run with --setup, or put one where programs are found");
    };
    let mut table = Table::default();
    let workspace = job.workspace;
    // Most of a build is one piece of code, which one core works on.
    let built = side_by_side(&ARCHITECTURES, |architecture| {
        build(workspace, architecture)
    });
    for (architecture, built) in ARCHITECTURES.into_iter().zip(built) {
        let text = match built {
            Ok(text) => text,
            Err(why) => return job.fail(why),
        };
        for fault in faults(&text) {
            job.fail(format_args!("{architecture}: {fault}"));
        }
        let file = Path::new(FOLDER).join(format!("{architecture}.ptx"));
        compare(job, &file, &text, entries);
        let path = job.workspace.root.join(&file);
        let newest = Some(&architecture) == ARCHITECTURES.last();
        for target in [Some(architecture), newest.then_some(LATER)] {
            let Some(target) = target else { continue };
            match assemble(&ptxas, &path, target) {
                Ok(kernels) => table.add(target, kernels),
                Err(why) => job.fail(why),
            }
        }
    }
    for (kernel, target) in table.spilling() {
        job.fail(format_args!("{kernel} on {target} spills or has a stack"));
    }
    let version = ask(Command::new(&ptxas).arg("--version")).unwrap_or_default();
    let release = version.lines().find(|line| line.contains("release"));
    let text = table.text(release.unwrap_or("an unknown ptxas"));
    compare(
        job,
        &Path::new(FOLDER).join("resources.md"),
        &text,
        |text| {
            text.lines()
                .filter_map(|line| line.split('|').nth(1))
                .collect()
        },
    );
}

/// The PTX of the kernels, headed by the name of its compiler.
fn build(workspace: &Workspace, architecture: &str) -> Result<String, String> {
    let folder = workspace.target.join("ptx").join(architecture);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let out = folder.join("kernels.ptx");
    let emit = format!("--emit=asm={}", out.display());
    let mut command = Toolchain::Debian.cargo(
        workspace,
        Library::Core,
        &[
            "rustc",
            "--package=rivergram-cuda-kernels",
            "--release",
            "--target=nvptx64-nvidia-cuda",
            "--crate-type=cdylib",
        ],
    );
    // Nothing is linked: the assembly is the result. An array is in registers only where all its indices are known, so
    // loops over the numbers of a thread must be unrolled whole, however long they become.
    let flags = format!(
        "-Ctarget-cpu={architecture} -Zcross-crate-inline-threshold=always -Clinker=/bin/true \
         -Cllvm-args=-unroll-threshold=1000"
    );
    command
        .args(["--", &emit])
        .env("RUSTFLAGS", flags)
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        // One for each architecture: the library `core` is compiled for it.
        .env("CARGO_TARGET_DIR", &folder);
    say(&format!("$ {}", spelled(&command)));
    // Not through the job, which runs one command at a time: nothing is counted here.
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(_) => return Err(format!("{architecture}: the kernels do not compile")),
        Err(error) => return Err(format!("{architecture}: {error}")),
    }
    let text = std::fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let compiler = Toolchain::Debian.version()?;
    let text =
        with_blocks(&text).map_err(|kernel| format!("{architecture}: {kernel} has no body"))?;
    Ok(format!("// {compiler}\n{text}"))
}

/// The text with [`TWO_BLOCKS`]. A kernel that is not there is passed over: some GPUs have none on tensor cores.
fn with_blocks(text: &str) -> Result<String, &'static str> {
    let mut text = text.to_string();
    for (kernel, threads) in TWO_BLOCKS {
        let Some(start) = text.find(&format!(".visible .entry {kernel}(")) else {
            continue;
        };
        // What a kernel promises stands between its parameters and its body.
        let parameters = text[start..].find("\n)\n{").ok_or(kernel)?;
        let bounds = format!(".maxntid {threads}, 1, 1\n.minnctapersm 2\n");
        text.insert_str(start + parameters + 3, &bounds);
    }
    Ok(text)
}

/// Compares a text with the committed one, or writes it. Where another tool made that one, as its first line says, only
/// the parts that do not depend on it are compared.
fn compare<'t>(
    job: &mut Job<'_>,
    file: &Path,
    text: &'t str,
    fixed: impl for<'a> Fn(&'a str) -> Vec<&'a str>,
) {
    let path = job.workspace.root.join(file);
    let file = file.display();
    if job.bless {
        if let Err(error) = std::fs::write(&path, text) {
            job.fail(format_args!("{file}: {error}"));
        }
        return;
    }
    let stored = match std::fs::read_to_string(&path) {
        Ok(stored) => stored,
        Err(error) => return job.fail(format_args!("{file}: {error}")),
    };
    let same_tool = stored.lines().next() == text.lines().next();
    if !same_tool {
        let [made, here] = [&stored, text].map(|text| text.lines().next().unwrap_or_default());
        say(&format!(
            "{file}: made by `{made}`, here is `{here}`: bytes are not compared"
        ));
    }
    let same = if same_tool {
        stored == text
    } else {
        fixed(&stored) == fixed(text)
    };
    if !same {
        job.fail(format_args!(
            "{file} is not what the source gives: `cargo xtask ptx` writes it"
        ));
    }
}

/// The kernels of a PTX text, in its order.
fn entries(ptx: &str) -> Vec<&str> {
    let starts = ptx
        .lines()
        .filter_map(|line| line.strip_prefix(".visible .entry "));
    starts.filter_map(|line| line.split('(').next()).collect()
}

/// What no kernel may have: a function that is called, such as of a panic; memory of its own, which is slow; a symbol that
/// nobody defines, which the assembler accepts.
fn faults(ptx: &str) -> Vec<String> {
    let is_fault = |line: &&str| {
        let line = line.trim_start();
        let foreign = line.starts_with(".extern") && !line.starts_with(".extern .shared");
        foreign || line.starts_with(".func") || line.starts_with(".local")
    };
    ptx.lines().filter(is_fault).map(str::to_string).collect()
}

/// What a kernel takes of a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Resources {
    registers: u32,
    shared: u32,
    stack: u32,
    spills: u32,
}

/// Kernels by name, and by target.
#[derive(Default)]
struct Table(BTreeMap<String, Vec<(&'static str, Resources)>>);

impl Table {
    fn add(&mut self, target: &'static str, kernels: Vec<(String, Resources)>) {
        for (kernel, resources) in kernels {
            self.0.entry(kernel).or_default().push((target, resources));
        }
    }

    fn spilling(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(kernel, list)| {
            let bad = list.iter().filter(|(_, r)| r.stack > 0 || r.spills > 0);
            bad.map(|(target, _)| (kernel.as_str(), *target))
        })
    }

    fn text(&self, ptxas: &str) -> String {
        let mut text = format!(
            "<!-- {ptxas} -->\n# What the kernels take of a GPU\n\n\
             By `cargo xtask ptx`, from ptxas; no kernel has run on hardware yet. Shared memory is what a kernel declares \
             itself, in bytes; what its launch asks for comes besides.\n\n\
             | kernel | target | registers | shared | stack | spills |\n|---|---|---|---|---|---|\n"
        );
        for (kernel, list) in &self.0 {
            for (target, r) in list {
                let Resources {
                    registers,
                    shared,
                    stack,
                    spills,
                } = r;
                let _ = writeln!(
                    text,
                    "| {kernel} | {target} | {registers} | {shared} | {stack} | {spills} |"
                );
            }
        }
        text
    }
}

/// What the kernels of a file take, by the assembler.
fn assemble(ptxas: &Path, file: &Path, target: &str) -> Result<Vec<(String, Resources)>, String> {
    let mut command = Command::new(ptxas);
    command
        .args(["-v", "-arch", target, "-o", "/dev/null"])
        .arg(file);
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", ptxas.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} for {target}: {said}", file.display()));
    }
    Ok(resources(&said))
}

/// Reads what the assembler says of each kernel.
fn resources(said: &str) -> Vec<(String, Resources)> {
    let mut kernels: Vec<(String, Resources)> = Vec::new();
    for line in said.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            kernels.push((name.trim().to_string(), Resources::default()));
        }
        let Some((_, kernel)) = kernels.last_mut() else {
            continue;
        };
        // Each number stands before its name.
        let number = |name: &str| {
            let before = line.split_once(name)?.0.trim_end();
            let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        };
        kernel.stack += number("bytes stack frame").unwrap_or(0);
        kernel.spills += number("bytes spill stores").unwrap_or(0);
        kernel.spills += number("bytes spill loads").unwrap_or(0);
        kernel.registers += number("registers").unwrap_or(0);
        kernel.shared += number("bytes smem").unwrap_or(0);
    }
    kernels
}

/// Where `--setup` puts the assembler.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("ptxas")
}

/// The assembler: that of `--setup`, else one on the search path.
fn ptxas(workspace: &Workspace) -> Option<PathBuf> {
    let own = folder(workspace).join("nvidia/cu13/bin/ptxas");
    [own, PathBuf::from("ptxas")]
        .into_iter()
        .find(|ptxas| ask(Command::new(ptxas).arg("--version")).is_some())
}

/// Gets the assembler from the registry of Python, where there is none.
pub(crate) fn setup(workspace: &Workspace) {
    if ptxas(workspace).is_some() {
        return;
    }
    let folder = folder(workspace);
    say(&format!("setup: {WHEEL} to {}", folder.display()));
    if let Err(why) = fetch(&folder) {
        say(&format!("setup: {why}"));
    }
}

fn fetch(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let mut download = Command::new("python3");
    download
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            WHEEL,
            "--dest",
        ])
        .arg(folder);
    ask(&mut download).ok_or("pip could not download it")?;
    let mut files = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "whl");
    let wheel = files
        .find_map(|file| file.ok().map(|file| file.path()).filter(is_wheel))
        .ok_or("pip left no wheel")?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder);
    ask(&mut unpack).ok_or("the wheel does not unpack")?;
    // An archive of Python does not keep who may run a file.
    let mut permit = Command::new("chmod");
    permit.arg("+x").arg(folder.join("nvidia/cu13/bin/ptxas"));
    ask(&mut permit).ok_or("there is no ptxas in the wheel")?;
    Ok(())
}

/// What a command says, where it succeeds.
fn ask(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes smem, 408 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_80'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 9 registers, used 0 barriers
";

    #[test]
    fn what_the_assembler_says_is_read() {
        let kernels = resources(SAID);
        let a = Resources {
            registers: 40,
            shared: 16,
            stack: 8,
            spills: 16,
        };
        let b = Resources {
            registers: 9,
            ..Resources::default()
        };
        assert_eq!(kernels, [("a".to_string(), a), ("b".to_string(), b)]);
        let mut table = Table::default();
        table.add("sm_80", kernels);
        assert_eq!(table.spilling().collect::<Vec<_>>(), [("a", "sm_80")]);
        assert!(table.text("x").contains("| a | sm_80 | 40 | 16 | 8 | 16 |"));
    }

    #[test]
    fn a_kernel_says_how_many_blocks_it_wants() {
        let ptx = ".visible .entry nearest_f16(\n\t.param .b8 p[8]\n)\n{\n}\n.visible .entry merge(\n)\n{\n}\n";
        let want = ".visible .entry nearest_f16(\n\t.param .b8 p[8]\n)\n.maxntid 256, 1, 1\n.minnctapersm 2\n{\n}\n\
                    .visible .entry merge(\n)\n{\n}\n";
        assert_eq!(with_blocks(ptx).as_deref(), Ok(want));
        assert_eq!(
            with_blocks(".visible .entry nearest_i8("),
            Err("nearest_i8")
        );
    }

    #[test]
    fn what_a_kernel_may_not_have_is_found() {
        let ptx = ".extern .shared .align 16 .b8 s[];\n.extern .global .b8 t[];\n.visible .entry a(\n)\n{\n\
                   \t.local .align 8 .b8 depot[8];\n}\n.func f()\n";
        assert_eq!(entries(ptx), ["a"]);
        let found = faults(ptx);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(faults(".extern .shared .b8 s[];\n.visible .entry a(\n").is_empty());
    }
}
