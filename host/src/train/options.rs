//! Everything that decides a run: what `config.json` in its folder holds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rivergram_core::gram::contrastive::{Anchor, Term};
use rivergram_core::schedule::Shape;
use serde::{Deserialize, Serialize};

use super::beside::{AverageKind, WeightKind};
use crate::error::{Error, Result};

/// What is aligned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The built-in numbers 0 to 99.
    Numbers,
    /// A safetensors file with one tensor per modality, and one to evaluate on.
    Safetensors {
        /// `--data`.
        train: PathBuf,
        /// `--test`; without it the training data are evaluated.
        test: Option<PathBuf>,
    },
    /// One `.npy` file per modality: `--modality NAME=FILE`, in this order.
    Npy(Vec<(String, PathBuf)>),
}

/// Which contrastive loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// The paper's: the volume with one anchor.
    Gram,
    /// The volume with each modality in turn as the anchor.
    GramSymmetric,
    /// Baseline: the cosine of the anchor with each other modality.
    Cosine,
    /// Baseline: the cosines of all pairs.
    CosinePairs,
}

impl LossKind {
    /// All, in the order of the help text.
    pub const ALL: [LossKind; 4] = [
        LossKind::Gram,
        LossKind::GramSymmetric,
        LossKind::Cosine,
        LossKind::CosinePairs,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LossKind::Gram => "gram",
            LossKind::GramSymmetric => "gram-symmetric",
            LossKind::Cosine => "cosine",
            LossKind::CosinePairs => "cosine-pairs",
        }
    }

    /// What core contrasts.
    pub fn term(self, anchor: usize) -> Term {
        match self {
            LossKind::Gram => Term::Volume(Anchor::One(anchor)),
            LossKind::GramSymmetric => Term::Volume(Anchor::Each),
            LossKind::Cosine => Term::Cosine(Anchor::One(anchor)),
            LossKind::CosinePairs => Term::Cosine(Anchor::Each),
        }
    }

    /// The temperature that `rivergram tune` chose on held-out training voices: 128 hidden units, 600 steps,
    /// three seeds, 0.03 to 0.6.
    pub fn default_temperature(self) -> f32 {
        match self {
            LossKind::Gram => 0.05,
            LossKind::GramSymmetric => 0.07,
            LossKind::Cosine | LossKind::CosinePairs => 0.25,
        }
    }
}

/// Which schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// One branch: decays before each budget, and goes on from the decayed weights.
    WsdS,
    /// A constant main branch; each budget decays on a branch that is thrown away.
    Wsd,
    /// One cosine over the whole run.
    Cosine,
    /// One cosine per budget.
    Cyclic,
    /// Warmup, then the peak.
    Constant,
}

impl ScheduleKind {
    /// All, in the order of the help text.
    pub const ALL: [ScheduleKind; 5] = [
        ScheduleKind::WsdS,
        ScheduleKind::Wsd,
        ScheduleKind::Cosine,
        ScheduleKind::Cyclic,
        ScheduleKind::Constant,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::WsdS => "wsd-s",
            ScheduleKind::Wsd => "wsd",
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Cyclic => "cyclic",
            ScheduleKind::Constant => "constant",
        }
    }
}

/// The shape of the decays of WSD and WSD-S; see [`Shape`], which has the names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecayKind(pub Shape<f32>);

impl DecayKind {
    /// All, in the order of the help text; parameters are to be replaced.
    pub const ALL: [DecayKind; 10] = [
        DecayKind(Shape::InverseProportional),
        DecayKind(Shape::Linear),
        DecayKind(Shape::Cosine),
        DecayKind(Shape::OneMinusSqrt),
        DecayKind(Shape::OneMinusSquare),
        DecayKind(Shape::Geometric),
        DecayKind(Shape::InverseSqrt),
        DecayKind(Shape::Exponential),
        DecayKind(Shape::Polynomial { power: 2.0 }),
        DecayKind(Shape::HalfLife { half_lives: 6.0 }),
    ];

    /// As in the help text: `linear`, `polynomial:P`.
    pub fn label(self) -> String {
        let parameter = match self.0 {
            Shape::Polynomial { .. } => ":P",
            Shape::HalfLife { .. } => ":H",
            _ => "",
        };
        format!("{}{parameter}", self.0.name())
    }

