//! The edit-invariant sequence loss, as [`rivergram_core::eisl`], for one reference per row and outputs as the axis.
//!
//! | kernel | a block for | reads | writes |
//! |---|---|---|---|
//! | [`read`] | a position | its logits, once | log-sum, scores of the targets, cross-entropy |
//! | [`ngrams`] | a row | scores | E of each n-gram, G = ∂loss/∂s |
//! | [`write()`] | a position | its logits, G | the gradient, over the logits |
//!
//! So the logits are read twice and written once, and everything else is T·U per row. Nothing is added by more than one
//! thread: of targets that come twice in a row the first adds up all, in their order, as core does.

use rivergram_core::eisl::gather::{score, token, unclamped};
use rivergram_core::eisl::select::{Cells, Selection, column};
use rivergram_core::eisl::{IGNORE, Select};
use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::{LogSum, Online};
use rivergram_core::softmax;

use super::{BLOCK, WARPS, block_sum};
use crate::device::{Global, Shared, Thread, WARP};
use crate::lanes::F32;

/// Threads of a block.
pub const THREADS: u32 = BLOCK;
/// Words of shared memory of [`read`] and of [`write()`].
pub const SHARED: u32 = 3 * WARPS;
/// The most orders.
pub const ORDERS: usize = 8;
/// Logits that a thread takes at a time: their exponentials share one change of the maximum.
const CHUNK: usize = 4;

/// The parameters of all three kernels.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Eisl {
    /// x, \[rows, positions, vocabulary\]; its gradient after [`write()`].
    pub logits: Global<F32>,
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
    /// Sums along diagonals, and their weights, \[2, rows, positions, targets\].
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

impl Eisl {
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
    fn logits_of(self, place: Place) -> Global<F32> {
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
fn block_log_sum(thread: Thread<'_>, mut online: Online<F32>) -> LogSum<F32> {
    let mut mask = WARP / 2;
    while mask > 0 {
        online = online.merge(Online {
            max: thread.shuffle_xor(online.max, mask),
            sum: thread.shuffle_xor(online.sum, mask),
        });
        mask /= 2;
    }
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
pub fn read(thread: Thread<'_>, p: Eisl) {
    let place = p.place(thread);
    let (x, wanted) = (p.logits_of(place), thread.read(p.tokens, p.at(place)));
    if place.j >= p.outputs_of(thread, place.row) && wanted == IGNORE {
        if thread.index() == 0 {
            thread.write(p.cross_entropy, p.at(place), F32::ZERO);
        }
        return;
    }
    let (vocabulary, threads) = (p.vocabulary as usize, THREADS as usize);
    // Differences to one logit keep the digits of their mean.
    let pivot = thread.read(x, 0);
    let pivot = if pivot.is_finite() { pivot } else { F32::ZERO };
    let mut online = Online::none(One::new());
    let mut above_pivot = F32::ZERO;
    let mut first = thread.index() as usize;
    while first < vocabulary {
        let mut chunk = [-F32::INFINITY; CHUNK];
        for i in 0..CHUNK {
            let v = first + i * threads;
            if v < vocabulary {
                chunk[i] = thread.read(x, v);
                above_pivot += chunk[i] - pivot;
            }
        }
        online = online.push(chunk);
        first += CHUNK * threads;
    }
    let lse = block_log_sum(thread, online);
    let mean = block_sum(thread, above_pivot, 2) / F32::from_u32(p.vocabulary);
    if thread.index() == 0 {
        let all = (p.rows * p.positions) as usize;
        thread.write(p.sums, p.at(place), lse.max);
        thread.write(p.sums, all + p.at(place), lse.ln_sum);
        let loss = match p.column(wanted) {
            None => F32::ZERO,
            Some(column) => {
                let ln_p = lse.ln_p(thread.read(x, column));
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
    let mut i = thread.index() as usize;
    while i < p.targets as usize {
        let column = p.column(p.label(thread, place.row, i));
        let x = column.map(|column| thread.read(x, column));
        thread.write(scores, i, score(x, &lse, Some(p.clamp)));
        i += threads;
    }
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
pub fn ngrams(thread: Thread<'_>, p: Eisl) {
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
fn order(p: Eisl, o: usize) -> usize {
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
pub fn write(thread: Thread<'_>, p: Eisl) {
    let place = p.place(thread);
    let (x, vocabulary, threads) = (p.logits_of(place), p.vocabulary as usize, THREADS as usize);
    let wanted = p.column(thread.read(p.tokens, p.at(place)));
    let has_ngrams = place.j < p.outputs_of(thread, place.row);
    let own = thread.index() as usize;
    if !has_ngrams && wanted.is_none() {
        for_own(own, threads, vocabulary, |v| thread.write(x, v, F32::ZERO));
        return;
    }
    let (scores, gradient) = (p.line(p.scores, place), p.line(p.gradient, place));
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
        if let Some((_, g)) = of_target(i) {
            r += g;
        }
    });
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
    for_own(own, threads, vocabulary, |v| {
        let mut value = [thread.read(x, v)];
        softmax::gradient(One::new(), &lse, uniform, r, &mut value);
        thread.write(x, v, value[0]);
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
        let mut sum = thread.read(x, column) + first;
        for other in i + 1..length + 1 {
            let g = of_place(other).filter(|(there, _)| *there == column);
            if let Some((_, g)) = g {
                sum += g;
            }
        }
        thread.write(x, column, sum);
    });
}
