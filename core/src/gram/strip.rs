//! Anchors against items in strips: some items at a time, their bases packed, and blocks of anchors that are
//! independent pieces of work.
//!
//! The coordinates y = Q·a of a block lie as \[anchors\]\[groups\]\[m\]\[[`GROUP`]\], so that all that is said of a pair is
//! vertical in lanes, and a group of items is one piece of a row. Items beyond the last of a group have y = 0.

use crate::crew::{Crew, Work};
use crate::gram::pair::{self, Bases, Measure};
use crate::lanes::{Isa, Real};
use crate::ops::{self, Walk, take, tile};

/// Items of a group.
pub(super) const GROUP: usize = tile::COLUMNS;

/// Anchors of a block: what one piece of work takes.
pub(super) const BLOCK: usize = 48;

/// Anchors whose coordinates stay in the nearest cache until they are distances.
const STEP: usize = 12;

/// Columns that are packed at a time: enough that the parts of the rows are not short, few enough for many hands.
const PACKED: usize = 8 * tile::COLUMNS;

/// The most items of a strip.
pub(super) const ITEMS: usize = 128;

/// Items of a strip of items of m vectors, a multiple of [`GROUP`]: up to 192 vectors, which a nearer cache
/// holds.
pub(super) const fn strip_items(m: usize, items: usize) -> usize {
    let most = match m {
        0 | 1 => 128,
        2 => 96,
        3 => 64,
        4 => 48,
        5 | 6 => 32,
        _ => 16,
    };
    let all = tile::padded(items);
    if all < most { all } else { most }
}

/// Blocks of some anchors.
pub(super) const fn blocks(anchors: usize) -> usize {
    anchors.div_ceil(BLOCK)
}

/// Some items of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip<'a, T> {
    pub(super) bases: &'a Bases<'a, T>,
    /// The first item.
    pub(super) first: usize,
    /// How many there are, rounded up to whole groups.
    pub(super) items: usize,
}

impl<'a, T: Real> Strip<'a, T> {
    /// The strips of all items.
    #[inline(always)]
    pub(super) fn all(bases: &'a Bases<'a, T>) -> impl Iterator<Item = Strip<'a, T>> {
        let step = strip_items(bases.m, bases.items).max(1);
        (0..bases.items).step_by(step).map(move |first| Strip {
            bases,
            first,
            items: step.min(tile::padded(bases.items.saturating_sub(first))),
        })
    }

    /// Numbers of y of an anchor.
    #[inline(always)]
    pub(super) fn width(&self) -> usize {
        self.bases.m.saturating_mul(self.items)
    }

    /// Row p of the basis of an item; empty where there is none.
    #[inline(always)]
    pub(super) fn q(&self, p: usize, item: usize) -> &'a [T] {
        let Bases { q, items, d, .. } = *self.bases;
        if item >= items {
            return &[];
        }
        let start = p
            .saturating_mul(items)
            .saturating_add(item)
            .saturating_mul(d);
        q.get(start..start.saturating_add(d)).unwrap_or(&[])
    }

    /// The rows of the basis in the order of y, of the groups from number `group` on.
    #[inline(always)]
    fn rows(self, group: usize) -> impl Iterator<Item = &'a [T]> {
        let start = group.saturating_mul(GROUP);
        (start..self.items).step_by(GROUP).flat_map(move |group| {
            let first = self.first.saturating_add(group);
            (0..self.bases.m).flat_map(move |p| {
                (0..GROUP).map(move |item| self.q(p, first.saturating_add(item)))
            })
        })
    }

    /// Packs Qᵀ for y = Q·a: panels of the depth d.
    pub(super) fn pack<C: Crew<T>>(self, crew: &C, panels: &mut [T]) {
        let of_group = self.bases.m.saturating_mul(GROUP);
        let groups = panels.rows_mut(of_group.saturating_mul(self.bases.d));
        crew.each((0..usize::MAX).zip(groups), &PackRows(self));
    }

    /// Packs Q for Σ y·q: panels of the depth [`Strip::width`], of d columns.
    pub(super) fn pack_back<C: Crew<T>>(self, crew: &C, panels: &mut [T]) {
        let some = self.width().saturating_mul(PACKED);
        let starts = (0..usize::MAX).step_by(PACKED);
        crew.each(starts.zip(panels.pieces_mut(some)), &PackColumns(self));
    }

    /// The coordinates of some anchors \[.., d\] into `y` \[.., [`Strip::width`]\].
    #[inline(always)]
    pub(super) fn coordinates<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        panels: &[T],
        anchors: &[T],
        y: &mut [T],
    ) {
        let sizes = [self.bases.d, self.width()];
        tile::add_product(isa, tile::To::Anything, sizes, anchors, panels, y);
    }

    /// The distances of an anchor, of which |a|² and y are given, to the items of the strip. `scratch` holds d + m
    /// numbers.
    #[inline(always)]
    pub(super) fn distances<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        square: T,
        y: &[T],
        distance: &mut [T],
        scratch: &mut [T],
    ) {
        let groups = y.rows(self.bases.m.saturating_mul(GROUP));
        for (y, distance) in groups.zip(distance.rows_mut(GROUP)) {
            pair::projection_squares(isa, y, GROUP, 0, distance);
        }
        self.bases
            .finish_row(isa, anchor, square, self.first, distance, scratch);
    }
}