    /// Reads what is written on the command line and in configurations: `linear`, `polynomial:2`.
    ///
    /// # Errors
    /// An unknown name, a parameter that is missing, not expected or no positive number; the names are listed.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let number = parameter.map(|text| text.parse().unwrap_or(f32::NAN));
        let known = Self::ALL.into_iter().find(|kind| kind.0.name() == name);
        let shape = match (known.map(|kind| kind.0), number) {
            (Some(Shape::Polynomial { .. }), Some(power)) => Some(Shape::Polynomial { power }),
            (Some(Shape::HalfLife { .. }), Some(half_lives)) => {
                Some(Shape::HalfLife { half_lives })
            }
            (Some(Shape::Polynomial { .. } | Shape::HalfLife { .. }), None) | (_, Some(_)) => None,
            (shape, None) => shape,
        };
        let sound = number.is_none_or(|x| x > 0.0 && x.is_finite());
        shape.filter(|_| sound).map(DecayKind).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.into_iter().map(Self::label).collect();
            format!("{} expected, P and H above 0", known.join(", "))
        })
    }
}

impl TryFrom<String> for DecayKind {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<DecayKind> for String {
    fn from(kind: DecayKind) -> Self {
        match kind.0 {
            Shape::Polynomial { power: x } | Shape::HalfLife { half_lives: x } => {
                format!("{}:{x}", kind.0.name())
            }
            shape => shape.name().to_string(),
        }
    }
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Updates.
    #[default]
    Steps,
    /// Items of the batches.
    Samples,
    /// Tokens of the labels, of which no two batches have the same number.
    Tokens,
}

impl Unit {
    /// All, in the order of the help text.
    pub const ALL: [Unit; 3] = [Unit::Steps, Unit::Samples, Unit::Tokens];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Steps => "steps",
            Unit::Samples => "samples",
            Unit::Tokens => "tokens",
        }
    }
}

/// When the rate is what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleOptions {
    /// What budgets and warmup are counted in.
    #[serde(default)]
    pub unit: Unit,
    /// Which schedule.
    pub kind: ScheduleKind,
    /// The shape of the decays of WSD and WSD-S.
    pub decay: DecayKind,
    /// The length of a decay in millionths of its budget.
    pub decay_millionths: u32,
    /// The largest rate.
    pub peak: f32,
    /// The smallest rate as a part of the peak, in (0, 1].
    pub floor: f32,
    /// Warmup steps.
    pub warmup: u64,
    /// Steps after which a decayed checkpoint is wanted, ascending.
    pub budgets: Vec<u64>,
}

impl ScheduleOptions {
    /// Appends budgets to a run that did not know of them and whose present budget ends at `end`.
    ///
    /// # Errors
    /// Budgets that do not lie above all others and, but in branches, beyond the end; a schedule whose earlier rates
    /// depend on its end.
    pub(super) fn add_budgets(&mut self, more: &[u64], end: u64) -> Result<()> {
        if self.kind == ScheduleKind::Cosine {
            let problem = "the rates of a cosine depend on its end: no budget can be added to it";
            return Err(Error::flag("--add-budgets", problem));
        }
        for &budget in more {
            if budget <= end && self.kind != ScheduleKind::Wsd {
                let problem = format!("{budget}: more than {end}, where the run ends, expected");
                return Err(Error::flag("--add-budgets", problem));
            }
            match self.budgets.last() {
                Some(&last) if budget <= last => {
                    let problem = format!("{budget}: more than {last}, the last budget, expected");
                    return Err(Error::flag("--add-budgets", problem));
                }
                _ => self.budgets.push(budget),
            }
        }
        Ok(())
    }
}

/// One alignment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlignOptions {
    /// What is aligned.
    pub source: Source,
    /// The anchor's name; `None` is `text` where there is one, else the first modality.
    pub anchor: Option<String>,
    /// Dimensions of the shared space.
    pub dim: usize,
    /// Hidden units of each head; 0 for linear heads.
    pub hidden: usize,
    /// Tuples of a batch; `None` is [`super::defaults::BATCH`], or as many as the data allow.
    pub batch: Option<usize>,
    /// Which loss.
    pub loss: LossKind,
    /// The weight of the cosines of all pairs beside the loss.
    pub pairs: f32,
    /// τ.
    pub temperature: f32,
    /// ε.
    pub label_smoothing: f32,
    /// Steps of the loss `cosine` before the loss itself, so that the signs agree.
    pub warmup_cosine: u64,
    /// How many numbers of the built-in data are left out of the training, to be evaluated on; 0 for none.
    pub unseen: usize,
    /// The schedule.
    pub schedule: ScheduleOptions,
}

/// How the n-gram loss selects; see [`rivergram_core::eisl::Select`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectKind {
    /// The paper's.
    Softmax,
    /// The same value, the selection held constant in the gradient.
    Detached,
    /// The exact log of the expected number of matches.
    Logsumexp,
}

impl SelectKind {
    /// All, in the order of the help text.
    pub const ALL: [SelectKind; 3] = [
        SelectKind::Softmax,
        SelectKind::Detached,
        SelectKind::Logsumexp,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            SelectKind::Softmax => "softmax",
            SelectKind::Detached => "detached",
            SelectKind::Logsumexp => "logsumexp",
        }
    }
}

