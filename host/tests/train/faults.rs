//! Faults of the file store: kills, a full disk, a folder that may not be written, damaged files.
//! `RIVERGRAM_FAULTS=long` takes more of each; `cargo xtask faults` does.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use rivergram::store::{Checkpoint, DAMAGED, RunFolder};

use std::io::ErrorKind;

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
        let mut child = started(&place, line);
        if killed < kills {
            // Each start takes its time: with longer waits a run gets on, with short ones the start is hit too.
            sleep(random.delay(whole.mul_f64(0.8)));
            child.kill().expect("killed, or at its end");
        }
        let status = child.wait().expect("it ends");
        if status.signal().is_some() {
            killed += 1;
        } else {
            assert!(status.success(), "{line}: {status}");
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
    for schedule in ["wsd-s", "wsd"] {
        let line = format!("{line} --schedule {schedule}");
        let whole = place.file(schedule);
        place.train(&format!("{line} --out {schedule}"));
        let mut hit = 0;
        for name in files(&whole).into_keys() {
            let name = name.display().to_string();
            // Written at the start, or not by another name.
            if name.starts_with("config") || name == "run.lock" || name == "metrics.jsonl" {
                continue;
            }
            let folder = place.file("run");
            let child = loop {
                let mut child = place.command(&format!("{line} --out run"));
                let child = child.stdout(Stdio::null()).stderr(Stdio::piped());
                let mut child = child.spawn().expect("the program starts");
                while !folder.join("config.json").is_file() {
                    sleep(Duration::from_micros(200));
                }
                // What is written goes to a device that is full.
                match symlink("/dev/full", folder.join(format!("{name}.tmp"))) {
                    Ok(()) => break child,
                    // It is just being written: once more, in a fresh folder.
                    Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{name}: {e}"),
                }
                child.kill().expect("killed");
                child.wait().expect("it ends");
                fs::remove_dir_all(&folder).expect("removed");
            };
            let output = child.wait_with_output().expect("it ends");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{name}: {text}");
            // The previous checkpoint is a second name of the latest: nothing is written.
            let is_link = name == "previous.safetensors" && text.contains("File exists");
            assert!(
                text.contains(&name) && (is_link || text.contains("No space left")),
                "{name}: {text}"
            );
            place.train("--resume run --quiet");
            assert_same_but_unfinished(&folder, &whole);
            fs::remove_dir_all(&folder).expect("removed");
            hit += 1;
        }
        println!("full disk, by name: {hit} files of a {schedule} run refused and resumed");
        assert!(hit >= 5);
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
                if bytes[before..].contains(&b'\n') {
                    let kept = fs::read(place.file("run").join(DAMAGED)).expect("a copy");
                    assert!(kept == bytes, "bit {bit} of byte {byte}");
                }
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

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Gone,
    Cut,
    Flipped,
}

/// Does it, at a random place.
fn harm(file: &Path, harm: Harm, random: &mut Random) {
    let mut bytes = fs::read(file).expect("a file");
    let at = (random.next() % bytes.len().max(1) as u64) as usize;
    match harm {
        Harm::Gone => return fs::remove_file(file).expect("removed"),
        Harm::Cut => bytes.truncate(at),
        Harm::Flipped => bytes[at] ^= 1 << (random.next() % 8),
    }
    fs::write(file, bytes).expect("written");
}

/// Lines of a log that have this in them.
fn lines_with(folder: &Path, part: &str) -> usize {
    let log = fs::read(folder.join("metrics.jsonl")).unwrap_or_default();
    String::from_utf8_lossy(&log).matches(part).count()
}

/// A run in the folder `stopped`, that was asked for something and killed where its log has 50 lines of decays.
fn stopped_in_decay(place: &Place, line: &str, asks: &[&str]) {
    let folder = place.file("stopped");
    let mut child = place.spawn(&format!("{line} --out stopped"));
    let mut wait = |is_there: &dyn Fn() -> bool| {
        while !is_there() {
            let state = child.try_wait().expect("a state");
            assert!(state.is_none(), "{line}: it ended early");
        }
    };
    wait(&|| folder.join("budget-000040.safetensors").is_file());
    for (before, ask) in asks.iter().enumerate() {
        wait(&|| lines_with(&folder, "\"leg\":\"release\"") >= before);
        requests::asked(place, ask);
    }
    wait(&|| lines_with(&folder, "\"phase\":\"decay\"") >= 50);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert!(lines_with(&folder, "\"leg\":\"release\"") < asks.len().max(1));
}

/// Goes on after each harm to each file of the run in the folder `stopped`, and compares with what it ends as
/// unharmed.
fn go_on_after_every_harm(place: &Place, seed: u64) {
    let (stopped, whole) = (place.file("stopped"), place.file("whole"));
    for name in files(&stopped).into_keys() {
        // Half of a file that the killed run was writing.
        if name.extension().is_some_and(|end| end == "tmp") {
            fs::remove_file(stopped.join(name)).expect("removed");
        }
    }
    requests::copy(&stopped, &whole);
    place.train("--resume whole --quiet");
    let expected = files(&whole);
    let mut random = Random(seed);
    let rounds = if is_long() { 4 } else { 1 };
    let (mut cases, mut same, mut reported) = (0, 0, Vec::new());
    for name in files(&stopped).into_keys() {
        let text = name.display().to_string();
        for kind in [Harm::Gone, Harm::Cut, Harm::Flipped].repeat(rounds) {
            let run = place.file("run");
            requests::copy(&stopped, &run);
            if text == "run.lock" && kind != Harm::Gone {
                fs::remove_dir_all(&run).expect("removed");
                continue;
            }
            harm(&run.join(&name), kind, &mut random);
            let output = place.run("--resume run --quiet");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}, {kind:?}: {told}");
            let told = told.replace(NO_TEST, "");
            let found = files(&run);
            let differs = |name: &&PathBuf| found.get(*name) != expected.get(*name);
            let names: BTreeMap<_, _> = expected.iter().chain(&found).collect();
            let different: Vec<String> = names
                .into_keys()
                .filter(differs)
                .map(|name| name.display().to_string())
                .collect();
            let warnings = told.matches("warning: ").count();
            let is_named = warnings == 1 && told.contains(&text);
            cases += 1;
            if different.is_empty() {
                same += 1;
                // Without a word where nothing was to be lost: an empty file, a copy, lines that are written again.
                let is_spare = ["run.lock", "config.copy.json"];
                let is_old_main = kind == Harm::Gone && text.starts_with("main-");
                let is_quiet =
                    is_spare.contains(&text.as_str()) || is_old_main || text == "metrics.jsonl";
                let is_space = kind == Harm::Flipped && text == "config.json";
                assert!(
                    is_named || warnings == 0 && (is_quiet || is_space),
                    "{text}, {kind:?}: {told}"
                );
            } else {
                assert!(is_named, "{text}, {kind:?}, {different:?}: {told}");
                let is_lost = |other: &String| match text.as_str() {
                    // A log is a report: of lines before the checkpoint a line says that they are gone.
                    "metrics.jsonl" => [
                        "metrics.jsonl",
                        DAMAGED,
                        "picture.svg",
                        "latest.safetensors",
                        "previous.safetensors",
                    ]
                    .contains(&other.as_str()),
                    // What was finished before, and nothing goes on from; in a last decay no other takes its place.
                    name => {
                        let kinds = ["budget-", "release-", "previous."];
                        *other == text && kinds.iter().any(|kind| name.starts_with(kind))
                    }
                };
                assert!(
                    different.iter().all(is_lost),
                    "{text}, {kind:?}: {different:?}"
                );
                reported.push(format!("{text} {kind:?}"));
            }
            fs::remove_dir_all(&run).expect("removed");
        }
    }
    println!(
        "harmed files: {same} of {cases} runs ended bit for bit as unharmed; the others said what is lost: {}",
        reported.join(", ")
    );
    assert!(same > reported.len());
}

