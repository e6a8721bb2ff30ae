//! The kernels: loads, stores and which thread does what.
//!
//! Each module is one operation. A kernel takes the thread and a structure of parameters, which the host fills in and
//! the launch passes by value.

use rivergram_core::lanes::Real;

use crate::device::{Shared, Thread, WARP};
use crate::lanes::F32;
use crate::rows::Warp;

pub mod basis;
pub mod contrastive;
pub mod eisl;
pub mod optim;
pub mod pairs;
pub mod prepare;
pub mod search;
pub mod tensor;

/// The index of the thread's warp in the grid, of `n` that there is work for. The same in all lanes.
#[inline(always)]
fn warp_of_grid(thread: Thread<'_>, n: u32) -> Option<usize> {
    let per_block = thread.threads() / WARP;
    let warp = thread.block() * per_block + thread.index() / WARP;
    (warp < n).then_some(warp as usize)
}

/// Threads of a block that adds up over all of them.
pub(crate) const BLOCK: u32 = 256;
/// Its warps.
pub(crate) const WARPS: u32 = BLOCK / WARP;

/// Σ over the threads of a block, the same in all: within warps, then over them in order. All threads call. `part` counts the sums
/// of a kernel: each has words of its own.
#[inline(always)]
pub(crate) fn block_sum(thread: Thread<'_>, x: F32, part: u32) -> F32 {
    let shared = Shared::<F32>::new(part * WARPS, WARPS);
    let sum = Warp(thread).sum(x);
    if thread.lane() == 0 {
        thread.write_shared(shared, thread.index() / WARP, sum);
    }
    thread.sync_threads();
    let mut total = F32::ZERO;
    for warp in 0..WARPS {
        total += thread.read_shared(shared, warp);
    }
    total
}
