//! How a kernel is started.

use super::WARP;

/// A kernel's name, and how many threads run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel; a fault of the emulation carries the name.
    pub kernel: &'static str,
    /// Blocks, across and down.
    pub blocks: [u32; 2],
    /// Threads per block: whole warps.
    pub threads: u32,
    /// Words of shared memory per block, 4 bytes each.
    pub shared: u32,
}

impl Launch {
    /// A warp for each of `n` rows or items, four warps per block.
    ///
    /// ```
    /// use rivergram_cuda_kernels::device::Launch;
    ///
    /// let launch = Launch::per_warp("bases", 9);
    /// assert_eq!((launch.blocks, launch.threads), ([3, 1], 128));
    /// ```
    pub const fn per_warp(kernel: &'static str, n: u32) -> Self {
        let blocks = n.div_ceil(4);
        Launch {
            kernel,
            blocks: [if blocks == 0 { 1 } else { blocks }, 1],
            threads: 4 * WARP,
            shared: 0,
        }
    }
}
