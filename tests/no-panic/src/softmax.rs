//! `core::softmax`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::LogSum;
use rivergram_core::softmax;

use crate::{any, keep, real, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    let lse = &any(LogSum {
        max: T::ZERO,
        ln_sum: T::ZERO,
    });
    keep(softmax::log_sum(one, slice()));
    keep(softmax::check(one, slice()));
    keep(softmax::sum_ln_p(one, lse, slice()));
    keep(softmax::smoothed::<T>(real(), real(), real(), real()));
    softmax::gradient(one, lse, real(), real(), slice_mut());
}
