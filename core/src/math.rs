//! Elementary functions in single precision, written once over [`Lanes`].
//!
//! `libm` computes `sinf`, `cosf` and `exp2f` in double precision, which a microcontroller emulates in
//! software; these stay in `f32` throughout. In double precision `libm` is used as it is.
//!
//! Sources: the reduction of exponents by ln 2 in two parts, W. J. Cody and W. Waite, Software Manual for the
//! Elementary Functions, 1980; the form of ln that keeps its digits near 1, fdlibm's `e_log.c`, here with the Taylor
//! series of atanh.
//!
//! Largest errors seen against `f64` over the stated ranges: see `tests/tests/math.rs`
//! and `tests/tests/schedule_math.rs`.

use crate::lanes::{Isa, Lanes, Real, Single};

/// Bits of √½ as `f32`: [`Lanes::split`] measures exponents from here.
pub const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
/// Bits of √½ as `f64`.
pub const SQRT_HALF_BITS_F64: u64 = 0x3fe6_a09e_667f_3bcd;

/// ln 2 in two parts: the first has few bits, so that n · `LN2_HIGH` is exact for every exponent n.
const LN2_HIGH: f64 = 0.693_359_375;
const LN2_LOW: f64 = -2.121_944_4e-4;

#[inline(always)]
fn constant<V: Lanes>(v: V, x: f64) -> V {
    v.isa().splat(V::Scalar::constant(x))
}

/// Horner's scheme, highest coefficient first. The coefficients are in single precision before it runs: in a
/// loop that the compiler keeps as one, each would be converted from `f64`, in software.
#[inline(always)]
fn polynomial<V: Lanes<Scalar: Single>, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let Some((highest, others)) = coefficients.split_first() else {
        return constant(x, 0.0);
    };
    let mut sum = x.isa().splat((*highest).into());
    for c in others {
        sum = sum.mul_add(x, x.isa().splat((*c).into()));
    }
    sum
}

/// 1/7!, 1/6!, … 1/2!: (eʳ − 1 − r) / r².
const EXP_TAIL: [f32; 6] = nearest([
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
]);
/// 2/11, 2/9, … 2/3 of z = s²: (2·atanh(s) − 2·s) / (s·z).
const ATANH: [f32; 5] = nearest([2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0]);
/// (sin(π/2·x) − π/2·x) / (x·z) of z = x².
const SINE: [f32; 5] = nearest([
    -3.598_842_6e-6,
    1.604_411_848e-4,
    -4.681_754_135e-3,
    7.969_262_625e-2,
    -6.459_640_975e-1,
]);

