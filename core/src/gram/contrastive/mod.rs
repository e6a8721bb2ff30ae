//! The contrastive loss of a batch of tuples: matching tuples span a small volume, others a large one.
//!
//! ```text
//! L_volume(a) = InfoNCE of −V_ij/τ,  V_ij = volume(anchor a of tuple i, the other vectors of tuple j)
//! L_cosine(p, q) = InfoNCE of cos(x_p,i, x_q,j)/τ
//! ```
//! (arXiv 2412.11959, eq. 6 to 8.) InfoNCE is the mean of the cross-entropy over rows and over columns,
//! with label smoothing. With W = dL/dV, y = Q·a, C_ij = W_ij · vol_j / d_ij:
//!
//! ```text
//! dA_i  = Σ_j C_ij r_ij                                     r_ij = a_i − Σ_p y_ijp q_jp
//! dO_j  = R_j⁻¹ · ((Σ_i W_ij V_ij) Q_j − E_j)               E_jp = Σ_i C_ij y_ijp r_ij
//! ```
//!
//! Expanded, both sums are matrix products; for the few pairs where the anchor is near the span, r is
//! computed itself. Where d or vol is 0 the gradient is 0, a valid subgradient.
//!
//! What the volume does not see: the sign of a vector, and the modalities that are not the anchor among
//! each other. Hence two options that are not in the paper: [`Term::Volume`] with [`Anchor::Each`] (every
//! modality in turn), and a small weight of the pairwise cosines (`pairs`).
//!
//! [`gram_loss`] takes a whole batch. [`shard_loss`] takes the part of a batch that one of several machines
//! holds, against all of it; [`rectangle_loss`] takes some anchors against other items.

mod cosine;
mod crewed;
mod layout;
mod partial;
mod prepare;
mod run;
mod tiled;
mod volume;
mod work;

pub use self::crewed::{
    Room, gram_loss_by, rectangle_loss_by, rectangle_room_len, room_len, shard_loss_by,
    shard_room_len,
};
pub use self::partial::{
    Gathered, Rectangle, Shard, rectangle_loss, rectangle_workspace_len, shard_loss,
    shard_workspace_len,
};
use self::run::{Call, LossKernel};
use self::work::Sizes;
use crate::error::GramError;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops;

/// The most modalities of a batch.
pub const K_MAX: usize = 8;

/// Which modality is the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Anchor {
    /// This one, as in the paper.
    One(usize),
    /// Each in turn; the loss is the mean.
    Each,
}

/// What is contrasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Term {
    /// The volume of anchor and item.
    Volume(Anchor),
    /// The cosine of the anchor with every other modality (mean), or of all pairs with [`Anchor::Each`]; the product
    /// x_p·x_q where [`GramLoss::normalise`] is off and the vectors are not unit vectors.
    Cosine(Anchor),
}

/// What a zero vector ([`is_zero`](crate::ops::is_zero)) means. It cannot simply stay: volume 0 is the *best*
/// match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ZeroRows {
    /// An absent modality; a zero anchor leaves the loss.
    Missing,
    /// Volume 0, as defined.
    Zero,
    /// An error with its row.
    Error,
}

impl ZeroRows {
    /// Whether a vector with this |x|² is there.
    #[inline(always)]
    pub(super) fn keeps<T: Real>(self, square: T) -> bool {
        self != ZeroRows::Missing || !ops::is_zero(square)
    }

    /// The error of a vector with this |x|² and this place, where the policy makes it one.
    #[inline(always)]
    pub(super) fn check<T: Real>(
        self,
        square: T,
        modality: usize,
        row: usize,
    ) -> Result<(), GramError> {
        if self == ZeroRows::Error && ops::is_zero(square) {
            return Err(GramError::ZeroRow { modality, row });
        }
        Ok(())
    }
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GramLoss<T> {
    /// What is contrasted.
    pub term: Term,
    /// The weight of the cosines of all pairs, as in [`Term::Cosine`], added to the term; 0 for none.
    pub pairs: T,
    /// τ, positive, and in `f32` above about 1e-16: gradients by τ grow with 1/τ².
    pub temperature: T,
    /// ε in \[0, 1\].
    pub label_smoothing: T,
    /// L2-normalise the vectors first, with the gradient through it. Each unit vector is rounded once: in
    /// `f32` that turns the gradient of tuples in a cone of width σ by up to about ε/σ. Vectors that are not
    /// normalised must be so short that no volume of k of them leaves the range, summed over a million rows and
    /// divided by τ²: at τ = 0.07 in `f32` up to about 1e15 for k = 2, 1e10 for k = 3, 5000 for k = 8.
    pub normalise: bool,
    /// What a zero vector means.
    pub zero_rows: ZeroRows,
}

impl<T: Real> GramLoss<T> {
    /// The paper's loss (arXiv 2412.11959) with modality `anchor`: τ = 0.07, ε = 0.1, normalised inside.
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term};
    ///
    /// let loss = GramLoss::<f32>::paper(1);
    /// assert_eq!(loss.term, Term::Volume(Anchor::One(1)));
    /// assert_eq!(loss.temperature, 0.07);
    /// ```
    pub fn paper(anchor: usize) -> Self {
        GramLoss {
            term: Term::Volume(Anchor::One(anchor)),
            pairs: T::ZERO,
            temperature: T::constant(0.07),
            label_smoothing: T::constant(0.1),
            normalise: true,
            zero_rows: ZeroRows::Missing,
        }
    }

