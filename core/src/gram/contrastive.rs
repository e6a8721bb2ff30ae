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

use crate::error::GramError;
use crate::gram::basis::{self, Item};
use crate::gram::info_nce::{self, InfoNce};
use crate::gram::pair::{self, Bases, BasesMut};
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

/// The part of the workspace that belongs to pairs of an anchor and an item.
struct Pairs<'a, T> {
    /// \[rows, rows\].
    distance: &'a mut [T],
    /// Scores, then dL/dscore, then C: \[rows, rows\].
    scores: &'a mut [T],
    /// Q·a, then −C·Q·a: \[m, rows, rows\].
    y: &'a mut [T],
    /// −E as planes: \[m, rows, d\].
    e: &'a mut [T],
    /// Σ_i C y_p y_q: \[m, m, rows\].
    products: &'a mut [T],
    /// Σ_i W V: \[rows\].
    volume_products: &'a mut [T],
    /// Σ_j C: \[rows\].
    row_sums: &'a mut [T],
    stats: &'a mut [T],
    /// A residual and its coordinates, \[d + m\].
    residual: &'a mut [T],
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

/// Adds the volume loss with one anchor, times `weight`, to the report and to the gradient.
#[inline(always)]
fn volume_term<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    anchor: usize,
    weight: I::Scalar,
    work: &mut Work<'_, I::Scalar>,
    gradient: &mut [I::Scalar],
    report: &mut GramReport<I::Scalar>,
) {
    let Batch { k, rows, d, .. } = *batch;
    let m = k.saturating_sub(1);
    let unit: &[I::Scalar] = work.unit;
    let pairs = &mut work.pairs;
    let anchors = plane(unit, anchor, rows.saturating_mul(d));
    let mut item = Item::split(work.item, m, d);
    let storage = BasesMut::split(work.bases, m, rows, d);
    let (bases, degenerate) =
        storage.build(isa, unit, work.present, anchor, [m, rows, d], &mut item);
    bases.distances(isa, anchors, pairs.distance, pairs.y, pairs.residual);
    for (scores, distance) in pairs
        .scores
        .chunks_exact_mut(rows.max(1))
        .zip(pairs.distance.chunks_exact(rows.max(1)))
    {
        for ((score, distance), volume) in scores.iter_mut().zip(distance).zip(bases.volume) {
            *score = *distance * *volume;
        }
    }
    let (there, columns) = take(work.there, rows);
    for (to, from) in there.iter_mut().zip(plane(work.present, anchor, rows)) {
        *to = *from;
    }
    columns.fill(I::Scalar::ZERO);
    for (index, present) in (0..k).zip(work.present.chunks_exact(rows.max(1))) {
        for (column, present) in columns.iter_mut().zip(present).filter(|_| index != anchor) {
            *column = column.max(*present);
        }
    }
    let inverse_temperature = I::Scalar::ONE / config.temperature;
    let info_nce = InfoNce {
        scale: -inverse_temperature,
        smoothing: config.label_smoothing,
        weight,
    };
    let term = info_nce.both_directions(isa, there, columns, pairs.scores, pairs.stats);
    report.loss += term.loss;
    report.temperature_gradient -= inverse_temperature * term.logit_product;
    report.degenerate = report.degenerate.saturating_add(degenerate);

    pairs.products.fill(I::Scalar::ZERO);
    pairs.volume_products.fill(I::Scalar::ZERO);
    pairs.e.fill(I::Scalar::ZERO);
    let anchor_gradient = plane_mut(gradient, anchor, rows.saturating_mul(d));
    near_pairs(isa, &bases, anchors, pairs, anchor_gradient);
    coefficients(isa, &bases, pairs);
    let square = rows.saturating_mul(rows).max(1);
    let plane_len = rows.saturating_mul(d).max(1);
    for ((q, y), e) in bases
        .q
        .chunks_exact(plane_len)
        .zip(pairs.y.chunks_exact(square))
        .zip(pairs.e.chunks_exact_mut(plane_len))
    {
        ops::matmul_nn(isa, rows, d, y, q, anchor_gradient);
        ops::matmul_tn(isa, rows, d, y, anchors, e);
    }
    let anchor_rows = anchors
        .chunks_exact(d.max(1))
        .zip(anchor_gradient.chunks_exact_mut(d.max(1)));
    for ((a, g), sum) in anchor_rows.zip(pairs.row_sums.iter()) {
        ops::axpy(isa, *sum, a, g);
    }
    item_gradients(
        isa,
        &bases,
        anchor,
        pairs.products,
        pairs.volume_products,
        pairs.e,
        &mut item,
        gradient,
    );
}

