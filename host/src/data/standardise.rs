//! Centred columns and one deviation per modality.
//!
//! x ← (x − mean of its column) / deviation, where the deviation is that of all numbers of the modality: scaling each
//! column by its own would blow up columns that hardly vary. The statistics come from training data, are stored in
//! checkpoints and applied to test data.

use super::{Dataset, Modality};
use crate::error::{Error, Result};
use crate::store::Tensor;

/// The statistics of every modality, in the order of the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    /// One per modality.
    pub modalities: Vec<Statistics>,
}

/// The statistics of one modality.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The modality's name.
    pub name: String,
    /// The mean of each column.
    pub mean: Vec<f32>,
    /// The deviation of all numbers about their common mean; 1 where they are all equal.
    pub deviation: f32,
}

impl Standardiser {
    /// Measures training data, in f64 and in row order. `present`, \[modality\]\[row\], tells the rows that are
    /// there; nothing where all are.
    pub fn fit(data: &Dataset, present: Option<&[Vec<bool>]>) -> Self {
        let there = |index: usize| present.and_then(|all| all.get(index)).map(Vec::as_slice);
        let modalities = data.modalities.iter().zip(0..);
        Self {
            modalities: modalities
                .map(|(modality, index)| measure(modality, there(index)))
                .collect(),
        }
    }

    /// Standardises data in place; `place` names it in messages.
    ///
    /// # Errors
    /// Modalities with other names, another order or other dimensions than the training data
    /// (see [`Dataset::like`]), before anything is changed.
    pub fn apply(&self, place: &str, data: &mut Dataset) -> Result<()> {
        let fits = |(s, m): (&Statistics, &Modality)| s.name == m.name && s.mean.len() == m.dim;
        let pairs = || self.modalities.iter().zip(&data.modalities);
        if self.modalities.len() != data.modalities.len() || !pairs().all(fits) {
            let problem = "its modalities are not those of the training data";
            return Err(Error::input(place, problem));
        }
        for (statistics, modality) in self.modalities.iter().zip(&mut data.modalities) {
            statistics.apply(&mut modality.rows);
        }
        Ok(())
    }

    /// The statistics as tensors `PREFIXmean.NAME` of shape \[D\] and `PREFIXdeviation.NAME` of shape \[1\].
    pub fn to_tensors(&self, prefix: &str) -> Vec<Tensor> {
        let tensors = self.modalities.iter().flat_map(|s| {
            let mean = Tensor::new(
                format!("{prefix}mean.{}", s.name),
                vec![s.mean.len()],
                s.mean.clone(),
            );
            let deviation = Tensor::new(
                format!("{prefix}deviation.{}", s.name),
                vec![1],
                vec![s.deviation],
            );
            [mean, deviation]
        });
        tensors.collect()
    }
}

impl Statistics {
    /// Standardises rows of this modality; an incomplete last row is left as it is.
    pub fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.mean.len().max(1)) {
            for (x, mean) in row.iter_mut().zip(&self.mean) {
                // In f64 no difference of two finite numbers overflows.
                let centred = f64::from(*x) - f64::from(*mean);
                *x = (centred / f64::from(self.deviation)) as f32;
            }
        }
    }
}

fn measure(modality: &Modality, present: Option<&[bool]>) -> Statistics {
    let is_there = |row: usize| present.is_none_or(|there| there.get(row) == Some(&true));
    let rows = || {
        let rows = modality.rows.chunks_exact(modality.dim.max(1)).zip(0..);
        rows.filter(|(_, index)| is_there(*index))
            .map(|(row, _)| row)
    };
    let mut sums = vec![0.0_f64; modality.dim];
    for row in rows() {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += f64::from(x);
        }
    }
    let n = rows().count().max(1) as f64;
    let count = n * modality.dim.max(1) as f64;
    let centre = sums.iter().sum::<f64>() / count;
    let squares = rows().flatten().map(|&x| {
        let centred = f64::from(x) - centre;
        centred * centred
    });
    let deviation = (squares.sum::<f64>() / count).sqrt() as f32;
    Statistics {
        name: modality.name.clone(),
        mean: sums.iter().map(|sum| (sum / n) as f32).collect(),
        deviation: if deviation > 0.0 { deviation } else { 1.0 },
    }
}
