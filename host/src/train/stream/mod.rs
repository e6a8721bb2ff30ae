//! Training on a stream that drifts and has no known end, with releases asked for at moments that nobody planned.
//!
//! Parts of the built-in data arrive one after the other, each with voices and writers of its own, and the part before
//! is heard no more. At random moments a release is asked for: after `decay` more updates its weights are measured on
//! what is new (test data of the latest arrival) and on what is old (those of all arrivals before it). Every schedule
//! sees the same batches at the same updates, and gives its releases at the same ones.

mod learner;
mod world;

use std::sync::OnceLock;

use rivergram_core::schedule::Shape;
use serde::Serialize;

use super::options::{AlignOptions, DecayKind, LossKind, Source};
use super::run::in_order;
use super::{Context, Event};
use crate::data::numbers::{ARRIVALS, NUMBERS};
use crate::error::{Error, Result};
use learner::Trunk;
use world::World;

/// How the rate goes, and what is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamSchedule {
    /// A decay on demand, whose weights training goes on from.
    WsdS,
    /// A decay on demand on a branch, which is thrown away: its updates come on top.
    Wsd,
    /// The same at the cost of WSD-S: the main branch stands still while a branch is trained.
    WsdPaused,
    /// One cosine from release to release: it was told all moments beforehand.
    CyclicTold,
    /// The same at a higher peak, so that the sum of its rates is that of WSD-S.
    CyclicToldArea,
    /// Cosines of a fixed length. The weights at the end of the latest one are released.
    Cyclic,
    /// The peak. The weights of the moment are released.
    Constant,
    /// The peak. An exponential average of the weights is released.
    ConstantEma,
    /// The peak. The mean of the weights since the release was asked for is released.
    ConstantMean,
}

impl StreamSchedule {
    /// All, in the order of the table.
    pub const ALL: [StreamSchedule; 9] = [
        StreamSchedule::WsdS,
        StreamSchedule::Wsd,
        StreamSchedule::WsdPaused,
        StreamSchedule::CyclicTold,
        StreamSchedule::CyclicToldArea,
        StreamSchedule::Cyclic,
        StreamSchedule::Constant,
        StreamSchedule::ConstantEma,
        StreamSchedule::ConstantMean,
    ];

    /// As on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            StreamSchedule::WsdS => "wsd-s",
            StreamSchedule::Wsd => "wsd",
            StreamSchedule::WsdPaused => "wsd-paused",
            StreamSchedule::CyclicTold => "cyclic-told",
            StreamSchedule::CyclicToldArea => "cyclic-told-area",
            StreamSchedule::Cyclic => "cyclic",
            StreamSchedule::Constant => "constant",
            StreamSchedule::ConstantEma => "constant-ema",
            StreamSchedule::ConstantMean => "constant-mean",
        }
    }

    /// Whether it releases the end of a branch that is thrown away.
    fn has_branches(self) -> bool {
        matches!(self, StreamSchedule::Wsd | StreamSchedule::WsdPaused)
    }
}

