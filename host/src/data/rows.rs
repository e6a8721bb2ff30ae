//! Rows where they lie: in a mapped file, read a few at a time, or in memory.
//!
//! What trains reads its data as a whole ([`super::safetensors`], [`super::npy`]); what goes through once, as a gallery
//! that is built or queries that are searched for, need not.

use std::path::Path;
use std::sync::Arc;

use super::floats::{Layout, words};
use super::safetensors::Contents;
use super::{Dataset, check_finite, npy, safetensors};
use crate::error::{Error, Result, tensor_place};
use crate::map::Map;

/// One modality: n rows of `dim` numbers, read when they are asked for.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Its name, such as "image".
    pub name: String,
    /// The number of rows; 0 is allowed.
    pub n: usize,
    /// Numbers in a row, at least 1.
    pub dim: usize,
    place: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Arc<[f32]>),
    Mapped { map: Arc<Map>, array: Layout },
}

/// Several modalities of the same items, with or without labels.
#[derive(Clone, Debug)]
pub struct Table {
    /// In the order of their names, of a safetensors file; else as they were given.
    pub modalities: Vec<Rows>,
    /// One label per item.
    pub labels: Option<Vec<i64>>,
}

impl Rows {
    /// Rows in memory, \[n, dim\].
    ///
    /// # Errors
    /// A dimension of 0, a last row that is not whole.
    pub fn new(name: &str, dim: usize, rows: Vec<f32>) -> Result<Self> {
        let place = format!("modality \"{name}\"");
        let count = rows.len();
        if dim != 0 && !count.is_multiple_of(dim) {
            let problem = format!("{count} numbers: rows of {dim} expected");
            return Err(Error::input(place, problem));
        }
        let n = count / dim.max(1);
        Self::checked(name, place, [n, dim], Source::Memory(rows.into()))
    }

    /// Rows from number `first` on, as many as `to` has room for.
    ///
    /// # Errors
    /// A row that is not there; a number that is not finite, with its row and column.
    pub fn read(&self, first: usize, to: &mut [f32]) -> Result<()> {
        let count = to.len() / self.dim.max(1);
        let end = first.checked_add(count).filter(|end| *end <= self.n);
        if end.is_none() || count * self.dim != to.len() {
            let problem = format!(
                "rows {first}..{} of {}",
                first.saturating_add(count),
                self.n
            );
            return Err(Error::input(&self.place, problem));
        }
        match &self.source {
            Source::Memory(rows) => {
                let from = rows.get(first * self.dim..).unwrap_or(&[]);
                to.iter_mut().zip(from).for_each(|(to, x)| *to = *x);
            }
            Source::Mapped { map, array } => array.read(map.bytes(), first, to),
        }
        check_finite(&self.place, first, self.dim, to)
    }

    /// The file, tensor or flag that they are from, as messages name it.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl Table {
    /// The tensors of a safetensors file, and its labels, if there are any. Cost: its header is read, and the labels.
    ///
    /// # Errors
    /// A file that is missing, cut off or contradicts itself; a tensor that is not \[N, D\] of f32, f16 or bf16.
    pub fn safetensors(file: &Path) -> Result<Self> {
        let map = Arc::new(Map::open(file)?);
        let Contents { modalities, labels } = safetensors::locate(file, map.bytes())?;
        let rows = |(name, array): (String, Layout)| {
            let source = Source::Mapped {
                map: map.clone(),
                array,
            };
            Rows::checked(
                &name,
                tensor_place(file, &name),
                [array.n, array.dim],
                source,
            )
        };
        let modalities = modalities.into_iter().map(rows).collect::<Result<_>>()?;
        Ok(Table { modalities, labels })
    }

    /// One `.npy` file, under a name. Cost: its header is read.
    ///
    /// # Errors
    /// As [`npy::read`], but for numbers that are not finite.
    pub fn npy(name: &str, file: &Path) -> Result<Self> {
        let map = Arc::new(Map::open(file)?);
        let array = npy::locate(file, map.bytes())?;
        let source = Source::Mapped { map, array };
        let place = npy::place(file, name);
        Ok(Table {
            modalities: vec![Rows::checked(name, place, [array.n, array.dim], source)?],
            labels: None,
        })
    }

    /// Some modalities, each in an `.npy` file of its own.
    ///
    /// # Errors
    /// As [`Table::npy`].
    pub fn npy_files(files: &[(String, std::path::PathBuf)]) -> Result<Self> {
        let tables = files.iter().map(|(name, file)| Table::npy(name, file));
        let tables: Vec<Table> = tables.collect::<Result<_>>()?;
        Ok(Table {
            modalities: tables
                .into_iter()
                .flat_map(|table| table.modalities)
                .collect(),
            labels: None,
        })
    }

    /// Data in memory; `place` names them in messages.
    pub fn of(place: &str, data: &Dataset) -> Self {
        let rows = |modality: &super::Modality| Rows {
            name: modality.name.clone(),
            n: modality.len(),
            dim: modality.dim,
            place: format!("{place}: modality \"{}\"", modality.name),
            source: Source::Memory(modality.rows.as_slice().into()),
        };
        Table {
            modalities: data.modalities.iter().map(rows).collect(),
            labels: data.labels.clone(),
        }
    }

    /// The names in order, as in "image, audio, text".
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.modalities.iter().map(|m| m.name.as_str()).collect();
        names.join(", ")
    }

    /// The modality of a name; `flag` is the flag that named it.
    ///
    /// # Errors
    /// A name that the data do not have, with those they have.
    pub fn named(&self, flag: &str, name: &str) -> Result<&Rows> {
        let found = self.modalities.iter().find(|m| m.name == name);
        found.ok_or_else(|| {
            let problem = format!("no modality \"{name}\": the data have {}", self.names());
            Error::flag(flag, problem)
        })
    }
}

impl Rows {
    fn checked(name: &str, place: String, [n, dim]: [usize; 2], source: Source) -> Result<Self> {
        if dim == 0 {
            return Err(Error::input(place, "rows of length 0: at least 1 expected"));
        }
        Ok(Rows {
            name: name.to_owned(),
            n,
            dim,
            place,
            source,
        })
    }
}

/// The labels of a tensor of i64 in bytes.
pub(crate) fn labels(bytes: &[u8]) -> impl Iterator<Item = i64> + '_ {
    words(bytes).map(i64::from_le_bytes)
}
