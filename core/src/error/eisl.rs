//! What can be wrong with an input of the sequence loss.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

/// A buffer of the sequence loss, in [`EislError::Length`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EislBuffer {
    /// The logits or log-probabilities, B·T·V.
    Input,
    /// The gradient, B·T·V.
    Gradient,
    /// The labels, B·R·U with R references, B·U with one.
    Targets,
    /// The target lengths, B·R.
    TargetLens,
    /// The output lengths, B.
    OutputLens,
    /// The noise, `noise_len`.
    Noise,
    /// The numbers of references, B.
    References,
    /// The references for cross-entropy, B.
    CeReferences,
    /// The derivatives that a reduction is given: B, orders, or B times the orders.
    Upstream,
    /// The derivatives for cross-entropy, B.
    CeUpstream,
    /// The loss of each order, one per order.
    PerOrder,
    /// The loss of each row and order, B times the orders.
    PerRow,
    /// The weighted loss of each row, B.
    Rows,
    /// The cross-entropy of each row, B.
    CePerRow,
    /// The chosen reference of each row, B.
    Chosen,
    /// The workspace; longer is fine.
    Workspace,
}

/// What can be wrong with the input of the sequence loss and of cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EislError {
    /// A buffer has the wrong length.
    Length {
        /// Which one.
        buffer: EislBuffer,
        /// The length that the shape asks for.
        expected: usize,
        /// The length it has.
        got: usize,
    },
    /// The product of the sizes does not fit a `usize`.
    TooLarge,
    /// The vocabulary has no token.
    EmptyVocabulary,
    /// The list of orders is empty.
    NoOrders,
    /// An n-gram of no tokens.
    ZeroOrder {
        /// Its place in the list of orders.
        index: usize,
    },
    /// The weight of an order is infinite or NaN.
    Weight {
        /// Its place in the list of orders.
        index: usize,
    },
    /// The temperature is not a positive normal number.
    Temperature,
    /// The clamp is NaN, or not below 0, where all scores would be equal.
    Clamp,
    /// `ngram_factor` or `ce_factor` is infinite or NaN.
    Factor,
    /// The label smoothing is outside \[0, 1\].
    LabelSmoothing,
    /// A noise value is infinite or NaN.
    Noise {
        /// Its place in the noise.
        index: usize,
    },
    /// A derivative that a reduction is given is infinite or NaN.
    Upstream {
        /// Its place in the buffer.
        index: usize,
    },
    /// A derivative for cross-entropy is infinite or NaN.
    CeUpstream {
        /// Its place in the buffer.
        index: usize,
    },
    /// More references than there are places for.
    References {
        /// The batch row.
        row: usize,
        /// The number given.
        count: usize,
    },
    /// A reference for cross-entropy that the row does not have.
    CeReference {
        /// The batch row.
        row: usize,
        /// The reference given.
        index: usize,
    },
    /// Bags of n-grams with pads that score 0, which is the probability 1.
    BagPadding,
    /// A target length beyond U.
    TargetLen {
        /// The batch row.
        row: usize,
        /// The length given.
        len: usize,
    },
    /// An output length beyond T.
    OutputLen {
        /// The batch row.
        row: usize,
        /// The length given.
        len: usize,
    },
    /// A label that is neither in the vocabulary nor padding, which −100 is not where pads are tokens.
    Token {
        /// The batch row.
        row: usize,
        /// The target position; in reference r of several it is r·U + the position.
        column: usize,
        /// The label.
        id: i32,
    },
    /// An input is NaN.
    Nan {
        /// The batch row.
        row: usize,
        /// The output position.
        position: usize,
        /// The vocabulary entry.
        column: usize,
    },
    /// An input is +∞.
    Infinite {
        /// The batch row.
        row: usize,
        /// The output position.
        position: usize,
        /// The vocabulary entry.
        column: usize,
    },
    /// Every input of a position is −∞: no token has a probability.
    NoProbability {
        /// The batch row.
        row: usize,
        /// The output position.
        position: usize,
    },
}

impl Display for EislBuffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            EislBuffer::Input => "input",
            EislBuffer::Gradient => "gradient",
            EislBuffer::Targets => "targets",
            EislBuffer::TargetLens => "target lengths",
            EislBuffer::OutputLens => "output lengths",
            EislBuffer::Noise => "noise",
            EislBuffer::References => "numbers of references",
            EislBuffer::CeReferences => "references for cross-entropy",
            EislBuffer::Upstream => "derivatives by the losses",
            EislBuffer::CeUpstream => "derivatives by the cross-entropies",
            EislBuffer::PerOrder => "losses per order",
            EislBuffer::PerRow => "losses per row",
            EislBuffer::Rows => "weighted losses per row",
            EislBuffer::CePerRow => "cross-entropies per row",
            EislBuffer::Chosen => "chosen references",
            EislBuffer::Workspace => "workspace",
        })
    }
}

impl Display for EislError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            EislError::Length {
                buffer,
                expected,
                got,
            } => write!(f, "{buffer}: {got} values where {expected} are needed"),
            EislError::TooLarge => f.write_str("the product of the sizes is too large"),
            EislError::EmptyVocabulary => f.write_str("the vocabulary is empty"),
            EislError::NoOrders => f.write_str("the list of orders is empty"),
            EislError::ZeroOrder { index } => write!(f, "order {index} of the list is 0"),
            EislError::Weight { index } => write!(f, "weight {index} of the orders is not finite"),
            EislError::Temperature => f.write_str("the temperature is not a positive number"),
            EislError::Clamp => f.write_str("the clamp is not a number below 0"),
            EislError::Factor => f.write_str("a factor of the loss is not finite"),
            EislError::LabelSmoothing => f.write_str("the label smoothing is outside [0, 1]"),
            EislError::Noise { index } => write!(f, "noise value {index} is not finite"),
            EislError::Upstream { index } => {
                write!(f, "derivative {index} by the losses is not finite")
            }
            EislError::CeUpstream { index } => {
                write!(f, "derivative {index} by the cross-entropies is not finite")
            }
            EislError::References { row, count } => {
                write!(f, "row {row}: no room for {count} references")
            }
            EislError::CeReference { row, index } => {
                write!(f, "row {row}: no reference {index} for cross-entropy")
            }
            EislError::BagPadding => {
                f.write_str("pads that score 0 have no place in a bag of n-grams")
            }
            EislError::TargetLen { row, len } => {
                write!(f, "row {row}: target length {len} is too large")
            }
            EislError::OutputLen { row, len } => {
                write!(f, "row {row}: output length {len} is too large")
            }
            EislError::Token { row, column, id } => {
                write!(
                    f,
                    "row {row}, target {column}: no token {id} in the vocabulary"
                )
            }
            EislError::Nan {
                row,
                position,
                column,
            } => write!(f, "row {row}, position {position}, entry {column} is NaN"),
            EislError::Infinite {
                row,
                position,
                column,
            } => write!(
                f,
                "row {row}, position {position}, entry {column} is infinite"
            ),
            EislError::NoProbability { row, position } => {
                write!(f, "row {row}, position {position}: every entry is -inf")
            }
        }
    }
}

impl Error for EislError {}
