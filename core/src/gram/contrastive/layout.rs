//! Which vectors are the anchors of a matrix, which the items, and where their gradients go.
//!
//! A square batch is one matrix. A shard is two, its own anchors against all items and all anchors against its
//! own items; a rectangle is one. The terms see matrices only.

use super::prepare::Prepared;
use super::work::plane;
use crate::gram::info_nce::Direction;
use crate::lanes::Real;
use crate::ops::{Walk, take};

/// Planes \[.., rows\] of prepared vectors.
#[derive(Clone, Copy)]
pub(super) struct Side<'a, T> {
    pub(super) unit: &'a [T],
    pub(super) present: &'a [T],
    pub(super) rows: usize,
}

/// What a call contrasts.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a, T> {
    /// The rows of a shard, or the anchors of a rectangle; nothing for a square batch.
    pub(super) local: Side<'a, T>,
    /// All tuples, or the items of a rectangle.
    pub(super) all: Side<'a, T>,
    /// The anchors are no plane of `all`.
    pub(super) apart: bool,
    /// Where the local rows begin in `all`, or the target of the first anchor.
    pub(super) offset: usize,
    /// The matrices.
    pub(super) directions: &'a [Direction],
    /// The factor of each term, beyond that of the mean over the tuples of `all`.
    pub(super) scale: T,
    /// Vectors per item.
    pub(super) m: usize,
    pub(super) d: usize,
}

/// One matrix.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, T> {
    pub(super) direction: Direction,
    /// \[b1, d\].
    pub(super) anchors: &'a [T],
    /// \[b1\].
    pub(super) anchors_present: &'a [T],
    /// Planes of b2 rows, of which `skip` is no item's.
    pub(super) items: Side<'a, T>,
    pub(super) skip: usize,
    /// Where the items begin in `all`.
    pub(super) first_item: usize,
}

impl<'a, T> Side<'a, T> {
    #[inline(always)]
    pub(super) fn new(prepared: &'a Prepared<'_, T>, rows: usize) -> Self {
        Side {
            unit: prepared.unit,
            present: prepared.present,
            rows,
        }
    }

    #[inline(always)]
    pub(super) fn vectors(self, modality: usize, d: usize) -> &'a [T] {
        plane(self.unit, modality, self.rows.saturating_mul(d))
    }

    #[inline(always)]
    pub(super) fn flags(self, modality: usize) -> &'a [T] {
        plane(self.present, modality, self.rows)
    }
}

impl<'a, T: Real> Layout<'a, T> {
    /// The matrix of a direction with one anchor; that of a rectangle is number 0.
    #[inline(always)]
    pub(super) fn block(&self, direction: Direction, anchor: usize) -> Block<'a, T> {
        let (anchors, items, first_item) = match direction {
            Direction::Both => (self.all, self.all, 0),
            Direction::Rows => (self.local, self.all, 0),
            Direction::Columns => (self.all, self.local, self.offset),
        };
        Block {
            direction,
            anchors: anchors.vectors(anchor, self.d),
            anchors_present: anchors.flags(anchor),
            items,
            skip: self.skip(anchor),
            first_item,
        }
    }

    /// The plane of `all` that the items leave out.
    #[inline(always)]
    pub(super) fn skip(&self, anchor: usize) -> usize {
        if self.apart { usize::MAX } else { anchor }
    }

    /// Which anchors are there, and which items, `columns` \[all\], may be their targets, pair by pair: all
    /// of a batch, also where only a shard of it is contrasted.
    #[inline(always)]
    pub(super) fn pairs<'c>(&self, anchor: usize, columns: &'c [T]) -> (&'a [T], &'c [T]) {
        if self.apart {
            let targets = columns.get(self.offset..).unwrap_or(&[]);
            (self.local.flags(anchor), targets)
        } else {
            (self.all.flags(anchor), columns)
        }
    }
}

/// The gradients of a call.
pub(super) struct Gradients<'a, T> {
    /// Of the anchors of a rectangle.
    pub(super) anchors: &'a mut [T],
    /// Planes: of all tuples or, where the gathered side carries none, of the local rows.
    pub(super) planes: &'a mut [T],
    /// The planes are those of the local rows.
    pub(super) detached: bool,
}

/// Where the gradients of one matrix go.
pub(super) struct Sink<'a, T> {
    /// \[b1, d\]; empty where the anchors carry none.
    pub(super) anchors: &'a mut [T],
    /// The planes before that of the anchors, and those after it; empty where the items carry none.
    planes: [&'a mut [T]; 2],
    plane_len: usize,
    /// Where the items' numbers begin in each plane, and how many there are.
    start: usize,
    len: usize,
}

impl<T: Real> Gradients<'_, T> {
    /// Those of a direction with one anchor.
    #[inline(always)]
    pub(super) fn sink(
        &mut self,
        layout: &Layout<'_, T>,
        direction: Direction,
        anchor: usize,
    ) -> Sink<'_, T> {
        let d = layout.d;
        let (local_len, all_len) = (
            layout.local.rows.saturating_mul(d),
            layout.all.rows.saturating_mul(d),
        );
        let (plane_len, local_start) = if self.detached {
            (local_len, 0)
        } else {
            (all_len, layout.offset.saturating_mul(d))
        };
        let (before, anchors, after) = if layout.apart {
            (&mut [][..], &mut *self.anchors, &mut *self.planes)
        } else {
            let (before, rest) = take(self.planes, anchor.saturating_mul(plane_len));
            let (anchors, after) = take(rest, plane_len);
            (before, anchors, after)
        };
        let all = [0, if self.detached { 0 } else { all_len }];
        let local = [local_start, local_len];
        let (anchor_rows, [start, len]) = match direction {
            Direction::Both => (all, all),
            Direction::Rows if layout.apart => ([0, local_len], all),
            Direction::Rows => (local, all),
            Direction::Columns => (all, local),
        };
        let [anchor_start, anchor_len] = anchor_rows;
        let anchor_end = anchor_start.saturating_add(anchor_len);
        let wanted = len > 0;
        Sink {
            anchors: anchors
                .get_mut(anchor_start..anchor_end)
                .unwrap_or_default(),
            planes: [before, after].map(|planes| if wanted { planes } else { &mut [] }),
            plane_len,
            start,
            len,
        }
    }
}

impl<T: Real> Sink<'_, T> {
    /// Whether the items carry a gradient.
    #[inline(always)]
    pub(super) fn wants_items(&self) -> bool {
        self.planes.iter().any(|planes| !planes.is_empty())
    }

    /// The gradient of each vector of the items, \[b2, d\].
    #[inline(always)]
    pub(super) fn items(&mut self) -> impl Iterator<Item = &mut [T]> {
        let Sink {
            planes: [before, after],
            plane_len,
            start,
            len,
            ..
        } = self;
        let of_plane = start.saturating_add(*len);
        before
            .rows_mut(*plane_len)
            .chain(after.rows_mut(*plane_len))
            .map(move |plane| plane.get_mut(*start..of_plane).unwrap_or_default())
    }

    /// Where −E of each vector of the items is summed: in planes of its own, or, where there are none, where its
    /// gradient will be.
    #[inline(always)]
    pub(super) fn sums<'s>(&'s mut self, e: &'s mut [T]) -> impl Iterator<Item = &'s mut [T]> {
        let own = if self.wants_items() { self.len } else { 0 };
        let instead = if e.is_empty() { usize::MAX } else { 0 };
        e.rows_mut(own).chain(self.items().take(instead))
    }
}
