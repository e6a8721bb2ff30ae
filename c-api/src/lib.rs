//! rivergram for C: the mathematics of `rivergram-core` behind `include/rivergram.h`.
//!
//! No function here has a formula. Each checks its pointers and sizes (module `raw`), calls core, and returns a
//! [`rivergram_status`]. Memory is the caller's, and nothing is kept between calls but what lies in it.
//!
//! `no_std`. The feature `std` (default) is for hosts. Without it a static library needs the feature
//! `panic-handler`; a Rust program that has its own handler needs neither.
#![no_std]
// The names are those of the header.
#![allow(non_camel_case_types)]

#[cfg(feature = "std")]
extern crate std;

mod continual;
mod convert;
mod eisl;
mod gram;
mod head;
#[cfg(all(feature = "panic-handler", not(feature = "std")))]
mod panic;
mod raw;
mod status;
mod trainer;
mod volume;
mod wsds;

pub use continual::*;
pub use eisl::*;
pub use gram::*;
pub use head::*;
pub use status::*;
pub use trainer::*;
pub use volume::*;
pub use wsds::*;
