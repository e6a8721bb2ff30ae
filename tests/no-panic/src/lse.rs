//! `core::lse`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::LogSum;

use crate::{any, keep, real, slice};

/// Calls everything.
pub fn room<T: Real>() {
    let sum = any(LogSum::of(One::<T>::new(), slice()));
    keep(LogSum::ln_p(&sum, real()));
    keep(LogSum::value(&sum));
}