/// The gradient of the pairs whose distance was computed from the residual; C_ij = 0 takes them out of
/// the matrix products.
#[inline(always)]
fn near_pairs<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    anchors: &[I::Scalar],
    pairs: &mut Pairs<'_, I::Scalar>,
    anchor_gradient: &mut [I::Scalar],
) {
    let (rows, d, m) = (bases.items.max(1), bases.d.max(1), bases.m);
    let (rest, y) = take(pairs.residual, d);
    let (y, _) = take(y, m);
    let matrices = pairs
        .scores
        .chunks_exact_mut(rows)
        .zip(pairs.distance.chunks_exact(rows));
    let anchors = anchors
        .chunks_exact(d)
        .zip(anchor_gradient.chunks_exact_mut(d));
    for ((scores, distances), (anchor, gradient)) in matrices.zip(anchors) {
        let square = ops::dot(isa, anchor, anchor);
        let columns = scores
            .iter_mut()
            .zip(distances)
            .zip(bases.volume)
            .zip(pairs.volume_products.iter_mut());
        for (j, (((score, distance), volume), product)) in (0..rows).zip(columns) {
            if !pair::is_near(square, *distance * *distance) {
                continue;
            }
            let w = *score;
            *score = I::Scalar::ZERO;
            if w == I::Scalar::ZERO || *distance == I::Scalar::ZERO || *volume == I::Scalar::ZERO {
                continue;
            }
            *product += w * *distance * *volume;
            let c = w * (*volume / *distance);
            bases.residual(isa, anchor, j, rest, y);
            ops::axpy(isa, c, rest, gradient);
            let row = j.saturating_mul(d);
            for (e, y) in pairs
                .e
                .chunks_exact_mut(rows.saturating_mul(d))
                .zip(y.iter())
            {
                let e = e.get_mut(row..row.saturating_add(d)).unwrap_or_default();
                ops::axpy(isa, -(c * *y), rest, e);
            }
        }
    }
}

/// W → C and y → −C·y, with the sums over rows and columns that the gradient needs.
#[inline(always)]
fn coefficients<I: Isa>(isa: I, bases: &Bases<'_, I::Scalar>, pairs: &mut Pairs<'_, I::Scalar>) {
    let rows = bases.items.max(1);
    let plane_len = rows.saturating_mul(rows);
    let matrices = pairs
        .scores
        .chunks_exact_mut(rows)
        .zip(pairs.distance.chunks_exact(rows));
    for (i, ((scores, distances), row_sum)) in
        (0..rows).zip(matrices.zip(pairs.row_sums.iter_mut()))
    {
        *row_sum = coefficient_row(isa, scores, distances, bases.volume, pairs.volume_products);
        let start = i.saturating_mul(rows);
        let end = start.saturating_add(rows);
        let planes = pairs
            .products
            .chunks_exact_mut(bases.m.saturating_mul(rows).max(1));
        for (p, products) in (0..bases.m).zip(planes) {
            let yp = plane(pairs.y, p, plane_len).get(start..end).unwrap_or(&[]);
            for (q, products) in (0..bases.m).zip(products.chunks_exact_mut(rows)) {
                let yq = plane(pairs.y, q, plane_len).get(start..end).unwrap_or(&[]);
                add_products(isa, scores, yp, yq, products);
            }
        }
        for y in pairs.y.chunks_exact_mut(plane_len) {
            let y = y.get_mut(start..end).unwrap_or_default();
            for (y, c) in y.chunks_mut(I::WIDTH).zip(scores.chunks(I::WIDTH)) {
                isa.store(-(isa.load(c) * isa.load(y)), y);
            }
        }
    }
}

/// One row of W to C = W·vol/d; adds W·V to the columns, returns Σ C.
#[inline(always)]
fn coefficient_row<I: Isa>(
    isa: I,
    scores: &mut [I::Scalar],
    distances: &[I::Scalar],
    volumes: &[I::Scalar],
    volume_products: &mut [I::Scalar],
) -> I::Scalar {
    let zero = isa.splat(I::Scalar::ZERO);
    let one = isa.splat(I::Scalar::ONE);
    let mut sum = zero;
    let columns = distances
        .chunks(I::WIDTH)
        .zip(volumes.chunks(I::WIDTH))
        .zip(volume_products.chunks_mut(I::WIDTH));
    for (scores, ((distance, volume), product)) in scores.chunks_mut(I::WIDTH).zip(columns) {
        let (w, d, volume) = (isa.load(scores), isa.load(distance), isa.load(volume));
        isa.store((w * d).mul_add(volume, isa.load(product)), product);
        let positive = zero.less(d);
        let c = I::Lanes::select(
            positive,
            w * volume / I::Lanes::select(positive, d, one),
            zero,
        );
        isa.store(c, scores);
        sum = sum + c;
    }
    sum.sum()
}

/// products += C · y_p · y_q over the items.
#[inline(always)]
fn add_products<I: Isa>(
    isa: I,
    c: &[I::Scalar],
    yp: &[I::Scalar],
    yq: &[I::Scalar],
    products: &mut [I::Scalar],
) {
    let factors = c
        .chunks(I::WIDTH)
        .zip(yp.chunks(I::WIDTH))
        .zip(yq.chunks(I::WIDTH));
    for (((c, yp), yq), product) in factors.zip(products.chunks_mut(I::WIDTH)) {
        let value = (isa.load(c) * isa.load(yp)).mul_add(isa.load(yq), isa.load(product));
        isa.store(value, product);
    }
}

