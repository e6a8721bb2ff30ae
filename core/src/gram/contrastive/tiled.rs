//! One matrix of scores in strips of items: no number of a pair is kept but the coordinates y, or not even those.
//!
//! ```text
//! forward, per strip    y = Q·a → score → l; per row and column max, Σ exp(l − max) without the target's
//! backward, per strip   (y = Q·a again) → score → W = dL/ds → −C·y; dA += (−C·y)·Q, −E = (−C·y)ᵀ·A → dO
//! ```
//!
//! Blocks of anchors are independent pieces of work, and so are groups of items where E is summed. What a row
//! gathers over the strips, and a column over the blocks, is added in one order: the result does not depend on who
//! does the pieces. A target's part of a sum stays apart, since 1 − p would cancel for a sure match.

use super::layout::Sink;
use super::volume::{
    add_products, coefficient_row, item_gradient, near_coefficient, scale_coordinates,
};
use crate::crew::{Crew, Work};
use crate::gram::info_nce::{Direction, InfoNce, Row, Term, logits_of_row, sums_of_row};
use crate::gram::pair::{self, Bases};
use crate::gram::strip::{BLOCK, GROUP, ITEMS, Strip, blocks, strip_items};
use crate::lanes::{Isa, Lanes, Real};
use crate::ops::{self, Walk, split, take, tile};
use crate::softmax;

use super::K_MAX;

/// Numbers kept per row: |a|², max, Σ exp(l − max) of the others and later its logarithm with the target, Σ l, the
/// target's logit, whether there is a target, dL/dl of the target, Σ C, Σ dL/dl · (l − target).
const OF_ROW: usize = 9;

/// Numbers kept per column: volume, whether it is there, and those of a row from max to dL/dl of the target.
const OF_COLUMN: usize = 8;

/// Anchors of a sum of E: half of the longest, since each hand packs as many where they are not kept.
const DEPTH: usize = tile::DEPTH / 2;

/// m² + 1 sums of a group of items.
const SUMS: usize = GROUP * ((K_MAX - 1) * (K_MAX - 1) + 1);

/// What a score is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Score {
    /// V, from the coordinates over the bases.
    Volume,
    /// x_p · x_q: the coordinate over a "basis" that is the one vector of the item itself.
    Cosine,
}

/// What is contrasted.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub(super) score: Score,
    pub(super) bases: &'a Bases<'a, T>,
    /// \[b1, d\].
    pub(super) anchors: &'a [T],
    /// \[b1\].
    pub(super) anchors_present: &'a [T],
    /// Which items are there: \[b2\].
    pub(super) columns: &'a [T],
    pub(super) info_nce: InfoNce<T>,
}

/// What the workspace of a matrix depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatrixSize {
    pub(super) anchors: usize,
    pub(super) items: usize,
    pub(super) m: usize,
    pub(super) d: usize,
    /// Pieces done at a time.
    pub(super) hands: usize,
    /// The coordinates of all pairs are kept for the backward pass, and the packed anchors for all strips.
    pub(super) keep: bool,
}

impl MatrixSize {
    /// Floats of workspace.
    pub(super) const fn len(self) -> usize {
        let MatrixSize {
            anchors,
            m,
            d,
            hands,
            ..
        } = self;
        let items = strip_items(m, self.items);
        let width = m.saturating_mul(items);
        self.y_len()
            .saturating_add(anchors.saturating_mul(items))
            .saturating_add(width.saturating_mul(d).saturating_mul(2))
            .saturating_add(width.saturating_mul(tile::padded(d)))
            .saturating_add(tile::padded(self.items).saturating_mul(OF_COLUMN))
            .saturating_add(anchors.saturating_mul(OF_ROW))
            .saturating_add(blocks(anchors).saturating_mul(self.of_block()))
            .saturating_add(self.packed_len())
            .saturating_add(hands.saturating_mul(self.of_hand()))
    }

    /// Packed anchors: all of them, where they are kept, and no less than what every hand packs where they are not, so
    /// that the large workspace is never the smaller.
    const fn packed_len(self) -> usize {
        let of_hands = self.hands.saturating_mul(DEPTH);
        let anchors = if self.keep && self.anchors > of_hands {
            self.anchors
        } else {
            of_hands
        };
        tile::padded(self.d).saturating_mul(anchors)
    }

    const fn y_len(self) -> usize {
        let items = if self.keep {
            tile::padded(self.items)
        } else {
            strip_items(self.m, self.items)
        };
        self.anchors.saturating_mul(self.m).saturating_mul(items)
    }

    /// Sums over a block for each item of a strip, a residual and its coordinates.
    const fn of_block(self) -> usize {
        let sums = self.m.saturating_mul(self.m).saturating_add(1);
        let sums = if sums < 3 { 3 } else { sums };
        sums.saturating_mul(strip_items(self.m, self.items))
            .saturating_add(self.d.saturating_add(self.m))
    }

    /// An item's gradient, a residual and its coordinates.
    const fn of_hand(self) -> usize {
        self.m
            .saturating_mul(self.d)
            .saturating_add(self.d.saturating_add(self.m))
    }
}

