//! Plans that change while they run: budgets that are added, decays on request, units other than steps.

use rivergram::schedule;
use rivergram::store::Checkpoint;
use rivergram::train::{self, JobKind, RunOptions};
use rivergram_core::schedule::State;

use super::*;

/// Steps that no test waits for.
const ENDLESS: u64 = 1 << 63;

fn line(schedule: &str) -> String {
    format!("{OWN} --quiet --schedule {schedule}")
}

/// A run with all budgets and one that got some later have the same log and picture, and the same tensors in every
/// checkpoint; the state of the schedule knows of the budgets that there were.
fn assert_same_training(found: &Path, expected: &Path) {
    let trained = |folder: &Path| {
        let mut files = files(folder);
        files.remove(Path::new("config.json"));
        files
    };
    let names = |folder: &Path| trained(folder).into_keys().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    let has = trained(found);
    for (name, bytes) in trained(expected) {
        let place = name.display().to_string();
        let is_older = place != "latest.safetensors" && place.ends_with(".safetensors");
        if is_older {
            let tensors = |folder: &Path| {
                let read = Checkpoint::read(&folder.join(&name));
                read.expect("a checkpoint").tensors
            };
            assert!(tensors(found) == tensors(expected), "{place} differs");
        } else {
            assert!(has.get(&name) == Some(&bytes), "{place} differs");
        }
    }
}

#[test]
fn budgets_that_are_added_are_as_if_they_had_been_there() {
    for schedule in ["wsd-s", "wsd", "constant", "cyclic"] {
        let place = own_data();
        let line = line(schedule);
        place.train(&format!("{line} --budgets 20,40,70,90 --out whole"));
        place.train(&format!("{line} --budgets 20,40 --out run"));
        place.train("--resume run --add-budgets 70 --quiet");
        place.train("--resume run --add-budgets 90 --quiet");
        assert_same_training(&place.file("run"), &place.file("whole"));
        let again = place.run("--resume run --add-budgets 90");
        assert_refused(schedule, &again, &["--add-budgets", "90", "more than 90"]);
    }
}

#[test]
fn budgets_that_make_no_sense_are_refused() {
    let place = own_data();
    place.train(&format!("{} --budgets 20,40 --out run", line("cosine")));
    let before = files(&place.file("run"));
    let output = place.run("--resume run --add-budgets 60");
    assert_refused("cosine", &output, &["--add-budgets", "cosine"]);
    assert_eq!(files(&place.file("run")), before);
    let output = place.run("--add-budgets 60");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// Whether there is a checkpoint besides that of the start.
fn has_saved(folder: &Path) -> bool {
    let read = |name: &str| fs::read(folder.join(name)).ok();
    let previous = read("previous.safetensors");
    previous.is_some() && previous != read("latest.safetensors")
}

/// A run that was stopped early.
pub(super) fn stopped(place: &Place, line: &str, out: &str) {
    let folder = place.file(out);
    let mut child = place.spawn(&format!("{line} --out {out}"));
    while !has_saved(&folder) {
        assert!(
            child.try_wait().expect("a state").is_none(),
            "it ended early"
        );
    }
    child.kill().expect("killed");
    child.wait().expect("it ends");
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).expect("written");
    }
}

pub(super) fn ask(place: &Place, words: &str) -> Output {
    place.run(&format!("ask {words}"))
}

pub(super) fn asked(place: &Place, words: &str) {
    let output = ask(place, words);
    assert!(output.status.success(), "{words}: {output:?}");
}

/// A run without an end, in the folder `open`, that has something to go on from.
fn endless(place: &Place, schedule: &str) -> Child {
    endless_of(place, &line(schedule))
}

fn endless_of(place: &Place, line: &str) -> Child {
    let mut command = place.command(&format!("{line} --warmup 3 --budgets {ENDLESS} --out open"));
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    while !has_saved(&place.file("open")) {
        let state = child.try_wait().expect("a state");
        assert!(state.is_none(), "it ended early");
    }
    child
}

/// Asks the run `open`, and waits until it has heard.
fn taken(place: &Place, words: &str) {
    asked(place, words);
    while place.file("open/request.json").exists() {
        sleep(Duration::from_millis(2));
    }
}

