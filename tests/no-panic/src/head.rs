//! `core::head`.

use rivergram_core::head::Head;
use rivergram_core::lanes::{One, Real};

use crate::{any, keep, size, slice, slice_mut};

/// A head of which nothing is known.
pub fn head() -> Head {
    any(Head {
        input: 0,
        hidden: 0,
        output: 0,
        normalise: false,
    })
}

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    let head = head();
    keep(Head::parameters_len(&head));
    keep(Head::cache_len(&head, size()));
    keep(Head::scratch_len(&head, size()));
    keep(Head::check(&head, size()));
    Head::initialise::<T>(&head, slice_mut(), any);
    Head::forward(&head, one, slice(), slice(), slice_mut(), slice_mut());
    Head::backward(
        &head,
        one,
        slice(),
        slice(),
        slice(),
        slice(),
        slice_mut(),
        slice_mut(),
        slice_mut(),
    );
}
