//! Training on a stream that drifts: what the library finds, and the program from outside.
#![cfg(feature = "demo-data")]

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rivergram::engine::Engine;
use rivergram::error::Result;
use rivergram::train::stream::{
    Estimate, StreamOptions, StreamReport, StreamRow, StreamRun, StreamSchedule, run,
};
use rivergram::train::{Context, Event};
use rivergram_simd::Level;
use serde_json::Value;

/// Two short streams of two arrivals.
fn short() -> StreamOptions {
    StreamOptions {
        updates: 160,
        arrivals: 2,
        releases: 2,
        decay: 12,
        batch: 16,
        hidden: 0,
        warmup: 10,
        memory: 40,
        replayed: 4,
        seeds: 2,
        ..StreamOptions::default()
    }
}

fn train(options: &StreamOptions, threads: usize) -> StreamReport {
    let context = Context {
        engine: &Engine::new(Level::detect()),
        threads,
        stop: &AtomicBool::new(false),
        observe: &|_| {},
    };
    run(options, &context).expect("sound options")
}

fn of(report: &StreamReport, schedule: StreamSchedule, replay: bool) -> Vec<&StreamRun> {
    let fits = |run: &&StreamRun| run.schedule == schedule && run.replay == replay;
    report.runs.iter().filter(fits).collect()
}

fn row(report: &StreamReport, schedule: StreamSchedule, replay: bool) -> &StreamRow {
    let fits = |row: &&StreamRow| row.schedule == schedule && row.replay == replay;
    report.rows.iter().find(fits).expect("a row")
}

#[test]
fn every_schedule_releases_at_the_same_moments_and_learns() {
    let options = short();
    let report = train(&options, 2);
    assert!(!report.interrupted);
    assert_eq!(report.runs.len(), 9 * 2 * 2);
    let order: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.replay, row.schedule))
        .collect();
    let all = |replay| StreamSchedule::ALL.map(|schedule| (replay, schedule));
    assert_eq!(order, [all(false), all(true)].concat());
    for run in &report.runs {
        let moments = |run: &StreamRun| -> Vec<(u64, usize)> {
            let releases = run.releases.iter();
            releases
                .map(|release| (release.update, release.arrival))
                .collect()
        };
        let first = report.runs.iter().find(|other| other.seed == run.seed);
        assert_eq!(moments(run), moments(first.expect("a run")));
        assert_eq!(run.releases.len(), 2);
        let last = run.releases.last().expect("a release");
        let thrown_away = if run.schedule == StreamSchedule::Wsd {
            2 * 12
        } else {
            0
        };
        assert_eq!(run.updates, last.update + thrown_away, "{run:?}");
        assert!(last.update <= 160 && last.arrival == 1, "{run:?}");
        // Chance is 1%.
        assert!(
            last.new > 0.15 && last.old.expect("an old arrival") > 0.15,
            "{run:?}"
        );
        for release in &run.releases {
            assert_eq!(release.old.is_some(), release.arrival > 0, "{run:?}");
        }
    }
    // Moments are drawn for each stream.
    let moment = |seed| {
        let run = report.runs.iter().find(|run| run.seed == seed);
        run.expect("a run").releases[0].update
    };
    assert_ne!(moment(0), moment(1));
}

#[test]
fn what_a_schedule_costs_is_told() {
    let report = train(&short(), 0);
    for replay in [false, true] {
        let rates = |schedule| row(&report, schedule, replay).rates;
        let (wsd_s, told) = (
            rates(StreamSchedule::WsdS),
            rates(StreamSchedule::CyclicTold),
        );
        let area = rates(StreamSchedule::CyclicToldArea);
        assert!((area / wsd_s - 1.0).abs() < 1e-4, "{area} {wsd_s}");
        assert!(told < wsd_s, "{told} {wsd_s}");
        let constant = rates(StreamSchedule::Constant);
        assert!(wsd_s < constant && constant < rates(StreamSchedule::Wsd));
        assert_eq!(constant, rates(StreamSchedule::ConstantEma));
        assert!((rates(StreamSchedule::WsdPaused) / wsd_s - 1.0).abs() < 1e-4);
    }
}

#[test]
fn the_first_decay_is_the_same_kept_or_thrown_away() {
    let report = train(&short(), 0);
    for replay in [false, true] {
        let kept = of(&report, StreamSchedule::WsdS, replay);
        for schedule in [StreamSchedule::Wsd, StreamSchedule::WsdPaused] {
            let thrown_away = of(&report, schedule, replay);
            for (kept, thrown_away) in kept.iter().zip(&thrown_away) {
                assert_eq!(kept.releases[0], thrown_away.releases[0]);
                assert_ne!(kept.releases[1], thrown_away.releases[1]);
            }
        }
    }
}

#[test]
fn a_branch_leaves_no_trace_in_the_main_one() {
    let all = train(&short(), 0);
    let options = StreamOptions {
        schedules: vec![StreamSchedule::Constant, StreamSchedule::ConstantEma],
        ..short()
    };
    let without_branches = train(&options, 0);
    for schedule in options.schedules {
        for replay in [false, true] {
            assert_eq!(
                of(&all, schedule, replay),
                of(&without_branches, schedule, replay)
            );
        }
    }
}

