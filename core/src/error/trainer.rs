//! What can be wrong with a training step, or with the storage of a trainer.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

use super::{DecodeError, EislError, EncodeError, GramError, StateError};

/// A buffer of a trainer, in [`TrainError::Storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TrainBuffer {
    /// The parameters of all heads.
    Parameters,
    /// Their gradient.
    Gradient,
    /// The optimizer's state.
    Moments,
    /// What one step needs besides.
    Workspace,
    /// The inputs of a head.
    Input {
        /// Which head.
        head: usize,
    },
}

/// What is wrong with a training step. After an error nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrainError {
    /// A head without inputs or without outputs.
    EmptyHead {
        /// Which head.
        head: usize,
    },
    /// A head whose outputs do not fit the others', or the vocabulary.
    Output {
        /// Which head.
        head: usize,
        /// What its neighbours, or the batch, have.
        need: usize,
        /// Its outputs.
        have: usize,
    },
    /// A head that normalises where logits are needed.
    Normalised {
        /// Which head.
        head: usize,
    },
    /// A number of the optimizer that is out of its range.
    Optimizer,
    /// A norm to clip to that is negative or NaN.
    Clip,
    /// A step for another number of heads.
    Heads {
        /// Heads that the step is for.
        need: usize,
        /// Heads of the trainer.
        have: usize,
    },
    /// A buffer of the wrong length.
    Storage {
        /// Which one.
        buffer: TrainBuffer,
        /// The length that the sizes ask for.
        need: usize,
        /// The length that was given.
        have: usize,
    },
    /// A number that is NaN or infinite, of those that a trainer is to take over.
    Value {
        /// Which buffer it was meant for.
        buffer: TrainBuffer,
        /// Its place there.
        index: usize,
    },
    /// The loss, the gradient or the rate is NaN or infinite: no update was made.
    NotFinite {
        /// Updates made so far.
        updates: u64,
    },
    /// The vectors or the options of the GRAM loss; a vector is an output of the head that its modality is.
    Gram(GramError),
    /// The batch or the options of the sequence loss.
    Eisl(EislError),
    /// Saved bytes of another trainer: other heads, another optimizer or norm to clip to.
    OtherTrainer,
    /// Saved bytes that cannot be read.
    Decode(DecodeError),
    /// Saved bytes of another schedule.
    State(StateError),
    /// A buffer that is too short to save into.
    Encode(EncodeError),
}

impl From<GramError> for TrainError {
    fn from(e: GramError) -> Self {
        TrainError::Gram(e)
    }
}

impl From<EislError> for TrainError {
    fn from(e: EislError) -> Self {
        TrainError::Eisl(e)
    }
}

impl From<DecodeError> for TrainError {
    fn from(e: DecodeError) -> Self {
        TrainError::Decode(e)
    }
}

impl From<EncodeError> for TrainError {
    fn from(e: EncodeError) -> Self {
        TrainError::Encode(e)
    }
}

impl From<StateError> for TrainError {
    fn from(e: StateError) -> Self {
        TrainError::State(e)
    }
}

impl Display for TrainBuffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Parameters => write!(f, "parameters"),
            Self::Gradient => write!(f, "gradient"),
            Self::Moments => write!(f, "moments"),
            Self::Workspace => write!(f, "workspace"),
            Self::Input { head } => {
                write!(
                    f,
                    "inputs of head {head}, without rows outside of their table"
                )
            }
        }
    }
}

impl Display for TrainError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::EmptyHead { head } => write!(f, "head {head}: no size may be 0"),
            Self::Output { head, need, have } => {
                write!(f, "head {head} has {have} outputs where {need} are needed")
            }
            Self::Normalised { head } => {
                write!(
                    f,
                    "head {head} normalises its outputs, which are to be logits"
                )
            }
            Self::Optimizer => write!(f, "a number of the optimizer is out of its range"),
            Self::Clip => write!(f, "the norm to clip to is negative or not a number"),
            Self::Heads { need, have } => {
                write!(f, "a step for {need} heads on a trainer of {have}")
            }
            Self::Storage { buffer, need, have } => {
                write!(f, "{buffer}: {have} numbers where {need} are needed")
            }
            Self::Value { buffer, index } => {
                write!(f, "{buffer}: number {index} is not finite")
            }
            Self::NotFinite { updates } => {
                write!(
                    f,
                    "after {updates} updates the loss or its gradient is not finite"
                )
            }
            Self::Gram(e) => e.fmt(f),
            Self::Eisl(e) => e.fmt(f),
            Self::OtherTrainer => write!(f, "saved by a trainer of another setup"),
            Self::Decode(e) => e.fmt(f),
            Self::State(e) => e.fmt(f),
            Self::Encode(e) => e.fmt(f),
        }
    }
}

impl Error for TrainError {}
