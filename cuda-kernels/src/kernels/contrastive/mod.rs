//! The contrastive loss of a batch, as [`rivergram_core::gram::contrastive`]: the volume term with one anchor, of all
//! tuples against all, with the gradient of all modalities and of τ.
//!
//! B×B need not be stored. The anchors go by in strips; of a strip the distances and, backward, the coordinates y = Q·a are
//! in memory, and everything over rows and columns is B long.
//!
//! | pass | of each strip | of all |
//! |---|---|---|
//! | forward | [`scores`], [`row_sums`], [`column_sums`] | [`count`] before, [`losses`] after |
//! | backward | [`scores`] with y, [`column_weights`], [`row_weights`], [`near_items`], [`anchors_product`], [`items_product`] | [`diagonal`], [`items_gradient`], [`anchors_gradient`], [`report`] |
//!
//! Each number is added to by one thread, in one order: strips come one after the other, and what rows and columns share
//! has a kernel of its own for either. A target's gradient is minus the sum of the others', as in core; it is known when
//! all strips have gone by, so the matching pairs come last, and by their residual.

mod gradient;
mod products;
mod sums;
mod tensor;
mod weights;

pub use gradient::{anchors_gradient, diagonal, items_gradient, report};
pub use products::{anchors_product, items_product};
pub use sums::{column_sums, count, losses, row_sums, scores};
pub use tensor::{TensorLoss, anchors_product_tf32, items_product_tf32, scores_tf32};
pub use weights::{column_weights, near_items, row_weights};

use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, Real};

use super::pairs::Pairs;
use super::{WARPS, block_sum};
use crate::device::{Global, Thread};
use crate::lanes::F32;
use crate::rows::Row;

/// Threads of a block of [`count`], [`losses`] and [`report`], which are one block each, and of the products.
pub const THREADS: u32 = super::BLOCK;
/// Words of shared memory of [`count`], [`losses`] and [`report`].
pub const SHARED: u32 = 3 * WARPS;

/// The parameters of all kernels of the loss. With B tuples, k modalities, m = k − 1.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Loss {
    /// The anchors and the items: planes of unit vectors, of which the anchors are the one that the items skip. Room
    /// for a residual per warp: of B warps, and of those of [`scores`].
    pub pairs: Pairs,
    /// Of all vectors, \[k, B, d\]; 0 at first.
    pub gradient: Global<F32>,
    /// 1/|x| of the raw vectors, \[k, B\].
    pub inverse_norm: Global<F32>,
    /// d of a strip, \[strip, B\].
    pub distance: Global<F32>,
    /// Q·a of a strip, then −C·Q·a, \[m, strip, B\]; of no numbers in the forward pass.
    pub y: Global<F32>,
    /// Of each row: the maximum, ln Σ, Σ l, its target's logit and distance, \[5, B\].
    pub rows: Global<F32>,
    /// Of each column: the maximum, Σ, then ln Σ, and Σ l, \[3, B\].
    pub columns: Global<F32>,
    /// Of each index: what its row, and its column, pulls without the target; Σ W·V of the column without it; Σ dL/dl·l of
    /// the row; Σ W·V with it, where the index counts, \[5, B\].
    pub sums: Global<F32>,
    /// How many columns are there, how many rows, how many of both: 3 numbers.
    pub counts: Global<F32>,
    /// Half the mean cross-entropy of rows, of columns, and dL/dτ: 3 numbers.
    pub report: Global<F32>,
    /// The first row of the strip.
    pub start: u32,
    /// Its rows.
    pub strip: u32,
    /// −1/τ.
    pub scale: F32,
    /// ε.
    pub smoothing: F32,
    /// The factor of this term in the whole loss.
    pub weight: F32,
}

impl Loss {
    #[inline(always)]
    fn b(self) -> usize {
        self.pairs.items.items as usize
    }

    #[inline(always)]
    fn d(self) -> usize {
        self.pairs.items.d as usize
    }

    #[inline(always)]
    fn m(self) -> usize {
        self.pairs.items.m as usize
    }

    /// Which plane has the anchors.
    #[inline(always)]
    fn anchor_plane(self) -> usize {
        self.pairs.items.skip as usize
    }

    /// Line `which` of a table of B columns.
    #[inline(always)]
    fn line(self, table: Global<F32>, which: usize) -> Global<F32> {
        table.row(which, self.b())
    }

    /// Number `i` of line `which` of a table.
    #[inline(always)]
    fn read(self, thread: Thread<'_>, table: Global<F32>, which: usize, i: usize) -> F32 {
        thread.read(self.line(table, which), i)
    }

    /// The anchors of the strip.
    #[inline(always)]
    fn of_strip(self) -> Pairs {
        let (start, strip, d) = (self.start as usize, self.strip as usize, self.d());
        Pairs {
            anchors: self.pairs.anchors.part(start * d, strip * d),
            squares: self.pairs.squares.part(start, strip),
            rows: self.strip,
            ..self.pairs
        }
    }

    #[inline(always)]
    fn anchor(self, i: usize) -> Row {
        self.pairs.anchors.row(i, self.d())
    }

    #[inline(always)]
    fn anchor_is_there(self, thread: Thread<'_>, i: usize) -> bool {
        let flags = self.line(self.pairs.items.present, self.anchor_plane());
        thread.read(flags, i) != F32::ZERO
    }

    #[inline(always)]
    fn item_is_there(self, thread: Thread<'_>, j: usize) -> bool {
        thread.read(self.pairs.items.any, j) != F32::ZERO
    }

    /// 1 where row and column `i` count: a matching pair of which both are there.
    #[inline(always)]
    fn counts_of(self, thread: Thread<'_>, i: usize) -> F32 {
        if self.anchor_is_there(thread, i) && self.item_is_there(thread, i) {
            F32::ONE
        } else {
            F32::ZERO
        }
    }

    #[inline(always)]
    fn volume(self, thread: Thread<'_>, j: usize, distance: F32) -> F32 {
        pair::volume(distance, thread.read(self.pairs.items.volume, j))
    }

    /// The factor of one cross-entropy in the loss.
    #[inline(always)]
    fn share(self, thread: Thread<'_>) -> F32 {
        let tuples = thread.read(self.counts, 2).max(F32::ONE);
        self.weight * F32(0.5) / tuples
    }

    /// ε/C of rows and of columns.
    #[inline(always)]
    fn uniform(self, thread: Thread<'_>) -> [F32; 2] {
        let of = |count: usize| self.smoothing / thread.read(self.counts, count).max(F32::ONE);
        [of(0), of(1)]
    }

    /// The gradient of vector `p` of item j.
    #[inline(always)]
    fn item_gradient(self, p: usize, j: usize) -> Row {
        let plane = if p < self.anchor_plane() { p } else { p + 1 };
        self.gradient.row(plane * self.b() + j, self.d())
    }
}

/// Three sums over a block, each times its factor.
#[inline(always)]
fn add_up(thread: Thread<'_>, parts: [F32; 3], to: Global<F32>, factors: [F32; 3]) {
    for part in 0..3 {
        let sum = block_sum(thread, parts[part], part as u32);
        if thread.index() == 0 {
            thread.write(to, part, factors[part] * sum);
        }
    }
}
