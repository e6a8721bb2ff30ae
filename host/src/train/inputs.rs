//! What an alignment trains on and is evaluated on, as it is told: which file is which modality, in the order in which
//! heads, vectors and tables have them, and how much of each is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::align::Present;
use super::options::{AlignOptions, Source};
use crate::data::{Dataset, Modality};
use crate::error::{Error, Result};

/// The data of an alignment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inputs {
    /// The modality that is the anchor of the losses with one.
    pub anchor: String,
    /// Items of a batch.
    pub batch: usize,
    /// What is trained on.
    pub train: InputSet,
    /// What is evaluated; nothing where that is the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<InputSet>,
}

/// Some items.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputSet {
    /// The file, where one has all modalities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How many there are.
    pub items: usize,
    /// Different labels, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<usize>,
    /// Items that lack all modalities but one, or all: they teach nothing.
    pub alone: usize,
    /// In the order in which they are used.
    pub modalities: Vec<InputModality>,
}

/// One modality.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputModality {
    /// Its name: that of its tensor, or what `--modality` calls it.
    pub name: String,
    /// The file, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Numbers in a row.
    pub dim: usize,
    /// Rows that are there.
    pub rows: usize,
    /// Rows of zeros, which are absent.
    pub absent: usize,
}

impl Inputs {
    /// Whether they are files of the user's, not the built-in data.
    pub fn has_files(&self) -> bool {
        let modalities = &self.train.modalities;
        self.train.file.is_some() || modalities.iter().any(|modality| modality.file.is_some())
    }

    /// Which figures of what is evaluated do not compare.
    pub(super) fn warning(&self) -> Option<String> {
        let modalities = &self.test.as_ref().unwrap_or(&self.train).modalities;
        let absent: usize = modalities.iter().map(|modality| modality.absent).sum();
        (absent > 0 && modalities.len() > 2).then(|| {
            format!(
                "{absent} rows of what is evaluated are absent: rank by distance (dist), since volumes of different numbers of vectors do not compare well"
            )
        })
    }
}

impl InputSet {
    /// Of the training data.
    pub(super) fn of_train(
        options: &AlignOptions,
        data: &Dataset,
        present: Option<&Present>,
    ) -> Self {
        let (file, files) = match &options.source {
            Source::Numbers => (None, &[][..]),
            Source::Safetensors { train, .. } => (Some(train.as_path()), &[][..]),
            Source::Npy(files) => (None, files.as_slice()),
        };
        Self::new(file, files, data, present)
    }

    /// Of the data that are evaluated, where they are others.
    pub(super) fn of_test(
        options: &AlignOptions,
        data: &Dataset,
        present: Option<&Present>,
    ) -> Option<Self> {
        match &options.source {
            Source::Numbers => Some(Self::new(None, &[], data, present)),
            Source::Safetensors { test, .. } => {
                Some(Self::new(Some(test.as_deref()?), &[], data, present))
            }
            Source::Npy(_) => None,
        }
    }

    fn new(
        file: Option<&Path>,
        files: &[(String, PathBuf)],
        data: &Dataset,
        present: Option<&Present>,
    ) -> Self {
        let file_of = |name: &str| files.iter().find(|(other, _)| other == name);
        let absent = |index: usize| {
            let there = present.and_then(|present| present.get(index));
            there.map_or(0, |there| there.iter().filter(|there| !**there).count())
        };
        let modality = |(index, modality): (usize, &Modality)| {
            let absent = absent(index);
            InputModality {
                name: modality.name.clone(),
                file: file_of(&modality.name).map(|(_, file)| file.clone()),
                dim: modality.dim,
                rows: modality.len().saturating_sub(absent),
                absent,
            }
        };
        let labels = data.labels.as_ref();
        InputSet {
            file: file.map(Path::to_path_buf),
            items: data.n,
            labels: labels.map(|labels| labels.iter().collect::<BTreeSet<_>>().len()),
            alone: present.map_or(0, |present| alone(present, data.n)),
            modalities: data.modalities.iter().enumerate().map(modality).collect(),
        }
    }

    /// Refuses data of which nothing, or not every head, can learn; `place` names them.
    pub(super) fn check(&self, place: &str) -> Result<()> {
        if let Some(empty) = self.modalities.iter().find(|modality| modality.rows == 0) {
            let problem = format!(
                "modality \"{}\": all of its {} rows are zeros, so absent: nothing to learn from",
                empty.name, empty.absent
            );
            return Err(Error::input(place, problem));
        }
        if self.items.saturating_sub(self.alone) < 2 {
            let problem = format!(
                "{} of {} items have one modality or none, as rows of zeros are absent: at least 2 with two modalities expected",
                self.alone, self.items
            );
            return Err(Error::input(place, problem));
        }
        Ok(())
    }
}

/// Items of fewer than two modalities.
fn alone(present: &Present, items: usize) -> usize {
    let has = |there: &Vec<bool>, row: usize| there.get(row) == Some(&true);
    let count = |row: usize| present.iter().filter(|there| has(there, row)).count();
    (0..items).filter(|&row| count(row) < 2).count()
}
