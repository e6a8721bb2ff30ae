//! Naive double-precision oracles, written as plainly as the definitions.

pub mod eisl;
pub mod gram;
