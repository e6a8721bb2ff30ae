//! What a caller decides: orders, weights, selection, masking and the shape of a batch.

use crate::lanes::Real;

/// The label that is padding in every mode, as in PyTorch and Hugging Face.
pub const IGNORE: i32 = -100;

/// How the loss of a target n-gram is made from its scores t at all output positions j.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Σ_j q·t with q = softmax_j((t + noise)/τ), the gradient flowing through q: the paper's.
    Softmax,
    /// The same value, q held constant in the gradient: no coefficient changes its sign.
    Detached,
    /// ln Σ_j exp(n·t): the exact log of the expected number of matches.
    LogSumExp,
    /// The mean over positions.
    Mean,
    /// The best position; of equals the first.
    Max,
}

/// What becomes of padding in the n-gram part. In the cross-entropy part it is always left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Row b uses its first `output_lens[b]` outputs and its own targets. A −100 inside the targets is
    /// no token: the n-grams that contain it are left out.
    Mask,
    /// A label that is the pad id or −100 scores 0 at every position; nothing is shortened.
    Zero,
    /// Pads are ordinary tokens; nothing is shortened.
    None,
}

/// What the input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Any numbers: a softmax over V is part of the loss and of its gradient.
    Logits,
    /// ln p, normalised by the caller; the gradient is with respect to them.
    LogProbs,
}

/// The loss: total = `ngram_factor` · Σ wₙ·Lₙ + `ce_factor` · CE.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a, T> {
    /// The pairs (n, wₙ), in any order; the weights need not sum to 1.
    pub orders: &'a [(usize, T)],
    /// The reduction over output positions.
    pub select: Select,
    /// τ of the softmax over positions; positive. The other selections do not use it.
    pub temperature: T,
    /// ln p is raised to at least this, with gradient 0 at and below it.
    pub clamp: Option<T>,
    /// What becomes of padding.
    pub padding: Padding,
    /// A label that means padding, besides −100.
    pub pad_id: Option<i32>,
    /// Logits or log-probabilities.
    pub input: Input,
    /// The factor of the n-gram loss; at 0 that part is not computed and is reported as 0.
    pub ngram_factor: T,
    /// The factor of cross-entropy; at 0 that part is not computed and is reported as 0.
    pub ce_factor: T,
    /// ε of the cross-entropy, in \[0, 1\].
    pub label_smoothing: T,
}

impl<'a, T: Real> Config<'a, T> {
    /// The n-gram loss over logits with masking and the paper's settings: softmax selection at τ = 1,
    /// clamp −20.
    pub fn new(orders: &'a [(usize, T)]) -> Self {
        Config {
            orders,
            select: Select::Softmax,
            temperature: T::ONE,
            clamp: Some(T::constant(-20.0)),
            padding: Padding::Mask,
            pad_id: None,
            input: Input::Logits,
            ngram_factor: T::ONE,
            ce_factor: T::ZERO,
            label_smoothing: T::ZERO,
        }
    }

    /// Cross-entropy alone, the mean over tokens, at the cost of cross-entropy.
    pub fn cross_entropy(label_smoothing: T) -> Self {
        Config {
            ngram_factor: T::ZERO,
            ce_factor: T::ONE,
            label_smoothing,
            ..Config::new(&[])
        }
    }

    /// Whether a label is padding by its value.
    pub(super) fn is_pad(&self, label: i32) -> bool {
        label == IGNORE || Some(label) == self.pad_id
    }

    /// The labels that score 0 besides −100.
    pub(super) fn zeroed(&self) -> Option<i32> {
        match self.padding {
            Padding::Zero => self.pad_id,
            Padding::Mask | Padding::None => None,
        }
    }
}

/// The sizes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// B, the rows.
    pub batch: usize,
    /// T, the output positions of a row.
    pub positions: usize,
    /// U, the targets of a row; it may differ from T.
    pub targets: usize,
    /// V, the tokens.
    pub vocabulary: usize,
}

impl Shape {
    /// (K, M): the output positions and the target n-grams of order n in rows of full length.
    pub fn grams(&self, n: usize) -> (usize, usize) {
        grams(self.positions, self.targets, n)
    }
}

/// (K, M) = (positions − n + 1, targets − n + 1), not below 0.
#[inline(always)]
pub(super) fn grams(positions: usize, targets: usize, n: usize) -> (usize, usize) {
    (
        positions.wrapping_add(1).saturating_sub(n),
        targets.wrapping_add(1).saturating_sub(n),
    )
}

/// The labels of a batch and what belongs to them.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// The sizes.
    pub shape: Shape,
    /// \[B\]\[U\] labels: token ids, the pad id or −100.
    pub targets: &'a [i32],
    /// Targets of each row. Without them a row ends after its last label that is no pad.
    pub target_lens: Option<&'a [usize]>,
    /// Output positions of each row, used by [`Padding::Mask`]; without them all T.
    pub output_lens: Option<&'a [usize]>,
    /// Noise on the scores, for [`Select::Softmax`] and [`Select::Detached`]: for each order in turn
    /// \[B\]\[T−n+1\]\[U−n+1\] numbers, drawn and seeded by the caller. See [`noise_len`].
    pub noise: Option<&'a [T]>,
}

impl<'a, T> Batch<'a, T> {
    /// Rows that are as long as their labels say, without noise.
    pub fn new(shape: Shape, targets: &'a [i32]) -> Self {
        Batch {
            shape,
            targets,
            target_lens: None,
            output_lens: None,
            noise: None,
        }
    }
}

/// The length of [`Batch::noise`]: Σ over orders of B·(T−n+1)·(U−n+1).
pub fn noise_len<T>(shape: Shape, orders: &[(usize, T)]) -> usize {
    let mut len = 0usize;
    for (n, _) in orders {
        let (k, m) = shape.grams(*n);
        len = len.saturating_add(shape.batch.saturating_mul(k).saturating_mul(m));
    }
    len
}