/// The parts of the workspace.
struct Parts<'a, T> {
    size: MatrixSize,
    y: &'a mut [T],
    /// Scores, logits, W; at last C of near pairs: \[b1, items of a strip\].
    plane: &'a mut [T],
    panels: &'a mut [T],
    back_panels: &'a mut [T],
    /// −E, then dO: \[groups\]\[m\]\[[`GROUP`]\]\[d\].
    e: &'a mut [T],
    columns: &'a mut [T],
    rows: &'a mut [[T; OF_ROW]],
    of_blocks: &'a mut [T],
    /// Packed anchors, [`DEPTH`] at a time: all, or those of each hand.
    packed: &'a mut [T],
    of_hands: &'a mut [T],
}

impl<'a, T: Real> Parts<'a, T> {
    fn split(workspace: &'a mut [T], size: MatrixSize) -> Self {
        let MatrixSize {
            anchors,
            m,
            d,
            hands,
            ..
        } = size;
        let items = strip_items(m, size.items);
        let width = m.saturating_mul(items);
        let (y, rest) = take(workspace, size.y_len());
        let (plane, rest) = take(rest, anchors.saturating_mul(items));
        let (panels, rest) = take(rest, width.saturating_mul(d));
        let (back_panels, rest) = take(rest, width.saturating_mul(tile::padded(d)));
        let (e, rest) = take(rest, width.saturating_mul(d));
        let columns = tile::padded(size.items).saturating_mul(OF_COLUMN);
        let (columns, rest) = take(rest, columns);
        let (rows, rest) = take(rest, anchors.saturating_mul(OF_ROW));
        let (of_blocks, rest) = take(rest, blocks(anchors).saturating_mul(size.of_block()));
        let (packed, rest) = take(rest, size.packed_len());
        let (of_hands, _) = take(rest, hands.saturating_mul(size.of_hand()));
        Parts {
            size,
            y,
            plane,
            panels,
            back_panels,
            e,
            columns,
            rows: rows.as_chunks_mut().0,
            of_blocks,
            packed,
            of_hands,
        }
    }

    /// The coordinates of a strip, in their own place where all are kept.
    fn y_of<'y>(y: &'y mut [T], size: MatrixSize, strip: &Strip<'_, T>) -> &'y mut [T] {
        let start = if size.keep { strip.first } else { 0 };
        let start = start.saturating_mul(size.m).saturating_mul(size.anchors);
        let (_, y) = take(y, start);
        take(y, strip.width().saturating_mul(size.anchors)).0
    }
}

/// The numbers of the columns of a strip.
struct Columns<'a, T> {
    volume: &'a mut [T],
    there: &'a mut [T],
    max: &'a mut [T],
    sum: &'a mut [T],
    total: &'a mut [T],
    target: &'a mut [T],
    counts: &'a mut [T],
    pull: &'a mut [T],
}

impl<'a, T: Real> Columns<'a, T> {
    fn of(columns: &'a mut [T], strip: &Strip<'_, T>) -> Self {
        let n = strip.items;
        let (_, columns) = take(columns, strip.first.saturating_mul(OF_COLUMN));
        let (volume, columns) = take(columns, n);
        let (there, columns) = take(columns, n);
        let (max, columns) = take(columns, n);
        let (sum, columns) = take(columns, n);
        let (total, columns) = take(columns, n);
        let (target, columns) = take(columns, n);
        let (counts, columns) = take(columns, n);
        let (pull, _) = take(columns, n);
        Columns {
            volume,
            there,
            max,
            sum,
            total,
            target,
            counts,
            pull,
        }
    }
}

impl<T: Real> Matrix<'_, T> {
    fn volume_of(&self, item: usize) -> T {
        self.bases.volume.get(item).copied().unwrap_or_default()
    }

    /// The row whose target is a column, and the column that is a row's.
    #[inline(always)]
    fn target(&self, row: usize) -> usize {
        let [first_row, first_column] = self.info_nce.first();
        // Rows before the first have none: the difference wraps out of the matrix.
        row.wrapping_sub(first_row).saturating_add(first_column)
    }

    /// Which of the directions count, as factors.
    fn directions(&self) -> [T; 2] {
        let one_if = |counts: bool| if counts { T::ONE } else { T::ZERO };
        [
            one_if(self.info_nce.direction != Direction::Columns),
            one_if(self.info_nce.direction != Direction::Rows),
        ]
    }

    /// The scores of one anchor with a strip into `plane`, and its distances.
    #[inline(always)]
    fn scores<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        strip: &Strip<'_, T>,
        [anchor, y, volume]: [&[T]; 3],
        square: T,
        [plane, distance, scratch]: [&mut [T]; 3],
    ) {
        match self.score {
            Score::Cosine => {
                for (to, y) in isa.pieces_mut(plane).zip(isa.pieces(y)) {
                    isa.store(isa.load(y), to);
                }
            }
            Score::Volume => {
                strip.distances(isa, anchor, square, y, distance, scratch);
                let pairs = isa.pieces(distance).zip(isa.pieces(volume));
                for (to, (distance, volume)) in isa.pieces_mut(plane).zip(pairs) {
                    isa.store(isa.load(distance) * isa.load(volume), to);
                }
            }
        }
    }
}

