//! Checkpoints and run folders, with what killed processes and damaged files leave.

use std::fs;
use std::path::{Path, PathBuf};

use rivergram::error::Error;
use rivergram::store::{
    BUDGETS, CONFIG, CONFIG_COPY, Checkpoint, LATEST, LOCK, MAINS, METRICS, PREVIOUS, RELEASES,
    RunFolder, Tensor, UPDATE, budget_name, main_name, moved_name, release_name,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn checkpoint(step: u64) -> Checkpoint {
    let bits = [0x7fc0_1234, 0x8000_0000, 1, 0x7f80_0000].map(f32::from_bits);
    Checkpoint {
        tensors: vec![
            Tensor::new("head.image.weight", vec![2, 2], bits.to_vec()),
            Tensor::new("head.audio.bias", vec![1], vec![step as f32]),
            Tensor::new("scalar", vec![], vec![4.0]),
            Tensor::new("empty", vec![0, 3], vec![]),
        ],
        schedule: vec![1, 2, 3, 250, 0],
        step,
        metadata: [("config", "abc"), ("path", "avx2 \"x\"\n")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
    }
}

fn assert_same(a: &Checkpoint, b: &Checkpoint) {
    // By bytes: a NaN among the weights is kept bit for bit but equals nothing.
    assert_eq!(a.to_bytes().expect("sound"), b.to_bytes().expect("sound"));
}

#[track_caller]
fn assert_says<T: std::fmt::Debug>(result: Result<T, Error>, code: u8, words: &[&str]) {
    let error = result.expect_err("an error");
    let line = error.to_string();
    assert_eq!(error.exit_code(), code, "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    for word in words {
        assert!(line.contains(word), "\"{word}\" is not in: {line}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_comes_back_bit_for_bit() {
    let file = Path::new("x.safetensors");
    let bytes = checkpoint(7).to_bytes().expect("sound");
    let back = Checkpoint::from_bytes(file, &bytes).expect("readable");
    assert_same(&back, &checkpoint(7));
    assert_eq!(
        (back.step, back.schedule.as_slice()),
        (7, &[1, 2, 3, 250, 0][..])
    );
    assert_eq!(back.metadata, checkpoint(7).metadata);
    let weight = back
        .values(file, "head.image.weight", &[2, 2])
        .expect("there");
    assert_eq!(weight[0].to_bits(), 0x7fc0_1234);
    assert_says(
        back.values(file, "head.image.weight", &[4]),
        2,
        &["head.image.weight", "[2, 2]", "[4]"],
    );
    assert_says(
        back.values(file, "nothing", &[4]),
        2,
        &["x.safetensors", "\"nothing\"", "missing"],
    );
    let empty = Checkpoint::default();
    let bytes = empty.to_bytes().expect("sound");
    assert_eq!(
        Checkpoint::from_bytes(file, &bytes).expect("readable"),
        empty
    );
}

#[test]
fn bytes_depend_on_content_alone() {
    let bytes = checkpoint(7).to_bytes().expect("sound");
    let mut turned = checkpoint(7);
    turned.tensors.reverse();
    assert_eq!(turned.to_bytes().expect("sound"), bytes);
    assert_ne!(checkpoint(8).to_bytes().expect("sound"), bytes);
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    assert_eq!(start % 8, 0, "the payload is aligned");
}

#[test]
fn other_readers_can_read_a_checkpoint() {
    let bytes = checkpoint(7).to_bytes().expect("sound");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "empty",
            "head.audio.bias",
            "head.image.weight",
            "scalar",
            "schedule"
        ]
    );
    assert_eq!(
        tensors.tensor("head.image.weight").expect("there").shape(),
        [2, 2]
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let file = Path::new("x.safetensors");
    let bytes = checkpoint(7).to_bytes().expect("sound");
    for i in 0..bytes.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut bad = bytes.clone();
            bad[i] ^= bit;
            if let Ok(read) = Checkpoint::from_bytes(file, &bad) {
                // Only the way of writing changed, such as the case of a hexadecimal digit or a space.
                assert_same(&read, &checkpoint(7));
            }
        }
        assert_says(
            Checkpoint::from_bytes(file, &bytes[..i]),
            2,
            &["x.safetensors"],
        );
    }
    let mut payload = bytes.clone();
    let last = payload.len() - 1;
    payload[last] ^= 4;
    assert_says(
        Checkpoint::from_bytes(file, &payload),
        2,
        &["x.safetensors", "damaged", "checksum"],
    );
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let file = Path::new("x.safetensors");
    let of = |header: &str, payload: &[u8]| {
        let length = (header.len() as u64).to_le_bytes();
        Checkpoint::from_bytes(file, &[&length[..], header.as_bytes(), payload].concat())
    };
    let meta =
        |rest: &str| format!(r#"{{"__metadata__":{{"format":"rivergram-checkpoint-1",{rest}}}}}"#);
    assert_says(of("{}", &[]), 2, &["no checkpoint"]);
    assert_says(
        of(r#"{"__metadata__":{"format":"pt"}}"#, &[]),
        2,
        &["\"pt\"", "rivergram-checkpoint-1"],
    );
    assert_says(
        of(&meta(r#""step":"-1","crc32":"0""#), &[]),
        2,
        &["\"step\"", "\"-1\""],
    );
    assert_says(of(&meta(r#""step":"1""#), &[]), 2, &["no \"crc32\""]);
    assert_says(
        of(&meta(r#""step":"1","crc32":"00000000""#), &[]),
        2,
        &["\"schedule\"", "missing"],
    );
    let typed = |name: &str, dtype: &str| {
        let header = meta(r#""step":"1","crc32":"00000000""#);
        let tensor =
            format!(r#","{name}":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,4]}}}}"#);
        header[..header.len() - 1].to_owned() + &tensor
    };
    assert_says(of(&typed("w", "I32"), &[0; 4]), 2, &["\"w\"", "I32", "F32"]);
    assert_says(
        of(&typed("schedule", "F32"), &[0; 4]),
        2,
        &["\"schedule\"", "F32", "U8"],
    );
    assert_says(
        Checkpoint::read(Path::new("/nowhere/y")),
        2,
        &["/nowhere/y", "cannot be read"],
    );
}

#[test]
fn what_the_file_cannot_hold_is_refused() {
    let with = |tensor: Tensor| Checkpoint {
        tensors: vec![tensor, Tensor::new("b", vec![1], vec![0.0])],
        ..Checkpoint::default()
    };
    assert_says(
        with(Tensor::new("a", vec![2], vec![0.0])).to_bytes(),
        2,
        &["\"a\"", "1 values", "[2]"],
    );
    assert_says(
        with(Tensor::new("a", vec![usize::MAX, 2], vec![0.0])).to_bytes(),
        2,
        &["\"a\""],
    );
    assert_says(
        with(Tensor::new("b", vec![1], vec![0.0])).to_bytes(),
        2,
        &["\"b\"", "twice"],
    );
    for name in ["schedule", "__metadata__"] {
        assert_says(
            with(Tensor::new(name, vec![1], vec![0.0])).to_bytes(),
            2,
            &[name, "reserved"],
        );
    }
    let mut reserved = Checkpoint::default();
    reserved.metadata.insert("step".to_owned(), "9".to_owned());
    assert_says(reserved.to_bytes(), 2, &["\"step\"", "reserved"]);
}

fn config() -> Value {
    json!({"seed": 3, "budgets": [600, 1000], "peak": 0.1})
}

#[test]
fn a_run_folder_is_made_and_opened_again() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("runs/first");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    assert_eq!(names(&path), [CONFIG_COPY, CONFIG, LOCK]);
    assert!(run.latest().expect("none yet").is_none());
    run.save(&budget_name(600), &checkpoint(600))
        .expect("space");
    run.save(LATEST, &checkpoint(600)).expect("space");
    run.save(LATEST, &checkpoint(700)).expect("space");
    assert_eq!(
        names(&path),
        [
            "budget-000600.safetensors",
            CONFIG_COPY,
            CONFIG,
            LATEST,
            LOCK
        ]
    );
    assert_says(
        RunFolder::open::<Value>(&path),
        2,
        &["runs/first", "another process"],
    );
    drop(run);
    assert_says(
        RunFolder::create(&path, &config()),
        2,
        &["a run already", "--resume", "runs/first"],
    );

    let (run, read) = RunFolder::open::<Value>(&path).expect("a run");
    assert_eq!(read, config());
    assert_same(
        &run.latest().expect("sound").expect("there"),
        &checkpoint(700),
    );
    assert_same(
        &run.load("budget-000600.safetensors").expect("there"),
        &checkpoint(600),
    );
    assert_says(
        run.save("../x.safetensors", &checkpoint(1)),
        2,
        &["../x.safetensors", "plain file name"],
    );
    assert_says(run.load(""), 2, &["plain file name"]);
}

#[test]
fn only_a_free_folder_becomes_a_run() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("a");
    fs::create_dir(&path).expect("space");
    // What a process killed before its configuration was written leaves.
    fs::write(path.join(LOCK), "").expect("space");
    fs::write(path.join("config.json.tmp"), "{").expect("space");
    drop(RunFolder::create(&path, &config()).expect("free"));

    fs::write(place.path().join("thesis.txt"), "x").expect("space");
    assert_says(
        RunFolder::create(place.path(), &config()),
        2,
        &["not empty"],
    );
    assert!(
        !place.path().join(LOCK).exists(),
        "nothing is left where nothing was made"
    );
    let file = place.path().join("thesis.txt");
    assert_says(
        RunFolder::create(&file, &config()),
        2,
        &["thesis.txt", "not a folder"],
    );
    assert_says(
        RunFolder::create(&file.join("x"), &config()),
        1,
        &["thesis.txt/x", "cannot make the folder"],
    );
}

#[test]
fn only_a_run_is_opened() {
    let place = TempDir::new().expect("a folder");
    assert_says(
        RunFolder::open::<Value>(&place.path().join("no")),
        2,
        &["no such folder"],
    );
    assert_says(RunFolder::open::<Value>(place.path()), 2, &[CONFIG]);
    assert!(names(place.path()).is_empty());
    fs::write(place.path().join(CONFIG), "{\"seed\": 1").expect("space");
    assert_says(
        RunFolder::open::<Value>(place.path()),
        2,
        &[CONFIG, "no configuration"],
    );
}

#[test]
fn unfinished_files_are_removed_and_nothing_else_is_touched() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    run.save(LATEST, &checkpoint(5)).expect("space");
    run.metrics(0)
        .expect("a log")
        .append(&json!({"step": 5}))
        .expect("space");
    drop(run);
    let contents = |path: &Path| -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
        let read = |name: String| {
            let file = path.join(&name);
            let changed = fs::metadata(&file)
                .and_then(|m| m.modified())
                .expect("a file");
            (name, fs::read(&file).expect("a file"), changed)
        };
        names(path).into_iter().map(read).collect()
    };
    let before = contents(&path);
    fs::write(path.join("latest.safetensors.tmp"), [1; 100]).expect("space");
    let (run, _) = RunFolder::open::<Value>(&path).expect("a run");
    assert!(run.unfinished().expect("a list").is_empty());
    drop(run.metrics(1).expect("a log"));
    drop(run);
    assert_eq!(contents(&path), before);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    run.save(LATEST, &checkpoint(1)).expect("space");
    // A folder in the way of the unfinished file stands for a disk that refuses.
    fs::create_dir(path.join("latest.safetensors.tmp")).expect("space");
    assert_says(
        run.save(LATEST, &checkpoint(2)),
        1,
        &["latest.safetensors", "cannot write it"],
    );
    assert_eq!(run.latest().expect("sound").expect("there").step, 1);
}

/// A device that is always full, where there is one.
#[test]
fn a_full_disk_is_named() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    link(full, &path.join("latest.safetensors.tmp"));
    assert_says(
        run.save(LATEST, &checkpoint(2)),
        1,
        &["latest.safetensors", "cannot write it", "space"],
    );
    assert_eq!(
        names(&path),
        [CONFIG_COPY, CONFIG, LOCK],
        "nothing half-written is left"
    );
}

#[test]
fn a_latest_checkpoint_that_stays_is_the_previous_one() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    for (step, stays) in [(1, false), (2, true), (3, true), (4, false)] {
        run.save_latest(&checkpoint(step), stays).expect("space");
    }
    assert!(run.unfinished().expect("a list").is_empty());
    let lost = Error::input("this", "lost");
    assert_eq!(run.previous(&lost).expect("whole").step, 2);
    assert_eq!(run.latest().expect("whole").expect("there").step, 4);
    run.check().expect("whole");
    fs::remove_file(path.join(LATEST)).expect("removed");
    assert_says(run.latest(), 2, &[LATEST, "missing"]);
    run.check().expect("the previous one is left");
    fs::write(path.join(PREVIOUS), "x").expect("written");
    assert_says(run.check(), 2, &[LATEST, PREVIOUS, "put a copy"]);
}

#[test]
fn the_newest_of_a_kind_stay() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    // More digits than the names are padded to, and releases by their starts, then by their ends.
    for name in [
        budget_name(900),
        budget_name(1_000_000),
        release_name(100, 110),
        release_name(105, 110),
        release_name(105, 109),
        main_name(90),
    ] {
        run.save(&name, &checkpoint(1)).expect("space");
    }
    run.keep(BUDGETS, 1, &budget_name(1_000_000))
        .expect("removed");
    run.keep(RELEASES, 2, &release_name(105, 110))
        .expect("removed");
    run.keep(MAINS, 2, &main_name(90)).expect("removed");
    let expected = [
        budget_name(1_000_000),
        main_name(90),
        release_name(105, 109),
        release_name(105, 110),
    ];
    assert_eq!(run.checkpoints().expect("a list"), expected);
}

#[test]
fn what_was_just_written_stays_and_the_updates_tell_what_is_old() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    let save = |name: &str, update: Option<u64>| {
        let mut checkpoint = checkpoint(1);
        let update = update.map(|update| (UPDATE.to_string(), update.to_string()));
        checkpoint.metadata.extend(update);
        run.save(name, &checkpoint).expect("space");
    };
    let left = || run.checkpoints().expect("a list");
    // Written in the order of the updates, and not in that of the steps.
    save(&moved_name(20, 60), Some(60));
    save(&budget_name(40), Some(64));
    run.keep(BUDGETS, 1, &budget_name(40)).expect("removed");
    assert_eq!(left(), [budget_name(40)]);
    // One of a later time, one that does not say it, and one that is damaged go first.
    save(&budget_name(50), Some(70));
    save(&budget_name(90), Some(200));
    save(&budget_name(91), None);
    fs::write(path.join(budget_name(92)), "x").expect("written");
    save(&budget_name(60), Some(80));
    run.keep(BUDGETS, 3, &budget_name(60)).expect("removed");
    assert_eq!(left(), [40, 50, 60].map(budget_name));
    // No fewer than the one that was just written.
    run.keep(BUDGETS, 0, &budget_name(40)).expect("removed");
    assert_eq!(left(), [budget_name(40)]);
}

#[test]
fn a_latest_checkpoint_that_cannot_be_written_leaves_both() {
    let place = TempDir::new().expect("a folder");
    let path = place.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    run.save_latest(&checkpoint(1), false).expect("space");
    run.save_latest(&checkpoint(2), true).expect("space");
    for name in [LATEST, PREVIOUS] {
        // A folder in the way stands for a disk that refuses.
        let in_the_way = path.join(format!("{name}.tmp"));
        fs::create_dir(&in_the_way).expect("space");
        assert_says(
            run.save_latest(&checkpoint(3), true),
            1,
            &[name, "cannot write it"],
        );
        fs::remove_dir(&in_the_way).expect("removed");
        assert!(run.unfinished().expect("a list").is_empty());
        assert_eq!(run.load(LATEST).expect("whole").step, 2);
        assert_eq!(run.load(PREVIOUS).expect("whole").step, 1);
    }
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).expect("a link");
}

#[cfg(not(unix))]
fn link(_to: &Path, _at: &Path) {}

fn log(folder: &TempDir) -> (RunFolder, PathBuf) {
    let path = folder.path().join("run");
    let run = RunFolder::create(&path, &config()).expect("a new folder");
    let file = run.file(METRICS);
    (run, file)
}

/// A line with its checksum, worked out by the rule of the format: over the object without the last field.
fn line(object: &str) -> String {
    let fields = object.strip_suffix('}').expect("an object");
    let crc = crc32fast::hash(object.as_bytes());
    format!("{fields},\"crc32\":\"{crc:08x}\"}}\n")
}

#[test]
fn metrics_are_cut_off_at_the_checkpoint() {
    let place = TempDir::new().expect("a folder");
    let (run, file) = log(&place);
    let mut metrics = run.metrics(0).expect("a log");
    for line in [
        json!({"run": "gram"}),
        json!({"step": 1}),
        json!({"step": 2}),
        json!({"step": 3}),
    ] {
        metrics.append(&line).expect("space");
    }
    assert_eq!(metrics.lines(), 4);
    metrics.sync().expect("a disk");
    drop(metrics);
    let mut metrics = run.metrics(3).expect("a log");
    assert_eq!(metrics.lines(), 3);
    metrics
        .append(&json!({"step": 3, "again": true}))
        .expect("space");
    let objects = [
        r#"{"run":"gram"}"#,
        r#"{"step":1}"#,
        r#"{"step":2}"#,
        r#"{"again":true,"step":3}"#,
    ];
    let text: String = objects.map(line).concat();
    assert_eq!(fs::read_to_string(&file).expect("a log"), text);
    assert_eq!(run.metrics(9).expect("a log").lines(), 4);
    assert_eq!(fs::read_to_string(&file).expect("a log"), text);
    assert_eq!(run.metrics(0).expect("a log").lines(), 0);
    assert_eq!(fs::read_to_string(&file).expect("a log"), "");
}

#[test]
fn what_is_no_line_is_refused() {
    let place = TempDir::new().expect("a folder");
    let (run, file) = log(&place);
    let mut metrics = run.metrics(0).expect("a log");
    for line in [json!({}), json!([1]), json!("a}"), json!(null)] {
        assert_says(metrics.append(&line), 2, &[METRICS, "a JSON object"]);
    }
    assert_eq!(metrics.lines(), 0);
    assert_eq!(fs::read(&file).expect("a log"), b"");
}

#[test]
fn a_torn_line_is_cut_off() {
    let whole = [r#"{"step":1}"#, r#"{"step":2}"#].map(line).concat();
    let (third, fourth) = (line(r#"{"step":3}"#), line(r#"{"step":4}"#));
    let torn = &third[..third.len() - 1];
    for torn in [
        "{",
        "{\"step\":3}",
        "{\"step\":3}\n",
        "{\"step\":3",
        "\u{0}\u{0}\u{0}",
        "\n",
        torn,
        &format!("{}{fourth}", third.replace('3', "5")),
        &format!("{}{fourth}", third.replace("crc32", "crc33")),
        &format!("{torn}{fourth}"),
    ] {
        let place = TempDir::new().expect("a folder");
        let (run, file) = log(&place);
        fs::write(&file, format!("{whole}{torn}")).expect("space");
        let mut metrics = run.metrics(9).expect("a log");
        assert_eq!(metrics.lines(), 2, "after {torn:?}");
        metrics.append(&json!({"step": 9})).expect("space");
        let text = fs::read_to_string(&file).expect("a log");
        assert_eq!(
            text,
            format!("{whole}{}", line(r#"{"step":9}"#)),
            "after {torn:?}"
        );
    }
}
