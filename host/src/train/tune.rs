//! How the default temperatures were chosen: on training voices that are held out, never on test data.

use serde::Serialize;

use super::align::{Align, Parts};
use super::event::{Event, Metrics};
use super::run::in_order;
use super::{Context, job};

use super::options::{AlignOptions, LossKind, Source};

use crate::error::Result;
use crate::schedule;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneOptions {
    /// The losses, each with its default extras.
    pub losses: Vec<LossKind>,
    /// The temperatures.
    pub temperatures: Vec<f32>,
    /// Hidden units of each head.
    pub hidden: usize,
    /// Updates of each run.
    pub steps: u64,
    /// Runs of each pair, with seeds from `seed` on.
    pub seeds: u64,
    /// Training voices that are evaluated on instead of being trained on.
    pub held_out_voices: usize,
    /// The first seed.
    pub seed: u64,
}

/// What a loss reached at a temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneRow {
    /// The loss.
    pub loss: LossKind,
    /// τ.
    pub temperature: f32,
    /// The weight of the pairwise cosines beside it.
    pub pairs: f32,
    /// The mean over seeds and query modalities of R@1 by the ranking that suits the modality best.
    pub score: f64,
    /// Of the mean over seeds.
    pub standard_error: f64,
    /// All figures, means over seeds.
    pub metrics: Metrics,
    /// Whether this is the best temperature of its loss.
    pub best: bool,
}

/// All rows, in the order of the options.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneReport {
    /// One per loss and temperature.
    pub rows: Vec<TuneRow>,
}

/// Trains every loss at every temperature and compares them on the held-out voices.
///
/// # Errors
/// Options that do not fit.
pub fn run(options: &TuneOptions, context: &Context<'_>) -> Result<TuneReport> {
    let pairs: Vec<(LossKind, f32)> = options
        .losses
        .iter()
        .flat_map(|loss| options.temperatures.iter().map(|tau| (*loss, *tau)))
        .collect();
    let rows = in_order(&pairs, context.threads, |(loss, tau)| {
        row(options, *loss, *tau, context)
    })?;
    let mut rows: Vec<TuneRow> = rows.into_iter().collect::<Result<_>>()?;
    for loss in &options.losses {
        let of_loss = rows.iter_mut().filter(|row| row.loss == *loss);
        if let Some(best) = of_loss.max_by(|a, b| a.score.total_cmp(&b.score)) {
            best.best = true;
        }
    }
    Ok(TuneReport { rows })
}

fn row(options: &TuneOptions, loss: LossKind, tau: f32, context: &Context<'_>) -> Result<TuneRow> {
    let mut align = AlignOptions::new(Source::Numbers, loss, options.hidden);
    align.temperature = tau;
    let budgets = vec![options.steps];
    let usual = &align.schedule;
    align.warmup_cosine = usual.fitted(align.warmup_cosine, Some(&budgets));
    align.schedule.warmup = usual.fitted(usual.warmup, Some(&budgets));
    align.schedule.budgets = budgets;
    let legs = schedule::legs(&align.schedule)?;
    let runs: Vec<Metrics> = (options.seed..options.seed.saturating_add(options.seeds.max(1)))
        .map(|seed| {
            let mut task = Align::with_data(&align, seed, parts(options, seed)?)?;
            job::run_in_memory(&mut task, &legs, seed, context.engine)
        })
        .collect::<Result<_>>()?;
    let count = runs.len() as f64;
    let scores: Vec<f64> = runs.iter().map(score).collect();
    let mean = scores.iter().sum::<f64>() / count;
    let spread: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let mut metrics = Metrics::new();
    for (name, value) in runs.iter().flatten() {
        *metrics.entry(name.clone()).or_default() += value / count;
    }
    (context.observe)(Event::Note {
        message: format!("{} at τ = {tau}: {:.1}", loss.name(), 100.0 * mean),
    });
    Ok(TuneRow {
        loss,
        temperature: tau,
        pairs: align.pairs,
        score: mean,
        standard_error: (spread / (count - 1.0).max(1.0) / count).sqrt(),
        metrics,
        best: false,
    })
}

/// The training data without some voices, and those voices.
#[cfg(feature = "demo-data")]
fn parts(options: &TuneOptions, seed: u64) -> Result<Parts> {
    use crate::data::numbers;
    let (train, test) = numbers::train_split(seed, options.held_out_voices)?;
    let order = ["text", "image", "audio"];
    Ok(Parts {
        train: train.select("the built-in data", &order)?,
        test: test.select("the built-in data", &order)?,
        unseen: Vec::new(),
        numbers: true,
    })
}

#[cfg(not(feature = "demo-data"))]
fn parts(_: &TuneOptions, _: u64) -> Result<Parts> {
    Err(super::no_demo_data())
}

/// The mean of R@1 over the three queries, each by its best ranking, and of image→audio by cosine.
fn score(metrics: &Metrics) -> f64 {
    let of = |name: &str| metrics.get(name).copied().unwrap_or_default();
    let queries = [
        "text_to_image+audio",
        "image_to_text+audio",
        "audio_to_text+image",
    ];
    let best = |query: &str| {
        ["", "_distance", "_cosine"]
            .iter()
            .map(|ranking| of(&format!("{query}{ranking}_r1")))
            .fold(0.0, f64::max)
    };
    (queries.iter().map(|query| best(query)).sum::<f64>() + of("image_to_audio_r1")) / 4.0
}
