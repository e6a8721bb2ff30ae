//! `core::lse`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::lse::{LogSum, Online};

use crate::{any, keep, real, slice};

/// Calls everything.
pub fn room<T: Real>() {
    let sum = any(LogSum::of(One::<T>::new(), slice()));
    keep(LogSum::ln_p(&sum, real()));
    keep(LogSum::value(&sum));
    let online = any(Online::<T>::none(One::new()));
    let online = any(Online::push(online, any([T::ZERO; 4])));
    keep(Online::log_sum(Online::merge(online, any(online))));
}
