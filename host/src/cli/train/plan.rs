//! From flags to a run.

use std::path::{Path, PathBuf};

use rivergram::data::noise::NoiseKind;
use rivergram::data::npy;
use rivergram::error::{Error, Result};
use rivergram::train::defaults::{HIDDEN, NOISES};
use rivergram::train::{
    AlignOptions, JobOptions, LossKind, RunOptions, ScheduleOptions, Source, StripsOptions,
};

use super::flags::{AlignFlags, Flags, StripsFlags, TrainingFlags};
use crate::cli::value::Budgets;

/// What the flags ask for: nothing, and it is the main job; else one alignment, transcriptions, or both.
pub(crate) fn options(flags: &Flags, path: &str) -> Result<RunOptions> {
    let mut options = jobs(flags, path)?;
    options.save_every = flags.run.save_every.unwrap_or(options.save_every);
    options.keep_budgets = flags.run.keep_budgets;
    Ok(options)
}

fn jobs(flags: &Flags, path: &str) -> Result<RunOptions> {
    let seed = flags.run.seed.unwrap_or(0);
    let align = flags.align != AlignFlags::default();
    let strips = flags.strips != StripsFlags::default();
    let training = flags.training != TrainingFlags::default();
    if !align && !strips && !training {
        return Ok(RunOptions::demo(path, seed));
    }
    let mut jobs = Vec::new();
    if align || !strips {
        let options = alignment(&flags.align, &flags.training)?;
        jobs.push(JobOptions::align(options, seed));
    }
    if strips {
        for noise in noises(&flags.strips)? {
            let options = transcription(&noise, &flags.strips, &flags.training)?;
            jobs.push(JobOptions::strips(options, seed));
        }
    }
    for job in &mut jobs {
        job.average = flags.training.average;
        job.weights = flags.training.weights.unwrap_or_default();
    }
    Ok(RunOptions::new(path, jobs))
}

fn alignment(flags: &AlignFlags, training: &TrainingFlags) -> Result<AlignOptions> {
    let loss = flags.loss.unwrap_or(LossKind::GramSymmetric);
    let hidden = training.hidden.unwrap_or(HIDDEN);
    let base = AlignOptions::new(source(flags)?, loss, hidden);
    let budgets = budgets(training);
    let warmup_cosine = base.schedule.fitted(base.warmup_cosine, budgets.as_deref());
    Ok(AlignOptions {
        anchor: flags.anchor.clone(),
        dim: flags.dim.unwrap_or(base.dim),
        batch: training.batch,
        pairs: flags.pairs.unwrap_or(base.pairs),
        temperature: flags.tau.unwrap_or(base.temperature),
        label_smoothing: flags.label_smoothing.unwrap_or(base.label_smoothing),
        warmup_cosine: flags.warmup_cosine.unwrap_or(warmup_cosine),
        unseen: flags.unseen.unwrap_or(base.unseen),
        schedule: schedule(base.schedule, training, budgets),
        ..base
    })
}

fn source(flags: &AlignFlags) -> Result<Source> {
    if let (Some(_), None) = (&flags.test, &flags.data) {
        let problem = "only together with --data: the built-in data and --modality have no other file to evaluate on";
        return Err(Error::flag("--test", problem));
    }
    if let Some(data) = &flags.data {
        return Ok(Source::Safetensors {
            train: absolute(data, "--data")?,
            test: flags
                .test
                .as_deref()
                .map(|file| absolute(file, "--test"))
                .transpose()?,
        });
    }
    let mut modalities: Vec<(String, PathBuf)> = Vec::new();
    for modality in &flags.modality {
        let (name, file) = npy::parse_flag(modality)?;
        if modalities.iter().any(|(other, _)| *other == name) {
            let problem = format!("the modality \"{name}\" is given twice");
            return Err(Error::flag("--modality", problem));
        }
        modalities.push((name, absolute(&file, "--modality")?));
    }
    match modalities.len() {
        0 => Ok(Source::Numbers),
        1 => Err(Error::flag(
            "--modality",
            "at least two modalities expected, one is given",
        )),
        _ => Ok(Source::Npy(modalities)),
    }
}

/// So that a run goes on from any folder.
fn absolute(file: &Path, flag: &str) -> Result<PathBuf> {
    std::path::absolute(file)
        .map_err(|e| Error::flag(flag, format_args!("{}: {e}", file.display())))
}

