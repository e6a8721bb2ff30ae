//! The program as a process: runs that are killed, interrupted and resumed, own data, and what is refused.

#[path = "train/beside.rs"]
mod beside;
mod common;
#[path = "train/faults.rs"]
#[cfg(unix)]
mod faults;
#[path = "train/moments.rs"]
mod moments;
#[path = "train/requests.rs"]
mod requests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use common::{Place, Raw, assert_refused, files, floats, labels, lines, listing, npy};
use serde_json::{Value, json};

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

impl Place {
    /// A run that has to succeed; its stdout.
    fn train(&self, line: &str) -> String {
        self.stdout(line)
    }

    /// The last line of a run with `--json`.
    fn summary(&self, line: &str) -> Value {
        let text = self.train(&format!("{line} --json --quiet"));
        let last = text.lines().last().expect("a line");
        serde_json::from_str(last).expect("JSON")
    }

    fn spawn(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    }
}

/// The same files with the same bytes.
fn assert_same(found: &Path, expected: &Path) {
    let (found, expected) = (files(found), files(expected));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(found.get(name) == Some(bytes), "{} differs", name.display());
    }
}

/// SplitMix64: as random as delays and test data need.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [−1, 1).
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn delay(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// The features of `n` items in `dim` columns: items share what they are in all modalities, mixed another way in each.
fn features(n: usize, dim: usize, modality: u64) -> Vec<f32> {
    const HIDDEN: usize = 6;
    let mut items = Random(1);
    let items: Vec<f32> = (0..n * HIDDEN).map(|_| items.signed()).collect();
    let mut mix = Random(100 + modality);
    let mix: Vec<f32> = (0..dim * HIDDEN).map(|_| mix.signed()).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let row = |item: &[f32]| -> Vec<f32> { mix.chunks(HIDDEN).map(|mix| dot(item, mix)).collect() };
    items.chunks(HIDDEN).flat_map(row).collect()
}

/// Modalities a, b, … of f32.
fn modalities(n: usize, dims: &[usize]) -> Vec<Raw> {
    let names = 'a'..='z';
    let each = dims.iter().zip(names).zip(0..);
    each.map(|((&dim, name), index)| {
        floats(&name.to_string(), "F32", dim, &features(n, dim, index))
    })
    .collect()
}

/// Updates in the log of a run, over all its jobs.
fn logged(folder: &Path) -> usize {
    if !folder.is_dir() {
        return 0;
    }
    let logs = files(folder).into_iter();
    let logs = logs.filter(|(name, _)| name.ends_with("metrics.jsonl"));
    let steps = |log: Vec<u8>| {
        String::from_utf8_lossy(&log)
            .matches("\"event\":\"step\"")
            .count()
    };
    logs.map(|(_, log)| steps(log)).sum()
}

/// A run in the folder `killed`, new or resumed.
fn started(place: &Place, line: &str) -> Child {
    match place.file("killed/config.json").is_file() {
        true => place.spawn("--resume killed"),
        false => place.spawn(&format!("{line} --out killed")),
    }
}

/// Kills a run `kills` times after random numbers of updates, resumes it each time, and compares what comes out with a
/// run that was left alone. The first kill comes as soon as there is something to resume. How many updates a run makes
/// before a kill reaches it depends on the machine: kills that come too late are made up for.
fn kill_and_resume(place: &Place, line: &str, kills: usize, seed: u64) {
    place.train(&format!("{line} --quiet --out whole"));
    let (expected, folder) = (place.file("whole"), place.file("killed"));
    let total = logged(&expected);
    let start = || started(place, line);
    let mut random = Random(seed);
    let mut landed = Vec::new();
    let is_early = |updates: &&usize| **updates < total;
    while landed.iter().filter(is_early).count() < kills {
        assert!(
            landed.len() < 4 * kills,
            "{landed:?} of {total} are too late"
        );
        let target = logged(&folder) + random.below(2 * total / kills);
        let mut child = start();
        let is_begun = || match landed.is_empty() {
            true => folder.join("config.json").is_file(),
            false => logged(&folder) >= target,
        };
        let mut finished = false;
        while !finished && !is_begun() {
            sleep(Duration::from_millis(1));
            finished = child.try_wait().expect("a state").is_some();
        }
        // Anywhere between two updates.
        sleep(random.delay(Duration::from_millis(2)));
        finished = child.try_wait().expect("a state").is_some();
        child.kill().expect("killed");
        child.wait().expect("it ends");
        landed.push(logged(&folder));
        if finished {
            assert_same_but_unfinished(&folder, &expected);
            fs::remove_dir_all(&folder).expect("removed");
        }
    }
    println!("{line}: {total} updates, killed after {landed:?}");
    assert!(start().wait().expect("it ends").success());
    assert_same_but_unfinished(&folder, &expected);
}

/// No temporary file looks like a checkpoint, and the rest is the same.
fn assert_same_but_unfinished(found: &Path, expected: &Path) {
    assert_same(found, expected);
    let names: Vec<PathBuf> = files(found).into_keys().collect();
    assert!(
        names
            .iter()
            .all(|name| !name.to_string_lossy().contains("tmp"))
    );
}

const OWN: &str = "--data d.safetensors --dim 8 --hidden 8 --batch 16 --save-every 5";

fn own_data() -> Place {
    let place = Place::new();
    place.write("d.safetensors", &modalities(48, &[12, 9, 5]));
    place
}

#[test]
fn kills_leave_no_trace_in_wsd_s() {
    let line = format!("{OWN} --budgets 500,900,1500");
    kill_and_resume(&own_data(), &line, 11, 1);
}

#[test]
fn kills_leave_no_trace_in_wsd() {
    let line = format!("{OWN} --schedule wsd --loss gram --budgets 300,500,900");
    kill_and_resume(&own_data(), &line, 6, 2);
}

#[cfg(feature = "demo-data")]
#[test]
fn kills_leave_no_trace_in_strips() {
    let line = "--noise shuffle:5 --ngrams 1,2 --budgets 100,250 --save-every 7";
    kill_and_resume(&Place::new(), line, 5, 3);
}

#[cfg(feature = "demo-data")]
#[test]
fn kills_leave_no_trace_in_several_jobs() {
    let line = "--noise blank:.5,none --loss cosine --hidden 4 --budgets 40,100 --save-every 9";
    kill_and_resume(&Place::new(), line, 4, 4);
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20,40 --out run"));
    let (before, bytes) = (listing(&place.file("run")), files(&place.file("run")));
    let text = place.train("--resume run");
    assert!(text.contains("40 steps"), "{text}");
    let summary = place.summary("--resume run");
    assert_eq!(summary["budgets"][1]["step"], 40);
    assert_eq!(listing(&place.file("run")), before);
    assert_eq!(files(&place.file("run")), bytes);
}

#[test]
fn another_path_is_warned_of_once() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20,40 --out run"));
    let config = fs::read_to_string(place.file("run/config.json")).expect("a configuration");
    let before = files(&place.file("run"));
    let output = place.run("--resume run --path scalar --quiet");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    let expected = usize::from(!config.contains("\"scalar\""));
    assert_eq!(
        text.matches("warning: the run began on path").count(),
        expected,
        "{text}"
    );
    assert_eq!(files(&place.file("run")), before);

    // Really going on, from the end of the first budget.
    let latest = place.file("run/latest.safetensors");
    fs::copy(place.file("run/budget-000020.safetensors"), latest).expect("copied");
    place.train("--resume run --path scalar --quiet");
    assert_eq!(logged(&place.file("run")), 40);
}

