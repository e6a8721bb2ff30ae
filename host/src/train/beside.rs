//! What goes along with a training: an average of its weights, which changes nothing of it, and weights in 16 bits.

use rivergram_core::error::OptimError;
use rivergram_core::lanes::One;
use rivergram_core::optim::average::{Ema, Lawa, RunningMean, Start};
use rivergram_core::optim::rounding::Half;
use rivergram_core::trainer::{Average, Rounded, Trainer};
use rivergram_simd::Level;
use serde::{Deserialize, Serialize};

use super::options::{JobOptions, ScheduleKind};
use crate::error::{Error, Result};
use crate::random::{Purpose, stream};

/// An average of the weights of the stable phase; see [`rivergram_core::optim::average`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AverageKind {
    /// Exponential, of this decay constant.
    Ema(f32),
    /// Of every update.
    Mean,
    /// Of the latest copies.
    Lawa {
        /// How many.
        copies: usize,
        /// Updates between two of them.
        every: u64,
    },
}

impl AverageKind {
    /// What can be written on the command line.
    pub const LABELS: &str = "ema:B, mean, lawa:K, lawa:K:UPDATES";

    /// Reads `ema:0.99`, `mean`, `lawa:5` or `lawa:5:20`.
    ///
    /// # Errors
    /// Anything else, a decay constant outside of 0 ≤ β < 1, no copies; what can be written is listed.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        let kind = match words.as_slice() {
            ["ema", beta] => beta.parse().ok().map(AverageKind::Ema),
            ["mean"] => Some(AverageKind::Mean),
            ["lawa", copies] => lawa(copies, "1"),
            ["lawa", copies, every] => lawa(copies, every),
            _ => None,
        };
        kind.filter(|kind| kind.to_core().is_ok()).ok_or_else(|| {
            format!(
                "{} expected, B from 0 to below 1, K and UPDATES above 0",
                Self::LABELS
            )
        })
    }

    /// Of no updates.
    fn to_core(self) -> std::result::Result<Average<f32>, OptimError> {
        Ok(match self {
            AverageKind::Ema(beta) => Average::Ema(Ema::with_decay(beta, Start::Unbiased)?),
            AverageKind::Mean => Average::Mean(RunningMean::new()),
            AverageKind::Lawa { copies, every } => Average::Lawa(Lawa::new(copies, every)?),
        })
    }
}

fn lawa(copies: &str, every: &str) -> Option<AverageKind> {
    let (copies, every) = (copies.parse().ok()?, every.parse().ok()?);
    Some(AverageKind::Lawa { copies, every })
}

impl TryFrom<String> for AverageKind {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<AverageKind> for String {
    fn from(kind: AverageKind) -> Self {
        match kind {
            AverageKind::Ema(beta) => format!("ema:{beta}"),
            AverageKind::Mean => "mean".to_string(),
            AverageKind::Lawa { copies, every: 1 } => format!("lawa:{copies}"),
            AverageKind::Lawa { copies, every } => format!("lawa:{copies}:{every}"),
        }
    }
}

/// How the weights are kept between updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightKind {
    /// In single precision.
    #[default]
    F32,
    /// IEEE 754 binary16, rounded stochastically after each update.
    F16,
    /// bfloat16, rounded stochastically after each update.
    Bf16,
}

impl WeightKind {
    /// All, in the order of the help text.
    pub const ALL: [WeightKind; 3] = [WeightKind::F32, WeightKind::F16, WeightKind::Bf16];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WeightKind::F32 => "f32",
            WeightKind::F16 => "f16",
            WeightKind::Bf16 => "bf16",
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == WeightKind::default()
    }

    fn half(self) -> Option<Half> {
        match self {
            WeightKind::F32 => None,
            WeightKind::F16 => Some(Half::F16),
            WeightKind::Bf16 => Some(Half::Bf16),
        }
    }
}

/// The memory of both.
pub(super) struct Beside {
    kind: WeightKind,
    average: Option<(Average<f32>, Vec<f32>)>,
    /// The weights in 16 bits.
    stored: Vec<u16>,
    seed: u64,
    is_told: bool,
}

/// The updates that an average has seen, and its numbers.
pub(super) type Averaged<'a> = (u64, &'a [f32]);

fn of_average(e: OptimError) -> Error {
    Error::flag("--average", e)
}

fn of_rounding(e: OptimError) -> Error {
    Error::flag("--weights", e)
}

