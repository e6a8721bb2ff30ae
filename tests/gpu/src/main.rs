//! `gpu-test`: the checks on a real GPU. It needs the driver and nothing else.
//!
//! Exit codes: 0 all passed, 1 a check failed, 2 wrong usage, 3 nothing ran on a GPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use rivergram::cuda::{Device, Precision};
use rivergram_gpu::{ALL, Check};

/// Nothing ran on a GPU.
const NO_GPU: u8 = 3;

const HELP: &str = "\
Runs the checks of rivergram's kernels on the first NVIDIA GPU.

Usage: gpu-test [PART...]   the checks whose names contain a PART, else all

Exit codes: 0 all passed, 1 a check failed, 2 wrong usage, 3 nothing ran on a GPU.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word.starts_with('-')) {
        print!("{HELP}");
        return ExitCode::from(2);
    }
    let has = |check: &Check, part: &String| check.name.contains(part.as_str());
    if let Some(part) = words.iter().find(|part| !ALL.iter().any(|c| has(c, part))) {
        eprintln!("error: no check is called {part:?}");
        return ExitCode::from(2);
    }
    let is_asked = |check: &&Check| words.is_empty() || words.iter().any(|part| has(check, part));
    let checks: Vec<&Check> = ALL.iter().filter(is_asked).collect();
    let device = match Device::open() {
        Ok(device) => device,
        Err(failure) => {
            println!("nothing ran on a GPU: {failure}");
            return ExitCode::from(NO_GPU);
        }
    };
    let properties = device.properties();
    let (major, minor) = properties.capability;
    println!(
        "{}, compute capability {major}.{minor}, {} multiprocessors",
        properties.name, properties.multiprocessors
    );
    let mut failed = 0;
    for check in &checks {
        let began = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| (check.run)(&device))).is_ok();
        // A check that ended early may have left what it set.
        device.limit(None);
        device.set_precision(Precision::Exact);
        let word = if passed { "ok" } else { "FAILED" };
        let seconds = began.elapsed().as_secs_f64();
        println!("{word:<8}{seconds:>7.2} s  {}", check.name);
        failed += usize::from(!passed);
    }
    println!("{} passed, {failed} failed", checks.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}
