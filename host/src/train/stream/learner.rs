//! One training on a stream, from which one or several schedules are read.

use std::sync::atomic::{AtomicU64, Ordering};

use rivergram_core::error::{OptimError, ReplayError};
use rivergram_core::head::Head;
use rivergram_core::lanes::One;
use rivergram_core::optim::average::{Ema, RunningMean, Start};
use rivergram_core::replay::Reservoir;
use rivergram_core::schedule::{Plan, Settings, State};
use rivergram_core::trainer::{Average, EarlyDecay, Setup, Step, Trainer};

use super::world::{World, end_of};
use super::{JOB, Job, Release, StreamOptions, StreamRun, StreamSchedule};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::schedule::{flag, phase_name, settings};
use crate::train::align;
use crate::train::job::{Buffers, refused};
use crate::train::options::{ScheduleKind, ScheduleOptions};
use crate::train::{Context, Event};

/// What is trained once. At a constant rate several schedules release: all of them have this main branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trunk {
    WsdS,
    Constant,
    /// The peak, but nothing while a branch is trained.
    Paused,
    CyclicTold,
    CyclicToldArea,
    Cyclic,
}

impl Trunk {
    /// What has to be trained for some schedules.
    pub(super) fn of(schedules: &[StreamSchedule]) -> Vec<Self> {
        let mut trunks: Vec<Trunk> = Vec::new();
        for &schedule in schedules {
            let trunk = match schedule {
                StreamSchedule::WsdS => Trunk::WsdS,
                StreamSchedule::WsdPaused => Trunk::Paused,
                StreamSchedule::CyclicTold => Trunk::CyclicTold,
                StreamSchedule::CyclicToldArea => Trunk::CyclicToldArea,
                StreamSchedule::Cyclic => Trunk::Cyclic,
                _ => Trunk::Constant,
            };
            if !trunks.contains(&trunk) {
                trunks.push(trunk);
            }
        }
        trunks
    }

    fn name(self) -> &'static str {
        match self {
            Trunk::WsdS => StreamSchedule::WsdS.name(),
            Trunk::Constant => StreamSchedule::Constant.name(),
            Trunk::Paused => StreamSchedule::WsdPaused.name(),
            Trunk::CyclicTold => StreamSchedule::CyclicTold.name(),
            Trunk::CyclicToldArea => StreamSchedule::CyclicToldArea.name(),
            Trunk::Cyclic => StreamSchedule::Cyclic.name(),
        }
    }

    /// The schedules that it releases for.
    fn schedules(self) -> &'static [StreamSchedule] {
        match self {
            Trunk::WsdS => &[StreamSchedule::WsdS],
            Trunk::Constant => &[
                StreamSchedule::Wsd,
                StreamSchedule::Constant,
                StreamSchedule::ConstantEma,
                StreamSchedule::ConstantMean,
            ],
            Trunk::Paused => &[StreamSchedule::WsdPaused],
            Trunk::CyclicTold => &[StreamSchedule::CyclicTold],
            Trunk::CyclicToldArea => &[StreamSchedule::CyclicToldArea],
            Trunk::Cyclic => &[StreamSchedule::Cyclic],
        }
    }

    /// The budgets of its plan: none where decays come on demand.
    fn budgets(self, options: &StreamOptions, world: &World) -> Vec<u64> {
        match self {
            Trunk::WsdS | Trunk::Constant | Trunk::Paused => Vec::new(),
            Trunk::CyclicTold | Trunk::CyclicToldArea => {
                world.releases.iter().map(|release| release.end).collect()
            }
            Trunk::Cyclic => {
                let turns = 1..=options.releases as u64;
                turns.map(|turn| turn * options.stretch()).collect()
            }
        }
    }

    fn settings(self, options: &StreamOptions, world: &World) -> Result<Settings<f32>> {
        let own = |kind, peak| {
            settings(&ScheduleOptions {
                kind,
                decay: options.shape,
                peak,
                floor: options.floor,
                warmup: options.warmup,
                budgets: Vec::new(),
                ..ScheduleOptions::align(options.hidden)
            })
        };
        let (decaying, cosine) = (ScheduleKind::WsdS, ScheduleKind::Cyclic);
        Ok(match self {
            Trunk::WsdS | Trunk::Constant | Trunk::Paused => own(decaying, options.peak),
            Trunk::CyclicTold | Trunk::Cyclic => own(cosine, options.peak),
            Trunk::CyclicToldArea => {
                let rates = |trunk: Trunk| -> Result<f64> {
                    let budgets = trunk.budgets(options, world);
                    let plan = plan(trunk.settings(options, world)?, &budgets)?;
                    Ok(sum_of_rates(trunk, &plan, world))
                };
                let factor = rates(Trunk::WsdS)? / rates(Trunk::CyclicTold)?;
                own(cosine, options.peak * factor as f32)
            }
        })
    }
}

