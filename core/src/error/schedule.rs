//! What can be wrong with a schedule, with its state and with saved bytes.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

/// A buffer that cannot take what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EncodeError {
    /// The whole frame needs `need` bytes; the buffer has `have`.
    NoSpace {
        /// Bytes of the frame.
        need: usize,
        /// Bytes of the buffer.
        have: usize,
    },
}

impl Error for EncodeError {}

impl Display for EncodeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            EncodeError::NoSpace { need, have } => {
                write!(f, "the frame needs {need} bytes, the buffer has {have}")
            }
        }
    }
}

/// Bytes that are not a frame of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DecodeError {
    /// What is read needs `need` bytes, and `have` are left.
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// The bytes do not begin with the magic of this kind of frame.
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The frame was written in another format version.
    Version {
        /// The version of the frame.
        found: u32,
        /// The version that this code reads.
        version: u32,
    },
    /// The bytes changed since they were written.
    Checksum {
        /// The checksum in the frame.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

impl Error for DecodeError {}

impl Display for DecodeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            DecodeError::Truncated { need, have } => {
                write!(f, "truncated: {need} bytes needed, {have} there")
            }
            DecodeError::BadMagic { found } => {
                write!(f, "not a frame of this kind: it begins with {found:02x?}")
            }
            DecodeError::Version { found, version } => {
                write!(f, "format version {found}, this program reads {version}")
            }
            DecodeError::Checksum { stored, computed } => {
                write!(
                    f,
                    "damaged: checksum {stored:08x} stored, {computed:08x} found"
                )
            }
        }
    }
}

/// One of the three rates of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RateName {
    /// The rate that the warmup begins at.
    Init,
    /// The rate of the stable phase.
    Peak,
    /// The rate that decays end at.
    Floor,
}

impl Display for RateName {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            RateName::Init => "init",
            RateName::Peak => "peak",
            RateName::Floor => "floor",
        })
    }
}

/// A schedule that cannot be built. Rates are given as the nearest `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PlanError {
    /// A rate that is negative, infinite or NaN.
    Rate {
        /// Which rate.
        name: RateName,
        /// Its value.
        value: f32,
    },
    /// `init` or `floor` above the peak.
    AbovePeak {
        /// Which rate.
        name: RateName,
        /// Its value.
        value: f32,
        /// The peak.
        peak: f32,
    },
    /// A floor of 0 with a shape that divides by the floor.
    FloorZero {
        /// The shape's name.
        shape: &'static str,
    },
    /// A power or a number of half-lives that is not positive and finite.
    ShapeParameter {
        /// The shape's name.
        shape: &'static str,
        /// The parameter.
        value: f32,
    },
    /// A decay of more than the whole.
    Fraction {
        /// The fraction in millionths.
        millionths: u32,
    },
    /// Budget `index` does not lie above the one before it; the first has to lie above 0.
    BudgetOrder {
        /// The place in the list of budgets.
        index: usize,
        /// The budget before it, or 0.
        previous: u64,
        /// The budget.
        budget: u64,
    },
    /// Budget `index` is larger than 2⁶³.
    BudgetTooLarge {
        /// The place in the list of budgets.
        index: usize,
        /// The budget.
        budget: u64,
    },
    /// The warmup, or the re-warmup after an earlier budget, does not end before the decay of budget
    /// `index` begins.
    WarmupMeetsDecay {
        /// The place in the list of budgets.
        index: usize,
        /// The steps of the warmup.
        warmup: u64,
        /// The steps from the start of the warmup to the start of the decay.
        room: u64,
    },
}

impl Error for PlanError {}

impl Display for PlanError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PlanError::Rate { name, value } => {
                write!(
                    f,
                    "the {name} rate {value} is not a finite number from 0 up"
                )
            }
            PlanError::AbovePeak { name, value, peak } => {
                write!(f, "the {name} rate {value} lies above the peak {peak}")
            }
            PlanError::FloorZero { shape } => {
                write!(f, "the shape {shape} divides by the floor, which is 0")
            }
            PlanError::ShapeParameter { shape, value } => {
                write!(
                    f,
                    "the parameter {value} of the shape {shape} is not positive and finite"
                )
            }
            PlanError::Fraction { millionths } => {
                write!(f, "a decay of {millionths} millionths is more than all")
            }
            PlanError::BudgetOrder {
                index,
                previous,
                budget,
            } => {
                write!(f, "budget {index} ({budget}) does not lie above {previous}")
            }
            PlanError::BudgetTooLarge { index, budget } => {
                write!(f, "budget {index} ({budget}) is larger than 2^63")
            }
            PlanError::WarmupMeetsDecay {
                index,
                warmup,
                room,
            } => {
                write!(
                    f,
                    "a warmup of {warmup} steps, but the decay of budget {index} begins after {room}"
                )
            }
        }
    }
}

/// The part of a plan in which two plans differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PlanPart {
    /// Peak, floor and init, or the number type.
    Rates,
    /// Warmup and re-warmup: lengths and edges.
    Warmup,
    /// The decay: shape, length and edge; the stable phase; what comes after the last budget.
    Decay,
    /// The list of budgets.
    Budgets,
}

impl Display for PlanPart {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            PlanPart::Rates => "rates",
            PlanPart::Warmup => "warmup",
            PlanPart::Decay => "decay",
            PlanPart::Budgets => "budgets",
        })
    }
}

/// A saved schedule state that cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StateError {
    /// The bytes are no saved state.
    Decode(DecodeError),
    /// The state was saved under another plan.
    OtherPlan {
        /// The first part that differs.
        part: PlanPart,
        /// The saved plan's hash of that part.
        saved: u32,
        /// The given plan's.
        given: u32,
    },
    /// The saved phase is not one that the plan can have at the saved step.
    Phase {
        /// The saved step.
        step: u64,
    },
}

impl Error for StateError {}

impl From<DecodeError> for StateError {
    fn from(error: DecodeError) -> Self {
        StateError::Decode(error)
    }
}

impl Display for StateError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            StateError::Decode(error) => error.fmt(f),
            StateError::OtherPlan { part, saved, given } => {
                write!(
                    f,
                    "saved under a plan with other {part} (hash {saved:08x}, not {given:08x})"
                )
            }
            StateError::Phase { step } => {
                write!(f, "the saved phase does not fit the saved step {step}")
            }
        }
    }
}
