//! The two passes over the logits of a position.

use rivergram_core::eisl::IGNORE;
use rivergram_core::eisl::gather::{score, unclamped};
use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::{LogSum, Online};
use rivergram_core::softmax;

use super::logits::{At, behind_address, behind_position, for_own_logits, read_piece};
use super::{Eisl, Logit, THREADS, for_own};
use crate::device::{Shared, Thread, WARP};
use crate::kernels::{WARPS, block_sum};
use crate::lanes::F32;
use crate::rows::Warp;

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
    for_own_logits(thread, x, behind_position(x, place.j), |at| match at {
        At::One(v) => {
            let x = thread.read(x, v).widen();
            online = online.push([x]);
            above_pivot += x - pivot;
        }
        At::Piece(v) => {
            for four in read_piece(thread, x, v).as_ref() {
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

/// The gradient of a position over its logits.
#[inline(always)]
pub fn write<T: Logit>(thread: Thread<'_>, p: Eisl<T>) {
    let place = p.place(thread);
    let (x, threads) = (p.logits_of(place), THREADS as usize);
    let wanted = p.column(thread.read(p.tokens, p.at(place)));
    let has_ngrams = place.j < p.outputs_of(thread, place.row);
    let own = thread.index() as usize;
    if !has_ngrams && wanted.is_none() {
        for_own_logits(thread, x, behind_address(x), |at| match at {
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
    for_own_logits(thread, x, behind_address(x), |at| match at {
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