fn plan(settings: Settings<f32>, budgets: &[u64]) -> Result<Plan<'_, f32>> {
    Plan::new(settings, budgets).map_err(|e| Error::flag(flag(&e), e))
}

/// What the rates of a trunk amount to, without training.
fn sum_of_rates(trunk: Trunk, plan: &Plan<'_, f32>, world: &World) -> f64 {
    let mut state = State::new(plan);
    let rate = |update| {
        let asked = world
            .releases
            .iter()
            .find(|release| release.start == update);
        if let (Some(release), Trunk::WsdS) = (asked, trunk) {
            state.request_decay(release.end - release.start);
        }
        f64::from(state.advance())
    };
    (0..end_of(&world.releases)).map(rate).sum()
}

/// Tells how far all trainings are, as one job.
pub(super) struct Progress<'a> {
    context: &'a Context<'a>,
    total: u64,
    done: AtomicU64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(context: &'a Context<'a>, total: u64) -> Self {
        Progress {
            context,
            total,
            done: AtomicU64::new(0),
        }
    }
}

/// The samples that are replayed.
#[derive(Clone)]
struct Memory {
    reservoir: Reservoir,
    samples: Vec<f32>,
}

impl Memory {
    /// The kept samples in an order of their own for each update.
    fn draw(&self, update: u64) -> impl Iterator<Item = &[f32]> {
        let mut rows = vec![0; self.reservoir.held()];
        self.reservoir.draw(update, &mut rows);
        let length = self.samples.len() / self.reservoir.capacity().max(1);
        rows.into_iter()
            .filter_map(move |row| self.samples.get(row * length..(row + 1) * length))
    }
}

/// What can go wrong in core here would be a fault of this file.
fn of_average(e: OptimError) -> Error {
    Error::input("the average of the weights", e)
}

fn of_memory(e: ReplayError) -> Error {
    Error::flag("--memory", e)
}

/// A training under way.
struct Learner<'a> {
    options: &'a StreamOptions,
    world: &'a World,
    job: &'a Job,
    engine: &'a Engine,
    trainer: Trainer<'a, f32>,
    memory: Option<Memory>,
    /// Updates and the sum of their rates, with and without branches.
    own: Cost,
    thrown_away: Cost,
    /// What may be released in place of the weights: averages with their storage,
    ema: (Average<f32>, Vec<f32>),
    mean: (Average<f32>, Vec<f32>),
    /// and the weights at the end of the latest cosine.
    snapshot: Option<Vec<f32>>,
    /// What each schedule of the trunk that is wanted has released.
    found: Vec<(StreamSchedule, Vec<Release>)>,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    updates: u64,
    rates: f64,
}

impl Cost {
    fn count(&mut self, step: &Step<f32>) {
        self.updates += 1;
        self.rates += f64::from(step.rate);
    }
}