/// The loss of a matrix, and its gradient into the sink: of the items' planes those from number `first` on, as many as
/// an item has vectors. The workspace has the [`MatrixSize::len`] numbers of `size`.
pub(super) fn contrast<T: Real, C: Crew<T>>(
    crew: &C,
    matrix: &Matrix<'_, T>,
    size: MatrixSize,
    first: usize,
    sink: &mut Sink<'_, T>,
    workspace: &mut [T],
) -> Term<T> {
    let mut parts = Parts::split(workspace, size);
    for row in parts.rows.iter_mut() {
        *row = [T::ZERO; OF_ROW];
        let [_, max, ..] = row;
        *max = -T::MAX;
    }
    for strip in Strip::all(matrix.bases) {
        forward(crew, matrix, &mut parts, strip);
    }
    let (term, uniform) = settle(matrix, &mut parts);
    let Some(uniform) = uniform else {
        return term;
    };
    let wants_items = sink.wants_items();
    let d = matrix.bases.d;
    if wants_items && parts.size.keep {
        let anchors = matrix.anchors.pieces(d.saturating_mul(DEPTH));
        let of_depth = tile::padded(d).saturating_mul(DEPTH);
        let panels = parts.packed.pieces_mut(of_depth);
        crew.each(anchors.zip(panels), &PackAnchors { d });
    }
    for strip in Strip::all(matrix.bases) {
        backward(crew, matrix, &mut parts, strip, uniform, sink.anchors);
        if wants_items {
            let e = items(crew, matrix, &mut parts, strip);
            let work = AddItems { strip, e };
            let planes = sink.items().skip(first);
            crew.each((0..matrix.bases.m).zip(planes), &work);
        }
    }
    let rows = parts
        .rows
        .chunks(BLOCK)
        .zip(matrix.anchors.pieces(d.saturating_mul(BLOCK)));
    let gradient = sink.anchors.pieces_mut(d.saturating_mul(BLOCK));
    if matrix.score == Score::Volume {
        crew.each(rows.zip(gradient), &AddAnchors { d });
    }
    let product = parts.rows.iter().fold(T::ZERO, |sum, row| {
        let [.., product] = *row;
        sum + product
    });
    Term {
        logit_product: matrix.info_nce.share() * product,
        ..term
    }
}

/// The statistics of a strip.
fn forward<T: Real, C: Crew<T>>(
    crew: &C,
    matrix: &Matrix<'_, T>,
    parts: &mut Parts<'_, T>,
    strip: Strip<'_, T>,
) {
    let (d, n, width) = (matrix.bases.d, strip.items, strip.width());
    let (panels, _) = take(parts.panels, width.saturating_mul(d));
    strip.pack(crew, panels);
    let columns = Columns::of(parts.columns, &strip);
    let of_items = columns.volume.iter_mut().zip(columns.there.iter_mut());
    for (item, (volume, there)) in (strip.first..usize::MAX).zip(of_items) {
        *volume = matrix.volume_of(item);
        *there = matrix.columns.get(item).copied().unwrap_or_default();
    }
    let y = Parts::y_of(parts.y, parts.size, &strip);
    let pieces = (0..usize::MAX)
        .step_by(BLOCK)
        .zip(matrix.anchors.pieces(d.saturating_mul(BLOCK)))
        .zip(matrix.anchors_present.chunks(BLOCK))
        .zip(parts.rows.chunks_mut(BLOCK))
        .zip(y.pieces_mut(width.saturating_mul(BLOCK)))
        .zip(parts.plane.pieces_mut(n.saturating_mul(BLOCK)))
        .zip(parts.of_blocks.rows_mut(parts.size.of_block()))
        .map(
            |((((((first, anchors), present), rows), y), plane), scratch)| ForwardBlock {
                first,
                anchors,
                present,
                rows,
                y,
                plane,
                scratch,
            },
        );
    let work = Forward {
        matrix: *matrix,
        strip,
        panels,
        volume: columns.volume,
        there: columns.there,
    };
    crew.each(pieces, &work);
    let merge = Merge {
        items: n,
        of_block: parts.size.of_block(),
        of_blocks: parts.of_blocks,
    };
    crew.each(
        core::iter::once([columns.max, columns.sum, columns.total]),
        &merge,
    );
}

struct Forward<'a, T> {
    matrix: Matrix<'a, T>,
    strip: Strip<'a, T>,
    panels: &'a [T],
    volume: &'a [T],
    there: &'a [T],
}

/// A block of anchors with its rows of everything.
struct ForwardBlock<'a, T> {
    first: usize,
    anchors: &'a [T],
    present: &'a [T],
    rows: &'a mut [[T; OF_ROW]],
    y: &'a mut [T],
    plane: &'a mut [T],
    /// The columns' max, Σ exp(l − max) and Σ l; a residual.
    scratch: &'a mut [T],
}

