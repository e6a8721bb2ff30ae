//! Rows that a warp shares: lane l owns the numbers l, l + 32, …, so no lane reads what another wrote.
//!
//! All lanes call in uniform control flow, and a reduction gives all of them the same value.

use rivergram_core::lanes::{Lanes, Real};
use rivergram_core::lse::Online;
use rivergram_core::ops::RowOps;

use crate::device::{Global, Thread, WARP};
use crate::lanes::F32;

/// A warp as what does things with rows.
#[derive(Clone, Copy, Debug)]
pub struct Warp<'t>(pub Thread<'t>);

/// A row in global memory; of no numbers, it is like zero.
pub type Row = Global<F32>;

impl Warp<'_> {
    /// The numbers of a row of this length that this lane owns.
    #[inline(always)]
    pub fn own(self, len: usize) -> impl Iterator<Item = usize> {
        let lane = self.0.lane() as usize;
        (lane..len).step_by(WARP as usize)
    }

    /// Σ over the lanes, the same value in all of them: at each step two lanes add the same two numbers.
    #[inline(always)]
    pub fn sum(self, mut x: F32) -> F32 {
        for mask in [16, 8, 4, 2, 1] {
            x += self.0.shuffle_xor(x, mask);
        }
        x
    }

    /// The log-sum-exp over the lanes, the same in all of them.
    #[inline(always)]
    pub fn merge(self, mut online: Online<F32>) -> Online<F32> {
        for mask in [16, 8, 4, 2, 1] {
            online = online.merge(Online {
                max: self.0.shuffle_xor(online.max, mask),
                sum: self.0.shuffle_xor(online.sum, mask),
            });
        }
        online
    }

    /// The largest of the lanes' numbers, in all of them.
    #[inline(always)]
    pub fn maximum(self, mut x: F32) -> F32 {
        for mask in [16, 8, 4, 2, 1] {
            x = x.max(self.0.shuffle_xor(x, mask));
        }
        x
    }
}

impl RowOps for Warp<'_> {
    type Scalar = F32;
    type Row<'a> = Row;
    type RowMut<'a> = Row;

    #[inline(always)]
    fn read(self, row: &Row) -> Row {
        *row
    }
    #[inline(always)]
    fn dot(self, a: Row, b: Row) -> F32 {
        let mut sum = F32::ZERO;
        for i in self.own(a.len().min(b.len())) {
            sum = self.0.read(a, i).mul_add(self.0.read(b, i), sum);
        }
        self.sum(sum)
    }
    #[inline(always)]
    fn axpy(self, alpha: F32, x: Row, y: &mut Row) {
        for i in self.own(x.len().min(y.len())) {
            let sum = alpha.mul_add(self.0.read(x, i), self.0.read(*y, i));
            self.0.write(*y, i, sum);
        }
    }
    #[inline(always)]
    fn scale(self, alpha: F32, y: &mut Row) {
        for i in self.own(y.len()) {
            self.0.write(*y, i, alpha * self.0.read(*y, i));
        }
    }
    #[inline(always)]
    fn sub_product(self, x: Row, s: F32, b: Row, y: &mut Row) {
        for i in self.own(x.len().min(y.len())) {
            let difference = self.0.read(x, i).sub_product(s, self.0.read(b, i));
            self.0.write(*y, i, difference);
        }
    }
}
