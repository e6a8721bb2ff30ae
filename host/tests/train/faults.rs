//! Faults of the file store: kills, a full disk, a folder that may not be written, damaged files.
//! `RIVERGRAM_FAULTS=long` takes more of each; `cargo xtask faults` does.

use std::os::unix::fs::{PermissionsExt, symlink};

use rivergram::store::{Checkpoint, RunFolder};

use super::*;

fn is_long() -> bool {
    std::env::var("RIVERGRAM_FAULTS").is_ok_and(|value| value == "long")
}

/// Kills runs at random moments, and starts them again, `kills` times in all; every run that ends has the files of
/// one that was left alone.
fn kill(line: &str, kills: usize, seed: u64) {
    let place = own_data();
    let began = Instant::now();
    place.train(&format!("{line} --quiet --out whole"));
    let whole = began.elapsed();
    let (expected, folder) = (place.file("whole"), place.file("killed"));
    let mut random = Random(seed);
    let (mut killed, mut ended) = (0, 0);
    loop {
        let mut child = match folder.join("config.json").is_file() {
            true => place.spawn("--resume killed"),
            false => place.spawn(&format!("{line} --out killed")),
        };
        if killed < kills {
            // Each start takes its time: with longer waits a run gets on, with short ones the start is hit too.
            sleep(random.delay(whole.mul_f64(0.8)));
            if child.try_wait().expect("a state").is_none() {
                child.kill().expect("killed");
                killed += 1;
            }
        }
        let success = child.wait().expect("it ends").success();
        if success {
            ended += 1;
            assert_same_but_unfinished(&folder, &expected);
            if killed >= kills {
                break;
            }
            fs::remove_dir_all(&folder).expect("removed");
        }
    }
    println!("{line}: {killed} kills, {ended} runs ended bit for bit as uncut");
}

#[test]
fn kills_at_random_moments_lose_nothing() {
    let kills = if is_long() { 100 } else { 20 };
    kill(&format!("{OWN} --budgets 100,200,400"), kills, 31);
    kill(
        &format!("{OWN} --schedule wsd --budgets 100,200,400 --keep-budgets 1"),
        kills,
        32,
    );
}

/// The program as the user that may not write everywhere, from a folder that this user can reach.
fn unprivileged(place: &Place) -> (PathBuf, Vec<String>) {
    let program = place.file("rivergram");
    fs::copy(env!("CARGO_BIN_EXE_rivergram"), &program).expect("copied");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&place.0, open).expect("readable");
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("id answers")
        .stdout;
    let words: &[&str] = match id.trim_ascii() {
        b"0" => &[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ],
        _ => &[],
    };
    (program, words.iter().map(|word| word.to_string()).collect())
}

#[test]
fn a_folder_that_may_not_be_written_is_named_and_stays() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 100,200 --quiet --out whole"));
    requests::stopped(&place, &format!("{OWN} --budgets 100,200 --quiet"), "run");
    let folder = place.file("run");
    let before = files(&folder);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("read-only");
    for name in before.keys() {
        let mode = fs::Permissions::from_mode(0o444);
        fs::set_permissions(folder.join(name), mode).expect("read-only");
    }
    let (program, mut words) = unprivileged(&place);
    words.push(program.display().to_string());
    let (first, rest) = words.split_first().expect("a program");
    let mut command = Command::new(first);
    command
        .args(rest)
        .current_dir(&place.0)
        .args(["train", "--resume", "run"]);
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("run/") && text.contains("ermission denied"),
        "{text}"
    );
    assert_eq!(files(&folder), before);
    let mut command = Command::new(first);
    command.args(rest).current_dir(&place.0).args([
        "train",
        "--data",
        "d.safetensors",
        "--out",
        "new",
    ]);
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("writable");
    for name in before.keys() {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(folder.join(name), mode).expect("writable");
    }
    place.train("--resume run --quiet");
    assert_same_but_unfinished(&folder, &place.file("whole"));
}

