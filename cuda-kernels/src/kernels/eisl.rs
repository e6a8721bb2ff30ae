//! The edit-invariant sequence loss, as [`rivergram_core::eisl`], for one reference per row and outputs as the axis.
//!
//! | kernel | a block for | reads | writes |
//! |---|---|---|---|
//! | [`read`] | a position | its logits, once | log-sum, scores of the targets, cross-entropy |
//! | [`ngrams`] | a row | scores | E of each n-gram, G = ∂loss/∂s |
//! | [`write()`] | a position | its logits, G | the gradient, over the logits |
//!
//! So the logits are read twice and written once, sixteen bytes at a time, and everything else is T·U per row. Nothing is
//! added by more than one thread: of targets that come twice in a row the first adds up all, in their order, as core does.
//!
//! Logits are `f32` or bf16 ([`Logit`]). Of bf16 every sum is in `f32`, and the gradient is rounded once, where it takes the
//! place of the logit, as [`rivergram_core::eisl::half_loss_and_gradient_in_place`] does it; so the logits of the targets
//! are kept until then.

use rivergram_core::eisl::gather::{score, token, unclamped};
use rivergram_core::eisl::select::{Cells, Selection, column};
use rivergram_core::eisl::{IGNORE, Select};
use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::{LogSum, Online};
use rivergram_core::softmax;

use super::{BLOCK, WARPS, block_sum};
use crate::device::{Element, Global, Shared, Thread, WARP};
use crate::lanes::{Bf16, F32};
use crate::rows::Warp;

/// Threads of a block.
pub const THREADS: u32 = BLOCK;
/// Words of shared memory of [`read`] and of [`write()`].
pub const SHARED: u32 = 3 * WARPS;
/// The most orders.
pub const ORDERS: usize = 8;

/// What logits are stored as. A thread takes sixteen bytes at a time; the exponentials of four share one change of the
/// maximum.
pub trait Logit: Element {
    /// The numbers of sixteen bytes.
    type Piece: AsRef<[[F32; 4]]> + AsMut<[[F32; 4]]>;
    /// The same number.
    fn widen(self) -> F32;
    /// The nearest one.
    fn nearest(x: F32) -> Self;
    /// The numbers of four words.
    fn unpack(words: [u32; 4]) -> Self::Piece;
    /// The nearest numbers, in four words.
    fn pack(piece: Self::Piece) -> [u32; 4];
}

impl Logit for F32 {
    type Piece = [[F32; 4]; 1];
    #[inline(always)]
    fn widen(self) -> F32 {
        self
    }
    #[inline(always)]
    fn nearest(x: F32) -> Self {
        x
    }
    #[inline(always)]
    fn unpack(words: [u32; 4]) -> Self::Piece {
        [words.map(F32::from_word)]
    }
    #[inline(always)]
    fn pack([four]: Self::Piece) -> [u32; 4] {
        four.map(F32::to_word)
    }
}

impl Logit for Bf16 {
    type Piece = [[F32; 4]; 2];
    #[inline(always)]
    fn widen(self) -> F32 {
        Bf16::widen(self)
    }
    #[inline(always)]
    fn nearest(x: F32) -> Self {
        Bf16::nearest(x)
    }
    #[inline(always)]
    fn unpack([a, b, c, d]: [u32; 4]) -> Self::Piece {
        [[a, b], [c, d]]
            .map(|[a, b]| [a, a >> 16, b, b >> 16].map(|bits| Bf16(bits as u16).widen()))
    }
    #[inline(always)]
    fn pack(piece: Self::Piece) -> [u32; 4] {
        let [[a, b], [c, d]] = piece.map(|four| {
            let [a, b, c, d] = four.map(|x| Bf16::nearest(x).to_word());
            [a | b << 16, c | d << 16]
        });
        [a, b, c, d]
    }
}

