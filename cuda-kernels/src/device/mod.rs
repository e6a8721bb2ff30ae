//! What a kernel may ask of the device: which thread it is, memory, and what threads do together.
//!
//! The names are those of CUDA and of `cuda_std`: thread, block, warp, `sync_threads`, shuffles. There are two
//! implementations of [`Thread`] with the same methods. On NVPTX a method is an instruction or two. In the emulation
//! the threads of a block are coroutines of which one runs at a time and gives way only where threads meet, so that
//! every run is the same; each access is checked, and a `Fault` says what is wrong. A host without the emulation has no
//! threads, only what a driver needs to start a kernel.
//!
//! Memory is reached through views, [`Global`] and [`Shared`], never as slices: many threads hold the same view. A view
//! is an address and a length. The device trusts it; the emulation checks it.

use core::marker::PhantomData;

use crate::lanes::{Bf16, F32};

#[cfg(all(not(target_arch = "nvptx64"), not(feature = "emulation")))]
mod absent;
#[cfg(all(not(target_arch = "nvptx64"), feature = "emulation"))]
mod emulation;
#[cfg(not(target_arch = "nvptx64"))]
mod launch;
#[cfg(target_arch = "nvptx64")]
mod nvptx;

#[cfg(all(not(target_arch = "nvptx64"), not(feature = "emulation")))]
pub use absent::Thread;
#[cfg(all(not(target_arch = "nvptx64"), not(feature = "emulation")))]
pub(crate) use absent::{mul_add, sqrt};
#[cfg(all(not(target_arch = "nvptx64"), feature = "emulation"))]
pub use emulation::{Fault, FaultKind, Memory, Order, Thread};
#[cfg(all(not(target_arch = "nvptx64"), feature = "emulation"))]
pub(crate) use emulation::{mul_add, sqrt};
#[cfg(not(target_arch = "nvptx64"))]
pub use launch::Launch;
#[cfg(target_arch = "nvptx64")]
pub use nvptx::Thread;
#[cfg(target_arch = "nvptx64")]
pub(crate) use nvptx::{mul_add, sqrt};

/// Threads of a warp.
pub const WARP: u32 = 32;

/// All lanes of a warp take part.
pub const ALL_LANES: u32 = u32::MAX;

/// What memory holds: numbers of 32 bits, or of 16.
pub trait Element: Copy + Default + 'static {
    /// Bytes of one: 4, or 2.
    const BYTES: u64 = 4;
    /// Its bits, the lowest ones of a word.
    fn to_word(self) -> u32;
    /// The number of some bits.
    fn from_word(word: u32) -> Self;
}

impl Element for F32 {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self.0.to_bits()
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        F32(f32::from_bits(word))
    }
}

impl Element for u32 {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        word
    }
}

impl Element for i32 {
    #[inline(always)]
    fn to_word(self) -> u32 {
        self.cast_unsigned()
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        word.cast_signed()
    }
}

impl Element for Bf16 {
    const BYTES: u64 = 2;
    #[inline(always)]
    fn to_word(self) -> u32 {
        u32::from(self.0)
    }
    #[inline(always)]
    fn from_word(word: u32) -> Self {
        Bf16(word as u16)
    }
}

/// What the words hold that tensor cores multiply: the first number is the lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Format {
    /// One number of 19 bits, in the upper bits: the exponent of an `f32`, and ten bits of its fraction.
    Tf32,
    /// Two of IEEE 754 binary16.
    F16,
    /// Two upper halves of an `f32`.
    Bf16,
    /// Four integers from −128 to 127; their sums are integers of 32 bits, the others' are `f32`.
    I8,
}

impl Format {
    /// Numbers of a word.
    #[inline(always)]
    pub const fn per_word(self) -> u32 {
        match self {
            Format::Tf32 => 1,
            Format::F16 | Format::Bf16 => 2,
            Format::I8 => 4,
        }
    }
}

/// Numbers in the memory of the device: `len` of them from `address` on. It crosses from the host to a kernel as it is.
#[derive(Debug)]
#[repr(C)]
pub struct Global<T> {
    address: u64,
    len: u64,
    numbers: PhantomData<T>,
}

impl<T> Clone for Global<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Global<T> {}

impl<T: Element> Global<T> {
    /// A view of memory at this device address. A kernel that uses it trusts the caller: that many numbers are there,
    /// aligned to their size.
    pub const fn new(address: u64, len: u64) -> Self {
        Global {
            address,
            len,
            numbers: PhantomData,
        }
    }

    /// How many numbers.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// `len` of its numbers from `start` on. The emulation finds what lies beyond when it is used.
    #[inline(always)]
    #[must_use]
    pub const fn part(self, start: usize, len: usize) -> Self {
        let start = start as u64;
        Global {
            address: self.address.wrapping_add(start.wrapping_mul(T::BYTES)),
            len: len as u64,
            numbers: PhantomData,
        }
    }

    /// Row `index` of rows of `len` numbers.
    #[inline(always)]
    #[must_use]
    pub const fn row(self, index: usize, len: usize) -> Self {
        self.part(index.wrapping_mul(len), len)
    }

    /// The address of a number.
    #[inline(always)]
    pub const fn at(self, index: usize) -> u64 {
        self.address
            .wrapping_add((index as u64).wrapping_mul(T::BYTES))
    }
}

/// Numbers in the memory that the threads of a block share: `len` words from word `first` on.
#[derive(Debug)]
pub struct Shared<T> {
    first: u32,
    len: u32,
    numbers: PhantomData<T>,
}

impl<T> Clone for Shared<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T: Element> Shared<T> {
    /// Words `first` to `first + len` of the block's shared memory; a kernel's launch says how many there are.
    #[inline(always)]
    pub const fn new(first: u32, len: u32) -> Self {
        Shared {
            first,
            len,
            numbers: PhantomData,
        }
    }

    /// Its first word.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// How many words.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty)]
    pub const fn len(self) -> u32 {
        self.len
    }
}