#[test]
fn a_file_that_may_not_grow_ends_the_run_and_loses_nothing() {
    let place = own_data();
    let line = format!("{OWN} --budgets 60,120 --quiet");
    place.train(&format!("{line} --out whole"));
    let expected = place.file("whole");
    let largest = files(&expected)
        .values()
        .map(Vec::len)
        .max()
        .expect("files");
    // In blocks of 512 bytes, as POSIX has it.
    let step = if is_long() { 1 } else { 5 };
    let (mut refused, mut done) = (0, 0);
    for blocks in (1..largest / 512 + 3).step_by(step) {
        let program = env!("CARGO_BIN_EXE_rivergram");
        let script =
            format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} train {line} --out run");
        let mut command = Command::new("sh");
        let output = command.args(["-c", &script]).current_dir(&place.0).output();
        let output = output.expect("sh starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => {
                refused += 1;
                assert!(
                    text.contains("run/") && text.contains("too large"),
                    "{blocks}: {text}"
                );
                let is_error = |line: &&str| line.starts_with("error: ");
                assert_eq!(text.lines().filter(is_error).count(), 1, "{blocks}: {text}");
            }
            code => panic!("{blocks}: {code:?}, {text}"),
        }
        match place.file("run/config.json").is_file() {
            true => place.train("--resume run --quiet"),
            false => place.train(&format!("{line} --out run")),
        };
        assert_same_but_unfinished(&place.file("run"), &expected);
        fs::remove_dir_all(place.file("run")).expect("removed");
    }
    println!("full disk, by size: {refused} runs refused and resumed, {done} that fitted");
    assert!(refused > done);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let place = own_data();
    let line = "--data d.safetensors --dim 8 --hidden 8 --batch 16 --budgets 300,600 --quiet";
    place.train(&format!("{line} --out whole"));
    for name in [
        "latest.safetensors",
        "before-decay.safetensors",
        "budget-000300.safetensors",
        "picture.svg",
    ] {
        let folder = place.file("run");
        let mut child = place.command(&format!("{line} --out run"));
        let child = child.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().expect("the program starts");
        while !folder.join("config.json").is_file() {
            sleep(Duration::from_micros(200));
        }
        // What is written goes to a device that is full.
        symlink("/dev/full", folder.join(format!("{name}.tmp"))).expect("a link");
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(
            text.contains(name) && text.contains("No space left"),
            "{name}: {text}"
        );
        place.train("--resume run --quiet");
        assert_same_but_unfinished(&folder, &place.file("whole"));
        fs::remove_dir_all(&folder).expect("removed");
    }
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_named() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20 --quiet --out run"));
    let file = place.file("run/latest.safetensors");
    let whole = fs::read(&file).expect("a checkpoint");
    let copy = place.file("copy.safetensors");
    let bits = if is_long() { 8 } else { 1 };
    let mut flips = 0;
    for byte in 0..whole.len() {
        for bit in 0..bits {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << ((bit + byte) % 8);
            let read = Checkpoint::from_bytes(&copy, &bytes);
            // Two spellings of one content, such as a space of the header that became a tab, are no damage.
            let same = |read: Checkpoint| read.to_bytes().expect("sound") == whole;
            match read {
                Err(e) => assert!(e.to_string().contains("copy.safetensors"), "{e}"),
                Ok(read) => assert!(same(read), "byte {byte}"),
            }
            flips += 1;
        }
    }
    for length in (0..whole.len()).step_by(if is_long() { 1 } else { 37 }) {
        let read = Checkpoint::from_bytes(&copy, &whole[..length]);
        assert!(read.is_err(), "cut to {length}");
    }
    println!(
        "{flips} flipped bits and every cut of a checkpoint of {} bytes named",
        whole.len()
    );
}

