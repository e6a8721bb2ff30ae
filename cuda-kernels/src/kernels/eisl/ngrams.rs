//! The n-grams of a row.

use rivergram_core::eisl::select::{Cells, column};
use rivergram_core::lanes::{One, Real};

use super::{Eisl, Logit, ORDERS, for_own};
use crate::device::{Global, Thread};
use crate::lanes::F32;

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
