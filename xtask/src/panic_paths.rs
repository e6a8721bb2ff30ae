//! Where a linked program can panic: the calls of the panic functions, with the lines of source they come
//! from.

use std::fmt::{Display, Formatter};
use std::path::Path;
use std::process::Command;

use crate::tools::{Probe, Tool};

/// The programs that read other machines' programs.
pub(crate) const LLVM: Tool = Tool {
    probe: Probe::Command(&["llvm-objdump-22", "--version"]),
    apt: "llvm-22",
    component: None,
};

/// Lines of source that are shown of each place, from the innermost call on.
const FRAMES: usize = 6;

/// Instructions that may lie between the start of the block that panics and the call in it.
const BLOCK: usize = 16;

/// One place that can panic.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PanicPath {
    /// What is called there.
    panics: String,
    /// The function of the program that calls it.
    within: String,
    /// `file:line:column function`, from the innermost on.
    frames: Vec<String>,
}

impl PanicPath {
    /// Whether all that panics there is a future that is polled after its end.
    pub(crate) fn is_resumed_future(&self) -> bool {
        self.panics.ends_with("::panic_const_async_fn_resumed")
    }
}

impl Display for PanicPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.panics, self.within)?;
        for frame in self.frames.iter().take(FRAMES) {
            write!(f, "\n    {frame}")?;
        }
        Ok(())
    }
}

/// Every place of a program that can panic, each once. It needs line tables.
pub(crate) fn of(program: &Path, root: &Path) -> Result<Vec<PanicPath>, String> {
    let options = ["--disassemble", "--demangle", "--no-show-raw-insn"];
    let code = llvm("objdump", &options, program)?;
    let calls = calls(&instructions(&code));
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let addresses: Vec<String> = calls
        .iter()
        .flat_map(|call| &call.places)
        .map(|address| format!("{address:#x}"))
        .collect();
    let mut options = vec!["--inlines", "--demangle"];
    options.extend(addresses.iter().map(String::as_str));
    options.push("--obj");
    let answer = llvm("symbolizer", &options, program)?;
    let mut answers = answer.split("\n\n");
    let mut paths = Vec::new();
    for call in calls {
        let found: Vec<_> = answers.by_ref().take(call.places.len()).collect();
        let frames = found.into_iter().map(|answer| frames(answer, root));
        let (exact, merged): (Vec<_>, Vec<_>) = frames.partition(|frames| is_exact(frames));
        let frames = if exact.is_empty() { merged } else { exact };
        paths.extend(frames.into_iter().map(|frames| PanicPath {
            panics: call.panics.to_string(),
            within: call.within.to_string(),
            frames,
        }));
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Whether an instruction has one place in the source: one that the compiler merged of several has line or
/// column 0.
fn is_exact(frames: &[String]) -> bool {
    let place = frames.first().and_then(|frame| frame.split(' ').next());
    place.is_some_and(|place| !place.ends_with(":0"))
}

/// What one of LLVM's tools prints about a program.
pub(crate) fn llvm(tool: &str, options: &[&str], program: &Path) -> Result<String, String> {
    let name = format!("llvm-{tool}-22");
    let output = Command::new(&name)
        .args(options)
        .arg(program)
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// One line of a disassembly, such as `402b2: bl 0x7c3a0 <core::panicking::panic_fmt> @ imm = #0x3c0ea`.
#[derive(Clone, Copy, Debug)]
struct Instruction<'a> {
    address: u64,
    /// Mnemonic and operands.
    text: &'a str,
    /// The function that it stands in.
    within: &'a str,
}

impl<'a> Instruction<'a> {
    /// The address and the name that it calls or jumps to.
    fn target(self) -> Option<(u64, &'a str)> {
        let (operands, name) = self.text.split_once(" <")?;
        let (_, address) = operands.rsplit_once("0x")?;
        let name = name.split(" @ ").next()?.trim().strip_suffix('>')?;
        Some((u64::from_str_radix(address, 16).ok()?, name))
    }

    /// The function that panics, if this calls one from one that is not itself such a function.
    fn panics(self) -> Option<&'a str> {
        let (_, name) = self.target()?;
        (is_panic(name) && !is_panic(self.within)).then_some(name)
    }

    /// Whether the next instruction is not reached from this one.
    fn ends_block(self) -> bool {
        let mnemonic = self.text.split_whitespace().next().unwrap_or_default();
        let returns = matches!(mnemonic, "bx" | "udf" | ".word" | "trap");
        let jumps = matches!(mnemonic, "b" | "b.w" | "b.n");
        let pops = mnemonic.starts_with("pop") && self.text.contains("pc");
        returns || jumps || pops || self.panics().is_some()
    }
}

/// The instructions of a disassembly.
fn instructions(code: &str) -> Vec<Instruction<'_>> {
    let mut within = "";
    let mut instructions = Vec::new();
    for line in code.lines() {
        if let Some((_, name)) = line
            .strip_suffix(">:")
            .and_then(|line| line.split_once(" <"))
        {
            within = name;
        } else if let Some((address, text)) = line.trim().split_once(':')
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            let text = text.trim();
            instructions.push(Instruction {
                address,
                text,
                within,
            });
        }
    }
    instructions
}

