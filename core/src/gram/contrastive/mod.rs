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

mod cosine;
mod volume;

use self::cosine::cosine_terms;
use self::volume::{Pairs, volume_term};
use crate::error::GramError;
use crate::gram::{basis, info_nce, pair};
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{self, take};

/// The most modalities of a batch.
pub const K_MAX: usize = 8;

/// Norms up to this count as zero where the loss normalises.
const NORM_EPSILON: f64 = 1e-12;

/// Which modality is the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// This one, as in the paper.
    One(usize),
    /// Each in turn; the loss is the mean.
    Each,
}

/// What is contrasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The volume of anchor and item.
    Volume(Anchor),
    /// The cosine of the anchor with every other modality (mean), or of all pairs with [`Anchor::Each`].
    Cosine(Anchor),
}

/// What a vector of zeros means. It cannot simply stay: volume 0 is the *best* match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroRows {
    /// An absent modality; a zero anchor leaves the loss.
    Missing,
    /// Volume 0, as defined.
    Zero,
    /// An error with its row.
    Error,
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GramLoss<T> {
    /// What is contrasted.
    pub term: Term,
    /// The weight of the cosines of all pairs, added to the term; 0 for none.
    pub pairs: T,
    /// τ, positive.
    pub temperature: T,
    /// ε in \[0, 1\].
    pub label_smoothing: T,
    /// L2-normalise the vectors first, with the gradient through it. Each unit vector is rounded once: in
    /// `f32` that turns the gradient of tuples in a cone of width σ by up to about ε/σ.
    pub normalise: bool,
    /// What a vector of zeros means.
    pub zero_rows: ZeroRows,
}

impl<T: Real> GramLoss<T> {
    /// The paper's loss with modality `anchor`: τ = 0.07, ε = 0.1, normalised inside.
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
}

/// A batch of tuples: k planes of `rows` vectors of length d.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, T> {
    /// \[k, rows, d\].
    pub vectors: &'a [T],
    /// \[k, rows\]: `false` where a modality is absent. Absent vectors may hold anything.
    pub present: Option<&'a [bool]>,
    /// Modalities, 2 to [`K_MAX`].
    pub k: usize,
    /// Tuples.
    pub rows: usize,
    /// Dimensions.
    pub d: usize,
}

/// What [`gram_loss`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GramReport<T> {
    /// The whole loss.
    pub loss: T,
    /// Its part that is [`GramLoss::pairs`] times the cosines of all pairs.
    pub pairs_loss: T,
    /// dL/dτ.
    pub temperature_gradient: T,
    /// Vectors that were absent or taken as absent.
    pub missing: usize,
    /// Items with volume 0 for every anchor, summed over the anchors: their vectors are dependent.
    pub degenerate: usize,
}

/// Floats of workspace for [`gram_loss`] of k modalities, `rows` tuples, d dimensions:
/// about rows² · (k + 1) + (3k − 2) · rows · d.
pub const fn workspace_len(k: usize, rows: usize, d: usize) -> usize {
    let m = k.saturating_sub(1);
    let square = rows.saturating_mul(rows);
    let plane = rows.saturating_mul(d);
    k.saturating_mul(plane)
        .saturating_add(k.saturating_mul(rows).saturating_mul(2))
        .saturating_add(pair::bases_len(m, rows, d))
        .saturating_add(square.saturating_mul(m.saturating_add(2)))
        .saturating_add(m.saturating_mul(plane))
        .saturating_add(m.saturating_mul(m).saturating_mul(rows))
        .saturating_add(rows.saturating_mul(4))
        .saturating_add(info_nce::stats_len(rows))
        .saturating_add(basis::item_len(m, d))
        .saturating_add(d)
        .saturating_add(m)
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
    isa.enter(LossKernel {
        config,
        batch,
        gradient,
        workspace,
    })
}