#[test]
fn a_seed_gives_one_result_on_any_number_of_threads() {
    let options = StreamOptions {
        schedules: vec![StreamSchedule::WsdS, StreamSchedule::ConstantMean],
        ..short()
    };
    let report = train(&options, 1);
    assert_eq!(report, train(&options, 3));
    let other = StreamOptions { seed: 1, ..options };
    let other = train(&other, 1);
    // Its first stream is the second of the other.
    let second: Vec<&StreamRun> = report.runs.iter().filter(|run| run.seed == 1).collect();
    assert!(
        second
            .into_iter()
            .eq(other.runs.iter().filter(|run| run.seed == 1))
    );
    assert_ne!(report.runs[0].releases, other.runs[0].releases);
}

fn assert_near(got: Option<Estimate>, mean: f64, standard_error: f64) {
    let got = got.expect("an estimate");
    assert!((got.mean - mean).abs() < 1e-12, "{got:?} {mean}");
    let error = got.standard_error.expect("two seeds");
    assert!(
        (error - standard_error).abs() < 1e-12,
        "{got:?} {standard_error}"
    );
}

#[test]
fn the_rows_are_means_of_the_runs() {
    let report = train(&short(), 0);
    // Of two numbers the standard error is half of their difference.
    let pair = |a: f64, b: f64| ((a + b) / 2.0, (a - b).abs() / 2.0);
    let scores = |run: &StreamRun| -> [f64; 2] {
        let later: Vec<_> = run
            .releases
            .iter()
            .filter(|release| release.old.is_some())
            .collect();
        let count = later.len() as f64;
        let new: f64 = later.iter().map(|release| release.new).sum();
        let old: f64 = later.iter().filter_map(|release| release.old).sum();
        [new / count, old / count]
    };
    for replay in [false, true] {
        for schedule in StreamSchedule::ALL {
            let (row, runs) = (
                row(&report, schedule, replay),
                of(&report, schedule, replay),
            );
            let reference = of(&report, StreamSchedule::WsdS, replay);
            let without = of(&report, schedule, false);
            let score = |runs: &[&StreamRun], place: usize| {
                [scores(runs[0])[place], scores(runs[1])[place]]
            };
            let gain = |others: &[&StreamRun], place: usize| {
                let (own, others) = (score(&runs, place), score(others, place));
                pair(own[0] - others[0], own[1] - others[1])
            };
            let is_reference = schedule == StreamSchedule::WsdS;
            for (place, found, gains, by_replay) in [
                (0, row.new, row.new_gain, row.new_by_replay),
                (1, row.old, row.old_gain, row.old_by_replay),
            ] {
                let [first, second] = score(&runs, place);
                let (mean, error) = pair(first, second);
                assert_near(found, mean, error);
                match is_reference {
                    true => assert_eq!(gains, None),
                    false => {
                        assert_near(gains, gain(&reference, place).0, gain(&reference, place).1)
                    }
                }
                match replay {
                    true => {
                        assert_near(by_replay, gain(&without, place).0, gain(&without, place).1)
                    }
                    false => assert_eq!(by_replay, None),
                }
            }
            let (first, second) = (&runs[0].releases, &runs[1].releases);
            for (release, found) in row.new_by_release.iter().enumerate() {
                let (mean, error) = pair(first[release].new, second[release].new);
                assert_near(Some(*found), mean, error);
            }
            assert_eq!(row.old_by_release.len(), 2);
        }
    }
}

#[test]
fn estimates_are_means_with_their_standard_errors() {
    assert_eq!(Estimate::of(&[]), None);
    let one = Estimate::of(&[0.25]).expect("a number");
    assert_eq!((one.mean, one.standard_error, one.seeds), (0.25, None, 1));
    // Deviation √(2/2) = 1 of three numbers.
    assert_near(Estimate::of(&[1.0, 2.0, 3.0]), 2.0, 1.0 / 3.0_f64.sqrt());
}

#[test]
fn replay_needs_a_memory_and_none_is_trained_without() {
    let options = StreamOptions {
        memory: 0,
        schedules: vec![StreamSchedule::Constant],
        seeds: 1,
        ..short()
    };
    let report = train(&options, 0);
    assert!(report.rows.len() == 1 && !report.rows[0].replay);
    let with = StreamOptions {
        memory: 40,
        ..options
    };
    let with = train(&with, 0);
    assert_eq!(with.runs[0], report.runs[0]);
    assert_ne!(with.runs[1].releases, report.runs[0].releases);
}

#[test]
fn what_was_finished_is_reported_when_it_is_stopped() {
    let stop = AtomicBool::new(false);
    let context = Context {
        engine: &Engine::new(Level::detect()),
        threads: 1,
        stop: &stop,
        // The second training is stopped in its middle.
        observe: &|event| {
            if let Event::Step { leg, step: 60, .. } = event
                && leg == "seed 0 cyclic-told"
            {
                stop.store(true, Ordering::Relaxed);
            }
        },
    };
    let options = StreamOptions {
        schedules: vec![StreamSchedule::WsdS, StreamSchedule::CyclicTold],
        ..short()
    };
    let report = run(&options, &context).expect("sound options");
    assert!(report.interrupted);
    assert_eq!((report.runs.len(), report.rows.len()), (1, 1));
    assert_eq!(report.runs[0], train(&options, 0).runs[0]);
}

