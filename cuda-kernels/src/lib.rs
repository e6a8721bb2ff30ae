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

#[cfg(any(target_arch = "nvptx64", feature = "emulation"))]
pub mod device;
#[cfg(target_arch = "nvptx64")]
pub mod entries;
#[cfg(any(target_arch = "nvptx64", feature = "emulation"))]
pub mod kernels;
#[cfg(any(target_arch = "nvptx64", feature = "emulation"))]
pub mod lanes;
#[cfg(not(target_arch = "nvptx64"))]
pub mod ptx;
#[cfg(any(target_arch = "nvptx64", feature = "emulation"))]
pub mod rows;
