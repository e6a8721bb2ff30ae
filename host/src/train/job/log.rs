//! A job's log, and what is made of it: reports and the picture.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::event::{BudgetReport, Event, Metrics};
use super::super::request::Request;
use super::{Job, Place, RELEASE, Task};
use crate::error::{Error, Result};
use crate::plot::{self, Picture, Point, Series};
use crate::schedule::picture_phase;
use crate::store::{self, DAMAGED, METRICS};

/// One line of `metrics.jsonl`. `update` counts the updates of all legs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line {
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

impl Line {
    /// The updates that had been made.
    pub(super) fn update(&self) -> u64 {
        let (Line::Step { update, .. }
        | Line::Budget { update, .. }
        | Line::Request { update, .. }
        | Line::Missing { update, .. }) = self;
        *update
    }
}

impl Job<'_, '_> {
    /// Says which of the lines are gone that the latest checkpoint counts, here and in the log itself.
    pub(super) fn note_missing(
        &mut self,
        place: Place,
        lines: u64,
        log: &mut store::Metrics,
    ) -> Result<()> {
        let first = log.lines() + 1;
        if first > lines {
            return Ok(());
        }
        let file = self.folder.file(METRICS);
        let text = match first == lines {
            true => format!("line {lines} is"),
            false => format!("lines {first} to {lines} are"),
        };
        let kept = match self.folder.file(DAMAGED).is_file() {
            true => format!("; {DAMAGED} is what it was"),
            false => String::new(),
        };
        self.warn(format!(
            "{}: {text} damaged or missing in it{kept}",
            file.display()
        ));
        log.append(&Line::Missing {
            update: place.update,
            first,
            last: lines,
        })?;
        self.save_between(place, log)
    }

    /// Evaluates, and tells it.
    pub(super) fn log_budget(
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
            metrics: task.evaluate(self.context.engine.level(), self.trainer.parameters())?,
            average: match self.beside.release(self.trainer.parameters().len())? {
                Some(average) => task.evaluate(self.context.engine.level(), &average)?,
                None => Metrics::new(),
            },
        };
        log.append(&line)?;
        if let Some(report) = self.budget_report(&line) {
            (self.context.observe)(Event::Budget(report));
        }
        Ok(())
    }

    pub(super) fn budget_report(&self, line: &Line) -> Option<BudgetReport> {
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
    pub(super) fn read_log(&self) -> Result<(Vec<BudgetReport>, Vec<Series>)> {
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
    pub(super) fn picture(&self, series: Vec<Series>) -> Result<String> {
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

/// Releases whose curves are drawn: the newest.
const DRAWN: usize = 64;

/// What their curves are called in the picture.
const RELEASED: &str = "releases";

/// The curves of a picture, thinned out: of a long one every second, fourth, … point is left.
#[derive(Default)]
struct Curves(Vec<Curve>);

struct Curve {
    leg: String,
    series: Series,
    /// Points that were seen.
    seen: usize,
    /// Of how many points one is kept.
    every: usize,
}

impl Curves {
    fn push(&mut self, leg: &str, point: Point) {
        if let Some(curve) = self.0.iter_mut().find(|curve| curve.leg == leg) {
            return curve.push(point);
        }
        let is_release = leg.starts_with(RELEASE);
        let drawn = |curve: &Curve| curve.series.name == RELEASED;
        if is_release && self.0.iter().filter(|curve| drawn(curve)).count() >= DRAWN {
            let oldest = self.0.iter().position(drawn);
            oldest.map(|oldest| self.0.remove(oldest));
        }
        let name = if is_release { RELEASED } else { leg };
        self.0.push(Curve {
            leg: leg.to_string(),
            series: Series {
                name: name.to_string(),
                points: vec![point],
            },
            seen: 1,
            every: 1,
        });
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
    fn the_newest_releases_are_drawn_under_one_name() {
        let mut curves = Curves::default();
        for release in 0..100 {
            for step in 0..3 {
                let point = Point {
                    step: 10 * release + step,
                    loss: 0.0,
                    rate: 0.0,
                    phase: plot::Phase::Decay,
                };
                curves.push("main", point);
                curves.push(&format!("{RELEASE}-{}", 10 * release), point);
            }
        }
        let series = curves.series();
        let of = |name| series.iter().filter(move |series| series.name == name);
        assert_eq!(of("main").count(), 1);
        assert_eq!(of(RELEASED).count(), DRAWN);
        assert_eq!(series.len(), 1 + DRAWN);
        let starts = of(RELEASED).filter_map(|series| Some(series.points.first()?.step));
        assert!(starts.eq((36..100).map(|release| 10 * release)));
    }

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
