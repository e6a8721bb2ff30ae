//! The mathematics of rivergram, written once.
//!
//! `no_std`, no allocation, no panic. Every algorithm is generic over an instruction set
//! ([`lanes::Isa`]): the same code runs on one `f32`, on one `f64`, on SIMD vectors and in a GPU thread.
#![no_std]
#![deny(unsafe_code)]

pub mod crew;
pub mod eisl;
pub mod encode;
pub mod error;
pub mod features;
#[cfg(feature = "flash")]
pub mod flash;
mod fpu;
pub mod gram;
pub mod head;
pub mod lanes;
pub mod lse;
pub mod math;
pub mod ops;
pub mod optim;
pub mod replay;
pub mod schedule;
pub mod softmax;
pub mod trainer;
