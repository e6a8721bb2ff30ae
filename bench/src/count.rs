//! Instructions of the smallest pieces, by callgrind: the same on a machine that is busy.

use std::process::Command;

use rivergram_simd::Level;

use crate::kernels::COUNTED;

/// The flag with which this program calls itself: the work, its repetitions, the path.
pub(crate) const FLAG: &str = "--count";

/// Repetitions of the two runs whose difference is taken.
const REPEATS: [usize; 2] = [1, 3];

/// Whether valgrind answers.
pub(crate) fn is_here() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Does the work of one name, in the process that is counted.
pub(crate) fn work(level: Level, name: &str, repeat: usize) -> Result<(), String> {
    let work = COUNTED.iter().find(|(known, _)| *known == name);
    let (_, work) = work.ok_or_else(|| format!("there is no work {name:?} to count"))?;
    work(level, repeat);
    Ok(())
}

/// Instructions of one repetition.
pub(crate) fn instructions(level: Level, name: &str) -> Result<u64, String> {
    let [once, thrice] = REPEATS.map(|repeat| whole_run(level, name, repeat));
    Ok(thrice?.saturating_sub(once?) / (REPEATS[1] - REPEATS[0]) as u64)
}

fn whole_run(level: Level, name: &str, repeat: usize) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args([FLAG, name, &repeat.to_string(), level.name()])
        .output()
        .map_err(|why| format!("valgrind: {why}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).ok_or_else(|| format!("valgrind: {}", said.lines().last().unwrap_or_default()))
}

/// The number in `==1== Collected : 123`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read() {
        let said = "==7== Events    : Ir\n==7== Collected : 125437\n==7== \n";
        assert_eq!(collected(said), Some(125_437));
        assert_eq!(collected("==7== Fatal"), None);
    }

    #[test]
    fn every_piece_of_work_runs() {
        for (name, _) in COUNTED {
            assert_eq!(work(Level::detect(), name, 1), Ok(()));
        }
        assert!(work(Level::SCALAR, "no such work", 1).is_err());
    }
}
