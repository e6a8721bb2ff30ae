//! Forward: the log-sum-exp of rows and columns, strip by strip, and the losses.

use rivergram_core::lanes::{Lanes, One, Real};
use rivergram_core::lse::Online;
use rivergram_core::softmax;

use super::{Loss, THREADS, add_up};
use crate::device::Thread;
use crate::kernels::pairs::{distances, next_tile};
use crate::kernels::warp_of_grid;
use crate::lanes::F32;
use crate::rows::Warp;

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

/// The distances of a strip, and its coordinates where there is room for them. Blocks take tiles in turn.
#[inline(always)]
pub fn scores(thread: Thread<'_>, p: Loss) {
    let (pairs, b) = (p.of_strip(), p.b());
    let mut turn = 0;
    while let Some(first) = next_tile(thread, pairs, turn) {
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
        turn += 1;
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
    let lse = warp.merge(online).log_sum();
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
        let of = |table, which| p.read(thread, table, which, i);
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
