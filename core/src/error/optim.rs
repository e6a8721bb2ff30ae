//! What can be wrong with an average of the weights, or with weights in 16 bits.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

use super::{DecodeError, EncodeError};

/// What is wrong with an average of the weights, or with weights in 16 bits. After an error nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OptimError {
    /// A decay constant that is not in \[0, 1), as the nearest `f32`.
    Decay {
        /// Its value.
        value: f32,
    },
    /// A half-life that is not positive and finite, or too long for the number type, as the nearest `f32`.
    HalfLife {
        /// Its value.
        value: f32,
    },
    /// A window of no copies, or with copies taken every 0 updates.
    Window {
        /// Copies.
        copies: usize,
        /// Updates between two of them.
        every: u64,
    },
    /// A slice of the wrong length.
    Length {
        /// The length that the other slices ask for.
        need: usize,
        /// The length that was given.
        have: usize,
    },
    /// A weight, beyond the largest number of a format of 16 bits.
    TooLarge {
        /// Which one.
        index: usize,
    },
    /// Saved bytes of another kind of average, of other settings, of another number type or of another length.
    OtherAverage,
    /// Saved bytes that cannot be read.
    Decode(DecodeError),
    /// A buffer that is too short to save into.
    Encode(EncodeError),
}

impl From<DecodeError> for OptimError {
    fn from(e: DecodeError) -> Self {
        OptimError::Decode(e)
    }
}

impl From<EncodeError> for OptimError {
    fn from(e: EncodeError) -> Self {
        OptimError::Encode(e)
    }
}

impl Display for OptimError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Decay { value } => {
                write!(f, "a decay constant of {value}: at least 0 and below 1")
            }
            Self::HalfLife { value } => {
                write!(
                    f,
                    "a half-life of {value} updates: positive, and not so long that nothing is ever forgotten"
                )
            }
            Self::Window { copies, every } => {
                write!(
                    f,
                    "a window of {copies} copies, one every {every} updates: both at least 1"
                )
            }
            Self::Length { need, have } => {
                write!(f, "{have} numbers where {need} are needed")
            }
            Self::TooLarge { index } => {
                write!(f, "weight {index} is too large for 16 bits")
            }
            Self::OtherAverage => write!(f, "saved by an average of another setup"),
            Self::Decode(e) => e.fmt(f),
            Self::Encode(e) => e.fmt(f),
        }
    }
}

impl Error for OptimError {}