struct LossKernel<'a, T> {
    config: &'a GramLoss<T>,
    batch: &'a Batch<'a, T>,
    gradient: &'a mut [T],
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for LossKernel<'_, T> {
    type Output = Result<GramReport<T>, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let LossKernel {
            config,
            batch,
            gradient,
            workspace,
        } = self;
        check(config, batch, gradient.len(), workspace.len())?;
        let mut work = Work::split(workspace, batch.k, batch.rows, batch.d);
        let missing = prepare(
            isa,
            config,
            batch,
            work.unit,
            work.present,
            work.inverse_norm,
        )?;
        let mut report = GramReport {
            missing,
            ..GramReport::default()
        };
        gradient.fill(T::ZERO);
        // One call of each term: its code is large, and is inlined where it is called.
        let (anchors, weight, cosine) = match config.term {
            Term::Volume(Anchor::One(anchor)) => (anchor..anchor.saturating_add(1), T::ONE, None),
            Term::Volume(Anchor::Each) => (0..batch.k, T::ONE / T::from_usize(batch.k), None),
            Term::Cosine(anchor) => (0..0, T::ONE, Some(anchor)),
        };
        for anchor in anchors {
            volume_term(
                isa,
                config,
                batch,
                anchor,
                weight,
                &mut work,
                gradient,
                &mut report,
            );
        }
        let pairs = (config.pairs > T::ZERO).then_some(Anchor::Each);
        for (anchor, weight) in [(cosine, T::ONE), (pairs, config.pairs)] {
            let Some(anchor) = anchor else { continue };
            report.pairs_loss = cosine_terms(
                isa,
                config,
                batch,
                anchor,
                weight,
                &mut work,
                gradient,
                &mut report,
            );
            report.loss += report.pairs_loss;
        }
        if pairs.is_none() {
            report.pairs_loss = T::ZERO;
        }
        if config.normalise {
            through_normalisation(isa, work.unit, work.inverse_norm, batch.d, gradient);
        }
        Ok(report)
    }
}

fn check<T: Real>(
    config: &GramLoss<T>,
    batch: &Batch<'_, T>,
    gradient: usize,
    workspace: usize,
) -> Result<(), GramError> {
    let Batch { k, rows, d, .. } = *batch;
    if k == 0 || rows == 0 || d == 0 {
        return Err(GramError::Empty { k, rows, d });
    }
    if !(2..=K_MAX).contains(&k) {
        return Err(GramError::Arity { k });
    }
    let vectors = k.saturating_mul(rows).saturating_mul(d);
    let flags = k.saturating_mul(rows);
    for (need, have) in [
        (vectors, batch.vectors.len()),
        (vectors, gradient),
        (flags, batch.present.map_or(flags, <[bool]>::len)),
    ] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    let need = workspace_len(k, rows, d);
    if workspace < need {
        return Err(GramError::Workspace {
            need,
            have: workspace,
        });
    }
    if !(config.temperature > T::ZERO && config.temperature.is_finite()) {
        return Err(GramError::Temperature);
    }
    if !(T::ZERO..=T::ONE).contains(&config.label_smoothing) {
        return Err(GramError::LabelSmoothing);
    }
    if !(config.pairs >= T::ZERO && config.pairs.is_finite()) {
        return Err(GramError::Weight);
    }
    match config.term {
        Term::Volume(Anchor::One(anchor)) | Term::Cosine(Anchor::One(anchor)) if anchor >= k => {
            Err(GramError::Anchor { anchor, k })
        }
        _ => Ok(()),
    }
}

/// The parts of the workspace.
struct Work<'a, T> {
    /// The vectors as they are contrasted, absent ones zero, \[k, rows, d\].
    unit: &'a mut [T],
    /// \[k, rows\], 1 or 0.
    present: &'a mut [T],
    /// \[k, rows\], 0 for a zero row.
    inverse_norm: &'a mut [T],
    bases: &'a mut [T],
    /// Which rows and columns are there: \[2, rows\].
    there: &'a mut [T],
    item: &'a mut [T],
    pairs: Pairs<'a, T>,
}

