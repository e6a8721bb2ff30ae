//! `cargo xtask`: the commands of this workspace that are more than one call of cargo.

mod bench;
mod cross;
mod gpu;
mod job;
mod panic_paths;
mod parts;
mod qemu;
mod size;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
The commands of this workspace that are more than one call of cargo.

Usage: cargo xtask <COMMAND>

Commands:
  test [--setup] [--list] [PART...]   run the checks and tests, all of them or the named parts
  size [--setup] [--check]            measure what functions cost on microcontrollers: write docs/size.md, or
                                      compare with it
  bench [--filter TEXT] [--json] [--peers] [--quick] [--path PATH]
                                      measure rivergram beside its floors and its rivals; `bench --help` says more
  firmware [--setup] [--bless]        run the firmware under QEMU and compare what it prints with
                                      tests/firmware/snapshots, or write them anew
  ptx [--setup] [--check]             build the kernels' PTX and assemble it: write cuda-kernels/ptx, or compare with it
  gpu-test [--build-only] [--out FOLDER] [PART...]
                                      build the checks of the kernels in a folder that needs no Rust, and run it on this
                                      machine's GPU; exit code 3: nothing ran on a GPU
  gpu-bench [--build-only] [--out FOLDER] [PART...]
                                      the same with what the kernels take, beside torch where it is installed: JSON
                                      lines, and tables with the bars; `bench --path cuda [--filter TEXT]` is the same
  gpu-bench --table FILE              the tables of rows that were measured elsewhere
  faults [--setup]                    inject every fault of the stores for some minutes: power cuts at every write,
                                      kills, full disks, damage, firmware cut under QEMU
  help                                print this

Examples:
  cargo xtask test --setup            everything; missing system packages are installed first
  cargo xtask test fmt clippy         two parts, in the order of the list
  cargo xtask test --list             the parts, a line each
  cargo xtask bench --filter EISL     what the sequence loss takes, beside cross-entropy
  CARGO_TARGET_DIR=/tmp/t cargo xtask test

The last line is the count: `N passed, N failed`, then `, N skipped` where tests are ignored.
Exit code: 0 all passed, 1 something failed, 2 wrong usage.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let asks_help = |words: &[&str]| words.iter().any(|word| matches!(*word, "-h" | "--help"));
    match arguments.as_slice() {
        [] | ["help", ..] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["bench", words @ ..] if path_to_gpu(words).is_some() && !asks_help(words) => {
            run_on_gpu(&gpu::BENCH, &words_for_gpu(words))
        }
        // Has a help of its own.
        ["bench", words @ ..] => bench::answer(words),
        words if asks_help(words) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        // The part of the same name.
        ["firmware", ..] => run_parts(&arguments),
        ["faults", words @ ..] => run_parts(&[&["faults", "--long"], words].concat()),
        ["gpu-test", words @ ..] => run_on_gpu(&gpu::TEST, words),
        ["gpu-bench", words @ ..] => run_on_gpu(&gpu::BENCH, words),
        ["ptx", words @ ..] if words.contains(&"--check") => {
            let words: Vec<&str> = words.iter().copied().filter(|w| *w != "--check").collect();
            run_parts(&[&["ptx"], &words[..]].concat())
        }
        ["ptx", words @ ..] => run_parts(&[&["ptx", "--bless"], words].concat()),
        ["test", words @ ..] => run_parts(words),
        ["size", words @ ..] => match size::answer(words, parts::SIZE_TOOLS) {
            Ok(code) => code,
            Err(message) => usage_error(&message),
        },
        [command, ..] => usage_error(&format!("there is no command `{command}`")),
    }
}

/// Where the path stands among the words of `bench`.
fn path_to_gpu(words: &[&str]) -> Option<usize> {
    let mut pairs = words.windows(2);
    pairs.position(|pair| pair == ["--path", "cuda"])
}

/// The words of `bench --path cuda` for `gpu-bench`, which prints JSON and measures rivals in any case.
fn words_for_gpu<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let path = path_to_gpu(words);
    let is_of_path = |i: usize| path.is_some_and(|path| i == path || i == path + 1);
    let others = words.iter().enumerate().filter(|(i, _)| !is_of_path(*i));
    let others = others.map(|(_, word)| *word);
    others
        .filter(|word| !matches!(*word, "--json" | "--peers"))
        .collect()
}

fn run_on_gpu(kit: &gpu::Kit, words: &[&str]) -> ExitCode {
    match gpu::answer(kit, words) {
        Ok(code) => code,
        Err(message) => usage_error(&message),
    }
}

fn run_parts(words: &[&str]) -> ExitCode {
    match test::Request::parse(words) {
        Ok(request) => test::answer(&request),
        Err(message) => usage_error(&message),
    }
}

fn usage_error(message: &str) -> ExitCode {
    eprintln!("error: {message}\nhelp: `cargo xtask help` lists the commands");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_on_a_gpu_keeps_its_filter() {
        let words = ["--json", "--filter", "search", "--path", "cuda", "--quick"];
        assert_eq!(words_for_gpu(&words), ["--filter", "search", "--quick"]);
        assert_eq!(path_to_gpu(&["--path", "avx2", "cuda"]), None);
    }
}
