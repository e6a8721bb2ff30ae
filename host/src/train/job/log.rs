//! A job's log, and what is made of it: reports and the picture.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::event::{BudgetReport, Event, Metrics};
use super::super::request::Request;
use super::{Job, Place, Task};
use crate::error::{Error, Result};
use crate::plot::{self, Picture, Point, Series};
use crate::schedule::picture_phase;
use crate::store::{self, METRICS};

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
        #[serde(flatten)]
        request: Request,
    },
    /// Lines that were there when `update` updates had been made, and were damaged or gone when the run went on.
    Missing { update: u64, first: u64, last: u64 },
}

impl Job<'_, '_> {
    /// Says which of the lines are gone that the latest checkpoint counts, here and in the log itself.
    pub(super) fn note_missing(
        &self,
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
        self.warn(format!(
            "{}: {text} damaged or missing in it",
            file.display()
        ));
        log.append(&Line::Missing {
            update: place.update,
            first,
            last: lines,
        })?;
        self.save_latest(place, log)
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

    /// Lines of the log before the first that is of a later update.
    pub(super) fn lines_until(&self, update: u64) -> Result<u64> {
        let path = self.folder.file(METRICS);
        let text = std::fs::read(&path).map_err(|e| Error::unreadable(&path, &e))?;
        let of_line = |line: &[u8]| {
            let line: serde_json::Value = serde_json::from_slice(line).ok()?;
            line.get("update")?.as_u64()
        };
        let earlier = |line: &&[u8]| of_line(line).is_some_and(|of_line| of_line <= update);
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        Ok(lines.take_while(earlier).count() as u64)
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

    /// The whole log.
    pub(super) fn lines(&self) -> Result<Vec<Line>> {
        let path = self.folder.file(METRICS);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::unreadable(&path, &e))?;
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|e| Error::file(&path, e)))
            .collect()
    }

    /// Loss and rate against the steps, a curve for each name of a leg.
    pub(super) fn picture(&self, lines: &[Line]) -> Result<String> {
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
