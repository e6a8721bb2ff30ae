//! What can be wrong with an input: small enums that name the index or the size that broke the rule.

use core::fmt;

/// What is wrong with the input of a GRAM function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GramError {
    /// A size is 0.
    Empty {
        /// Vectors per tuple.
        k: usize,
        /// Tuples.
        rows: usize,
        /// Dimensions.
        d: usize,
    },
    /// More than the batch functions take, or fewer than two.
    Arity {
        /// Vectors per tuple.
        k: usize,
    },
    /// A buffer has the wrong length.
    BufferSize {
        /// The length that the sizes ask for.
        need: usize,
        /// The length that was given.
        have: usize,
    },
    /// The workspace is too short; a `workspace_len` function tells its length.
    Workspace {
        /// The least length.
        need: usize,
        /// The length that was given.
        have: usize,
    },
    /// A vector holds NaN or an infinity.
    NotFinite {
        /// The plane of the vector, or its index in the tuple.
        modality: usize,
        /// The row in the batch.
        row: usize,
    },
    /// A vector is zero, and the policy calls that an error.
    ZeroRow {
        /// The plane of the vector.
        modality: usize,
        /// The row in the batch.
        row: usize,
    },
    /// The anchor is none of the modalities.
    Anchor {
        /// The index that was given.
        anchor: usize,
        /// The number of modalities.
        k: usize,
    },
    /// The temperature is not a positive finite number.
    Temperature,
    /// The label smoothing is not in [0, 1).
    LabelSmoothing,
    /// The weight of a term is negative or not finite.
    Weight,
}

impl fmt::Display for GramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty { k, rows, d } => {
                write!(f, "k = {k}, rows = {rows}, d = {d}: no size may be 0")
            }
            Self::Arity { k } => write!(f, "k = {k}: a batch takes 2 to 8 modalities"),
            Self::BufferSize { need, have } => {
                write!(
                    f,
                    "a buffer of {have} numbers where the sizes ask for {need}"
                )
            }
            Self::Workspace { need, have } => {
                write!(f, "a workspace of {have} numbers where {need} are needed")
            }
            Self::NotFinite { modality, row } => {
                write!(f, "modality {modality}, row {row}: NaN or infinite")
            }
            Self::ZeroRow { modality, row } => write!(f, "modality {modality}, row {row}: zero"),
            Self::Anchor { anchor, k } => write!(f, "anchor {anchor} of {k} modalities"),
            Self::Temperature => write!(f, "the temperature must be positive and finite"),
            Self::LabelSmoothing => write!(f, "the label smoothing must be in [0, 1)"),
            Self::Weight => write!(f, "a weight must be finite and not negative"),
        }
    }
}

impl core::error::Error for GramError {}

/// A buffer of the sequence loss, in [`EislError::Length`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EislBuffer {
    /// The logits or log-probabilities, B·T·V.
    Input,
    /// The gradient, B·T·V.
    Gradient,
    /// The labels, B·U.
    Targets,
    /// The target lengths, B.
    TargetLens,
    /// The output lengths, B.
    OutputLens,
    /// The noise, `noise_len`.
    Noise,
    /// The loss of each order, one per order.
    PerOrder,
    /// The loss of each row and order, B times the orders.
    PerRow,
    /// The workspace; longer is fine.
    Workspace,
}

/// What can be wrong with the input of the sequence loss and of cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The clamp is +∞ or NaN.
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
    /// A label that is neither in the vocabulary nor padding.
    Token {
        /// The batch row.
        row: usize,
        /// The target position.
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

impl fmt::Display for EislBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EislBuffer::Input => "input",
            EislBuffer::Gradient => "gradient",
            EislBuffer::Targets => "targets",
            EislBuffer::TargetLens => "target lengths",
            EislBuffer::OutputLens => "output lengths",
            EislBuffer::Noise => "noise",
            EislBuffer::PerOrder => "losses per order",
            EislBuffer::PerRow => "losses per row",
            EislBuffer::Workspace => "workspace",
        })
    }
}

impl fmt::Display for EislError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            EislError::Clamp => f.write_str("the clamp is not a number below infinity"),
            EislError::Factor => f.write_str("a factor of the loss is not finite"),
            EislError::LabelSmoothing => f.write_str("the label smoothing is outside [0, 1]"),
            EislError::Noise { index } => write!(f, "noise value {index} is not finite"),
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

impl core::error::Error for EislError {}
