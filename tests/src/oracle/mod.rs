//! Naive oracles in double precision, written as plainly as the definitions.

pub mod eisl;