impl<T: Real> Work<T, ForwardBlock<'_, T>> for Forward<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, block: ForwardBlock<'_, T>) {
        let Forward {
            matrix,
            strip,
            panels,
            volume,
            there,
        } = self;
        let ForwardBlock {
            first,
            anchors,
            present,
            rows,
            y,
            plane,
            scratch,
        } = block;
        let (d, n, width) = (matrix.bases.d, strip.items, strip.width());
        let (y, _) = take(y, width.saturating_mul(rows.len()));
        strip.coordinates(isa, panels, anchors, y);
        let (max, scratch) = take(scratch, n);
        let (sum, scratch) = take(scratch, n);
        let (total, scratch) = take(scratch, n);
        max.fill(-T::MAX);
        sum.fill(T::ZERO);
        total.fill(T::ZERO);
        let mut distance = [T::ZERO; ITEMS];
        let (distance, _) = take(&mut distance, n);
        let of_rows = anchors.rows(d).zip(present).zip(y.rows(width));
        let of_rows = of_rows.zip(plane.rows_mut(n)).zip(rows.iter_mut());
        for (index, ((((anchor, present), y), plane), row)) in (first..usize::MAX).zip(of_rows) {
            if *present == T::ZERO {
                plane.fill(-T::INFINITY);
                continue;
            }
            let [square, row_max, row_sum, row_total, target, has_target, ..] = row;
            if strip.first == 0 {
                *square = ops::dot(isa, anchor, anchor);
            }
            let outputs = [&mut *plane, &mut *distance, &mut *scratch];
            matrix.scores(isa, strip, [anchor, y, volume], *square, outputs);
            let (of_strip, strip_total) =
                logits_of_row(isa, matrix.info_nce.scale, there, plane, max, total);
            let new = row_max.max(of_strip);
            *row_sum = *row_sum * (*row_max - new).exp();
            *row_max = new;
            *row_total += strip_total;
            let column = matrix.target(index).wrapping_sub(strip.first);
            let there = there.get(column).copied().unwrap_or_default();
            if let Some(own) = plane.get_mut(column).filter(|_| there > T::ZERO) {
                (*target, *has_target) = (*own, T::ONE);
                *own = -T::INFINITY;
            }
        }
        for ((row, plane), present) in rows.iter_mut().zip(plane.rows(n)).zip(present) {
            let [_, row_max, row_sum, ..] = row;
            if *present != T::ZERO {
                *row_sum += sums_of_row(isa, *row_max, plane, max, sum);
            }
        }
    }
}

/// The statistics of the columns of a strip from those of the blocks, in order.
struct Merge<'a, T> {
    items: usize,
    of_block: usize,
    of_blocks: &'a [T],
}

impl<T: Real> Work<T, [&mut [T]; 3]> for Merge<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, [max, sum, total]: [&mut [T]; 3]) {
        max.fill(-T::MAX);
        sum.fill(T::ZERO);
        total.fill(T::ZERO);
        for block in self.of_blocks.rows(self.of_block) {
            let (block_max, block) = split(block, self.items);
            let (block_sum, block_total) = split(block, self.items);
            let of_block = isa
                .pieces(block_max)
                .zip(isa.pieces(block_sum))
                .zip(isa.pieces(block_total));
            let of_all = isa
                .pieces_mut(max)
                .zip(isa.pieces_mut(sum))
                .zip(isa.pieces_mut(total));
            for (((max, sum), total), ((block_max, block_sum), block_total)) in of_all.zip(of_block)
            {
                let (old, other) = (isa.load(max), isa.load(block_max));
                let new = old.max(other);
                let part = isa.load(block_sum) * (other - new).exp();
                isa.store((isa.load(sum) * (old - new).exp()) + part, sum);
                isa.store(isa.load(total) + isa.load(block_total), total);
                isa.store(new, max);
            }
        }
    }
}

/// ln Σ with the target, dL/dl of the target and the cross-entropy, of a row or a column.
fn settled<T: Real>([max, others, total, target]: [T; 4], candidates: T, smoothing: T) -> [T; 3] {
    let sum = others + (target - max).exp();
    let ln_sum = sum.ln();
    let mean = total / candidates - max;
    let loss = softmax::smoothed(smoothing, ln_sum, target - max, mean);
    let pull = smoothing * ((candidates - T::ONE) / candidates) - others / sum;
    [ln_sum, pull, loss]
}

