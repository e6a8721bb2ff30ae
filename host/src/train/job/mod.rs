//! One job: its legs, one update after the other, with checkpoints from which it goes on bit for bit.

mod checkpoint;
mod log;
mod recover;
mod requests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Phase, Plan, State};
use rivergram_core::trainer::{Setup, Storage, Trainer};
use rivergram_simd::Level;

use super::Context;
use super::beside::Beside;
use super::event::{Event, JobReport, Metrics};
use super::inputs::Inputs;
use super::options::{JobOptions, ScheduleKind, Unit};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::random::{Purpose, stream};
use crate::schedule::{Leg, phase_name};
use crate::store::{
    self, BEFORE_DECAY, BUDGETS, Checkpoint, MAINS, RunFolder, Tensor, budget_name, moved_name,
};
pub(super) use checkpoint::parameters;
use checkpoint::{AVERAGE, shapes};
use log::Line;
use recover::Taken;

/// The file of the picture.
const PICTURE: &str = "picture.svg";

/// Ends from here on are told to nobody: they stand for none.
const ENDLESS: u64 = 1 << 63;

/// What a run answers that has made all its updates.
pub(super) const FINISHED: &str = "the run is finished: --resume with --add-budgets gives it more";

/// What a run answers whose schedule has an end of its own, or several parts.
pub(super) const UNFIT: &str = "wsd-s, wsd or constant expected, and one part";

/// Whether a schedule can be asked for a decay, its end or more time.
pub(super) fn takes_requests(options: &JobOptions, legs: &[Leg<'_>]) -> bool {
    match options.schedule().kind {
        ScheduleKind::Wsd => true,
        ScheduleKind::WsdS | ScheduleKind::Constant => legs.iter().all(|leg| leg.from.is_none()),
        ScheduleKind::Cosine | ScheduleKind::Cyclic => false,
    }
}

/// What the end of a decay that was asked for is called.
const RELEASE: &str = "release";

/// What differs between the kinds of jobs.
pub(super) trait Task {
    /// The heads, each with the prefix of its tensors.
    fn heads(&self) -> &[(String, Head)];
    /// The rule of the updates.
    fn optimizer(&self) -> Optimizer<f32>;
    /// Floats of workspace for a step.
    fn workspace_len(&self, setup: &Setup<'_, f32>) -> usize;
    /// Makes the update of a step.
    fn step(
        &mut self,
        engine: &Engine,
        trainer: &mut Trainer<'_, f32>,
        leg: &str,
        step: u64,
    ) -> Result<Done>;
    /// What a step counts as, on average.
    fn units(&self, unit: Unit) -> Result<f64>;
    /// How good parameters are.
    fn evaluate(&self, level: Level, parameters: &[f32]) -> Result<Metrics>;
    /// What a checkpoint holds besides: the statistics of the inputs.
    fn tensors(&self) -> Vec<Tensor>;
    /// What an alignment trains on.
    fn inputs(&self) -> Option<&Inputs>;
    /// What the user should know of it and was not yet told.
    fn warnings(&mut self) -> Vec<String>;
}

/// What a step did.
pub(super) struct Done {
    /// The loss before it.
    pub(super) loss: f32,
    /// Items of the batch.
    pub(super) samples: u64,
    /// Tokens of its labels.
    pub(super) tokens: u64,
}

impl Done {
    fn units(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Steps => 1,
            Unit::Samples => self.samples,
            Unit::Tokens => self.tokens,
        }
    }
}

/// What core refuses, as an error of this crate.
pub(super) fn refused(e: TrainError) -> Error {
    Error::flag("training", e)
}

/// Refuses names of modalities that give two tensors of a checkpoint one name.
pub(super) fn check_names(task: &dyn Task) -> Result<()> {
    let parameters = shapes(task.heads()).into_iter();
    let parameters = parameters.flat_map(|(name, _)| [format!("{AVERAGE}{name}"), name]);
    let statistics = task.tensors().into_iter().map(|tensor| tensor.name);
    let mut names = BTreeSet::new();
    match parameters
        .chain(statistics)
        .find(|name| !names.insert(name.clone()))
    {
        Some(twice) => {
            let heads: Vec<&str> = task.heads().iter().map(|(name, _)| name.as_str()).collect();
            let problem = format!(
                "the modalities {} would give a checkpoint two tensors \"{twice}\": other names expected",
                heads.join(", ")
            );
            Err(Error::input("the training data", problem))
        }
        None => Ok(()),
    }
}

/// A decay that was asked for: its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Release {
    start: u64,
    end: u64,
}

