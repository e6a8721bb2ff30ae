//! Programs for bare machines, run by QEMU: the boards, a time limit, and what a program printed by semihosting.

use std::fmt::{Display, Formatter};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::tools::{Probe, Tool};

/// What emulates the boards with a Cortex-M.
pub(crate) const ARM: Tool = Tool {
    probe: Probe::Command(&["qemu-system-arm", "--version"]),
    apt: "qemu-system-arm",
    component: None,
};

/// What emulates the boards with RISC-V.
pub(crate) const RISCV: Tool = Tool {
    probe: Probe::Command(&["qemu-system-riscv32", "--version"]),
    apt: "qemu-system-misc",
    component: None,
};

/// A machine that QEMU emulates, and the target that it stands for: `tests/firmware/board` has its memory.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) name: &'static str,
    pub(crate) triple: &'static str,
    /// The emulator and the words that choose the machine.
    machine: &'static [&'static str],
}

/// Every board.
pub(crate) const BOARDS: [Board; 6] = [
    Board {
        name: "cortex-m0",
        triple: "thumbv6m-none-eabi",
        machine: &["qemu-system-arm", "-M", "microbit"],
    },
    Board {
        name: "cortex-m3",
        triple: "thumbv7m-none-eabi",
        machine: &["qemu-system-arm", "-M", "mps2-an385"],
    },
    Board {
        name: "cortex-m4f",
        triple: "thumbv7em-none-eabihf",
        machine: &["qemu-system-arm", "-M", "mps2-an386"],
    },
    Board {
        name: "cortex-m33",
        triple: "thumbv8m.main-none-eabihf",
        machine: &["qemu-system-arm", "-M", "mps2-an505"],
    },
    Board {
        name: "rv32imac",
        triple: "riscv32imac-unknown-none-elf",
        machine: &["qemu-system-riscv32", "-M", "virt", "-bios", "none"],
    },
    Board {
        name: "rv32imafc",
        triple: "riscv32imafc-unknown-none-elf",
        machine: &["qemu-system-riscv32", "-M", "virt", "-bios", "none"],
    },
];

/// Nothing but the processor and semihosting.
const QUIET: &str =
    "-display none -serial none -monitor none -semihosting-config enable=on,target=native";

/// What a program did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it exited with; nothing where it ran into the limit or QEMU was killed.
    pub(crate) code: Option<i32>,
    /// What it wrote to its standard output.
    pub(crate) output: Vec<u8>,
    /// What QEMU, or the program, wrote to the standard error.
    pub(crate) errors: String,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "did not end")?,
        }
        let output = String::from_utf8_lossy(&self.output);
        for text in [&*output, &*self.errors].map(str::trim_end) {
            if !text.is_empty() {
                write!(f, "\n{text}")?;
            }
        }
        Ok(())
    }
}

impl Board {
    /// The version of the emulator.
    pub(crate) fn version(&self) -> Result<String, String> {
        let emulator = self.machine[0];
        let mut command = Command::new(emulator);
        let outcome = outcome(command.arg("--version"), Duration::from_secs(60));
        let outcome = outcome.map_err(|error| format!("{emulator}: {error}"))?;
        let text = String::from_utf8_lossy(&outcome.output);
        let line = text.lines().next().unwrap_or_default();
        Ok(line.replace("emulator version ", ""))
    }

    /// Runs a program for at most `limit`; `more` are words for QEMU, such as `-icount shift=0`.
    pub(crate) fn run(
        &self,
        program: &Path,
        limit: Duration,
        more: &[&str],
    ) -> Result<Outcome, String> {
        self.run_in(Path::new("."), program, limit, more)
    }

    /// [`Board::run`] in a folder, whose files the program may open by name.
    pub(crate) fn run_in(
        &self,
        folder: &Path,
        program: &Path,
        limit: Duration,
        more: &[&str],
    ) -> Result<Outcome, String> {
        let (emulator, machine) = self.machine.split_first().ok_or("no emulator")?;
        let mut command = Command::new(emulator);
        command.current_dir(folder);
        command.args(machine).args(QUIET.split(' ')).args(more);
        command.arg("-kernel").arg(program);
        outcome(&mut command, limit).map_err(|error| format!("{emulator}: {error}"))
    }
}

/// Runs a command for at most `limit`.
fn outcome(command: &mut Command, limit: Duration) -> std::io::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = collect(child.stdout.take());
    let errors = collect(child.stderr.take());
    let code = wait(&mut child, limit)?;
    Ok(Outcome {
        code,
        output: output.join().unwrap_or_default(),
        errors: String::from_utf8_lossy(&errors.join().unwrap_or_default()).into_owned(),
    })
}

/// Reads a pipe to its end, beside the process that fills it.
fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is kept.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The exit code; nothing where the process was killed, by this function once the limit has passed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<i32>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: u64) -> Outcome {
        let mut command = Command::new("sh");
        let limit = Duration::from_millis(limit);
        outcome(command.args(["-c", script]), limit).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn code_and_output_are_kept() {
        let outcome = shell("echo out; echo err >&2; exit 7", 60_000);
        assert_eq!(outcome.code, Some(7));
        assert_eq!(outcome.output, b"out\n");
        assert_eq!(outcome.errors, "err\n");
        assert_eq!(outcome.to_string(), "exit code 7\nout\nerr");
    }

    #[test]
    fn what_runs_too_long_is_ended_and_its_output_kept() {
        let outcome = shell("echo out; exec sleep 60", 200);
        assert_eq!((outcome.code, &outcome.output[..]), (None, &b"out\n"[..]));
    }

    #[test]
    fn boards_have_targets_of_their_own() {
        for (index, board) in BOARDS.iter().enumerate() {
            let others = &BOARDS[index + 1..];
            assert!(others.iter().all(|other| other.triple != board.triple));
            assert!(others.iter().all(|other| other.name != board.name));
        }
    }
}