/// From sums to what the gradient needs; the loss, and ε/C of rows and columns, nothing where no pair is there.
fn settle<T: Real>(matrix: &Matrix<'_, T>, parts: &mut Parts<'_, T>) -> (Term<T>, Option<[T; 2]>) {
    let count = |there: &[T]| there.iter().fold(T::ZERO, |sum, there| sum + *there);
    let (rows, columns) = (count(matrix.anchors_present), count(matrix.columns));
    let InfoNce { smoothing, .. } = matrix.info_nce;
    let [row_counts, column_counts] = matrix.directions();
    let [first_row, first_column] = matrix.info_nce.first();
    let (mut loss, mut any) = ([T::ZERO; 2], false);
    for strip in Strip::all(matrix.bases) {
        let of = Columns::of(parts.columns, &strip);
        let state = of.max.iter().zip(of.sum.iter_mut()).zip(of.total.iter());
        let state = state.zip(of.target.iter_mut()).zip(of.counts.iter_mut());
        for (item, (((((max, sum), total), target), counts), pull)) in
            (strip.first..usize::MAX).zip(state.zip(of.pull.iter_mut()))
        {
            (*target, *counts, *pull) = (T::ZERO, T::ZERO, T::ZERO);
            let row = item.wrapping_sub(first_column).saturating_add(first_row);
            let row = if item < first_column { usize::MAX } else { row };
            let own = parts
                .rows
                .get(row)
                .filter(|[.., has, _, _, _]| *has > T::ZERO);
            let others = *sum;
            *sum = T::ZERO;
            let Some([_, _, _, _, own, ..]) = own else {
                continue;
            };
            let [ln_sum, pulled, part] = settled([*max, others, *total, *own], rows, smoothing);
            (*sum, *target, *counts) = (ln_sum, *own, column_counts);
            *pull = column_counts * pulled;
            loss = [loss[0], loss[1] + column_counts * part];
        }
    }
    for [_, max, sum, total, target, has, pull, _, _] in parts.rows.iter_mut() {
        let others = *sum;
        *sum = T::ZERO;
        if *has == T::ZERO {
            continue;
        }
        any = true;
        let [ln_sum, pulled, part] = settled([*max, others, *total, *target], columns, smoothing);
        *sum = ln_sum;
        *pull = row_counts * pulled;
        loss = [loss[0] + row_counts * part, loss[1]];
    }
    if !any {
        return (Term::default(), None);
    }
    let share = matrix.info_nce.share();
    let term = Term {
        directions: [share * loss[0], share * loss[1]],
        logit_product: T::ZERO,
    };
    (term, Some([smoothing / columns, smoothing / rows]))
}

/// W, the coefficients and the gradient of the anchors from a strip.
fn backward<T: Real, C: Crew<T>>(
    crew: &C,
    matrix: &Matrix<'_, T>,
    parts: &mut Parts<'_, T>,
    strip: Strip<'_, T>,
    uniform: [T; 2],
    gradient: &mut [T],
) {
    let (d, n, width) = (matrix.bases.d, strip.items, strip.width());
    let (panels, _) = take(parts.panels, width.saturating_mul(d));
    if !parts.size.keep {
        strip.pack(crew, panels);
    }
    let (back_panels, _) = take(parts.back_panels, width.saturating_mul(tile::padded(d)));
    strip.pack_back(crew, back_panels);
    let y = Parts::y_of(parts.y, parts.size, &strip);
    let mut gradient = gradient;
    let gradients = core::iter::from_fn(move || {
        let all = core::mem::take(&mut gradient);
        let (head, rest) = take(all, d.saturating_mul(BLOCK).min(all.len()));
        gradient = rest;
        Some(head)
    });
    let pieces = (0..usize::MAX)
        .step_by(BLOCK)
        .zip(matrix.anchors.pieces(d.saturating_mul(BLOCK)))
        .zip(matrix.anchors_present.chunks(BLOCK))
        .zip(parts.rows.chunks_mut(BLOCK))
        .zip(y.pieces_mut(width.saturating_mul(BLOCK)))
        .zip(parts.plane.pieces_mut(n.saturating_mul(BLOCK)))
        .zip(parts.of_blocks.rows_mut(parts.size.of_block()))
        .zip(gradients)
        .map(
            |(((((((first, anchors), present), rows), y), plane), scratch), gradient)| {
                let block = ForwardBlock {
                    first,
                    anchors,
                    present,
                    rows,
                    y,
                    plane,
                    scratch,
                };
                (block, gradient)
            },
        );
    let work = Backward {
        matrix: *matrix,
        strip,
        panels,
        back_panels,
        columns: Columns::of(parts.columns, &strip),
        uniform,
        keep: parts.size.keep,
    };
    crew.each(pieces, &work);
}

struct Backward<'a, T> {
    matrix: Matrix<'a, T>,
    strip: Strip<'a, T>,
    panels: &'a [T],
    back_panels: &'a [T],
    columns: Columns<'a, T>,
    uniform: [T; 2],
    keep: bool,
}

impl<T: Real> Work<T, (ForwardBlock<'_, T>, &mut [T])> for Backward<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, piece: (ForwardBlock<'_, T>, &mut [T])) {
        let (block, gradient) = piece;
        let ForwardBlock {
            first,
            anchors,
            present,
            rows,
            y,
            plane,
            scratch,
        } = block;
        let Bases { m, d, .. } = *self.matrix.bases;
        let (n, width) = (self.strip.items, self.strip.width());
        let (y, _) = take(y, width.saturating_mul(rows.len()));
        if !self.keep {
            self.strip.coordinates(isa, self.panels, anchors, y);
        }
        let of_item = m.saturating_mul(m).saturating_add(1);
        let (sums, scratch) = take(scratch, n.saturating_mul(of_item));
        sums.fill(T::ZERO);
        let mut gradients = gradient.rows_mut(d);
        let of_rows = anchors.rows(d).zip(present).zip(y.rows_mut(width));
        let of_rows = of_rows.zip(plane.rows_mut(n)).zip(rows.iter_mut());
        for (index, ((((anchor, present), y), plane), row)) in (first..usize::MAX).zip(of_rows) {
            let gradient = gradients.next().unwrap_or_default();
            if *present == T::ZERO {
                plane.fill(T::ZERO);
                y.fill(T::ZERO);
                continue;
            }
            self.row(isa, index, anchor, row, [y, plane, sums, scratch, gradient]);
        }
        let to = tile::To::Sum;
        tile::add_product(isa, to, [width, d], y, self.back_panels, gradient);
    }
}

