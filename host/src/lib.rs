//! Data, checkpoints and pictures around the mathematics of [`rivergram_core`](https://docs.rs/rivergram-core).
//!
//! Nothing here panics on bad input: every reader and writer returns an [`error::Error`], whose message is one
//! line that names the file, tensor, row or flag.
#![deny(unsafe_code)]

pub mod cuda;
pub mod data;
pub mod engine;
pub mod error;
pub mod gallery;
mod map;
pub mod path;
pub mod plot;
pub mod random;
pub mod schedule;
pub mod store;
pub mod train;