/// The noises as the library writes them; all of the main job where no flag names one.
fn noises(flags: &StripsFlags) -> Result<Vec<String>> {
    if flags.noise.is_empty() {
        return Ok(NOISES.map(String::from).to_vec());
    }
    let mut noises = Vec::new();
    for text in &flags.noise {
        let noise = NoiseKind::parse(text)?.to_string();
        if noises.contains(&noise) {
            let problem = format!("\"{noise}\" is given twice");
            return Err(Error::flag("--noise", problem));
        }
        noises.push(noise);
    }
    Ok(noises)
}

fn transcription(
    noise: &str,
    flags: &StripsFlags,
    training: &TrainingFlags,
) -> Result<StripsOptions> {
    let base = StripsOptions::new(noise);
    let budgets = match budgets(training) {
        Some(budgets) => Some(two_parts(budgets)?),
        None => None,
    };
    let ngrams = flags.ngrams.clone().map(|orders| orders.0);
    Ok(StripsOptions {
        batch: training.batch.unwrap_or(base.batch),
        hidden: training.hidden.unwrap_or(base.hidden),
        ngrams: ngrams.unwrap_or(base.ngrams),
        select: flags.select.unwrap_or(base.select),
        schedule: schedule(base.schedule, training, budgets),
        ..base
    })
}

/// Where only the end is given, a third of the steps is cross-entropy, as in the main job.
fn two_parts(budgets: Vec<u64>) -> Result<Vec<u64>> {
    match budgets.as_slice() {
        [1] => Err(Error::flag(
            "--steps",
            "at least 2 expected: a transcription has two parts",
        )),
        &[end] => Ok(vec![(end / 3).max(1), end]),
        _ => Ok(budgets),
    }
}

fn budgets(training: &TrainingFlags) -> Option<Vec<u64>> {
    match (&training.budgets, training.steps) {
        (Some(Budgets(list)), _) => Some(list.clone()),
        (None, steps) => steps.map(|steps| vec![steps]),
    }
}

