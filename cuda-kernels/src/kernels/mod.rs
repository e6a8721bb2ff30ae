//! The kernels: loads, stores and which thread does what.

pub mod prepare;