/// Where a job is: the next update is that of `step` in a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    leg: usize,
    step: u64,
    update: u64,
    /// Where the leg ends, which may have been moved.
    end: u64,
    /// The decay that was asked for and runs.
    release: Option<Release>,
    /// The step that the job goes back to after that.
    back: Option<u64>,
    /// The last request that was taken.
    request: u64,
}

/// When the latest checkpoint is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Where every run saves.
    Planned,
    /// Where this one was stopped, or went on after something was lost.
    Between,
}

struct Job<'a, 'p> {
    options: &'a JobOptions,
    folder: &'a RunFolder,
    context: &'a Context<'a>,
    heads: Vec<(String, Head)>,
    extra: Vec<Tensor>,
    trainer: Trainer<'p, f32>,
    beside: Beside,
    legs: &'p [Leg<'p>],
    /// Updates of the whole job, with what was asked for; about as many where a schedule does not count updates.
    total: u64,
    /// What the schedule counts for an update, on average.
    units: f64,
    save_every: u64,
    keep_budgets: Option<usize>,
    /// Requests that are made again, at the same updates.
    again: Vec<Taken>,
    /// Whether the latest checkpoint becomes the previous one; nothing where there is none.
    latest_stays: Option<bool>,
}

/// Trains a job in its folder, from the start or from where it is. The flag is whether it was interrupted.
pub(super) fn run(
    options: &JobOptions,
    task: &mut dyn Task,
    legs: &[Leg<'_>],
    folder: &RunFolder,
    (save_every, keep_budgets): (u64, Option<usize>),
    context: &Context<'_>,
) -> Result<(JobReport, bool)> {
    let heads: Vec<Head> = task.heads().iter().map(|(_, head)| *head).collect();
    let setup = Setup {
        heads: &heads,
        optimizer: task.optimizer(),
        clip: None,
    };
    let mut buffers = Buffers::new(&setup, task.workspace_len(&setup), options.seed);
    let untrained = task.evaluate(context.engine.level(), &buffers.parameters)?;
    let trainer = buffers.trainer(setup, legs)?;
    let mut job = Job {
        options,
        folder,
        context,
        heads: task.heads().to_vec(),
        extra: task.tensors(),
        trainer,
        beside: Beside::new(options, setup.parameters_len())?,
        legs,
        total: 0,
        units: match options.schedule().unit {
            Unit::Steps => 1.0,
            unit => task.units(unit)?,
        },
        save_every,
        keep_budgets,
        again: Vec::new(),
        latest_stays: None,
    };
    let interrupted = job.train(task)?;
    let (budgets, series) = job.read_log()?;
    if !series.is_empty() {
        let picture = job.picture(series)?;
        // A finished run that is resumed changes nothing.
        if std::fs::read(folder.file(PICTURE)).ok().as_deref() != Some(picture.as_bytes()) {
            folder.replace(PICTURE, picture.as_bytes())?;
        }
    }
    let report = JobReport {
        name: options.name.clone(),
        untrained,
        budgets,
    };
    Ok((report, interrupted))
}

/// Whether a latest checkpoint is at the end of the last leg; what cannot be read is not.
pub(super) fn is_finished(options: &JobOptions, latest: &Path) -> Result<bool> {
    let legs = super::run::legs(options)?;
    let Ok(checkpoint) = Checkpoint::read(latest) else {
        return Ok(false);
    };
    let number = |key: &str| checkpoint.metadata.get(key)?.parse::<u64>().ok();
    let last = legs.last().map_or(0, |leg| leg.end);
    let end = number("end").unwrap_or(last);
    let is_last = number("leg").is_some_and(|leg| leg + 1 >= legs.len() as u64);
    Ok(is_last && checkpoint.step >= end && number("release").is_none())
}

/// Where the budget of a latest checkpoint ends, if that was moved, and its step at least; 0 where it cannot be read.
pub(super) fn end_of(latest: &Path) -> u64 {
    let Ok(checkpoint) = Checkpoint::read(latest) else {
        return 0;
    };
    let end = checkpoint.metadata.get("end");
    let end = end.and_then(|end| end.parse().ok());
    checkpoint.step.max(end.unwrap_or(0))
}

/// Trains all legs without a folder; the figures at the end.
pub(super) fn run_in_memory(
    task: &mut dyn Task,
    legs: &[Leg<'_>],
    seed: u64,
    engine: &Engine,
) -> Result<Metrics> {
    let heads: Vec<Head> = task.heads().iter().map(|(_, head)| *head).collect();
    let setup = Setup {
        heads: &heads,
        optimizer: task.optimizer(),
        clip: None,
    };
    let mut buffers = Buffers::new(&setup, task.workspace_len(&setup), seed);
    let mut trainer = buffers.trainer(setup, legs)?;
    if legs.iter().any(|leg| leg.from.is_some()) {
        let problem = "branches need a run folder, whose checkpoints they go back to";
        return Err(Error::flag("--schedule", problem));
    }
    for leg in legs {
        *trainer.schedule_mut() = State::at(&leg.plan, leg.start);
        for step in leg.start..leg.end {
            task.step(engine, &mut trainer, &leg.name, step)?;
        }
    }
    task.evaluate(engine.level(), trainer.parameters())
}

/// The storage of a trainer.
pub(super) struct Buffers {
    parameters: Vec<f32>,
    gradient: Vec<f32>,
    moments: Vec<f32>,
    workspace: Vec<f32>,
}

impl Buffers {
    /// Initial weights, moments of 0.
    pub(super) fn new(setup: &Setup<'_, f32>, workspace: usize, seed: u64) -> Self {
        let mut parameters = vec![0.0; setup.parameters_len()];
        initialise(setup.heads, seed, &mut parameters);
        Buffers {
            gradient: parameters.clone(),
            parameters,
            moments: vec![0.0; setup.moments_len()],
            workspace: vec![0.0; workspace],
        }
    }

    /// A trainer at the start of the first leg.
    fn trainer<'a>(
        &'a mut self,
        setup: Setup<'a, f32>,
        legs: &'a [Leg<'a>],
    ) -> Result<Trainer<'a, f32>> {
        let first = legs
            .first()
            .ok_or_else(|| Error::flag("the schedule", "no updates"))?;
        self.under(setup, &first.plan)
    }

    /// A trainer at the start of a plan.
    pub(super) fn under<'a>(
        &'a mut self,
        setup: Setup<'a, f32>,
        plan: &'a Plan<'a, f32>,
    ) -> Result<Trainer<'a, f32>> {
        let storage = Storage {
            parameters: &mut self.parameters,
            gradient: &mut self.gradient,
            moments: &mut self.moments,
            workspace: &mut self.workspace,
        };
        Trainer::new(setup, storage, State::new(plan)).map_err(refused)
    }
}

