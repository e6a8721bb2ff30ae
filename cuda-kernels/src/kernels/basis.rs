//! The bases of a batch of items, as [`rivergram_core::gram::basis`]; a warp per item.

use rivergram_core::gram::basis;
use rivergram_core::lanes::Real;
use rivergram_core::ops::{self, RowOps};

use super::warp_of_grid;
use crate::device::{Global, Thread};
use crate::lanes::F32;
use crate::rows::{Row, Warp};

/// A batch of items and their bases, as planes: what anchors are measured against.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Items {
    /// The vectors: planes \[.., items, d\], of which `skip` is not the items'.
    pub vectors: Global<F32>,
    /// Which of them are there: \[.., items\], 0 = absent.
    pub present: Global<F32>,
    /// Q, \[m, items, d\].
    pub q: Global<F32>,
    /// R, \[items, m, m\].
    pub r: Global<F32>,
    /// Π R_pp, \[items\].
    pub volume: Global<F32>,
    /// Whether any vector of the item is there, \[items\]: 1 or 0.
    pub any: Global<F32>,
    /// Items.
    pub items: u32,
    /// Vectors per item, at most 32.
    pub m: u32,
    /// Dimensions.
    pub d: u32,
    /// The plane that is no vector of the items; `u32::MAX` for none.
    pub skip: u32,
}

impl Items {
    /// Vector p of item j; of no numbers where it is absent. The same in all lanes.
    #[inline(always)]
    fn vector(self, thread: Thread<'_>, p: usize, j: usize) -> Row {
        let (items, d) = (self.items as usize, self.d as usize);
        let plane = if p < self.skip as usize { p } else { p + 1 };
        let at = plane * items + j;
        let there = thread.read(self.present, at) != F32::ZERO;
        self.vectors.part(at * d, if there { d } else { 0 })
    }

    /// The first `n` vectors of item j.
    #[inline(always)]
    pub(crate) fn vectors_of(
        self,
        thread: Thread<'_>,
        n: usize,
        j: usize,
    ) -> impl Iterator<Item = Row> {
        (0..n).map(move |p| self.vector(thread, p, j))
    }

    /// Basis row p of item j.
    #[inline(always)]
    pub(crate) fn q_row(self, p: usize, j: usize) -> Row {
        self.q.row(p * self.items as usize + j, self.d as usize)
    }

    /// The first `n` basis rows of item j.
    #[inline(always)]
    pub(crate) fn q_of(self, n: usize, j: usize) -> impl Iterator<Item = Row> + Clone {
        (0..n).map(move |p| self.q_row(p, j))
    }

    /// R of item j.
    #[inline(always)]
    pub(crate) fn r_of(self, j: usize) -> Global<F32> {
        let m = self.m as usize;
        self.r.row(j, m * m)
    }

    /// The residual of an anchor against item j into `rest`, and in lane p its coordinate over basis row p; returns
    /// its length, the distance.
    #[inline(always)]
    pub(crate) fn residual(
        self,
        thread: Thread<'_>,
        anchor: Row,
        j: usize,
        mut rest: Row,
    ) -> (F32, F32) {
        let (m, lane) = (self.m as usize, thread.lane() as usize);
        let mut y = F32::ZERO;
        let found = basis::project(
            Warp(thread),
            anchor,
            self.vectors_of(thread, m, j),
            self.q_of(m, j),
            &mut rest,
            |p, product| y += if p == lane { product } else { F32::ZERO },
        );
        if lane < m {
            let near = thread.read(self.r_of(j), lane * m + found.nearest);
            y = basis::coordinate(found, near, y);
        }
        (found.distance, y)
    }
}

/// The bases of all items.
#[inline(always)]
pub fn bases(thread: Thread<'_>, items: Items) {
    let Some(j) = warp_of_grid(thread, items.items) else {
        return;
    };
    let (warp, m, lane) = (Warp(thread), items.m as usize, thread.lane() as usize);
    let r = items.r_of(j);
    let (mut volume, mut any) = (F32::ONE, F32::ZERO);
    for p in 0..m {
        let (x, mut q) = (items.vector(thread, p, j), items.q_row(p, j));
        if x.len() == 0 {
            for i in warp.own(q.len()) {
                thread.write(q, i, F32::ZERO);
            }
            if lane < m {
                let entry = if lane == p { F32::ONE } else { F32::ZERO };
                thread.write(r, lane * m + p, entry);
            }
            continue;
        }
        any = F32::ONE;
        // Lane i has the coordinate over row i, and row i of R.
        let mut y = F32::ZERO;
        let found = basis::project(
            warp,
            x,
            items.vectors_of(thread, p, j),
            items.q_of(p, j),
            &mut q,
            |i, product| y += if i == lane { product } else { F32::ZERO },
        );
        if lane < m {
            let near = if p == 0 {
                F32::ZERO
            } else {
                thread.read(r, lane * m + found.nearest)
            };
            let entry = basis::column_entry(lane, p, found, near, y);
            thread.write(r, lane * m + p, entry);
        }
        warp.scale(ops::inverse_or_zero(found.distance), &mut q);
        volume = volume * found.distance;
    }
    if lane == 0 {
        thread.write(items.volume, j, volume);
        thread.write(items.any, j, any);
    }
}
