//! The contrastive loss of a batch, as [`rivergram_core::gram::contrastive`]: the volume term with one anchor, of all
//! tuples against all, with the gradient of all modalities and of τ.
//!
//! B×B is never stored. The anchors go by in strips; of a strip the distances and, backward, the coordinates y = Q·a are
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

use rivergram_core::gram::basis;
use rivergram_core::gram::info_nce::pull;
use rivergram_core::gram::pair;
use rivergram_core::lanes::{Lanes, One, Real};
use rivergram_core::lse::Online;
use rivergram_core::ops::{self, RowOps};
use rivergram_core::softmax;

use super::pairs::{Operand, Pairs, TILE, distances, for_each_sum, products};
use super::{WARPS, block_sum, warp_of_grid};
use crate::device::{Global, Thread, WARP};
use crate::lanes::F32;
use crate::rows::{Row, Warp};

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

/// What a pair adds up to, away from the target.
#[derive(Clone, Copy)]
struct Pull {
    row: F32,
    column: F32,
    /// dL/dV.
    weight: F32,
    /// Σ dL/dl·(l − target), without the share.
    product: F32,
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

    /// What the pair of row i and column j, which are there and no match, adds up to.
    #[inline(always)]
    fn pull(self, thread: Thread<'_>, [i, j]: [usize; 2], distance: F32) -> Pull {
        let l = self.scale * self.volume(thread, j, distance);
        let of =
            |table: Global<F32>, which: usize, at: usize| thread.read(self.line(table, which), at);
        let [row_uniform, column_uniform] = self.uniform(thread);
        let row = pull(
            l,
            of(self.rows, 0, i),
            of(self.rows, 1, i),
            row_uniform,
            self.counts_of(thread, i),
        );
        let column = pull(
            l,
            of(self.columns, 0, j),
            of(self.columns, 1, j),
            column_uniform,
            self.counts_of(thread, j),
        );
        let product = row * (l - of(self.rows, 3, i));
        Pull {
            row,
            column,
            weight: (row + column) * (self.share(thread) * self.scale),
            product: column.mul_add(l - of(self.rows, 3, j), product),
        }
    }
}

