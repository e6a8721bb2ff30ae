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
    /// Which of them are there, \[rows\]: 0 = absent. An absent vector may hold anything.
    pub present: Global<F32>,
    /// x/|x|, \[rows, d\]; zeros where a vector is absent or zero.
    pub unit: Global<F32>,
    /// Which are there and not zero, \[rows\]: 1 or 0.
    pub there: Global<F32>,
    /// 1/|x|, \[rows\]; 0 of a zero or absent vector, NaN of one that is not finite.
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
    let present = thread.read(p.present, row) != F32::ZERO;
    let square = if present { warp.dot(x, x) } else { F32::ZERO };
    let inverse = ops::inverse_norm(square);
    for i in warp.own(d) {
        let mut value = [F32::ZERO];
        if !ops::is_zero(square) {
            ops::normalise(&[thread.read(x, i)], inverse, &mut value);
        }
        thread.write(unit, i, value[0]);
    }
    if thread.lane() == 0 {
        let there = F32::from_u32(u32::from(!ops::is_zero(square)));
        thread.write(p.inverse_norm, row, inverse);
        thread.write(p.there, row, there);
    }
}
