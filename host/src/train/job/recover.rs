//! Where a job goes on: from its latest checkpoint, or from the previous one where something is damaged or gone.
//!
//! The previous checkpoint needs no other file. What comes after it is made again, bit for bit, with what was asked for
//! in between at the same updates.

use std::collections::BTreeSet;

use rivergram_core::schedule::State;
use serde::{Deserialize, Serialize};

use super::super::request::Request;
use super::checkpoint::{AGAIN, BETWEEN, LINES};
use super::log::Line;
use super::{Job, Moment, Place, Release};
use crate::error::{Error, Result};
use crate::store::{
    self, BEFORE_DECAY, BUDGETS, Checkpoint, LATEST, METRICS, PREVIOUS, RELEASES, UPDATE, main_name,
};

/// A request, and the updates that had been made when it was taken.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) update: u64,
    pub(super) request: Request,
}

/// Lines of the log that lead to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// Those that are left of it; what comes after them is cut off.
    pub(super) kept: u64,
    /// As many as its checkpoint counts.
    pub(super) counted: u64,
}

impl Lines {
    fn all(lines: u64) -> Self {
        Lines {
            kept: lines,
            counted: lines,
        }
    }
}

/// What the log has beyond a place.
#[derive(Debug, Default)]
struct Beyond {
    /// The lines that lead to it.
    lines: u64,
    /// What was asked for after it.
    taken: Vec<Taken>,
    /// Whether lines after it were damaged or gone.
    is_damaged: bool,
}

/// Requests as a checkpoint holds them.
pub(super) fn text(requests: &[Taken]) -> Result<String> {
    serde_json::to_string(requests).map_err(|e| Error::input(LATEST, e))
}

fn release(start: Option<u64>, end: Option<u64>) -> Option<Release> {
    let (start, end) = (start?, end?);
    Some(Release { start, end })
}

impl Job<'_, '_> {
    /// Where the job goes on, with the weights there, and the lines of the log that lead to it.
    pub(super) fn restore(&mut self) -> Result<(Place, Lines)> {
        let (found, lost) = match self.folder.latest() {
            Ok(None) => return Ok((self.start(), Lines::all(0))),
            Ok(Some(checkpoint)) => {
                let found = self.go_on_from(LATEST, &checkpoint)?;
                let needed = self.needed(found.0).map(|name| self.folder.load(&name));
                (Some(found), needed.and_then(Result::err))
            }
            Err(e) => (None, Some(e)),
        };
        match (found, lost) {
            (Some((place, lines)), None) => {
                self.mend_end(place)?;
                self.mend_start(place)?;
                self.name_damaged(place, lines)?;
                Ok((place, Lines::all(lines)))
            }
            (_, Some(lost)) => self.fall_back(&lost),
            (None, None) => Ok((self.start(), Lines::all(0))),
        }
    }

    /// The start of the first leg.
    fn start(&self) -> Place {
        let first = self.legs.first();
        Place {
            leg: 0,
            step: first.map_or(0, |leg| leg.start),
            update: 0,
            end: first.map_or(0, |leg| leg.end),
            release: None,
            back: None,
            request: 0,
        }
    }

    /// Saves what a run begins with, so that there always is something to go on from.
    pub(super) fn begin(&mut self, place: Place, log: &store::Metrics) -> Result<()> {
        self.save_latest(place, log)?;
        match self.begins_in_decay(place) {
            true => self.save(BEFORE_DECAY, place),
            false => Ok(()),
        }
    }

    /// Whether what was before the decay is the start of the run: it can be made again.
    fn begins_in_decay(&self, place: Place) -> bool {
        place.update == 0 && place.release.is_none() && self.decays() && self.returns()
    }