/// Trains one trunk on a stream; nothing where it was stopped.
pub(super) fn train(
    options: &StreamOptions,
    world: &World,
    job: &Job,
    progress: &Progress<'_>,
) -> Result<Option<Vec<StreamRun>>> {
    let heads: Vec<Head> = world.heads.iter().map(|(_, head)| *head).collect();
    let setup = Setup {
        heads: &heads,
        optimizer: align::optimizer(),
        clip: None,
    };
    let budgets = job.trunk.budgets(options, world);
    let plan = plan(job.trunk.settings(options, world)?, &budgets)?;
    let mut buffers = Buffers::new(
        &setup,
        setup.align_workspace_len(options.batch + options.replayed),
        job.seed,
    );
    let trainer = buffers.under(setup, &plan)?;
    let ema = Ema::with_half_life(options.half_life, Start::Unbiased).map_err(of_average)?;
    let zeros = vec![0.0; setup.parameters_len()];
    let wanted = |schedule: &&StreamSchedule| options.schedules.contains(schedule);
    let schedules = job.trunk.schedules().iter().filter(wanted);
    let mut learner = Learner {
        options,
        world,
        job,
        engine: progress.context.engine,
        trainer,
        memory: memory(options, world, job)?,
        own: Cost::default(),
        thrown_away: Cost::default(),
        ema: (Average::Ema(ema), zeros.clone()),
        mean: (Average::Mean(RunningMean::new()), zeros),
        snapshot: None,
        found: schedules.map(|schedule| (*schedule, Vec::new())).collect(),
    };
    for update in 0..end_of(&world.releases) {
        if progress.context.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (mut asked, mut ends) = (false, false);
        for release in &world.releases {
            asked |= release.start == update;
            ends |= release.end == update + 1;
        }
        if asked {
            learner.ask(update)?;
        }
        if learner.is_paused(update) {
            progress.done.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        learner.update(update, progress)?;
        learner.follow(budgets.contains(&(update + 1)))?;
        if ends {
            learner.release(update + 1)?;
        }
    }
    Ok(Some(learner.runs()))
}

fn memory(options: &StreamOptions, world: &World, job: &Job) -> Result<Option<Memory>> {
    if !job.replay {
        return Ok(None);
    }
    let reservoir = Reservoir::new(options.memory, job.seed).map_err(of_memory)?;
    let features: usize = world.heads.iter().map(|(_, head)| head.input).sum();
    Ok(Some(Memory {
        reservoir,
        samples: vec![0.0; options.memory * (features + 1)],
    }))
}

impl Learner<'_> {
    /// One update on what is heard and, with a memory, on what was.
    fn learn(&mut self, update: u64) -> Result<Step<f32>> {
        let heard = self.world.hear(update);
        let mut items: Vec<&[f32]> = heard.iter().map(Vec::as_slice).collect();
        // Items of a batch have different labels: another of the same label would be no other thing.
        for item in self.memory.iter().flat_map(|memory| memory.draw(update)) {
            let is_there = items.iter().any(|other| other.last() == item.last());
            if items.len() < heard.len() + self.options.replayed && !is_there {
                items.push(item);
            }
        }
        let mut at = 0;
        let inputs: Vec<Vec<f32>> = self
            .world
            .heads
            .iter()
            .map(|(_, head)| {
                let range = at..at + head.input;
                at = range.end;
                let features = |item: &&[f32]| item.get(range.clone()).unwrap_or_default().to_vec();
                items.iter().flat_map(features).collect()
            })
            .collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let loss = align::loss_at(&self.options.align(), 0, update);
        let rows = items.len();
        let done = self
            .engine
            .align(&mut self.trainer, &loss, &inputs, None, rows);
        let (step, _) = done.map_err(refused)?;
        if let Some(memory) = &mut self.memory {
            for item in &heard {
                let offered = memory.reservoir.offer(item, &mut memory.samples);
                offered.map_err(of_memory)?;
            }
        }
        Ok(step)
    }

    fn update(&mut self, update: u64, progress: &Progress<'_>) -> Result<()> {
        let phase = phase_name(self.trainer.schedule().position().phase);
        let step = self.learn(update)?;
        if let Some(message) = self.engine.warning() {
            (progress.context.observe)(Event::Warning { message });
        }
        self.own.count(&step);
        let replay = if self.job.replay { ", replay" } else { "" };
        let next = self.world.releases.iter().map(|release| release.end);
        (progress.context.observe)(Event::Step {
            job: JOB.to_string(),
            leg: format!("seed {} {}{replay}", self.job.seed, self.job.trunk.name()),
            update: progress.done.fetch_add(1, Ordering::Relaxed) + 1,
            total: progress.total,
            step: update + 1,
            budget: next.into_iter().find(|end| *end > update),
            phase,
            rate: step.rate,
            loss: step.loss,
        });
        Ok(())
    }

    /// Whether the updates of this moment are those of a branch.
    fn is_paused(&self, update: u64) -> bool {
        let mut releases = self.world.releases.iter();
        self.job.trunk == Trunk::Paused && releases.any(|release| release.contains(&update))
    }

    /// A release is asked for before an update.
    fn ask(&mut self, update: u64) -> Result<()> {
        if self.job.trunk == Trunk::WsdS {
            let decay = self.options.decay;
            self.trainer.schedule_mut().request_decay(decay);
        }
        self.mean.0 = Average::Mean(RunningMean::new());
        let is_branch = |(schedule, _): &(StreamSchedule, _)| schedule.has_branches();
        if let Some(place) = self.found.iter().position(is_branch) {
            let release = self.branch(update)?;
            if let Some((_, found)) = self.found.get_mut(place) {
                found.push(release);
            }
        }
        Ok(())
    }

    /// A decay from an update on, whose weights are measured and thrown away.
    fn branch(&mut self, from: u64) -> Result<Release> {
        let mut before = vec![0; self.trainer.setup().saved_len()];
        let memory = self.memory.clone();
        let keep = |trainer: &Trainer<'_, f32>| trainer.save(&mut before).map(|_| ());
        let begun = self.trainer.decay_early(self.options.decay, keep);
        let mut update = from;
        if let EarlyDecay::Begun { end } = begun.map_err(refused)? {
            while self.trainer.schedule().step() < end {
                let step = self.learn(update)?;
                self.thrown_away.count(&step);
                update += 1;
            }
        }
        let weights = self.trainer.parameters();
        let release = self.world.measure(self.engine.level(), update, weights)?;
        self.trainer.load(&before).map_err(refused)?;
        // A main branch that stood still hears no more of this.
        if self.job.trunk != Trunk::Paused {
            self.memory = memory;
        }
        Ok(release)
    }

    /// What goes along with the training.
    fn follow(&mut self, cosine_ends: bool) -> Result<()> {
        match self.job.trunk {
            Trunk::Constant => {
                for (average, storage) in [&mut self.ema, &mut self.mean] {
                    let done = self.engine.level().average(&self.trainer, average, storage);
                    done.map_err(of_average)?;
                }
            }
            Trunk::Cyclic if cosine_ends => {
                self.snapshot = Some(self.trainer.parameters().to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    /// Measures what each schedule of the trunk releases now; branches were measured when they ended.
    fn release(&mut self, update: u64) -> Result<()> {
        for (schedule, found) in &mut self.found {
            if schedule.has_branches() {
                continue;
            }
            let mut weights = self.trainer.parameters().to_vec();
            let average = match schedule {
                StreamSchedule::ConstantEma => Some(&self.ema),
                StreamSchedule::ConstantMean => Some(&self.mean),
                _ => None,
            };
            if let Some((average, storage)) = average {
                let read = average.read(One::new(), storage, &mut weights);
                read.map_err(of_average)?;
            }
            let weights = self.snapshot.as_ref().unwrap_or(&weights);
            found.push(self.world.measure(self.engine.level(), update, weights)?);
        }
        Ok(())
    }

    fn runs(self) -> Vec<StreamRun> {
        let (own, thrown_away) = (self.own, self.thrown_away);
        let run = |(schedule, releases): (StreamSchedule, _)| {
            let branches = match schedule.has_branches() {
                true => thrown_away,
                false => Cost::default(),
            };
            StreamRun {
                schedule,
                replay: self.job.replay,
                seed: self.job.seed,
                updates: own.updates + branches.updates,
                rates: own.rates + branches.rates,
                releases,
            }
        };
        self.found.into_iter().map(run).collect()
    }
}
