//! One number of a GPU thread: what core's formulas compute with there.
//!
//! The bits are those of `f32`. Multiply-add is fused and the square root is the instruction, on the device and in the
//! emulation alike, so that both round the same way.

use core::fmt::{Display, Formatter, Result as FmtResult};
use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

use rivergram_core::lanes::{Lanes, One, Real, Single};
use rivergram_core::math;
use rivergram_core::optim::rounding::Half;

use crate::device;

/// An `f32` of a GPU thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct F32(pub f32);

/// A number of 16 bits, the upper half of an `f32`, by its bits: what memory may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// The same number.
    #[inline(always)]
    pub const fn widen(self) -> F32 {
        F32(Half::Bf16.widen(self.0))
    }

    /// The nearest one, of two the even one.
    #[inline(always)]
    pub const fn nearest(x: F32) -> Self {
        Bf16(Half::Bf16.nearest(x.0))
    }
}

impl Display for F32 {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        self.0.fmt(f)
    }
}

impl From<f32> for F32 {
    #[inline(always)]
    fn from(x: f32) -> Self {
        F32(x)
    }
}

impl From<F32> for f32 {
    #[inline(always)]
    fn from(x: F32) -> Self {
        x.0
    }
}

impl Single for F32 {}

impl Add for F32 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        F32(self.0 + other.0)
    }
}

impl Sub for F32 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        F32(self.0 - other.0)
    }
}

impl Mul for F32 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        F32(self.0 * other.0)
    }
}

impl Div for F32 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        F32(self.0 / other.0)
    }
}

impl Neg for F32 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        F32(-self.0)
    }
}

impl AddAssign for F32 {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for F32 {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Lanes for F32 {
    type Scalar = F32;
    type Isa = One<F32>;
    type Mask = bool;

    #[inline(always)]
    fn isa(self) -> One<F32> {
        One::new()
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        F32(device::mul_add(self.0, b.0, c.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        F32(device::sqrt(self.0))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        F32(self.0.abs())
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
    #[inline(always)]
    fn less(self, other: Self) -> bool {
        self < other
    }
    #[inline(always)]
    fn select(mask: bool, a: Self, b: Self) -> Self {
        if mask { a } else { b }
    }
    #[inline(always)]
    fn any(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn sum(self) -> Self {
        self
    }
    #[inline(always)]
    fn maximum(self) -> Self {
        self
    }
    #[inline(always)]
    fn round(self) -> Self {
        F32(Lanes::round(self.0))
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // n + 127 becomes the lowest bits of a number near 1.5·2²³, without a conversion, which is slow and saturates.
        const SHIFT: f32 = 12_582_912.0 + 127.0;
        F32(f32::from_bits((self.0 + SHIFT).to_bits() << 23))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let (exponent, mantissa) = Lanes::split(self.0);
        (F32(exponent), F32(mantissa))
    }
    #[inline(always)]
    fn high_half(self) -> Self {
        F32(Lanes::high_half(self.0))
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
    #[inline(always)]
    fn two_product(self, b: Self) -> (Self, Self) {
        let product = self * b;
        (product, self.mul_add(b, -product))
    }
}

impl Real for F32 {
    const ZERO: Self = F32(0.0);
    const ONE: Self = F32(1.0);
    const EPSILON: Self = F32(f32::EPSILON);
    const INFINITY: Self = F32(f32::INFINITY);
    const MAX: Self = F32(f32::MAX);
    const MIN_POSITIVE: Self = F32(f32::MIN_POSITIVE);

    #[inline(always)]
    fn constant(x: f64) -> Self {
        F32(x as f32)
    }
    #[inline(always)]
    fn from_u32(x: u32) -> Self {
        F32(x as f32)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self.0)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.0
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        self.0.is_finite()
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        math::exp_m1(self)
    }
    #[inline(always)]
    fn exp2(self) -> Self {
        math::exp2(self)
    }
    #[inline(always)]
    fn exp2_m1(self) -> Self {
        math::exp2_m1(self)
    }
    #[inline(always)]
    fn sin_half_pi(self) -> Self {
        math::sin_half_pi(self)
    }
    #[inline(always)]
    fn powf(self, y: Self) -> Self {
        F32(math::powf(self.0, y.0))
    }
    #[inline(always)]
    fn to_bits(self) -> u64 {
        u64::from(self.0.to_bits())
    }
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        F32(f32::from_bits(bits as u32))
    }
}
