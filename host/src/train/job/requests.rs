//! What a job is asked for while it runs: a decay now, its end, more time.

use std::io::ErrorKind;

use super::super::request::{Ask, REQUEST, Request};
use super::log::Line;
use super::{FINISHED, Job, Place, RELEASE, Release, Task, UNFIT, takes_requests};
use crate::error::{Error, Result};
use crate::store::{self, BEFORE_DECAY, RELEASES, main_name, release_name};

impl Job<'_, '_> {
    /// Takes what was asked for, if something was. What comes of it is in the latest checkpoint before the request is
    /// removed.
    pub(super) fn take_request(
        &mut self,
        place: &mut Place,
        log: &mut store::Metrics,
    ) -> Result<bool> {
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
        match std::fs::remove_file(&file) {
            // Withdrawn meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            done => done.map_err(|e| Error::io(&file, "remove it", e))?,
        }
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
        let branches = self.branches();
        if !takes_requests(self.options, self.legs) {
            return refuse(UNFIT.to_string());
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
                // A branch is thrown away, and may go as far as it likes; within the decay of a budget a shorter one
                // is a release, and the budget is still to come.
                let is_planned = running && place.release.is_none();
                let moves_end = is_planned && (branches || end >= place.end);
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
    pub(super) fn finish_release(
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
        self.keep_newest(RELEASES, &name)?;
        self.go_back(place)?;
        self.save_latest(*place, log)
    }
}
