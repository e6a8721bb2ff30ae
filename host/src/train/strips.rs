//! Transcription of strips of handwritten digits from noisy labels: cross-entropy first, then cross-entropy
//! going on against the n-gram loss.

use rivergram_core::eisl::{self, IGNORE, Select};
use rivergram_core::head::Head;
use rivergram_core::optim::Optimizer;
use rivergram_core::trainer::{Setup, Trainer};
use rivergram_simd::Level;

use super::event::Metrics;
use super::inputs::Inputs;
use super::job::{Done, Task, refused};
use super::options::{ScheduleOptions, SelectKind, StripsOptions, Unit};
use crate::data::noise::{NoiseKind, TOKENS};
use crate::data::strips::{DIM, LENGTH, Split, Strip, make};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::random::{Purpose, stream};
use crate::schedule::{self, Leg};
use crate::store::Tensor;

/// Strips that the head is tested on; they are the same for every seed.
const TEST_STRIPS: usize = 300;
const TEST_SEED: u64 = 999;

/// The legs' names.
const CROSS_ENTROPY: &str = "cross-entropy";
const CROSS_ENTROPY_ON: &str = "cross-entropy-on";
const EISL: &str = "eisl";

/// Digits, without the token of blanks.
const DIGITS: usize = 10;

/// The first budget ends the cross-entropy part; from there both continuations go to the last budget.
///
/// # Errors
/// As [`schedule::legs`]; fewer than two budgets.
pub(super) fn legs(options: &ScheduleOptions) -> Result<Vec<Leg<'_>>> {
    let all = schedule::legs(options)?;
    let budgets: Vec<Leg<'_>> = all.into_iter().filter(|leg| leg.budget).collect();
    let [first, .., last] = budgets.as_slice() else {
        let problem =
            "strips need two: the end of cross-entropy alone, and the end of both continuations";
        return Err(Error::flag("--budgets", problem));
    };
    let common = Leg {
        name: CROSS_ENTROPY.to_string(),
        start: 0,
        ..first.clone()
    };
    let continuation = |name: &str| Leg {
        name: name.to_string(),
        start: common.end,
        from: Some(common.save_as.clone()),
        save_as: format!("{name}-{:06}.safetensors", last.end),
        ..last.clone()
    };
    let (ce, eisl) = (continuation(CROSS_ENTROPY_ON), continuation(EISL));
    Ok(vec![common, ce, eisl])
}

/// Strips side by side, padded to the longest.
struct Batch {
    x: Vec<f32>,
    lengths: Vec<usize>,
    targets: Vec<i32>,
    shape: eisl::Shape,
}

pub(super) struct Strips {
    options: StripsOptions,
    seed: u64,
    heads: Vec<(String, Head)>,
    orders: Vec<(usize, f32)>,
    train: Vec<Strip>,
    labels: Vec<Vec<u8>>,
    test: Vec<Strip>,
    longest_label: usize,
}

impl Strips {
    pub(super) fn new(options: &StripsOptions, seed: u64) -> Result<Self> {
        let noise = NoiseKind::parse(&options.noise)?;
        let train = make(Split::Train, options.count, seed)?;
        if options.batch == 0 || options.batch > train.len() {
            let problem = format!("a batch of {} from {} strips", options.batch, train.len());
            return Err(Error::flag("--batch", problem));
        }
        let labels: Vec<Vec<u8>> = train
            .iter()
            .zip(0..)
            .map(|(strip, index)| noise.apply_to(&strip.digits, seed, index))
            .collect();
        let longest_label = labels.iter().map(Vec::len).max().unwrap_or_default();
        let head = Head {
            input: DIM,
            hidden: options.hidden,
            output: TOKENS,
            normalise: false,
        };
        let strips = Strips {
            options: options.clone(),
            seed,
            heads: vec![("transcriber".to_string(), head)],
            orders: options.ngrams.clone(),
            train,
            labels,
            test: make(Split::Test, TEST_STRIPS, TEST_SEED)?,
            longest_label,
        };
        strips.check_orders()?;
        Ok(strips)
    }

    fn check_orders(&self) -> Result<()> {
        let shortest = *LENGTH.start();
        if self.orders.is_empty() {
            return Err(Error::flag("--ngrams", "none given: at least one expected"));
        }
        match self.orders.iter().find(|(n, _)| *n == 0 || *n > shortest) {
            Some((n, _)) => {
                let problem = format!(
                    "order {n}: 1 to {shortest} expected, the length of the shortest strip"
                );
                Err(Error::flag("--ngrams", problem))
            }
            None => Ok(()),
        }
    }