#[test]
fn options_that_do_not_fit_are_refused_with_their_flag() {
    let context = Context {
        engine: &Engine::new(Level::detect()),
        threads: 1,
        stop: &AtomicBool::new(false),
        observe: &|_| {},
    };
    let refused = |options: StreamOptions, flag: &str| {
        let found: Result<StreamReport> = run(&options, &context);
        let line = found.expect_err("refused").to_string();
        assert!(line.starts_with(flag), "{line}");
    };
    refused(
        StreamOptions {
            schedules: vec![],
            ..short()
        },
        "--schedule",
    );
    refused(
        StreamOptions {
            arrivals: 1,
            ..short()
        },
        "--arrivals",
    );
    refused(
        StreamOptions {
            arrivals: 9,
            ..short()
        },
        "--arrivals",
    );
    refused(
        StreamOptions {
            decay: 40,
            ..short()
        },
        "--updates",
    );
    refused(
        StreamOptions {
            decay: 0,
            ..short()
        },
        "--updates",
    );
    refused(
        StreamOptions {
            decay: u64::MAX,
            ..short()
        },
        "--updates",
    );
    refused(
        StreamOptions {
            releases: 0,
            ..short()
        },
        "--updates",
    );
    refused(
        StreamOptions {
            replayed: 0,
            ..short()
        },
        "--replayed",
    );
    refused(
        StreamOptions {
            replayed: 85,
            ..short()
        },
        "--replayed",
    );
    refused(
        StreamOptions {
            memory: usize::MAX,
            ..short()
        },
        "--memory",
    );
    refused(
        StreamOptions {
            peak: f32::NAN,
            ..short()
        },
        "--lr",
    );
}

// The program.

const SHORT: &str = "stream --updates 160 --arrivals 2 --releases 2 --decay-updates 12 --batch 16 --hidden 0 \
                     --memory 40 --replayed 4 --seeds 2";

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivergram"));
    command
        .env_remove("RIVERGRAM_PATH")
        .args(line.split_whitespace());
    command
}

fn output(line: &str) -> Output {
    command(line).output().expect("the program starts")
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_program_prints_a_table_and_draws_a_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("stream.svg");
    let line = format!("{SHORT} --schedule wsd-s,constant-ema --quiet --picture");
    let output = command(&line)
        .arg(&picture)
        .output()
        .expect("the program starts");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = stdout(output);
    let heading = "2 streams from seed 0: 160 updates, 2 arrivals, 2 releases, decays of 12";
    assert_eq!(text.lines().next(), Some(heading));
    // In the summary and at each release on what is new and old, without replay and with it; by replay.
    for (name, count) in [("  wsd-s ", 7), ("  constant-ema ", 7), ("  cyclic", 0)] {
        let rows = text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(rows, count, "{name}: {text}");
    }
    let svg = std::fs::read_to_string(&picture).expect("a picture");
    for word in [
        heading,
        "wsd-s",
        "constant-ema",
        "on what is new",
        "on what is old",
        "without replay",
    ] {
        assert!(svg.contains(word), "{word} is missing");
    }
}

#[test]
fn the_program_tells_the_same_as_the_library_in_json() {
    let line = format!("{SHORT} --schedule wsd --path scalar --json --quiet");
    let text = stdout(output(&line));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(lines.len() > 8, "{text}");
    let last = lines.last().expect("a line");
    assert_eq!(
        (&last["event"], &last["path"]),
        (&"summary".into(), &"scalar".into())
    );
    assert_eq!(last["interrupted"], false);
    let options = StreamOptions {
        schedules: vec![StreamSchedule::Wsd],
        warmup: StreamOptions::default().warmup,
        ..short()
    };
    let context = Context {
        engine: &Engine::new(Level::named("scalar").expect("every machine has it")),
        threads: 0,
        stop: &AtomicBool::new(false),
        observe: &|_| {},
    };
    let report = run(&options, &context).expect("sound options");
    let runs = serde_json::to_value(&report.runs).expect("JSON");
    assert_eq!(last["runs"], runs);
}

#[cfg(unix)]
#[test]
fn an_interrupt_tells_what_was_finished() {
    use std::io::{BufRead, BufReader, Read};
    let line = format!("{SHORT} --updates 400 --threads 1 --json").replace("--updates 160", "");
    let mut child = command(&line)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    // The second training has begun.
    let mut found = || lines.next().expect("a line").expect("text");
    while !found().contains("seed 0 constant\"") {}
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill starts").success());
    let last = lines.last().expect("a line").expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let summary: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(summary["interrupted"], true);
    let runs = summary["runs"].as_array().expect("a list");
    assert!(!runs.is_empty() && runs.len() < 32, "{}", runs.len());
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("stderr");
    stderr.read_to_string(&mut text).expect("text");
    assert!(text.contains("the rows are of what was finished"), "{text}");
}
