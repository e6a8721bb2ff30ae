//! The vectors as they are contrasted: normalised, zero vectors absent; a warp per row.

use rivergram_core::lanes::Real;
use rivergram_core::ops::{self, RowOps};

use super::warp_of_grid;
use crate::device::{Global, Thread};
use crate::lanes::F32;
use crate::rows::Warp;

/// The parameters of [`normalise`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Normalise {
    /// \[rows, d\].
    pub vectors: Global<F32>,
    /// x/|x|, \[rows, d\]; a zero vector stays zero.
    pub unit: Global<F32>,
    /// 1/|x|, \[rows\]; 0 of a zero vector, NaN of one that is not finite.
    pub inverse_norm: Global<F32>,
    /// Rows.
    pub rows: u32,
    /// Dimensions.
    pub d: u32,
}

/// x/|x| of each row.
#[inline(always)]
pub fn normalise(thread: Thread<'_>, p: Normalise) {
    let Some(row) = warp_of_grid(thread, p.rows) else {
        return;
    };
    let (warp, d) = (Warp(thread), p.d as usize);
    let x = p.vectors.row(row, d);
    let unit = p.unit.row(row, d);
    let inverse = ops::inverse_norm(warp.dot(x, x));
    for i in warp.own(d) {
        let mut value = [F32::ZERO];
        ops::normalise(&[thread.read(x, i)], inverse, &mut value);
        thread.write(unit, i, value[0]);
    }
    if thread.lane() == 0 {
        thread.write(p.inverse_norm, row, inverse);
    }
}