    /// At the start of a run that begins in a decay, what was before it is made where it is damaged or not yet there.
    fn mend_start(&self, place: Place) -> Result<()> {
        if !self.begins_in_decay(place) {
            return Ok(());
        }
        match self.folder.load(BEFORE_DECAY) {
            Ok(_) => Ok(()),
            Err(e) => {
                if self.folder.file(BEFORE_DECAY).exists() {
                    self.warn(format!("{e}: made again"));
                }
                self.save(BEFORE_DECAY, place)
            }
        }
    }

    /// To the previous checkpoint, which becomes the latest one before the log is cut back to it.
    fn fall_back(&mut self, lost: &Error) -> Result<(Place, Lines)> {
        let previous = self.folder.previous(lost)?;
        self.warn(format!(
            "{lost}: going on from {PREVIOUS}, at step {}",
            previous.step
        ));
        let (place, counted) = self.go_on_from(PREVIOUS, &previous)?;
        let beyond = self.beyond(place)?;
        let lines = Lines {
            kept: counted.min(beyond.lines),
            counted,
        };
        let known = self.again.clone();
        let is_new = |taken: &Taken| known.iter().all(|own| own.request.id != taken.request.id);
        self.again.extend(beyond.taken.into_iter().filter(is_new));
        if beyond.is_damaged || lines.kept < counted {
            let file = self.folder.file(METRICS);
            self.warn(format!(
                "{}: damaged after update {}: what was asked for since then may be gone: ask again",
                file.display(),
                place.update
            ));
        }
        self.latest_stays = Some(false);
        self.write_latest(place, lines.kept, Moment::Between)?;
        // Its end was saved before it, and may be what was lost.
        if let Some(name) = self.ended(place) {
            self.save(&name, place)?;
        }
        if self.begins_in_decay(place) {
            self.save(BEFORE_DECAY, place)?;
        }
        Ok((place, lines))
    }

    /// The file that the job will go back to, or that it will not write again: a main branch, and what was before the
    /// decay that runs.
    pub(super) fn needed(&self, place: Place) -> Option<String> {
        if let Some(step) = place.back {
            return Some(main_name(step));
        }
        let leg = self.legs.get(place.leg)?;
        let next = self.legs.get(place.leg + 1);
        // Its own end is still to come, or is mended.
        let next = next.and_then(|next| next.from.clone().filter(|from| *from != leg.save_as));
        let before = place.leg.checked_sub(1).and_then(|at| self.legs.get(at));
        let main = before.filter(|before| leg.budget && !before.budget);
        let decays = self.decays() && (self.returns() || place.release.is_some());
        let decays = decays && !self.begins_in_decay(place);
        next.or(main.map(|main| main.save_as.clone()))
            .or(decays.then(|| BEFORE_DECAY.to_string()))
    }