/// The parameters of all three kernels. What logits are stored as does not change their layout: [`ngrams`], which does not
/// read them, is one kernel for all.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Eisl<T = F32> {
    /// x, \[rows, positions, vocabulary\]; its gradient after [`write()`].
    pub logits: Global<T>,
    /// y, \[rows, targets\]; −100 has no column.
    pub labels: Global<i32>,
    /// The token that cross-entropy wants at each position, \[rows, positions\]; −100 for none.
    pub tokens: Global<i32>,
    /// The positions of each row that count, \[rows\].
    pub outputs: Global<u32>,
    /// The targets of each row that count, \[rows\].
    pub lengths: Global<u32>,
    /// ∂loss/∂E of an n-gram of each row and order, \[rows, orders\].
    pub factors: Global<F32>,
    /// max and ln Σ of each position, \[2, rows, positions\]. ln Σ is not finite where a logit is NaN or +∞, or all are
    /// −∞.
    pub sums: Global<F32>,
    /// s, \[rows, positions, targets\].
    pub scores: Global<F32>,
    /// Sums along diagonals, and their weights, \[2, rows, positions, targets\]; then, in place of the sums, the logits of
    /// the targets.
    pub work: Global<F32>,
    /// G, \[rows, positions, targets\].
    pub gradient: Global<F32>,
    /// E, \[rows, orders, targets\]; 0 where there is no n-gram.
    pub values: Global<F32>,
    /// The smoothed cross-entropy of each position, \[rows, positions\]; 0 where no token is wanted.
    pub cross_entropy: Global<F32>,
    /// Rows.
    pub rows: u32,
    /// T.
    pub positions: u32,
    /// U.
    pub targets: u32,
    /// V.
    pub vocabulary: u32,
    /// n of each order, in rising order.
    pub orders: [u32; ORDERS],
    /// How many of them.
    pub order_count: u32,
    /// The selection: softmax, detached, logsumexp, mean, max, from 0.
    pub select: u32,
    /// τ.
    pub temperature: F32,
    /// The clamp; −∞ for none.
    pub clamp: F32,
    /// ε of the cross-entropy.
    pub smoothing: F32,
    /// ∂loss/∂CE of a token.
    pub token_share: F32,
}

/// A position of a row.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    j: usize,
}

impl<T: Logit> Eisl<T> {
    /// The position of a block.
    #[inline(always)]
    fn place(self, thread: Thread<'_>) -> Place {
        Place {
            row: thread.block_y() as usize,
            j: thread.block() as usize,
        }
    }

    /// Its index among all.
    #[inline(always)]
    fn at(self, place: Place) -> usize {
        place.row * self.positions as usize + place.j
    }

    /// Its logits.
    #[inline(always)]
    fn logits_of(self, place: Place) -> Global<T> {
        self.logits.row(self.at(place), self.vocabulary as usize)
    }

    /// Its part of a matrix \[rows, positions, targets\].
    #[inline(always)]
    fn line(self, matrix: Global<F32>, place: Place) -> Global<F32> {
        matrix.row(self.at(place), self.targets as usize)
    }

    /// What was found of its logits.
    #[inline(always)]
    fn log_sum(self, thread: Thread<'_>, place: Place) -> LogSum<F32> {
        let all = (self.rows * self.positions) as usize;
        LogSum {
            max: thread.read(self.sums, self.at(place)),
            ln_sum: thread.read(self.sums, all + self.at(place)),
        }
    }

    /// How many positions of a row count.
    #[inline(always)]
    fn outputs_of(self, thread: Thread<'_>, row: usize) -> usize {
        thread.read(self.outputs, row) as usize
    }

    #[inline(always)]
    fn label(self, thread: Thread<'_>, row: usize, i: usize) -> i32 {
        thread.read(self.labels, row * self.targets as usize + i)
    }

    /// The column of a label.
    #[inline(always)]
    fn column(self, label: i32) -> Option<usize> {
        token(label, None).filter(|column| *column < self.vocabulary as usize)
    }

    #[inline(always)]
    fn selection(self, order: u32) -> Selection<F32> {
        Selection {
            select: match self.select {
                0 => Select::Softmax,
                1 => Select::Detached,
                2 => Select::LogSumExp,
                3 => Select::Mean,
                _ => Select::Max,
            },
            temperature: self.temperature,
            order: order as usize,
        }
    }
}

