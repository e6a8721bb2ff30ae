//! Elementary functions in single precision, written once over [`Lanes`].
//!
//! `libm` computes `sinf`, `cosf` and `exp2f` in double precision, which a microcontroller emulates in
//! software; these stay in `f32` throughout. In double precision `libm` is used as it is.
//!
//! Largest errors seen against `f64` over the stated ranges: see `tests/tests/math.rs`.

use crate::lanes::{Lanes, Real};

/// Bits of √½ as `f32`: [`Lanes::split`] measures exponents from here.
pub const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
/// Bits of √½ as `f64`.
pub const SQRT_HALF_BITS_F64: u64 = 0x3fe6_a09e_667f_3bcd;

/// ln 2 in two parts: the first has few bits, so that n · `LN2_HIGH` is exact for every exponent n.
const LN2_HIGH: f64 = 0.693_359_375;
const LN2_LOW: f64 = -2.121_944_4e-4;

#[inline(always)]
pub(crate) fn sqrt_f32(x: f32) -> f32 {
    libm::sqrtf(x)
}

#[inline(always)]
fn constant<V: Lanes>(v: V, x: f64) -> V {
    use crate::lanes::Isa;
    v.isa().splat(V::Scalar::constant(x))
}

/// Horner's scheme, highest coefficient first.
#[inline(always)]
fn polynomial<V: Lanes, const N: usize>(x: V, coefficients: [f64; N]) -> V {
    let Some((highest, others)) = coefficients.split_first() else {
        return constant(x, 0.0);
    };
    let mut sum = constant(x, *highest);
    for c in others {
        sum = sum.mul_add(x, constant(x, *c));
    }
    sum
}

/// n and r with x = n·ln 2 + r, |r| ≤ ½ ln 2.
#[inline(always)]
fn reduce<V: Lanes>(x: V) -> (V, V) {
    let n = (x * constant(x, core::f64::consts::LOG2_E)).round();
    let r = n.mul_add(constant(x, -LN2_HIGH), x);
    (n, n.mul_add(constant(x, -LN2_LOW), r))
}

/// (eʳ − 1 − r) / r² for |r| ≤ ½ ln 2: a Taylor series whose first dropped term is r⁶/8!.
#[inline(always)]
fn exp_tail<V: Lanes>(r: V) -> V {
    polynomial(
        r,
        [
            1.0 / 5040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
        ],
    )
}

/// eˣ in single precision. Below −87.3 the result is 0 (no denormals), above 88.7 it is +∞.
/// A NaN stays a NaN.
#[inline(always)]
pub fn exp<V: Lanes<Scalar = f32>>(x: V) -> V {
    let low = constant(x, -87.3);
    let high = constant(x, 88.722_83);
    let (n, r) = reduce(x.min(high).max(low));
    let y = (r * r).mul_add(exp_tail(r), r) + constant(x, 1.0);
    // 2ⁿ as two factors, since n = 128 is no normal exponent.
    let half = (n * constant(x, 0.5)).round();
    let y = y * half.pow2() * (n - half).pow2();
    let y = V::select(x.less(low), constant(x, 0.0), y);
    V::select(high.less(x), constant(x, f64::INFINITY), y) + nan_of(x)
}

/// 0 where x is a number or infinite, NaN where it is NaN.
#[inline(always)]
fn nan_of<V: Lanes<Scalar = f32>>(x: V) -> V {
    let zero = constant(x, 0.0);
    let is_number = x.less(constant(x, 1.0));
    let is_large = zero.less(x);
    V::select(is_number, zero, V::select(is_large, zero, x))
}

/// ln x in single precision: −∞ at 0, NaN below 0 and for NaN, +∞ at +∞. Denormals count as 0.
#[inline(always)]
pub fn ln<V: Lanes<Scalar = f32>>(x: V) -> V {
    let smallest = constant(x, f64::from(f32::MIN_POSITIVE));
    let largest = constant(x, f64::from(f32::MAX));
    let (e, m) = x.max(smallest).min(largest).split();
    let one = constant(x, 1.0);
    let f = m - one;
    // ln(1+f) = 2·atanh(s), s = f/(2+f); written as f − (f²/2 − s·(f²/2 + tail)) to keep f exact.
    let s = f / (f + constant(x, 2.0));
    let z = s * s;
    let tail = z * polynomial(z, [2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0]);
    let half_square = f * f * constant(x, 0.5);
    let correction = half_square - (s * (half_square + tail) + e * constant(x, LN2_LOW));
    let y = e.mul_add(constant(x, LN2_HIGH), f - correction);
    let zero = constant(x, 0.0);
    let y = V::select(x.less(smallest), constant(x, f64::NEG_INFINITY), y);
    let y = V::select(x.less(zero), constant(x, f64::NAN), y);
    V::select(largest.less(x), x, y) + nan_of(x)
}

/// eˣ − 1 in single precision, for x ≤ 88.
#[inline(always)]
pub fn exp_m1<V: Lanes<Scalar = f32>>(x: V) -> V {
    let (n, r) = reduce(x.max(constant(x, -87.0)));
    let tail = (r * r).mul_add(exp_tail(r), r);
    let scale = n.pow2();
    // scale·(1 + tail) − 1, in an order that keeps a small result exact.
    scale.mul_add(tail, scale - constant(x, 1.0))
}

/// sin(π/2 · x) for x in \[0, 1\].
#[inline(always)]
pub fn sin_half_pi<V: Lanes<Scalar = f32>>(x: V) -> V {
    let z = x * x;
    let tail = polynomial(
        z,
        [
            -3.598_842_6e-6,
            1.604_411_848e-4,
            -4.681_754_135e-3,
            7.969_262_625e-2,
            -6.459_640_975e-1,
        ],
    );
    x * z.mul_add(tail, constant(x, core::f64::consts::FRAC_PI_2))
}

/// xʸ for x ≥ 0 in single precision, to about |y·ln x| · 1e-7 relative.
#[inline(always)]
pub fn powf(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        1.0
    } else if x == 0.0 {
        0.0
    } else {
        exp(y * ln(x))
    }
}