fn schedule(
    base: ScheduleOptions,
    training: &TrainingFlags,
    budgets: Option<Vec<u64>>,
) -> ScheduleOptions {
    let warmup = base.fitted(base.warmup, budgets.as_deref());
    let millionths = |part: f64| (part * 1e6).round() as u32;
    ScheduleOptions {
        unit: training.unit.unwrap_or(base.unit),
        kind: training.schedule.unwrap_or(base.kind),
        decay: training.decay.unwrap_or(base.decay),
        decay_millionths: training
            .decay_fraction
            .map_or(base.decay_millionths, millionths),
        peak: training.lr.unwrap_or(base.peak),
        floor: training.floor.unwrap_or(base.floor),
        warmup: training.warmup.unwrap_or(warmup),
        budgets: budgets.unwrap_or(base.budgets),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rivergram::train::{AverageKind, JobKind, ScheduleKind, SelectKind, Unit, WeightKind};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn plan(line: &str) -> Result<RunOptions> {
        let words = std::iter::once("train").chain(line.split_whitespace());
        match Line::try_parse_from(words) {
            Ok(parsed) => options(&parsed.flags, "scalar"),
            Err(e) => panic!("{line}: {e}"),
        }
    }

    fn names(line: &str) -> Vec<String> {
        let jobs = plan(line).expect(line).jobs;
        jobs.into_iter().map(|job| job.name).collect()
    }

    fn only_alignment(line: &str) -> AlignOptions {
        match plan(line).expect(line).jobs.as_slice() {
            [
                JobOptions {
                    kind: JobKind::Align(options),
                    ..
                },
            ] => options.clone(),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn only_strips(line: &str) -> StripsOptions {
        match plan(line).expect(line).jobs.as_slice() {
            [
                JobOptions {
                    kind: JobKind::Strips(options),
                    ..
                },
            ] => options.clone(),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn problem(line: &str) -> String {
        plan(line).expect_err(line).to_string()
    }

    #[test]
    fn without_selecting_flags_it_is_the_main_job() {
        for line in ["", "--json", "--out x --threads 1 --path scalar"] {
            assert_eq!(plan(line).expect(line), RunOptions::demo("scalar", 0));
        }
        assert_eq!(plan("--seed 7").expect("7"), RunOptions::demo("scalar", 7));
    }

    #[test]
    fn flags_select_jobs() {
        assert_eq!(names("--loss cosine"), ["align-cosine"]);
        assert_eq!(names("--hidden 0"), ["align-gram-symmetric"]);
        assert_eq!(
            names("--noise none,shuffle:3"),
            ["strips-none", "strips-shuffle-3"]
        );
        assert_eq!(
            names("--noise none --noise blank:.5"),
            ["strips-none", "strips-blank-0-5"]
        );
        assert_eq!(names("--noise none --batch 8"), ["strips-none"]);
        assert_eq!(
            names("--noise none --tau 1"),
            ["align-gram-symmetric", "strips-none"]
        );
        assert_eq!(names("--select softmax").len(), NOISES.len());
    }

    #[test]
    fn flags_reach_the_alignment() {
        let options = only_alignment(
            "--loss gram --pairs 0.5 --tau 0.2 --label-smoothing 0 --warmup-cosine 9 --unseen 5 \
             --anchor audio --dim 16 --hidden 0 --batch 8 --budgets 10,20 --schedule wsd --decay linear \
             --decay-fraction 0.25 --lr 1e-3 --floor 0.5 --warmup 3 --unit samples",
        );
        let expected = AlignOptions {
            source: Source::Numbers,
            anchor: Some("audio".to_string()),
            dim: 16,
            hidden: 0,
            batch: Some(8),
            loss: LossKind::Gram,
            pairs: 0.5,
            temperature: 0.2,
            label_smoothing: 0.0,
            warmup_cosine: 9,
            unseen: 5,
            schedule: ScheduleOptions {
                unit: Unit::Samples,
                kind: ScheduleKind::Wsd,
                decay: rivergram::train::DecayKind::parse("linear").expect("a shape"),
                decay_millionths: 250_000,
                peak: 1e-3,
                floor: 0.5,
                warmup: 3,
                budgets: vec![10, 20],
            },
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn averages_and_weights_reach_every_job() {
        let jobs = plan("--noise none --tau 1 --average lawa:3:5 --weights bf16")
            .expect("sound")
            .jobs;
        let average = AverageKind::Lawa {
            copies: 3,
            every: 5,
        };
        assert_eq!(jobs.len(), 2);
        for job in jobs {
            assert_eq!(
                (job.average, job.weights),
                (Some(average), WeightKind::Bf16)
            );
        }
        assert_eq!(names("--average mean"), ["align-gram-symmetric"]);
    }

    #[test]
    fn flags_reach_the_transcription() {
        let options = only_strips(
            "--noise shuffle:2 --ngrams 1:0.8,2:0.2 --select logsumexp --steps 90 --hidden 4 --batch 5",
        );
        assert_eq!(options.ngrams, [(1, 0.8), (2, 0.2)]);
        assert_eq!(options.select, SelectKind::Logsumexp);
        assert_eq!((options.hidden, options.batch), (4, 5));
        assert_eq!(options.schedule.budgets, [30, 90]);
        assert_eq!(options.schedule.warmup, 2);
    }

    #[test]
    fn default_warmups_fit_short_runs() {
        let short = only_alignment("--steps 60");
        assert_eq!((short.schedule.warmup, short.warmup_cosine), (3, 6));
        let long = only_alignment("--steps 60000");
        assert_eq!((long.schedule.warmup, long.warmup_cosine), (30, 60));
        assert_eq!(only_alignment("--steps 60 --warmup 50").schedule.warmup, 50);
    }

    #[test]
    fn files_become_absolute() {
        let Source::Npy(files) = only_alignment("--modality a=x.npy --modality b=/y.npy").source
        else {
            panic!("npy files expected");
        };
        assert!(files.iter().all(|(_, file)| file.is_absolute()));
        let Source::Safetensors { train, test } = only_alignment("--data d --test t").source else {
            panic!("safetensors files expected");
        };
        assert!(train.is_absolute() && test.is_some_and(|test| test.is_absolute()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(problem("--test t").contains("--data"));
        assert!(problem("--modality a=x").contains("two modalities"));
        assert!(problem("--modality a=x --modality a=y").contains("\"a\" is given twice"));
        assert!(problem("--noise none,none").contains("given twice"));
        assert!(problem("--noise loud:1").contains("--noise"));
        assert!(problem("--noise none --steps 1").contains("--steps"));
    }
}