/// A call of a function that panics.
#[derive(Debug, PartialEq, Eq)]
struct Call<'a> {
    within: &'a str,
    panics: &'a str,
    /// The call, and the jumps to the block that it ends: the compiler merges calls of several places into
    /// one, and only the jumps still know theirs.
    places: Vec<u64>,
}

/// The calls of functions that panic.
fn calls<'a>(instructions: &[Instruction<'a>]) -> Vec<Call<'a>> {
    let mut calls = Vec::new();
    for (index, call) in instructions.iter().enumerate() {
        let Some(panics) = call.panics() else {
            continue;
        };
        let before = instructions[..index].iter().rev();
        let block = before
            .take(BLOCK)
            .take_while(|other| other.within == call.within && !other.ends_block());
        let start = block.last().unwrap_or(call).address;
        let jumps = instructions.iter().filter(|jump| {
            let target = jump.target().map(|(address, _)| address);
            jump.within == call.within
                && target.is_some_and(|target| (start..=call.address).contains(&target))
        });
        let places = std::iter::once(call).chain(jumps);
        calls.push(Call {
            within: call.within,
            panics,
            places: places.map(|place| place.address).collect(),
        });
    }
    calls
}

/// Whether the library's function of this name does nothing but panic.
fn is_panic(name: &str) -> bool {
    let of_library = name.starts_with("core::") || name.contains("rust_begin_unwind");
    let into_the_middle = name.contains("+0x");
    let panics = ["panic", "_fail", "unwind"];
    of_library && !into_the_middle && panics.iter().any(|word| name.contains(word))
}

/// The lines of source that a symbolizer names: pairs of function and place.
fn frames(answer: &str, root: &Path) -> Vec<String> {
    let lines: Vec<&str> = answer.lines().filter(|line| !line.is_empty()).collect();
    let root = root.to_string_lossy();
    let pairs = lines.chunks_exact(2).map(|pair| {
        let place = match pair[1].strip_prefix(&*root) {
            Some(own) => own.trim_start_matches('/'),
            None => pair[1],
        };
        format!("{place} {}", pair[0])
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\
0007c3a0 <core::panicking::panic_fmt>:
   7c3a8: bl 0x0 <__rustc::rust_begin_unwind> @ imm = #0x0

00020bf4 <no_panic::eisl::room::<f32>>:
   20cbc: cbz r0, 0x402b0 <no_panic::eisl::room::<f32>+0x11c> @ imm = #0x50
   20cbe: bhs.w\t0x20cf0 <no_panic::eisl::room::<f32>+0x11c> @ imm = #0x50
   402ae: b 0x20cbc <no_panic::eisl::room::<f32>+0xc8> @ imm = #0x0
   402b0: movs r0, #0x1
   402b2: bl 0x7c3a0 <core::panicking::panic_fmt> @ imm = #0x3c0ea
   402b6: bl 0x7c3b0 <core::slice::index::slice_index_fail> @ imm = #0x3c0ea
";

    #[test]
    fn calls_are_found_with_the_jumps_to_them() {
        let call = |panics, places: &[u64]| Call {
            within: "no_panic::eisl::room::<f32>",
            panics,
            places: places.to_vec(),
        };
        let want = [
            call("core::panicking::panic_fmt", &[0x402b2, 0x20cbc]),
            call("core::slice::index::slice_index_fail", &[0x402b6]),
        ];
        assert_eq!(calls(&instructions(CODE)), want);
    }

    #[test]
    fn a_future_after_its_end_is_told_from_other_panics() {
        let of = |panics: &str| PanicPath {
            panics: panics.to_string(),
            within: String::new(),
            frames: Vec::new(),
        };
        let resumed = "core::panicking::panic_const::panic_const_async_fn_resumed";
        assert!(of(resumed).is_resumed_future());
        assert!(!of("core::panicking::panic_fmt").is_resumed_future());
        assert!(!of("core::panicking::panic_bounds_check").is_resumed_future());
    }

    #[test]
    fn lines_are_read_from_the_innermost_on() {
        let answer =
            "distances\n/root/core/src/gram/pair.rs:202:14\nrun\n/root/core/src/lanes.rs:222:0\n";
        let frames = frames(answer, Path::new("/root"));
        let want = [
            "core/src/gram/pair.rs:202:14 distances",
            "core/src/lanes.rs:222:0 run",
        ];
        assert_eq!(frames, want);
        assert!(is_exact(&frames));
        assert!(!is_exact(&frames[1..]));
    }
}
