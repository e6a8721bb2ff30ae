//! What happens to a learner: what arrives and when, when a release is asked for, and how it is measured.

use std::ops::Range;

use rivergram_core::head::Head;
use rivergram_simd::Level;

use super::{Release, StreamOptions};
use crate::data::numbers::arrivals;
use crate::data::sample::Sampler;
use crate::data::standardise::Standardiser;
use crate::data::{Dataset, Modality};
use crate::error::Result;
use crate::random::{Purpose, stream};
use crate::train::Metrics;
use crate::train::align;
use crate::train::evaluate::{Embedded, Evaluation};

/// The built-in data, the anchor first.
const ORDER: [&str; 3] = ["text", "image", "audio"];

/// A part of the data, standardised by the first part: a learner has seen no other when it begins.
struct Arrived {
    train: Dataset,
    sampler: Sampler,
    evaluation: Evaluation,
}

/// One stream.
pub(super) struct World {
    pub(super) heads: Vec<(String, Head)>,
    seed: u64,
    arrivals: Vec<Arrived>,
    /// The update before which each part arrives.
    starts: Vec<u64>,
    /// The update before which each release is asked for, and that after which it is given.
    pub(super) releases: Vec<Range<u64>>,
}

impl World {
    pub(super) fn new(options: &StreamOptions, seed: u64) -> Result<Self> {
        let mut standardiser = None;
        let mut heads = Vec::new();
        let mut all = Vec::new();
        for arrival in arrivals(seed, options.arrivals)? {
            let mut train = arrival.train.select("the built-in data", &ORDER)?;
            let mut test = arrival.test.select("the built-in data", &ORDER)?;
            if heads.is_empty() {
                heads = align::heads(&options.align(), &train);
            }
            let statistics = standardiser.get_or_insert_with(|| Standardiser::fit(&train, None));
            statistics.apply("the training data", &mut train)?;
            statistics.apply("the test data", &mut test)?;
            all.push(Arrived {
                sampler: Sampler::new("--batch", &train, options.batch)?,
                train,
                evaluation: Evaluation::new(test, None, Vec::new(), false),
            });
        }
        Ok(World {
            heads,
            seed,
            arrivals: all,
            starts: starts(options, seed),
            releases: releases(options, seed),
        })
    }

    /// The part that an update hears.
    fn arrival_at(&self, update: u64) -> usize {
        let arrived = self.starts.iter().filter(|start| **start <= update);
        arrived.count().saturating_sub(1)
    }

    /// What an update hears: items of different labels, each the features of all modalities and its label.
    pub(super) fn hear(&self, update: u64) -> Vec<Vec<f32>> {
        let Some(arrived) = self.arrivals.get(self.arrival_at(update)) else {
            return Vec::new();
        };
        let rows = arrived.sampler.batch(self.seed, update);
        rows.into_iter().map(|row| arrived.item(row)).collect()
    }

    /// Measures the weights of a release.
    pub(super) fn measure(&self, level: Level, update: u64, parameters: &[f32]) -> Result<Release> {
        let arrival = self.arrival_at(update.saturating_sub(1));
        let mut scores = Vec::new();
        for arrived in self.arrivals.iter().take(arrival + 1) {
            let evaluation = &arrived.evaluation;
            let embedded = Embedded::new(level, &self.heads, parameters, evaluation.data());
            scores.push(score(&evaluation.metrics(level, &embedded)?));
        }
        let new = scores.pop().unwrap_or_default();
        let old = scores.iter().sum::<f64>() / scores.len() as f64;
        Ok(Release {
            update,
            arrival,
            new,
            old: (!scores.is_empty()).then_some(old),
        })
    }
}

impl Arrived {
    fn item(&self, row: usize) -> Vec<f32> {
        let features = |modality: &Modality| modality.row(row).unwrap_or_default().to_vec();
        let label = self.train.labels.as_ref().and_then(|all| all.get(row));
        let mut item: Vec<f32> = self.train.modalities.iter().flat_map(features).collect();
        item.push(label.map_or(0.0, |label| *label as f32));
        item
    }
}

/// The updates of a stream: to its last release.
pub(super) fn end_of(releases: &[Range<u64>]) -> u64 {
    releases.last().map_or(0, |release| release.end)
}

/// The updates of the stream of a seed.
pub(super) fn updates(options: &StreamOptions, seed: u64) -> u64 {
    end_of(&releases(options, seed))
}

/// Each part arrives within a quarter of its share of the updates, before or after its turn; the first at once.
fn starts(options: &StreamOptions, seed: u64) -> Vec<u64> {
    let mut random = stream(seed, Purpose::Moment, 0);
    let share = options.updates as f64 / options.arrivals as f64;
    let mut late = |part: usize| match part {
        0 => 0.0,
        _ => 0.5 * random.unit() - 0.25,
    };
    let turns = (0..options.arrivals).map(|part| part as f64);
    let lates: Vec<f64> = (0..options.arrivals).map(&mut late).collect();
    let starts = turns.zip(lates);
    starts
        .map(|(turn, late)| ((turn + late) * share) as u64)
        .collect()
}

/// Each release is asked for at a moment of its stretch that leaves room for its decay, and for the warmup.
fn releases(options: &StreamOptions, seed: u64) -> Vec<Range<u64>> {
    let mut random = stream(seed, Purpose::Moment, 1);
    let stretch = options.stretch();
    let earliest = options.decay.max(options.warmup);
    let room = stretch.saturating_sub(earliest + options.decay);
    let mut ask = |release: u64| {
        let after = random.below(usize::try_from(room).unwrap_or(usize::MAX) + 1);
        let asked = release * stretch + earliest + after as u64;
        asked..asked + options.decay
    };
    (0..options.releases as u64).map(&mut ask).collect()
}

/// The mean of R@1 of each modality by the two others, ranked by distance, and of images by sounds.
fn score(metrics: &Metrics) -> f64 {
    let figures = [
        "text_to_image+audio_distance_r1",
        "image_to_text+audio_distance_r1",
        "audio_to_text+image_distance_r1",
        "image_to_audio_r1",
    ];
    let of = |name: &str| metrics.get(name).copied().unwrap_or_default();
    figures.iter().map(|name| of(name)).sum::<f64>() / figures.len() as f64
}
