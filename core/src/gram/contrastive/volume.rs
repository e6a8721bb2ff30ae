//! The volume term with one anchor, forward and backward.

use super::layout::{Block, Gradients, Layout, Sink};
use super::work::{Pairs, Scratch, Sums, plane};
use super::{GramLoss, GramReport};
use crate::gram::basis::{self, Item};
use crate::gram::info_nce::{Direction, InfoNce, matched};
use crate::gram::pair::{self, Bases, BasesMut};
use crate::lanes::{Isa, Lanes, Real};
use crate::ops::{self, Walk, take};

/// Adds the volume loss with one anchor, times `weight`, to the report and to the gradient.
#[inline(always)]
pub(super) fn volume_term<const WHOLE: bool, I: Isa>(
    isa: I,
    config: &GramLoss<I::Scalar>,
    layout: &Layout<'_, I::Scalar>,
    anchor: usize,
    weight: I::Scalar,
    scratch: &mut Scratch<'_, I::Scalar>,
    gradients: &mut Gradients<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) {
    let mut info_nce = volume_info(config, layout, anchor, weight, scratch.columns);
    for direction in layout.directions {
        let block = layout.block(*direction, anchor);
        let sink = gradients.sink(layout, *direction, anchor);
        info_nce.direction = *direction;
        volume_matrix::<WHOLE, I>(
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

/// Which items are there at all, into `columns`, and the constants of the term but for the direction.
#[inline(always)]
pub(super) fn volume_info<T: Real>(
    config: &GramLoss<T>,
    layout: &Layout<'_, T>,
    anchor: usize,
    weight: T,
    columns: &mut [T],
) -> InfoNce<T> {
    let all = layout.all;
    columns.fill(T::ZERO);
    let planes = (0..usize::MAX).zip(all.present.rows(all.rows));
    for (_, present) in planes.filter(|(index, _)| *index != layout.skip(anchor)) {
        for (column, present) in columns.iter_mut().zip(present) {
            *column = column.max(*present);
        }
    }
    let (anchors_there, targets_there) = layout.pairs(anchor, columns);
    InfoNce {
        scale: -(T::ONE / config.temperature),
        smoothing: config.label_smoothing,
        weight: weight * layout.scale,
        tuples: matched(anchors_there, targets_there),
        direction: Direction::Both,
        offset: layout.offset,
    }
}

/// One matrix of it.
#[inline(always)]
fn volume_matrix<const WHOLE: bool, I: Isa>(
    isa: I,
    info_nce: InfoNce<I::Scalar>,
    block: &Block<'_, I::Scalar>,
    [m, d]: [usize; 2],
    scratch: &mut Scratch<'_, I::Scalar>,
    mut sink: Sink<'_, I::Scalar>,
    report: &mut GramReport<I::Scalar>,
) {
    let (anchors, items, rows) = (block.anchors, block.items, block.items.rows);
    let Scratch {
        sizes,
        bases,
        columns,
        e,
        matrices,
        sums,
    } = scratch;
    let (bases, degenerate) = BasesMut::split(bases, m, rows, d).build(
        isa,
        items.unit,
        items.present,
        block.skip,
        [m, rows, d],
        &mut Item::split(matrices, m, d),
    );
    let mut pairs = Pairs::split(matrices, *sizes);
    bases.distances(isa, anchors, pairs.distance, pairs.y, sums);
    for (scores, distance) in pairs.scores.rows_mut(rows).zip(pairs.distance.rows(rows)) {
        for ((score, distance), volume) in scores.iter_mut().zip(distance).zip(bases.volume) {
            *score = pair::volume(*distance, *volume);
        }
    }
    let columns = columns.get(block.first_item..).unwrap_or_default();
    let columns = columns.get(..rows).unwrap_or_default();
    let term =
        info_nce.contrast::<WHOLE, I>(isa, block.anchors_present, columns, pairs.scores, sums);
    for (sum, part) in report.directions.iter_mut().zip(term.directions) {
        *sum += part;
        report.loss += part;
    }
    report.temperature_gradient += info_nce.scale * term.logit_product;
    if block.direction != Direction::Columns {
        report.degenerate = report.degenerate.saturating_add(degenerate);
    }

    let mut sums = Sums::split(sums, block.anchors_present.len(), rows, m);
    e.fill(I::Scalar::ZERO);
    near_pairs(isa, &bases, anchors, &mut pairs, &mut sums, e, &mut sink);
    coefficients(isa, &bases, &mut pairs, &mut sums, sink.wants_items());
    let matrix = pairs.scores.len().max(1);
    let plane_len = rows.saturating_mul(d).max(1);
    let planes = bases.q.rows(plane_len);
    for (q, y) in planes.zip(pairs.y.rows(matrix)) {
        ops::matmul_nn(isa, rows, d, y, q, sink.anchors);
    }
    if sink.wants_items() {
        for (y, e) in pairs.y.rows(matrix).zip(sink.sums(e)) {
            ops::matmul_tn(isa, rows, d, y, anchors, e);
        }
    }
    let anchor_rows = anchors.rows(d).zip(sink.anchors.rows_mut(d));
    for ((a, g), sum) in anchor_rows.zip(sums.row_sums.iter()) {
        ops::axpy(isa, *sum, a, g);
    }
    if sink.wants_items() {
        let item = Item::split(matrices, m, d);
        item_gradients(isa, &bases, &sums, item.q, e, &mut sink);
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
    sums: &mut Sums<'_, I::Scalar>,
    e: &mut [I::Scalar],
    sink: &mut Sink<'_, I::Scalar>,
) {
    let (rows, d, m) = (bases.items.max(1), bases.d.max(1), bases.m);
    let (rest, y) = take(sums.residual, d);
    let (y, _) = take(y, m);
    let matrices = pairs.scores.rows_mut(rows).zip(pairs.distance.rows(rows));
    for (i, ((scores, distances), anchor)) in (0..usize::MAX).zip(matrices.zip(anchors.rows(d))) {
        // Nothing where the anchors carry no gradient.
        let start = i.saturating_mul(d);
        let of_anchor = start..start.saturating_add(d);
        let square = ops::dot(isa, anchor, anchor);
        let columns = scores
            .iter_mut()
            .zip(distances)
            .zip(bases.volume)
            .zip(sums.volume_products.iter_mut());
        for (j, (((score, distance), volume), product)) in (0..rows).zip(columns) {
            if !pair::is_near(square, *distance * *distance) {
                continue;
            }
            let w = *score;
            *score = I::Scalar::ZERO;
            let Some([c, of_volume]) = near_coefficient(w, *distance, *volume) else {
                continue;
            };
            *product += of_volume;
            bases.residual(isa, anchor, j, rest, y);
            let gradient = sink.anchors.get_mut(of_anchor.clone());
            ops::axpy(isa, c, rest, gradient.unwrap_or_default());
            let row = j.saturating_mul(d);
            for (e, y) in sink.sums(e).zip(y.iter()) {
                let e = e.get_mut(row..row.saturating_add(d)).unwrap_or_default();
                ops::axpy(isa, -(c * *y), rest, e);
            }
        }
    }
}

/// C = W·vol/d and W·V of a pair, where neither W nor V is 0.
#[inline(always)]
pub(super) fn near_coefficient<T: Real>(w: T, distance: T, volume: T) -> Option<[T; 2]> {
    let is_zero = w == T::ZERO || distance == T::ZERO || volume == T::ZERO;
    (!is_zero).then(|| [w * (volume / distance), w * distance * volume])
}

/// W → C and y → −C·y, with the sums over rows and columns that the gradient needs.
#[inline(always)]
fn coefficients<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    pairs: &mut Pairs<'_, I::Scalar>,
    sums: &mut Sums<'_, I::Scalar>,
    wants_items: bool,
) {
    let rows = bases.items.max(1);
    let plane_len = pairs.scores.len().max(1);
    let matrices = pairs.scores.rows_mut(rows).zip(pairs.distance.rows(rows));
    let products_len = if wants_items { sums.products.len() } else { 0 };
    let (all_products, _) = take(sums.products, products_len);
    for (i, ((scores, distances), row_sum)) in
        (0..usize::MAX).zip(matrices.zip(sums.row_sums.iter_mut()))
    {
        *row_sum = coefficient_row(isa, scores, distances, bases.volume, sums.volume_products);
        let start = i.saturating_mul(rows);
        let end = start.saturating_add(rows);
        let planes = all_products.rows_mut(bases.m.saturating_mul(rows));
        for (p, products) in (0..bases.m).zip(planes) {
            let yp = plane(pairs.y, p, plane_len).get(start..end).unwrap_or(&[]);
            for (q, products) in (0..bases.m).zip(products.rows_mut(rows)) {
                let yq = plane(pairs.y, q, plane_len).get(start..end).unwrap_or(&[]);
                add_products(isa, scores, yp, yq, products);
            }
        }
        for y in pairs.y.rows_mut(plane_len) {
            scale_coordinates(isa, scores, y.get_mut(start..end).unwrap_or_default());
        }
    }
}

/// y → −C·y.
#[inline(always)]
pub(super) fn scale_coordinates<I: Isa>(isa: I, c: &[I::Scalar], y: &mut [I::Scalar]) {
    for (y, c) in isa.pieces_mut(y).zip(isa.pieces(c)) {
        isa.store(-(isa.load(c) * isa.load(y)), y);
    }
}

/// One row of W to C = W·vol/d; adds W·V to the columns, returns Σ C.
#[inline(always)]
pub(super) fn coefficient_row<I: Isa>(
    isa: I,
    scores: &mut [I::Scalar],
    distances: &[I::Scalar],
    volumes: &[I::Scalar],
    volume_products: &mut [I::Scalar],
) -> I::Scalar {
    let zero = isa.splat(I::Scalar::ZERO);
    let mut sum = zero;
    let columns = isa
        .pieces(distances)
        .zip(isa.pieces(volumes))
        .zip(isa.pieces_mut(volume_products));
    for (scores, ((distance, volume), product)) in isa.pieces_mut(scores).zip(columns) {
        let (w, d, volume) = (isa.load(scores), isa.load(distance), isa.load(volume));
        isa.store((w * d).mul_add(volume, isa.load(product)), product);
        let c = pair::coefficient(w, d, volume);
        isa.store(c, scores);
        sum = sum + c;
    }
    sum.sum()
}

/// products += C · y_p · y_q over the items.
#[inline(always)]
pub(super) fn add_products<I: Isa>(
    isa: I,
    c: &[I::Scalar],
    yp: &[I::Scalar],
    yq: &[I::Scalar],
    products: &mut [I::Scalar],
) {
    let factors = isa.pieces(c).zip(isa.pieces(yp)).zip(isa.pieces(yq));
    for (((c, yp), yq), product) in factors.zip(isa.pieces_mut(products)) {
        let value = (isa.load(c) * isa.load(yp)).mul_add(isa.load(yq), isa.load(product));
        isa.store(value, product);
    }
}

/// dO_j = R_j⁻¹ · ((Σ_i W V) Q_j − E_j), added to the gradient.
#[inline(always)]
fn item_gradients<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    sums: &Sums<'_, I::Scalar>,
    g: &mut [I::Scalar],
    e: &mut [I::Scalar],
    sink: &mut Sink<'_, I::Scalar>,
) {
    let (m, rows, d) = (bases.m, bases.items.max(1), bases.d.max(1));
    let items = sums.volume_products.iter().zip(bases.volume);
    for (j, (volume_product, volume)) in (0..rows).zip(items) {
        let start = j.saturating_mul(d);
        let of_item = start..start.saturating_add(d);
        // Out of e, which may be where the gradient goes.
        for (g, e) in g.rows_mut(d).zip(sink.sums(e)) {
            let e = e.get_mut(of_item.clone()).unwrap_or_default();
            for (g, e) in g.iter_mut().zip(e) {
                (*g, *e) = (*e, I::Scalar::ZERO);
            }
        }
        if *volume == I::Scalar::ZERO {
            continue;
        }
        let product = |p: usize, q: usize| {
            let index = p.saturating_mul(m).saturating_add(q);
            let at = index.saturating_mul(rows).saturating_add(j);
            sums.products.get(at).copied().unwrap_or_default()
        };
        item_gradient(isa, bases, j, product, *volume_product, g);
        for (plane, g) in sink.items().zip(g.rows(d)) {
            let to = plane.get_mut(of_item.clone()).unwrap_or_default();
            ops::axpy(isa, I::Scalar::ONE, g, to);
        }
    }
}

/// −E_j → dO_j, \[m, d\], from Σ_i C y_p y_q and Σ_i W V; of an item that has a volume.
#[inline(always)]
pub(super) fn item_gradient<I: Isa>(
    isa: I,
    bases: &Bases<'_, I::Scalar>,
    j: usize,
    product: impl Fn(usize, usize) -> I::Scalar,
    volume_product: I::Scalar,
    g: &mut [I::Scalar],
) {
    let (m, d) = (bases.m, bases.d.max(1));
    for (p, g) in (0..m).zip(g.rows_mut(d)) {
        for (q, row) in (0..m).zip(bases.q_of(j).iter()) {
            let mut factor = product(p, q);
            if p == q {
                factor += volume_product;
            }
            ops::axpy(isa, factor, row, g);
        }
    }
    basis::solve(isa, bases.r_of(j), m, d, g);
}