impl<T: Real> Backward<'_, T> {
    /// One anchor: y → −C·y, or W of cosines; C of near pairs into `plane`.
    #[inline(always)]
    fn row<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        index: usize,
        anchor: &[T],
        row: &mut [T; OF_ROW],
        [y, plane, sums, scratch, gradient]: [&mut [T]; 5],
    ) {
        let Backward {
            matrix,
            strip,
            columns,
            ..
        } = self;
        let n = strip.items;
        let [
            square,
            max,
            ln_sum,
            _,
            target,
            has_target,
            pull,
            c_sum,
            product,
        ] = row;
        let mut distance = [T::ZERO; ITEMS];
        let (distance, _) = take(&mut distance, n);
        let outputs = [&mut *plane, &mut *distance, &mut *scratch];
        matrix.scores(isa, strip, [anchor, y, columns.volume], *square, outputs);
        let (mut unused, mut unused_too) = ([T::ZERO; ITEMS], [T::ZERO; ITEMS]);
        let (scale, there) = (matrix.info_nce.scale, &*columns.there);
        logits_of_row(isa, scale, there, plane, &mut unused, &mut unused_too);
        let column = matrix.target(index).wrapping_sub(strip.first);
        if let Some(own) = plane.get_mut(column) {
            *own = -T::INFINITY;
        }
        let [row_counts, _] = matrix.directions();
        let [row_uniform, column_uniform] = self.uniform;
        let factor = matrix.info_nce.share() * scale;
        let of_row = Row {
            factor,
            max: *max,
            ln_sum: *ln_sum,
            counts: row_counts * *has_target,
            target: *target,
            row_uniform,
            column_uniform,
        };
        let of_columns = [
            &*columns.max,
            &*columns.sum,
            &*columns.counts,
            &*columns.target,
        ];
        let (_, part) = of_row.gradient(isa, plane, of_columns, &mut unused);
        *product += part;
        if let Some(own) = plane.get_mut(column) {
            let pulled = columns.pull.get(column).copied().unwrap_or_default();
            *own = factor * (*pull + pulled);
        }
        if matrix.score == Score::Cosine {
            for (y, w) in isa.pieces_mut(y).zip(isa.pieces_mut(plane)) {
                isa.store(isa.load(w), y);
                isa.store(isa.splat(T::ZERO), w);
            }
            return;
        }
        let mut near = [T::ZERO; ITEMS];
        let (near, _) = take(&mut near, n);
        let near_sums = &mut unused;
        near_sums.fill(T::ZERO);
        let found = self.near_row(
            isa,
            anchor,
            *square,
            [plane, near, near_sums, scratch, gradient],
            distance,
        );
        let m = matrix.bases.m;
        let groups = plane
            .rows_mut(GROUP)
            .zip(y.rows_mut(m.saturating_mul(GROUP)));
        let of_item = m.saturating_mul(m).saturating_add(1);
        let groups = groups.zip(sums.rows_mut(of_item.saturating_mul(GROUP)));
        let of_columns = distance.rows(GROUP).zip(columns.volume.rows(GROUP));
        for (((c, y), sums), (distance, volume)) in groups.zip(of_columns) {
            let (products, volume_products) = take(sums, m.saturating_mul(m).saturating_mul(GROUP));
            *c_sum += coefficient_row(isa, c, distance, volume, volume_products);
            for (yp, products) in y
                .rows(GROUP)
                .zip(products.rows_mut(m.saturating_mul(GROUP)))
            {
                for (yq, products) in y.rows(GROUP).zip(products.rows_mut(GROUP)) {
                    add_products(isa, c, yp, yq, products);
                }
            }
            for y in y.rows_mut(GROUP) {
                scale_coordinates(isa, c, y);
            }
            c.fill(T::ZERO);
        }
        if found {
            let of_item = of_item.saturating_mul(GROUP);
            for (sums, near) in sums.rows_mut(of_item).zip(near_sums.rows(GROUP)) {
                let products = m.saturating_mul(m).saturating_mul(GROUP);
                let (_, volume_products) = take(sums, products);
                ops::axpy(isa, T::ONE, near, volume_products);
            }
            for (to, near) in isa.pieces_mut(plane).zip(isa.pieces(near)) {
                isa.store(isa.load(near), to);
            }
        }
    }

    /// The near pairs of an anchor: their part of dA, C into `near`, W·V into `products`, and W = 0; whether there are
    /// any.
    #[inline(always)]
    fn near_row<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        square: T,
        [weights, near, products, scratch, gradient]: [&mut [T]; 5],
        distance: &[T],
    ) -> bool {
        let bases = self.matrix.bases;
        let (rest, y) = take(scratch, bases.d);
        let (y, _) = take(y, bases.m);
        let anchor_square = isa.splat(square);
        let starts = (0..usize::MAX).step_by(I::WIDTH.max(1));
        let mut found = false;
        let pieces = isa.pieces(distance).zip(isa.pieces(self.columns.volume));
        let pieces = pieces
            .zip(isa.pieces_mut(weights))
            .zip(isa.pieces_mut(near));
        let pieces = pieces.zip(isa.pieces_mut(products));
        for (start, ((((distance, volume), w), near), products)) in starts.zip(pieces) {
            let lanes = isa.load(distance);
            if !I::Lanes::any(pair::is_near(anchor_square, lanes * lanes)) {
                continue;
            }
            let first = self.strip.first.saturating_add(start);
            let pairs = distance.iter().zip(volume).zip(w).zip(near).zip(products);
            for (j, ((((distance, volume), w), near), product)) in (first..bases.items).zip(pairs) {
                if !pair::is_near(square, *distance * *distance) {
                    continue;
                }
                let weight = *w;
                *w = T::ZERO;
                let Some([c, of_volume]) = near_coefficient(weight, *distance, *volume) else {
                    continue;
                };
                found = true;
                (*near, *product) = (c, of_volume);
                bases.residual(isa, anchor, j, rest, y);
                ops::axpy(isa, c, rest, gradient);
            }
        }
        found
    }
}

