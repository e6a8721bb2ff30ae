//! The path to an NVIDIA GPU.
//!
//! The driver is loaded when it is asked for, so nothing of CUDA is needed to build or to start a program. A [`Device`]
//! runs the kernels of `rivergram-cuda-kernels`, on slices of the host or, with raw handles, on memory of a context that
//! the caller owns. What goes wrong is a [`Failure`], a value: [`Engine`](crate::engine::Engine) then does the work on
//! the CPU.
//!
//! No kernel has run on hardware yet. What is tested is everything else: the sizes, launches and copies of every operation
//! run by a driver that emulates the GPU, and its failures, each at every call.

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod calls;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
pub mod driver;
#[cfg(feature = "cuda")]
mod eisl;
#[cfg(feature = "emulation")]
pub mod emulated;
mod failure;
#[cfg(feature = "cuda")]
mod gram;
#[cfg(feature = "cuda")]
mod nearest;
#[cfg(feature = "cuda")]
mod nvidia;
#[cfg(feature = "cuda")]
mod optim;
#[cfg(feature = "cuda")]
mod pairs;
#[cfg(feature = "cuda")]
pub mod raw;
#[cfg(feature = "cuda")]
mod stored;

#[cfg(not(feature = "cuda"))]
pub use absent::{Device, Precision};
#[cfg(feature = "cuda")]
pub use device::Device;
pub use failure::Failure;
#[cfg(feature = "cuda")]
pub use rivergram_cuda_kernels::kernels::tensor::Precision;
