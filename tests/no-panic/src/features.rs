//! `core::features`.

use rivergram_core::features::{Features, Int8, Int8Rows};
use rivergram_core::lanes::{One, Real};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let features = any(Int8::<T> {
        values: slice(),
        scale: real(),
    });
    keep(Int8::unpack(&features, size(), slice_mut()));
    inputs::<T>(slice::<T>());
    inputs::<T>(features);
    inputs::<T>(any(Int8Rows::<T> {
        table: slice(),
        rows: slice(),
        scale: real(),
    }));
}

fn inputs<T: Real>(features: impl Features<T>) {
    keep(Features::numbers(features, size()));
    let one = One::<T>::new();
    keep(Features::square_bound(features, size(), one));
    keep(Features::read(features, size(), size(), slice_mut()));
}
