//! `core::optim`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::optim::{self, Optimizer};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    keep(Optimizer::<T>::sgd());
    let rule = any(Optimizer::<T>::adamw());
    keep(Optimizer::state_len(&rule, size()));
    keep(Optimizer::check(&rule));
    Optimizer::update(
        &rule,
        one,
        real(),
        any(0),
        slice_mut(),
        slice(),
        slice_mut(),
    );
    keep(optim::clip(one, real(), slice_mut()));
}
