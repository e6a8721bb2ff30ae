//! What a caller decides: orders, weights, selection, masking, references, reduction and the shape of a batch.

use super::work;
use crate::lanes::Real;

/// The label that is padding in every mode, as in PyTorch and Hugging Face.
pub const IGNORE: i32 = -100;

/// How the loss of a target n-gram is made from its scores t at all output positions j.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

/// Over which places the selection of the edit-invariant loss runs.
///
/// arXiv 2106.15078 sums over output positions, [`Axis::Positions`]. The other axis is its mirror image, with
/// outputs and targets in each other's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Axis {
    /// For each target n-gram i a selection over output positions j; the row's loss is −(1/M) Σ_i E\[i\]. It
    /// asks whether the outputs hold every n-gram of the target, as recall does.
    #[default]
    Positions,
    /// For each output position j a selection over target n-grams i; the row's loss is −(1/K) Σ_j E\[j\]. It
    /// asks whether all that the outputs hold is in the target, as precision does. Under [`Padding::Zero`]
    /// pads have the best score of all and win the selection: use [`Padding::Mask`].
    Targets,
}

/// What is measured of n-grams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Objective {
    /// The edit-invariant loss of arXiv 2106.15078, by [`Select`] and [`Axis`].
    #[default]
    EditInvariant,
    /// The distance of bags of n-grams of arXiv 1911.09320, see [`bag`](super::bag). It uses no selection, no
    /// temperature, no axis and no noise; it should have no clamp.
    BagOfNgrams,
}

/// How the losses against several references become the loss of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Combine {
    /// The mean over the row's references, of each order by itself.
    #[default]
    Mean,
    /// The reference with the least Σ wₙ·lossₙ, the first of equals; the gradient is that against it alone. A
    /// reference too short for an order would have the loss 0 there, so those that lack the fewest orders
    /// compete.
    Best,
}

/// Several references per row: the batch's targets are \[B\]\[R\]\[U\] and its target lengths \[B\]\[R\].
///
/// The log-sum-exp of a row and its gradient over the vocabulary are computed once per row, whatever the number
/// of references; each adds work over T·U.
#[derive(Clone, Copy, Debug)]
pub struct References<'a> {
    /// R, the places for references of each row.
    pub places: usize,
    /// \[B\]: how many of them are in use, the first ones; without them all R. A row of none contributes 0.
    pub counts: Option<&'a [usize]>,
    /// How they become one loss.
    pub combine: Combine,
    /// \[B\]: the reference that cross-entropy is measured against; without them each row's first.
    pub cross_entropy: Option<&'a [usize]>,
}

