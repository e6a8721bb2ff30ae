//! The loss of a part of a batch: a shard of it, or a rectangle of anchors and items.

use super::run::{Call, LossKernel};
use super::work::Sizes;
use super::{Batch, GramLoss, GramReport};
use crate::error::GramError;
use crate::lanes::Isa;

/// What the gradient of a shard goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Gathered {
    /// The vectors of all machines: the mean over the machines is the gradient of the whole batch.
    Full,
    /// The local vectors only, each where it is the local side: an anchor of the anchors' cross-entropies,
    /// an item of the items'. The gathered side is constant, as where it came without its graph.
    Detached,
}

/// Which rows of a gathered batch are this machine's: `offset` to `offset + rows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shard {
    /// The first local row.
    pub offset: usize,
    /// Local rows, at least 1.
    pub rows: usize,
    /// What the gradient goes through.
    pub gathered: Gathered,
}

impl Shard {
    /// The length of the gradient of a gathered batch of k modalities, `all` tuples, d dimensions:
    /// k · all · d, or k · rows · d where the gathered side is detached.
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::{Gathered, Shard};
    ///
    /// let shard = Shard { offset: 4, rows: 4, gathered: Gathered::Full };
    /// assert_eq!(shard.gradient_len(3, 8, 16), 3 * 8 * 16);
    /// let shard = Shard { gathered: Gathered::Detached, ..shard };
    /// assert_eq!(shard.gradient_len(3, 8, 16), 3 * 4 * 16);
    /// ```
    pub const fn gradient_len(self, k: usize, all: usize, d: usize) -> usize {
        let rows = match self.gathered {
            Gathered::Full => all,
            Gathered::Detached => self.rows,
        };
        k.saturating_mul(rows).saturating_mul(d)
    }
}

/// Some anchors against other items: modality 0 is the anchors', the items have modalities 1 to k − 1. The
/// target of anchor i is item i + `offset`.
#[derive(Clone, Copy, Debug)]
pub struct Rectangle<'a, T> {
    /// \[rows, d\], of the items' d.
    pub anchors: &'a [T],
    /// \[rows\]: `false` where an anchor is absent.
    pub anchors_present: Option<&'a [bool]>,
    /// Anchors.
    pub rows: usize,
    /// The items: k − 1 planes of at least `offset + rows` rows.
    pub items: Batch<'a, T>,
    /// The target of the first anchor.
    pub offset: usize,
}

impl<'a, T> Rectangle<'a, T> {
    /// The anchors as a batch of one plane.
    pub(super) fn anchors(&self) -> Batch<'a, T> {
        Batch {
            vectors: self.anchors,
            present: self.anchors_present,
            k: 1,
            rows: self.rows,
            d: self.items.d,
        }
    }
}

/// Floats of workspace for [`shard_loss`] of k modalities, `rows` of `all` tuples, d dimensions. With m = k − 1:
///
/// ```text
/// k·(rows + all)·(d + 2) + all·(m·(2·d + 2·m) + 9) + rows·all·(m + 2) + 5·rows + (m + 2)·(d + m)
/// ```
///
/// ```
/// use rivergram_core::gram::contrastive::shard_workspace_len;
///
/// let (k, rows, all, d, m) = (3, 4, 8, 16, 2);
/// let vectors = k * (rows + all) * (d + 2) + all * (m * (2 * d + m) + 2);
/// let matrices = (rows * all * (m + 2)).max((m + 1) * (d + m));
/// let sums = (5 * (rows + all)).max(all * (m * m + 2) + d + m);
/// assert_eq!(shard_workspace_len(k, rows, all, d), vectors + matrices + sums);
/// ```
pub const fn shard_workspace_len(k: usize, rows: usize, all: usize, d: usize) -> usize {
    Sizes::shard(k, rows, all, d).len()
}

/// Floats of workspace for [`rectangle_loss`] of `rows` anchors, `items` items of m = k − 1 vectors, d dimensions:
///
/// ```text
/// (rows + m·items)·(d + 2) + items·(m·(2·d + m) + 2)
///     + max(rows·items·(m + 2), (m + 1)·(d + m)) + max(5·(rows + items), items·(m² + 2) + d + m)
/// ```
///
/// ```
/// use rivergram_core::gram::contrastive::rectangle_workspace_len;
///
/// let (m, rows, items, d) = (2, 4, 8, 16);
/// let vectors = (rows + m * items) * (d + 2) + items * (m * (2 * d + m) + 2);
/// let matrices = (rows * items * (m + 2)).max((m + 1) * (d + m));
/// let sums = (5 * (rows + items)).max(items * (m * m + 2) + d + m);
/// assert_eq!(rectangle_workspace_len(m + 1, rows, items, d), vectors + matrices + sums);
/// ```
pub const fn rectangle_workspace_len(k: usize, rows: usize, items: usize, d: usize) -> usize {
    Sizes::rectangle(k.saturating_sub(1), rows, items, d).len()
}