/// Columns, rows and matching pairs that are there. One block.
#[inline(always)]
pub fn count(thread: Thread<'_>, p: Loss) {
    let mut counts = [F32::ZERO; 3];
    let mut i = thread.index() as usize;
    while i < p.b() {
        counts[0] += thread.read(p.pairs.items.any, i);
        counts[1] += F32::from_u32(u32::from(p.anchor_is_there(thread, i)));
        counts[2] += p.counts_of(thread, i);
        i += THREADS as usize;
    }
    add_up(thread, counts, p.counts, [F32::ONE; 3]);
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

/// The distances of a strip, and its coordinates where there is room for them. Blocks take tiles in turn.
#[inline(always)]
pub fn scores(thread: Thread<'_>, p: Loss) {
    let (pairs, b) = (p.of_strip(), p.b());
    let across = pairs.items.items.div_ceil(TILE).max(1);
    let tiles = across * p.strip.div_ceil(TILE);
    let mut tile = thread.block();
    while tile < tiles {
        let first = [tile / across * TILE, tile % across * TILE];
        distances(
            thread,
            pairs,
            first,
            |plane, i, j, y| {
                if p.y.len() > 0 {
                    thread.write(p.y, (plane * p.strip as usize + i) * b + j, y);
                }
            },
            |i, j, inside, distance| {
                if inside {
                    thread.write(p.distance, i * b + j, distance);
                }
            },
        );
        tile += thread.blocks();
    }
}

/// The log-sum-exp of each row of a strip, and its target; a warp per row.
#[inline(always)]
pub fn row_sums(thread: Thread<'_>, p: Loss) {
    let Some(r) = warp_of_grid(thread, p.strip) else {
        return;
    };
    let (warp, i) = (Warp(thread), p.start as usize + r);
    let distances = p.distance.row(r, p.b());
    let mut online = Online::none(One::new());
    let [mut total, mut target, mut own] = [F32::ZERO; 3];
    if p.anchor_is_there(thread, i) {
        for j in warp.own(p.b()) {
            let d = thread.read(distances, j);
            if p.item_is_there(thread, j) {
                let l = p.scale * p.volume(thread, j, d);
                online = online.push([l]);
                total += l;
                if i == j {
                    (target, own) = (l, d);
                }
            }
        }
    }
    let mut mask = WARP / 2;
    while mask > 0 {
        online = online.merge(Online {
            max: thread.shuffle_xor(online.max, mask),
            sum: thread.shuffle_xor(online.sum, mask),
        });
        mask /= 2;
    }
    let lse = online.log_sum();
    let found = [
        lse.max,
        lse.ln_sum,
        warp.sum(total),
        warp.sum(target),
        warp.sum(own),
    ];
    if thread.lane() == 0 {
        for which in 0..5 {
            thread.write(p.line(p.rows, which), i, found[which]);
        }
    }
}

/// The state of each column, with the rows of a strip; a thread per column.
#[inline(always)]
pub fn column_sums(thread: Thread<'_>, p: Loss) {
    let j = (thread.block() * thread.threads() + thread.index()) as usize;
    if j >= p.b() {
        return;
    }
    let lines = [0, 1, 2].map(|which| p.line(p.columns, which));
    let mut online = Online::none(One::new());
    let mut total = F32::ZERO;
    if p.start > 0 {
        online = Online {
            max: thread.read(lines[0], j),
            sum: thread.read(lines[1], j),
        };
        total = thread.read(lines[2], j);
    }
    let there = p.item_is_there(thread, j);
    for r in 0..p.strip as usize {
        if there && p.anchor_is_there(thread, p.start as usize + r) {
            let d = thread.read(p.distance, r * p.b() + j);
            let l = p.scale * p.volume(thread, j, d);
            online = online.push([l]);
            total += l;
        }
    }
    thread.write(lines[0], j, online.max);
    thread.write(lines[1], j, online.sum);
    thread.write(lines[2], j, total);
}

/// The losses of both directions; Σ of each column becomes ln Σ. One block.
#[inline(always)]
pub fn losses(thread: Thread<'_>, p: Loss) {
    let mut parts = [F32::ZERO; 3];
    let candidates = [0, 1].map(|count| thread.read(p.counts, count));
    let mut i = thread.index() as usize;
    while i < p.b() {
        let of = |table: Global<F32>, which: usize| thread.read(p.line(table, which), i);
        let ln_sum = of(p.columns, 1).ln();
        if p.counts_of(thread, i) > F32::ZERO {
            let target = of(p.rows, 3);
            let loss = |max: F32, ln_sum: F32, total: F32, candidates: F32| {
                softmax::smoothed(p.smoothing, ln_sum, target - max, total / candidates - max)
            };
            parts[0] += loss(of(p.rows, 0), of(p.rows, 1), of(p.rows, 2), candidates[0]);
            parts[1] += loss(of(p.columns, 0), ln_sum, of(p.columns, 2), candidates[1]);
        }
        thread.write(p.line(p.columns, 1), i, ln_sum);
        i += THREADS as usize;
    }
    let share = p.share(thread);
    add_up(thread, parts, p.report, [share, share, F32::ZERO]);
}

/// What each column of a strip pulls, and Σ W·V; a thread per column.
#[inline(always)]
pub fn column_weights(thread: Thread<'_>, p: Loss) {
    let j = (thread.block() * thread.threads() + thread.index()) as usize;
    if j >= p.b() {
        return;
    }
    let lines = [1, 2].map(|which| p.line(p.sums, which));
    let [mut pulled, mut products] = [F32::ZERO; 2];
    if p.start > 0 {
        [pulled, products] = lines.map(|line| thread.read(line, j));
    }
    let there = p.item_is_there(thread, j);
    for r in 0..p.strip as usize {
        let i = p.start as usize + r;
        if there && i != j && p.anchor_is_there(thread, i) {
            let d = thread.read(p.distance, r * p.b() + j);
            let found = p.pull(thread, [i, j], d);
            pulled += found.column;
            products = found.weight.mul_add(p.volume(thread, j, d), products);
        }
    }
    thread.write(lines[0], j, pulled);
    thread.write(lines[1], j, products);
}

/// W → C and y → −C·y of a strip, and the near pairs of its anchors; a warp per row.
#[inline(always)]
pub fn row_weights(thread: Thread<'_>, p: Loss) {
    let Some(r) = warp_of_grid(thread, p.strip) else {
        return;
    };
    let (warp, b, i) = (Warp(thread), p.b(), p.start as usize + r);
    let (anchor, square) = (p.anchor(i), thread.read(p.pairs.squares, i));
    let rest = p.pairs.residuals.row(r, p.d());
    let mut gradient = p.gradient.row(p.anchor_plane() * b + i, p.d());
    let anchor_there = p.anchor_is_there(thread, i);
    let [mut pulled, mut product, mut sum] = [F32::ZERO; 3];
    let mut base = 0;
    while base < b {
        let j = base + thread.lane() as usize;
        let there = anchor_there && j < b && i != j && p.item_is_there(thread, j);
        let [mut c, mut w, mut d] = [F32::ZERO; 3];
        let mut near = false;
        if there {
            d = thread.read(p.distance, r * b + j);
            let found = p.pull(thread, [i, j], d);
            w = found.weight;
            pulled += found.row;
            product += found.product;
            near = pair::is_near(square, d * d);
            if !near {
                c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
            }
        }
        sum += c;
        if j < b {
            for plane in 0..p.m() {
                let at = (plane * p.strip as usize + r) * b + j;
                thread.write(p.y, at, -(c * thread.read(p.y, at)));
            }
        }
        let mut left = thread.ballot(near);
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let (w, d) = (thread.shuffle(w, bit), thread.shuffle(d, bit));
            let j = base + bit as usize;
            let c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
            if c != F32::ZERO {
                let _ = p.pairs.items.residual(thread, anchor, j, rest);
                warp.axpy(c, rest, &mut gradient);
            }
        }
        base += WARP as usize;
    }
    warp.axpy(warp.sum(sum), anchor, &mut gradient);
    let (pulled, product) = (warp.sum(pulled), warp.sum(product));
    if thread.lane() == 0 {
        thread.write(p.line(p.sums, 0), i, pulled);
        thread.write(p.line(p.sums, 3), i, product);
    }
}

