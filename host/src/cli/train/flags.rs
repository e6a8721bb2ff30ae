//! The flags of `train`.

use std::path::PathBuf;

use clap::Args;
use rivergram::train::{
    AverageKind, DecayKind, LossKind, ScheduleKind, SelectKind, Unit, WeightKind,
};

use crate::cli::machine::MachineFlags;
use crate::cli::value::{self, Budgets, Ngrams};

/// All flags; groups are told apart because which group is used decides what is trained.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) align: AlignFlags,
    #[command(flatten)]
    pub(crate) strips: StripsFlags,
    #[command(flatten)]
    pub(crate) training: TrainingFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
}

/// What only an alignment has; one of these selects an alignment.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Alignment (any of these trains one alignment)")]
pub(crate) struct AlignFlags {
    /// Train on this .safetensors file: one [N, D] tensor per modality, named
    /// after it, in the order of the names; and labels [N], if there are any
    #[arg(long, verbatim_doc_comment, value_name = "FILE", value_parser = value::path(), conflicts_with = "modality")]
    pub(crate) data: Option<PathBuf>,
    /// Evaluate on this file (default: on the training data)
    #[arg(long, value_name = "FILE", value_parser = value::path())]
    pub(crate) test: Option<PathBuf>,
    /// Train on one .npy file [N, D] per modality; repeat it for each, in the
    /// order in which they are to be used
    #[arg(long, verbatim_doc_comment, value_name = "NAME=FILE.npy")]
    pub(crate) modality: Vec<String>,
    /// The anchor's name (default: text, else the first modality)
    #[arg(long, value_name = "NAME")]
    pub(crate) anchor: Option<String>,
    /// Dimensions of the shared space (default: 64)
    #[arg(long, value_name = "N", value_parser = value::size)]
    pub(crate) dim: Option<usize>,
    #[arg(long, help = value::list("What is minimised (default: gram-symmetric)", &LossKind::ALL, LossKind::name), hide_possible_values = true, value_parser = value::named(&LossKind::ALL, LossKind::name))]
    pub(crate) loss: Option<LossKind>,
    /// Weight of the cosines of all pairs beside the loss (default: 0.3 with
    /// gram-symmetric, else 0)
    #[arg(long, verbatim_doc_comment, value_name = "WEIGHT", value_parser = value::not_negative)]
    pub(crate) pairs: Option<f32>,
    /// Steps of the loss "cosine" before the loss itself (default: 60 before
    /// gram and gram-symmetric, fewer in short runs; else 0)
    #[arg(long, verbatim_doc_comment, value_name = "STEPS", value_parser = value::steps_or_none)]
    pub(crate) warmup_cosine: Option<u64>,
    /// The temperature of the loss (default: gram 0.05, gram-symmetric 0.07,
    /// cosine and cosine-pairs 0.25; see "rivergram tune")
    #[arg(long, verbatim_doc_comment, value_name = "T", value_parser = value::positive)]
    pub(crate) tau: Option<f32>,
    /// Label smoothing of the loss (default: 0.1)
    #[arg(long, value_name = "E", value_parser = value::number(|e: &f32| (0.0..1.0).contains(e), "a number from 0 to below 1"))]
    pub(crate) label_smoothing: Option<f32>,
    /// Built-in data: leave so many numbers out, to evaluate on them too (default: 0)
    #[arg(long, value_name = "N", conflicts_with_all = ["data", "modality"], value_parser = value::number(|n: &usize| *n < 100, "a number from 0 to 99"))]
    pub(crate) unseen: Option<usize>,
}

/// What only a transcription has; one of these selects transcriptions.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(
    next_help_heading = "Strips of digits, transcribed (any of these trains one head per noise)"
)]
pub(crate) struct StripsFlags {
    /// Noise of the transcriptions: none, shuffle:K, shuffle:all,
    /// repetition:P, blank:B, combined:D; one or more, with commas (default:
    /// the five of the main job)
    #[arg(
        long,
        verbatim_doc_comment,
        value_name = "KIND:LEVEL",
        value_delimiter = ','
    )]
    pub(crate) noise: Vec<String>,
    /// Orders of the n-gram loss, with weights: 1 or 1:0.8,2:0.2 (default: 1)
    #[arg(long, value_name = "N[:W],…", value_parser = value::ngrams)]
    pub(crate) ngrams: Option<Ngrams>,
    #[arg(long, help = value::list("How the n-gram loss selects (default: detached)", &SelectKind::ALL, SelectKind::name), hide_possible_values = true, value_parser = value::named(&SelectKind::ALL, SelectKind::name))]
    pub(crate) select: Option<SelectKind>,
}

