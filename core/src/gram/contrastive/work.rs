//! The workspace: its size, and its parts.

use super::prepare::{Prepared, prepared_len};
use super::{Anchor, Term};
use crate::gram::{basis, info_nce, pair};
use crate::lanes::Real;
use crate::ops::take;

/// What the workspace depends on.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Planes of local vectors, and of all.
    pub(super) planes: [usize; 2],
    /// Rows of a local plane, and of all: the sides of the matrices.
    pub(super) rows: [usize; 2],
    /// Vectors per item.
    pub(super) m: usize,
    pub(super) d: usize,
    /// The prepared vectors of all are copies; they may instead take the place of the vectors themselves.
    pub(super) copies: bool,
    /// E has a place of its own; that of the items' gradient will do where nothing else has been added there.
    pub(super) own_e: bool,
}

impl Sizes {
    pub(super) const fn square(k: usize, rows: usize, d: usize) -> Self {
        Sizes {
            planes: [0, k],
            rows: [rows, rows],
            m: k.saturating_sub(1),
            d,
            copies: true,
            own_e: true,
        }
    }

    /// With the vectors of a square batch prepared where they lie, for this term.
    pub(super) const fn in_place(self, term: Term) -> Self {
        Sizes {
            copies: false,
            own_e: matches!(term, Term::Volume(Anchor::Each)),
            ..self
        }
    }

    pub(super) const fn shard(k: usize, rows: usize, all: usize, d: usize) -> Self {
        Sizes {
            planes: [k, k],
            rows: [rows, all],
            ..Sizes::square(k, all, d)
        }
    }

    /// Of items of m vectors.
    pub(super) const fn rectangle(m: usize, rows: usize, items: usize, d: usize) -> Self {
        Sizes {
            planes: [1, m],
            rows: [rows, items],
            m,
            ..Sizes::square(m, items, d)
        }
    }

    /// The floats that [`Work::split`] takes.
    #[inline(always)]
    pub(super) const fn len(self) -> usize {
        let all = self.rows[1];
        self.all_prepared_len()
            .saturating_add(pair::bases_len(self.m, all, self.d))
            .saturating_add(self.e_len())
            .saturating_add(all)
            .saturating_add(self.matrices_len())
            .saturating_add(self.sums_len())
    }

    /// Those of the prepared vectors of both sides.
    pub(super) const fn all_prepared_len(self) -> usize {
        let [local_planes, planes] = self.planes;
        let [local, all] = self.rows;
        prepared_len(local_planes, local, self.d).saturating_add(self.prepared_len(planes, all))
    }

    /// Those of all prepared vectors.
    const fn prepared_len(self, planes: usize, rows: usize) -> usize {
        prepared_len(planes, rows, if self.copies { self.d } else { 0 })
    }

    const fn e_len(self) -> usize {
        if self.own_e {
            self.m.saturating_mul(self.rows[1]).saturating_mul(self.d)
        } else {
            0
        }
    }

    /// Scores, distances and coordinates of all pairs. Before and after them an item is taken apart there.
    const fn matrices_len(self) -> usize {
        let matrix = self.rows[0].saturating_mul(self.rows[1]);
        larger(
            matrix.saturating_mul(self.m.saturating_add(2)),
            basis::item_len(self.m, self.d),
        )
    }

    /// The statistics of the cross-entropy, and after them the sums of the gradient.
    const fn sums_len(self) -> usize {
        let Sizes {
            rows: [local, all],
            m,
            d,
            ..
        } = self;
        let sums = m.saturating_mul(m).saturating_add(2).saturating_mul(all);
        larger(
            info_nce::stats_len(local, all),
            sums.saturating_add(d).saturating_add(m),
        )
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a < b { b } else { a }
}

/// The parts of the workspace.
pub(super) struct Work<'a, T> {
    /// The rows of a shard, or the anchors of a rectangle.
    pub(super) local: Prepared<'a, T>,
    /// All tuples, or all items.
    pub(super) all: Prepared<'a, T>,
    pub(super) scratch: Scratch<'a, T>,
}

/// What a term writes before it reads.
pub(super) struct Scratch<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) bases: &'a mut [T],
    /// Which items are there: \[all\].
    pub(super) columns: &'a mut [T],
    /// −E as planes: \[m, b2, d\], where it is not in the gradient of the items.
    pub(super) e: &'a mut [T],
    /// [`Pairs`], or an item.
    pub(super) matrices: &'a mut [T],
    /// The statistics, or [`Sums`].
    pub(super) sums: &'a mut [T],
}

