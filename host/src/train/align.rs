//! Alignment of several modalities: one head each into a shared space, trained by a contrastive loss.

use rivergram_core::error::{GramError, TrainError};
use rivergram_core::gram::contrastive::{GramLoss, K_MAX, ZeroRows};
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::trainer::{Setup, Trainer};
use rivergram_simd::Level;

use super::defaults::BATCH;
use super::evaluate::{Embedded, Evaluation};
use super::event::Metrics;
use super::inputs::{InputSet, Inputs};
use super::job::{Done, Task, refused};
use super::options::{AlignOptions, LossKind, Source, Unit};
use crate::data::sample::Sampler;
use crate::data::standardise::Standardiser;
use crate::data::{Dataset, Modality, npy, safetensors};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::store::Tensor;

/// The name that is the anchor where none is named.
const ANCHOR: &str = "text";

/// Which rows of a dataset are there, \[modality\]\[row\]: a row of zeros is an absent modality.
pub(super) type Present = Vec<Vec<bool>>;

pub(super) struct Align {
    options: AlignOptions,
    seed: u64,
    heads: Vec<(String, Head)>,
    anchor: usize,
    train: Dataset,
    present: Option<Present>,
    sampler: Sampler,
    standardiser: Standardiser,
    evaluation: Evaluation,
    inputs: Inputs,
    warnings: Vec<String>,
    /// Items with volume 0 since the last warning.
    degenerate: usize,
}

/// Training data, and what is evaluated.
pub(super) struct Parts {
    pub(super) train: Dataset,
    pub(super) test: Dataset,
    /// The labels that were left out of the training data.
    pub(super) unseen: Vec<i64>,
    /// Items that are the built-in numbers: their names are known.
    pub(super) numbers: bool,
}

impl Align {
    pub(super) fn new(options: &AlignOptions, seed: u64) -> Result<Self> {
        Self::with_data(options, seed, load(options, seed)?)
    }

    pub(super) fn with_data(options: &AlignOptions, seed: u64, parts: Parts) -> Result<Self> {
        let Parts {
            mut train,
            test,
            unseen,
            numbers,
        } = parts;
        check(options, &train)?;
        let anchor = match &options.anchor {
            Some(name) => train.anchor(name)?,
            None => train
                .modalities
                .iter()
                .position(|modality| modality.name == ANCHOR)
                .unwrap_or_default(),
        };
        let sampler = sampler(options, &train)?;
        let present = presence(&train);
        let train_set = InputSet::of_train(options, &train, present.as_ref());
        train_set.check("the training data")?;
        let standardiser = Standardiser::fit(&train, present.as_deref());
        standardiser.apply("the training data", &mut train)?;
        let test_present = presence(&test);
        let inputs = Inputs {
            anchor: name_of(&train, anchor).to_string(),
            batch: sampler.size(),
            train: train_set,
            test: InputSet::of_test(options, &test, test_present.as_ref()),
        };
        let mut test = test;
        standardiser.apply("the test data", &mut test)?;
        let heads = heads(options, &train);
        let evaluation = Evaluation::new(test, test_present, unseen, numbers);
        let mut warnings = Vec::new();
        if options.batch.is_none() && sampler.size() < BATCH {
            let (size, what) = (sampler.size(), sampler.what());
            warnings.push(format!(
                "batches of {size} items, not of {BATCH}: the training data have {size} {what}"
            ));
        }
        if let Source::Safetensors { test: None, .. } | Source::Npy(_) = &options.source {
            let warning = "no --test data: the figures below are those of the training data";
            warnings.push(warning.to_string());
        }
        warnings.extend(evaluation.warning());
        warnings.extend(inputs.warning());
        Ok(Align {
            options: options.clone(),
            seed,
            heads,
            anchor,
            train,
            present,
            sampler,
            standardiser,
            evaluation,
            inputs,
            warnings,
            degenerate: 0,
        })
    }

    /// The data that are evaluated, through heads of these weights: a row of zeros stays one.
    pub(super) fn embedded(&self, level: Level, parameters: &[f32]) -> Result<Dataset> {
        let data = self.evaluation.data();
        let embedded = Embedded::new(level, &self.heads, parameters, data);
        embedded.dataset(data, self.evaluation.present())
    }

    /// The name of the anchor.
    pub(super) fn anchor(&self) -> &str {
        name_of(&self.train, self.anchor)
    }

