//! Faults of the stores: power cuts, torn writes, damage and full disks in tests, and firmware that is killed under
//! QEMU and boots again.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Part, firmware};
use crate::cross::{self, Toolchain};
use crate::job::{Job, say};
use crate::qemu::{self, BOARDS, Board};

pub(super) const PART: Part = Part {
    name: "faults",
    about: "nothing is lost: power cuts at every write, kills, full disks, damage, firmware cut under QEMU",
    tools: &[cross::COMPILER, cross::LINKER, qemu::ARM, qemu::RISCV],
    run,
};

/// Tests of faults: the package, the file and a part of their names. They say what they did.
const TESTS: [[&str; 3]; 2] = [
    ["rivergram-tests", "flash", ""],
    ["rivergram", "train", "faults::"],
];

/// Tells these tests to take long.
const LONG: (&str, &str) = ("RIVERGRAM_FAULTS", "long");

/// Cuts of a board's power.
const CUTS: u32 = 50;

/// Boards of the quick run: the two kinds of processor.
const QUICK: [&str; 2] = ["cortex-m4f", "rv32imac"];

/// The programs that are cut: a training with budgets, and one without an end whose battery runs low.
const PROGRAMS: [&str; 2] = ["power-cut", "low-battery"];

/// Bytes of the flash.
const FLASH: usize = 128 * 1024;

/// For the whole program; it takes a second.
const LIMIT: Duration = Duration::from_secs(120);

/// What injecting may take, builds not counted: in the quick run, and in the long one.
const MOST: [Duration; 2] = [Duration::from_secs(8 * 60), Duration::from_secs(20 * 60)];

fn run(job: &mut Job<'_>) {
    let mut spent = Duration::ZERO;
    for [package, test, names] in TESTS {
        let words = ["test", "--package", package, "--test", test];
        if !job.cargo(&[&words[..], &["--no-run"]].concat()) {
            continue;
        }
        let words = [&words[..], &["--", "--nocapture", names]].concat();
        let mut command = job.workspace.cargo(&words);
        if job.long {
            command.env(LONG.0, LONG.1);
        }
        let start = Instant::now();
        job.run(&mut command);
        spent += start.elapsed();
    }
    spent += cut_boards(job);
    let most = MOST[usize::from(job.long)];
    say(&format!(
        "faults were injected for {spent:.0?}, of at most {most:.0?}"
    ));
    if spent > most {
        job.fail("injecting faults takes too long");
    }
}

/// Cuts the power of boards under QEMU. The time that it took, without builds.
fn cut_boards(job: &mut Job<'_>) -> Duration {
    let mut spent = Duration::ZERO;
    let is_asked = |board: &&Board| job.long || QUICK.contains(&board.name);
    let boards: Vec<&Board> = BOARDS.iter().filter(is_asked).collect();
    let triples: Vec<&'static str> = boards.iter().map(|board| board.triple).collect();
    for (toolchain, triples) in Toolchain::group(job, &triples) {
        let bins = PROGRAMS.iter().flat_map(|&program| ["--bin", program]);
        let words: Vec<&str> = ["build", "--release"].into_iter().chain(bins).collect();
        let mut build = toolchain.bare(job.workspace, &triples, &words);
        build.current_dir(job.workspace.root.join(firmware::WORKSPACE));
        if !job.run(&mut build) {
            continue;
        }
        let target = toolchain.target_folder(&job.workspace.target);
        let built = boards
            .iter()
            .filter(|board| triples.contains(&board.triple));
        for (board, program) in built.flat_map(|board| PROGRAMS.map(|program| (board, program))) {
            let image = target.join(board.triple).join("release").join(program);
            let folder = job.workspace.target.join("faults").join(board.name);
            let start = Instant::now();
            match cut(board, &image, &folder) {
                Ok(line) => say(&format!("{program} on {}: {line}", board.name)),
                Err(why) => job.fail(format_args!("{program} on {}: {why}", board.name)),
            }
            spent += start.elapsed();
        }
    }
    spent
}

/// Kills the program at random moments and starts it again on the same flash, until it ends by itself: it then has
/// what an undisturbed run has. Begins anew until there were enough cuts.
fn cut(board: &Board, image: &Path, folder: &Path) -> Result<String, String> {
    let new_flash = || write(&folder.join("flash.bin"), &vec![0xff; FLASH]);
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    new_flash()?;
    let start = Instant::now();
    finish(board, image, folder)?;
    let whole = start.elapsed();
    let expected = take_final(folder)?;
    new_flash()?;
    let (mut random, mut cuts, mut within, mut trainings) = (1_u64, 0, 0, 0);
    let mut used: u32 = 0;
    loop {
        // A training in about four parts: some cuts fall into the start, most of them between.
        let limit = whole.mul_f64(0.05 + 0.45 * unit(&mut random));
        let is_last = cuts >= CUTS;
        let limit = if is_last { LIMIT } else { limit };
        let outcome = board.run_in(folder, image, limit, &[])?;
        match outcome.code {
            None if is_last => return Err("the program does not end".to_string()),
            None => {
                cuts += 1;
                used += 1;
                within += u32::from(is_busy(folder));
            }
            Some(0) => {
                trainings += 1;
                if take_final(folder)? != expected {
                    return Err(format!(
                        "after {used} cuts the end is not that of an uncut run"
                    ));
                }
                used = 0;
                if is_last {
                    break;
                }
                new_flash()?;
            }
            Some(_) => return Err(format!("after {used} cuts: {outcome}")),
        }
    }
    Ok(format!(
        "{cuts} cuts, {within} of them within a write or an erasure, {trainings} trainings ended as uncut, bit for bit"
    ))
}

/// Whether the program was writing when it was killed.
fn is_busy(folder: &Path) -> bool {
    std::fs::read(folder.join("busy")).is_ok_and(|marks| marks == [1])
}

/// One run to the end.
fn finish(board: &Board, image: &Path, folder: &Path) -> Result<(), String> {
    let outcome = board.run_in(folder, image, LIMIT, &[])?;
    match outcome.code {
        Some(0) => Ok(()),
        _ => Err(format!("uncut: {outcome}")),
    }
}

/// What the slots hold at the end.
fn take_final(folder: &Path) -> Result<Vec<u8>, String> {
    let path = folder.join("final.bin");
    let failed = |e| format!("{}: {e}", path.display());
    let bytes = std::fs::read(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    match bytes.is_empty() {
        true => Err(format!("{} is empty", path.display())),
        false => Ok(bytes),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Uniform in [0, 1): Knuth's generator (The Art of Computer Programming 2, 3.3.4).
fn unit(state: &mut u64) -> f64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f64 / (1_u64 << 24) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread() {
        let mut state = 1;
        let mean = (0..1000).map(|_| unit(&mut state)).sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