/// dO_j = R_j⁻¹ · ((Σ_i W V) Q_j − E_j), added to the gradient.
#[inline(always)]
fn item_gradients<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    anchor: usize,
    products: &[I::Scalar],
    volume_products: &[I::Scalar],
    e: &[I::Scalar],
    item: &mut Item<'_, I::Scalar>,
    gradient: &mut [I::Scalar],
) {
    let (m, rows, d) = (bases.m, bases.items.max(1), bases.d.max(1));
    let plane_len = rows.saturating_mul(d);
    for (j, (volume_product, volume)) in (0..rows).zip(volume_products.iter().zip(bases.volume)) {
        if *volume == I::Scalar::ZERO {
            continue;
        }
        let start = j.saturating_mul(d);
        let of_item = start..start.saturating_add(d);
        let of_vectors = item.q.chunks_exact_mut(d).zip(e.chunks_exact(plane_len));
        for (p, (g, e)) in (0..m).zip(of_vectors) {
            for (g, e) in g.iter_mut().zip(e.get(of_item.clone()).unwrap_or(&[])) {
                *g = *e;
            }
            for (q, row) in (0..m).zip(bases.q_of(j).iter()) {
                let at = p
                    .saturating_mul(m)
                    .saturating_add(q)
                    .saturating_mul(rows)
                    .saturating_add(j);
                let mut factor = products.get(at).copied().unwrap_or_default();
                if p == q {
                    factor += *volume_product;
                }
                ops::axpy(isa, factor, row, g);
            }
        }
        basis::solve(isa, bases.r_of(j), m, d, item.q);
        let targets = (0..=m)
            .zip(gradient.chunks_exact_mut(plane_len))
            .filter(|(index, _)| *index != anchor);
        for ((_, plane), g) in targets.zip(item.q.chunks_exact(d)) {
            ops::axpy(
                isa,
                I::Scalar::ONE,
                g,
                plane.get_mut(of_item.clone()).unwrap_or_default(),
            );
        }
    }
}

/// Adds the cosine losses, times `weight`, to the gradient, and returns their mean times `weight`.
#[inline(always)]
fn cosine_terms<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    anchor: Anchor,
    weight: I::Scalar,
    work: &mut Work<'_, I::Scalar>,
    gradient: &mut [I::Scalar],
    report: &mut GramReport<I::Scalar>,
) -> I::Scalar {
    let k = batch.k;
    let terms = match anchor {
        Anchor::One(_) => k.saturating_sub(1),
        Anchor::Each => k.saturating_mul(k.saturating_sub(1)) >> 1,
    };
    let weight = weight / I::Scalar::from_usize(terms.max(1));
    let mut loss = I::Scalar::ZERO;
    for p in 0..k {
        for q in 0..k {
            let counts = match anchor {
                Anchor::One(anchor) => p == anchor && q != anchor,
                Anchor::Each => p < q,
            };
            if counts {
                loss += cosine_term(isa, config, batch, [p, q], weight, work, gradient, report);
            }
        }
    }
    loss
}

/// The cosine loss of two modalities, times `weight`.
#[inline(always)]
fn cosine_term<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    [p, q]: [usize; 2],
    weight: I::Scalar,
    work: &mut Work<'_, I::Scalar>,
    gradient: &mut [I::Scalar],
    report: &mut GramReport<I::Scalar>,
) -> I::Scalar {
    let Batch { rows, d, .. } = *batch;
    let plane_len = rows.saturating_mul(d);
    let (xp, xq) = (
        plane(work.unit, p, plane_len),
        plane(work.unit, q, plane_len),
    );
    work.pairs.scores.fill(I::Scalar::ZERO);
    ops::matmul_nt(isa, rows, d, xp, xq, work.pairs.scores);
    let inverse_temperature = I::Scalar::ONE / config.temperature;
    let info_nce = InfoNce {
        scale: inverse_temperature,
        smoothing: config.label_smoothing,
        weight,
    };
    let (rows_there, columns_there) = (plane(work.present, p, rows), plane(work.present, q, rows));
    let term = info_nce.both_directions(
        isa,
        rows_there,
        columns_there,
        work.pairs.scores,
        work.pairs.stats,
    );
    report.temperature_gradient -= inverse_temperature * term.logit_product;
    ops::matmul_nn(
        isa,
        rows,
        d,
        work.pairs.scores,
        xq,
        plane_mut(gradient, p, plane_len),
    );
    ops::matmul_tn(
        isa,
        rows,
        d,
        work.pairs.scores,
        xp,
        plane_mut(gradient, q, plane_len),
    );
    term.loss
}