/// The log-sum-exp over the threads of a block, the same in all. All threads call.
#[inline(always)]
fn block_log_sum(thread: Thread<'_>, online: Online<F32>) -> LogSum<F32> {
    let online = Warp(thread).merge(online);
    let maxima = Shared::<F32>::new(0, WARPS);
    let sums = Shared::<F32>::new(WARPS, WARPS);
    if thread.lane() == 0 {
        thread.write_shared(maxima, thread.index() / WARP, online.max);
        thread.write_shared(sums, thread.index() / WARP, online.sum);
    }
    thread.sync_threads();
    let mut all = Online::none(One::new());
    for warp in 0..WARPS {
        all = all.merge(Online {
            max: thread.read_shared(maxima, warp),
            sum: thread.read_shared(sums, warp),
        });
    }
    all.log_sum()
}

/// The log-sum, the scores and the cross-entropy of a position.
#[inline(always)]
pub fn read<T: Logit>(thread: Thread<'_>, p: Eisl<T>) {
    let place = p.place(thread);
    let (x, wanted) = (p.logits_of(place), thread.read(p.tokens, p.at(place)));
    if place.j >= p.outputs_of(thread, place.row) && wanted == IGNORE {
        if thread.index() == 0 {
            thread.write(p.cross_entropy, p.at(place), F32::ZERO);
        }
        return;
    }
    // Differences to one logit keep the digits of their mean.
    let pivot = thread.read(x, 0).widen();
    let pivot = if pivot.is_finite() { pivot } else { F32::ZERO };
    let mut online = Online::none(One::new());
    let mut above_pivot = F32::ZERO;
    for_own_logits(thread, x, |at| match at {
        At::One(v) => {
            let x = thread.read(x, v).widen();
            online = online.push([x]);
            above_pivot += x - pivot;
        }
        At::Piece(v) => {
            for four in T::unpack(thread.read_16_bytes(x, v)).as_ref() {
                online = online.push(*four);
                for x in four {
                    above_pivot += *x - pivot;
                }
            }
        }
    });
    let lse = block_log_sum(thread, online);
    let mean = block_sum(thread, above_pivot, 2) / F32::from_u32(p.vocabulary);
    if thread.index() == 0 {
        let all = (p.rows * p.positions) as usize;
        thread.write(p.sums, p.at(place), lse.max);
        thread.write(p.sums, all + p.at(place), lse.ln_sum);
        let loss = match p.column(wanted) {
            None => F32::ZERO,
            Some(column) => {
                let ln_p = lse.ln_p(thread.read(x, column).widen());
                // Measured from the log-sum; without smoothing the mean, which may be −∞, takes no part.
                let mean = if p.smoothing == F32::ZERO {
                    F32::ZERO
                } else {
                    lse.ln_p(pivot) + mean
                };
                softmax::smoothed(p.smoothing, F32::ZERO, ln_p, mean)
            }
        };
        thread.write(p.cross_entropy, p.at(place), loss);
    }
    let scores = p.line(p.scores, place);
    for_own(
        thread.index() as usize,
        THREADS as usize,
        p.targets as usize,
        |i| {
            let column = p.column(p.label(thread, place.row, i));
            let x = column.map(|column| thread.read(x, column).widen());
            thread.write(scores, i, score(x, &lse, Some(p.clamp)));
        },
    );
}

/// Logits of a row that a thread takes: one, or those of sixteen bytes.
#[derive(Clone, Copy)]
enum At {
    One(usize),
    Piece(usize),
}

/// Calls with the logits of a row that the thread of a block has; alone go those before and after the whole sixteen bytes.
#[inline(always)]
fn for_own_logits<T: Logit>(thread: Thread<'_>, x: Global<T>, mut call: impl FnMut(At)) {
    let (own, threads) = (thread.index() as usize, THREADS as usize);
    let each = (16 / T::BYTES) as usize;
    let behind = (x.at(0) % 16 / T::BYTES) as usize;
    let first = ((each - behind) % each).min(x.len());
    let pieces = (x.len() - first) / each;
    let end = first + pieces * each;
    for_own(own, threads, first, |v| call(At::One(v)));
    for_own(own, threads, pieces, |i| call(At::Piece(first + i * each)));
    for_own(own, threads, x.len() - end, |i| call(At::One(end + i)));
}

