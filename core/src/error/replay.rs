//! What can be wrong with a reservoir of samples.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

use super::{DecodeError, EncodeError};

/// What is wrong with a reservoir. After an error nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReplayError {
    /// A reservoir without room for a sample.
    Capacity,
    /// A buffer that is not as long as all samples together.
    Length {
        /// The length that the capacity and the sample ask for.
        need: usize,
        /// The length that was given.
        have: usize,
    },
    /// Saved bytes of a reservoir of another seed, capacity or length, or of samples of another type.
    OtherReservoir,
    /// Saved bytes that cannot be read.
    Decode(DecodeError),
    /// A buffer that is too short to save into.
    Encode(EncodeError),
}

impl From<DecodeError> for ReplayError {
    fn from(e: DecodeError) -> Self {
        ReplayError::Decode(e)
    }
}

impl From<EncodeError> for ReplayError {
    fn from(e: EncodeError) -> Self {
        ReplayError::Encode(e)
    }
}

impl Display for ReplayError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Self::Capacity => write!(f, "a reservoir of 0 samples: at least 1 expected"),
            Self::Length { need, have } => {
                write!(f, "{have} numbers where the samples need {need}")
            }
            Self::OtherReservoir => write!(f, "saved by another reservoir"),
            Self::Decode(e) => e.fmt(f),
            Self::Encode(e) => e.fmt(f),
        }
    }
}

impl Error for ReplayError {}