/// How the losses of rows and orders become the number `eisl`, and with it what the gradient is of.
///
/// With loss\[b, n\] as in [`Parts::per_row`](super::Parts) and g the derivative of a loss L of the caller's,
/// such as what a framework's backward pass hands on, the gradient is then dL/dx: a vector-Jacobian product.
/// `eisl` is the linear form that belongs to it. Both factors of [`Config`] still apply; 1 leaves g alone.
#[derive(Clone, Copy, Debug, Default)]
pub enum Reduction<'a, T> {
    /// Σ_n wₙ · (1/B) Σ_b loss\[b, n\].
    #[default]
    Mean,
    /// Per order: g\[n\] = dL/dLₙ with Lₙ = (1/B) Σ_b loss\[b, n\] as in `per_order`; eisl = Σ g\[n\]·Lₙ.
    PerOrder(&'a [T]),
    /// Per row: g\[b\] = dL/dl_b with l_b = Σ_n wₙ·loss\[b, n\] as in `rows`; eisl = Σ g\[b\]·l_b.
    PerRow(&'a [T]),
    /// None: g\[b, n\] = dL/dloss\[b, n\], \[B\]\[orders\]; eisl = Σ g\[b, n\]·loss\[b, n\].
    None(&'a [T]),
}

/// What becomes of padding in the n-gram part. In the cross-entropy part what follows a row's end and a −100 anywhere
/// are always left out; the pad id inside a row's length is an ordinary token there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Padding {
    /// Row b uses its first `output_lens[b]` outputs and its own targets. A −100 inside the targets is
    /// no token: the n-grams that contain it are left out, and M counts those that stay.
    Mask,
    /// A label that is the pad id or −100 scores 0 at every position; nothing is shortened.
    Zero,
    /// Pads are ordinary tokens, which −100 cannot be: it is an error. Nothing is shortened.
    None,
}

/// What the input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// More orders, each as the pair (k, w) of order n = T_b − k, where T_b is the row's own number of output
    /// positions: its output length under [`Padding::Mask`], otherwise T. So k = 0 is one n-gram as long as the
    /// output. They come after `orders` wherever there is one number per order. (The reference code of
    /// arXiv 2106.15078 writes −k and uses T for all rows, padded as they are.)
    pub from_length: &'a [(usize, T)],
    /// The n-gram loss.
    pub objective: Objective,
    /// The reduction over places.
    pub select: Select,
    /// The places: output positions, or target n-grams.
    pub axis: Axis,
    /// τ of the softmax over places; positive. The other selections do not use it.
    pub temperature: T,
    /// ln p is raised to at least this, below 0, with gradient 0 at and below it.
    pub clamp: Option<T>,
    /// What becomes of padding.
    pub padding: Padding,
    /// A label that means padding where it follows a row's last other label, as −100 does anywhere.
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

/// Whether a label is padding by its value.
pub(super) fn is_pad(label: i32, pad_id: Option<i32>) -> bool {
    label == IGNORE || Some(label) == pad_id
}

impl<'a, T: Real> Config<'a, T> {
    /// The n-gram loss over logits with masking and the paper's settings: softmax selection over output
    /// positions at τ = 1, clamp −20 (arXiv 2106.15078 and its code). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::{Axis, Config, Select};
    ///
    /// let config = Config { select: Select::LogSumExp, ..Config::new(&[(1, 0.8f32), (2, 0.2)]) };
    /// assert_eq!((config.temperature, config.clamp), (1.0, Some(-20.0)));
    /// assert_eq!(config.axis, Axis::Positions);
    /// ```
    pub fn new(orders: &'a [(usize, T)]) -> Self {
        Self::with_clamp(orders, Some(T::constant(-20.0)))
    }

    /// [`Config::new`] with another clamp, and what a constant is made of. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::Config;
    ///
    /// const PAPER: Config<'_, f32> = Config::with_clamp(&[(1, 0.8), (2, 0.2)], Some(-20.0));
    /// assert_eq!(PAPER.clamp, Config::new(PAPER.orders).clamp);
    /// ```
    pub const fn with_clamp(orders: &'a [(usize, T)], clamp: Option<T>) -> Self {
        Config {
            orders,
            from_length: &[],
            objective: Objective::EditInvariant,
            select: Select::Softmax,
            axis: Axis::Positions,
            temperature: T::ONE,
            clamp,
            padding: Padding::Mask,
            pad_id: None,
            input: Input::Logits,
            ngram_factor: T::ONE,
            ce_factor: T::ZERO,
            label_smoothing: T::ZERO,
        }
    }

    /// The distance of bags of n-grams over logits, with masking (arXiv 1911.09320), see
    /// [`bag`](super::bag). Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::{Config, Objective};
    ///
    /// let config = Config::bag_of_ngrams(&[(2, 1.0f32)]);
    /// assert_eq!((config.objective, config.clamp), (Objective::BagOfNgrams, None));
    /// ```
    pub fn bag_of_ngrams(orders: &'a [(usize, T)]) -> Self {
        Config {
            objective: Objective::BagOfNgrams,
            clamp: None,
            ..Config::new(orders)
        }
    }

    /// Cross-entropy alone, the mean over tokens, at the cost of cross-entropy.
    ///
    /// ```
    /// use rivergram_core::eisl::Config;
    ///
    /// let config = Config::cross_entropy(0.1f32);
    /// assert_eq!((config.ngram_factor, config.ce_factor, config.label_smoothing), (0.0, 1.0, 0.1));
    /// ```
    pub const fn cross_entropy(label_smoothing: T) -> Self {
        Config {
            ngram_factor: T::ZERO,
            ce_factor: T::ONE,
            label_smoothing,
            ..Config::with_clamp(&[], None)
        }
    }

    /// The number of orders, those of `orders` and then those of `from_length`. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::Config;
    ///
    /// let config = Config { from_length: &[(0, 0.5)], ..Config::new(&[(1, 0.25f32), (2, 0.25)]) };
    /// assert_eq!(config.order_count(), 3);
    /// ```
    pub const fn order_count(&self) -> usize {
        self.orders.len().saturating_add(self.from_length.len())
    }

    /// (n, wₙ) of an order, in a row with so many output positions. An n of 0 has no n-grams: the row is
    /// shorter than k. `None` beyond [`Config::order_count`]. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::Config;
    ///
    /// let config = Config { from_length: &[(1, 0.5)], ..Config::new(&[(2, 0.25f32)]) };
    /// assert_eq!(config.order(0, 6), Some((2, 0.25)));
    /// assert_eq!(config.order(1, 6), Some((5, 0.5)));
    /// assert_eq!(config.order(1, 1), Some((0, 0.5)));
    /// assert_eq!(config.order(2, 6), None);
    /// ```
    pub fn order(&self, index: usize, outputs: usize) -> Option<(usize, T)> {
        if let Some(order) = self.orders.get(index) {
            return Some(*order);
        }
        let index = index.checked_sub(self.orders.len())?;
        let (k, weight) = self.from_length.get(index)?;
        Some((outputs.saturating_sub(*k), *weight))
    }

    /// Whether a label is padding by its value.
    pub(super) fn is_pad(&self, label: i32) -> bool {
        is_pad(label, self.pad_id)
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    /// (K, M) = (T − n + 1, U − n + 1), not below 0: the output positions and the target n-grams of order n in
    /// rows of full length. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::Shape;
    ///
    /// let shape = Shape { batch: 1, positions: 6, targets: 4, vocabulary: 9 };
    /// assert_eq!(shape.grams(2), (5, 3));
    /// assert_eq!(shape.grams(5), (2, 0));
    /// ```
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
    /// \[B\]\[U\] labels: token ids, the pad id or −100. With references \[B\]\[R\]\[U\].
    pub targets: &'a [i32],
    /// Targets of each row, or reference. Without them one ends after its last label that is no pad.
    pub target_lens: Option<&'a [usize]>,
    /// Output positions of each row, used by [`Padding::Mask`]; without them all T.
    pub output_lens: Option<&'a [usize]>,
    /// Noise on the scores, for [`Select::Softmax`] and [`Select::Detached`], drawn and seeded by the caller:
    /// for each order in turn \[B\]\[T−n+1\]\[U−n+1\] numbers, or \[B\]\[U−n+1\]\[T−n+1\] over
    /// [`Axis::Targets`]. With references there is one such matrix for each of the R. An order relative to
    /// the length, T_b − k, has k+1 in place of T−n+1 (0 from k = T on) and U in place of U−n+1, since its n
    /// is not the same in all rows. See [`Batch::noise_len`].
    pub noise: Option<&'a [T]>,
    /// Several references per row.
    pub references: Option<References<'a>>,
    /// How rows and orders become one number.
    pub reduction: Reduction<'a, T>,
    /// \[B\]: dL/dc_b with c_b the row's sum over tokens of the cross-entropy, as in `ce_per_row`; ce is then
    /// Σ_b g\[b\]·c_b. Without them it is the mean over all tokens.
    pub ce_upstream: Option<&'a [T]>,
}

impl<'a, T> Batch<'a, T> {
    /// Rows that are as long as their labels say, with one reference each, without noise, and the mean over
    /// rows. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Shape};
    ///
    /// let shape = Shape { batch: 2, positions: 4, targets: 3, vocabulary: 9 };
    /// let batch = Batch::<f32>::new(shape, &[5, 6, 7, 8, -100, -100]);
    /// assert!(batch.target_lens.is_none() && batch.noise.is_none());
    /// ```
    pub fn new(shape: Shape, targets: &'a [i32]) -> Self {
        Batch {
            shape,
            targets,
            target_lens: None,
            output_lens: None,
            noise: None,
            references: None,
            reduction: Reduction::Mean,
            ce_upstream: None,
        }
    }

    /// R, the references that there is room for.
    pub(super) const fn places(&self) -> usize {
        match &self.references {
            Some(references) => references.places,
            None => 1,
        }
    }
}

impl<T: Real> Batch<'_, T> {
    /// The numbers of workspace that the loss of this batch needs: [`workspace_len`](super::workspace_len)
    /// and, from the second reference on, 2·T·U for each.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Combine, Config, References, Shape, workspace_len};
    ///
    /// let shape = Shape { batch: 1, positions: 4, targets: 3, vocabulary: 9 };
    /// let config = Config::new(&[(1, 1.0f32)]);
    /// let one = Batch::new(shape, &[1, 2, 3]);
    /// assert_eq!(one.workspace_len(&config), workspace_len(shape, 1));
    /// let references = References { places: 2, counts: None, combine: Combine::Best, cross_entropy: None };
    /// let two = Batch { references: Some(references), ..Batch::new(shape, &[1, 2, 3, 2, 3, 1]) };
    /// assert_eq!(two.workspace_len(&config), workspace_len(shape, 1) + 2 * 4 * 3);
    /// ```
    pub const fn workspace_len(&self, config: &Config<'_, T>) -> usize {
        work::len(self.shape, config.order_count(), self.places())
    }

    /// The length of [`Batch::noise`]: Σ over orders of B·R·K·M.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Config, Shape, noise_len};
    ///
    /// let shape = Shape { batch: 2, positions: 4, targets: 3, vocabulary: 9 };
    /// let batch = Batch::new(shape, &[1, 2, 3, 4, 5, 6]);
    /// let config = Config { from_length: &[(1, 0.5)], ..Config::new(&[(2, 0.5f32)]) };
    /// assert_eq!(batch.noise_len(&config), noise_len(shape, config.orders) + 2 * (2 * 3));
    /// ```
    pub fn noise_len(&self, config: &Config<'_, T>) -> usize {
        let matrices = self.shape.batch.saturating_mul(self.places());
        let mut len = 0usize;
        for index in 0..config.order_count() {
            let (k, m) = noise_grams(config, self.shape, index);
            len = len.saturating_add(matrices.saturating_mul(k).saturating_mul(m));
        }
        len
    }
}

/// (K, M) of the noise of an order.
#[inline(always)]
pub(super) fn noise_grams<T: Real>(
    config: &Config<'_, T>,
    shape: Shape,
    index: usize,
) -> (usize, usize) {
    if let Some((n, _)) = config.orders.get(index) {
        return shape.grams(*n);
    }
    let index = index.saturating_sub(config.orders.len());
    match config.from_length.get(index) {
        Some((k, _)) if *k < shape.positions => (k.saturating_add(1), shape.targets),
        _ => (0, 0),
    }
}

/// The length of [`Batch::noise`] for one reference and fixed orders only: it ignores [`Batch::references`] and
/// [`Config::from_length`], for which [`Batch::noise_len`] is there.
///
/// Σ over orders (n, wₙ) of B·(T−n+1)·(U−n+1). Cost: one step per order.
///
/// ```
/// use rivergram_core::eisl::{Shape, noise_len};
///
/// let shape = Shape { batch: 2, positions: 4, targets: 3, vocabulary: 9 };
/// assert_eq!(noise_len(shape, &[(1, 0.5f32), (3, 0.5)]), 2 * (4 * 3 + 2 * 1));
/// ```
pub fn noise_len<T>(shape: Shape, orders: &[(usize, T)]) -> usize {
    let mut len = 0usize;
    for (n, _) in orders {
        let (k, m) = shape.grams(*n);
        len = len.saturating_add(shape.batch.saturating_mul(k).saturating_mul(m));
    }
    len
}