struct PackRows<'a, T>(Strip<'a, T>);

impl<T: Real> Work<T, (usize, &mut [T])> for PackRows<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, (group, panels): (usize, &mut [T])) {
        tile::pack_rows(isa, self.0.bases.d, self.0.rows(group), panels);
    }
}

struct PackColumns<'a, T>(Strip<'a, T>);

impl<T: Real> Work<T, (usize, &mut [T])> for PackColumns<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, (start, panels): (usize, &mut [T])) {
        tile::pack_columns(isa, self.0.width(), start, self.0.rows(0), panels);
    }
}

/// Floats that [`volume_matrix`] takes besides the bases.
pub(super) const fn matrix_len(anchors: usize, m: usize, items: usize, d: usize) -> usize {
    let width = m.saturating_mul(strip_items(m, items));
    anchors
        .saturating_add(d)
        .saturating_mul(width)
        .saturating_add(blocks(anchors).saturating_mul(d.saturating_add(m)))
}

/// Volumes or distances of all anchors \[b1, d\] and items into `out` \[b1, items\]. The workspace has [`matrix_len`]
/// numbers.
pub(super) fn volume_matrix<T: Real, C: Crew<T>>(
    crew: &C,
    measure: Measure,
    bases: &Bases<'_, T>,
    anchors: &[T],
    out: &mut [T],
    workspace: &mut [T],
) {
    let Bases { items, d, m, .. } = *bases;
    let width = m.saturating_mul(strip_items(m, items));
    let b1 = anchors.len().checked_div(d).unwrap_or_default();
    let (panels, workspace) = take(workspace, d.saturating_mul(width));
    let (y, scratch) = take(workspace, b1.saturating_mul(width));
    for strip in Strip::all(bases) {
        let width = strip.width();
        let (panels, _) = take(panels, d.saturating_mul(width));
        strip.pack(crew, panels);
        let pieces = anchors
            .pieces(d.saturating_mul(BLOCK))
            .zip(y.pieces_mut(width.saturating_mul(BLOCK)))
            .zip(out.pieces_mut(items.saturating_mul(BLOCK)))
            .zip(scratch.rows_mut(d.saturating_add(m)))
            .map(|(((anchors, y), out), scratch)| Volumes {
                anchors,
                y,
                out,
                scratch,
            });
        let work = VolumesOf {
            measure,
            strip,
            panels,
        };
        crew.each(pieces, &work);
    }
}

struct VolumesOf<'a, T> {
    measure: Measure,
    strip: Strip<'a, T>,
    panels: &'a [T],
}

/// A block of anchors, their rows of y and of the whole matrix.
struct Volumes<'a, T> {
    anchors: &'a [T],
    y: &'a mut [T],
    out: &'a mut [T],
    scratch: &'a mut [T],
}

impl<T: Real> Work<T, Volumes<'_, T>> for VolumesOf<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, piece: Volumes<'_, T>) {
        let VolumesOf { strip, panels, .. } = self;
        let Bases { items, d, .. } = *strip.bases;
        let Volumes {
            anchors,
            y,
            out,
            scratch,
        } = piece;
        let (_, volumes) = ops::split(strip.bases.volume, strip.first);
        let width = strip.width();
        let steps = anchors.pieces(d.saturating_mul(STEP));
        for (anchors, out) in steps.zip(out.pieces_mut(items.saturating_mul(STEP))) {
            let rows = anchors.len().checked_div(d).unwrap_or_default();
            let (y, _) = take(y, width.saturating_mul(rows));
            strip.coordinates(isa, panels, anchors, y);
            let rows = y.rows(width).zip(out.rows_mut(items));
            for (anchor, (y, out)) in anchors.rows(d).zip(rows) {
                self.row(isa, anchor, volumes, y, out, scratch);
            }
        }
    }
}

impl<T: Real> VolumesOf<'_, T> {
    /// One anchor's part of the matrix from its coordinates.
    #[inline(always)]
    fn row<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        volumes: &[T],
        y: &[T],
        out: &mut [T],
        scratch: &mut [T],
    ) {
        let strip = &self.strip;
        let mut distance = [T::ZERO; ITEMS];
        let (distance, _) = take(&mut distance, strip.items);
        let square = ops::dot(isa, anchor, anchor);
        strip.distances(isa, anchor, square, y, distance, scratch);
        let out = out.get_mut(strip.first..).unwrap_or_default();
        let pairs = isa.pieces(distance).zip(isa.pieces(volumes));
        for (out, (distance, volume)) in isa.pieces_mut(out).zip(pairs) {
            let distance = isa.load(distance);
            let value = match self.measure {
                Measure::Volume => distance * isa.load(volume),
                _ => distance,
            };
            isa.store(value, out);
        }
    }
}
