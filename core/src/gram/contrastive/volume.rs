//! The volume term with one anchor, forward and backward.

use super::layout::{Block, Gradients, Layout, Sink};
use super::work::{Pairs, Scratch, plane};
use super::{GramLoss, GramReport};
use crate::gram::basis::{self, Item};
use crate::gram::info_nce::{Direction, InfoNce, matched};
use crate::gram::pair::{self, Bases, BasesMut};
use crate::lanes::{Isa, Lanes, Real};
use crate::ops::{self, take};

/// Adds the volume loss with one anchor, times `weight`, to the report and to the gradient.
#[inline(always)]
pub(super) fn volume_term<I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    layout: &Layout<'_, I::Scalar>,
    anchor: usize,
    weight: I::Scalar,
    scratch: &mut Scratch<'_, I::Scalar>,
    gradients: &mut Gradients<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) {
    let all = layout.all;
    scratch.columns.fill(I::Scalar::ZERO);
    let planes = (0..usize::MAX).zip(all.present.chunks_exact(all.rows.max(1)));
    for (_, present) in planes.filter(|(index, _)| *index != layout.skip(anchor)) {
        for (column, present) in scratch.columns.iter_mut().zip(present) {
            *column = column.max(*present);
        }
    }
    let (anchors_there, targets_there) = layout.pairs(anchor, scratch.columns);
    let inverse_temperature = I::Scalar::ONE / config.temperature;
    let mut info_nce = InfoNce {
        scale: -inverse_temperature,
        smoothing: config.label_smoothing,
        weight: weight * layout.scale,
        tuples: matched(anchors_there, targets_there),
        direction: Direction::Both,
        offset: layout.offset,
    };
    for direction in layout.directions {
        let block = layout.block(*direction, anchor);
        let sink = gradients.sink(layout, *direction, anchor);
        info_nce.direction = *direction;
        volume_matrix(
            isa,
            info_nce,
            &block,
            [layout.m, layout.d],
            scratch,
            sink,
            report,
        );
    }
}

/// One matrix of it.
#[inline(always)]
fn volume_matrix<I: Isa>(
    isa: I,
    info_nce: InfoNce<I::Scalar>,
    block: &Block<'_, I::Scalar>,
    [m, d]: [usize; 2],
    scratch: &mut Scratch<'_, I::Scalar>,
    mut sink: Sink<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) {
    let (anchors, items, rows) = (block.anchors, block.items, block.items.rows);
    let pairs = &mut scratch.pairs;
    let mut item = Item::split(scratch.item, m, d);
    let storage = BasesMut::split(scratch.bases, m, rows, d);
    let (bases, degenerate) = storage.build(
        isa,
        items.unit,
        items.present,
        block.skip,
        [m, rows, d],
        &mut item,
    );
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
    let columns = scratch.columns.get(block.first_item..).unwrap_or_default();
    let columns = columns.get(..rows).unwrap_or_default();
    let term = info_nce.contrast(
        isa,
        block.anchors_present,
        columns,
        pairs.scores,
        pairs.stats,
    );
    report.loss += term.loss;
    report.temperature_gradient += info_nce.scale * term.logit_product;
    if block.direction != Direction::Columns {
        report.degenerate = report.degenerate.saturating_add(degenerate);
    }

    pairs.products.fill(I::Scalar::ZERO);
    pairs.volume_products.fill(I::Scalar::ZERO);
    pairs.e.fill(I::Scalar::ZERO);
    near_pairs(isa, &bases, anchors, pairs, sink.anchors);
    coefficients(isa, &bases, pairs, sink.wants_items());
    let matrix = pairs.scores.len().max(1);
    let plane_len = rows.saturating_mul(d).max(1);
    for ((q, y), e) in bases
        .q
        .chunks_exact(plane_len)
        .zip(pairs.y.chunks_exact(matrix))
        .zip(pairs.e.chunks_exact_mut(plane_len))
    {
        ops::matmul_nn(isa, rows, d, y, q, sink.anchors);
        if sink.wants_items() {
            ops::matmul_tn(isa, rows, d, y, anchors, e);
        }
    }
    let anchor_rows = anchors
        .chunks_exact(d.max(1))
        .zip(sink.anchors.chunks_exact_mut(d.max(1)));
    for ((a, g), sum) in anchor_rows.zip(pairs.row_sums.iter()) {
        ops::axpy(isa, *sum, a, g);
    }
    if sink.wants_items() {
        item_gradients(isa, &bases, pairs, &mut item, &mut sink);
    }
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
    for (i, ((scores, distances), anchor)) in
        (0..usize::MAX).zip(matrices.zip(anchors.chunks_exact(d)))
    {
        // Nothing where the anchors carry no gradient.
        let start = i.saturating_mul(d);
        let of_anchor = start..start.saturating_add(d);
        let gradient = anchor_gradient.get_mut(of_anchor).unwrap_or_default();
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
                .chunks_exact_mut(rows.saturating_mul(d).max(1))
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
fn coefficients<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    pairs: &mut Pairs<'_, I::Scalar>,
    wants_items: bool,
) {
    let rows = bases.items.max(1);
    let plane_len = pairs.scores.len().max(1);
    let matrices = pairs
        .scores
        .chunks_exact_mut(rows)
        .zip(pairs.distance.chunks_exact(rows));
    let products_len = if wants_items { pairs.products.len() } else { 0 };
    let (all_products, _) = take(pairs.products, products_len);
    for (i, ((scores, distances), row_sum)) in
        (0..usize::MAX).zip(matrices.zip(pairs.row_sums.iter_mut()))
    {
        *row_sum = coefficient_row(isa, scores, distances, bases.volume, pairs.volume_products);
        let start = i.saturating_mul(rows);
        let end = start.saturating_add(rows);
        let planes = all_products.chunks_exact_mut(bases.m.saturating_mul(rows).max(1));
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
    pairs: &Pairs<'_, I::Scalar>,
    item: &mut Item<'_, I::Scalar>,
    sink: &mut Sink<'_, I::Scalar>,
) {
    let (m, rows, d) = (bases.m, bases.items.max(1), bases.d.max(1));
    let plane_len = rows.saturating_mul(d).max(1);
    let items = pairs.volume_products.iter().zip(bases.volume);
    for (j, (volume_product, volume)) in (0..rows).zip(items) {
        if *volume == I::Scalar::ZERO {
            continue;
        }
        let start = j.saturating_mul(d);
        let of_item = start..start.saturating_add(d);
        let of_vectors = item
            .q
            .chunks_exact_mut(d)
            .zip(pairs.e.chunks_exact(plane_len));
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
                let mut factor = pairs.products.get(at).copied().unwrap_or_default();
                if p == q {
                    factor += *volume_product;
                }
                ops::axpy(isa, factor, row, g);
            }
        }
        basis::solve(isa, bases.r_of(j), m, d, item.q);
        for (plane, g) in sink.items().zip(item.q.chunks_exact(d)) {
            ops::axpy(
                isa,
                I::Scalar::ONE,
                g,
                plane.get_mut(of_item.clone()).unwrap_or_default(),
            );
        }
    }
}