/// The files of a folder whose names begin so, in the order of their names.
pub(super) fn named(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let names = files(folder).into_keys();
    let names = names.filter(|name| name.to_string_lossy().starts_with(begin));
    names.map(|name| folder.join(name)).collect()
}

/// Flips a bit in the middle of a file.
pub(super) fn damage(file: &Path) {
    let mut bytes = fs::read(file).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(file, bytes).expect("written");
}

/// Phase and rate of every logged step, and the log's requests and releases.
pub(super) fn log(folder: &Path) -> Vec<Value> {
    lines(&fs::read_to_string(folder.join("metrics.jsonl")).expect("a log"))
}

pub(super) fn of_kind<'a>(log: &'a [Value], event: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn a_decay_on_request_is_released_and_survives_kills() {
    for schedule in ["wsd-s", "wsd", "constant"] {
        let place = own_data();
        let line = format!("{} --warmup 3 --budgets 2000", line(schedule));
        place.train(&format!("{line} --out never-asked"));
        stopped(&place, &line, "asked");
        asked(&place, "asked decay 30");
        copy(&place.file("asked"), &place.file("killed"));
        place.train("--resume asked --quiet");
        let again = place.spawn("--resume killed --quiet");
        let mut random = Random(11);
        let mut child = again;
        for _ in 0..8 {
            sleep(random.delay(Duration::from_millis(150)));
            child.kill().expect("killed");
            child.wait().expect("it ends");
            child = place.spawn("--resume killed --quiet");
        }
        assert!(child.wait().expect("it ends").success());
        assert_same(&place.file("killed"), &place.file("asked"));
        assert!(!place.file("asked/request.json").exists());

        let log = log(&place.file("asked"));
        let requests = of_kind(&log, "request");
        assert_eq!(requests.len(), 1, "{schedule}");
        assert_eq!(
            (&requests[0]["ask"], &requests[0]["length"]),
            (&json!("decay"), &json!(30))
        );
        let start = requests[0]["step"].as_u64().expect("a step");
        let release = of_kind(&log, "budget")[0];
        assert_eq!(
            (&release["leg"], &release["step"]),
            (&json!("release"), &json!(start + 30))
        );
        let checkpoint = release["checkpoint"].as_str().expect("a name");
        assert!(
            place.file("asked").join(checkpoint).is_file(),
            "{checkpoint}"
        );
        let at = log
            .iter()
            .position(|line| line["event"] == "request")
            .expect("a request");
        let rates: Vec<f64> = log[at + 1..at + 31]
            .iter()
            .map(|l| l["rate"].as_f64().expect("a rate"))
            .collect();
        assert!(
            rates.is_sorted_by(|a, b| a >= b) && rates[0] > 10.0 * rates[29],
            "{rates:?}"
        );
        let after = &log[at + 32];
        assert_eq!(
            (&after["event"], &after["phase"]),
            (&json!("step"), &json!("stable"))
        );
        if schedule == "wsd" {
            // The decay was thrown away: the main branch is that of a run that was never asked.
            assert_eq!(after["step"], start + 1);
            for name in ["budget-002000.safetensors", "main-001800.safetensors"] {
                let weights = |run: &str| {
                    let read = Checkpoint::read(&place.file(run).join(name));
                    read.expect("a checkpoint").tensors
                };
                assert!(weights("asked") == weights("never-asked"), "{name}");
            }
        } else {
            assert_eq!(after["step"], start + 31);
            assert!(place.file("asked/before-decay.safetensors").is_file());
        }
    }
}

