//! A job's checkpoints: what they hold, and the way back.

use std::collections::BTreeMap;
use std::path::Path;

use rivergram_core::head::Head;
use rivergram_core::schedule::{Plan, State};

use super::{Job, Moment, Place, Task, recover};
use crate::error::{Error, Result};
use crate::store::{self, Checkpoint, LATEST, MAINS, Tensor, UPDATE};

/// In a checkpoint: the updates that its weights have had, where its step is something else.
pub(super) const UPDATES: &str = "updates";

/// In the latest checkpoint: the lines of the log that lead to it.
pub(super) const LINES: &str = "lines";

/// In the latest checkpoint: that it was saved where an undisturbed run would not have.
pub(super) const BETWEEN: &str = "between";

/// In the latest checkpoint: what was asked for, and is made again.
pub(super) const AGAIN: &str = "again";

/// The averaged weights of a checkpoint, under the names of the weights.
pub(super) const AVERAGE: &str = "average.";

/// The copies of an average that needs them.
pub(super) const COPIES: &str = "average.copies";

/// In a checkpoint: the updates that its average has taken in.
pub(super) const AVERAGED: &str = "averaged";

/// The tensors of the parameters, in their order: PyTorch's names for `nn.Linear` and for
/// `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)`.
pub(super) fn shapes(heads: &[(String, Head)]) -> Vec<(String, Vec<usize>)> {
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

/// The weights of a task in a checkpoint, which `file` names, if it began with the same data.
pub(in super::super) fn parameters(
    task: &dyn Task,
    file: &Path,
    checkpoint: &Checkpoint,
) -> Result<Vec<f32>> {
    check_extra(&task.tensors(), file, checkpoint)?;
    let mut parameters = Vec::new();
    for (tensor, shape) in shapes(task.heads()) {
        parameters.extend_from_slice(checkpoint.values(file, &tensor, &shape)?);
    }
    Ok(parameters)
}

/// Refuses a checkpoint of other data.
fn check_extra(own: &[Tensor], file: &Path, checkpoint: &Checkpoint) -> Result<()> {
    for own in own {
        if checkpoint.values(file, &own.name, &own.shape)? != own.values {
            let problem = "not what the data have now: they have changed since the run began";
            return Err(Error::tensor(file, &own.name, problem));
        }
    }
    Ok(())
}

impl<'p> Job<'_, 'p> {
    /// The state of the schedule in a checkpoint, also of one that did not know of all budgets.
    pub(super) fn schedule_of(
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
    pub(super) fn take(&mut self, name: &str, checkpoint: &Checkpoint) -> Result<()> {
        let file = self.folder.file(name);
        check_extra(&self.extra, &file, checkpoint)?;
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
    pub(super) fn save_latest(&mut self, place: Place, log: &store::Metrics) -> Result<()> {
        log.sync()?;
        self.write_latest(place, log.lines(), Moment::Planned)
    }

    /// The same where an undisturbed run would not have saved: it does not become the previous checkpoint.
    pub(super) fn save_between(&mut self, place: Place, log: &store::Metrics) -> Result<()> {
        log.sync()?;
        self.write_latest(place, log.lines(), Moment::Between)
    }

    pub(super) fn write_latest(&mut self, place: Place, lines: u64, moment: Moment) -> Result<()> {
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

    pub(super) fn save(&self, name: &str, place: Place) -> Result<()> {
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
            (UPDATE, Some(place.update)),
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

    /// Removes old checkpoints of a kind, of which one was just written.
    pub(super) fn keep_newest(&self, kind: &str, written: &str) -> Result<()> {
        match self.keep_budgets {
            Some(most) => self.folder.keep(kind, most, written),
            None => Ok(()),
        }
    }

    /// The checkpoint of a main branch, which is gone back to. A checkpoint goes back to the newest one, or at the
    /// moment when that is made to the one before: older ones go.
    pub(super) fn save_main(&self, name: &str, place: Place) -> Result<()> {
        self.save(name, place)?;
        self.folder.keep(MAINS, 2, name)
    }
}