/// What every run without test data is told.
const NO_TEST: &str = "warning: no --test data: the figures below are those of the training data\n";

const HARMED: &str =
    "--data d.safetensors --dim 8 --hidden 8 --batch 16 --save-every 20 --warmup 3 --quiet";

#[test]
fn a_wsd_run_in_a_release_goes_on_after_any_harm() {
    let place = own_data();
    let line = format!("{HARMED} --schedule wsd --budgets 40,900");
    let asks = ["stopped decay 10", "stopped decay 600"];
    stopped_in_decay(&place, &line, &asks);
    go_on_after_every_harm(&place, 41);
}

#[test]
fn a_wsd_s_run_in_a_decay_goes_on_after_any_harm() {
    let place = own_data();
    let line = format!("{HARMED} --schedule wsd-s --decay-fraction 0.6 --budgets 40,900");
    stopped_in_decay(&place, &line, &[]);
    go_on_after_every_harm(&place, 42);
}

#[test]
fn a_wsd_s_run_in_a_release_goes_on_after_any_harm() {
    let place = own_data();
    let line = format!("{HARMED} --schedule wsd-s --budgets 40,1200");
    stopped_in_decay(&place, &line, &["stopped decay 600"]);
    go_on_after_every_harm(&place, 43);
}

#[cfg(feature = "demo-data")]
#[test]
fn a_job_s_configuration_is_written_again() {
    let place = Place::new();
    let line = "--noise blank:.5,none --loss cosine --hidden 4 --budgets 20,40 --save-every 9";
    place.train(&format!("{line} --quiet --out run"));
    let (folder, before) = (place.file("run"), files(&place.file("run")));
    let mut random = Random(44);
    for kind in [Harm::Gone, Harm::Cut, Harm::Flipped] {
        harm(&folder.join("strips-none/config.json"), kind, &mut random);
        let output = place.run("--resume run --quiet");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{kind:?}: {told}");
        assert!(told.contains("strips-none/config.json"), "{kind:?}: {told}");
        assert_eq!(files(&folder), before);
    }
}

#[test]
fn where_nothing_is_left_a_run_says_what_to_do() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20,40 --quiet --out run"));
    let folder = place.file("run");
    fs::remove_file(folder.join("latest.safetensors")).expect("removed");
    fs::remove_file(folder.join("previous.safetensors")).expect("removed");
    let before = listing(&folder);
    let output = place.run("--resume run");
    let parts = [
        "latest.safetensors: missing",
        "previous.safetensors",
        "put a copy",
    ];
    assert_refused("--resume run", &output, &parts);
    assert_eq!(listing(&folder), before);
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
