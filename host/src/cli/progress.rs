//! What is seen while a run goes on: a live line per job on a terminal, plain lines elsewhere, JSON on request.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rivergram::train::{BudgetReport, Event, Inputs};

use super::machine::MachineFlags;
use super::output;
use super::train::inputs;
use super::train::summary::{self, NAME_WIDTH};

/// Between two changes of a live line.
const LIVE: Duration = Duration::from_millis(80);
/// Between two plain lines of a job, at least.
const PLAIN: Duration = Duration::from_secs(2);
/// Between two plain lines of a job that has run for long.
const PLAIN_LATER: Duration = Duration::from_mins(1);
/// Plain lines are this part of the time apart that a job has run.
const PLAIN_PART: u32 = 30;
/// Updates between two lines of JSON of a job.
const JSON_EVERY: u64 = 50;

/// Where lines for people go: stderr, above the live lines where there are any.
#[derive(Clone, Debug)]
pub(crate) struct Screen(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Live(MultiProgress),
    Plain,
    Quiet,
}

impl Screen {
    /// As the flags and the terminal have it.
    pub(crate) fn new(quiet: bool) -> Self {
        Screen(match (quiet, stderr().is_terminal()) {
            (true, _) => Kind::Quiet,
            (false, true) => Kind::Live(MultiProgress::new()),
            (false, false) => Kind::Plain,
        })
    }

    /// Writes while the live lines are out of the way.
    fn aside(&self, write: impl FnOnce()) {
        match &self.0 {
            Kind::Live(lines) => lines.suspend(write),
            Kind::Plain | Kind::Quiet => write(),
        }
    }

    /// Says something that matters even to those who want no progress.
    pub(crate) fn say(&self, line: &str) {
        self.aside(|| output::report(line));
    }

    /// Says how things go.
    pub(crate) fn tell(&self, line: &str) {
        match &self.0 {
            Kind::Quiet => {}
            Kind::Live(_) | Kind::Plain => self.say(line),
        }
    }

    /// Removes the live lines.
    pub(crate) fn clear(&self) {
        if let Kind::Live(lines) = &self.0 {
            let _ = lines.clear();
        }
    }

    /// The time between two lines of something that has run for so long.
    fn between(&self, running: Duration) -> Duration {
        match &self.0 {
            Kind::Live(_) => LIVE,
            Kind::Plain | Kind::Quiet => pause(running),
        }
    }
}

/// Between two plain lines: a file of them stays short, and one looks into it as rarely as the run is long.
fn pause(running: Duration) -> Duration {
    (running / PLAIN_PART).clamp(PLAIN, PLAIN_LATER)
}

/// How far a piece of work of known length is: a live line, or plain ones.
pub(crate) struct Bar {
    screen: Screen,
    what: &'static str,
    total: usize,
    live: Option<ProgressBar>,
    began: Instant,
    shown: Instant,
}

impl Bar {
    /// Of so many things, which are called `what`.
    pub(crate) fn new(screen: &Screen, what: &'static str, total: usize) -> Self {
        let live = match &screen.0 {
            Kind::Live(lines) => Some(add_bar(lines, what, total as u64)),
            Kind::Plain | Kind::Quiet => None,
        };
        Bar {
            screen: screen.clone(),
            what,
            total,
            live,
            began: Instant::now(),
            shown: Instant::now(),
        }
    }

    /// So many are done.
    pub(crate) fn set(&mut self, done: usize) {
        if self.shown.elapsed() < self.screen.between(self.began.elapsed()) {
            return;
        }
        self.shown = Instant::now();
        let Bar { what, total, .. } = self;
        match &self.live {
            Some(bar) => {
                bar.set_message(format!("{done} of {total}"));
                bar.set_position(done as u64);
            }
            None => self.screen.tell(&format!("{done} of {total} {what}")),
        }
    }
}

/// Hears the events of all jobs.
pub(crate) struct Progress {
    screen: Screen,
    json: bool,
    jobs: Mutex<HashMap<String, Job>>,
}

struct Job {
    bar: Option<ProgressBar>,
    began: Instant,
    done_before: u64,
    finished: bool,
    shown: Option<Instant>,
}

impl Job {
    fn new(done_before: u64) -> Self {
        Job {
            bar: None,
            began: Instant::now(),
            done_before,
            finished: false,
            shown: None,
        }
    }

    fn due(&self, between: Duration) -> bool {
        self.shown.is_none_or(|shown| shown.elapsed() >= between)
    }

    fn speed(&self, update: u64) -> f64 {
        let seconds = self.began.elapsed().as_secs_f64();
        update.saturating_sub(self.done_before) as f64 / seconds.max(1e-3)
    }
}

impl Progress {
    /// Nothing heard yet.
    pub(crate) fn new(screen: Screen, flags: &MachineFlags) -> Self {
        Progress {
            screen,
            json: flags.json,
            jobs: Mutex::default(),
        }
    }

