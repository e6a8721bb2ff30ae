//! The cosine terms: the anchor with every other modality, or all pairs.

use super::layout::{Gradients, Layout};
use super::work::{Pairs, Scratch};
use super::{Anchor, GramLoss, GramReport};
use crate::gram::info_nce::{InfoNce, matched};
use crate::lanes::{Isa, Real};
use crate::ops;

/// Adds the cosine losses, times `weight`, to the gradient, and returns their mean times `weight`.
#[inline(always)]
pub(super) fn cosine_terms<const WHOLE: bool, I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    layout: &Layout<'_, I::Scalar>,
    anchor: Anchor,
    weight: I::Scalar,
    scratch: &mut Scratch<'_, I::Scalar>,
    gradients: &mut Gradients<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) -> I::Scalar {
    let m = layout.m;
    let (anchors, weight) = cosine_anchors(anchor, m, weight);
    let mut loss = I::Scalar::ZERO;
    for p in anchors {
        // With all pairs each counts once: only the planes after p.
        let first = if anchor == Anchor::Each { p } else { 0 };
        for other in first..m {
            loss += cosine_term::<WHOLE, I>(
                isa,
                config,
                layout,
                [p, other],
                weight,
                scratch,
                gradients,
                report,
            );
        }
    }
    loss
}

/// The modalities that are anchors in turn, and the weight of each pair.
#[inline(always)]
pub(super) fn cosine_anchors<T: Real>(
    anchor: Anchor,
    m: usize,
    weight: T,
) -> (core::ops::Range<usize>, T) {
    let (anchors, terms) = match anchor {
        Anchor::One(anchor) => (anchor..anchor.saturating_add(1), m),
        Anchor::Each => (0..m, m.saturating_add(1).saturating_mul(m) >> 1),
    };
    (anchors, weight / T::from_usize(terms.max(1)))
}

/// The cosine loss of modality p with number `other` of the others, times `weight`.
#[inline(always)]
fn cosine_term<const WHOLE: bool, I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    layout: &Layout<'_, I::Scalar>,
    [p, other]: [usize; 2],
    weight: I::Scalar,
    scratch: &mut Scratch<'_, I::Scalar>,
    gradients: &mut Gradients<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) -> I::Scalar {
    let d = layout.d;
    let q = other.saturating_add(usize::from(other >= layout.skip(p)));
    let inverse_temperature = I::Scalar::ONE / config.temperature;
    let (anchors_there, targets_there) = layout.pairs(p, layout.all.flags(q));
    let tuples = matched(anchors_there, targets_there);
    let pairs = Pairs::split(scratch.matrices, scratch.sizes);
    let mut loss = I::Scalar::ZERO;
    for direction in layout.directions {
        let block = layout.block(*direction, p);
        let (xp, xq, columns) = (block.anchors, block.items.vectors(q, d), block.items.rows);
        pairs.scores.fill(I::Scalar::ZERO);
        ops::matmul_nt(isa, columns, d, xp, xq, pairs.scores);
        let info_nce = InfoNce {
            scale: inverse_temperature,
            smoothing: config.label_smoothing,
            weight: weight * layout.scale,
            tuples,
            direction: *direction,
            offset: layout.offset,
        };
        let term = info_nce.contrast::<WHOLE, I>(
            isa,
            block.anchors_present,
            block.items.flags(q),
            pairs.scores,
            scratch.sums,
        );
        report.temperature_gradient -= inverse_temperature * term.logit_product;
        let mut sink = gradients.sink(layout, *direction, p);
        ops::matmul_nn(isa, columns, d, pairs.scores, xq, sink.anchors);
        if let Some(gradient) = sink.items().nth(other) {
            ops::matmul_tn(isa, columns, d, pairs.scores, xp, gradient);
        }
        loss = term
            .directions
            .into_iter()
            .fold(loss, |sum, part| sum + part);
    }
    loss
}
