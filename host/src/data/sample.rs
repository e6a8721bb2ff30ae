//! The batch of a step, without state: it depends on the seed and the step alone.
//!
//! A resumed run therefore draws what it would have drawn, with nothing to store. Without labels a batch is B
//! distinct rows; with labels it is B distinct labels and one row of each, so that no other item of a batch is a
//! true match of an item. Batches are independent draws, there are no epochs.

use std::collections::BTreeMap;

use super::Dataset;
use crate::error::{Error, Result};
use crate::random::{Purpose, stream};

/// Draws batches of one size from one dataset.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// The rows of each label in the order of the labels; without labels nothing.
    groups: Option<Vec<Vec<usize>>>,
    /// How many rows, or labels, there are to choose from.
    choices: usize,
    /// What these are called.
    what: &'static str,
    batch: usize,
}

impl Sampler {
    /// Checks the batch size against the data; `flag` is the flag that set it.
    ///
    /// # Errors
    /// A batch of 0; a batch larger than the number of rows or, with labels, of labels.
    pub fn new(flag: &str, data: &Dataset, batch: usize) -> Result<Self> {
        let groups = data.labels.as_deref().map(group);
        let (choices, what) = match &groups {
            Some(groups) => (groups.len(), "different labels"),
            None => (data.n, "rows"),
        };
        if batch == 0 {
            return Err(Error::flag(flag, "0: at least 1 expected"));
        }
        if batch > choices {
            let problem =
                format!("a batch of {batch} is larger than the data, which has {choices} {what}");
            return Err(Error::flag(flag, problem));
        }
        Ok(Self {
            groups,
            choices,
            what,
            batch,
        })
    }

    /// Batches of `most` rows, or of as many as the data allow.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn of_at_most(flag: &str, data: &Dataset, most: usize) -> Result<Self> {
        let sampler = Self::new(flag, data, 1)?;
        let batch = most.min(sampler.choices);
        Ok(Self { batch, ..sampler })
    }

    /// Rows of a batch.
    pub fn size(&self) -> usize {
        self.batch
    }

    /// What no two items of a batch have in common: `rows`, or `different labels`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The rows of the batch of `step`, as many as the batch size.
    pub fn batch(&self, seed: u64, step: u64) -> Vec<usize> {
        let mut random = stream(seed, Purpose::Batch, step);
        let chosen = random.distinct(self.choices, self.batch);
        match &self.groups {
            None => chosen,
            Some(groups) => {
                let groups = chosen.iter().filter_map(|&label| groups.get(label));
                groups
                    .filter_map(|rows| random.pick(rows).copied())
                    .collect()
            }
        }
    }
}

/// The rows of each label, labels ascending, rows ascending.
pub(super) fn group(labels: &[i64]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        groups.entry(label).or_default().push(row);
    }
    groups.into_values().collect()
}
