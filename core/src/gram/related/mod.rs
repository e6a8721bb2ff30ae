//! Measures related to the volume, on the same factors.
//!
//! | module | measure | source |
//! |---|---|---|
//! | [`triangle`] | the area of the triangle of three vectors' ends | TRIANGLE, arXiv 2509.24734 |
//! | [`singular`] | the singular values of a tuple, and the loss that wants one of them | PMRL, arXiv 2507.17343 |
//!
//! The logarithm of the volume is in [`mod@crate::gram::tuple`].

pub mod singular;
pub mod triangle;