impl Beside {
    /// For so many weights.
    ///
    /// # Errors
    /// An average for a schedule that has no stable phase.
    pub(super) fn new(options: &JobOptions, weights: usize) -> Result<Self> {
        let schedule = options.schedule().kind;
        let is_stable = !matches!(schedule, ScheduleKind::Cosine | ScheduleKind::Cyclic);
        let average = match options.average {
            Some(_) if !is_stable => {
                let problem = format!(
                    "{} has no stable phase to average over: wsd-s, wsd or constant expected",
                    schedule.name()
                );
                return Err(Error::flag("--average", problem));
            }
            Some(kind) => {
                let average = kind.to_core().map_err(of_average)?;
                let numbers = vec![0.0; average.storage_len(weights)];
                Some((average, numbers))
            }
            None => None,
        };
        let stored = match options.weights.half() {
            Some(_) => vec![0; weights],
            None => Vec::new(),
        };
        Ok(Beside {
            kind: options.weights,
            average,
            stored,
            seed: options.seed,
            is_told: false,
        })
    }

    /// Rounds weights that were just initialised; those of a checkpoint are rounded already.
    pub(super) fn begin(&mut self, trainer: &mut Trainer<'_, f32>) -> Result<()> {
        let Some(half) = self.kind.half() else {
            return Ok(());
        };
        let stored = half.store_nearest(trainer.parameters(), &mut self.stored);
        stored
            .and_then(|()| trainer.widen(half, &self.stored))
            .map_err(of_rounding)
    }

    /// After an update at a rate: rounds the weights, and takes them into the average. A warning, once.
    pub(super) fn update(
        &mut self,
        level: Level,
        trainer: &mut Trainer<'_, f32>,
        (update, rate): (u64, f32),
    ) -> Result<Option<String>> {
        let mut warning = None;
        if let Some(half) = self.kind.half() {
            let mut random = stream(self.seed, Purpose::Rounding, update);
            let rounded = trainer.round(half, &mut self.stored, rate, || random.bits() as u32);
            warning = self.warning(&rounded.map_err(of_rounding)?, update);
        }
        if let Some((average, numbers)) = &mut self.average {
            let taken = level.average(trainer, average, numbers);
            taken.map_err(of_average)?;
        }
        Ok(warning)
    }

    fn warning(&mut self, rounded: &Rounded, update: u64) -> Option<String> {
        if self.is_told || !rounded.warns() {
            return None;
        }
        self.is_told = true;
        Some(format!(
            "--weights {}: at update {update} the floor of the schedule times the direction is below half an ulp for \
             {} of {} weights that moved: a higher --floor, or f32, is advised",
            self.kind.name(),
            rounded.lost_at_floor,
            rounded.moved
        ))
    }

    /// The averaged weights; nothing where none were averaged.
    pub(super) fn release(&self, weights: usize) -> Result<Option<Vec<f32>>> {
        let Some((average, numbers)) = &self.average else {
            return Ok(None);
        };
        let mut release = vec![0.0; weights];
        let is_there = average.read(One::new(), numbers, &mut release);
        Ok(is_there.map_err(of_average)?.then_some(release))
    }

    /// What of the average is saved.
    pub(super) fn averaged(&self) -> Option<Averaged<'_>> {
        let (average, numbers) = self.average.as_ref()?;
        Some((average.updates(), numbers))
    }

    /// Takes up what was saved.
    pub(super) fn restore(&mut self, (updates, saved): Averaged<'_>) {
        if let Some((average, numbers)) = &mut self.average {
            *average = average.after(updates);
            numbers.clear();
            numbers.extend_from_slice(saved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_read_as_they_are_written() {
        for (text, kind) in [
            ("ema:0.99", AverageKind::Ema(0.99)),
            ("ema:0", AverageKind::Ema(0.0)),
            ("mean", AverageKind::Mean),
            (
                "lawa:5",
                AverageKind::Lawa {
                    copies: 5,
                    every: 1,
                },
            ),
            (
                "lawa:5:20",
                AverageKind::Lawa {
                    copies: 5,
                    every: 20,
                },
            ),
        ] {
            assert_eq!(AverageKind::parse(text), Ok(kind));
            assert_eq!(String::from(kind), text);
        }
        for text in [
            "",
            "ema",
            "ema:1",
            "ema:-0.1",
            "ema:x",
            "ema:nan",
            "mean:1",
            "lawa",
            "lawa:0",
            "lawa:2:0",
            "lawa:2:3:4",
            "swa",
        ] {
            let problem = AverageKind::parse(text).expect_err(text);
            assert!(problem.contains(AverageKind::LABELS), "{problem}");
        }
    }
}
