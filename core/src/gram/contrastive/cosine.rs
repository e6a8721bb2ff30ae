//! The cosine terms: the anchor with every other modality, or all pairs.

use super::{Anchor, Batch, GramLoss, GramReport, Work, plane, plane_mut};
use crate::gram::info_nce::InfoNce;
use crate::lanes::{Isa, Real};
use crate::ops;

/// Adds the cosine losses, times `weight`, to the gradient, and returns their mean times `weight`.
#[inline(always)]
pub(super) fn cosine_terms<I: Isa>(
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