/// Samples that a reservoir here may keep.
const MOST: usize = 1 << 16;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamOptions {
    /// The schedules, in the order of the table.
    pub schedules: Vec<StreamSchedule>,
    /// Updates; the stream ends with the last release, which is at most this.
    pub updates: u64,
    /// Parts that arrive.
    pub arrivals: usize,
    /// Releases that are asked for.
    pub releases: usize,
    /// Updates from the asking to the release: the length of a decay, and the window of the mean.
    pub decay: u64,
    /// The shape of the decays of WSD-S and WSD.
    pub shape: DecayKind,
    /// Items of a batch.
    pub batch: usize,
    /// Hidden units of each head.
    pub hidden: usize,
    /// Dimensions of the shared space.
    pub dim: usize,
    /// The largest rate.
    pub peak: f32,
    /// The smallest rate as a part of the peak.
    pub floor: f32,
    /// Warmup updates.
    pub warmup: u64,
    /// The half-life of the exponential average, in updates.
    pub half_life: f32,
    /// Samples that the reservoir keeps; 0 leaves the rows with replay out.
    pub memory: usize,
    /// Items of the reservoir that come to those of a batch.
    pub replayed: usize,
    /// Runs of each schedule, with seeds from `seed` on.
    pub seeds: u64,
    /// The first seed. It decides data, moments, weights and batches.
    pub seed: u64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions {
            schedules: StreamSchedule::ALL.to_vec(),
            updates: 900,
            arrivals: 5,
            releases: 6,
            decay: 45,
            shape: DecayKind(Shape::Linear),
            batch: 32,
            hidden: 32,
            dim: 32,
            peak: 1e-2,
            floor: 0.01,
            warmup: 30,
            half_life: 30.0,
            memory: 200,
            replayed: 8,
            seeds: 8,
            seed: 0,
        }
    }
}

impl StreamOptions {
    /// What is done, in one line: the heading of table and picture.
    pub fn describe(&self) -> String {
        format!(
            "{} streams from seed {}: {} updates, {} arrivals, {} releases, decays of {}",
            self.seeds, self.seed, self.updates, self.arrivals, self.releases, self.decay
        )
    }

    /// The updates of the longest stretch with one release.
    fn stretch(&self) -> u64 {
        self.updates / self.releases.max(1) as u64
    }

    /// The heads and their loss.
    fn align(&self) -> AlignOptions {
        AlignOptions {
            dim: self.dim,
            ..AlignOptions::new(Source::Numbers, LossKind::GramSymmetric, self.hidden)
        }
    }

    fn check(&self) -> Result<()> {
        if self.schedules.is_empty() {
            return Err(Error::flag("--schedule", "at least one expected"));
        }
        if !ARRIVALS.contains(&self.arrivals) {
            let (least, most) = (ARRIVALS.start(), ARRIVALS.end());
            let problem = format!("{}: {least} to {most} expected", self.arrivals);
            return Err(Error::flag("--arrivals", problem));
        }
        let need = self.decay.saturating_mul(2).saturating_add(self.warmup);
        if self.releases == 0 || self.decay == 0 || self.stretch() < need {
            let problem = format!(
                "{} releases with decays of {} in {} updates: more updates, or fewer of both expected, so that each \
                 release has twice its decay and the warmup",
                self.releases, self.decay, self.updates
            );
            return Err(Error::flag("--updates", problem));
        }
        let items = self.batch + self.replayed;
        if items > NUMBERS {
            let problem = format!(
                "{} besides a batch of {}: at most {NUMBERS} items of different numbers",
                self.replayed, self.batch
            );
            return Err(Error::flag("--replayed", problem));
        }
        if self.memory > MOST {
            let problem = format!("{}: at most {MOST} samples expected", self.memory);
            return Err(Error::flag("--memory", problem));
        }
        if self.memory > 0 && self.replayed == 0 {
            let problem = "0: at least 1 expected, or --memory 0 for none";
            return Err(Error::flag("--replayed", problem));
        }
        Ok(())
    }

    /// Whether the rows are with replay, in the order of the table.
    fn replays(&self) -> &'static [bool] {
        match self.memory {
            0 => &[false],
            _ => &[false, true],
        }
    }
}

/// What was measured at one release. Scores are the mean of R@1 of each modality by the others, ranked by distance, and
/// of images by sounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Release {
    /// Updates before it.
    pub update: u64,
    /// The latest arrival, from 0.
    pub arrival: usize,
    /// The score on the test data of the latest arrival.
    pub new: f64,
    /// The mean of the scores on those of all arrivals before it.
    pub old: Option<f64>,
}