/// The near pairs of the items in a strip, added to −E; a warp per item.
#[inline(always)]
pub fn near_items(thread: Thread<'_>, p: Loss) {
    let Some(j) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let rest = p.pairs.residuals.row(j, p.d());
    let item_there = p.item_is_there(thread, j);
    let strip = p.strip as usize;
    let mut base = 0;
    while base < strip {
        let r = base + thread.lane() as usize;
        let i = p.start as usize + r;
        let there = item_there && r < strip && i != j && p.anchor_is_there(thread, i);
        let [mut w, mut d] = [F32::ZERO; 2];
        let mut near = false;
        if there {
            d = thread.read(p.distance, r * p.b() + j);
            near = pair::is_near(thread.read(p.pairs.squares, i), d * d);
            if near {
                w = p.pull(thread, [i, j], d).weight;
            }
        }
        let mut left = thread.ballot(near);
        while left != 0 {
            let bit = left.trailing_zeros();
            left &= left - 1;
            let (w, d) = (thread.shuffle(w, bit), thread.shuffle(d, bit));
            let i = p.start as usize + base + bit as usize;
            let _ = add_residual(thread, p, [i, j], [w, d], rest);
        }
        base += WARP as usize;
    }
}

/// −E_jp −= C·y_p·r of one pair; returns C, and leaves r in `rest`.
#[inline(always)]
fn add_residual(
    thread: Thread<'_>,
    p: Loss,
    [i, j]: [usize; 2],
    [w, d]: [F32; 2],
    rest: Row,
) -> F32 {
    let c = pair::coefficient(w, d, thread.read(p.pairs.items.volume, j));
    if c != F32::ZERO {
        let (_, y) = p.pairs.items.residual(thread, p.anchor(i), j, rest);
        for plane in 0..p.m() {
            let factor = -(c * thread.shuffle(y, plane as u32));
            Warp(thread).axpy(factor, rest, &mut p.item_gradient(plane, j));
        }
    }
    c
}

/// dA += Σ_p (−C·y_p)·Q_p of a strip; a block per tile of anchors and dimensions.
#[inline(always)]
pub fn anchors_product(thread: Thread<'_>, p: Loss) {
    let (b, d, strip) = (p.pairs.items.items, p.pairs.items.d, p.strip);
    let first = [thread.block_y() * TILE, thread.block() * TILE];
    for plane in 0..p.m() {
        let y = Operand {
            data: p.y.row(plane, strip as usize * b as usize),
            first: first[0],
            rows: strip,
            transposed: false,
        };
        let q = Operand {
            data: p.pairs.items.q.row(plane, b as usize * d as usize),
            first: first[1],
            rows: d,
            transposed: true,
        };
        let sums = products(thread, [y, q], b);
        let of_plane = p.gradient.row(p.anchor_plane(), p.b() * p.d());
        add_tile(
            thread,
            sums,
            first,
            [strip, d],
            of_plane.part(p.start as usize * p.d(), strip as usize * p.d()),
        );
    }
}

/// −E_p += (−C·y_p)ᵀ·A of a strip; a block per tile of items and dimensions, and per plane.
#[inline(always)]
pub fn items_product(thread: Thread<'_>, p: Loss) {
    let (b, d, strip) = (p.pairs.items.items, p.pairs.items.d, p.strip);
    let across = d.div_ceil(TILE).max(1);
    let plane = thread.block_y() as usize;
    let first = [
        thread.block() / across * TILE,
        thread.block() % across * TILE,
    ];
    let y = Operand {
        data: p.y.row(plane, strip as usize * b as usize),
        first: first[0],
        rows: b,
        transposed: true,
    };
    let anchors = Operand {
        data: p.of_strip().anchors,
        first: first[1],
        rows: d,
        transposed: true,
    };
    let sums = products(thread, [y, anchors], strip);
    let of_plane = p.item_gradient(plane, 0).part(0, p.b() * p.d());
    add_tile(thread, sums, first, [b, d], of_plane);
}

