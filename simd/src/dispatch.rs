//! From a level to the code of its instruction set: the one file that knows them all.

use rivergram_core::lanes::{Isa, Kernel, One};

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use crate::avx2::Avx2;
use crate::level::LevelError;
#[cfg(any(
    target_feature = "sse2",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
use crate::wide_lanes::Wide;

/// Names of all targets; on one machine a later one is faster.
pub(crate) const NAMES: [&str; 5] = ["scalar", "sse2", "avx2", "neon", "wasm128"];

/// An instruction set with its token, which is the proof that the CPU has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Scalar,
    #[cfg(target_feature = "sse2")]
    Sse2(Wide),
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2(Avx2),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(Wide),
    #[cfg(target_feature = "simd128")]
    Wasm128(Wide),
}

impl Backend {
    pub(crate) fn named(name: &str) -> Result<Self, LevelError> {
        match name {
            "scalar" => Ok(Backend::Scalar),
            #[cfg(target_feature = "sse2")]
            "sse2" => Ok(Backend::Sse2(Wide::new())),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            "avx2" => Avx2::find().map(Backend::Avx2),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            "neon" => Ok(Backend::Neon(Wide::new())),
            #[cfg(target_feature = "simd128")]
            "wasm128" => Ok(Backend::Wasm128(Wide::new())),
            _ => Err(not_in_build(name)),
        }
    }

    pub(crate) fn compiled() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        if let Some(isa) = Avx2::compiled() {
            return Backend::Avx2(isa);
        }
        #[cfg(target_feature = "sse2")]
        let best = Backend::Sse2(Wide::new());
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        let best = Backend::Neon(Wide::new());
        #[cfg(target_feature = "simd128")]
        let best = Backend::Wasm128(Wide::new());
        #[cfg(not(any(
            target_feature = "sse2",
            all(target_arch = "aarch64", target_feature = "neon"),
            target_feature = "simd128"
        )))]
        let best = Backend::Scalar;
        best
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Scalar => "scalar",
            #[cfg(target_feature = "sse2")]
            Backend::Sse2(_) => "sse2",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Backend::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Backend::Neon(_) => "neon",
            #[cfg(target_feature = "simd128")]
            Backend::Wasm128(_) => "wasm128",
        }
    }

    #[inline]
    pub(crate) fn run<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        match self {
            Backend::Scalar => One::<f32>::new().enter(kernel),
            #[cfg(target_feature = "sse2")]
            Backend::Sse2(isa) => isa.enter(kernel),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Backend::Avx2(isa) => isa.enter(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Backend::Neon(isa) => isa.enter(kernel),
            #[cfg(target_feature = "simd128")]
            Backend::Wasm128(isa) => isa.enter(kernel),
        }
    }
}

/// Why a name has no level in this build.
fn not_in_build(name: &str) -> LevelError {
    let needs = match name {
        "sse2" | "avx2" => "an x86 target with SSE2",
        "neon" => "an AArch64 target with NEON",
        "wasm128" => "a WebAssembly target with the target feature simd128",
        _ => return LevelError::Unknown,
    };
    LevelError::NotInBuild { needs }
}
