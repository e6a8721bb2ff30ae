//! What the programs for the machines have in common: data, and the training that a user's firmware would do.
#![no_std]

pub mod align;
pub mod data;
pub mod flash;
pub mod golden;
#[path = "../../../src/precision.rs"]
pub mod precision;
pub mod random;
pub mod training;
pub mod transcribe;