/// Initial weights, from a stream of its own for each head.
fn initialise(heads: &[Head], seed: u64, mut parameters: &mut [f32]) {
    for (index, head) in heads.iter().enumerate() {
        let mut random = stream(seed, Purpose::Weights, index as u64);
        let (own, rest) = parameters
            .split_at_mut_checked(head.parameters_len())
            .unwrap_or_default();
        head.initialise(own, |bound| random.symmetric(bound));
        parameters = rest;
    }
}

impl<'p> Job<'_, 'p> {
    /// All updates that are left; whether it was interrupted.
    fn train(&mut self, task: &mut dyn Task) -> Result<bool> {
        let (mut place, lines) = self.restore()?;
        let mut log = self.folder.metrics(lines.kept)?;
        self.total = self.total_from(place);
        (self.context.observe)(Event::Started {
            job: self.options.name.clone(),
            done: place.update,
            total: self.total,
        });
        if let Some(inputs) = task.inputs() {
            (self.context.observe)(Event::Inputs {
                job: self.options.name.clone(),
                inputs: inputs.clone(),
            });
        }
        self.note_missing(place, lines.counted, &mut log)?;
        self.beside.begin(&mut self.trainer)?;
        if self.latest_stays.is_none() {
            self.begin(place, &log)?;
        }
        task.warnings().into_iter().for_each(|w| self.warn(w));
        while let Some(leg) = self.legs.get(place.leg) {
            if place.step >= place.end && place.release.is_none() {
                // Where a branch begins at step 0 the main branch has no updates, but its end is gone back to.
                if leg.updates() == 0 && leg.from.is_none() {
                    self.save(&leg.save_as, place)?;
                }
                place = self.next_leg(place)?;
                continue;
            }
            if self.context.stop.load(Ordering::Relaxed) {
                self.save_between(place, &log)?;
                return Ok(true);
            }
            if self.take_request(&mut place, &mut log)? {
                self.total = self.total_from(place);
                continue;
            }
            let decayed = self.decays();
            let line = self.update(task, leg, &mut place)?;
            log.append(&line)?;
            let released = place
                .release
                .is_some_and(|release| place.step >= release.end);
            let ended = released || place.release.is_none() && place.step >= place.end;
            // Where one decay follows another, the second begins here.
            if self.decays() && self.returns() && (!decayed || ended) {
                let release = place.release.filter(|_| !ended);
                self.save(BEFORE_DECAY, Place { release, ..place })?;
            }
            if released {
                self.finish_release(task, &mut place, &mut log)?;
            } else if ended {
                self.finish_leg(task, leg, place, &mut log)?;
            } else if place.update.is_multiple_of(self.save_every.max(1)) {
                self.save_latest(place, &log)?;
            }
        }
        // What comes too late is refused, at the end of the last leg.
        place.leg = self.legs.len().saturating_sub(1);
        while self.take_request(&mut place, &mut log)? {}
        Ok(false)
    }

    /// The updates that were made, and those that are left.
    fn total_from(&self, place: Place) -> u64 {
        let until = |end: u64, from: u64| end.saturating_sub(from);
        let Some(leg) = self.legs.get(place.leg) else {
            return place.update;
        };
        // A branch is gone back before; any other release lies within its leg.
        let here = match (place.release, place.back) {
            (Some(release), Some(back)) => {
                until(release.end, place.step).saturating_add(until(place.end, back))
            }
            _ => until(place.end, place.step),
        };
        let later = self.legs.iter().skip(place.leg + 1);
        let later = later.map(|next| match next.plan == leg.plan && next.from.is_none() {
            true => until(next.end, next.start.max(place.end)),
            false => next.updates(),
        });
        let left = later.fold(here, u64::saturating_add);
        let updates = match self.options.schedule().unit {
            Unit::Steps => left,
            Unit::Samples | Unit::Tokens => (left as f64 / self.units).ceil() as u64,
        };
        place.update.saturating_add(updates)
    }

    /// Whether the next update is one of a decay.
    fn decays(&self) -> bool {
        self.trainer.schedule().position().phase == Phase::Decay
    }

    /// Whether the job goes on from decayed weights.
    fn returns(&self) -> bool {
        self.options.schedule().kind == ScheduleKind::WsdS && self.legs_are_one_line()
    }

    /// Whether a decay is a branch, which is thrown away.
    fn branches(&self) -> bool {
        self.options.schedule().kind == ScheduleKind::Wsd
    }

    /// The checkpoint at the end of a leg, which may have been moved.
    fn end_name(&self, leg: &Leg<'_>, place: Place) -> String {
        match (place.end == leg.end, self.branches()) {
            (true, _) => leg.save_as.clone(),
            (false, true) => moved_name(leg.end, place.end),
            (false, false) => budget_name(place.end),
        }
    }

    /// Whether no leg goes back to an earlier checkpoint.
    fn legs_are_one_line(&self) -> bool {
        self.legs.iter().all(|leg| leg.from.is_none())
    }

    fn warn(&self, message: String) {
        (self.context.observe)(Event::Warning { message });
    }

    fn update(&mut self, task: &mut dyn Task, leg: &Leg<'_>, place: &mut Place) -> Result<Line> {
        let schedule = *self.trainer.schedule();
        let (rate, position) = (schedule.rate(), schedule.position());
        let phase = phase_name(position.phase);
        let done = task.step(
            self.context.engine,
            &mut self.trainer,
            &leg.name,
            place.step,
        )?;
        // The step has counted one.
        let units = done.units(self.options.schedule().unit);
        if units > 1 {
            self.trainer.schedule_mut().advance_by(units - 1);
        }
        place.step = self.trainer.schedule().step();
        place.update += 1;
        let warning = self.beside.update(
            self.context.engine.level(),
            &mut self.trainer,
            (place.update, rate),
        )?;
        if let Some(warning) = self.context.engine.warning() {
            self.warn(warning);
        }
        if let Some(warning) = warning {
            self.warn(format!("{}: {warning}", self.options.name));
        }
        let end = match place.release {
            Some(release) => Some(release.end),
            None => Some(place.end).filter(|_| leg.budget),
        };
        let name = match place.back {
            Some(back) => format!("{RELEASE}-{back}"),
            None => leg.name.clone(),
        };
        (self.context.observe)(Event::Step {
            job: self.options.name.clone(),
            leg: name.clone(),
            update: place.update,
            total: self.total,
            step: place.step,
            budget: end.filter(|end| *end < ENDLESS),
            phase,
            rate,
            loss: done.loss,
        });
        Ok(Line::Step {
            update: place.update,
            leg: name,
            step: place.step,
            phase: phase.to_string(),
            rate,
            loss: done.loss,
        })
    }

    /// The checkpoint at the end of a leg, then the log, then the latest checkpoint: a process killed between two
    /// of these makes the later ones again.
    fn finish_leg(
        &mut self,
        task: &mut dyn Task,
        leg: &Leg<'_>,
        place: Place,
        log: &mut store::Metrics,
    ) -> Result<()> {
        let name = self.end_name(leg, place);
        match name.starts_with(MAINS) {
            true => self.save_main(&name, place)?,
            false => self.save(&name, place)?,
        }
        if leg.budget {
            self.log_budget(task, (&leg.name, &name), (place.update, place.step), log)?;
        }
        self.keep_newest(BUDGETS, &name)?;
        self.save_latest(place, log)?;
        task.warnings().into_iter().for_each(|w| self.warn(w));
        Ok(())
    }

    /// Goes to the start of the leg after `place`.
    fn next_leg(&mut self, place: Place) -> Result<Place> {
        let mut leg = place.leg + 1;
        let plan = self.legs.get(place.leg).map(|leg| leg.plan);
        let goes_on = |next: &Leg<'_>| next.from.is_none() && Some(next.plan) == plan;
        // An end that was moved beyond later ones leaves them out.
        let is_passed = |next: &&Leg<'_>| goes_on(next) && next.end <= place.step;
        while let Some(passed) = self.legs.get(leg).filter(is_passed) {
            self.warn(format!(
                "{}: no checkpoint of budget {}: the end of the one before was moved to {}",
                self.options.name, passed.end, place.step
            ));
            leg += 1;
        }
        let Some(next) = self.legs.get(leg) else {
            return Ok(Place { leg, ..place });
        };
        let place = Place {
            leg,
            end: next.end,
            release: None,
            back: None,
            ..place
        };
        if goes_on(next) {
            return Ok(place);
        }
        let mut step = place.step;
        if let Some(from) = &next.from {
            let checkpoint = self.folder.load(from)?;
            self.take(from, &checkpoint)?;
            step = checkpoint.step;
        }
        *self.trainer.schedule_mut() = State::at(&next.plan, step);
        Ok(Place { step, ..place })
    }
}