#[test]
fn every_flipped_bit_of_a_log_cuts_it_off() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20 --quiet --out run"));
    let (run, _) = RunFolder::open::<Value>(&place.file("run")).expect("a run");
    let log = place.file("run/metrics.jsonl");
    let whole = fs::read(&log).expect("a log");
    let all = run.metrics(u64::MAX).expect("a log").lines();
    assert_eq!(all, 21);
    let (mut before, mut flips) = (0, 0);
    for (lines, line) in (0..).zip(whole.split_inclusive(|&byte| byte == b'\n')) {
        for byte in before..before + line.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[byte] ^= 1 << bit;
                fs::write(&log, &bytes).expect("written");
                let kept = run.metrics(u64::MAX).expect("a log").lines();
                assert_eq!(kept, lines, "bit {bit} of byte {byte}");
                let left = fs::read(&log).expect("a log");
                assert!(left == whole[..before], "bit {bit} of byte {byte}");
                flips += 1;
            }
        }
        before += line.len();
    }
    for length in 0..=whole.len() {
        fs::write(&log, &whole[..length]).expect("written");
        let kept = run.metrics(u64::MAX).expect("a log").lines();
        let ends = whole[..length].iter().filter(|&&byte| byte == b'\n');
        assert_eq!(kept, ends.count() as u64, "cut to {length}");
    }
    println!("{flips} flipped bits and every cut of a log of {all} lines found");
}

#[test]
fn damaged_runs_are_refused_and_go_on_once_mended() {
    let place = own_data();
    let line = format!("{OWN} --budgets 100,200 --quiet");
    place.train(&format!("{line} --out whole"));
    let mut random = Random(41);
    let rounds = if is_long() { 12 } else { 3 };
    let (mut named, mut gone_on) = (0, 0);
    requests::stopped(&place, &line, "stopped");
    for name in ["latest.safetensors", "config.json", "metrics.jsonl"] {
        for round in 0..rounds {
            requests::copy(&place.file("stopped"), &place.file("run"));
            let file = place.file("run").join(name);
            let mut bytes = fs::read(&file).expect("a file");
            let at = (random.next() % bytes.len() as u64) as usize;
            match round % 3 {
                0 => bytes[at] ^= 1 << (random.next() % 8),
                1 => bytes.truncate(at),
                _ => bytes[at..].fill(0),
            }
            fs::write(&file, &bytes).expect("written");
            let output = place.run("--resume run");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                Some(0) => {
                    // A log is cut where it is damaged, and what is missing told; the weights are those of any run.
                    gone_on += 1;
                    for budget in ["budget-000100.safetensors", "budget-000200.safetensors"] {
                        let bytes =
                            |run: &str| fs::read(place.file(run).join(budget)).expect("a file");
                        assert!(bytes("run") == bytes("whole"), "{name}, {round}: {budget}");
                    }
                    let is_told = text.contains("damaged or missing");
                    // Behind the checkpoint a log is written again; white space of a configuration says nothing.
                    let is_made_again = fs::read(place.file("run").join(name)).expect("a file")
                        == fs::read(place.file("whole").join(name)).expect("a file");
                    assert!(
                        is_told || is_made_again || name == "config.json",
                        "{name}, {round}: {text}"
                    );
                }
                Some(2) => {
                    named += 1;
                    assert!(text.contains(name), "{name}, {round}: {text}");
                    assert_eq!(
                        fs::read(&file).expect("a file"),
                        bytes,
                        "{name} was changed"
                    );
                    let mended = fs::read(place.file("stopped").join(name)).expect("a file");
                    fs::write(&file, mended).expect("mended");
                    place.train("--resume run --quiet");
                    assert_same_but_unfinished(&place.file("run"), &place.file("whole"));
                }
                code => panic!("{name}, {round}: {code:?}, {text}"),
            }
            fs::remove_dir_all(place.file("run")).expect("removed");
        }
    }
    println!("damaged files: {named} named and mended, {gone_on} logs cut");
    assert!(named >= rounds && gone_on >= 1);
}

#[test]
fn a_folder_that_is_in_use_is_no_other_process_s() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20 --quiet --out run"));
    let (folder, _) = RunFolder::open::<Value>(&place.file("run")).expect("a run");
    let output = place.run("--resume run");
    assert_refused("--resume run", &output, &["another process"]);
    drop(folder);
    place.train("--resume run --quiet");
}