/// The gradient of the items of a strip, \[groups\]\[m\]\[[`GROUP`]\]\[d\].
fn items<'e, T: Real, C: Crew<T>>(
    crew: &C,
    matrix: &Matrix<'_, T>,
    parts: &'e mut Parts<'_, T>,
    strip: Strip<'_, T>,
) -> &'e [T] {
    let Bases { m, d, .. } = *matrix.bases;
    let of_group = m.saturating_mul(GROUP).saturating_mul(d);
    let groups = strip.items.checked_div(GROUP).unwrap_or_default();
    let hands = crew.hands().clamp(1, parts.size.hands.max(1));
    let share = groups.div_ceil(hands.max(1));
    let (e, _) = take(parts.e, groups.saturating_mul(of_group));
    let (kept, own) = if parts.size.keep {
        (&*parts.packed, &mut [][..])
    } else {
        (&[][..], &mut *parts.packed)
    };
    let work = ItemsOf {
        matrix: *matrix,
        strip,
        y: Parts::y_of(parts.y, parts.size, &strip),
        plane: parts.plane,
        packed: kept,
        of_blocks: parts.of_blocks,
        size: parts.size,
    };
    let mut own = own.rows_mut(tile::padded(d).saturating_mul(DEPTH));
    let pieces = (0..usize::MAX)
        .step_by(share.max(1))
        .zip(e.pieces_mut(share.saturating_mul(of_group)))
        .zip(parts.of_hands.rows_mut(parts.size.of_hand()))
        .map(|((group, e), scratch)| Groups {
            group,
            e,
            packed: own.next().unwrap_or_default(),
            scratch,
        });
    crew.each(pieces, &work);
    e
}

struct ItemsOf<'a, T> {
    matrix: Matrix<'a, T>,
    strip: Strip<'a, T>,
    y: &'a [T],
    plane: &'a [T],
    /// All anchors, where they are kept packed.
    packed: &'a [T],
    of_blocks: &'a [T],
    size: MatrixSize,
}

/// The anchors of a sum as columns of panels.
struct PackAnchors {
    d: usize,
}

impl<T: Real> Work<T, (&[T], &mut [T])> for PackAnchors {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, (anchors, panels): (&[T], &mut [T])) {
        let depth = anchors.len().checked_div(self.d).unwrap_or_default();
        let (panels, _) = take(panels, tile::padded(self.d).saturating_mul(depth));
        tile::pack_columns(isa, depth, 0, anchors.rows(self.d), panels);
    }
}

/// Some groups of items.
struct Groups<'a, T> {
    group: usize,
    e: &'a mut [T],
    /// Room for some packed anchors, where they are not kept.
    packed: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Real> Work<T, Groups<'_, T>> for ItemsOf<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, piece: Groups<'_, T>) {
        let Groups {
            group,
            e,
            packed,
            scratch,
        } = piece;
        let Bases { m, d, .. } = *self.matrix.bases;
        let of_group = m.saturating_mul(GROUP);
        let start = group.saturating_mul(of_group);
        let width = self.strip.width();
        e.fill(T::ZERO);
        let y = self.y.pieces(width.saturating_mul(DEPTH));
        let anchors = self.matrix.anchors.pieces(d.saturating_mul(DEPTH));
        let mut kept = self.packed.pieces(tile::padded(d).saturating_mul(DEPTH));
        for (y, anchors) in y.zip(anchors) {
            let depth = anchors.len().checked_div(d).unwrap_or_default();
            let len = tile::padded(d).saturating_mul(depth);
            let panels = match kept.next() {
                Some(kept) => kept,
                None => {
                    PackAnchors { d }.run(isa, (anchors, &mut *packed));
                    &*packed
                }
            };
            let panels = ops::part(panels, 0, len);
            tile::add_transposed(isa, [depth, d], y, [width, start], panels, e);
        }
        if self.matrix.score == Score::Cosine {
            return;
        }
        self.near_pairs(isa, group, e, scratch);
        let groups = e.rows_mut(of_group.saturating_mul(d));
        for (group, e) in (group..usize::MAX).zip(groups) {
            self.group(isa, group, e, scratch);
        }
    }
}

