//! `core::ops`.

use rivergram_core::lanes::{One, Real};
use rivergram_core::ops::{self, RowOps};

use crate::{keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    rows(one);
    ops::matmul_nn(one, size(), size(), slice(), slice(), slice_mut());
    ops::matmul_nt(one, size(), size(), slice(), slice(), slice_mut());
    ops::matmul_tn(one, size(), size(), slice(), slice(), slice_mut());
}

fn rows<T: Real>(one: One<T>) {
    keep(ops::dot(one, slice(), slice()));
    ops::axpy(one, real(), slice(), slice_mut());
    ops::scale(one, real(), slice_mut());
    keep(ops::is_zero::<T>(real()));
    keep(ops::inverse_norm::<T>(real()));
    keep(ops::inverse_or_zero::<T>(real()));
    ops::normalise::<T>(slice(), real(), slice_mut());
    ops::normalisation_gradient(one, slice(), real(), slice_mut());
    ops::through_normalisation(one, slice(), real(), &mut slice_mut());
    keep(RowOps::read(one, &slice_mut()));
    keep(RowOps::dot(one, slice(), slice()));
    RowOps::axpy(one, real(), slice(), &mut slice_mut());
    RowOps::scale(one, real(), &mut slice_mut());
    RowOps::sub_product(one, slice(), real(), slice(), &mut slice_mut());
}