/// A column of a row's sums and weights.
struct OfTarget<'t> {
    thread: Thread<'t>,
    sums: Global<F32>,
    weights: Global<F32>,
    stride: usize,
    i: usize,
}

impl Cells<F32> for OfTarget<'_> {
    #[inline(always)]
    fn sum(&self, j: usize) -> F32 {
        self.thread.read(self.sums, j * self.stride + self.i)
    }
    #[inline(always)]
    fn noise(&self, _: usize) -> Option<F32> {
        None
    }
    #[inline(always)]
    fn weight(&self, j: usize) -> F32 {
        self.thread.read(self.weights, j * self.stride + self.i)
    }
    #[inline(always)]
    fn set_weight(&mut self, j: usize, weight: F32) {
        self.thread
            .write(self.weights, j * self.stride + self.i, weight);
    }
}

/// The n-grams of a row: E of each, and the gradient of its scores. A thread has whole columns of sums.
#[inline(always)]
pub fn ngrams<T: Logit>(thread: Thread<'_>, p: Eisl<T>) {
    let row = thread.block() as usize;
    let (positions, targets) = (p.positions as usize, p.targets as usize);
    let (outputs, length) = (
        p.outputs_of(thread, row),
        thread.read(p.lengths, row) as usize,
    );
    let size = positions * targets;
    let [sums, weights] = [0, 1].map(|half| p.work.row(half * p.rows as usize + row, size));
    let (scores, gradient) = (p.scores.row(row, size), p.gradient.row(row, size));
    let (own, step) = (thread.index() as usize, thread.threads() as usize);
    for_own(own, step, targets, |i| {
        for j in 0..positions {
            thread.write(gradient, j * targets + i, F32::ZERO);
        }
    });
    let mut summed = 0;
    for o in 0..p.order_count as usize {
        let n = order(p, o);
        let factor = thread.read(p.factors, row * p.order_count as usize + o);
        let values = p.values.row(row * p.order_count as usize + o, targets);
        let k = (outputs + 1).saturating_sub(n);
        let m = if k == 0 {
            0
        } else {
            (length + 1).saturating_sub(n)
        };
        for_own(own, step, targets, |i| {
            for at in summed..n {
                extend(thread, [scores, sums], at, [outputs, length, targets], i);
            }
            if i >= m {
                thread.write(values, i, F32::ZERO);
                return;
            }
            let mut cells = OfTarget {
                thread,
                sums,
                weights,
                stride: targets,
                i,
            };
            let selection = p.selection(n as u32);
            let e = column(One::new(), selection, k, &mut cells, Some(factor));
            thread.write(values, i, e);
        });
        summed = n;
        // The sums of a thread are read by it alone; the weights by those along the diagonal.
        thread.sync_threads();
        for_own(own, step, length, |i| {
            for j in 0..outputs {
                let at = j * targets + i;
                let mut g = thread.read(gradient, at);
                for back in 0..n.min(i + 1).min(j + 1) {
                    if j - back < k && i - back < m {
                        g += thread.read(weights, (j - back) * targets + (i - back));
                    }
                }
                thread.write(gradient, at, g);
            }
        });
        thread.sync_threads();
    }
}

/// n of order `o`: read by comparison, since an index that is not known would put the list into memory.
#[inline(always)]
fn order<T>(p: Eisl<T>, o: usize) -> usize {
    let mut n = 0;
    for at in 0..ORDERS {
        if at == o {
            n = p.orders[at];
        }
    }
    n as usize
}

/// Calls with `first`, `first + step`, … below `n`.
#[inline(always)]
fn for_own(first: usize, step: usize, n: usize, mut call: impl FnMut(usize)) {
    let mut i = first;
    while i < n {
        call(i);
        i += step;
    }
}

