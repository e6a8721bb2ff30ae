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

mod logits;
mod ngrams;
mod position;

pub use logits::Logit;
pub use ngrams::ngrams;
pub use position::{read, write};

use rivergram_core::eisl::Select;
use rivergram_core::eisl::gather::token;
use rivergram_core::eisl::select::Selection;
use rivergram_core::lse::LogSum;

use super::{BLOCK, WARPS};
use crate::device::{Global, Thread};
use crate::lanes::F32;

/// Threads of a block.
pub const THREADS: u32 = BLOCK;
/// Words of shared memory of [`read`] and of [`write()`].
pub const SHARED: u32 = 3 * WARPS;
/// The most orders.
pub const ORDERS: usize = 8;

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

/// Calls with `first`, `first + step`, … below `n`.
#[inline(always)]
fn for_own(first: usize, step: usize, n: usize, mut call: impl FnMut(usize)) {
    let mut i = first;
    while i < n {
        call(i);
        i += step;
    }
}
