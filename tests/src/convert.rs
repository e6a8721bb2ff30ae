//! Numbers of one precision as those of another, and as bits.

use rivergram_core::lanes::Real;

/// Numbers of another precision.
pub fn cast<T: Real>(x: &[f64]) -> Vec<T> {
    x.iter().map(|x| T::constant(*x)).collect()
}

/// Numbers in double precision.
pub fn widen<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// Bits, to compare NaN with NaN and to tell 0 from −0.
pub fn bits<T: Real>(x: &[T]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}
