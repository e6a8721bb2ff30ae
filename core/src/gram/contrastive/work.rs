//! The workspace: its size, and its parts.

use super::prepare::{Prepared, prepared_len};
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
}

impl Sizes {
    pub(super) const fn square(k: usize, rows: usize, d: usize) -> Self {
        Sizes {
            planes: [0, k],
            rows: [rows, rows],
            m: k.saturating_sub(1),
            d,
        }
    }

    pub(super) const fn shard(k: usize, rows: usize, all: usize, d: usize) -> Self {
        Sizes {
            planes: [k, k],
            rows: [rows, all],
            m: k.saturating_sub(1),
            d,
        }
    }

    /// Of items of m vectors.
    pub(super) const fn rectangle(m: usize, rows: usize, items: usize, d: usize) -> Self {
        Sizes {
            planes: [1, m],
            rows: [rows, items],
            m,
            d,
        }
    }

    /// The floats that [`Work::split`] takes.
    pub(super) const fn len(self) -> usize {
        let Sizes {
            planes: [local_planes, planes],
            rows: [local, all],
            m,
            d,
        } = self;
        let matrix = local.saturating_mul(all);
        prepared_len(local_planes, local, d)
            .saturating_add(prepared_len(planes, all, d))
            .saturating_add(pair::bases_len(m, all, d))
            .saturating_add(matrix.saturating_mul(m.saturating_add(2)))
            .saturating_add(m.saturating_mul(all).saturating_mul(d))
            .saturating_add(m.saturating_mul(m).saturating_mul(all))
            .saturating_add(all.saturating_mul(3))
            .saturating_add(info_nce::stats_len(local, all))
            .saturating_add(basis::item_len(m, d))
            .saturating_add(d)
            .saturating_add(m)
    }
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
    pub(super) bases: &'a mut [T],
    /// Which items are there: \[all\].
    pub(super) columns: &'a mut [T],
    pub(super) item: &'a mut [T],
    pub(super) pairs: Pairs<'a, T>,
}

/// The part that belongs to pairs of b1 anchors and b2 items.
pub(super) struct Pairs<'a, T> {
    /// \[b1, b2\].
    pub(super) distance: &'a mut [T],
    /// Scores, then dL/dscore, then C: \[b1, b2\].
    pub(super) scores: &'a mut [T],
    /// Q·a, then −C·Q·a: \[m, b1, b2\].
    pub(super) y: &'a mut [T],
    /// −E as planes: \[m, b2, d\].
    pub(super) e: &'a mut [T],
    /// Σ_i C y_p y_q: \[m, m, b2\].
    pub(super) products: &'a mut [T],
    /// Σ_i W V: \[b2\].
    pub(super) volume_products: &'a mut [T],
    /// Σ_j C: \[b1\].
    pub(super) row_sums: &'a mut [T],
    pub(super) stats: &'a mut [T],
    /// A residual and its coordinates, \[d + m\].
    pub(super) residual: &'a mut [T],
}

impl<'a, T: Real> Work<'a, T> {
    #[inline(always)]
    pub(super) fn split(workspace: &'a mut [T], sizes: Sizes) -> Self {
        let Sizes {
            planes,
            rows: [local, all],
            m,
            d,
        } = sizes;
        let matrix = local.saturating_mul(all);
        let (near, rest) = take(workspace, prepared_len(planes[0], local, d));
        let (whole, rest) = take(rest, prepared_len(planes[1], all, d));
        let (bases, rest) = take(rest, pair::bases_len(m, all, d));
        let (distance, rest) = take(rest, matrix);
        let (scores, rest) = take(rest, matrix);
        let (y, rest) = take(rest, m.saturating_mul(matrix));
        let (e, rest) = take(rest, m.saturating_mul(all).saturating_mul(d));
        let (products, rest) = take(rest, m.saturating_mul(m).saturating_mul(all));
        let (volume_products, rest) = take(rest, all);
        let (row_sums, rest) = take(rest, all);
        let (columns, rest) = take(rest, all);
        let (stats, rest) = take(rest, info_nce::stats_len(local, all));
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
            local: Prepared::split(near, planes[0], local, d),
            all: Prepared::split(whole, planes[1], all, d),
            scratch: Scratch {
                bases,
                columns,
                item,
                pairs,
            },
        }
    }
}

/// Plane `index` of planes of `len` numbers.
pub(super) fn plane<T>(planes: &[T], index: usize, len: usize) -> &[T] {
    let start = index.saturating_mul(len);
    planes.get(start..start.saturating_add(len)).unwrap_or(&[])
}
