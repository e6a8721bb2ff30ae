//! The proof that core cannot panic, nor can the C API.
//!
//! A panic handler calls a function that nobody defines. The programs of this crate call every public function
//! of core with arguments that the compiler knows nothing about. If any of these calls could panic, the
//! handler would be linked and the linker would miss that function. So a program that links cannot panic,
//! whatever the input: lengths, sizes, labels, options and numbers.
//!
//! - `f32`: every function in single precision. It is also searched for double precision, which a
//!   microcontroller would emulate; there is none.
//! - `f64`: the same functions in double precision.
//! - `c`: every function of the C API.
//! - `waits`: the functions that wait. A future panics where it is polled after its end, so this program links all the
//!   same, and is read: it must not panic in any other place.
//! - `panics`: indexes freely, and must not link. It shows that the proof can fail.
//!
//! **Adding a function of core**: add a call to the file of its room here (`src/gram.rs` for `core/src/gram`,
//! and so on), in the form `Type::function(…)` or `module::function(…)`, one of a trait as `Trait::function(…)`, each
//! argument from [`any`], [`slice`] or [`slice_mut`], and the result into [`keep`]. A test of the workspace
//! (`tests/tests/proof.rs`) names what is missing, and lists the functions of traits that callers write. Generic
//! functions are proven for the sizes that stand here.
//!
//! Not here: `Display` of the errors. It is a list of texts and `write!`; how `core::fmt` formats the numbers in them
//! has ways to panic as far as the linker knows, of integers at opt-level s, of those with a point at any.
//!
//! `cargo xtask test no-panic` links the programs for two instruction sets, with and without overflow
//! checks, for speed and for size. Of one that does not link it names the places that can panic.
#![no_std]

pub mod eisl;
pub mod encode;
pub mod features;
pub mod flash;
pub mod gram;
pub mod head;
pub mod lanes;
pub mod lse;
pub mod math;
pub mod ops;
pub mod optim;
pub mod replay;
pub mod schedule;
pub mod softmax;
pub mod trainer;

use core::hint::black_box;

use rivergram_core::lanes::Real;

/// A value of which the compiler knows nothing but its type.
pub fn any<T>(x: T) -> T {
    black_box(x)
}

/// A number of which nothing is known.
pub fn real<T: Real>() -> T {
    any(T::ZERO)
}

/// A size, an index or an option of which nothing is known.
pub fn size() -> usize {
    any(0)
}

/// A slice of which nothing is known, its length neither.
pub fn slice<T>() -> &'static [T] {
    any(&[])
}

/// The same, to write to.
pub fn slice_mut<T>() -> &'static mut [T] {
    any(&mut [])
}

/// Keeps the compiler from leaving out what computes this.
pub fn keep<T>(x: T) {
    black_box(x);
}

/// Every room but those parts that exist in single precision only.
pub fn every_room<T: trainer::Orders>() {
    eisl::room::<T>();
    encode::room::<T>();
    features::room::<T>();
    flash::room::<T>();
    gram::room::<T>();
    head::room::<T>();
    lanes::room::<T>();
    lse::room::<T>();
    ops::room::<T>();
    optim::room::<T>();
    replay::room::<T>();
    schedule::room::<T>();
    softmax::room::<T>();
    trainer::room::<T>();
}

/// What exists in single precision only.
pub fn single_precision() {
    eisl::single_precision();
    gram::single_precision();
    math::single_precision();
    optim::single_precision();
    trainer::single_precision();
}

unsafe extern "C" {
    /// Nobody defines it.
    safe fn a_panic_is_possible() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    a_panic_is_possible()
}
