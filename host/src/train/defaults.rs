//! The settings of a run in which nothing was asked for.

use rivergram_core::schedule::Shape;

use super::beside::WeightKind;
use super::options::{
    AlignOptions, DecayKind, JobKind, JobOptions, LossKind, RunOptions, ScheduleKind,
    ScheduleOptions, SelectKind, Source, StripsOptions, Unit,
};

/// The weight of the pairwise cosines beside the symmetric loss.
pub const PAIRS: f32 = 0.3;

/// Tuples of a batch where none is asked for and the data have as many.
pub const BATCH: usize = 64;

/// Hidden units of the default heads.
pub const HIDDEN: usize = 128;

/// The noises of the default run.
pub const NOISES: [&str; 5] = [
    "shuffle:5",
    "repetition:0.3",
    "combined:0.2",
    "blank:0.5",
    "none",
];

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Updates between two saves of the latest checkpoint.
pub const SAVE_EVERY: u64 = 200;

impl ScheduleOptions {
    /// WSD-S with three budgets, as the prototype: floor 1% of the peak, decays of a tenth.
    pub fn align(hidden: usize) -> Self {
        ScheduleOptions {
            unit: Unit::Steps,
            kind: ScheduleKind::WsdS,
            decay: DecayKind(Shape::InverseProportional),
            decay_millionths: 100_000,
            peak: if hidden == 0 { 3e-3 } else { 2e-3 },
            floor: 0.01,
            warmup: 30,
            budgets: vec![600, 1000, 1500],
        }
    }

    /// 300 steps of cross-entropy, then 600 more of each loss.
    pub fn strips() -> Self {
        ScheduleOptions {
            decay: DecayKind(Shape::Linear),
            decay_millionths: 200_000,
            peak: 3e-3,
            warmup: 20,
            budgets: vec![300, 900],
            ..ScheduleOptions::align(0)
        }
    }

    /// A default number of first steps, made for these budgets, shortened where the first of others is shorter.
    pub fn fitted(&self, steps: u64, budgets: Option<&[u64]>) -> u64 {
        let first = |budgets: &[u64]| budgets.first().copied().unwrap_or(1);
        let usual = first(&self.budgets).max(1);
        let asked = budgets.map_or(usual, first);
        steps.saturating_mul(asked.min(usual)) / usual
    }
}

impl AlignOptions {
    /// A loss on some data, with the temperature and the extras that were chosen for it.
    pub fn new(source: Source, loss: LossKind, hidden: usize) -> Self {
        let volume = matches!(loss, LossKind::Gram | LossKind::GramSymmetric);
        AlignOptions {
            source,
            anchor: None,
            dim: 64,
            hidden,
            batch: None,
            loss,
            pairs: if loss == LossKind::GramSymmetric {
                PAIRS
            } else {
                0.0
            },
            temperature: loss.default_temperature(),
            label_smoothing: 0.1,
            warmup_cosine: if volume { 60 } else { 0 },
            unseen: 0,
            schedule: ScheduleOptions::align(hidden),
        }
    }
}

impl StripsOptions {
    /// 200 strips with a linear head, as the prototype.
    pub fn new(noise: &str) -> Self {
        StripsOptions {
            noise: noise.to_string(),
            count: 200,
            batch: 32,
            hidden: 0,
            ngrams: vec![(1, 1.0)],
            select: SelectKind::Detached,
            schedule: ScheduleOptions::strips(),
        }
    }
}

impl JobOptions {
    /// An alignment, named after its loss.
    pub fn align(options: AlignOptions, seed: u64) -> Self {
        let unseen = if options.unseen > 0 { "-unseen" } else { "" };
        JobOptions {
            name: format!("align-{}{unseen}", options.loss.name()),
            seed,
            kind: JobKind::Align(options),
            average: None,
            weights: WeightKind::F32,
        }
    }

    /// A transcription, named after its noise.
    pub fn strips(options: StripsOptions, seed: u64) -> Self {
        JobOptions {
            name: format!("strips-{}", options.noise.replace([':', '.'], "-")),
            seed,
            kind: JobKind::Strips(options),
            average: None,
            weights: WeightKind::F32,
        }
    }
}

impl RunOptions {
    /// The main job: the best of ours and the best baseline on the built-in numbers, ours once more with 20
    /// numbers left out, and a transcription head for each noise.
    pub fn demo(path: &str, seed: u64) -> Self {
        let align = |loss| AlignOptions::new(Source::Numbers, loss, HIDDEN);
        let mut unseen = AlignOptions {
            unseen: 20,
            ..align(LossKind::GramSymmetric)
        };
        unseen.schedule.budgets = vec![600];
        let mut jobs = vec![
            JobOptions::align(align(LossKind::GramSymmetric), seed),
            JobOptions::align(align(LossKind::CosinePairs), seed),
            JobOptions::align(unseen, seed),
        ];
        jobs.extend(NOISES.map(|noise| JobOptions::strips(StripsOptions::new(noise), seed)));
        RunOptions::new(path, jobs)
    }

    /// Some jobs.
    pub fn new(path: &str, jobs: Vec<JobOptions>) -> Self {
        RunOptions {
            version: VERSION.to_string(),
            path: path.to_string(),
            precision: None,
            jobs,
            save_every: SAVE_EVERY,
            files: Vec::new(),
            keep_budgets: None,
            crc32: 0,
        }
    }
}