/// The loss of the local rows L of a gathered batch of N tuples, and its gradient into `gradient`, of
/// [`Shard::gradient_len`] numbers.
///
/// ```text
/// loss = ½ · N/|L| · (Σ_{i∈L} CE(anchor i against all items, i) + Σ_{j∈L} CE(item j against all anchors, j)) / n
/// ```
///
/// where n counts the tuples of the whole batch whose anchor and item are there; a sum leaves out the others. Where
/// all are there, that is the mean over the local rows, as in distributed training of the paper's loss
/// (arXiv 2412.11959, eq. 6 to 8; rectangular matrices, targets shifted by the offset). With n over the whole batch,
/// the mean over the shards, each weighted by |L|/N, is the loss of [`gram_loss`](super::gram_loss), whatever is
/// missing wherever, and so are that of the gradients ([`Gathered::Full`]) and of dL/dτ.
///
/// Every option of [`GramLoss`] holds; for cosines and pairs, of modalities p < q, p is the anchor. The report counts
/// missing vectors and degenerate items of the whole batch. With all rows local and full gradients it is the square
/// loss, bit for bit.
///
/// Cost: per anchor the bases of all items, then six matrix products of 2·rows·all·d·(k−1) operations, or four where
/// the gathered side is detached. Errors: those of the square loss, and rows that are not in the batch.
///
/// ```
/// use rivergram_core::gram::contrastive::{
///     Batch, Gathered, GramLoss, Shard, gram_loss, shard_loss, shard_workspace_len, workspace_len,
/// };
/// use rivergram_core::lanes::One;
///
/// let vectors = [1.0_f64, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let (isa, config) = (One::<f64>::new(), GramLoss::paper(0));
/// let mut gradient = [0.0; 8];
/// let whole = gram_loss(isa, &config, &batch, &mut gradient, &mut [0.0; workspace_len(2, 2, 2)])?;
///
/// let mut mean = [0.0; 2];
/// for offset in 0..2 {
///     let shard = Shard { offset, rows: 1, gathered: Gathered::Full };
///     let mut part = [0.0; 8];
///     let mut workspace = [0.0; shard_workspace_len(2, 1, 2, 2)];
///     let report = shard_loss(isa, &config, &batch, shard, &mut part, &mut workspace)?;
///     mean[0] += report.loss / 2.0;
///     mean[1] += part[3] / 2.0;
/// }
/// assert!((mean[0] - whole.loss).abs() < 1e-12);
/// assert!((mean[1] - gradient[3]).abs() < 1e-12);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn shard_loss<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    shard: Shard,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<GramReport<I::Scalar>, GramError> {
    isa.enter(LossKernel::<_, false> {
        config,
        call: Call::Shard(batch, shard),
        gradients: [&mut [], gradient],
        in_place: &mut [],
        workspace,
    })
}

/// The cross-entropy of anchors against items of which there may be more, in this one direction, and its gradients
/// with respect to the anchors \[rows, d\] and to the items \[k−1, items, d\].
///
/// ```text
/// loss = mean_i CE(anchor i against all items, i + offset)
/// ```
///
/// over the anchors that are there with their targets (arXiv 2412.11959, eq. 6, for matrices that are not square).
/// An empty gradient is left out: of a frozen gallery, say. The term must have one anchor, number 0, and `pairs` must
/// be 0: other modalities of the anchors' tuples are not known here, and a term that needs them is an error.
///
/// Cost: per term the bases of the items and three matrix products of 2·rows·items·d·(k−1) operations. Errors: sizes,
/// targets beyond the items, constants, vectors that are not finite, zero rows under
/// [`ZeroRows::Error`](super::ZeroRows::Error); modality 0 in an error is the anchors'.
///
/// ```
/// use rivergram_core::gram::contrastive::{
///     Batch, GramLoss, Rectangle, rectangle_loss, rectangle_workspace_len,
/// };
/// use rivergram_core::lanes::One;
///
/// // One anchor, whose target is the second of three items of one vector each.
/// let items = [1.0_f32, 0.0, 0.0, 1.0, 1.0, -1.0];
/// let rectangle = Rectangle {
///     anchors: &[0.1, 1.0],
///     anchors_present: None,
///     rows: 1,
///     items: Batch { vectors: &items, present: None, k: 1, rows: 3, d: 2 },
///     offset: 1,
/// };
/// let mut gradient = [0.0; 2];
/// let mut workspace = [0.0; rectangle_workspace_len(2, 1, 3, 2)];
/// let (isa, config) = (One::<f32>::new(), GramLoss::paper(0));
/// let near = rectangle_loss(isa, &config, &rectangle, &mut gradient, &mut [], &mut workspace)?;
///
/// let other = Rectangle { offset: 0, ..rectangle };
/// let far = rectangle_loss(isa, &config, &other, &mut gradient, &mut [], &mut workspace)?;
/// assert!(near.loss < far.loss);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn rectangle_loss<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    rectangle: &Rectangle<'_, I::Scalar>,
    anchors_gradient: &mut [I::Scalar],
    items_gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<GramReport<I::Scalar>, GramError> {
    isa.enter(LossKernel::<_, false> {
        config,
        call: Call::Rectangle(rectangle),
        gradients: [anchors_gradient, items_gradient],
        in_place: &mut [],
        workspace,
    })
}
