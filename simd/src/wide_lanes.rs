//! Four lanes on the `wide` crate: SSE2, NEON or wasm128, whichever the target has at compile time.
//!
//! `wide` decides at compile time, so these lanes gain nothing inside a `#[target_feature]` function.
//! Its `mul_add` fuses on NEON and in builds with FMA, not in an ordinary x86-64 build. Its square root
//! is the instruction on all three targets. Its `min` and `max` pay for NaN, the `fast_` ones do not.

use core::ops::{Add, Div, Mul, Neg, Sub};

use rivergram_core::lanes::{Isa, Kernel, Lanes};
use rivergram_core::math;
use wide::{f32x4, i32x4, u32x4};

/// The token of the vectors that the target always has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide(());

impl Wide {
    /// This file is only in builds whose target has the vectors.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Wide(())
    }
}

/// Four numbers.
#[derive(Clone, Copy)]
pub(crate) struct F32x4(f32x4);

impl Isa for Wide {
    type Scalar = f32;
    type Lanes = F32x4;
    type Block = [f32; 4];
    const WIDTH: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4(f32x4::splat(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> F32x4 {
        // Written out: a loop over a short slice becomes a call of memcpy.
        F32x4(f32x4::new(match *from {
            [a, b, c, d, ..] => [a, b, c, d],
            [a, b, c] => [a, b, c, 0.0],
            [a, b] => [a, b, 0.0, 0.0],
            [a] => [a, 0.0, 0.0, 0.0],
            [] => [0.0; 4],
        }))
    }
    #[inline(always)]
    fn store(self, value: F32x4, to: &mut [f32]) {
        let v = value.0.to_array();
        match to {
            [a, b, c, d, ..] => [*a, *b, *c, *d] = v,
            [a, b, c] => [*a, *b, *c, _] = v,
            [a, b] => [*a, *b, _, _] = v,
            [a] => [*a, _, _, _] = v,
            [] => {}
        }
    }
    #[inline(always)]
    fn blocks(self, numbers: &[f32]) -> (&[[f32; 4]], &[f32]) {
        numbers.as_chunks()
    }
    #[inline(always)]
    fn blocks_mut(self, numbers: &mut [f32]) -> (&mut [[f32; 4]], &mut [f32]) {
        numbers.as_chunks_mut()
    }
    #[inline(always)]
    fn pieces(self, numbers: &[f32]) -> impl Iterator<Item = &[f32]> {
        numbers.chunks(Self::WIDTH)
    }
    #[inline(always)]
    fn pieces_mut(self, numbers: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
        numbers.chunks_mut(Self::WIDTH)
    }
    #[inline(never)]
    fn enter<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

impl Add for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        F32x4(self.0 + other.0)
    }
}

impl Sub for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        F32x4(self.0 - other.0)
    }
}

impl Mul for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        F32x4(self.0 * other.0)
    }
}

impl Div for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        F32x4(self.0 / other.0)
    }
}

impl Neg for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        F32x4(-self.0)
    }
}

impl Lanes for F32x4 {
    type Scalar = f32;
    type Isa = Wide;
    type Mask = f32x4;

    #[inline(always)]
    fn isa(self) -> Wide {
        Wide::new()
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32x4(self.0.mul_add(b.0, c.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F32x4(self.0.sqrt())
    }
    #[inline(always)]
    fn abs(self) -> Self {
        F32x4(self.0.abs())
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        F32x4(self.0.fast_min(other.0))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        F32x4(self.0.fast_max(other.0))
    }
    #[inline(always)]
    fn less(self, other: Self) -> f32x4 {
        self.0.simd_lt(other.0)
    }
    #[inline(always)]
    fn select(mask: f32x4, a: Self, b: Self) -> Self {
        F32x4(mask.select(a.0, b.0))
    }
    #[inline(always)]
    fn any(mask: f32x4) -> bool {
        mask.any()
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0.to_array();
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        let [a, b, c, d] = self.0.to_array();
        Lanes::max(Lanes::max(a, c), Lanes::max(b, d))
    }
    #[inline(always)]
    fn round(self) -> Self {
        // As for one number: SSE2 has no instruction, and `wide` pays for large numbers.
        let shift = f32x4::splat(12_582_912.0);
        F32x4((self.0 + shift) - shift)
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        let exponent = self.0.fast_trunc_int() + i32x4::splat(127);
        F32x4(f32x4::from_bits((exponent << 23u32).cast_unsigned()))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let offset = u32x4::splat(math::SQRT_HALF_BITS);
        let bits = self.0.to_bits() - offset;
        let exponent = bits.cast_signed() >> 23u32;
        let mantissa = (bits & u32x4::splat(0x007f_ffff)) + offset;
        (
            F32x4(f32x4::from_i32x4(exponent)),
            F32x4(f32x4::from_bits(mantissa)),
        )
    }
    #[inline(always)]
    fn high_half(self) -> Self {
        let bits = self.0.to_bits() + u32x4::splat(1 << 11);
        F32x4(f32x4::from_bits(bits & u32x4::splat(!((1 << 12) - 1))))
    }
    #[inline(always)]
    fn exp(self) -> Self {
        math::exp(self)
    }
    #[inline(always)]
    fn exp_of_difference(self) -> Self {
        math::exp_of_difference(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        math::ln(self)
    }
    #[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
    #[inline(always)]
    fn two_product(self, b: Self) -> (Self, Self) {
        let product = self * b;
        (product, F32x4(self.0.mul_sub(b.0, product.0)))
    }
}
