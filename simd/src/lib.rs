//! The mathematics of [`rivergram_core`] on SIMD lanes.
//!
//! [`Level`] says what the CPU has and is the only way in. Whatever core writes over
//! [`Isa`](rivergram_core::lanes::Isa) becomes a [`Kernel`], and [`Level::run`] runs it on the lanes of
//! that level: one `f32` at a time, SSE2, AVX2 with FMA and F16C, NEON or WebAssembly's 128 bits.
//!
//! ```
//! use rivergram_core::{lanes::Isa, ops};
//! use rivergram_simd::{Kernel, Level};
//!
//! struct Dot<'a>(&'a [f32], &'a [f32]);
//!
//! impl Kernel<f32> for Dot<'_> {
//!     type Output = f32;
//!     #[inline(always)]
//!     fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
//!         ops::dot(isa, self.0, self.1)
//!     }
//! }
//!
//! let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! for level in Level::available() {
//!     assert_eq!(level.run(Dot(&x, &x)), 285.0, "{level}");
//! }
//! ```
//!
//! `no_std`, no allocation. The feature `std` (default) lets [`Level::detect`] ask the CPU; without it
//! [`Level::compiled`] is what the build guarantees.
//!
//! Adding an instruction set touches its own file, with the token and the lanes, and `dispatch.rs`.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod avx2;
mod batch;
mod dispatch;
mod level;
#[cfg(any(
    target_feature = "sse2",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
mod wide_lanes;

pub use level::{Level, LevelError};
pub use rivergram_core::lanes::Kernel;