#[test]
fn decays_are_called_off_and_made_longer() {
    let place = own_data();
    let line = format!("{} --warmup 3 --budgets 400,800", line("wsd-s"));
    stopped(&place, &line, "run");
    // Taken together with the decay: the run takes one request after the other.
    asked(&place, "run extend 100");
    let waiting = ask(&place, "run cancel");
    let parts = ["request.json", "not taken yet", "remove"];
    assert_refused("waiting", &waiting, &parts);
    place.train("--resume run --quiet");
    let log = log(&place.file("run"));
    let budgets: Vec<&Value> = of_kind(&log, "budget")
        .iter()
        .map(|line| &line["step"])
        .collect();
    assert_eq!(budgets, [500, 800]);
    assert!(place.file("run/budget-000500.safetensors").is_file());
    let phase = |step: u64| {
        let of = |line: &&Value| line["event"] == "step" && line["step"] == step;
        log.iter().find(of).expect("a step")["phase"].clone()
    };
    assert_eq!(
        [400, 461, 500, 501].map(phase),
        ["stable", "decay", "decay", "stable"]
    );

    // A decay that runs is called off: while it goes on, and where the program waits for nothing.
    let mut child = endless(&place, "wsd-s");
    let folder = place.file("open");
    taken(&place, "open decay 100000");
    taken(&place, "open extend 1000");
    taken(&place, "open cancel");
    taken(&place, "open decay 50%");
    while named(&folder, "release-").is_empty() {
        sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let log = self::log(&folder);
    let requests: Vec<&Value> = of_kind(&log, "request")
        .iter()
        .map(|line| &line["ask"])
        .collect();
    assert_eq!(requests, ["decay", "extend", "cancel", "decay-of-seen"]);
}

#[test]
fn a_main_branch_that_is_damaged_is_not_gone_back_to() {
    for (length, then) in [(1_000_000, Some("open cancel")), (3000, None)] {
        let place = own_data();
        let child = endless(&place, "wsd");
        let folder = place.file("open");
        taken(&place, &format!("open decay {length}"));
        let main = named(&folder, "main-").pop().expect("a main branch");
        damage(&main);
        if let Some(words) = then {
            asked(&place, words);
        }
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let name = main.file_name().expect("a name").to_string_lossy();
        assert!(text.contains(&*name) && text.contains("damaged"), "{text}");
        let log = log(&folder);
        assert_eq!(of_kind(&log, "request").len(), 1);
        let last = log.last().expect("a line");
        assert_eq!(
            last["event"],
            if then.is_some() { "step" } else { "budget" }
        );
    }
}

#[test]
fn what_cannot_be_done_is_told_and_left() {
    let place = own_data();
    let refused = |schedule: &str, budgets: &str, words: &str, parts: &[&str]| {
        let out = format!("run-{schedule}-{}", words.replace(' ', "-"));
        stopped(
            &place,
            &format!("{} --warmup 3 --budgets {budgets}", line(schedule)),
            &out,
        );
        let is_fit = schedule != "cosine";
        if is_fit {
            asked(&place, &format!("{out} {words}"));
        } else {
            // Who asks is refused at once; a request that comes another way is refused as well.
            let other = format!("{} --warmup 3 --budgets {budgets}", line("wsd-s"));
            stopped(&place, &other, "other");
            asked(&place, &format!("other {words}"));
            let request = place.file("other/request.json");
            fs::rename(request, place.file(&out).join("request.json")).expect("moved");
        }
        let output = place.run(&format!("--resume {out}"));
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).expect("text");
        let warning = text.lines().find(|line| line.contains("the request"));
        let warning = warning.unwrap_or_else(|| panic!("{words}: {text}"));
        for part in parts {
            assert!(warning.contains(part), "{words}: {warning}");
        }
        let log = log(&place.file(&out));
        let requests = of_kind(&log, "request");
        assert_eq!(requests.len(), 1, "{words}");
        let reason = requests[0]["refused"].as_str().expect("a reason");
        assert!(warning.ends_with(reason), "{warning}: {reason}");
        assert!(!place.file(&out).join("request.json").exists());
        // Now it is finished.
        let late = ask(&place, &format!("{out} {words}"));
        match is_fit {
            true => assert_refused(words, &late, &["finished", "--add-budgets"]),
            false => assert_refused(words, &late, parts),
        }
    };
    refused("wsd-s", "600", "cancel", &["no decay"]);
    refused("wsd-s", "600", "decay 600", &["600", "reaches the end"]);
    refused("wsd", "600", "extend 5", &["main branch", "add budgets"]);
    refused("cosine", "600", "decay 5", &["wsd-s, wsd or constant"]);
    let none = ask(&place, "nothing cancel");
    assert_refused("nothing", &none, &["nothing: no such run folder"]);
    for (words, part) in [
        ("run decay 0", "2^63"),
        ("run decay 101%", "100%"),
        ("run", "decay"),
    ] {
        let output = ask(&place, words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(part),
            "{output:?}"
        );
    }
}

