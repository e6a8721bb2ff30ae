//! The mathematics of [`rivergram_core`] as GPU kernels.
//!
//! A kernel says where the numbers lie and which thread does what; the formulas are core's, computed with
//! [`lanes::F32`] and over [`rows::Warp`]. The same source becomes PTX for a GPU and, with the feature `emulation`, runs
//! on the host under a deterministic emulation that checks every access ([`device`]).
//!
//! No kernel has run on hardware yet.
#![cfg_attr(target_arch = "nvptx64", no_std)]
#![cfg_attr(
    target_arch = "nvptx64",
    feature(
        abi_ptx,
        asm_experimental_arch,
        core_float_math,
        link_llvm_intrinsics,
        stdarch_nvptx
    )
)]
// The intrinsics of LLVM: shuffles have no other name in the library.
#![cfg_attr(target_arch = "nvptx64", allow(internal_features))]
#![deny(unsafe_code)]

pub mod device;
#[cfg(target_arch = "nvptx64")]
pub mod entries;
pub mod kernels;
pub mod lanes;
#[cfg(not(target_arch = "nvptx64"))]
pub mod ptx;
pub mod rows;

/// The example of the README, run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