#[test]
fn what_is_no_run_is_not_resumed() {
    let place = own_data();
    let resume = |parts: &[&str]| {
        let output = place.run("--resume run");
        assert_refused("--resume run", &output, parts);
    };
    resume(&["run"]);
    fs::create_dir(place.file("run")).expect("a folder");
    resume(&["run", "config.json"]);
    fs::write(place.file("run/config.json"), "{}").expect("written");
    resume(&["config.json"]);
    fs::remove_dir_all(place.file("run")).expect("removed");

    place.train(&format!("{OWN} --budgets 20,40 --quiet --out run"));
    let latest = place.file("run/latest.safetensors");
    fs::remove_file(place.file("run/previous.safetensors")).expect("removed");
    let whole = fs::read(&latest).expect("a checkpoint");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("a byte") ^= 1;
    let cut = whole.get(..whole.len() / 2).expect("a half");
    for damaged in [&flipped[..], cut, b"", &[255; 64]] {
        fs::write(&latest, damaged).expect("written");
        let before = listing(&place.file("run"));
        let parts = [
            "run/latest.safetensors",
            "previous.safetensors",
            "put a copy",
        ];
        resume(&parts);
        assert_eq!(listing(&place.file("run")), before);
    }
    fs::write(&latest, whole).expect("written");
    place.write("d.safetensors", &modalities(60, &[12, 9, 5]));
    resume(&["d.safetensors", "not the file that this run began with"]);
    fs::remove_file(place.file("d.safetensors")).expect("removed");
    resume(&["d.safetensors"]);
}