/// What alignments and transcriptions both have; alone these select an alignment.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(
    next_help_heading = "Heads and schedule (for what the flags above select, else one alignment)"
)]
pub(crate) struct TrainingFlags {
    /// Hidden units of each head; 0: linear (default: 128; strips: 0)
    #[arg(long, value_name = "N", value_parser = value::size_or_none)]
    pub(crate) hidden: Option<usize>,
    /// Items of a batch (default: 64, or as many rows or different labels as
    /// there are; strips: 32)
    #[arg(long, verbatim_doc_comment, value_name = "N", value_parser = value::size)]
    pub(crate) batch: Option<usize>,
    /// Steps, or what --unit says, of the run: a single budget (default: see --budgets)
    #[arg(long, value_name = "N", value_parser = value::steps, conflicts_with = "budgets")]
    pub(crate) steps: Option<u64>,
    /// Steps, or what --unit says, at which decayed checkpoints are wanted
    /// (default: 600,1000,1500); strips: cross-entropy ends at the first, all ends at the last (300,900)
    #[arg(long, verbatim_doc_comment, value_name = "N,…", value_parser = value::budgets)]
    pub(crate) budgets: Option<Budgets>,
    #[arg(long, help = value::list("The schedule of the learning rate (default: wsd-s)", &ScheduleKind::ALL, ScheduleKind::name), hide_possible_values = true, value_parser = value::named(&ScheduleKind::ALL, ScheduleKind::name))]
    pub(crate) schedule: Option<ScheduleKind>,
    #[arg(long, help = value::list("The decays of wsd-s and wsd (default: inverse-proportional; strips: linear)", &DecayKind::ALL, DecayKind::label), value_name = "SHAPE", value_parser = DecayKind::parse)]
    pub(crate) decay: Option<DecayKind>,
    /// The part of a budget that decays (default: 0.1; strips: 0.2)
    #[arg(long, value_name = "PART", value_parser = value::number(|p: &f64| (1e-6..=1.0).contains(p), "a part above 0 and at most 1"))]
    pub(crate) decay_fraction: Option<f64>,
    /// The largest learning rate (default: 2e-3; linear heads, strips: 3e-3)
    #[arg(long, value_name = "RATE", value_parser = value::positive)]
    pub(crate) lr: Option<f32>,
    /// The smallest learning rate, as a part of the largest (default: 0.01)
    #[arg(long, value_name = "PART", value_parser = value::number(|p: &f32| *p > 0.0 && *p <= 1.0, "a part above 0 and at most 1"))]
    pub(crate) floor: Option<f32>,
    #[arg(long, help = value::list("What budgets and warmup are counted in (default: steps)", &Unit::ALL, Unit::name), hide_possible_values = true, value_parser = value::named(&Unit::ALL, Unit::name))]
    pub(crate) unit: Option<Unit>,
    /// Evaluate and save an average of the stable phase beside the weights:
    /// ema:B (B to the power of the age), mean, lawa:K (the latest K), lawa:K:N
    /// (N updates between two) (default: none)
    #[arg(long, verbatim_doc_comment, value_name = "KIND", value_parser = AverageKind::parse)]
    pub(crate) average: Option<AverageKind>,
    #[arg(long, help = value::list("How weights are kept; in 16 bits they are rounded stochastically (default: f32)", &WeightKind::ALL, WeightKind::name), hide_possible_values = true, value_parser = value::named(&WeightKind::ALL, WeightKind::name))]
    pub(crate) weights: Option<WeightKind>,
    /// Warmup, in steps or what --unit says (default: 30; strips: 20; fewer for short runs)
    #[arg(long, value_name = "STEPS", value_parser = value::steps_or_none)]
    pub(crate) warmup: Option<u64>,
}

/// Where a run is kept, and what is drawn at random.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunFlags {
    /// Decides weights, batches and noise (default: 0)
    #[arg(long, value_name = "N", value_parser = value::number(|_: &u64| true, "a whole number"))]
    pub(crate) seed: Option<u64>,
    /// The run folder, a new one (default: the next of runs/001, runs/002, …)
    #[arg(long, value_name = "DIR", value_parser = value::path())]
    pub(crate) out: Option<PathBuf>,
    /// Updates between two saves of the latest checkpoint (default: 200)
    #[arg(long, value_name = "N", value_parser = value::steps)]
    pub(crate) save_every: Option<u64>,
    /// Keep the checkpoints of the last N budgets, and of the last N releases, only (default: of all)
    #[arg(long, value_name = "N", value_parser = value::size)]
    pub(crate) keep_budgets: Option<usize>,
    /// With --resume: budgets that the run did not know of, after its last (default: none)
    #[arg(long, value_name = "N,…", requires = "resume", value_parser = value::budgets)]
    pub(crate) add_budgets: Option<Budgets>,
    /// Go on with the run of this folder, bit for bit as if never stopped (default: a new run)
    #[arg(long, value_name = "DIR", value_parser = value::path())]
    pub(crate) resume: Option<PathBuf>,
}