/// Adds a tile to a matrix of these rows and columns.
#[inline(always)]
fn add_tile(
    thread: Thread<'_>,
    sums: super::pairs::Sums,
    first: [u32; 2],
    [rows, columns]: [u32; 2],
    to: Global<F32>,
) {
    for_each_sum(thread, sums, |r, c, sum| {
        let (r, c) = (first[0] + r, first[1] + c);
        if r < rows && c < columns {
            let at = r as usize * columns as usize + c as usize;
            thread.write(to, at, thread.read(to, at) + sum);
        }
    });
}

/// The matching pairs, which pull against all others; a warp per pair.
#[inline(always)]
pub fn diagonal(thread: Thread<'_>, p: Loss) {
    let Some(i) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    if p.counts_of(thread, i) == F32::ZERO {
        return;
    }
    let warp = Warp(thread);
    let of = |table: Global<F32>, which: usize| thread.read(p.line(table, which), i);
    let pulled = of(p.sums, 0) + of(p.sums, 1);
    let w = -(p.share(thread) * p.scale) * pulled;
    let (d, products) = (of(p.rows, 4), of(p.sums, 2));
    let rest = p.pairs.residuals.row(i, p.d());
    let c = add_residual(thread, p, [i, i], [w, d], rest);
    if c != F32::ZERO {
        let mut gradient = p.gradient.row(p.anchor_plane() * p.b() + i, p.d());
        warp.axpy(c, rest, &mut gradient);
    }
    if thread.lane() == 0 {
        let products = w.mul_add(p.volume(thread, i, d), products);
        thread.write(p.line(p.sums, 4), i, products);
    }
}

/// dO_j = R_j⁻¹ · ((Σ_i W V) Q_j − E_j), through the normalisation; a warp per item.
#[inline(always)]
pub fn items_gradient(thread: Thread<'_>, p: Loss) {
    let Some(j) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let (warp, items, m) = (Warp(thread), p.pairs.items, p.m());
    let counted = p.counts_of(thread, j) != F32::ZERO;
    let which = if counted { 4 } else { 2 };
    let products = thread.read(p.line(p.sums, which), j);
    if thread.read(items.volume, j) == F32::ZERO {
        for q in 0..m {
            warp.scale(F32::ZERO, &mut p.item_gradient(q, j));
        }
        return;
    }
    for q in 0..m {
        let mut g = p.item_gradient(q, j);
        basis::reject(warp, items.q_of(m, j), &mut g);
        warp.axpy(products, items.q_row(q, j), &mut g);
    }
    let r = items.r_of(j);
    for q in (0..m).rev() {
        let row = r.row(q, m);
        let coefficients = (q + 1..m).map(|s| thread.read(row, s));
        let done = (q + 1..m).map(|s| p.item_gradient(s, j));
        let pivot = thread.read(row, q);
        basis::solve_row(
            warp,
            pivot,
            coefficients.zip(done),
            &mut p.item_gradient(q, j),
        );
    }
    for q in 0..m {
        let plane = if q < p.anchor_plane() { q } else { q + 1 };
        let unit = items.vectors.row(plane * p.b() + j, p.d());
        let inverse = thread.read(p.line(p.inverse_norm, plane), j);
        ops::through_normalisation(warp, unit, inverse, &mut p.item_gradient(q, j));
    }
}

/// The gradient of each anchor, through the normalisation; a warp per anchor.
#[inline(always)]
pub fn anchors_gradient(thread: Thread<'_>, p: Loss) {
    let Some(i) = warp_of_grid(thread, p.pairs.items.items) else {
        return;
    };
    let inverse = thread.read(p.line(p.inverse_norm, p.anchor_plane()), i);
    let mut gradient = p.gradient.row(p.anchor_plane() * p.b() + i, p.d());
    ops::through_normalisation(Warp(thread), p.anchor(i), inverse, &mut gradient);
}

/// dL/dτ. One block.
#[inline(always)]
pub fn report(thread: Thread<'_>, p: Loss) {
    let mut product = F32::ZERO;
    let mut i = thread.index() as usize;
    while i < p.b() {
        product += thread.read(p.line(p.sums, 3), i);
        i += THREADS as usize;
    }
    let sum = block_sum(thread, product, 0);
    if thread.index() == 0 {
        // dl/dτ = −l/τ.
        thread.write(p.report, 2, p.scale * (p.share(thread) * sum));
    }
}