/// D_n to D_{n+1} of one column, where `at` is n: D\[j, i\] += s\[j+n, i+n\]; D_0 is nothing.
#[inline(always)]
fn extend(
    thread: Thread<'_>,
    [scores, sums]: [Global<F32>; 2],
    at: usize,
    [outputs, length, stride]: [usize; 3],
    i: usize,
) {
    if i + at >= length {
        return;
    }
    for j in 0..outputs.saturating_sub(at) {
        let s = thread.read(scores, (j + at) * stride + i + at);
        let d = if at == 0 {
            s
        } else {
            thread.read(sums, j * stride + i) + s
        };
        thread.write(sums, j * stride + i, d);
    }
}

/// The gradient of a position over its logits.
#[inline(always)]
pub fn write<T: Logit>(thread: Thread<'_>, p: Eisl<T>) {
    let place = p.place(thread);
    let (x, threads) = (p.logits_of(place), THREADS as usize);
    let wanted = p.column(thread.read(p.tokens, p.at(place)));
    let has_ngrams = place.j < p.outputs_of(thread, place.row);
    let own = thread.index() as usize;
    if !has_ngrams && wanted.is_none() {
        for_own_logits(thread, x, |at| match at {
            At::One(v) => thread.write(x, v, T::nearest(F32::ZERO)),
            At::Piece(v) => thread.write_16_bytes(x, v, [0; 4]),
        });
        return;
    }
    let (scores, gradient) = (p.line(p.scores, place), p.line(p.gradient, place));
    let originals = p.line(p.work, place);
    let length = if has_ngrams {
        thread.read(p.lengths, place.row) as usize
    } else {
        0
    };
    // The gradient of target i, as the clamp and the vocabulary leave it.
    let of_target = |i: usize| {
        let column = p.column(p.label(thread, place.row, i))?;
        let (s, g) = (thread.read(scores, i), thread.read(gradient, i));
        Some((column, unclamped(s, p.clamp, g)))
    };
    let mut r = F32::ZERO;
    for_own(own, threads, length, |i| {
        if let Some((column, g)) = of_target(i) {
            r += g;
            thread.write(originals, i, thread.read(x, column).widen());
        }
    });
    let original = wanted.map(|column| thread.read(x, column).widen());
    let mut r = block_sum(thread, r, 0);
    let share = if wanted.is_some() {
        p.token_share
    } else {
        F32::ZERO
    };
    let smooth = share * p.smoothing;
    let uniform = -smooth / F32::from_u32(p.vocabulary);
    r -= share;
    let lse = p.log_sum(thread, place);
    let dense = |x: &mut [F32]| softmax::gradient(One::new(), &lse, uniform, r, x);
    for_own_logits(thread, x, |at| match at {
        At::One(v) => {
            let mut value = [thread.read(x, v).widen()];
            dense(&mut value);
            thread.write(x, v, T::nearest(value[0]));
        }
        At::Piece(v) => {
            let mut piece = T::unpack(thread.read_16_bytes(x, v));
            for four in piece.as_mut() {
                dense(four);
            }
            thread.write_16_bytes(x, v, T::pack(piece));
        }
    });
    thread.sync_threads();
    // The wanted token comes after all targets.
    let of_place = |i: usize| {
        if i < length {
            of_target(i)
        } else {
            wanted.map(|column| (column, smooth - share))
        }
    };
    for_own(own, threads, length + 1, |i| {
        let Some((column, first)) = of_place(i) else {
            return;
        };
        let is_column = |other: usize| of_place(other).is_some_and(|(other, _)| other == column);
        if (0..i).any(is_column) {
            return;
        }
        // Of the logit as it was: what stands in its place has been rounded.
        let mut value = [match original {
            Some(original) if i == length => original,
            _ => thread.read(originals, i),
        }];
        dense(&mut value);
        let mut sum = value[0] + first;
        for other in i + 1..length + 1 {
            let g = of_place(other).filter(|(there, _)| *there == column);
            if let Some((_, g)) = g {
                sum += g;
            }
        }
        thread.write(x, column, T::nearest(sum));
    });
}
