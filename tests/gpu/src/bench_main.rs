//! `gpu-bench`: what the kernels take on a real GPU, a JSON object a line; the ceiling first. It needs the driver and nothing
//! else. Exit codes: 0 all measured, 1 a work failed, 2 wrong usage, 3 nothing ran on a GPU.

use std::process::ExitCode;

use rivergram::cuda::driver::Properties;
use rivergram::cuda::{Device, Failure};
use rivergram_gpu::bench::{Line, Scale, WORKS, Work, selected};
use serde_json::{Value, json};

/// Nothing ran on a GPU.
const NO_GPU: u8 = 3;

const HELP: &str = "\
What the kernels of rivergram take on the first NVIDIA GPU, a JSON object a line.

Usage: gpu-bench [--list] [PART...]   the works whose names contain a PART, else all; the copy in any case

  --list   their names, a line each; nothing is measured, and no GPU is needed

The rows have the date and the driver of RIVERGRAM_BENCH_DATE and RIVERGRAM_BENCH_DRIVER, which run.sh sets.
Exit codes: 0 all measured, 1 a work failed, 2 wrong usage, 3 nothing ran on a GPU.
";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let list = words.first().is_some_and(|word| word == "--list");
    words.drain(..usize::from(list));
    if words.iter().any(|word| word.starts_with('-')) {
        print!("{HELP}");
        return ExitCode::from(2);
    }
    let works = match selected(&words) {
        Ok(works) => works,
        Err(why) => {
            let names: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
            eprintln!("error: {why}; there are: {}", names.join(", "));
            return ExitCode::from(2);
        }
    };
    if list {
        for work in works {
            println!("{}", work.name);
        }
        return ExitCode::SUCCESS;
    }
    match Device::open() {
        Ok(device) => ExitCode::from(u8::from(!measure(&device, &works))),
        Err(failure) => {
            eprintln!("nothing ran on a GPU: {failure}");
            ExitCode::from(NO_GPU)
        }
    }
}

/// Prints the row of each work; whether all were measured that have a kernel there.
fn measure(device: &Device, works: &[&Work]) -> bool {
    let mut all = true;
    // GB/s of the copy, once it was measured.
    let mut ceiling = None;
    for work in works {
        let found = (work.run)(device, Scale::Full);
        if let Err(failure) = &found {
            eprintln!("{}: {failure}", work.name);
            all &= matches!(failure, Failure::NoKernel(_));
        }
        let own = match found {
            Ok(line) => {
                if work.name == "copy" {
                    ceiling = bandwidth(&line);
                }
                figures(&line, ceiling)
            }
            Err(failure) => json!({ "error": failure.to_string() }),
        };
        println!("{}", row(device.properties(), work.name, own));
        device.release();
    }
    all
}

/// GB/s, where bytes are counted.
fn bandwidth(line: &Line) -> Option<f64> {
    (line.bytes > 0.0).then(|| line.bytes / line.median() / 1e6)
}

fn figures(line: &Line, ceiling: Option<f64>) -> Value {
    let bandwidth = bandwidth(line);
    json!({
        "work": line.work,
        "ms": line.median(),
        "least_ms": line.times.first(),
        "most_ms": line.times.last(),
        "rounds": line.times.len(),
        "gb_s": bandwidth,
        "of_copy": bandwidth.zip(ceiling).map(|(own, copy)| own / copy),
        "tflop_s": (line.operations > 0.0).then(|| line.operations / line.median() / 1e9),
        "extra_mb": line.extra.map(|bytes| bytes as f64 / 1e6),
    })
}

/// What every row has, and its own.
fn row(properties: &Properties, name: &str, own: Value) -> Value {
    let (major, minor) = properties.capability;
    let mut row = json!({
        "name": name,
        "by": "rivergram",
        "date": std::env::var("RIVERGRAM_BENCH_DATE").ok(),
        "device": properties.name,
        "capability": format!("{major}.{minor}"),
        "driver": std::env::var("RIVERGRAM_BENCH_DRIVER").ok(),
    });
    if let (Some(row), Value::Object(own)) = (row.as_object_mut(), own) {
        row.extend(own);
    }
    row
}