impl<'a, T: Real> Work<'a, T> {
    #[inline(always)]
    fn split(workspace: &'a mut [T], k: usize, rows: usize, d: usize) -> Self {
        let m = k.saturating_sub(1);
        let (square, plane) = (rows.saturating_mul(rows), rows.saturating_mul(d));
        let flags = k.saturating_mul(rows);
        let (unit, rest) = take(workspace, k.saturating_mul(plane));
        let (present, rest) = take(rest, flags);
        let (inverse_norm, rest) = take(rest, flags);
        let (bases, rest) = take(rest, pair::bases_len(m, rows, d));
        let (distance, rest) = take(rest, square);
        let (scores, rest) = take(rest, square);
        let (y, rest) = take(rest, m.saturating_mul(square));
        let (e, rest) = take(rest, m.saturating_mul(plane));
        let (products, rest) = take(rest, m.saturating_mul(m).saturating_mul(rows));
        let (volume_products, rest) = take(rest, rows);
        let (there, rest) = take(rest, rows.saturating_mul(2));
        let (row_sums, rest) = take(rest, rows);
        let (stats, rest) = take(rest, info_nce::stats_len(rows));
        let (item, rest) = take(rest, basis::item_len(m, d));
        let (residual, _) = take(rest, d.saturating_add(m));
        let pairs = Pairs {
            distance,
            scores,
            y,
            e,
            products,
            volume_products,
            row_sums,
            stats,
            residual,
        };
        Work {
            unit,
            present,
            inverse_norm,
            bases,
            there,
            item,
            pairs,
        }
    }
}

/// Copies the vectors, normalised if asked for, absent ones as zeros; returns how many are absent.
#[inline(always)]
fn prepare<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    unit: &mut [I::Scalar],
    present: &mut [I::Scalar],
    inverse_norm: &mut [I::Scalar],
) -> Result<usize, GramError> {
    let (zero, one) = (I::Scalar::ZERO, I::Scalar::ONE);
    let smallest = if config.normalise {
        I::Scalar::constant(NORM_EPSILON)
    } else {
        zero
    };
    let mut missing = 0_usize;
    let d = batch.d.max(1);
    let rows = batch.vectors.chunks_exact(d).zip(unit.chunks_exact_mut(d));
    let flags = present.iter_mut().zip(inverse_norm.iter_mut());
    for (index, ((vector, unit), (present, inverse))) in (0..usize::MAX).zip(rows.zip(flags)) {
        let (modality, row) = (index.checked_div(batch.rows), index.checked_rem(batch.rows));
        let (modality, row) = (modality.unwrap_or_default(), row.unwrap_or_default());
        (*present, *inverse) = (zero, zero);
        unit.fill(zero);
        if batch
            .present
            .is_some_and(|present| present.get(index) == Some(&false))
        {
            missing = missing.saturating_add(1);
            continue;
        }
        let norm = ops::dot(isa, vector, vector).sqrt();
        if !norm.is_finite() {
            return Err(GramError::NotFinite { modality, row });
        }
        if norm <= smallest {
            match config.zero_rows {
                ZeroRows::Missing => missing = missing.saturating_add(1),
                ZeroRows::Zero => *present = one,
                ZeroRows::Error => return Err(GramError::ZeroRow { modality, row }),
            }
            continue;
        }
        *present = one;
        *inverse = if config.normalise {
            ops::inverse_or_zero(norm, smallest)
        } else {
            one
        };
        ops::normalise(vector, *inverse, unit);
    }
    Ok(missing)
}

/// g ← (g − x̂ (x̂·g)) / |x|.
#[inline(always)]
fn through_normalisation<I: Isa>(
    isa: I,
    unit: &[I::Scalar],
    inverse_norm: &[I::Scalar],
    d: usize,
    gradient: &mut [I::Scalar],
) {
    let rows = unit
        .chunks_exact(d.max(1))
        .zip(gradient.chunks_exact_mut(d.max(1)));
    for ((unit, gradient), inverse) in rows.zip(inverse_norm) {
        ops::normalisation_gradient(isa, unit, *inverse, gradient);
    }
}

/// Plane `index` of planes of `len` numbers.
#[inline(always)]
fn plane<T>(planes: &[T], index: usize, len: usize) -> &[T] {
    planes.chunks_exact(len.max(1)).nth(index).unwrap_or(&[])
}

#[inline(always)]
fn plane_mut<T>(planes: &mut [T], index: usize, len: usize) -> &mut [T] {
    planes
        .chunks_exact_mut(len.max(1))
        .nth(index)
        .unwrap_or_default()
}