    /// Place, lines of the log, weights and schedule of a checkpoint.
    fn go_on_from(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<(Place, u64)> {
        let file = self.folder.file(name);
        let foreign = |what: &str| Error::file(&file, format!("its {what} is none of this run"));
        let metadata = &checkpoint.metadata;
        if metadata.get("job") != Some(&self.options.name) {
            return Err(foreign("job"));
        }
        // What is not there was never asked for.
        let optional = |key: &str| -> Result<Option<u64>> {
            let text = metadata.get(key);
            let number = text.map(|text| text.parse().map_err(|_| foreign(key)));
            number.transpose()
        };
        let number = |key: &str| optional(key)?.ok_or_else(|| foreign(key));
        let (index, update) = (number("leg")? as usize, number(UPDATE)?);
        let leg = self.legs.get(index).ok_or_else(|| foreign("leg"))?;
        let place = Place {
            leg: index,
            step: checkpoint.step,
            update,
            end: optional("end")?.unwrap_or(leg.end),
            release: release(optional("began")?, optional("release")?),
            back: optional("back")?,
            request: optional("request")?.unwrap_or(0),
        };
        let lines = match optional(LINES)? {
            Some(lines) => lines,
            // An older checkpoint that was put in the place of the latest.
            None => self.beyond(place)?.lines,
        };
        let again = match metadata.get(AGAIN) {
            Some(text) => serde_json::from_str(text).map_err(|_| foreign(AGAIN))?,
            None => Vec::new(),
        };
        let is_between = metadata.contains_key(BETWEEN);
        let schedule: State<'_, f32> = self.schedule_of(name, &leg.plan, checkpoint)?;
        self.take(name, checkpoint)?;
        *self.trainer.schedule_mut() = schedule;
        self.again = again;
        self.latest_stays = Some(!is_between && self.needed(place).is_none());
        Ok((place, lines))
    }

    /// What the log has beyond a place, whatever became of the lines before it.
    fn beyond(&self, place: Place) -> Result<Beyond> {
        let (mut beyond, mut read) = (Beyond::default(), 0);
        for line in self.folder.log()? {
            read += 1;
            match serde_json::from_slice(&line?) {
                // The last that the place knows of.
                Ok(Line::Request { request, .. }) if request.id == place.request => {
                    beyond.taken.clear();
                    beyond.lines = read;
                }
                Ok(Line::Request {
                    update, request, ..
                }) if update >= place.update => beyond.taken.push(Taken { update, request }),
                Ok(Line::Missing { update, .. }) => beyond.is_damaged |= update > place.update,
                Ok(line) if line.update() <= place.update => beyond.lines = read,
                Ok(_) | Err(_) => {}
            }
        }
        beyond.is_damaged |= self.folder.log_is_damaged()?;
        Ok(beyond)
    }

    /// At the end of a leg its checkpoint.
    fn ended(&self, place: Place) -> Option<String> {
        let ended = place.step >= place.end && place.release.is_none();
        let leg = self.legs.get(place.leg);
        let leg = leg.filter(|leg| ended && leg.updates() > 0)?;
        Some(self.end_name(leg, place))
    }

    /// At the end of a leg its checkpoint is made again where it is damaged or gone.
    fn mend_end(&self, place: Place) -> Result<()> {
        let Some(name) = self.ended(place) else {
            return Ok(());
        };
        match self.folder.load(&name) {
            Ok(_) => Ok(()),
            Err(e) => {
                self.warn(format!("{e}: made again"));
                self.save(&name, place)
            }
        }
    }

    /// Names checkpoints that are damaged or gone and that nothing goes on from: those of earlier budgets, releases
    /// and decays.
    fn name_damaged(&self, place: Place, lines: u64) -> Result<()> {
        let mut names: BTreeSet<String> = self.folder.checkpoints()?.into_iter().collect();
        names.extend(self.logged(lines)?);
        names.remove(LATEST);
        // Once there is a later one than that of the start.
        if place.update > 0 {
            names.insert(PREVIOUS.to_string());
        }
        if let Some(needed) = self.needed(place) {
            names.remove(&needed);
        }
        for name in names {
            let then = match name.as_str() {
                PREVIOUS => "the next one replaces it",
                _ => "the run goes on without it, and does not make it again; put a copy back",
            };
            if let Err(e) = self.folder.load(&name) {
                self.warn(format!("{e}: {then}"));
            }
        }
        Ok(())
    }

    /// The checkpoints of budgets and releases in so many lines of the log, as many as are kept: the last that were
    /// written.
    fn logged(&self, lines: u64) -> Result<Vec<String>> {
        let mut logged: Vec<String> = Vec::new();
        for line in self.folder.log()?.take(lines as usize) {
            if let Ok(Line::Budget { checkpoint, .. }) = serde_json::from_slice(&line?) {
                let name = checkpoint.to_string_lossy().into_owned();
                logged.retain(|other| *other != name);
                logged.push(name);
            }
        }
        let Some(most) = self.keep_budgets else {
            return Ok(logged);
        };
        let kept = |kind| {
            let of_kind = logged
                .iter()
                .rev()
                .filter(move |name| name.starts_with(kind));
            of_kind.take(most.max(1)).cloned()
        };
        Ok([BUDGETS, RELEASES].into_iter().flat_map(kept).collect())
    }
}