    /// What core refuses, with the modality's name and the row of the data instead of places in the batch.
    fn refused(&self, e: TrainError, rows: &[usize]) -> Error {
        let TrainError::Gram(GramError::NotFinite { modality, row }) = e else {
            return refused(e);
        };
        let name = name_of(&self.train, modality);
        let row = rows.get(row).copied().unwrap_or(row);
        let place = format!("modality \"{name}\", row {row}");
        Error::input(
            place,
            "its embedding left the range of numbers: a smaller --lr may help",
        )
    }
}

fn name_of(data: &Dataset, modality: usize) -> &str {
    let modality = data.modalities.get(modality);
    modality.map_or("", |modality| &modality.name)
}

/// The loss of a step: at first that of the cosines, so that the signs agree.
pub(super) fn loss_at(options: &AlignOptions, anchor: usize, step: u64) -> GramLoss<f32> {
    let warming = step < options.warmup_cosine;
    let (kind, pairs) = match warming {
        true => (LossKind::Cosine, 0.0),
        false => (options.loss, options.pairs),
    };
    GramLoss {
        term: kind.term(anchor),
        pairs,
        temperature: options.temperature,
        label_smoothing: options.label_smoothing,
        normalise: false,
        zero_rows: ZeroRows::Missing,
    }
}

/// The heads of some data, each with its modality's name.
pub(super) fn heads(options: &AlignOptions, data: &Dataset) -> Vec<(String, Head)> {
    let head = |modality: &Modality| {
        let head = Head {
            input: modality.dim,
            hidden: options.hidden,
            output: options.dim,
            normalise: true,
        };
        (modality.name.clone(), head)
    };
    data.modalities.iter().map(head).collect()
}

/// The rule of an alignment's updates.
pub(super) fn optimizer() -> Optimizer<f32> {
    Optimizer::AdamW {
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        weight_decay: 0.01,
    }
}

fn sampler(options: &AlignOptions, train: &Dataset) -> Result<Sampler> {
    let sampler = match options.batch {
        Some(batch) => Sampler::new("--batch", train, batch)?,
        None => Sampler::of_at_most("--batch", train, BATCH)?,
    };
    if sampler.size() < 2 {
        let problem = "1: at least 2 expected, since a batch of one has nothing to contrast";
        return Err(Error::flag("--batch", problem));
    }
    Ok(sampler)
}

fn check(options: &AlignOptions, train: &Dataset) -> Result<()> {
    let k = train.modalities.len();
    if k > K_MAX {
        let problem = format!("{k} modalities: at most {K_MAX} expected");
        return Err(Error::input("the training data", problem));
    }
    let volume = matches!(options.loss, LossKind::Gram | LossKind::GramSymmetric);
    let least = if volume { k } else { 1 };
    if options.dim < least {
        let problem = format!(
            "{}: at least {least} expected, since {k} vectors in fewer dimensions span no volume",
            options.dim
        );
        return Err(Error::flag("--dim", problem));
    }
    let positive = |flag, x: f32| match x > 0.0 && x.is_finite() {
        true => Ok(()),
        false => Err(Error::flag(
            flag,
            format!("{x}: a positive number expected"),
        )),
    };
    positive("--tau", options.temperature)?;
    if !(options.pairs >= 0.0 && options.pairs.is_finite()) {
        let problem = format!("{}: a weight of 0 or more expected", options.pairs);
        return Err(Error::flag("--pairs", problem));
    }
    if !(0.0..1.0).contains(&options.label_smoothing) {
        let problem = format!("{}: a number in [0, 1) expected", options.label_smoothing);
        return Err(Error::flag("--label-smoothing", problem));
    }
    Ok(())
}

fn load(options: &AlignOptions, seed: u64) -> Result<Parts> {
    let own = |train: Dataset, test: Dataset| Parts {
        train,
        test,
        unseen: Vec::new(),
        numbers: false,
    };
    match &options.source {
        Source::Numbers => numbers(options, seed),
        Source::Safetensors { train, test } => {
            let data = safetensors::read(train)?;
            let test = match test {
                Some(file) => safetensors::read(file)?.like(&file.display().to_string(), &data)?,
                None => data.clone(),
            };
            Ok(own(data, test))
        }
        Source::Npy(files) => {
            let data = npy::read_all(files)?;
            Ok(own(data.clone(), data))
        }
    }
}