/// Numbers of pairs of b1 anchors and b2 items.
pub(super) struct Pairs<'a, T> {
    /// \[b1, b2\].
    pub(super) distance: &'a mut [T],
    /// Scores, then dL/dscore, then C: \[b1, b2\].
    pub(super) scores: &'a mut [T],
    /// Q·a, then −C·Q·a: \[m, b1, b2\].
    pub(super) y: &'a mut [T],
}

/// Sums over the pairs.
pub(super) struct Sums<'a, T> {
    /// Σ_i C y_p y_q: \[m, m, b2\].
    pub(super) products: &'a mut [T],
    /// Σ_i W V: \[b2\].
    pub(super) volume_products: &'a mut [T],
    /// Σ_j C: \[b1\].
    pub(super) row_sums: &'a mut [T],
    /// A residual and its coordinates, \[d + m\].
    pub(super) residual: &'a mut [T],
}

impl<'a, T: Real> Pairs<'a, T> {
    #[inline(always)]
    pub(super) fn split(matrices: &'a mut [T], sizes: Sizes) -> Self {
        let matrix = sizes.rows[0].saturating_mul(sizes.rows[1]);
        let (distance, rest) = take(matrices, matrix);
        let (scores, rest) = take(rest, matrix);
        let (y, _) = take(rest, sizes.m.saturating_mul(matrix));
        Pairs {
            distance,
            scores,
            y,
        }
    }
}

impl<'a, T: Real> Sums<'a, T> {
    /// All of them 0.
    #[inline(always)]
    pub(super) fn split(sums: &'a mut [T], anchors: usize, items: usize, m: usize) -> Self {
        sums.fill(T::ZERO);
        let (products, rest) = take(sums, m.saturating_mul(m).saturating_mul(items));
        let (volume_products, rest) = take(rest, items);
        let (row_sums, residual) = take(rest, anchors);
        Sums {
            products,
            volume_products,
            row_sums,
            residual,
        }
    }
}

impl<'a, T: Real> Prepared<'a, T> {
    /// Cuts the prepared vectors of both sides off the workspace; `vectors` are those that are prepared in place, if
    /// they are.
    #[inline(always)]
    pub(super) fn split_both(
        workspace: &'a mut [T],
        vectors: &'a mut [T],
        sizes: Sizes,
    ) -> (Self, Self, &'a mut [T]) {
        let Sizes {
            planes,
            rows: [local, all],
            d,
            ..
        } = sizes;
        let (near, rest) = take(workspace, prepared_len(planes[0], local, d));
        let (whole, rest) = take(rest, sizes.prepared_len(planes[1], all));
        let all = if sizes.copies {
            Prepared::split(whole, planes[1], all, d)
        } else {
            Prepared {
                unit: vectors,
                ..Prepared::split(whole, planes[1], all, 0)
            }
        };
        (Prepared::split(near, planes[0], local, d), all, rest)
    }
}

impl<'a, T: Real> Work<'a, T> {
    /// Cuts the workspace; `vectors` are those that are prepared in place, if they are.
    #[inline(always)]
    pub(super) fn split(workspace: &'a mut [T], vectors: &'a mut [T], sizes: Sizes) -> Self {
        let Sizes {
            rows: [_, all],
            m,
            d,
            ..
        } = sizes;
        let (local, whole, rest) = Prepared::split_both(workspace, vectors, sizes);
        let (bases, rest) = take(rest, pair::bases_len(m, all, d));
        let (e, rest) = take(rest, sizes.e_len());
        let (columns, rest) = take(rest, all);
        let (matrices, rest) = take(rest, sizes.matrices_len());
        let (sums, _) = take(rest, sizes.sums_len());
        Work {
            local,
            all: whole,
            scratch: Scratch {
                sizes,
                bases,
                columns,
                e,
                matrices,
                sums,
            },
        }
    }
}

/// Plane `index` of planes of `len` numbers.
pub(super) fn plane<T>(planes: &[T], index: usize, len: usize) -> &[T] {
    let start = index.saturating_mul(len);
    planes.get(start..start.saturating_add(len)).unwrap_or(&[])
}
