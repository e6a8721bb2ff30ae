//! One job: its legs, one update after the other, with checkpoints from which it goes on bit for bit.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rivergram_core::error::TrainError;
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::schedule::State;
use rivergram_core::trainer::{Setup, Storage, Trainer};
use rivergram_simd::Level;
use serde::{Deserialize, Serialize};

use super::Context;
use super::event::{BudgetReport, Event, JobReport, Metrics};
use super::options::JobOptions;
use crate::error::{Error, Result};
use crate::plot::{self, Picture, Point, Series};
use crate::random::{Purpose, stream};
use crate::schedule::{Leg, phase_name, picture_phase};
use crate::store::{self, Checkpoint, LATEST, METRICS, RunFolder, Tensor};

/// The file of the picture.
const PICTURE: &str = "picture.svg";

/// What differs between the kinds of jobs.
pub(super) trait Task {
    /// The heads, each with the prefix of its tensors.
    fn heads(&self) -> &[(String, Head)];
    /// The rule of the updates.
    fn optimizer(&self) -> Optimizer<f32>;
    /// Floats of workspace for a step.
    fn workspace_len(&self, setup: &Setup<'_, f32>) -> usize;
    /// Makes the update of a step; the loss before it.
    fn step(
        &mut self,
        level: Level,
        trainer: &mut Trainer<'_, f32>,
        leg: &str,
        step: u64,
    ) -> Result<f32>;
    /// How good parameters are.
    fn evaluate(&self, level: Level, parameters: &[f32]) -> Result<Metrics>;
    /// What a checkpoint holds besides: the statistics of the inputs.
    fn tensors(&self) -> Vec<Tensor>;
    /// What the user should know of it and was not yet told.
    fn warnings(&mut self) -> Vec<String>;
}

/// What core refuses, as an error of this crate.
pub(super) fn refused(e: TrainError) -> Error {
    Error::flag("training", e)
}

/// Refuses names of modalities that give two tensors of a checkpoint one name.
pub(super) fn check_names(task: &dyn Task) -> Result<()> {
    let parameters = shapes(task.heads()).into_iter().map(|(name, _)| name);
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
    },
}

/// Where a job is: the next update is that of `step` in a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    leg: usize,
    step: u64,
    update: u64,
}

struct Job<'a, 'p> {
    options: &'a JobOptions,
    folder: &'a RunFolder,
    context: &'a Context<'a>,
    heads: Vec<(String, Head)>,
    extra: Vec<Tensor>,
    trainer: Trainer<'p, f32>,
    legs: &'p [Leg<'p>],
    total: u64,
    save_every: u64,
}