/// The nearest numbers in single precision; for constants.
const fn nearest<const N: usize>(numbers: [f64; N]) -> [f32; N] {
    let mut nearest = [0.0; N];
    let mut i = 0;
    while i < N {
        nearest[i] = numbers[i] as f32;
        i += 1;
    }
    nearest
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
fn exp_tail<V: Lanes<Scalar: Single>>(r: V) -> V {
    polynomial(r, EXP_TAIL)
}

/// eˣ in single precision. Below −87.3 the result is 0 (no denormals), above 88.7 it is +∞.
/// A NaN stays a NaN. Largest error seen: 1 ulp. Cost: a polynomial of 6 terms, about 30 operations per lane, no
/// division.
///
/// ```
/// use rivergram_core::math::exp;
///
/// assert_eq!(exp(0.0_f32), 1.0);
/// assert!((exp(1.0_f32) - std::f32::consts::E).abs() <= f32::EPSILON * 2.0);
/// assert_eq!(exp(-100.0_f32), 0.0);
/// ```
#[inline(always)]
pub fn exp<V: Lanes<Scalar: Single>>(x: V) -> V {
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

/// [`exp`] of a number that is not above 0, such as a difference to a maximum, bit for bit: half the operations, since
/// nothing overflows. Below −87.3 the result is 0, also of −∞; a NaN stays a NaN. Above 88 it is unspecified. Cost: a
/// polynomial of 6 terms, about 18 operations per lane, no division.
///
/// ```
/// use rivergram_core::math::{exp, exp_of_difference};
///
/// assert_eq!(exp_of_difference(-1.5_f32), exp(-1.5_f32));
/// assert_eq!(exp_of_difference(f32::NEG_INFINITY), 0.0);
/// assert!(exp_of_difference(f32::NAN).is_nan());
/// ```
#[inline(always)]
pub fn exp_of_difference<V: Lanes<Scalar: Single>>(x: V) -> V {
    // What lies below the limit, and may be anything here, is replaced at the end.
    let (n, r) = reduce(x);
    let y = (r * r).mul_add(exp_tail(r), r) + constant(x, 1.0);
    V::select(x.less(constant(x, -87.3)), constant(x, 0.0), y * n.pow2())
}

/// [`exp`] of one number: on a bare machine one function, since its bytes would stand in every loop that needs it.
#[cfg_attr(target_os = "none", inline(never))]
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(crate) fn exp_of_one(x: f32) -> f32 {
    exp(x)
}

/// [`ln`] of one number, as [`exp_of_one`].
#[cfg_attr(target_os = "none", inline(never))]
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(crate) fn ln_of_one(x: f32) -> f32 {
    ln(x)
}

/// 0 where x is a number or infinite, NaN where it is NaN.
#[inline(always)]
fn nan_of<V: Lanes<Scalar: Single>>(x: V) -> V {
    let zero = constant(x, 0.0);
    let is_number = x.less(constant(x, 1.0));
    let is_large = zero.less(x);
    V::select(is_number, zero, V::select(is_large, zero, x))
}

/// ln x in single precision: −∞ at 0, NaN below 0 and for NaN, +∞ at +∞. Denormals count as 0. Largest error seen:
/// 1 ulp. Cost: a division and a polynomial of 5 terms, about 35 operations per lane.
///
/// ```
/// use rivergram_core::math::ln;
///
/// assert_eq!(ln(1.0_f32), 0.0);
/// assert!((ln(2.0_f32) - std::f32::consts::LN_2).abs() < 1e-7);
/// assert_eq!(ln(0.0_f32), f32::NEG_INFINITY);
/// ```
#[inline(always)]
pub fn ln<V: Lanes<Scalar: Single>>(x: V) -> V {
    let smallest = constant(x, f64::from(f32::MIN_POSITIVE));
    let largest = constant(x, f64::from(f32::MAX));
    let (e, m) = x.max(smallest).min(largest).split();
    let one = constant(x, 1.0);
    let f = m - one;
    // ln(1+f) = 2·atanh(s), s = f/(2+f); written as f − (f²/2 − s·(f²/2 + tail)) to keep f exact.
    let s = f / (f + constant(x, 2.0));
    let z = s * s;
    let tail = z * polynomial(z, ATANH);
    let half_square = f * f * constant(x, 0.5);
    let correction = half_square - (s * (half_square + tail) + e * constant(x, LN2_LOW));
    let y = e.mul_add(constant(x, LN2_HIGH), f - correction);
    let zero = constant(x, 0.0);
    let y = V::select(x.less(smallest), constant(x, f64::NEG_INFINITY), y);
    let y = V::select(x.less(zero), constant(x, f64::NAN), y);
    V::select(largest.less(x), x, y) + nan_of(x)
}

/// eˣ − 1 in single precision, for x ≤ 88. Near 0 it keeps the digits that eˣ less 1 would lose. Error below 2.5e-7
/// of the result for x in \[−80, 88\]. Cost: a polynomial of 6 terms, about 17 operations per lane, no division.
///
/// ```
/// use rivergram_core::math::exp_m1;
///
/// assert!((exp_m1(1e-6_f32) - 1.000_000_5e-6).abs() < 1e-12);
/// assert_eq!(exp_m1(0.0_f32), 0.0);
/// ```
#[inline(always)]
pub fn exp_m1<V: Lanes<Scalar: Single>>(x: V) -> V {
    let (n, r) = reduce(x.max(constant(x, -87.0)));
    let tail = (r * r).mul_add(exp_tail(r), r);
    let scale = n.pow2();
    // scale·(1 + tail) − 1, in an order that keeps a small result exact.
    scale.mul_add(tail, scale - constant(x, 1.0))
}

/// 2ⁿ and eʳ − 1 with 2ˣ = 2ⁿ·eʳ. What is left of x beyond its integer is exact.
#[inline(always)]
fn exp2_parts<V: Lanes<Scalar: Single>>(x: V) -> (V, V) {
    let n = x.round();
    let r = (x - n) * constant(x, core::f64::consts::LN_2);
    (n.pow2(), (r * r).mul_add(exp_tail(r), r))
}

/// 2ˣ in single precision, for x in \[−126, 127\]. Error below 1.8e-7 of the result. Cost: a polynomial of 6 terms,
/// about 14 operations per lane, no division.
///
/// ```
/// use rivergram_core::math::exp2;
///
/// assert_eq!(exp2(-3.0_f32), 0.125);
/// assert!((exp2(0.5_f32) - std::f32::consts::SQRT_2).abs() < 2e-7);
/// ```
#[inline(always)]
pub fn exp2<V: Lanes<Scalar: Single>>(x: V) -> V {
    let (scale, tail) = exp2_parts(x);
    scale.mul_add(tail, scale)
}

/// 2ˣ − 1 in single precision, for x in \[−126, 127\]. Near 0 it keeps the digits that 2ˣ less 1 would lose. Error
/// below 2.5e-7 of the result. Cost: that of [`exp2`] and a subtraction.
///
/// ```
/// use rivergram_core::math::exp2_m1;
///
/// assert_eq!(exp2_m1(1.0_f32), 1.0);
/// assert!((exp2_m1(1e-6_f32) - 6.931_474e-7).abs() < 1e-13);
/// ```
#[inline(always)]
pub fn exp2_m1<V: Lanes<Scalar: Single>>(x: V) -> V {
    let (scale, tail) = exp2_parts(x);
    scale.mul_add(tail, scale - constant(x, 1.0))
}

/// sin(π/2 · x) for x in \[0, 1\], in single precision: a polynomial of 6 terms. Error below 1.8e-7 of the result.
/// Cost: 7 operations per lane, no division.
///
/// ```
/// use rivergram_core::math::sin_half_pi;
///
/// assert_eq!(sin_half_pi(0.0_f32), 0.0);
/// assert!((sin_half_pi(1.0_f32 / 3.0) - 0.5).abs() < 1e-7);
/// assert!((sin_half_pi(1.0_f32) - 1.0).abs() < 1e-6);
/// ```
#[inline(always)]
pub fn sin_half_pi<V: Lanes<Scalar: Single>>(x: V) -> V {
    let z = x * x;
    let tail = polynomial(z, SINE);
    x * z.mul_add(tail, constant(x, core::f64::consts::FRAC_PI_2))
}

/// ln x as the sum of two numbers, the second below an ulp of the first, to about 2⁻²⁹ relative.
/// For a positive normal x.
#[inline(always)]
fn ln_split(x: f32) -> (f32, f32) {
    let (e, m) = x.split();
    let f = m - 1.0;
    // s = f/(1+m) as head + tail; 1+m too may lose its last bit, which `rest` keeps.
    let sum = 1.0 + m;
    let rest = m - (sum - 1.0);
    let s = f / sum;
    let s_tail = (f.sub_product(s, sum) - s * rest) / sum;
    let z = s * s;
    let series = s * z * polynomial(z, ATANH);
    let large = e * constant(x, LN2_HIGH);
    let head = large + 2.0 * s;
    let lost = 2.0 * s - (head - large);
    let tail = lost + (series + (2.0 * s_tail + e * constant(x, LN2_LOW)));
    let high = head + tail;
    (high, tail - (high - head))
}

/// xʸ for x ≥ 0 in single precision, to 4e-7 relative for results within the normal numbers. Results
/// below e^−87.3 are 0, above the largest number +∞; 0⁰ = 1; a denormal x counts as 0.
///
/// The logarithm has two parts: y·ln x loses |y·ln x| ulps otherwise. Cost: two divisions, two polynomials and an
/// [`exp`].
///
/// ```
/// use rivergram_core::math::powf;
///
/// assert!((powf(2.0, 0.5) - std::f32::consts::SQRT_2).abs() < 1e-6);
/// assert_eq!(powf(0.0, 0.0), 1.0);
/// assert_eq!(powf(0.0, 3.0), 0.0);
/// ```
#[inline(always)]
pub fn powf(x: f32, y: f32) -> f32 {
    if y == 0.0 {
        return 1.0;
    }
    if x < f32::MIN_POSITIVE {
        return if y > 0.0 { 0.0 } else { f32::INFINITY };
    }
    // A larger exponent gives 0, 1 or +∞ as well, and its halves overflow.
    let y = y.clamp(-1e30, 1e30);
    let (high, low) = ln_split(x);
    let product = y * high;
    if product > 89.0 {
        return f32::INFINITY;
    }
    if product < -88.0 {
        return 0.0;
    }
    let error = y * low - product.sub_product(y, high);
    let power = exp_of_one(product);
    power + power * error
}
