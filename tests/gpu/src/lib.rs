//! The tests of the path to a GPU, as functions of a device: under emulation they run as ordinary tests, on a real GPU as
//! the program `gpu-test`. Each compares with core in double precision, or with golden values, and panics where they
//! differ.

pub mod bench;
pub mod cases;
mod checks;
mod golden;
mod narrow;
pub mod raw;

pub use checks::{ALL, Check};