/// Trains a job in its folder, from the start or from where it is. The flag is whether it was interrupted.
pub(super) fn run(
    options: &JobOptions,
    task: &mut dyn Task,
    legs: &[Leg<'_>],
    folder: &RunFolder,
    save_every: u64,
    context: &Context<'_>,
) -> Result<(JobReport, bool)> {
    let heads: Vec<Head> = task.heads().iter().map(|(_, head)| *head).collect();
    let setup = Setup {
        heads: &heads,
        optimizer: task.optimizer(),
        clip: None,
    };
    let mut buffers = Buffers::new(&setup, task, options.seed);
    let untrained = task.evaluate(context.level, &buffers.parameters)?;
    let trainer = buffers.trainer(setup, legs)?;
    let mut job = Job {
        options,
        folder,
        context,
        heads: task.heads().to_vec(),
        extra: task.tensors(),
        trainer,
        legs,
        total: legs.iter().map(Leg::updates).sum(),
        save_every,
    };
    let interrupted = job.train(task)?;
    let lines = job.lines()?;
    if !lines.is_empty() {
        let picture = job.picture(&lines)?;
        // A finished run that is resumed changes nothing.
        if std::fs::read(folder.file(PICTURE)).ok().as_deref() != Some(picture.as_bytes()) {
            folder.replace(PICTURE, picture.as_bytes())?;
        }
    }
    let report = JobReport {
        name: options.name.clone(),
        untrained,
        budgets: lines
            .iter()
            .filter_map(|line| job.budget_report(line))
            .collect(),
    };
    Ok((report, interrupted))
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
    let mut buffers = Buffers::new(&setup, task, seed);
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
struct Buffers {
    parameters: Vec<f32>,
    gradient: Vec<f32>,
    moments: Vec<f32>,
    workspace: Vec<f32>,
}

impl Buffers {
    /// Initial weights, moments of 0.
    fn new(setup: &Setup<'_, f32>, task: &dyn Task, seed: u64) -> Self {
        let mut parameters = vec![0.0; setup.parameters_len()];
        initialise(setup.heads, seed, &mut parameters);
        Buffers {
            gradient: parameters.clone(),
            parameters,
            moments: vec![0.0; setup.moments_len()],
            workspace: vec![0.0; task.workspace_len(setup)],
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
        let storage = Storage {
            parameters: &mut self.parameters,
            gradient: &mut self.gradient,
            moments: &mut self.moments,
            workspace: &mut self.workspace,
        };
        Trainer::new(setup, storage, State::new(&first.plan)).map_err(refused)
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
        let mut place = self.restore()?;
        let done = place.update;
        let last = Cell::new(0);
        let mut log = self.folder.metrics(|line| {
            let update = line.get("update").and_then(serde_json::Value::as_u64);
            let kept = update.filter(|update| *update <= done);
            last.set(kept.unwrap_or(last.get()));
            kept.is_some()
        })?;
        (self.context.observe)(Event::Started {
            job: self.options.name.clone(),
            done,
            total: self.total,
        });
        if last.get() < done {
            self.warn(format!(
                "{}: updates {} to {done} are missing in it",
                self.folder.file(METRICS).display(),
                last.get() + 1
            ));
        }
        task.warnings().into_iter().for_each(|w| self.warn(w));
        while let Some(leg) = self.legs.get(place.leg) {
            if place.step >= leg.end {
                // Where a branch begins at step 0 the main branch has no updates, but its end is gone back to.
                if leg.updates() == 0 && leg.from.is_none() {
                    self.save(&leg.save_as, place)?;
                }
                place = self.next_leg(place)?;
                continue;
            }
            if self.context.stop.load(Ordering::Relaxed) {
                log.sync()?;
                self.save(LATEST, place)?;
                return Ok(true);
            }
            let line = self.update(task, leg, &mut place)?;
            log.append(&line)?;
            if place.step == leg.end {
                self.finish_leg(task, leg, place, &mut log)?;
            } else if place.update.is_multiple_of(self.save_every.max(1)) {
                log.sync()?;
                self.save(LATEST, place)?;
            }
        }
        Ok(false)
    }

    fn warn(&self, message: String) {
        (self.context.observe)(Event::Warning { message });
    }

    fn update(&mut self, task: &mut dyn Task, leg: &Leg<'_>, place: &mut Place) -> Result<Line> {
        let schedule = *self.trainer.schedule();
        let (rate, position) = (schedule.rate(), schedule.position());
        let phase = phase_name(position.phase);
        let loss = task.step(self.context.level, &mut self.trainer, &leg.name, place.step)?;
        place.step += 1;
        place.update += 1;
        let budgets = leg.plan.budgets();
        (self.context.observe)(Event::Step {
            job: self.options.name.clone(),
            leg: leg.name.clone(),
            update: place.update,
            total: self.total,
            step: place.step,
            budget: budgets.iter().copied().find(|budget| *budget >= place.step),
            phase,
            rate,
            loss,
        });
        Ok(Line::Step {
            update: place.update,
            leg: leg.name.clone(),
            step: place.step,
            phase: phase.to_string(),
            rate,
            loss,
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
        self.save(&leg.save_as, place)?;
        if leg.budget {
            let line = Line::Budget {
                update: place.update,
                leg: leg.name.clone(),
                step: place.step,
                checkpoint: PathBuf::from(&leg.save_as),
                metrics: task.evaluate(self.context.level, self.trainer.parameters())?,
            };
            log.append(&line)?;
            if let Some(report) = self.budget_report(&line) {
                (self.context.observe)(Event::Budget(report));
            }
        }
        log.sync()?;
        self.save(LATEST, place)?;
        task.warnings().into_iter().for_each(|w| self.warn(w));
        Ok(())
    }

    /// Goes to the start of the leg after `place`.
    fn next_leg(&mut self, place: Place) -> Result<Place> {
        let leg = place.leg + 1;
        let Some(next) = self.legs.get(leg) else {
            return Ok(Place { leg, ..place });
        };
        if let Some(from) = &next.from {
            let checkpoint = self.folder.load(from)?;
            self.take(from, &checkpoint)?;
        }
        *self.trainer.schedule_mut() = State::at(&next.plan, next.start);
        let step = next.start;
        Ok(Place { leg, step, ..place })
    }

    /// Where the latest checkpoint is, with its weights; the start where there is none.
    fn restore(&mut self) -> Result<Place> {
        let start = self.legs.first().map_or(0, |leg| leg.start);
        let Some(checkpoint) = self.folder.latest()? else {
            return Ok(Place {
                leg: 0,
                step: start,
                update: 0,
            });
        };
        let damaged = |what: &str| {
            Error::file(
                &self.folder.file(LATEST),
                format!("its {what} is none of this run"),
            )
        };
        if checkpoint.metadata.get("job") != Some(&self.options.name) {
            return Err(damaged("job"));
        }
        let number = |key: &str| -> Result<u64> {
            let text = checkpoint.metadata.get(key);
            text.and_then(|text| text.parse().ok())
                .ok_or_else(|| damaged(key))
        };
        let (leg, update) = (number("leg")? as usize, number("update")?);
        let plan = &self.legs.get(leg).ok_or_else(|| damaged("leg"))?.plan;
        let schedule = State::load(plan, &checkpoint.schedule)
            .map_err(|e| Error::file(&self.folder.file(LATEST), e))?;
        self.take(LATEST, &checkpoint)?;
        *self.trainer.schedule_mut() = schedule;
        let step = checkpoint.step;
        Ok(Place { leg, step, update })
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
        let updates = checkpoint.step;
        let schedule = *self.trainer.schedule();
        self.trainer
            .restore(&parameters, moments, updates, schedule)
            .map_err(|e| Error::file(&file, e))
    }

    fn save(&self, name: &str, place: Place) -> Result<()> {
        let mut schedule = vec![0; State::<f32>::SAVED_LEN];
        let saved = self.trainer.schedule().save(&mut schedule);
        saved.map_err(|e| Error::file(&self.folder.file(name), e))?;
        let mut rest = self.trainer.parameters();
        let mut tensors = self.extra.clone();
        for (tensor, shape) in shapes(&self.heads) {
            let (own, others) = rest
                .split_at_checked(shape.iter().product())
                .unwrap_or_default();
            tensors.push(Tensor::new(tensor, shape, own.to_vec()));
            rest = others;
        }
        let moments = self.trainer.moments();
        tensors.push(Tensor::new(
            "optimizer",
            vec![moments.len()],
            moments.to_vec(),
        ));
        let metadata = BTreeMap::from([
            ("job".to_string(), self.options.name.clone()),
            ("leg".to_string(), place.leg.to_string()),
            ("update".to_string(), place.update.to_string()),
        ]);
        let checkpoint = Checkpoint {
            tensors,
            schedule,
            step: place.step,
            metadata,
        };
        self.folder.save(name, &checkpoint)
    }

    fn budget_report(&self, line: &Line) -> Option<BudgetReport> {
        let Line::Budget {
            leg,
            step,
            checkpoint,
            metrics,
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
        })
    }

    /// The whole log.
    fn lines(&self) -> Result<Vec<Line>> {
        let path = self.folder.file(METRICS);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::unreadable(&path, &e))?;
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|e| Error::file(&path, e)))
            .collect()
    }

    /// Loss and rate against the steps, a curve for each name of a leg.
    fn picture(&self, lines: &[Line]) -> Result<String> {
        let mut series: Vec<Series> = Vec::new();
        let mut budgets: Vec<u64> = self
            .legs
            .iter()
            .filter(|leg| leg.budget)
            .map(|leg| leg.end)
            .collect();
        budgets.sort_unstable();
        budgets.dedup();
        for line in lines {
            let Line::Step {
                leg,
                step,
                phase,
                rate,
                loss,
                ..
            } = line
            else {
                continue;
            };
            let point = Point {
                step: step - 1,
                loss: *loss,
                rate: *rate,
                phase: picture_phase(phase),
            };
            match series.iter_mut().find(|series| series.name == *leg) {
                Some(series) => series.points.push(point),
                None => series.push(Series {
                    name: leg.clone(),
                    points: vec![point],
                }),
            }
        }
        plot::draw(&Picture {
            title: self.options.name.clone(),
            series,
            budgets,
        })
    }
}