    /// The anchor, where the term has one.
    fn one_anchor(&self) -> Option<usize> {
        match self.term {
            Term::Volume(Anchor::One(anchor)) | Term::Cosine(Anchor::One(anchor)) => Some(anchor),
            _ => None,
        }
    }
}

/// A batch of tuples: k planes of `rows` vectors of length d; or, in a [`Rectangle`], of items.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// \[k, rows, d\].
    pub vectors: &'a [T],
    /// \[k, rows\]: `false` where a modality is absent. Absent vectors may hold anything.
    pub present: Option<&'a [bool]>,
    /// Modalities, 2 to [`K_MAX`]; of items one less.
    pub k: usize,
    /// Tuples.
    pub rows: usize,
    /// Dimensions.
    pub d: usize,
}

/// What [`gram_loss`], [`shard_loss`] or [`rectangle_loss`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GramReport<T> {
    /// The whole loss, of a shard its share.
    pub loss: T,
    /// What anchors among items, and items among anchors, add to it by [`Term::Volume`]: half the mean
    /// cross-entropy of either; of a rectangle the first is whole.
    pub directions: [T; 2],
    /// Its part that is [`GramLoss::pairs`] times the cosines of all pairs.
    pub pairs_loss: T,
    /// dL/dτ.
    pub temperature_gradient: T,
    /// Vectors that were absent or taken as absent.
    pub missing: usize,
    /// Items with volume 0 for every anchor, summed over the anchors: their vectors are dependent.
    pub degenerate: usize,
}

/// Floats of workspace for [`gram_loss`] of k modalities, `rows` tuples, d dimensions. With m = k − 1:
///
/// ```text
/// k·rows·(d + 2) + rows·(m·(2·d + m) + 2)
///     + max(rows²·(m + 2), (m + 1)·(d + m)) + max(10·rows, rows·(m² + 2) + d + m)
/// ```
///
/// ```
/// use rivergram_core::gram::contrastive::workspace_len;
///
/// let (k, rows, d, m) = (3, 8, 16, 2);
/// let vectors = k * rows * (d + 2) + rows * (m * (2 * d + m) + 2);
/// let matrices = (rows * rows * (m + 2)).max((m + 1) * (d + m));
/// let sums = (10 * rows).max(rows * (m * m + 2) + d + m);
/// assert_eq!(workspace_len(k, rows, d), vectors + matrices + sums);
/// ```
pub const fn workspace_len(k: usize, rows: usize, d: usize) -> usize {
    Sizes::square(k, rows, d).len()
}

/// Floats of workspace for [`gram_loss_in_place`]: those of [`workspace_len`] less k·rows·d, and where one vector is
/// the anchor less m·rows·d besides.
pub(crate) const fn in_place_len(term: Term, k: usize, rows: usize, d: usize) -> usize {
    Sizes::square(k, rows, d).in_place(term).len()
}

/// The loss of a batch, and its gradient with respect to the vectors into `gradient` \[k, rows, d\].
///
/// Cost: per anchor three matrix products of 2·rows²·d·(k−1) operations. Errors: sizes, temperature,
/// smoothing, weights, vectors that are not finite, zero rows under [`ZeroRows::Error`].
///
/// ```
/// use rivergram_core::gram::contrastive::{Batch, GramLoss, gram_loss, workspace_len};
/// use rivergram_core::lanes::One;
///
/// let vectors = [1.0_f32, 0.1, 0.0, 1.0, /* second modality */ 1.0, 0.0, 0.2, 1.0];
/// let batch = Batch { vectors: &vectors, present: None, k: 2, rows: 2, d: 2 };
/// let mut gradient = [0.0; 8];
/// let mut workspace = [0.0; workspace_len(2, 2, 2)];
/// let report = gram_loss(One::<f32>::new(), &GramLoss::paper(0), &batch, &mut gradient, &mut workspace)?;
/// assert!(report.loss > 0.0);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn gram_loss<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<GramReport<I::Scalar>, GramError> {
    isa.enter(LossKernel::<_, false> {
        config,
        call: Call::Square(batch),
        gradients: [&mut [], gradient],
        in_place: &mut [],
        workspace,
    })
}

/// [`gram_loss`] of `vectors` that are given besides a batch without any, and become what is contrasted: normalised
/// if the loss does that, absent ones zero.
#[inline(always)]
pub(crate) fn gram_loss_in_place<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    vectors: &mut [I::Scalar],
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<GramReport<I::Scalar>, GramError> {
    isa.enter(LossKernel::<_, false> {
        config,
        call: Call::InPlace(batch),
        gradients: [&mut [], gradient],
        in_place: vectors,
        workspace,
    })
}

/// [`gram_loss_in_place`] without an entry of its own: what the caller knows of the options when it is compiled leaves
/// out the code of all others.
#[inline(always)]
pub(crate) fn known_loss_in_place<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    vectors: &mut [I::Scalar],
    gradient: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<GramReport<I::Scalar>, GramError> {
    let kernel = LossKernel::<_, true> {
        config,
        call: Call::InPlace(batch),
        gradients: [&mut [], gradient],
        in_place: vectors,
        workspace,
    };
    kernel.run(isa)
}
