//! `core::features`.

use rivergram_core::features::Int8;
use rivergram_core::lanes::Real;

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let features = any(Int8::<T> {
        values: slice(),
        scale: real(),
    });
    keep(Int8::unpack(&features, size(), slice_mut()));
}
