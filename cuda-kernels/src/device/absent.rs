//! No device at all: a host that only starts kernels needs their parameters, not their threads.

use core::marker::PhantomData;

use super::{Element, Format, Global, Shared};
use crate::lanes::F32;

/// a·b + c, rounded once.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// √x, rounded to nearest.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

#[derive(Clone, Copy, Debug)]
enum Nobody {}

/// There is none: without the feature `emulation` a host runs no kernel itself.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a>(Nobody, PhantomData<&'a ()>);

impl Thread<'_> {
    /// The index of the thread in its block.
    pub fn index(self) -> u32 {
        match self.0 {}
    }

    /// Threads per block.
    pub fn threads(self) -> u32 {
        match self.0 {}
    }

    /// The index of the block, across.
    pub fn block(self) -> u32 {
        match self.0 {}
    }

    /// The index of the block, down.
    pub fn block_y(self) -> u32 {
        match self.0 {}
    }

    /// Blocks across.
    pub fn blocks(self) -> u32 {
        match self.0 {}
    }

    /// The index of the thread in its warp.
    pub fn lane(self) -> u32 {
        match self.0 {}
    }

    /// The same number.
    pub fn here(self, _: u32) -> u32 {
        match self.0 {}
    }

    /// Waits for all threads of the block.
    pub fn sync_threads(self) {
        match self.0 {}
    }

    /// The number that the lane `lane` xor `mask` gives.
    pub fn shuffle_xor<T: Element>(self, _: T, _: u32) -> T {
        match self.0 {}
    }

    /// The number that lane `lane` gives.
    pub fn shuffle<T: Element>(self, _: T, _: u32) -> T {
        match self.0 {}
    }

    /// Which lanes say yes: a bit for each.
    pub fn ballot(self, _: bool) -> u32 {
        match self.0 {}
    }

    /// A number of global memory.
    pub fn read<T: Element>(self, _: Global<T>, _: usize) -> T {
        match self.0 {}
    }

    /// Writes a number to global memory.
    pub fn write<T: Element>(self, _: Global<T>, _: usize, _: T) {
        match self.0 {}
    }

    /// A number of shared memory.
    pub fn read_shared<T: Element>(self, _: Shared<T>, _: u32) -> T {
        match self.0 {}
    }

    /// Four numbers of shared memory.
    pub fn read_shared_four(self, _: Shared<F32>, _: u32) -> [F32; 4] {
        match self.0 {}
    }

    /// Writes a number to shared memory.
    pub fn write_shared<T: Element>(self, _: Shared<T>, _: u32, _: T) {
        match self.0 {}
    }

    /// Sixteen bytes of global memory.
    pub fn read_16_bytes<T: Element>(self, _: Global<T>, _: usize) -> [u32; 4] {
        match self.0 {}
    }

    /// Writes sixteen bytes of global memory.
    pub fn write_16_bytes<T: Element>(self, _: Global<T>, _: usize, _: [u32; 4]) {
        match self.0 {}
    }

    /// Starts to copy four words of global to shared memory.
    pub fn copy_async(self, _: Shared<u32>, _: u32, _: Global<u32>, _: usize, _: bool) {
        match self.0 {}
    }

    /// The copies so far are a group.
    pub fn commit_copies(self) {
        match self.0 {}
    }

    /// Waits for all groups of copies but the latest `N`.
    pub fn wait_copies<const N: usize>(self) {
        match self.0 {}
    }

    /// Four matrices of shared memory.
    pub fn load_matrices(self, _: Shared<u32>, _: u32) -> [u32; 4] {
        match self.0 {}
    }

    /// A·B + C of a warp.
    pub fn product(self, _: Format, _: [u32; 4], _: [u32; 2], _: [u32; 4]) -> [u32; 4] {
        match self.0 {}
    }

    /// The nearest number of TF32.
    pub fn to_tf32(self, _: F32) -> u32 {
        match self.0 {}
    }
}