/// The built-in numbers, text first, since it is the anchor.
#[cfg(feature = "demo-data")]
fn numbers(options: &AlignOptions, seed: u64) -> Result<Parts> {
    use crate::data::numbers;
    let order = ["text", "image", "audio"];
    let train = numbers::train(seed)?.select("the built-in data", &order)?;
    let test = numbers::test(seed)?.select("the built-in data", &order)?;
    let unseen = unseen_labels(options.unseen, seed)?;
    let (_, train) = train.split_labels(&unseen.iter().copied().collect());
    Ok(Parts {
        train,
        test,
        unseen,
        numbers: true,
    })
}

#[cfg(feature = "demo-data")]
fn unseen_labels(count: usize, seed: u64) -> Result<Vec<i64>> {
    use crate::data::numbers::NUMBERS;
    use crate::random::{Purpose, stream};
    if count >= NUMBERS {
        let problem = format!("{count} of {NUMBERS} numbers left out of the training");
        return Err(Error::flag("--unseen", problem));
    }
    let mut chosen = stream(seed, Purpose::Unseen, 0).distinct(NUMBERS, count);
    chosen.sort_unstable();
    Ok(chosen.into_iter().map(|number| number as i64).collect())
}

#[cfg(not(feature = "demo-data"))]
fn numbers(_: &AlignOptions, _: u64) -> Result<Parts> {
    Err(super::no_demo_data())
}

/// Which rows are not zero; nothing where all are.
fn presence(data: &Dataset) -> Option<Present> {
    let there = |row: &[f32]| row.iter().any(|x| *x != 0.0);
    let present: Present = data
        .modalities
        .iter()
        .map(|modality| {
            modality
                .rows
                .chunks_exact(modality.dim.max(1))
                .map(there)
                .collect()
        })
        .collect();
    match present.iter().flatten().all(|there| *there) {
        true => None,
        false => Some(present),
    }
}

impl Task for Align {
    fn heads(&self) -> &[(String, Head)] {
        &self.heads
    }

    fn optimizer(&self) -> Optimizer<f32> {
        optimizer()
    }

    fn workspace_len(&self, setup: &Setup<'_, f32>) -> usize {
        setup.align_workspace_len(self.sampler.size())
    }

    fn step(
        &mut self,
        engine: &Engine,
        trainer: &mut Trainer<'_, f32>,
        _leg: &str,
        step: u64,
    ) -> Result<Done> {
        let rows = self.sampler.batch(self.seed, step);
        let inputs: Vec<Vec<f32>> = self
            .train
            .modalities
            .iter()
            .map(|modality| {
                let rows = rows.iter().filter_map(|row| modality.row(*row));
                rows.flatten().copied().collect()
            })
            .collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let present: Option<Vec<bool>> = self.present.as_ref().map(|present| {
            let of = |there: &Vec<bool>| -> Vec<bool> {
                rows.iter()
                    .filter_map(|row| there.get(*row).copied())
                    .collect()
            };
            present.iter().flat_map(of).collect()
        });
        let loss = loss_at(&self.options, self.anchor, step);
        let (step, report) = engine
            .align(trainer, &loss, &inputs, present.as_deref(), rows.len())
            .map_err(|e| self.refused(e, &rows))?;
        self.degenerate = self.degenerate.saturating_add(report.degenerate);
        Ok(Done {
            loss: step.loss,
            samples: rows.len() as u64,
            tokens: 0,
        })
    }

    fn units(&self, unit: Unit) -> Result<f64> {
        match unit {
            Unit::Steps => Ok(1.0),
            Unit::Samples => Ok(self.sampler.batch(self.seed, 0).len() as f64),
            Unit::Tokens => Err(Error::flag("--unit", "an alignment has no tokens to count")),
        }
    }

    fn evaluate(&self, level: Level, parameters: &[f32]) -> Result<Metrics> {
        let embedded = Embedded::new(level, &self.heads, parameters, self.evaluation.data());
        self.evaluation.metrics(level, &embedded)
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.standardiser.to_tensors("input.")
    }

    fn inputs(&self) -> Option<&Inputs> {
        Some(&self.inputs)
    }

    fn warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        let count = std::mem::take(&mut self.degenerate);
        if count > 0 {
            warnings.push(format!(
                "{count} times the vectors of an item were dependent: their volume is 0 and teaches nothing"
            ));
        }
        warnings
    }
}