#[test]
fn no_data_file_may_change_between_two_parts_of_a_run() {
    let place = own_data();
    place.write("t.safetensors", &modalities(20, &[12, 9, 5]));
    for (name, dim, modality) in [("i.npy", 12, 0), ("t.npy", 7, 1)] {
        fs::write(
            place.file(name),
            npy(dim, false, &features(40, dim, modality)),
        )
        .expect("written");
    }
    let own = format!("{OWN} --test t.safetensors");
    let npy = "--modality image=i.npy --modality text=t.npy --batch 8 --dim 8";
    for (line, names) in [
        (own.as_str(), ["d.safetensors", "t.safetensors"]),
        (npy, ["i.npy", "t.npy"]),
    ] {
        place.train(&format!("{line} --steps 12 --quiet --out run"));
        for name in names {
            let file = place.file(name);
            let whole = fs::read(&file).expect("a file");
            let mut other = whole.clone();
            // The lowest bits of the last number: the statistics hardly change.
            other[whole.len() - 4] ^= 1;
            fs::write(&file, other).expect("written");
            let before = listing(&place.file("run"));
            let output = place.run("--resume run");
            assert_refused(
                name,
                &output,
                &[name, "not the file that this run began with"],
            );
            assert_eq!(listing(&place.file("run")), before);
            fs::write(&file, whole).expect("written");
        }
        place.train("--resume run --quiet");
        fs::remove_dir_all(place.file("run")).expect("removed");
    }
}

#[test]
fn what_lies_in_the_folder_of_a_job_is_never_removed() {
    let place = Place::new();
    let line = "--noise none,blank:0.5 --hidden 4 --budgets 4,8 --quiet --out run";
    place.train(line);
    let (job, aside) = (place.file("run/strips-none"), place.file("aside"));
    fs::rename(&job, &aside).expect("moved");
    fs::create_dir(&job).expect("a folder");
    fs::write(job.join("thesis.txt"), "x").expect("written");
    let before = listing(&place.file("run"));
    let output = place.run("--resume run");
    assert_refused("no run", &output, &["strips-none", "not empty"]);
    assert_eq!(listing(&place.file("run")), before);

    // The checkpoint of another job of the same shape.
    fs::remove_dir_all(&job).expect("removed");
    fs::rename(&aside, &job).expect("moved back");
    let latest = |job: &str| place.file(&format!("run/{job}/latest.safetensors"));
    fs::copy(latest("strips-blank-0-5"), latest("strips-none")).expect("copied");
    let output = place.run("--resume run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("its job is none of this run"), "{text}");
    assert!(
        text.contains("a job failed; saved are strips-blank-0-5"),
        "{text}"
    );
}

#[test]
fn lines_that_the_log_lacks_are_told() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20,40 --quiet --out run"));
    let log = place.file("run/metrics.jsonl");
    let text = fs::read_to_string(&log).expect("a log");
    let half: String = text.split_inclusive('\n').take(10).collect();
    fs::write(&log, half).expect("written");
    let told = |lines: &str| {
        let output = place.run("--resume run --quiet");
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_there = told.contains("metrics.jsonl: ");
        assert_eq!(is_there, !lines.is_empty(), "{told}");
        assert!(told.contains(lines), "{told}");
    };
    told("lines 11 to 42 are damaged or missing");
    let noted = self::lines(&fs::read_to_string(&log).expect("a log"));
    let last = noted.last().expect("a line");
    assert_eq!(last["event"], "missing");
    assert_eq!((&last["first"], &last["last"]), (&json!(11), &json!(42)));
    // Told once, and no longer missed.
    told("");
    // The last line alone, which is no update: what the last budget was worth.
    place.train(&format!("{OWN} --budgets 20,40 --quiet --out budget"));
    let whole = fs::read_to_string(place.file("budget/metrics.jsonl")).expect("a log");
    let but_last: String = whole.split_inclusive('\n').take(41).collect();
    fs::remove_dir_all(place.file("run")).expect("removed");
    fs::rename(place.file("budget"), place.file("run")).expect("moved");
    fs::write(&log, but_last).expect("written");
    told("line 42 is damaged or missing");
}