impl<T: Real> ItemsOf<'_, T> {
    /// −E of the near pairs.
    #[inline(always)]
    fn near_pairs<I: Isa<Scalar = T>>(&self, isa: I, group: usize, e: &mut [T], scratch: &mut [T]) {
        let Bases { m, d, .. } = *self.matrix.bases;
        let (rest, y) = take(scratch, d);
        let (y, _) = take(y, m);
        let zero = isa.splat(T::ZERO);
        let of_group = m.saturating_mul(GROUP).saturating_mul(d);
        let plane = self.plane.rows(self.strip.items);
        for (near, anchor) in plane.zip(self.matrix.anchors.rows(d)) {
            let near = near.rows(GROUP).skip(group);
            let groups = (group..usize::MAX).zip(near).zip(e.rows_mut(of_group));
            for ((group, near), e) in groups {
                let mut pieces = isa.pieces(near);
                if !pieces.any(|c| I::Lanes::any(zero.less(isa.load(c).abs()))) {
                    continue;
                }
                let first = self.strip.first.saturating_add(group.saturating_mul(GROUP));
                for (item, c) in (0..GROUP).zip(near).filter(|(_, c)| **c != T::ZERO) {
                    let bases = self.matrix.bases;
                    bases.residual(isa, anchor, first.saturating_add(item), rest, y);
                    for (e, y) in e.rows_mut(GROUP.saturating_mul(d)).zip(y.iter()) {
                        let e = e.rows_mut(d).nth(item).unwrap_or_default();
                        ops::axpy(isa, -(*c * *y), rest, e);
                    }
                }
            }
        }
    }

    /// −E → dO of a group.
    #[inline(always)]
    fn group<I: Isa<Scalar = T>>(&self, isa: I, group: usize, e: &mut [T], scratch: &mut [T]) {
        let bases = self.matrix.bases;
        let Bases { m, d, .. } = *bases;
        let len = m.saturating_mul(m).saturating_add(1).saturating_mul(GROUP);
        let mut sums = [T::ZERO; SUMS];
        let (sums, _) = take(&mut sums, len);
        for block in self.of_blocks.rows(self.size.of_block()) {
            let (_, block) = split(block, group.saturating_mul(len));
            ops::axpy(isa, T::ONE, split(block, len).0, sums);
        }
        let (g, _) = take(scratch, m.saturating_mul(d));
        let first = self.strip.first.saturating_add(group.saturating_mul(GROUP));
        for (item, j) in (0..GROUP).zip(first..bases.items) {
            let planes = e.rows(GROUP.saturating_mul(d));
            for (g, e) in g.rows_mut(d).zip(planes) {
                copy(e.rows(d).nth(item).unwrap_or(&[]), g);
            }
            let at = |index: usize| {
                let at = index.saturating_mul(GROUP).saturating_add(item);
                sums.get(at).copied().unwrap_or_default()
            };
            let product = |p: usize, q: usize| at(p.saturating_mul(m).saturating_add(q));
            item_gradient(isa, bases, j, product, at(m.saturating_mul(m)), g);
            let planes = e.rows_mut(GROUP.saturating_mul(d));
            for (g, e) in g.rows(d).zip(planes) {
                copy(g, e.rows_mut(d).nth(item).unwrap_or_default());
            }
        }
    }
}

#[inline(always)]
fn copy<T: Real>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Adds the gradient of the items of a strip to the planes.
struct AddItems<'a, T> {
    strip: Strip<'a, T>,
    e: &'a [T],
}

impl<T: Real> Work<T, (usize, &mut [T])> for AddItems<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, (p, plane): (usize, &mut [T])) {
        let Bases { m, d, .. } = *self.strip.bases;
        let to = plane.get_mut(self.strip.first.saturating_mul(d)..);
        let mut to = to.unwrap_or_default().rows_mut(d);
        let group = GROUP.saturating_mul(d);
        for e in self.e.rows(m.saturating_mul(group)) {
            let e = e.rows(group).nth(p).unwrap_or(&[]);
            for (e, to) in e.rows(d).zip(to.by_ref()) {
                ops::axpy(isa, T::ONE, e, to);
            }
        }
    }
}

/// dA_i += (Σ_j C_ij) a_i.
struct AddAnchors {
    d: usize,
}

impl<T: Real> Work<T, ((&[[T; OF_ROW]], &[T]), &mut [T])> for AddAnchors {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        ((rows, anchors), gradient): ((&[[T; OF_ROW]], &[T]), &mut [T]),
    ) {
        let pairs = anchors.rows(self.d).zip(gradient.rows_mut(self.d));
        for ([.., c_sum, _], (anchor, gradient)) in rows.iter().zip(pairs) {
            ops::axpy(isa, *c_sum, anchor, gradient);
        }
    }
}
