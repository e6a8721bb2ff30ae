//! One job: its legs, one update after the other, with checkpoints from which it goes on bit for bit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::{Phase, Plan, State};
use rivergram_core::trainer::{Setup, Storage, Trainer};
use rivergram_simd::Level;
use serde::{Deserialize, Serialize};

use super::Context;
use super::beside::Beside;
use super::event::{BudgetReport, Event, JobReport, Metrics};
use super::options::{JobOptions, ScheduleKind, Unit};
use super::request::{Ask, REQUEST, Request};
use crate::error::{Error, Result};
use crate::plot::{self, Picture, Point, Series};
use crate::random::{Purpose, stream};
use crate::schedule::{Leg, phase_name, picture_phase};
use crate::store::{
    self, BEFORE_DECAY, BUDGETS, Checkpoint, LATEST, MAINS, METRICS, RELEASES, RunFolder, Tensor,
    budget_name, main_name, release_name,
};

mod recover;

use recover::Taken;

/// The file of the picture.
const PICTURE: &str = "picture.svg";

/// In a checkpoint: the updates that its weights have had, where its step is something else.
const UPDATES: &str = "updates";

/// In the latest checkpoint: the lines of the log that lead to it.
const LINES: &str = "lines";

/// In the latest checkpoint: that it was saved where an undisturbed run would not have.
const BETWEEN: &str = "between";

/// In the latest checkpoint: what was asked for, and is made again.
const AGAIN: &str = "again";

/// The averaged weights of a checkpoint, under the names of the weights.
const AVERAGE: &str = "average.";

/// The copies of an average that needs them.
const COPIES: &str = "average.copies";

/// In a checkpoint: the updates that its average has taken in.
const AVERAGED: &str = "averaged";

/// Ends from here on are told to nobody: they stand for none.
const ENDLESS: u64 = 1 << 63;

/// What a run answers that has made all its updates.
pub(super) const FINISHED: &str = "the run is finished: --resume with --add-budgets gives it more";

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
        level: Level,
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

/// The tensors of the parameters, in their order: PyTorch's names for `nn.Linear` and for
/// `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)`.
fn shapes(heads: &[(String, Head)]) -> Vec<(String, Vec<usize>)> {
    let layer = |name: String, input, output| {
        [
            (format!("{name}.weight"), vec![output, input]),
            (format!("{name}.bias"), vec![output]),
        ]
    };
    let layers = |(name, head): &(String, Head)| match head.hidden {
        0 => layer(name.clone(), head.input, head.output).to_vec(),
        hidden => [
            layer(format!("{name}.0"), head.input, hidden),
            layer(format!("{name}.2"), hidden, head.output),
        ]
        .concat(),
    };
    heads.iter().flat_map(layers).collect()
}

/// One line of `metrics.jsonl`. `update` counts the updates of all legs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Step {
        update: u64,
        leg: String,
        step: u64,
        phase: String,
        rate: f32,
        loss: f32,
    },
    Budget {
        update: u64,
        leg: String,
        step: u64,
        checkpoint: PathBuf,
        metrics: Metrics,
        #[serde(default, skip_serializing_if = "Metrics::is_empty")]
        average: Metrics,
    },
    Request {
        update: u64,
        leg: String,
        step: u64,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        #[serde(flatten)]
        request: Request,
    },
    /// Lines that were there when `update` updates had been made, and were damaged or gone when the run went on.
    Missing { update: u64, first: u64, last: u64 },
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

/// The checkpoint at the end of a leg, which may have been moved.
fn end_name(leg: &Leg<'_>, place: Place) -> String {
    match place.end == leg.end {
        true => leg.save_as.clone(),
        false => budget_name(place.end),
    }
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
    total: u64,
    save_every: u64,
    keep_budgets: Option<usize>,
    /// Requests that are made again, at the same updates.
    again: Vec<Taken>,
    /// Whether the latest checkpoint becomes the previous one; nothing where there is none.
    latest_stays: Option<bool>,
}