/// One schedule on one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamRun {
    /// Which schedule.
    pub schedule: StreamSchedule,
    /// Whether kept samples were replayed.
    pub replay: bool,
    /// The seed of the stream.
    pub seed: u64,
    /// Updates that were made, thrown away ones included.
    pub updates: u64,
    /// The sum of their rates.
    pub rates: f64,
    /// In order.
    pub releases: Vec<Release>,
}

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error; none of one seed, which does not tell.
    pub standard_error: Option<f64>,
    /// How many seeds.
    pub seeds: usize,
}

impl Estimate {
    /// Of one number per seed; none of no number.
    pub fn of(values: &[f64]) -> Option<Self> {
        let seeds = values.len();
        let count = seeds as f64;
        let mean = values.iter().sum::<f64>() / count;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (seeds > 1).then(|| (square / (count - 1.0) / count).sqrt());
        (seeds > 0).then_some(Estimate {
            mean,
            standard_error,
            seeds,
        })
    }
}

/// A row of the table: one schedule over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamRow {
    /// Which schedule.
    pub schedule: StreamSchedule,
    /// Whether kept samples were replayed.
    pub replay: bool,
    /// Updates, a mean over seeds.
    pub updates: f64,
    /// The sum of the rates, a mean over seeds.
    pub rates: f64,
    /// Seeds that were finished.
    pub seeds: usize,
    /// On what is new, over the releases that have something old.
    pub new: Option<Estimate>,
    /// On what is old, over the same releases.
    pub old: Option<Estimate>,
    /// On what is new less WSD-S of the same seed and replay; none for WSD-S.
    pub new_gain: Option<Estimate>,
    /// On what is old less WSD-S.
    pub old_gain: Option<Estimate>,
    /// On what is new, less the same schedule and seed without replay; none for rows without it.
    pub new_by_replay: Option<Estimate>,
    /// On what is old, less the same without replay.
    pub old_by_replay: Option<Estimate>,
    /// On what is new at each release.
    pub new_by_release: Vec<Estimate>,
    /// On what is old at each release; none where no seed had something old.
    pub old_by_release: Vec<Option<Estimate>>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamReport {
    /// Every run that was finished, seed by seed.
    pub runs: Vec<StreamRun>,
    /// The table: rows without replay first.
    pub rows: Vec<StreamRow>,
    /// Whether it was interrupted: the rows are then of the seeds that were finished.
    pub interrupted: bool,
}

/// One training: a seed, what is trained, and whether with replay.
#[derive(Clone, Copy)]
struct Job {
    seed: u64,
    trunk: Trunk,
    replay: bool,
}

/// Trains every schedule on every stream. Set `context.stop` and what was finished is reported.
///
/// # Errors
/// Options that do not fit.
pub fn run(options: &StreamOptions, context: &Context<'_>) -> Result<StreamReport> {
    options.check()?;
    let seeds = options.seed..options.seed.saturating_add(options.seeds.max(1));
    let trunks = Trunk::of(&options.schedules);
    let mut jobs = Vec::new();
    for seed in seeds.clone() {
        for &replay in options.replays() {
            jobs.extend(trunks.iter().map(|&trunk| Job {
                seed,
                trunk,
                replay,
            }));
        }
    }
    let worlds: Vec<OnceLock<Result<World>>> = seeds.clone().map(|_| OnceLock::new()).collect();
    let total = jobs
        .iter()
        .map(|job| world::updates(options, job.seed))
        .sum();
    (context.observe)(Event::Started {
        job: JOB.to_string(),
        done: 0,
        total,
    });
    let progress = learner::Progress::new(context, total);
    let done = in_order(&jobs, context.threads, |job| {
        let place = usize::try_from(job.seed - options.seed).unwrap_or_default();
        let Some(world) = worlds.get(place) else {
            return Ok(None);
        };
        match world.get_or_init(|| World::new(options, job.seed)) {
            Ok(world) => learner::train(options, world, job, &progress),
            Err(e) => Err(Error::input("the stream", e)),
        }
    })?;
    let done: Vec<Option<Vec<StreamRun>>> = done.into_iter().collect::<Result<_>>()?;
    let interrupted = done.iter().any(Option::is_none);
    let runs: Vec<StreamRun> = done.into_iter().flatten().flatten().collect();
    Ok(StreamReport {
        rows: rows(options, &runs),
        runs,
        interrupted,
    })
}