/// One transcription head on strips of handwritten digits: cross-entropy first, then both ways on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StripsOptions {
    /// The noise of the transcriptions, as on the command line: `shuffle:5`.
    pub noise: String,
    /// Training strips.
    pub count: usize,
    /// Strips of a batch.
    pub batch: usize,
    /// Hidden units; 0 for a linear head.
    pub hidden: usize,
    /// The orders of the n-gram loss and their weights.
    pub ngrams: Vec<(usize, f32)>,
    /// How it selects.
    pub select: SelectKind,
    /// The schedule: the first budget ends the cross-entropy part, the last one both continuations.
    pub schedule: ScheduleOptions,
}

/// What one job trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Heads of several modalities.
    Align(AlignOptions),
    /// A transcription head.
    Strips(StripsOptions),
}

/// One model, or one group of models with a common start, with a folder of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobOptions {
    /// Its name, and that of its folder where the run has several jobs.
    pub name: String,
    /// Decides weights, batches and noise.
    pub seed: u64,
    /// What it trains.
    pub kind: JobKind,
    /// An average of the weights, evaluated and saved beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageKind>,
    /// How the weights are kept.
    #[serde(default, skip_serializing_if = "WeightKind::is_default")]
    pub weights: WeightKind,
}

/// A file that a run reads, so that it never goes on with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// The CRC-32 of its bytes.
    pub crc32: u32,
}

impl DataFile {
    fn of(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::unreadable(path, &e);
        let mut file = File::open(path).map_err(failed)?;
        let (mut crc, mut part) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
        loop {
            let n = file.read(&mut part).map_err(failed)?;
            if n == 0 {
                break;
            }
            crc.update(part.get(..n).unwrap_or_default());
        }
        let (path, crc32) = (path.to_owned(), crc.finalize());
        Ok(DataFile { path, crc32 })
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The version of this program.
    pub version: String,
    /// The path that the run began on.
    pub path: String,
    /// How precise its products were, by name, where they were not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// The jobs; the first alignment is the one that the summary is about.
    pub jobs: Vec<JobOptions>,
    /// Updates between two saves of the latest checkpoint.
    pub save_every: u64,
    /// The data files of the jobs; [`super::run`] fills them in.
    pub files: Vec<DataFile>,
    /// How many budgets of a job keep their checkpoints, and how many releases, the oldest going first; all where there
    /// is none.
    #[serde(default)]
    pub keep_budgets: Option<usize>,
    /// The CRC-32 of all of this, in JSON and with 0 in this place.
    #[serde(default)]
    pub crc32: u32,
}

impl RunOptions {
    /// With the data files as they are now.
    pub(super) fn with_files(mut self) -> Result<Self> {
        let mut paths: Vec<&Path> = self.jobs.iter().flat_map(JobOptions::files).collect();
        paths.sort_unstable();
        paths.dedup();
        self.files = paths.into_iter().map(DataFile::of).collect::<Result<_>>()?;
        Ok(self)
    }

    /// With the checksum of what it says.
    pub(super) fn sealed(mut self) -> Result<Self> {
        self.crc32 = self.checksum()?;
        Ok(self)
    }

    /// Refuses what is not as it was sealed; `file` holds it.
    pub(super) fn check_seal(&self, file: &Path) -> Result<()> {
        let found = self.checksum()?;
        if found == self.crc32 {
            return Ok(());
        }
        let problem = format!(
            "damaged or edited: its checksum is {found:08x}, and it states {:08x}",
            self.crc32
        );
        Err(Error::file(file, problem))
    }

    fn checksum(&self) -> Result<u32> {
        let bare = RunOptions {
            crc32: 0,
            ..self.clone()
        };
        let text = serde_json::to_vec(&bare).map_err(|e| Error::input("the configuration", e))?;
        Ok(crc32fast::hash(&text))
    }

    /// Refuses data files that are not those of [`RunOptions::with_files`].
    pub(super) fn check_files(&self) -> Result<()> {
        for file in &self.files {
            if DataFile::of(&file.path)? != *file {
                let problem = "is not the file that this run began with";
                return Err(Error::file(&file.path, problem));
            }
        }
        Ok(())
    }
}

impl JobOptions {
    /// The schedule of what it trains.
    pub(super) fn schedule(&self) -> &ScheduleOptions {
        match &self.kind {
            JobKind::Align(align) => &align.schedule,
            JobKind::Strips(strips) => &strips.schedule,
        }
    }

    fn files(&self) -> Vec<&Path> {
        let JobKind::Align(align) = &self.kind else {
            return Vec::new();
        };
        match &align.source {
            Source::Numbers => Vec::new(),
            Source::Safetensors { train, test } => {
                let files = std::iter::once(train).chain(test);
                files.map(PathBuf::as_path).collect()
            }
            Source::Npy(files) => files.iter().map(|(_, file)| file.as_path()).collect(),
        }
    }
}