#[test]
fn what_is_not_evaluated_or_teaches_nothing_is_told_once() {
    let place = Place::new();
    let mut tensors = modalities(20, &[6, 5, 4]);
    let of: Vec<i64> = (0..20).map(|row| row % 8).collect();
    tensors.push(labels("I64", &of));
    place.write("d.safetensors", &tensors);
    let line =
        "--data d.safetensors --loss gram --warmup-cosine 0 --batch 8 --hidden 0 --steps 9 --quiet";
    let told = |flags: &str| {
        let output = place.run(&format!("{line} {flags}"));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let text = told("--dim 8 --out run");
    assert_eq!(text.matches("no --test data").count(), 1, "{text}");
    assert_eq!(
        text.matches("4 of 20 test items are not evaluated").count(),
        1,
        "{text}"
    );
    assert!(!text.contains("dependent"), "{text}");
    // In two dimensions any three vectors are dependent.
    place.refused(&format!("{line} --dim 2"), &["--dim", "at least 3"]);
}

#[test]
fn a_batch_fits_the_data_unless_it_was_asked_for() {
    let place = Place::new();
    let mut tensors = modalities(20, &[6, 5, 4]);
    let of: Vec<i64> = (0..20).map(|row| row % 8).collect();
    tensors.push(labels("I64", &of));
    place.write("d.safetensors", &tensors);
    let told = |flags: &str| {
        let line = format!("--data d.safetensors --steps 3 --quiet {flags}");
        let output = place.run(&line);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let smaller =
        "warning: batches of 8 items, not of 64: the training data have 8 different labels";
    let text = told("--out run");
    assert_eq!(text.matches(smaller).count(), 1, "{text}");
    let text = told("--out asked --batch 8");
    assert!(!text.contains("batches"), "{text}");
    place.refused(
        "--data d.safetensors --batch 9",
        &["--batch", "8 different labels"],
    );
    place.refused("--data d.safetensors --batch 1", &["--batch", "at least 2"]);
}

#[test]
fn a_run_folder_is_never_written_over() {
    let place = own_data();
    place.train(&format!("{OWN} --budgets 20,40 --quiet --out run"));
    let before = listing(&place.file("run"));
    let output = place.run(&format!("{OWN} --budgets 20,40 --out run"));
    assert_refused("a second run", &output, &["run", "--resume"]);
    let output = place.run(&format!("{OWN} --budgets 20,40 --out d.safetensors"));
    assert_refused("a file", &output, &["d.safetensors", "not a folder"]);
    assert_eq!(listing(&place.file("run")), before);
}

#[cfg(feature = "demo-data")]
#[test]
fn threads_change_nothing_and_seeds_do() {
    let place = Place::new();
    let line = "--noise none,blank:0.5 --loss gram --hidden 0 --budgets 10,20 --quiet";
    place.train(&format!("{line} --threads 1 --out one"));
    place.train(&format!("{line} --threads 2 --out two"));
    assert_same(&place.file("two"), &place.file("one"));
    place.train(&format!("{line} --seed 1 --out other"));
    let (one, other) = (files(&place.file("one")), files(&place.file("other")));
    let budgets = one
        .keys()
        .filter(|name| name.to_string_lossy().contains("budget-"));
    let budgets: Vec<_> = budgets.collect();
    assert!(!budgets.is_empty());
    assert!(
        budgets
            .iter()
            .all(|name| one.get(*name) != other.get(*name))
    );
}

/// Interrupts a run after some updates, goes on, and compares what comes out with a run that was left alone.
#[cfg(unix)]
fn interrupt_and_resume(place: &Place, line: &str, signal: &str) {
    place.train(&format!("{line} --quiet --out whole"));
    let total = logged(&place.file("whole"));
    let mut command = place.command(&format!("{line} --json --out run"));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("the program starts");
    while logged(&place.file("run")) < 20 {
        sleep(Duration::from_millis(1));
    }
    let kill = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(kill.expect("kill starts").success());
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("rivergram train --resume run"), "{text}");
    let stdout = lines(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(stdout.last().expect("a line")["interrupted"], true);
    let updates = logged(&place.file("run"));
    assert!(updates < total, "{updates} of {total}");
    let files = files(&place.file("run"));
    assert!(
        files
            .keys()
            .any(|name| name.ends_with("latest.safetensors"))
    );
    place.train("--resume run --quiet");
    assert_same(&place.file("run"), &place.file("whole"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let line = OWN.replace("--save-every 5", "--save-every 100000 --budgets 1000,2000");
    for signal in ["-INT", "-TERM"] {
        interrupt_and_resume(&own_data(), &line, signal);
    }
}

#[cfg(all(unix, feature = "demo-data"))]
#[test]
fn several_jobs_are_interrupted_together() {
    let line = "--noise none,blank:0.5 --loss cosine --hidden 4 --budgets 300,600";
    interrupt_and_resume(&Place::new(), &format!("{line} --threads 2"), "-INT");
    // With one thread some jobs have not begun.
    interrupt_and_resume(&Place::new(), &format!("{line} --threads 1"), "-INT");
}

#[test]
fn names_that_clash_in_a_checkpoint_are_refused() {
    let place = Place::new();
    let of = |name: &str| floats(name, "F32", 4, &features(20, 4, 0));
    place.write("d.safetensors", &[of("input.mean"), of("weight")]);
    let line = "--data d.safetensors --batch 8 --steps 4";
    let parts = ["input.mean, weight", "\"input.mean.weight\""];
    place.refused(&format!("{line} --hidden 0"), &parts);
    place.train(&format!("{line} --hidden 4 --quiet --out run"));
}

#[cfg(feature = "demo-data")]
#[test]
fn json_is_one_object_a_line() {
    let place = Place::new();
    let text = place.train("--budgets 20,40 --json --out run --path scalar");
    let lines = lines(&text);
    assert!(lines.iter().all(Value::is_object));
    let summary = lines.last().expect("a line");
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["path"], "scalar");
    assert!(summary["seconds"].as_f64().expect("a number") > 0.0);
    let budgets = summary["budgets"].as_array().expect("a list");
    let steps: Vec<u64> = budgets.iter().flat_map(|b| b["step"].as_u64()).collect();
    assert_eq!(steps, [20, 40]);
    for budget in budgets {
        let metrics = budget["metrics"].as_object().expect("an object");
        let rate = metrics["text_to_image+audio_r1"]
            .as_f64()
            .expect("a number");
        assert!((0.0..=1.0).contains(&rate));
    }
    let log = fs::read_to_string(place.file("run/metrics.jsonl")).expect("a log");
    assert_eq!(log.lines().count(), 42);
}

/// The metrics of the last budget of a short run: finite and in [0, 1].
fn metrics(place: &Place, line: &str, out: &str) -> serde_json::Map<String, Value> {
    let summary = place.summary(&format!("{line} --out {out}"));
    let budgets = summary["budgets"].as_array().expect("a list");
    let last = budgets.last().expect("a budget")["metrics"].clone();
    let Value::Object(metrics) = last else {
        panic!("{line}: {last}");
    };
    for (name, value) in &metrics {
        let value = value.as_f64().unwrap_or(f64::NAN);
        assert!((0.0..=1.0).contains(&value), "{line}: {name} is {value}");
    }
    metrics
}

#[test]
fn own_data_of_every_type_are_learned() {
    let place = Place::new();
    let pairs: Vec<i64> = (0..48).map(|row| row / 2 - 5).collect();
    for (index, (dtype, labelled)) in [("F32", None), ("F16", Some("I64")), ("BF16", Some("I32"))]
        .into_iter()
        .enumerate()
    {
        let mut tensors: Vec<Raw> = [("video", 12), ("text", 9), ("sound", 5)]
            .into_iter()
            .zip(0..)
            .map(|((name, dim), modality)| floats(name, dtype, dim, &features(48, dim, modality)))
            .collect();
        tensors.extend(labelled.map(|dtype| labels(dtype, &pairs)));
        place.write("d.safetensors", &tensors);
        let line = "--data d.safetensors --dim 8 --hidden 16 --batch 16 --lr 0.01 --steps 150";
        let metrics = metrics(&place, line, &format!("run{index}"));
        let found = metrics["text_to_sound+video_distance_r5"]
            .as_f64()
            .expect("a number");
        assert!(found > 0.5, "{dtype}: {found}");
        let anchored = format!("{line} --test d.safetensors --anchor sound --loss gram");
        self::metrics(&place, &anchored, &format!("anchored{index}"));
    }
}

#[test]
fn npy_files_are_modalities() {
    let place = Place::new();
    for (name, dim, modality) in [("i.npy", 12, 0), ("t.npy", 7, 1)] {
        fs::write(
            place.file(name),
            npy(dim, false, &features(40, dim, modality)),
        )
        .expect("written");
    }
    let line = "--modality image=i.npy --modality text=t.npy --batch 8 --dim 8 --steps 100";
    let metrics = metrics(&place, line, "run");
    assert!(metrics["text_to_image_r10"].as_f64().expect("a number") > 0.5);
}

#[test]
fn two_to_eight_modalities_are_aligned() {
    let place = Place::new();
    for dims in [&[6, 5][..], &[6, 5, 4, 3], &[3; 8]] {
        let k = dims.len();
        place.write("d.safetensors", &modalities(30, dims));
        let line = "--data d.safetensors --batch 8 --dim 10 --hidden 4 --steps 12";
        let metrics = metrics(&place, line, &format!("run{k}"));
        assert!(metrics.contains_key("b_to_a_r1"), "{metrics:?}");
        let text = place.train(&format!("--resume run{k}"));
        assert!(text.contains("a→") && text.contains("12 steps"), "{text}");
        let untrained = text.lines().find(|line| line.contains("untrained"));
        assert!(
            k > 3 || untrained.is_some_and(|line| line.contains('.')),
            "{text}"
        );
    }
}

#[test]
fn large_galleries_are_ranked_in_parts() {
    let place = Place::new();
    place.write("d.safetensors", &modalities(600, &[12, 9, 5]));
    place.write("t.safetensors", &modalities(300, &[12, 9, 5]));
    let line = "--data d.safetensors --dim 8 --hidden 16 --batch 32 --lr 0.01 --steps 100";
    for (test, out) in [("", "whole"), ("--test t.safetensors", "part")] {
        let metrics = metrics(&place, &format!("{line} {test}"), out);
        for name in ["a_to_b_r10", "a_to_b+c_distance_r10", "b_to_a+c_cosine_r10"] {
            let found = metrics[name].as_f64().expect("a number");
            assert!(found > 0.3, "{name}: {found}");
        }
    }
}

#[test]
fn rows_of_zeros_are_missing_modalities() {
    let place = Place::new();
    let mut rows = [features(48, 12, 0), features(48, 9, 1), features(48, 5, 2)];
    let dims = [12, 9, 5];
    for (modality, (rows, dim)) in rows.iter_mut().zip(dims).enumerate() {
        for (row, values) in rows.chunks_mut(dim).enumerate() {
            // Many items lack one modality, some two, one all.
            if row % 4 == modality || row % 11 <= modality || row == 40 {
                values.fill(0.0);
            }
        }
    }
    let tensors = |rows: &[Vec<f32>; 3]| -> Vec<Raw> {
        let each = rows.iter().zip(dims).zip(["a", "b", "c"]);
        each.map(|((rows, dim), name)| floats(name, "F32", dim, rows))
            .collect()
    };
    place.write("d.safetensors", &tensors(&rows));
    rows[0].fill(0.0);
    place.write("t.safetensors", &tensors(&rows));
    for loss in ["gram", "gram-symmetric", "cosine", "cosine-pairs"] {
        let line = format!(
            "--data d.safetensors --test t.safetensors --loss {loss} --batch 8 --dim 8 --hidden 8 --steps 60"
        );
        metrics(&place, &line, loss);
        place.train(&format!("--resume {loss}"));
    }
}

/// What is told on stderr of data, without the folder.
fn told_of_data(place: &Place, line: &str) -> Vec<String> {
    let output = place.run(line);
    assert!(output.status.success(), "{line}: {output:?}");
    let folder = format!("{}/", place.0.path().display());
    let text = String::from_utf8(output.stderr).expect("text");
    let text = text.replace(&folder, "");
    let parts = [" data: ", " numbers, ", "are absent"];
    let is_told = |line: &&str| parts.iter().any(|part| line.contains(part));
    let is_other = |line: &&str| line.contains("no --test data");
    let told = text.lines().filter(is_told).filter(|line| !is_other(line));
    told.map(String::from).collect()
}

#[test]
fn what_the_files_hold_is_told_in_the_order_of_its_use() {
    let place = Place::new();
    let mut videos = features(20, 6, 0);
    videos[6 * 5..6 * 8].fill(0.0);
    let (texts, sounds) = (features(20, 4, 1), features(20, 5, 2));
    let mut tensors = vec![
        floats("video", "F32", 6, &videos),
        floats("text", "F32", 4, &texts),
        floats("sound", "F32", 5, &sounds),
        labels("I64", &(0..20).map(|row| row / 2).collect::<Vec<_>>()),
    ];
    place.write("d.safetensors", &tensors);
    tensors.pop();
    place.write("t.safetensors", &tensors);
    let line = "--data d.safetensors --batch 8 --hidden 0 --steps 2";
    let set = [
        "  1. sound  20 rows of 5 numbers, none absent",
        "  2. text   20 rows of 4 numbers, none absent, the anchor",
        "  3. video  17 rows of 6 numbers, 3 absent (zeros)",
    ];
    let train = "training data: d.safetensors, 20 items, 10 different labels, batches of 8";
    let mut expected = vec![train];
    expected.extend(set);
    expected.push("test data: t.safetensors, 20 items, no labels");
    expected.extend(set);
    let ranked = "warning: 3 rows of what is evaluated are absent: rank by distance (dist), since volumes of different numbers of vectors do not compare well";
    expected.push(ranked);
    let tested = format!("{line} --test t.safetensors --out run");
    assert_eq!(told_of_data(&place, &tested), expected);
    assert_eq!(told_of_data(&place, "--resume run"), expected);
    let anchored = told_of_data(&place, &format!("{line} --anchor video --out anchored"));
    let is_anchor = |line: &&String| line.contains("anchor");
    let anchors: Vec<&String> = anchored.iter().filter(is_anchor).collect();
    assert_eq!(
        anchors,
        ["  3. video  17 rows of 6 numbers, 3 absent (zeros), the anchor"]
    );
    let quiet = told_of_data(&place, &format!("{line} --quiet --out quiet"));
    assert_eq!(quiet, [ranked]);

    fs::write(place.file("v.npy"), npy(6, false, &videos)).expect("written");
    fs::write(place.file("s.npy"), npy(5, false, &sounds)).expect("written");
    let line = "--modality video=v.npy --modality sound=s.npy --batch 8 --hidden 0 --steps 2";
    let expected = [
        "training data: 20 items, no labels, 3 items with fewer than two modalities, batches of 8",
        "  1. video  17 rows of 6 numbers, 3 absent (zeros), the anchor, v.npy",
        "  2. sound  20 rows of 5 numbers, none absent, s.npy",
    ];
    let arrays = told_of_data(&place, &format!("{line} --out arrays"));
    assert_eq!(arrays, expected);

    let text = place.train(&format!("{line} --json --quiet --out json"));
    let all = lines(&text);
    let inputs: Vec<&Value> = all
        .iter()
        .filter(|line| line["event"] == "inputs")
        .collect();
    let [inputs] = inputs[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (&inputs["anchor"], &inputs["batch"]),
        (&json!("video"), &json!(8))
    );
    let video = &inputs["train"]["modalities"][0];
    assert_eq!(
        (&video["name"], &video["rows"], &video["absent"]),
        (&json!("video"), &json!(17), &json!(3))
    );
    assert_eq!(inputs["train"]["alone"], 3);
}

#[test]
fn data_that_teach_nothing_are_refused() {
    let place = Place::new();
    let of = |name: &str, there: std::ops::Range<usize>| {
        let mut rows = features(20, 4, 0);
        for (row, values) in rows.chunks_mut(4).enumerate() {
            if !there.contains(&row) {
                values.fill(0.0);
            }
        }
        floats(name, "F32", 4, &rows)
    };
    let refused = |tensors: &[Raw], parts: &[&str]| {
        place.write("d.safetensors", tensors);
        place.refused("--data d.safetensors --batch 8 --steps 2", parts);
    };
    refused(
        &[of("a", 0..20), of("b", 0..20), of("c", 0..0)],
        &[
            "the training data",
            "modality \"c\"",
            "all of its 20 rows are zeros",
        ],
    );
    refused(
        &[of("a", 0..11), of("b", 10..20)],
        &["19 of 20 items", "at least 2 with two modalities"],
    );
    place.write("d.safetensors", &[of("a", 0..11), of("b", 9..20)]);
    place.train("--data d.safetensors --batch 8 --steps 2 --quiet --out run");
}

#[test]
fn every_schedule_decay_and_loss_trains() {
    let place = own_data();
    let base = "--data d.safetensors --dim 8 --batch 16 --budgets 10,20";
    let mut run = 0;
    let mut each = |flags: &str| {
        run += 1;
        metrics(&place, &format!("{base} {flags}"), &format!("run{run}"));
        let folder = place.file(&format!("run{run}"));
        for budget in ["budget-000010.safetensors", "budget-000020.safetensors"] {
            assert!(folder.join(budget).is_file(), "{flags}: no {budget}");
        }
    };
    for schedule in ["wsd-s", "wsd", "cosine", "cyclic", "constant"] {
        each(&format!("--schedule {schedule} --hidden 0"));
    }
    for decay in words(
        "inverse-proportional linear cosine one-minus-sqrt one-minus-square geometric inverse-sqrt \
         exponential polynomial:1.7 half-life:3",
    ) {
        each(&format!("--decay {decay} --hidden 4 --decay-fraction 0.4"));
    }
    for loss in ["gram", "gram-symmetric", "cosine", "cosine-pairs"] {
        each(&format!(
            "--loss {loss} --pairs 0.2 --hidden 0 --warmup-cosine 3"
        ));
    }
    // Branches that begin at step 0 go back to the initial weights.
    each("--schedule wsd --decay-fraction 1 --warmup 0 --hidden 0");
}

#[test]
fn branches_that_begin_at_step_0_are_resumed() {
    for flags in [
        "--loss cosine --budgets 1,10",
        "--warmup 0 --decay-fraction 1 --budgets 10,20",
    ] {
        let place = own_data();
        let line = format!("{OWN} --schedule wsd {flags}");
        place.train(&format!("{line} --quiet --out whole"));
        place.train(&format!("{line} --quiet --out run"));
        // As if it had been stopped before anything but its configuration was written.
        for file in files(&place.file("run")).into_keys() {
            if !file.to_string_lossy().starts_with("config.") {
                fs::remove_file(place.file("run").join(file)).expect("removed");
            }
        }
        place.train("--resume run --quiet");
        assert_same(&place.file("run"), &place.file("whole"));
    }
}

#[test]
fn files_that_are_not_what_they_say_are_refused() {
    let place = own_data();
    let good = fs::read(place.file("d.safetensors")).expect("a file");
    let with_header = |text: &str| {
        let length = (text.len() as u64).to_le_bytes();
        [&length[..], text.as_bytes(), &[0; 32]].concat()
    };
    let huge = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,32]}}"#;
    let lying = r#"{"a":{"dtype":"F32","shape":[3,4],"data_offsets":[0,32]}}"#;
    let far = r#"{"a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},"b":{"dtype":"F32","shape":[9,9],"data_offsets":[32,356]}}"#;
    let cases: [(&str, Vec<u8>); 8] = [
        ("0 bytes", Vec::new()),
        ("cut off", good[..good.len() - 3].to_vec()),
        ("cut off", good[..40].to_vec()),
        ("header", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("\"a\"", with_header(huge)),
        ("\"a\"", with_header(lying)),
        ("bad.safetensors", with_header(far)),
        ("header", with_header("no JSON")),
    ];
    for (part, bytes) in cases {
        fs::write(place.file("bad.safetensors"), bytes).expect("written");
        place.refused(
            "--data bad.safetensors --batch 8",
            &["bad.safetensors", part],
        );
        let test = "--data d.safetensors --batch 8 --test bad.safetensors";
        place.refused(test, &["bad.safetensors", part]);
    }
    place.refused("--data none.safetensors", &["none.safetensors"]);
    place.refused("--data .", &["cannot be read"]);
    place.refused("--modality a=none.npy --modality b=none.npy", &["none.npy"]);
    fs::write(
        place.file("x.npy"),
        &npy(4, false, &features(6, 4, 0))[..90],
    )
    .expect("written");
    place.refused("--modality a=x.npy --modality b=x.npy", &["x.npy"]);
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let place = own_data();
    let bad = |tensors: &[Raw], flags: &str, parts: &[&str]| {
        place.write("bad.safetensors", tensors);
        let batch = if flags.contains("--batch") {
            ""
        } else {
            "--batch 8"
        };
        place.refused(&format!("--data bad.safetensors {batch} {flags}"), parts);
    };
    let of = |name: &str, n: usize| floats(name, "F32", 4, &features(n, 4, 0));
    bad(
        &[of("a", 20), of("b", 19)],
        "",
        &["bad.safetensors", "\"b\"", "19"],
    );
    bad(&[of("a", 20)], "", &["bad.safetensors", "two modalities"]);
    bad(&[], "", &["bad.safetensors", "two modalities"]);
    bad(
        &[of("a", 20), labels("I64", &[0; 20])],
        "",
        &["two modalities"],
    );
    bad(
        &[of("a", 20), of("b", 20), labels("I64", &[0; 7])],
        "",
        &["labels", "7"],
    );
    bad(
        &[of("a", 20), of("b", 20), labels("I64", &[3; 20])],
        "",
        &["--batch", "labels"],
    );
    for x in [f32::NAN, f32::INFINITY] {
        let mut rows = features(20, 4, 0);
        rows[4 * 13 + 2] = x;
        let tensors = [of("a", 20), floats("b", "F32", 4, &rows)];
        bad(
            &tensors,
            "",
            &["bad.safetensors", "\"b\"", "row 13", "column 2"],
        );
        place.refused(
            "--data d.safetensors --test bad.safetensors --batch 8",
            &["bad.safetensors", "row 13"],
        );
    }
    bad(&modalities(20, &[3; 9]), "", &["9 modalities", "8"]);
    bad(
        &[of("a", 20), of("b", 20)],
        "--anchor c",
        &["--anchor", "\"c\"", "a, b"],
    );
    place.refused("--data bad.safetensors --batch 21", &["--batch", "21"]);
    bad(&[of("a", 20), of("b", 20)], "--noise loud:1", &["--noise"]);
    let own = "--data d.safetensors --batch 8 --test bad.safetensors";
    place.write("bad.safetensors", &modalities(48, &[12, 9]));
    place.refused(own, &["bad.safetensors", "\"c\""]);
    place.write("bad.safetensors", &modalities(48, &[12, 9, 4]));
    place.refused(own, &["bad.safetensors", "\"c\"", "dimension 4"]);
}

#[cfg(feature = "demo-data")]
#[test]
fn flags_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.refused("--budgets 40,20", &["--budgets"]);
    place.refused("--budgets 20,40 --warmup 30", &["--warmup", "30"]);
    place.refused("--budgets 20,40 --schedule wsd --warmup 30", &["--warmup"]);
    place.refused("--noise none --budgets 20,40 --warmup 30", &["--warmup"]);
    place.refused("--steps 20 --batch 101", &["--batch", "101"]);
    place.refused("--noise none --steps 20 --batch 201", &["--batch", "201"]);
    place.refused(
        "--anchor smell",
        &["--anchor", "smell", "text, image, audio"],
    );
    place.refused("--steps 9 --save-every 0", &["--save-every"]);
    place.refused("--loss none", &["--loss"]);
    place.refused("--schedule none", &["--schedule"]);
}
