//! The kernels: loads, stores and which thread does what.
//!
//! Each module is one operation. A kernel takes the thread and a structure of parameters, which the host fills in and
//! the launch passes by value.

use crate::device::{Thread, WARP};

pub mod basis;
pub mod optim;
pub mod pairs;
pub mod prepare;
pub mod search;

/// The index of the thread's warp in the grid, of `n` that there is work for. The same in all lanes.
#[inline(always)]
fn warp_of_grid(thread: Thread<'_>, n: u32) -> Option<usize> {
    let per_block = thread.threads() / WARP;
    let warp = thread.block() * per_block + thread.index() / WARP;
    (warp < n).then_some(warp as usize)
}
