//! What can be wrong with an input of `gram`.

use core::fmt;

/// What is wrong with the input of a GRAM function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// A vector holds NaN or an infinity, or is so long that its square or a score of it leaves the range.
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
    /// The rows of a shard, or the targets of a rectangle, are none, or not all in the batch.
    Shard {
        /// The first of them.
        offset: usize,
        /// How many they are.
        rows: usize,
        /// Tuples of the batch, or items.
        all: usize,
    },
    /// The term needs other modalities of the anchors' tuples, and a rectangle has none: its term takes one
    /// anchor, number 0, and no pairs.
    OneAnchor,
    /// The temperature is not a positive finite number, or so near 0 that its inverse or a sum of scores over it leaves
    /// the range.
    Temperature,
    /// The label smoothing is not in \[0, 1\].
    LabelSmoothing,
    /// The weight of a term is negative or not finite.
    Weight,
    // Retrieval, negatives and related measures.
    /// No candidate has the id of this query.
    NoMatch {
        /// The index of the query.
        row: usize,
    },
    /// A list of best matches is in the wrong order for the measure.
    Order {
        /// The index of the anchor.
        row: usize,
    },
    /// A score is NaN or infinite, or leaves the range when divided by the temperature.
    Score {
        /// The row of the score.
        row: usize,
        /// Its column.
        column: usize,
    },
    // Vectors in eight bits.
    /// More dimensions than a sum of products of int8 in 32 bits can hold.
    Dimensions {
        /// The number that was given.
        d: usize,
        /// The largest.
        most: usize,
    },
    /// The scale of an int8 vector is negative or not finite.
    Scale {
        /// The plane of the vector, or its index in the tuple.
        modality: usize,
        /// The row in the batch.
        row: usize,
    },
    /// More vectors than a function keeps on the stack, or none.
    Vectors {
        /// The number that was given.
        k: usize,
        /// The largest.
        most: usize,
    },
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
                write!(
                    f,
                    "modality {modality}, row {row}: NaN, infinite or too long"
                )
            }
            Self::ZeroRow { modality, row } => write!(f, "modality {modality}, row {row}: zero"),
            Self::Anchor { anchor, k } => write!(f, "anchor {anchor} of {k} modalities"),
            Self::Shard { offset, rows, all } => {
                write!(f, "{rows} rows from row {offset} on, of a batch of {all}")
            }
            Self::OneAnchor => write!(
                f,
                "a rectangle takes a term with the one anchor 0, and no pairs"
            ),
            Self::Temperature => write!(
                f,
                "the temperature must be positive and finite, and not so near 0 that scores over it overflow"
            ),
            Self::LabelSmoothing => write!(f, "the label smoothing must be in [0, 1]"),
            Self::Weight => write!(f, "a weight must be finite and not negative"),
            Self::NoMatch { row } => write!(f, "query {row}: no candidate has its id"),
            Self::Order { row } => {
                write!(
                    f,
                    "anchor {row}: its best matches are kept in the other order"
                )
            }
            Self::Score { row, column } => write!(
                f,
                "score [{row}, {column}]: NaN, infinite or too large for the temperature"
            ),
            Self::Dimensions { d, most } => {
                write!(f, "d = {d}: sums of int8 products take at most {most}")
            }
            Self::Scale { modality, row } => write!(
                f,
                "modality {modality}, row {row}: its scale is negative or not finite"
            ),
            Self::Vectors { k, most } => write!(f, "{k} vectors where 1 to {most} are taken"),
        }
    }
}

impl core::error::Error for GramError {}
