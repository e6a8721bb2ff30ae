//! `core::lanes`.

use rivergram_core::lanes::{Isa, Lanes, One, Real};

use crate::{any, keep, real, size, slice, slice_mut};

/// Calls everything.
pub fn room<T: Real>() {
    let one = One::<T>::new();
    isa(one);
    lanes::<T>();
    numbers::<T>();
}

fn isa<T: Real>(one: One<T>) {
    keep(Isa::splat(one, real::<T>()));
    keep(Isa::load(one, slice()));
    Isa::store(one, real(), slice_mut());
    keep(Isa::blocks(one, slice()));
    keep(Isa::blocks_mut(one, slice_mut()));
}

fn lanes<T: Real>() {
    let (x, y, z) = (real::<T>(), real::<T>(), real::<T>());
    keep([x + y, x - y, x * y, x / y, -x]);
    keep([Lanes::mul_add(x, y, z), Lanes::sqrt(x), Lanes::abs(x)]);
    keep([Lanes::min(x, y), Lanes::max(x, y)]);
    keep(Lanes::less(x, y));
    keep(T::select(any(false), x, y));
    keep(T::any(any(false)));
    keep([Lanes::sum(x), Lanes::maximum(x), Lanes::round(x)]);
    keep([Lanes::pow2(x), Lanes::high_half(x)]);
    keep(Lanes::split(x));
    keep([Lanes::exp(x), Lanes::ln(x)]);
    keep([Lanes::two_product(x, y), Lanes::two_sum(x, y)]);
    keep(Lanes::sub_product(x, y, z));
}

fn numbers<T: Real>() {
    let (x, y) = (real::<T>(), real::<T>());
    keep([T::from_u32(any(0)), T::from_usize(size())]);
    keep(Real::to_f32(x));
    keep(Real::is_finite(x));
    keep([Real::exp_m1(x), Real::exp2(x), Real::exp2_m1(x)]);
    keep([Real::sin_half_pi(x), Real::powf(x, y)]);
    keep(Real::to_bits(x));
    keep(T::from_bits(any(0)));
}

/// What begins or ends in double precision by its very name.
pub fn double_precision() {
    keep(f32::constant(any(0.0)));
    keep(f64::constant(any(0.0)));
    keep(Real::to_f64(any(0.0_f32)));
    keep(Real::to_f64(any(0.0_f64)));
}