#[test]
fn schedules_count_samples_and_tokens() {
    let place = own_data();
    place.train(&format!(
        "{OWN} --quiet --unit samples --warmup 48 --budgets 320,640 --out samples"
    ));
    let log = log(&place.file("samples"));
    // Batches of 16.
    assert_eq!(of_kind(&log, "step").len(), 40);
    let budgets: Vec<&Value> = of_kind(&log, "budget")
        .iter()
        .map(|line| &line["step"])
        .collect();
    assert_eq!(budgets, [320, 640]);
    let refused = place.run(&format!("{OWN} --unit tokens --budgets 320 --out tokens"));
    assert_refused("tokens", &refused, &["--unit", "tokens"]);
}

#[cfg(feature = "demo-data")]
#[test]
fn tokens_of_ragged_batches_survive_kills() {
    // A batch of 32 strips has some 200 tokens, and no two have as many.
    let line = "--noise blank:.5 --unit tokens --warmup 2000 --budgets 15000,40000 --save-every 3";
    let place = Place::new();
    kill_and_resume(&place, line, 5, 21);
    let log = log(&place.file("whole"));
    let steps: Vec<u64> = of_kind(&log, "step")
        .iter()
        .filter_map(|line| line["step"].as_u64())
        .collect();
    let mut sizes: Vec<u64> = steps
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    assert!(sizes.len() > 10, "{sizes:?}");
}

#[test]
fn only_the_newest_budgets_are_kept() {
    let place = own_data();
    let line = line("wsd-s");
    place.train(&format!(
        "{line} --budgets 10,20,30,40 --keep-budgets 2 --out run"
    ));
    let kept: Vec<PathBuf> = files(&place.file("run"))
        .into_keys()
        .filter(|name| name.to_string_lossy().starts_with("budget-"))
        .collect();
    let names = ["budget-000030.safetensors", "budget-000040.safetensors"];
    assert_eq!(kept, names.map(PathBuf::from));
}

#[test]
fn only_the_newest_releases_and_main_branches_are_kept() {
    let place = own_data();
    let line = format!("{} --keep-budgets 1", line("wsd"));
    let mut child = endless_of(&place, &line);
    let folder = place.file("open");
    for n in 0..4 {
        taken(&place, "open decay 20");
        let releases = || {
            let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("a log");
            text.matches("\"leg\":\"release\"").count()
        };
        while releases() <= n {
            sleep(Duration::from_millis(2));
        }
    }
    // The last one is told of before older ones go.
    taken(&place, "open cancel");
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert_eq!(named(&folder, "release-").len(), 1);
    assert!(named(&folder, "main-").len() <= 2);
}

#[test]
fn a_damaged_request_is_told_and_not_taken() {
    let place = own_data();
    let line = format!("{} --warmup 3 --budgets 400", line("wsd-s"));
    stopped(&place, &line, "run");
    copy(&place.file("run"), &place.file("never"));
    place.train("--resume never --quiet");
    asked(&place, "run decay 30");
    damage(&place.file("run/request.json"));
    let output = place.run("--resume run --quiet");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("request.json: damaged: ask again"), "{text}");
    assert_same(&place.file("run"), &place.file("never"));
}

#[test]
fn another_version_is_warned_of() {
    let place = own_data();
    place.train(&format!("{} --budgets 20,40 --out run", line("wsd-s")));
    let file = place.file("run/config.json");
    let text = fs::read_to_string(&file).expect("a configuration");
    let mut options: RunOptions = serde_json::from_str(&text).expect("a configuration");
    (options.version, options.crc32) = ("0.0.1".to_string(), 0);
    options.crc32 = crc32fast::hash(&serde_json::to_vec(&options).expect("JSON"));
    let text = serde_json::to_string_pretty(&options).expect("JSON");
    fs::write(&file, format!("{text}\n")).expect("written");
    let output = place.run("--resume run --quiet");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("version 0.0.1"), "{text}");
}

