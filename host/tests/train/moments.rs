//! Runs that are asked, stopped and harmed at an exact update: they are trained in this process.

use std::sync::atomic::{AtomicBool, Ordering};

use rivergram::engine::Engine;
use rivergram::error::Error;
use rivergram::store::{Checkpoint, PREVIOUS};
use rivergram::train::{self, Ask, Context, Event, RunOptions, RunReport};
use rivergram_simd::Level;

use super::requests::{ask, copy, damage, log, named, of_kind};
use super::*;

/// Something that happens to a run.
enum Then {
    Ask(Ask),
    Stop,
    /// A copy of the folder is made, with the ending `copy`.
    Copy,
    /// What is written to a file of this name goes to a device that is full.
    #[cfg(unix)]
    Full(&'static str),
}

/// Options of a run on own data, and the folder they are for.
fn options(place: &Place, line: &str) -> RunOptions {
    let data = place.file("d.safetensors");
    let own = format!(
        "--data {} --dim 8 --hidden 8 --batch 16 --save-every 5 --quiet",
        data.display()
    );
    place.train(&format!("{own} {line} --out options"));
    let folder = place.file("options");
    let options = train::read_options(&folder).expect("a run");
    fs::remove_dir_all(folder).expect("removed");
    options
}

/// Trains in a folder, or goes on there; what is listed happens once so many updates have been made, and at 0 before
/// anything is saved.
fn go_on(
    options: &RunOptions,
    folder: &Path,
    list: &[(u64, Then)],
) -> (Result<RunReport, Error>, Vec<Event>) {
    let (stop, events) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let happens = |now: u64| {
        for (_, then) in list.iter().filter(|(at, _)| *at == now) {
            match then {
                Then::Ask(what) => drop(train::ask(folder, *what).expect("asked")),
                Then::Copy => copy(folder, &folder.with_extension("copy")),
                Then::Stop => stop.store(true, Ordering::Relaxed),
                #[cfg(unix)]
                Then::Full(name) => {
                    let at = folder.join(format!("{name}.tmp"));
                    std::os::unix::fs::symlink("/dev/full", at).expect("a link");
                }
            }
        }
    };
    let observe = |event: Event| {
        match &event {
            Event::Started { done, .. } if *done == 0 => happens(0),
            Event::Step { update, .. } => happens(*update),
            _ => {}
        }
        events.lock().expect("no panic").push(event);
    };
    let engine = Engine::new(Level::detect());
    let context = Context {
        engine: &engine,
        threads: 1,
        stop: &stop,
        observe: &observe,
    };
    let begin = || match folder.exists() {
        true => train::resume(folder, &[], &context).map(|(_, report)| report),
        false => train::run(options, folder, &context),
    };
    let mut result = begin();
    // A test beside this one that starts a process holds a copy of the lock until that process runs its program.
    let is_held = |result: &Result<RunReport, Error>| {
        let error = result.as_ref().err().map(ToString::to_string);
        error.is_some_and(|text| text.contains("another process works in this run folder"))
    };
    for _ in 0..500 {
        if !is_held(&result) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        result = begin();
    }
    (result, events.into_inner().expect("no panic"))
}

fn trained(options: &RunOptions, folder: &Path, list: &[(u64, Then)]) -> Vec<Event> {
    let (result, events) = go_on(options, folder, list);
    result.expect("it goes on");
    events
}

fn warnings(events: &[Event]) -> String {
    let of = |event: &Event| match event {
        Event::Warning { message } => Some(format!("{message}\n")),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// The steps of the log's budgets and releases, in its order.
fn ends(folder: &Path) -> Vec<u64> {
    let log = log(folder);
    let ends = of_kind(&log, "budget").into_iter();
    ends.map(|line| line["step"].as_u64().expect("a step"))
        .collect()
}

fn file_names(folder: &Path, begin: &str) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().map(|name| name.display().to_string());
    let names = named(folder, begin).into_iter();
    names.filter_map(name).collect()
}

fn step_of(folder: &Path, name: &str) -> u64 {
    Checkpoint::read(&folder.join(name))
        .expect("a checkpoint")
        .step
}

/// The updates of the log's steps: one after the other.
fn assert_counts(folder: &Path) {
    let log = log(folder);
    let steps = of_kind(&log, "step");
    let updates: Vec<u64> = steps
        .iter()
        .map(|line| line["update"].as_u64().expect("a number"))
        .collect();
    assert!(updates.is_sorted_by(|a, b| a < b), "{updates:?}");
}

const DECAYS: &str = "--schedule wsd-s --warmup 3 --decay-fraction 0.25 --budgets 40,80";

#[test]
fn a_decay_asked_for_within_a_planned_one_leaves_the_budget() {
    let place = own_data();
    let options = options(&place, DECAYS);
    // Planned decays: 30 to 40, and 60 to 80.
    let decay = || (33, Then::Ask(Ask::Decay { length: 3 }));
    let folder = place.file("run");
    trained(&options, &folder, &[decay()]);
    assert_eq!(ends(&folder), [36, 40, 80]);
    assert_eq!(
        file_names(&folder, "budget-"),
        ["budget-000040.safetensors", "budget-000080.safetensors"]
    );
    assert_eq!(
        file_names(&folder, "release-"),
        ["release-000033-000036.safetensors"]
    );
    // What is left of the planned decay begins at the peak.
    let log = log(&folder);
    let rates: Vec<f64> = of_kind(&log, "step")
        .iter()
        .map(|line| line["rate"].as_f64().expect("a rate"))
        .collect();
    assert_eq!(rates.len(), 80);
    assert!(rates[30..36].is_sorted_by(|a, b| a > b), "{rates:?}");
    assert!(rates[36..40].is_sorted_by(|a, b| a > b), "{rates:?}");
    assert!(rates[36] > 2.0 * rates[35], "{rates:?}");
    assert_eq!(rates[40], rates[20]);

    // The same where it is stopped on the way.
    for at in [34, 36, 38] {
        let stopped = place.file(&format!("stopped-{at}"));
        trained(&options, &stopped, &[decay(), (at, Then::Stop)]);
        assert_eq!(step_of(&stopped, "latest.safetensors"), at);
        trained(&options, &stopped, &[]);
        assert_eq!(ends(&stopped), [36, 40, 80]);
        for name in ["budget-000040.safetensors", "budget-000080.safetensors"] {
            let tensors =
                |folder: &Path| Checkpoint::read(&folder.join(name)).expect("whole").tensors;
            assert!(tensors(&stopped) == tensors(&folder), "{at}: {name}");
        }
    }

    // As long as the planned one is left, or longer: its end moves.
    for (length, end) in [(7, 40), (9, 42)] {
        let folder = place.file(&format!("moved-{length}"));
        let ask = (33, Then::Ask(Ask::Decay { length }));
        trained(&options, &folder, &[ask]);
        assert_eq!(ends(&folder), [end, 80]);
        assert_eq!(file_names(&folder, "release-").len(), 0);
    }
}

#[test]
fn what_was_before_a_decay_is_kept_also_where_one_follows_another() {
    let place = own_data();
    let options_of = options(&place, DECAYS);
    let folder = place.file("run");
    let decay = (33, Then::Ask(Ask::Decay { length: 3 }));
    trained(&options_of, &folder, &[decay, (38, Then::Stop)]);
    assert_eq!(step_of(&folder, "before-decay.safetensors"), 36);

    // The decay of the second budget begins where the first one ends.
    let line = "--schedule wsd-s --warmup 3 --decay-fraction 0.5 --budgets 40,80";
    let options = options(&place, line);
    let folder = place.file("next");
    trained(&options, &folder, &[(45, Then::Stop)]);
    assert_eq!(step_of(&folder, "before-decay.safetensors"), 40);
}

#[test]
fn the_checkpoint_just_written_stays() {
    let place = own_data();
    let line = "--schedule wsd --warmup 3 --budgets 20,40 --keep-budgets 1";
    let options = options(&place, line);
    let folder = place.file("run");
    // The branch of the first budget, from 18 on, goes beyond the second.
    let extend = (19, Then::Ask(Ask::Extend { by: 40 }));
    trained(&options, &folder, &[extend, (66, Then::Stop)]);
    assert_eq!(
        file_names(&folder, "budget-"),
        ["budget-000020-000060.safetensors"]
    );
    let events = trained(&options, &folder, &[]);
    assert_eq!(ends(&folder), [60, 40]);
    assert_eq!(
        file_names(&folder, "budget-"),
        ["budget-000040.safetensors"]
    );
    let again = trained(&options, &folder, &[]);
    for events in [events, again] {
        assert_eq!(warnings(&events), NO_TEST);
    }
}

#[test]
fn a_release_that_is_shorter_than_the_one_before_stays() {
    let place = own_data();
    let line = "--schedule wsd --warmup 3 --budgets 80 --keep-budgets 1";
    let options = options(&place, line);
    let folder = place.file("run");
    // The second one begins at the same step, once the first is thrown away.
    let list = [
        (10, Then::Ask(Ask::Decay { length: 8 })),
        (18, Then::Ask(Ask::Decay { length: 4 })),
    ];
    trained(&options, &folder, &list);
    assert_eq!(ends(&folder), [18, 14, 80]);
    assert_eq!(
        file_names(&folder, "release-"),
        ["release-000010-000014.safetensors"]
    );
}

#[test]
fn two_ends_of_branches_have_two_names() {
    let place = own_data();
    let line = "--schedule wsd --warmup 3 --budgets 20,40";
    let options = options(&place, line);
    let folder = place.file("run");
    let extend = (19, Then::Ask(Ask::Extend { by: 20 }));
    trained(&options, &folder, &[extend]);
    assert_eq!(ends(&folder), [40, 40]);
    assert_eq!(
        file_names(&folder, "budget-"),
        [
            "budget-000020-000040.safetensors",
            "budget-000040.safetensors"
        ]
    );
}

#[test]
fn main_branches_of_a_time_that_was_given_up_go_first() {
    let place = own_data();
    let options = options(&place, "--schedule wsd --warmup 3 --budgets 200");
    let folder = place.file("run");
    trained(&options, &folder, &[(30, Then::Stop)]);
    let old = place.file("old.safetensors");
    fs::copy(folder.join("latest.safetensors"), &old).expect("copied");
    let list = [
        (50, Then::Ask(Ask::Decay { length: 4 })),
        (70, Then::Ask(Ask::Decay { length: 4 })),
        (90, Then::Stop),
    ];
    trained(&options, &folder, &list);
    fs::copy(&old, folder.join("latest.safetensors")).expect("copied");
    let ask = (40, Then::Ask(Ask::Decay { length: 4 }));
    trained(&options, &folder, &[ask]);
    assert_eq!(ends(&folder), [44, 200]);
    let mains = file_names(&folder, "main-");
    assert!(mains.len() <= 2, "{mains:?}");
    assert!(
        mains.contains(&"main-000180.safetensors".to_string()),
        "{mains:?}"
    );
}

#[cfg(unix)]
fn is_one_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |path: &Path| fs::metadata(path).expect("a file").ino();
    number(a) == number(b)
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_two_files_to_go_on_from() {
    let place = own_data();
    let options = options(&place, "--schedule wsd-s --warmup 3 --budgets 60");
    let whole = place.file("whole");
    trained(&options, &whole, &[]);
    let folder = place.file("run");
    let full = (23, Then::Full("latest.safetensors"));
    let (result, _) = go_on(&options, &folder, &[full]);
    let text = result.expect_err("a full disk").to_string();
    assert!(text.contains("latest.safetensors"), "{text}");
    let latest = folder.join("latest.safetensors");
    assert!(!is_one_file(&latest, &folder.join(PREVIOUS)));
    assert_eq!(step_of(&folder, PREVIOUS), 15);
    assert_eq!(step_of(&folder, "latest.safetensors"), 20);
    damage(&latest);
    let told = warnings(&trained(&options, &folder, &[]));
    assert!(told.contains("going on from previous"), "{told}");
    assert_same(&folder, &whole);
}

#[cfg(unix)]
#[test]
fn a_save_that_is_killed_between_two_renames_is_finished() {
    let place = own_data();
    let options = options(&place, "--schedule constant --warmup 3 --budgets 60");
    let whole = place.file("whole");
    // Before the last save: checkpoints of 55 and of 50.
    trained(&options, &whole, &[(57, Then::Copy)]);
    let before = whole.with_extension("copy");
    assert_eq!(step_of(&whole, PREVIOUS), 55);
    assert_eq!(step_of(&before, PREVIOUS), 50);
    for done in 0..4 {
        let folder = place.file(&format!("killed-{done}"));
        copy(&before, &folder);
        let file = |name: &str| folder.join(name);
        for (from, to) in [
            ("metrics.jsonl", "metrics.jsonl"),
            ("budget-000060.safetensors", "budget-000060.safetensors"),
            ("latest.safetensors", "latest.safetensors.tmp"),
        ] {
            fs::copy(whole.join(from), file(to)).expect("copied");
        }
        let (latest, third) = (file("latest.safetensors"), file("previous.safetensors.tmp"));
        let steps: [&dyn Fn() -> std::io::Result<()>; 3] = [
            &|| fs::hard_link(&latest, &third),
            &|| fs::rename(file("latest.safetensors.tmp"), &latest),
            &|| fs::rename(&third, file(PREVIOUS)),
        ];
        for step in steps.into_iter().take(done) {
            step().expect("a name");
        }
        assert!(!is_one_file(&latest, &file(PREVIOUS)));
        assert_eq!(warnings(&trained(&options, &folder, &[])), NO_TEST);
        assert_same(&folder, &whole);
    }
}

const FROM_THE_START: &str = "--schedule wsd-s --warmup 0 --decay-fraction 1 --budgets 40";

#[cfg(unix)]
#[test]
fn a_run_that_begins_in_a_decay_can_be_stopped_before_it_has_begun() {
    let place = own_data();
    let options = options(&place, FROM_THE_START);
    let whole = place.file("whole");
    trained(&options, &whole, &[]);
    for name in ["latest.safetensors", "before-decay.safetensors"] {
        let folder = place.file(name);
        let (result, _) = go_on(&options, &folder, &[(0, Then::Full(name))]);
        let text = result.expect_err("a full disk").to_string();
        assert!(text.contains(name), "{text}");
        assert_eq!(warnings(&trained(&options, &folder, &[])), NO_TEST);
        assert_same(&folder, &whole);
    }
}

/// What every run without test data is told.
const NO_TEST: &str = "no --test data: the figures below are those of the training data\n";

#[test]
fn a_run_in_its_first_decay_has_something_to_go_back_to() {
    let place = own_data();
    let options = options(&place, FROM_THE_START);
    let whole = place.file("whole");
    trained(&options, &whole, &[]);
    for (at, name) in [
        (13, None),
        (13, Some("latest.safetensors")),
        (13, Some("before-decay.safetensors")),
        (2, Some("latest.safetensors")),
        (2, Some("before-decay.safetensors")),
    ] {
        let folder = place.file(&format!("run-{at}-{}", name.unwrap_or_default()));
        trained(&options, &folder, &[(at, Then::Stop)]);
        if let Some(name) = name {
            damage(&folder.join(name));
        }
        let told = warnings(&trained(&options, &folder, &[])).replace(NO_TEST, "");
        assert_eq!(told.lines().count(), usize::from(name.is_some()), "{told}");
        assert!(told.contains(name.unwrap_or_default()), "{told}");
        assert_same(&folder, &whole);
    }
}

/// Flips a bit of a line of a log, counted from 1.
fn damage_line(folder: &Path, number: usize) {
    let file = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&file).expect("a log");
    let harmed = |(index, line): (usize, &str)| match index + 1 == number {
        true => line.replacen("update", "uqdate", 1),
        false => line.to_string(),
    };
    let lines = text.split_inclusive('\n').enumerate();
    fs::write(&file, lines.map(harmed).collect::<String>()).expect("written");
}

#[test]
fn requests_are_made_again_after_the_log_was_damaged() {
    let place = own_data();
    let options = options(&place, "--schedule wsd-s --warmup 3 --budgets 200");
    let folder = place.file("run");
    let list = [(22, Then::Ask(Ask::Decay { length: 30 })), (31, Then::Stop)];
    trained(&options, &folder, &list);
    // The previous checkpoint is the one from before the decay.
    assert_eq!(step_of(&folder, PREVIOUS), 20);
    let stopped = place.file("stopped");
    copy(&folder, &stopped);

    // A log that is cut before the previous checkpoint, then requests, then the latest checkpoint is lost.
    damage_line(&folder, 10);
    let list = [(36, Then::Ask(Ask::Decay { length: 5 })), (38, Then::Stop)];
    let told = warnings(&trained(&options, &folder, &list));
    assert!(told.contains("lines 10 to"), "{told}");
    assert_eq!(step_of(&folder, PREVIOUS), 20);
    damage(&folder.join("latest.safetensors"));
    let told = warnings(&trained(&options, &folder, &[]));
    assert!(told.contains("going on from previous"), "{told}");
    assert!(
        told.contains("asked") && told.contains("ask again"),
        "{told}"
    );
    let updates: Vec<u64> = of_kind(&log(&folder), "request")
        .iter()
        .map(|line| line["update"].as_u64().expect("a number"))
        .collect();
    assert_eq!(updates, [36]);
    assert_counts(&folder);

    // Damage beyond the previous checkpoint alone, with the latest one: the request cannot be read.
    damage_line(&stopped, 22);
    damage(&stopped.join("latest.safetensors"));
    let told = warnings(&trained(&options, &stopped, &[]));
    assert!(
        told.contains("asked") && told.contains("ask again"),
        "{told}"
    );
    assert_counts(&stopped);
}

#[test]
fn a_log_that_is_whole_is_not_told_of() {
    let place = own_data();
    let options = options(&place, "--schedule wsd-s --warmup 3 --budgets 80");
    let folder = place.file("run");
    let list = [(22, Then::Ask(Ask::Decay { length: 30 })), (31, Then::Stop)];
    trained(&options, &folder, &list);
    copy(&folder, &place.file("whole"));
    trained(&options, &place.file("whole"), &[]);
    damage(&folder.join("latest.safetensors"));
    let told = warnings(&trained(&options, &folder, &[]));
    assert!(told.contains("going on from previous"), "{told}");
    assert!(!told.contains("ask again"), "{told}");
    assert_same(&folder, &place.file("whole"));
}

#[test]
fn what_a_run_can_never_do_is_refused_at_once() {
    let place = own_data();
    for schedule in ["cosine", "cyclic"] {
        let line = format!("--schedule {schedule} --warmup 3 --budgets 40");
        let folder = place.file(schedule);
        trained(&options(&place, &line), &folder, &[(12, Then::Stop)]);
        for words in ["decay 5", "cancel", "extend 4"] {
            let output = ask(&place, &format!("{schedule} {words}"));
            assert_refused(words, &output, &[schedule, "wsd-s, wsd or constant"]);
        }
        assert!(!folder.join("request.json").exists());
    }
}

#[test]
fn the_copy_of_a_configuration_serves_who_asks() {
    let place = own_data();
    let options = options(&place, DECAYS);
    let folder = place.file("run");
    trained(&options, &folder, &[(12, Then::Stop)]);
    let config = folder.join("config.json");
    let text = fs::read_to_string(&config).expect("a configuration");
    for damaged in ["{", &text.replace("wsd-s", "cosine")] {
        fs::write(&config, damaged).expect("written");
        let output = ask(&place, "run decay 5");
        assert!(output.status.success(), "{output:?}");
        fs::remove_file(folder.join("request.json")).expect("removed");
    }
}

#[test]
fn budgets_that_the_end_has_passed_are_told() {
    let place = own_data();
    let options_of = options(&place, "--schedule wsd-s --warmup 3 --budgets 40");
    let folder = place.file("run");
    let extend = || (38, Then::Ask(Ask::Extend { by: 20 }));
    trained(&options_of, &folder, &[extend()]);
    assert_eq!(ends(&folder), [60]);
    let before = files(&folder);
    let output = place.run("--resume run --add-budgets 50,90 --quiet");
    assert_refused("50", &output, &["--add-budgets", "50", "more than 60"]);
    assert_eq!(files(&folder), before);
    place.train("--resume run --add-budgets 90 --quiet");
    assert_eq!(ends(&folder), [60, 90]);

    // The same of budgets that were there.
    let options = options(&place, "--schedule wsd-s --warmup 3 --budgets 40,50,90");
    let folder = place.file("passed");
    let told = warnings(&trained(&options, &folder, &[extend()]));
    for part in ["50", "no checkpoint", "60"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(ends(&folder), [60, 90]);
}

/// Update and total of the last step.
fn last_step(events: &[Event]) -> (u64, u64) {
    let of = |event: &Event| match event {
        Event::Step { update, total, .. } => Some((*update, *total)),
        _ => None,
    };
    let steps: Vec<(u64, u64)> = events.iter().filter_map(of).collect();
    for (update, total) in &steps {
        assert!(update <= total, "{update} of {total}");
    }
    *steps.last().expect("a step")
}

#[test]
fn progress_counts_what_was_asked_for() {
    let place = own_data();
    for (schedule, ask, updates) in [
        ("wsd", Ask::Decay { length: 7 }, 47),
        ("wsd-s", Ask::Decay { length: 7 }, 40),
        ("wsd-s", Ask::Extend { by: 20 }, 60),
    ] {
        let line = format!("--schedule {schedule} --warmup 3 --budgets 40");
        let options = options(&place, &line);
        let folder = place.file(&format!("run-{schedule}-{updates}"));
        let events = trained(&options, &folder, &[(13, Then::Ask(ask))]);
        assert_eq!(last_step(&events), (updates, updates), "{schedule}");

        let folder = place.file(&format!("stopped-{schedule}-{updates}"));
        let list = [(13, Then::Ask(ask)), (16, Then::Stop)];
        trained(&options, &folder, &list);
        let events = trained(&options, &folder, &[]);
        let started = events.iter().find_map(|event| match event {
            Event::Started { done, total, .. } => Some((*done, *total)),
            _ => None,
        });
        assert_eq!(started, Some((16, updates)), "{schedule}");
        assert_eq!(last_step(&events), (updates, updates), "{schedule}");
    }
}

#[test]
fn releases_have_one_key_in_a_picture() {
    let place = own_data();
    let options = options(&place, "--schedule wsd --warmup 3 --budgets 80");
    let folder = place.file("run");
    let ask = |at| (at, Then::Ask(Ask::Decay { length: 4 }));
    trained(&options, &folder, &[ask(10), ask(20), ask(30)]);
    assert_eq!(ends(&folder).len(), 4);
    let picture = fs::read_to_string(folder.join("picture.svg")).expect("a picture");
    assert_eq!(picture.matches("loss, release").count(), 1);
    assert_eq!(picture.matches("loss, main").count(), 1);
}
