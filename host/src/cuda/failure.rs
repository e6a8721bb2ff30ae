//! Why work is not done on a GPU.

use std::fmt::{self, Display, Formatter};

/// The reason, as a value. Whatever it is, the work can be done on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// This build lacks the feature `cuda`.
    NotBuilt,
    /// The library of the NVIDIA driver, libcuda, was not found.
    NoDriver,
    /// The driver lacks a function that every driver since CUDA 11.8 has: it is older, or not NVIDIA's.
    OldDriver {
        /// The function.
        missing: &'static str,
    },
    /// The driver has no device, or none that this process may see.
    NoDevice,
    /// There are no kernels for a GPU of this compute capability.
    Capability {
        /// Before the point.
        major: u32,
        /// After it.
        minor: u32,
    },
    /// Too little memory on the device.
    Memory {
        /// Bytes that were asked for.
        need: u64,
        /// Bytes that were free.
        free: u64,
    },
    /// A call of the driver failed.
    Driver {
        /// The function.
        call: &'static str,
        /// What it returned, a `CUresult`.
        code: u32,
    },
    /// A kernel could not be started.
    Launch {
        /// Its name.
        kernel: &'static str,
        /// What the driver returned, a `CUresult`.
        code: u32,
    },
    /// No kernel does this yet.
    NoKernel(&'static str),
    /// More rows, items or blocks than a kernel can count.
    Size,
    /// The input is one that core refuses, or whose numbers leave the range. The CPU path names the place.
    Input,
}

/// CUDA_ERROR_OUT_OF_MEMORY.
pub(super) const OUT_OF_MEMORY: u32 = 2;

/// CUDA_ERROR_INVALID_VALUE, too little memory, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES.
const PASSING: [u32; 3] = [1, OUT_OF_MEMORY, 701];

impl Failure {
    /// Whether the next call fails as well, whatever it is: the driver or its context is of no more use. Of the driver's
    /// own errors those are not that refuse one call: an invalid value, too little memory, too many resources for a launch.
    ///
    /// ```
    /// use rivergram::cuda::Failure;
    ///
    /// assert!(Failure::Launch { kernel: "bases", code: 719 }.is_lasting());
    /// assert!(!Failure::Launch { kernel: "bases", code: 701 }.is_lasting());
    /// assert!(!Failure::Memory { need: 1 << 40, free: 1 << 30 }.is_lasting());
    /// ```
    pub fn is_lasting(self) -> bool {
        match self {
            Failure::Memory { .. } | Failure::NoKernel(_) | Failure::Size | Failure::Input => false,
            Failure::Driver { code, .. } | Failure::Launch { code, .. } => !PASSING.contains(&code),
            _ => true,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Failure::NotBuilt => f.write_str("this build lacks the feature cuda"),
            Failure::NoDriver => f.write_str("no NVIDIA driver: its library was not found"),
            Failure::OldDriver { missing } => {
                write!(f, "the driver lacks {missing}: a newer one is needed")
            }
            Failure::NoDevice => f.write_str("the NVIDIA driver has no device"),
            Failure::Capability { major, minor } => write!(
                f,
                "no kernels for a GPU of compute capability {major}.{minor}: 7.5 or newer expected"
            ),
            Failure::Memory { need, free } => {
                write!(f, "{need} bytes on the device, where {free} are free")
            }
            Failure::Driver { call, code } => write!(f, "{call} failed: CUDA error {code}"),
            Failure::Launch { kernel, code } => {
                write!(f, "the kernel {kernel} did not start: CUDA error {code}")
            }
            Failure::NoKernel(what) => write!(f, "no kernel does {what} yet"),
            Failure::Size => f.write_str("more rows than a kernel can count"),
            Failure::Input => f.write_str("the input is refused"),
        }
    }
}

impl std::error::Error for Failure {}