    /// Takes one event, from any thread.
    pub(crate) fn observe(&self, event: Event) {
        if self.json && is_told(&event) {
            self.screen.aside(|| output::print_json(&event));
        }
        match &event {
            Event::Started { job, done, .. } => self.started(job, *done),
            Event::Inputs { inputs, .. } => self.inputs(inputs),
            Event::Step { .. } => self.step(&event),
            Event::Budget(report) => self.budget(report),
            Event::Note { message } => self.screen.tell(message),
            Event::Warning { message } => self.screen.say(&format!("warning: {message}")),
        }
    }

    fn started(&self, name: &str, done: u64) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(name.to_string(), Job::new(done));
    }

    /// Who gives files wants to know what was made of them; the built-in data are known.
    fn inputs(&self, inputs: &Inputs) {
        if inputs.has_files() {
            let lines = inputs::lines(inputs);
            lines.iter().for_each(|line| self.screen.tell(line));
        }
    }

    fn step(&self, event: &Event) {
        let Event::Step {
            job: name,
            update,
            total,
            ..
        } = event
        else {
            return;
        };
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let done_before = update.saturating_sub(1);
        let job = jobs
            .entry(name.clone())
            .or_insert_with(|| Job::new(done_before));
        job.finished = update >= total;
        let due = job.due(self.screen.between(job.began.elapsed()));
        if !due && !job.finished {
            return;
        }
        let line = step_line(event, job.speed(*update));
        match &self.screen.0 {
            Kind::Live(lines) => {
                let bar = job.bar.get_or_insert_with(|| add_bar(lines, name, *total));
                bar.set_message(line);
                bar.set_position(*update);
            }
            Kind::Plain if due => output::report(&format!("{name:NAME_WIDTH$} {line}")),
            Kind::Plain | Kind::Quiet => {}
        }
        if due {
            job.shown = Some(Instant::now());
        }
    }

    fn budget(&self, report: &BudgetReport) {
        self.screen.tell(&summary::budget_line(report));
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = jobs.get_mut(&report.job) else {
            return;
        };
        if let (true, Kind::Live(lines)) = (job.finished, &self.screen.0)
            && let Some(bar) = job.bar.take()
        {
            bar.finish_and_clear();
            lines.remove(&bar);
        }
    }
}

/// Steps are thinned out, so that the lines stay few.
fn is_told(event: &Event) -> bool {
    match event {
        Event::Step { update, total, .. } => {
            update.is_multiple_of(JSON_EVERY) || *update == 1 || update == total
        }
        _ => true,
    }
}

fn add_bar(lines: &MultiProgress, name: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:5} {wide_msg}");
    let name = output::one_line(name);
    let bar = ProgressBar::new(total).with_prefix(format!("{name:NAME_WIDTH$}"));
    lines.add(match style {
        Ok(style) => bar.with_style(style.progress_chars("━╸ ")),
        Err(_) => bar,
    })
}

/// `EISL 412/900 stable lr 2.0e-3 loss 0.812 523 steps/s`
fn step_line(event: &Event, speed: f64) -> String {
    let Event::Step {
        leg,
        step,
        budget,
        phase,
        rate,
        loss,
        ..
    } = event
    else {
        return String::new();
    };
    let leg = summary::leg_name(leg);
    let budget = budget.map_or(String::new(), |budget| format!("/{budget}"));
    format!("{leg}{step}{budget} {phase:6} lr {rate:.1e} loss {loss:.3} {speed:.0} steps/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(update: u64) -> Event {
        Event::Step {
            job: "align-gram".into(),
            leg: "branch-600".into(),
            update,
            total: 130,
            step: 412,
            budget: Some(600),
            phase: "decay",
            rate: 2e-3,
            loss: 0.8125,
        }
    }

    #[test]
    fn a_line_tells_all_of_a_step() {
        let line = step_line(&step(7), 523.4);
        assert_eq!(
            line,
            "branch-600 412/600 decay  lr 2.0e-3 loss 0.812 523 steps/s"
        );
    }

    #[test]
    fn plain_lines_of_a_long_run_are_few() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let lines = |until: Duration| {
            let (mut at, mut lines) = (Duration::ZERO, 0);
            while at < until {
                at += pause(at);
                lines += 1;
            }
            lines
        };
        assert_eq!(pause(Duration::ZERO), PLAIN);
        // Every two seconds in the first minute, every minute from half an hour on.
        assert_eq!(lines(Duration::from_secs(60)), 30);
        assert!((60..200).contains(&lines(hours(1))), "{}", lines(hours(1)));
        let day = lines(hours(24)) - lines(hours(1));
        assert_eq!(day, 23 * 60);
    }

    #[test]
    fn few_steps_become_json() {
        let told: Vec<u64> = (1..=130).filter(|&n| is_told(&step(n))).collect();
        assert_eq!(told, [1, 50, 100, 130]);
    }
}
