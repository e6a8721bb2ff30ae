//! Embeddings or features of several modalities, row by row the same items.
//!
//! | module | reads or makes |
//! |---|---|
//! | [`safetensors`] | `--data FILE.safetensors` |
//! | [`npy`] | `--modality NAME=FILE.npy` |
//! | [`rows`] | rows of either file where they lie, a few at a time |
//! | `numbers`, `strips` | the built-in data (feature `demo-data`) |
//! | [`noise`] | weak transcriptions |
//! | [`standardise`] | centred columns, one deviation per modality |
//! | [`sample`] | the batch of a step |
//! | [`gallery`] | what retrieval is measured on |

use std::collections::BTreeSet;

use crate::error::{Error, Result};

mod floats;
pub mod gallery;
pub mod noise;
pub mod npy;
#[cfg(feature = "demo-data")]
pub mod numbers;
pub mod rows;
pub mod safetensors;
pub mod sample;
pub mod standardise;
#[cfg(feature = "demo-data")]
pub mod strips;

/// One modality: n rows of `dim` finite numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Modality {
    /// Its name, such as "image".
    pub name: String,
    /// Numbers in a row; at least 1.
    pub dim: usize,
    /// The rows, row-major: n·dim numbers.
    pub rows: Vec<f32>,
}

impl Modality {
    /// Checks and makes a modality; `place` names the file and tensor in messages.
    ///
    /// # Errors
    /// A dimension of 0, no row at all, a last row that is not whole, a number that is NaN or infinite.
    pub fn new(place: &str, name: &str, dim: usize, rows: Vec<f32>) -> Result<Self> {
        if dim == 0 {
            return Err(Error::input(place, "rows of length 0: at least 1 expected"));
        }
        if rows.is_empty() || !rows.len().is_multiple_of(dim) {
            let found = format!(
                "{} numbers: rows of {dim} expected, at least one",
                rows.len()
            );
            return Err(Error::input(place, found));
        }
        check_finite(place, 0, dim, &rows)?;
        let name = name.to_owned();
        Ok(Self { name, dim, rows })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dim.max(1)
    }

    /// Whether there is no row; never true of a checked modality.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Row `i`; nothing beyond the last.
    pub fn row(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.dim)?;
        self.rows.get(start..start.checked_add(self.dim)?)
    }

    fn subset(&self, rows: &[usize]) -> Self {
        let picked = rows.iter().filter_map(|&i| self.row(i)).flatten();
        Self {
            name: self.name.clone(),
            dim: self.dim,
            rows: picked.copied().collect(),
        }
    }
}

/// What a file of another format is, and what to do with it.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 2] = [
        (
            b"PK\x03\x04",
            "a ZIP archive, as .npz files are: unpack it, and give its arrays by --modality NAME=FILE.npy",
        ),
        (
            b"\x93NUMPY",
            "an NPY file, no safetensors file: --modality NAME=FILE.npy reads it",
        ),
    ];
    let known = KNOWN.iter().find(|(first, _)| bytes.starts_with(first));
    known.map(|(_, what)| *what)
}

/// Refuses numbers that are NaN or infinite, with the row, counted from `first`, and the column.
fn check_finite(place: &str, first: usize, dim: usize, rows: &[f32]) -> Result<()> {
    let Some((at, found)) = rows.iter().enumerate().find(|(_, x)| !x.is_finite()) else {
        return Ok(());
    };
    let (row, column) = (first + at / dim.max(1), at % dim.max(1));
    let problem = format!("row {row}, column {column} is {found}: a finite number expected");
    Err(Error::input(place, problem))
}

/// Several modalities of the same n items, with or without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// At least two, with different names.
    pub modalities: Vec<Modality>,
    /// One label per item: items of one label are the same thing.
    pub labels: Option<Vec<i64>>,
    /// The number of items.
    pub n: usize,
}