/// The updates of all legs, about as many where a schedule does not count updates.
fn total(task: &dyn Task, legs: &[Leg<'_>], unit: Unit) -> Result<u64> {
    let units = legs.iter().map(Leg::updates).fold(0, u64::saturating_add);
    Ok(match unit {
        Unit::Steps => units,
        Unit::Samples | Unit::Tokens => (units as f64 / task.units(unit)?).ceil() as u64,
    })
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
    let untrained = task.evaluate(context.level, &buffers.parameters)?;
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
        total: total(task, legs, options.schedule().unit)?,
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

/// Trains all legs without a folder; the figures at the end.
pub(super) fn run_in_memory(
    task: &mut dyn Task,
    legs: &[Leg<'_>],
    seed: u64,
    level: Level,
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
            task.step(level, &mut trainer, &leg.name, step)?;
        }
    }
    task.evaluate(level, trainer.parameters())
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
        let mut log = self.folder.metrics(lines)?;
        (self.context.observe)(Event::Started {
            job: self.options.name.clone(),
            done: place.update,
            total: self.total,
        });
        self.note_missing(place, lines, &mut log)?;
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
                continue;
            }
            let decayed = self.decays();
            let line = self.update(task, leg, &mut place)?;
            log.append(&line)?;
            if self.decays() && !decayed && self.returns() {
                self.save(BEFORE_DECAY, place)?;
            }
            if place
                .release
                .is_some_and(|release| place.step >= release.end)
            {
                self.finish_release(task, &mut place, &mut log)?;
            } else if place.step >= place.end && place.release.is_none() {
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

    /// Says which of the lines are gone that the latest checkpoint counts, here and in the log itself.
    fn note_missing(&mut self, place: Place, lines: u64, log: &mut store::Metrics) -> Result<()> {
        let first = log.lines() + 1;
        if first > lines {
            return Ok(());
        }
        let file = self.folder.file(METRICS);
        let text = match first == lines {
            true => format!("line {lines} is"),
            false => format!("lines {first} to {lines} are"),
        };
        self.warn(format!(
            "{}: {text} damaged or missing in it",
            file.display()
        ));
        log.append(&Line::Missing {
            update: place.update,
            first,
            last: lines,
        })?;
        self.save_between(place, log)
    }

    /// Whether the next update is one of a decay.
    fn decays(&self) -> bool {
        self.trainer.schedule().position().phase == Phase::Decay
    }

    /// Whether the job goes on from decayed weights.
    fn returns(&self) -> bool {
        self.options.schedule().kind == ScheduleKind::WsdS && self.legs_are_one_line()
    }

    /// Whether no leg goes back to an earlier checkpoint.
    fn legs_are_one_line(&self) -> bool {
        self.legs.iter().all(|leg| leg.from.is_none())
    }

    /// Takes what was asked for, if something was. What comes of it is in the latest checkpoint before the request is
    /// removed.
    fn take_request(&mut self, place: &mut Place, log: &mut store::Metrics) -> Result<bool> {
        if let Some(taken) = self.again.first().copied() {
            if taken.update > place.update {
                return Ok(false);
            }
            self.again.remove(0);
            self.answer_and_log(taken.request, place, log)?;
            return Ok(true);
        }
        let file = self.folder.file(REQUEST);
        if !file.exists() {
            return Ok(false);
        }
        match Request::read(&file) {
            Err(e) => self.warn(format!("{}: {e}: ask again", self.options.name)),
            Ok(request) if request.id == place.request => {}
            Ok(request) => self.answer_and_log(request, place, log)?,
        }
        std::fs::remove_file(&file).map_err(|e| Error::io(&file, "remove it", e))?;
        Ok(true)
    }

    fn answer_and_log(
        &mut self,
        request: Request,
        place: &mut Place,
        log: &mut store::Metrics,
    ) -> Result<()> {
        let leg = self.legs.get(place.leg).map(|leg| leg.name.clone());
        let (update, step) = (place.update, place.step);
        let refused = self.answer(request.ask, place)?;
        self.log_request(
            request,
            refused,
            (update, step, leg.unwrap_or_default()),
            place,
            log,
        )
    }

    /// What came of a request: in the log, then in the latest checkpoint.
    fn log_request(
        &mut self,
        request: Request,
        refused: Option<String>,
        (update, step, leg): (u64, u64, String),
        place: &mut Place,
        log: &mut store::Metrics,
    ) -> Result<()> {
        if let Some(reason) = &refused {
            self.warn(format!("{}: the request: {reason}", self.options.name));
        }
        place.request = request.id;
        log.append(&Line::Request {
            update,
            leg,
            step,
            refused,
            request,
        })?;
        self.save_latest(*place, log)
    }

    /// Does what was asked for; the reason where it cannot be done, and nothing has then changed.
    fn answer(&mut self, ask: Ask, place: &mut Place) -> Result<Option<String>> {
        let refuse = |problem: String| Ok(Some(problem));
        let kind = self.options.schedule().kind;
        let branches = kind == ScheduleKind::Wsd;
        let is_fit = matches!(
            kind,
            ScheduleKind::WsdS | ScheduleKind::Wsd | ScheduleKind::Constant
        );
        if !is_fit || !(branches || self.legs_are_one_line()) {
            return refuse("wsd-s, wsd or constant expected, and one part".to_string());
        }
        if place.step >= place.end && place.release.is_none() {
            return refuse(FINISHED.to_string());
        }
        let step = place.step;
        let on_main = self.legs.get(place.leg).is_some_and(|leg| !leg.budget);
        match ask {
            Ask::DecayOfSeen { millionths } => {
                let mut decaying = *self.trainer.schedule();
                decaying.request_decay_of_seen(millionths);
                let length = decaying.remaining().unwrap_or(0);
                return self.answer(Ask::Decay { length }, place);
            }
            Ask::Decay { length } => {
                let end = step.saturating_add(length);
                let running = self.decays();
                let moves_end = running && place.release.is_none();
                // A branch is thrown away, and may go as far as it likes.
                if !moves_end && !branches && end >= place.end {
                    let end = place.end;
                    return refuse(format!(
                        "a decay of {length} from {step} reaches the end at {end}"
                    ));
                }
                if !running && branches {
                    self.save_main(&main_name(step), *place)?;
                } else if !running {
                    self.save(BEFORE_DECAY, *place)?;
                }
                if !self.trainer.schedule_mut().request_decay(length) {
                    return refuse("a decay of at least 1 expected".to_string());
                }
                if moves_end {
                    place.end = end;
                } else {
                    let start = place.release.map_or(step, |release| release.start);
                    place.release = Some(Release { start, end });
                    place.back = place.back.or((branches && !running).then_some(step));
                }
            }
            Ask::Cancel if !self.decays() => return refuse("no decay runs".to_string()),
            Ask::Cancel if place.back.is_some() => self.go_back(place)?,
            Ask::Cancel if branches && self.legs.len() == place.leg + 1 => {
                return refuse("this is the last branch: nothing comes after it".to_string());
            }
            Ask::Cancel if branches => *place = self.next_leg(*place)?,
            Ask::Cancel => {
                self.trainer.schedule_mut().cancel_decay();
                place.release = None;
            }
            Ask::Extend { by } => {
                let end = place.release.map_or(place.end, |release| release.end);
                let end = end.saturating_add(by);
                if place.release.is_some() && !branches && end >= place.end {
                    let last = place.end;
                    return refuse(format!(
                        "the decay would end at {end}, beyond the end at {last}"
                    ));
                }
                if place.release.is_none() && on_main {
                    return refuse("a main branch has no end of its own: add budgets".to_string());
                }
                if !self.trainer.schedule_mut().extend(by) {
                    return refuse("nothing to extend, or by nothing".to_string());
                }
                match &mut place.release {
                    Some(release) => release.end = end,
                    None => place.end = end,
                }
            }
        }
        Ok(None)
    }

    /// Back to the main branch, where a decay that was asked for began.
    fn go_back(&mut self, place: &mut Place) -> Result<()> {
        let Some(step) = place.back else {
            return Ok(());
        };
        let name = main_name(step);
        let checkpoint = self.folder.load(&name)?;
        let leg = self.legs.get(place.leg);
        let leg = leg.ok_or_else(|| Error::file(&self.folder.file(&name), "of no leg"))?;
        let schedule = self.schedule_of(&name, &leg.plan, &checkpoint)?;
        self.take(&name, &checkpoint)?;
        *self.trainer.schedule_mut() = schedule;
        (place.release, place.back, place.step) = (None, None, step);
        Ok(())
    }

    /// The end of a decay that was asked for: a checkpoint and what it is worth, then on, or back to the main branch.
    fn finish_release(
        &mut self,
        task: &mut dyn Task,
        place: &mut Place,
        log: &mut store::Metrics,
    ) -> Result<()> {
        let (step, update) = (place.step, place.update);
        let start = place.release.map_or(step, |release| release.start);
        let name = release_name(start, step);
        place.release = None;
        self.save(&name, *place)?;
        self.log_budget(task, (RELEASE, &name), (update, step), log)?;
        self.keep_newest(RELEASES)?;
        self.go_back(place)?;
        self.save_latest(*place, log)
    }

    /// Evaluates, and tells it.
    fn log_budget(
        &self,
        task: &dyn Task,
        (leg, checkpoint): (&str, &str),
        (update, step): (u64, u64),
        log: &mut store::Metrics,
    ) -> Result<()> {
        let line = Line::Budget {
            update,
            leg: leg.to_string(),
            step,
            checkpoint: PathBuf::from(checkpoint),
            metrics: task.evaluate(self.context.level, self.trainer.parameters())?,
            average: match self.beside.release(self.trainer.parameters().len())? {
                Some(average) => task.evaluate(self.context.level, &average)?,
                None => Metrics::new(),
            },
        };
        log.append(&line)?;
        if let Some(report) = self.budget_report(&line) {
            (self.context.observe)(Event::Budget(report));
        }
        Ok(())
    }

    fn warn(&self, message: String) {
        (self.context.observe)(Event::Warning { message });
    }

    fn update(&mut self, task: &mut dyn Task, leg: &Leg<'_>, place: &mut Place) -> Result<Line> {
        let schedule = *self.trainer.schedule();
        let (rate, position) = (schedule.rate(), schedule.position());
        let phase = phase_name(position.phase);
        let done = task.step(self.context.level, &mut self.trainer, &leg.name, place.step)?;
        // The step has counted one.
        let units = done.units(self.options.schedule().unit);
        if units > 1 {
            self.trainer.schedule_mut().advance_by(units - 1);
        }
        place.step = self.trainer.schedule().step();
        place.update += 1;
        let warning =
            self.beside
                .update(self.context.level, &mut self.trainer, (place.update, rate))?;
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
        let name = end_name(leg, place);
        match name.starts_with(MAINS) {
            true => self.save_main(&name, place)?,
            false => self.save(&name, place)?,
        }
        if leg.budget {
            self.log_budget(task, (&leg.name, &name), (place.update, place.step), log)?;
        }
        self.keep_newest(BUDGETS)?;
        self.save_latest(place, log)?;
        task.warnings().into_iter().for_each(|w| self.warn(w));
        Ok(())
    }

    /// Removes old checkpoints of a kind.
    fn keep_newest(&self, kind: &str) -> Result<()> {
        match self.keep_budgets {
            Some(most) => self.folder.keep(kind, most),
            None => Ok(()),
        }
    }

    /// The checkpoint of a main branch, which is gone back to. A checkpoint goes back to the newest one, or at the
    /// moment when that is made to the one before: older ones go.
    fn save_main(&self, name: &str, place: Place) -> Result<()> {
        self.save(name, place)?;
        self.folder.keep(MAINS, 2)
    }

    /// Goes to the start of the leg after `place`.
    fn next_leg(&mut self, place: Place) -> Result<Place> {
        let mut leg = place.leg + 1;
        let plan = self.legs.get(place.leg).map(|leg| leg.plan);
        let goes_on = |next: &Leg<'_>| next.from.is_none() && Some(next.plan) == plan;
        // An end that was moved beyond later ones leaves them out.
        while self
            .legs
            .get(leg)
            .is_some_and(|next| goes_on(next) && next.end <= place.step)
        {
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

    /// The state of the schedule in a checkpoint, also of one that did not know of all budgets.
    fn schedule_of(
        &self,
        name: &str,
        plan: &'p Plan<'p, f32>,
        checkpoint: &Checkpoint,
    ) -> Result<State<'p, f32>> {
        let refused = match State::load(plan, &checkpoint.schedule) {
            Ok(state) => return Ok(state),
            Err(e) => e,
        };
        let fewer = (1..plan.budgets().len()).rev();
        for budgets in fewer.filter_map(|n| plan.budgets().get(..n)) {
            let Ok(known) = Plan::new(*plan.settings(), budgets) else {
                continue;
            };
            let state = State::load(&known, &checkpoint.schedule);
            if let Ok(state) = state.and_then(|state| state.replan(plan)) {
                return Ok(state);
            }
        }
        Err(Error::file(&self.folder.file(name), refused))
    }

    /// Weights, moments and counts of a checkpoint.
    fn take(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<()> {
        let file = self.folder.file(name);
        for own in &self.extra {
            if checkpoint.values(&file, &own.name, &own.shape)? != own.values {
                let problem = "not what the data have now: they have changed since the run began";
                return Err(Error::tensor(&file, &own.name, problem));
            }
        }
        let mut parameters = Vec::new();
        for (tensor, shape) in shapes(&self.heads) {
            parameters.extend_from_slice(checkpoint.values(&file, &tensor, &shape)?);
        }
        let moments = checkpoint.values(&file, "optimizer", &[self.trainer.moments().len()])?;
        // The schedule counts updates, unless something else was asked for.
        let counted = checkpoint.metadata.get(UPDATES).map(|text| text.parse());
        let updates = counted.unwrap_or(Ok(checkpoint.step));
        let updates = updates.map_err(|e| Error::file(&file, format!("its {UPDATES}: {e}")))?;
        let schedule = *self.trainer.schedule();
        self.trainer
            .restore(&parameters, moments, updates, schedule)
            .map_err(|e| Error::file(&file, e))?;
        self.take_average(&file, checkpoint)?;
        self.beside.begin(&mut self.trainer)
    }

    /// The average of a checkpoint, where the job has one.
    fn take_average(&mut self, file: &Path, checkpoint: &Checkpoint) -> Result<()> {
        let Some((_, numbers)) = self.beside.averaged() else {
            return Ok(());
        };
        let (weights, length) = (self.trainer.parameters().len(), numbers.len());
        let mut saved = Vec::new();
        if length == weights {
            for (tensor, shape) in shapes(&self.heads) {
                let name = format!("{AVERAGE}{tensor}");
                saved.extend_from_slice(checkpoint.values(file, &name, &shape)?);
            }
        } else {
            let shape = [length.checked_div(weights).unwrap_or(0), weights];
            saved.extend_from_slice(checkpoint.values(file, COPIES, &shape)?);
        }
        let updates = checkpoint.metadata.get(AVERAGED);
        let updates = updates.and_then(|text| text.parse().ok());
        let updates =
            updates.ok_or_else(|| Error::file(file, format!("no \"{AVERAGED}\" in it")))?;
        self.beside.restore((updates, &saved));
        Ok(())
    }

    /// A slice of all weights as the tensors of a checkpoint.
    fn tensors(&self, prefix: &str, mut weights: &[f32]) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (tensor, shape) in shapes(&self.heads) {
            let length = shape.iter().product();
            let (own, rest) = weights.split_at_checked(length).unwrap_or_default();
            tensors.push(Tensor::new(
                format!("{prefix}{tensor}"),
                shape,
                own.to_vec(),
            ));
            weights = rest;
        }
        tensors
    }

    /// What a checkpoint has of the average: the averaged weights, and the copies where it is made of copies.
    fn average_tensors(&self) -> Result<Vec<Tensor>> {
        let Some((_, numbers)) = self.beside.averaged() else {
            return Ok(Vec::new());
        };
        let weights = self.trainer.parameters().len();
        let average = self.beside.release(weights)?;
        let average = average.unwrap_or_else(|| vec![0.0; weights]);
        let mut tensors = self.tensors(AVERAGE, &average);
        if numbers.len() != weights {
            let shape = vec![numbers.len().checked_div(weights).unwrap_or(0), weights];
            tensors.push(Tensor::new(COPIES, shape, numbers.to_vec()));
        }
        Ok(tensors)
    }

    /// The latest checkpoint, after the lines of the log that lead to it.
    fn save_latest(&mut self, place: Place, log: &store::Metrics) -> Result<()> {
        log.sync()?;
        self.write_latest(place, log.lines(), Moment::Planned)
    }

    /// The same where an undisturbed run would not have saved: it does not become the previous checkpoint.
    fn save_between(&mut self, place: Place, log: &store::Metrics) -> Result<()> {
        log.sync()?;
        self.write_latest(place, log.lines(), Moment::Between)
    }

    fn write_latest(&mut self, place: Place, lines: u64, moment: Moment) -> Result<()> {
        let mut checkpoint = self.checkpoint(LATEST, place)?;
        let metadata = &mut checkpoint.metadata;
        metadata.insert(LINES.to_string(), lines.to_string());
        if moment == Moment::Between {
            metadata.insert(BETWEEN.to_string(), "1".to_string());
        }
        if !self.again.is_empty() {
            metadata.insert(AGAIN.to_string(), recover::text(&self.again)?);
        }
        let stays = self.latest_stays.unwrap_or(false);
        self.folder.save_latest(&checkpoint, stays)?;
        self.latest_stays = Some(moment == Moment::Planned && self.needed(place).is_none());
        Ok(())
    }

    fn save(&self, name: &str, place: Place) -> Result<()> {
        self.folder.save(name, &self.checkpoint(name, place)?)
    }

    fn checkpoint(&self, name: &str, place: Place) -> Result<Checkpoint> {
        let mut schedule = vec![0; State::<f32>::SAVED_LEN];
        let saved = self.trainer.schedule().save(&mut schedule);
        saved.map_err(|e| Error::file(&self.folder.file(name), e))?;
        let mut tensors = self.extra.clone();
        tensors.extend(self.tensors("", self.trainer.parameters()));
        tensors.extend(self.average_tensors()?);
        let moments = self.trainer.moments();
        tensors.push(Tensor::new(
            "optimizer",
            vec![moments.len()],
            moments.to_vec(),
        ));
        let planned = self.legs.get(place.leg).map(|leg| leg.end);
        let numbers = [
            ("leg", Some(place.leg as u64)),
            ("update", Some(place.update)),
            ("end", Some(place.end).filter(|end| Some(*end) != planned)),
            (
                UPDATES,
                Some(self.trainer.updates()).filter(|n| *n != place.step),
            ),
            ("release", place.release.map(|release| release.end)),
            ("began", place.release.map(|release| release.start)),
            ("back", place.back),
            ("request", Some(place.request).filter(|id| *id != 0)),
            (AVERAGED, self.beside.averaged().map(|(updates, _)| updates)),
        ];
        let mut metadata = BTreeMap::from([("job".to_string(), self.options.name.clone())]);
        let given = numbers
            .iter()
            .filter_map(|(key, n)| Some((key.to_string(), (*n)?.to_string())));
        metadata.extend(given);
        Ok(Checkpoint {
            tensors,
            schedule,
            step: place.step,
            metadata,
        })
    }

    fn budget_report(&self, line: &Line) -> Option<BudgetReport> {
        let Line::Budget {
            leg,
            step,
            checkpoint,
            metrics,
            average,
            ..
        } = line
        else {
            return None;
        };
        Some(BudgetReport {
            job: self.options.name.clone(),
            leg: leg.clone(),
            step: *step,
            checkpoint: self.folder.file(&checkpoint.to_string_lossy()),
            metrics: metrics.clone(),
            average: average.clone(),
        })
    }

    /// What the log says of budgets, and of the curves of the legs. It is read line by line: that of a long run is long.
    fn read_log(&self) -> Result<(Vec<BudgetReport>, Vec<Series>)> {
        let path = self.folder.file(METRICS);
        let (mut reports, mut curves) = (Vec::new(), Curves::default());
        for text in self.folder.log()? {
            let line: Line = serde_json::from_slice(&text?).map_err(|e| Error::file(&path, e))?;
            reports.extend(self.budget_report(&line));
            if let Line::Step {
                leg,
                step,
                phase,
                rate,
                loss,
                ..
            } = line
            {
                let point = Point {
                    step: step.saturating_sub(1),
                    loss,
                    rate,
                    phase: picture_phase(&phase),
                };
                curves.push(&leg, point);
            }
        }
        Ok((reports, curves.series()))
    }

    /// Loss and rate against the steps, a curve for each name of a leg.
    fn picture(&self, series: Vec<Series>) -> Result<String> {
        let budgets = self.legs.iter().filter(|leg| leg.budget);
        let mut budgets: Vec<u64> = budgets.map(|leg| leg.end).collect();
        budgets.sort_unstable();
        budgets.dedup();
        plot::draw(&Picture {
            title: self.options.name.clone(),
            series,
            budgets,
        })
    }
}

/// Points of a curve, at least, once there are more.
const POINTS: usize = 4096;

/// The curves of a picture, thinned out: of a long one every second, fourth, … point is left.
#[derive(Default)]
struct Curves(Vec<Curve>);

struct Curve {
    series: Series,
    /// Points that were seen.
    seen: usize,
    /// Of how many points one is kept.
    every: usize,
}

impl Curves {
    fn push(&mut self, name: &str, point: Point) {
        match self.0.iter_mut().find(|curve| curve.series.name == name) {
            Some(curve) => curve.push(point),
            None => self.0.push(Curve {
                series: Series {
                    name: name.to_string(),
                    points: vec![point],
                },
                seen: 1,
                every: 1,
            }),
        }
    }

    fn series(self) -> Vec<Series> {
        self.0.into_iter().map(|curve| curve.series).collect()
    }
}

impl Curve {
    fn push(&mut self, point: Point) {
        if self.seen.is_multiple_of(self.every) {
            self.series.points.push(point);
        }
        self.seen += 1;
        if self.series.points.len() >= 2 * POINTS {
            let mut index = 0..;
            let is_even = |_: &Point| {
                index
                    .next()
                    .is_some_and(|index: usize| index.is_multiple_of(2))
            };
            self.series.points.retain(is_even);
            self.every *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_evenly() {
        let steps = |most: u64| {
            let mut curves = Curves::default();
            for step in 0..most {
                let phase = plot::Phase::Stable;
                let point = Point {
                    step,
                    loss: 0.0,
                    rate: 0.0,
                    phase,
                };
                curves.push("main", point);
            }
            let mut series = curves.series();
            let points = series.pop().map(|series| series.points);
            points
                .unwrap_or_default()
                .iter()
                .map(|point| point.step)
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(8191), (0..8191).collect::<Vec<_>>());
        assert_eq!(steps(100_000), (0..100_000).step_by(16).collect::<Vec<_>>());
    }
}
