//! `core::lanes`.

use rivergram_core::crew::{Alone, Crew, Work};
use rivergram_core::lanes::{Isa, Kernel, Lanes, One, Real};
use rivergram_core::optim::rounding::Half;

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
    Isa::pieces(one, slice()).for_each(keep);
    Isa::pieces_mut(one, slice_mut()).for_each(keep);
    keep(Isa::dots_i8(one, slice(), any([slice(); 4])));
    Isa::widen(one, any(Half::F16), slice(), slice_mut());
    Isa::enter(one, Keep);
    Isa::share(one, Keep);
    let crew = any(Alone(one));
    keep(Crew::hands(&crew));
    keep(Crew::whole(&crew, || any(size())));
    Crew::each(&crew, slice::<T>().iter(), &Keep);
}

/// Work that takes what it is given.
struct Keep;

impl<T: Real> Kernel<T> for Keep {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, _: I) {
        keep(self);
    }
}

impl<T: Real> Work<T, &T> for Keep {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, _: I, piece: &T) {
        keep(*piece);
    }
}

fn lanes<T: Real>() {
    let (x, y, z) = (real::<T>(), real::<T>(), real::<T>());
    keep([x + y, x - y, x * y, x / y, -x]);
    keep([Lanes::mul_add(x, y, z), Lanes::sqrt(x), Lanes::abs(x)]);
    keep([Lanes::min(x, y), Lanes::max(x, y)]);
    keep(Lanes::less(x, y));
    keep(<T as Lanes>::select(any(false), x, y));
    keep(<T as Lanes>::any(any(false)));
    keep(Lanes::isa(x));
    keep([Lanes::sum(x), Lanes::maximum(x), Lanes::round(x)]);
    keep([Lanes::pow2(x), Lanes::high_half(x)]);
    keep(Lanes::split(x));
    keep([Lanes::exp(x), Lanes::exp_of_difference(x), Lanes::ln(x)]);
    keep([Lanes::two_product(x, y), Lanes::two_sum(x, y)]);
    keep(Lanes::plus_product((x, y), (y, z), z));
    keep(Lanes::sub_product(x, y, z));
}

fn numbers<T: Real>() {
    let (x, y) = (real::<T>(), real::<T>());
    keep(<T as Real>::one_lane());
    keep([
        <T as Real>::from_u32(any(0)),
        <T as Real>::from_usize(size()),
    ]);
    keep(Real::to_f32(x));
    keep(Real::is_finite(x));
    keep([Real::exp_m1(x), Real::exp2(x), Real::exp2_m1(x)]);
    keep([Real::sin_half_pi(x), Real::powf(x, y)]);
    keep(Real::to_bits(x));
    keep(<T as Real>::from_bits(any(0)));
}

/// What begins or ends in double precision by its very name.
pub fn double_precision() {
    keep(<f32 as Real>::constant(any(0.0)));
    keep(<f64 as Real>::constant(any(0.0)));
    keep(Real::to_f64(any(0.0_f32)));
    keep(Real::to_f64(any(0.0_f64)));
}
