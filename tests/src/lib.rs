//! What the tests share: the golden files, the naive oracle, the precision table and the source files.

pub mod cases;
pub mod convert;
pub mod disassembly;
pub mod eisl;
pub mod golden;
pub mod hands;
pub mod losses;
pub mod nor;
pub mod oracle;
pub mod precision;
pub mod random;
pub mod source;
pub mod train;

/// The examples of the README files and of the page for firmware, run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../core/README.md")]
#[doc = include_str!("../../simd/README.md")]
#[doc = include_str!("../../docs/cuda.md")]
#[doc = include_str!("../../docs/firmware.md")]
#[doc = include_str!("../../docs/store.md")]
pub struct Readme;