impl Dataset {
    /// Checks and makes a dataset; `place` names the file or flags in messages.
    ///
    /// # Errors
    /// Fewer than two modalities, a name that stands twice, different numbers of rows or labels.
    pub fn new(place: &str, modalities: Vec<Modality>, labels: Option<Vec<i64>>) -> Result<Self> {
        let (Some(first), true) = (modalities.first(), modalities.len() >= 2) else {
            let found = match modalities.first() {
                Some(only) => format!("only modality \"{}\"", only.name),
                None => "no modality".to_owned(),
            };
            let problem = format!("{found}: at least two modalities expected");
            return Err(Error::input(place, problem));
        };
        let mut names = BTreeSet::new();
        if let Some(twice) = modalities.iter().find(|m| !names.insert(&m.name)) {
            let problem = format!("modality \"{}\" stands twice", twice.name);
            return Err(Error::input(place, problem));
        }
        let n = first.len();
        let sizes = modalities.iter().map(|m| (m.name.as_str(), m.len()));
        let labelled = labels.iter().map(|labels| ("labels", labels.len()));
        if let Some((name, size)) = sizes.chain(labelled).find(|&(_, size)| size != n) {
            let problem = format!(
                "\"{}\" has {n} rows and \"{name}\" has {size}: the same number expected",
                first.name
            );
            return Err(Error::input(place, problem));
        }
        Ok(Self {
            modalities,
            labels,
            n,
        })
    }

    /// The names in order, as in "image, audio, text".
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.modalities.iter().map(|m| m.name.as_str()).collect();
        names.join(", ")
    }

    /// The index of a modality; `flag` is the flag that named it.
    ///
    /// # Errors
    /// A name that the data does not have, with those it has.
    pub fn index_of(&self, flag: &str, name: &str) -> Result<usize> {
        let place = self.modalities.iter().position(|m| m.name == name);
        place.ok_or_else(|| {
            let problem = format!("no modality \"{name}\": the data has {}", self.names());
            Error::flag(flag, problem)
        })
    }

    /// The index of the modality that `--anchor` names.
    ///
    /// # Errors
    /// As [`Dataset::index_of`].
    pub fn anchor(&self, name: &str) -> Result<usize> {
        self.index_of("--anchor", name)
    }

    /// The named modalities in the order of the names; `flag` is the flag that named them.
    ///
    /// # Errors
    /// An unknown name, a name that stands twice, fewer than two names.
    pub fn select(&self, flag: &str, names: &[&str]) -> Result<Self> {
        let picked = names
            .iter()
            .map(|name| {
                let index = self.index_of(flag, name)?;
                Ok(self.modalities.get(index).cloned())
            })
            .collect::<Result<Vec<_>>>()?;
        let modalities = picked.into_iter().flatten().collect();
        Self::new(flag, modalities, self.labels.clone())
    }

    /// This data with the modalities of `train`, in its order: test data for heads that `train` taught.
    ///
    /// # Errors
    /// A modality that is missing here, or has another dimension; `place` names this data.
    pub fn like(&self, place: &str, train: &Self) -> Result<Self> {
        let picked = train
            .modalities
            .iter()
            .map(
                |want| match self.modalities.iter().find(|m| m.name == want.name) {
                    Some(found) if found.dim == want.dim => Ok(found.clone()),
                    Some(found) => Err(Error::input(
                        place,
                        format!(
                            "modality \"{}\" has dimension {}: the training data has {}",
                            found.name, found.dim, want.dim
                        ),
                    )),
                    None => Err(Error::input(
                        place,
                        format!(
                            "no modality \"{}\", which the training data has; it has {}",
                            want.name,
                            self.names()
                        ),
                    )),
                },
            )
            .collect::<Result<Vec<_>>>()?;
        Self::new(place, picked, self.labels.clone())
    }

    /// The items at `rows`, in that order; indices beyond the last are left out.
    pub fn subset(&self, rows: &[usize]) -> Self {
        let rows: Vec<usize> = rows.iter().copied().filter(|&i| i < self.n).collect();
        let labels = self.labels.as_ref().map(|labels| {
            let picked = rows.iter().filter_map(|&i| labels.get(i));
            picked.copied().collect()
        });
        Self {
            modalities: self.modalities.iter().map(|m| m.subset(&rows)).collect(),
            labels,
            n: rows.len(),
        }
    }

    /// The items whose label is in `labels`, and all others; without labels all are others.
    pub fn split_labels(&self, labels: &BTreeSet<i64>) -> (Self, Self) {
        let within = |&i: &usize| {
            let label = self.labels.as_ref().and_then(|all| all.get(i));
            label.is_some_and(|label| labels.contains(label))
        };
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..self.n).partition(within);
        (self.subset(&inside), self.subset(&outside))
    }
}