#[test]
fn an_edited_configuration_is_put_back_or_refused() {
    let place = own_data();
    place.train(&format!("{} --budgets 20,40 --out run", line("wsd-s")));
    let file = place.file("run/config.json");
    let text = fs::read_to_string(&file).expect("a configuration");
    for (old, new) in [
        ("\"peak\": 0.002", "\"peak\": 0.003"),
        ("\"seed\": 0", "\"seed\": 1"),
    ] {
        let edited = text.replace(old, new);
        assert_ne!(edited, text, "{old}");
        fs::write(&file, &edited).expect("written");
        let output = place.run("--resume run --quiet");
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).expect("text");
        for part in ["config.json", "damaged or edited", "put back from its copy"] {
            assert!(told.contains(part), "{new}: {told}");
        }
        assert_eq!(fs::read_to_string(&file).expect("a file"), text);

        let copy = place.file("run/config.copy.json");
        fs::write(&file, &edited).expect("written");
        fs::write(&copy, &edited).expect("written");
        let output = place.run("--resume run");
        let parts = ["config.json", "damaged or edited", "config.copy.json"];
        assert_refused(new, &output, &parts);
        for file in [&file, &copy] {
            fs::write(file, &text).expect("written");
        }
    }
}

#[test]
fn a_run_goes_on_up_to_step_two_to_the_63() {
    const END: u64 = 1 << 63;
    const LEFT: u64 = 6;
    let place = own_data();
    let line = format!("{} --warmup 3 --budgets {END}", line("wsd-s"));
    stopped(&place, &line, "run");
    let folder = place.file("run");
    let options = train::read_options(&folder).expect("a run");
    let Some(JobKind::Align(align)) = options.jobs.first().map(|job| &job.kind) else {
        panic!("an alignment");
    };
    let legs = schedule::legs(&align.schedule).expect("legs");
    let plan = legs.first().expect("a leg").plan;
    // As if it had trained since the beginning of the universe.
    let latest = folder.join("latest.safetensors");
    let mut checkpoint = Checkpoint::read(&latest).expect("a checkpoint");
    checkpoint.step = END - LEFT;
    checkpoint.schedule = vec![0; State::<f32>::SAVED_LEN];
    let state = State::at(&plan, checkpoint.step);
    state.save(&mut checkpoint.schedule).expect("room");
    checkpoint.write(&latest).expect("written");
    // A run in a decay has the checkpoint from before it.
    let before = folder.join("before-decay.safetensors");
    checkpoint.write(&before).expect("written");
    let text = place.train("--resume run --quiet");
    assert!(text.contains(&format!("{END} steps")), "{text}");
    let name = format!("budget-{END}.safetensors");
    let last = Checkpoint::read(&folder.join(name)).expect("the budget");
    assert_eq!(last.step, END);
    let log = log(&folder);
    let steps = of_kind(&log, "step");
    let late: Vec<&&Value> = steps
        .iter()
        .filter(|line| line["step"].as_u64() > Some(END - LEFT))
        .collect();
    assert_eq!(late.len() as u64, LEFT);
    for (line, step) in late.iter().zip(END - LEFT..) {
        assert_eq!(line["step"], step + 1);
        assert_eq!(line["phase"], "decay");
        let rate = line["rate"].as_f64().map(|rate| rate as f32);
        assert_eq!(rate, Some(plan.lr_at(step)));
    }
    assert_eq!(of_kind(&log, "budget").len(), 1);
}

#[test]
fn a_checkpoint_of_another_plan_is_refused_with_what_differs() {
    let place = own_data();
    place.train(&format!(
        "{OWN} --quiet --warmup 3 --budgets 20,40 --out one"
    ));
    for (index, (more, part)) in [
        ("--budgets 20,50", "budgets"),
        ("--budgets 20,40 --lr 0.5", "rates"),
        ("--budgets 20,40 --floor 0.5", "rates"),
        ("--budgets 20,40 --warmup 2", "warmup"),
        ("--budgets 20,40 --decay linear", "decay"),
        ("--budgets 20,40 --decay-fraction 0.2", "decay"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("other-{index}");
        let more = match more.contains("--warmup") {
            true => more.to_string(),
            false => format!("--warmup 3 {more}"),
        };
        place.train(&format!("{OWN} --quiet {more} --out {out}"));
        let latest = format!("{out}/latest.safetensors");
        let copied = fs::copy(place.file("one/latest.safetensors"), place.file(&latest));
        copied.expect("copied");
        let before = files(&place.file(&out));
        let output = place.run(&format!("--resume {out}"));
        let parts = ["latest.safetensors", &format!("a plan with other {part}")];
        assert_refused(&more, &output, &parts);
        assert_eq!(files(&place.file(&out)), before, "{more}");
    }
}