/// The name of all of it in events.
const JOB: &str = "stream";

/// The rows of the table, of the schedules that have any run.
fn rows(options: &StreamOptions, runs: &[StreamRun]) -> Vec<StreamRow> {
    let mut rows = Vec::new();
    for &replay in options.replays() {
        let of = |schedule, replay| -> Vec<&StreamRun> {
            let fits = |run: &&StreamRun| run.schedule == schedule && run.replay == replay;
            runs.iter().filter(fits).collect()
        };
        for &schedule in &options.schedules {
            let wsd_s = match schedule {
                StreamSchedule::WsdS => Vec::new(),
                _ => of(StreamSchedule::WsdS, replay),
            };
            let without = match replay {
                true => of(schedule, false),
                false => Vec::new(),
            };
            rows.extend(row(options, &of(schedule, replay), &wsd_s, &without));
        }
    }
    rows
}

/// The mean over seeds of what some runs have more than others of the same seeds; none where there are no others.
fn gain(
    runs: &[&StreamRun],
    others: &[&StreamRun],
    of: fn(&StreamRun) -> Option<f64>,
) -> Option<Estimate> {
    let gain = |run: &&StreamRun| {
        let other = others.iter().find(|other| other.seed == run.seed)?;
        Some(of(run)? - of(other)?)
    };
    let values: Vec<f64> = runs.iter().filter_map(gain).collect();
    Estimate::of(&values)
}

fn row(
    options: &StreamOptions,
    runs: &[&StreamRun],
    wsd_s: &[&StreamRun],
    without: &[&StreamRun],
) -> Option<StreamRow> {
    let first = runs.first()?;
    let mean = |of: fn(&StreamRun) -> f64| -> f64 {
        runs.iter().map(|run| of(run)).sum::<f64>() / runs.len() as f64
    };
    let scores = |of: fn(&StreamRun) -> Option<f64>| -> Vec<f64> {
        runs.iter().filter_map(|run| of(run)).collect()
    };
    let by_release = |of: fn(&Release) -> Option<f64>| -> Vec<Option<Estimate>> {
        let at = |release: usize| -> Vec<f64> {
            let at = runs.iter().filter_map(|run| run.releases.get(release));
            at.filter_map(of).collect()
        };
        (0..options.releases)
            .map(|release| Estimate::of(&at(release)))
            .collect()
    };
    Some(StreamRow {
        schedule: first.schedule,
        replay: first.replay,
        updates: mean(|run| run.updates as f64),
        rates: mean(|run| run.rates),
        seeds: runs.len(),
        new: Estimate::of(&scores(mean_new)),
        old: Estimate::of(&scores(mean_old)),
        new_gain: gain(runs, wsd_s, mean_new),
        old_gain: gain(runs, wsd_s, mean_old),
        new_by_replay: gain(runs, without, mean_new),
        old_by_replay: gain(runs, without, mean_old),
        new_by_release: by_release(|release| Some(release.new))
            .into_iter()
            .flatten()
            .collect(),
        old_by_release: by_release(|release| release.old),
    })
}

/// The mean over the releases that have something old.
fn mean_of(run: &StreamRun, of: fn(&Release) -> f64) -> Option<f64> {
    let later = run.releases.iter().filter(|release| release.old.is_some());
    let values: Vec<f64> = later.map(of).collect();
    Estimate::of(&values).map(|estimate| estimate.mean)
}

fn mean_new(run: &StreamRun) -> Option<f64> {
    mean_of(run, |release| release.new)
}

fn mean_old(run: &StreamRun) -> Option<f64> {
    mean_of(run, |release| release.old.unwrap_or_default())
}
