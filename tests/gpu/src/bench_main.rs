//! `gpu-bench`: what the kernels take on a real GPU, a JSON object a line; the ceiling first. It needs the driver and nothing
//! else. Exit codes: 0 all measured, 1 a work failed, 2 wrong usage, 3 nothing ran on a GPU.

use std::process::ExitCode;

use rivergram::cuda::{Device, Failure};
use rivergram_gpu::bench::{Scale, WORKS};
use serde_json::json;

/// Nothing ran on a GPU.
const NO_GPU: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let part = match words.as_slice() {
        [] => "",
        [word] if !word.starts_with('-') => word,
        _ => {
            println!(
                "Usage: gpu-bench [PART]   the works whose names contain PART, else all; a JSON object a line"
            );
            return ExitCode::from(2);
        }
    };
    let device = match Device::open() {
        Ok(device) => device,
        Err(failure) => {
            eprintln!("nothing ran on a GPU: {failure}");
            return ExitCode::from(NO_GPU);
        }
    };
    let properties = device.properties();
    let (major, minor) = properties.capability;
    let mut failed = false;
    // GB/s of the copy, once it was measured.
    let mut ceiling = None;
    for work in WORKS
        .iter()
        .filter(|work| work.name.contains(part) || work.name == "copy")
    {
        match (work.run)(&device, Scale::Full) {
            Ok(line) => {
                let median = line.median();
                let bandwidth = (line.bytes > 0.0).then(|| line.bytes / median / 1e6);
                if work.name == "copy" {
                    ceiling = bandwidth;
                }
                let of_copy = bandwidth.zip(ceiling).map(|(own, copy)| own / copy);
                let rate = (line.operations > 0.0).then(|| line.operations / median / 1e9);
                let object = json!({
                    "work": line.work,
                    "by": "rivergram",
                    "device": properties.name,
                    "capability": format!("{major}.{minor}"),
                    "ms": median,
                    "least_ms": line.times.first(),
                    "most_ms": line.times.last(),
                    "rounds": line.times.len(),
                    "gb_s": bandwidth,
                    "of_copy": of_copy,
                    "tflop_s": rate,
                    "extra_mb": line.extra.map(|bytes| bytes as f64 / 1e6),
                });
                println!("{object}");
            }
            Err(failure @ Failure::NoKernel(_)) => eprintln!("{}: {failure}", work.name),
            Err(failure) => {
                eprintln!("error: {}: {failure}", work.name);
                failed = true;
            }
        }
        device.release();
    }
    ExitCode::from(u8::from(failed))
}