    fn config(&self, leg: &str) -> eisl::Config<'_, f32> {
        if leg != EISL {
            return eisl::Config::cross_entropy(0.0);
        }
        let select = match self.options.select {
            SelectKind::Softmax => Select::Softmax,
            SelectKind::Detached => Select::Detached,
            SelectKind::Logsumexp => Select::LogSumExp,
        };
        eisl::Config {
            select,
            ..eisl::Config::new(&self.orders)
        }
    }

    fn shape(&self, batch: usize) -> eisl::Shape {
        eisl::Shape {
            batch,
            positions: *LENGTH.end(),
            targets: self.longest_label,
            vocabulary: TOKENS,
        }
    }

    fn batch(&self, step: u64) -> Batch {
        let mut random = stream(self.seed, Purpose::Batch, step);
        let chosen = random.distinct(self.train.len(), self.options.batch);
        let shape = self.shape(chosen.len());
        let (x, lengths) = pad(chosen.iter().filter_map(|row| self.train.get(*row)));
        let mut targets = Vec::with_capacity(chosen.len() * shape.targets);
        for label in chosen.iter().filter_map(|row| self.labels.get(*row)) {
            let padding = shape.targets.saturating_sub(label.len());
            targets.extend(label.iter().map(|token| i32::from(*token)));
            targets.extend(std::iter::repeat_n(IGNORE, padding));
        }
        Batch {
            x,
            lengths,
            targets,
            shape,
        }
    }
}

/// The pixels of strips, padded with zeros to the longest possible, and their lengths.
fn pad<'a>(strips: impl Iterator<Item = &'a Strip>) -> (Vec<f32>, Vec<usize>) {
    let (mut x, mut lengths) = (Vec::new(), Vec::new());
    for strip in strips {
        let end = x.len() + LENGTH.end() * DIM;
        x.extend_from_slice(&strip.pixels);
        x.resize(end, 0.0);
        lengths.push(strip.digits.len());
    }
    (x, lengths)
}

impl Task for Strips {
    fn heads(&self) -> &[(String, Head)] {
        &self.heads
    }

    fn optimizer(&self) -> Optimizer<f32> {
        Optimizer::adamw()
    }

    fn workspace_len(&self, setup: &Setup<'_, f32>) -> usize {
        let batch = eisl::Batch::new(self.shape(self.options.batch), &[]);
        setup.transcribe_workspace_len(&self.config(EISL), &batch)
    }

    fn step(
        &mut self,
        engine: &Engine,
        trainer: &mut Trainer<'_, f32>,
        leg: &str,
        step: u64,
    ) -> Result<Done> {
        let batch = self.batch(step);
        let labels = eisl::Batch {
            output_lens: Some(&batch.lengths),
            ..eisl::Batch::new(batch.shape, &batch.targets)
        };
        let (step, _) = engine
            .transcribe(trainer, &self.config(leg), &labels, &batch.x)
            .map_err(refused)?;
        let tokens = batch.targets.iter().filter(|token| **token != IGNORE);
        Ok(Done {
            loss: step.loss,
            samples: batch.shape.batch as u64,
            // A batch of empty labels counts too, or it would never end.
            tokens: (tokens.count() as u64).max(1),
        })
    }

    fn units(&self, unit: Unit) -> Result<f64> {
        let tokens: usize = self.labels.iter().map(|label| label.len()).sum();
        let mean = tokens as f64 / self.labels.len().max(1) as f64;
        Ok(match unit {
            Unit::Steps => 1.0,
            Unit::Samples => self.options.batch as f64,
            Unit::Tokens => (self.options.batch as f64 * mean).max(1.0),
        })
    }

    /// The share of digits of clean test strips that are read wrongly.
    fn evaluate(&self, level: Level, parameters: &[f32]) -> Result<Metrics> {
        let (x, lengths) = pad(self.test.iter());
        let Some((_, head)) = self.heads.first() else {
            return Ok(Metrics::new());
        };
        let rows = x.len() / DIM;
        let mut logits = vec![0.0; rows * TOKENS];
        let mut cache = vec![0.0; head.cache_len(rows)];
        level.head(head, parameters, &x, &mut logits, &mut cache);
        let (mut wrong, mut count) = (0_usize, 0_usize);
        let outputs = logits.chunks_exact(LENGTH.end() * TOKENS);
        for ((strip, logits), length) in self.test.iter().zip(outputs).zip(lengths) {
            for (digit, logits) in strip.digits.iter().zip(logits.chunks_exact(TOKENS)) {
                let read = logits
                    .iter()
                    .take(DIGITS)
                    .enumerate()
                    .max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i)));
                wrong += usize::from(read.is_none_or(|(read, _)| read != usize::from(*digit)));
            }
            count += length;
        }
        let error = wrong as f64 / count.max(1) as f64;
        Ok(Metrics::from([("digit_error".to_string(), error)]))
    }

    fn tensors(&self) -> Vec<Tensor> {
        Vec::new()
    }

    fn inputs(&self) -> Option<&Inputs> {
        None
    }

    fn warnings(&mut self) -> Vec<String> {
        Vec::new()
    }
}
