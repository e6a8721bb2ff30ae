//! Formulas per element: what a formula may do with a number, or with a vector of numbers.
//!
//! [`Lanes`] is the arithmetic, [`Isa`] the token that makes lane values, [`Real`] one `f32` or `f64`.
//! A value can only be made from a token, and a token for an instruction set that the CPU may lack is
//! only handed out after the CPU was asked. So safe code cannot hold, say, an AVX2 value on a CPU
//! without AVX2.
//!
//! Every method is `#[inline(always)]`, and so is everything generic over [`Isa`]: inside a
//! `#[target_feature]` entry a call that is not inlined would lose the features. A large piece that is used
//! in several places is a [`Kernel`] and goes through [`Isa::enter`], an entry of its own: it keeps the
//! features, and its code exists once for each instruction set.

use core::fmt::{Debug, Display};
use core::marker::PhantomData;
use core::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

use crate::optim::rounding::Half;
use crate::{fpu, math};

/// An instruction set, as a zero-sized token that makes [`Lanes`] values.
pub trait Isa: Copy + 'static {
    /// The number type of one lane.
    type Scalar: Real;
    /// The vector type.
    type Lanes: Lanes<Isa = Self, Scalar = Self::Scalar>;
    /// `WIDTH` numbers, one for each lane.
    type Block: AsRef<[Self::Scalar]> + AsMut<[Self::Scalar]>;
    /// Lanes per vector.
    const WIDTH: usize;

    /// `x` in every lane.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// assert_eq!(One::<f32>::new().splat(3.0), 3.0); // One lane.
    /// ```
    fn splat(self, x: Self::Scalar) -> Self::Lanes;
    /// The first `WIDTH` numbers of `from`; where it is shorter, the other lanes are 0.
    /// Cost: one load; of a shorter slice a copy.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let isa = One::<f32>::new();
    /// assert_eq!(isa.load(&[1.0, 2.0]), 1.0);
    /// assert_eq!(isa.load(&[]), 0.0);
    /// ```
    fn load(self, from: &[Self::Scalar]) -> Self::Lanes;
    /// Writes the lanes to the first `WIDTH` places of `to`, or to as many as there are.
    /// Cost: one store; to a shorter slice a copy.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let mut to = [0.0_f32; 2];
    /// One::new().store(5.0, &mut to);
    /// assert_eq!(to, [5.0, 0.0]);
    /// ```
    fn store(self, value: Self::Lanes, to: &mut [Self::Scalar]);
    /// The numbers in blocks of `WIDTH`, and those that are left. Cost: none of them is touched.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let (blocks, rest) = One::<f32>::new().blocks(&[1.0, 2.0]);
    /// assert_eq!((blocks, rest), (&[[1.0], [2.0]][..], &[][..]));
    /// ```
    fn blocks(self, numbers: &[Self::Scalar]) -> (&[Self::Block], &[Self::Scalar]);
    /// [`Isa::blocks`] to write to. Cost: that of it.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let mut numbers = [1.0_f32, 2.0];
    /// let (blocks, _) = One::new().blocks_mut(&mut numbers);
    /// blocks[1] = [5.0];
    /// assert_eq!(numbers, [1.0, 5.0]);
    /// ```
    fn blocks_mut(self, numbers: &mut [Self::Scalar]) -> (&mut [Self::Block], &mut [Self::Scalar]);
    /// The numbers in pieces of `WIDTH`, the last of which may be shorter. Cost: none of them is touched.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// assert!(One::<f32>::new().pieces(&[1.0, 2.0]).eq([[1.0], [2.0]]));
    /// ```
    fn pieces(self, numbers: &[Self::Scalar]) -> impl Iterator<Item = &[Self::Scalar]>;
    /// [`Isa::pieces`] to write to. Cost: that of it.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let mut numbers = [1.0_f32, 2.0];
    /// for x in One::new().pieces_mut(&mut numbers) {
    ///     x[0] += 1.0;
    /// }
    /// assert_eq!(numbers, [2.0, 3.0]);
    /// ```
    fn pieces_mut(self, numbers: &mut [Self::Scalar]) -> impl Iterator<Item = &mut [Self::Scalar]>;
    /// Σ a·b of integers, of one row with four: exact where the sum fits 32 bits. Rows of one length. Cost: a
    /// multiply-add per number and row.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// let (one, rows) = (One::<f32>::new(), [[1, 0], [0, 1], [2, 2], [-128, 127]]);
    /// let rows = rows.each_ref().map(|row| &row[..]);
    /// assert_eq!(one.dots_i8(&[3, 4], rows), [3, 4, 14, 124]);
    /// ```
    #[inline(always)]
    fn dots_i8(self, a: &[i16], b: [&[i8]; 4]) -> [i32; 4] {
        b.map(|b| dot_i8(a, b))
    }
    /// [`Half::widen`] of each number, of as many as both slices have. Cost: a conversion per number, by an instruction
    /// where there is one.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let mut wide = [0.0; 2];
    /// One::<f32>::new().widen(Half::F16, &[0x3c00, 0xbc00], &mut wide);
    /// assert_eq!(wide, [1.0, -1.0]);
    /// ```
    #[inline(always)]
    fn widen(self, format: Half, from: &[u16], to: &mut [f32]) {
        widen(format, from, to);
    }
    /// Runs a kernel in a function of its own that has this instruction set. Cost: one call.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, Kernel, Lanes, One};
    ///
    /// struct Root(f32);
    ///
    /// impl Kernel<f32> for Root {
    ///     type Output = f32;
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
    ///         isa.splat(self.0).sqrt().maximum()
    ///     }
    /// }
    ///
    /// assert_eq!(One::new().enter(Root(9.0)), 3.0);
    /// ```
    fn enter<K: Kernel<Self::Scalar>>(self, kernel: K) -> K::Output;
    /// Runs a small kernel that is used in many places: in a function of its own on one lane of a bare machine, where
    /// bytes are scarce and a call costs about what one turn of a loop does; in place elsewhere.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, Kernel, One};
    ///
    /// struct Double<'a>(&'a mut f32);
    ///
    /// impl Kernel<f32> for Double<'_> {
    ///     type Output = ();
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(self, _: I) {
    ///         *self.0 *= 2.0;
    ///     }
    /// }
    ///
    /// let mut x = 3.0;
    /// One::new().share(Double(&mut x));
    /// assert_eq!(x, 6.0);
    /// ```
    #[inline(always)]
    fn share<K: Kernel<Self::Scalar>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// Integers, which the compiler takes as vectors where the entry has them. Each format has a loop of its own, in which
/// its constants are known.
#[inline(always)]
fn widen(format: Half, from: &[u16], to: &mut [f32]) {
    let numbers = to.iter_mut().zip(from);
    match format {
        Half::F16 => numbers.for_each(|(to, x)| *to = Half::F16.widen(*x)),
        Half::Bf16 => numbers.for_each(|(to, x)| *to = Half::Bf16.widen(*x)),
    }
}

/// Σ a·b.
#[inline(always)]
fn dot_i8(a: &[i16], b: &[i8]) -> i32 {
    let mut sum = 0_i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b)));
    }
    sum
}

/// Work that runs on the lanes of any instruction set.
///
/// `run` must be `#[inline(always)]`, and so must everything generic over [`Isa`] that it calls: it is
/// compiled once for each instruction set inside a function that has its target features, and a call
/// that is not inlined would lose them.
pub trait Kernel<T> {
    /// What it returns.
    type Output;
    /// Does the work; the cost is the kernel's own.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, Kernel, Lanes, One};
    ///
    /// struct Total<'a>(&'a [f32]);
    ///
    /// impl Kernel<f32> for Total<'_> {
    ///     type Output = f32;
    ///     #[inline(always)]
    ///     fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
    ///         self.0.chunks(I::WIDTH).map(|x| isa.load(x).sum()).sum()
    ///     }
    /// }
    ///
    /// assert_eq!(Total(&[1.0, 2.0, 3.0]).run(One::new()), 6.0);
    /// ```
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output;
}

/// A vector of numbers, or one number, with the arithmetic that the formulas need.
pub trait Lanes:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The number type of one lane.
    type Scalar: Real;
    /// The instruction set that made this value.
    type Isa: Isa<Lanes = Self, Scalar = Self::Scalar>;
    /// One truth value per lane.
    type Mask: Copy;

    /// The token of this value: where one value is, others can be made.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, Lanes};
    ///
    /// fn one_more<V: Lanes<Scalar = f32>>(x: V) -> V {
    ///     x + x.isa().splat(1.0)
    /// }
    /// assert_eq!(one_more(2.0_f32), 3.0);
    /// ```
    fn isa(self) -> Self::Isa;
    /// `self · b + c`; one rounding where the hardware fuses, two elsewhere.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::mul_add(2.0_f32, 3.0, 4.0), 10.0);
    /// ```
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The square root of each lane.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::sqrt(9.0_f32), 3.0);
    /// ```
    fn sqrt(self) -> Self;
    /// The absolute value of each lane.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::abs(-2.0_f32), 2.0);
    /// ```
    fn abs(self) -> Self;
    /// The smaller of two lanes; unspecified where one is NaN.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::min(1.0_f32, 2.0), 1.0);
    /// ```
    fn min(self, other: Self) -> Self;
    /// The larger of two lanes; unspecified where one is NaN.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::max(1.0_f32, 2.0), 2.0);
    /// ```
    fn max(self, other: Self) -> Self;
    /// Where `self < other`; false where one is NaN.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert!(1.0_f32.less(2.0) && !f32::NAN.less(2.0));
    /// ```
    fn less(self, other: Self) -> Self::Mask;
    /// `a` where the mask is true, else `b`.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// let mask = 1.0_f32.less(2.0);
    /// assert_eq!(f32::select(mask, 10.0, 20.0), 10.0);
    /// ```
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// Whether any lane of the mask is true.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert!(f32::any(1.0_f32.less(2.0)));
    /// ```
    fn any(mask: Self::Mask) -> bool;
    /// The sum of all lanes.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::sum(4.0_f32), 4.0); // One lane.
    /// ```
    fn sum(self) -> Self::Scalar;
    /// The largest lane; unspecified where one is NaN.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(4.0_f32.maximum(), 4.0); // One lane.
    /// ```
    fn maximum(self) -> Self::Scalar;
    /// The nearest integer, for |x| < 2²².
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::round(2.7_f32), 3.0);
    /// ```
    fn round(self) -> Self;
    /// 2ˣ for an integer x within the exponents of normal numbers.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!((-3.0_f32).pow2(), 0.125);
    /// ```
    fn pow2(self) -> Self;
    /// (e, m) with x = m · 2ᵉ and m in [√½, √2), for a positive normal x.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(10.0_f32.split(), (3.0, 1.25));
    /// ```
    fn split(self) -> (Self, Self);
    /// The upper half of the significand's bits, rounded to nearest: the product of two halves is exact.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!((1.0 + f32::EPSILON).high_half(), 1.0);
    /// ```
    fn high_half(self) -> Self;
    /// eˣ.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::exp(0.0_f32), 1.0);
    /// ```
    fn exp(self) -> Self;
    /// eˣ of x ≤ 0, the same number; unspecified above 88. Cost: that of [`Lanes::exp`] or less.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::exp_of_difference(-1.0_f32), Lanes::exp(-1.0_f32));
    /// ```
    #[inline(always)]
    fn exp_of_difference(self) -> Self {
        self.exp()
    }
    /// ln x; −∞ at 0.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(Lanes::ln(1.0_f32), 0.0);
    /// ```
    fn ln(self) -> Self;

    /// (p, e) with p = `self · b` rounded and p + e = `self · b` exactly.
    ///
    /// Without a fused instruction: Dekker's product (T. J. Dekker, Numer. Math. 18, 1971).
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// let x = 1.0 + f32::EPSILON;
    /// let (product, error) = x.two_product(x);
    /// assert_eq!(f64::from(product) + f64::from(error), f64::from(x) * f64::from(x));
    /// ```
    #[inline(always)]
    fn two_product(self, b: Self) -> (Self, Self) {
        let product = self * b;
        let (a_high, b_high) = (self.high_half(), b.high_half());
        let (a_low, b_low) = (self - a_high, b - b_high);
        let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
        (product, error)
    }

    /// (s, e) with s = `self + b` rounded and s + e = `self + b` exactly (D. E. Knuth, The Art of Computer
    /// Programming, vol. 2, 4.2.2).
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// assert_eq!(1.0_f32.two_sum(1e-10), (1.0, 1e-10));
    /// ```
    #[inline(always)]
    fn two_sum(self, b: Self) -> (Self, Self) {
        let sum = self + b;
        let b_part = sum - self;
        (sum, (self - (sum - b_part)) + (b - b_part))
    }

    /// `sum` + t·x with t and the sum in two words each, every rounding kept in the second.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// let (sum, error) = f32::plus_product((1.0, 0.0), (1e-10, 0.0), 1.0);
    /// assert_eq!((sum, error), (1.0, 1e-10));
    /// ```
    #[inline(always)]
    fn plus_product(sum: (Self, Self), t: (Self, Self), x: Self) -> (Self, Self) {
        plus_product(sum, t, x)
    }

    /// `self − s · b` as if the product were exact: one rounding when `self` and `s · b` are within a factor
    /// of two of each other, which is when it matters.
    ///
    /// ```
    /// use rivergram_core::lanes::Lanes;
    ///
    /// let x = 1.0 + f32::EPSILON;
    /// // x² = 1 + 2ε + ε²; the last term would be lost in a rounded product.
    /// assert_eq!((x * x).sub_product(x, x), -(f32::EPSILON * f32::EPSILON));
    /// ```
    #[inline(always)]
    fn sub_product(self, s: Self, b: Self) -> Self {
        let (product, error) = s.two_product(b);
        (self - product) - error
    }
}

/// [`Lanes::plus_product`], for who overrides it.
#[inline(always)]
fn plus_product<V: Lanes>((sum, error): (V, V), (high, low): (V, V), x: V) -> (V, V) {
    let (product, product_error) = high.two_product(x);
    let (sum, sum_error) = sum.two_sum(product);
    (sum, low.mul_add(x, error + (product_error + sum_error)))
}

/// One floating-point number: `f32`, or `f64` for oracles and hosts that want it.
pub trait Real:
    Lanes<Scalar = Self, Isa = One<Self>, Mask = bool>
    + PartialEq
    + PartialOrd
    + Default
    + AddAssign
    + SubAssign
    + Debug
    + Display
    + Send
    + Sync
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;
    /// +∞.
    const INFINITY: Self;
    /// The largest finite number.
    const MAX: Self;
    /// The smallest positive normal number.
    const MIN_POSITIVE: Self;

    /// The token for one number at a time.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// use rivergram_core::lanes::Isa;
    ///
    /// assert_eq!(f32::one_lane().splat(2.0), 2.0);
    /// ```
    #[inline(always)]
    fn one_lane() -> One<Self> {
        One(PhantomData)
    }
    /// The nearest number to a constant of the source text.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(<f32 as Real>::constant(0.1), 0.1_f32);
    /// ```
    fn constant(x: f64) -> Self;
    /// The nearest number.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(<f32 as Real>::from_u32(16_777_217), 16_777_216.0); // f32 ends at 2²⁴.
    /// ```
    fn from_u32(x: u32) -> Self;
    /// The nearest number to a count.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(<f32 as Real>::from_usize(1000), 1000.0);
    /// ```
    #[inline(always)]
    fn from_usize(x: usize) -> Self {
        count(x as u64)
    }
    /// As an `f64`, exactly.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(Real::to_f64(0.1_f32), f64::from(0.1_f32));
    /// ```
    fn to_f64(self) -> f64;
    /// The nearest `f32`: what an error carries, so that no message needs double precision.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(Real::to_f32(0.1_f64), 0.1_f32);
    /// ```
    fn to_f32(self) -> f32;
    /// Neither infinite nor NaN.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert!(Real::is_finite(1.0_f32) && !Real::is_finite(f32::NAN));
    /// ```
    fn is_finite(self) -> bool;
    /// eˣ − 1, accurate near 0.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert!((Real::exp_m1(1e-6_f32) - 1.000_000_5e-6).abs() < 1e-12);
    /// ```
    fn exp_m1(self) -> Self;
    /// 2ˣ for x in \[−126, 127\].
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(Real::exp2(-3.0_f32), 0.125);
    /// ```
    fn exp2(self) -> Self;
    /// 2ˣ − 1 for x in \[−126, 127\], accurate near 0.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(Real::exp2_m1(1.0_f32), 1.0);
    /// assert!((Real::exp2_m1(1e-6_f32) - 6.931_474e-7).abs() < 1e-13);
    /// ```
    fn exp2_m1(self) -> Self;
    /// sin(π/2 · x) for x in \[0, 1\].
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert!((Real::sin_half_pi(1.0_f32 / 3.0) - 0.5).abs() < 1e-7);
    /// ```
    fn sin_half_pi(self) -> Self;
    /// xʸ for x ≥ 0.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert!((Real::powf(2.0_f32, 10.0) - 1024.0).abs() < 1e-3);
    /// ```
    fn powf(self, y: Self) -> Self;
    /// The bits, for encoding; an `f32` uses the lower half.
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(Real::to_bits(1.0_f32), 0x3f80_0000);
    /// ```
    fn to_bits(self) -> u64;
    /// The inverse of [`Real::to_bits`].
    ///
    /// ```
    /// use rivergram_core::lanes::Real;
    ///
    /// assert_eq!(<f32 as Real>::from_bits(0x3f80_0000), 1.0);
    /// ```
    fn from_bits(bits: u64) -> Self;
}

/// A number in single precision: `f32`, or a type of the same bits whose arithmetic is a machine's own. The functions of
/// [`math`] are written for these.
pub trait Single: Real + From<f32> {}

impl Single for f32 {}

/// The instruction set of one number at a time; every machine has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct One<T>(PhantomData<T>);

impl<T: Real> One<T> {
    /// The token. It has no size, and is there on every machine.
    ///
    /// ```
    /// use rivergram_core::lanes::{Isa, One};
    ///
    /// assert_eq!(One::<f32>::new().load(&[7.0, 8.0]), 7.0);
    /// assert_eq!(size_of::<One<f32>>(), 0);
    /// ```
    #[inline(always)]
    pub fn new() -> Self {
        One(PhantomData)
    }
}

impl<T: Real> Isa for One<T> {
    type Scalar = T;
    type Lanes = T;
    type Block = [T; 1];
    const WIDTH: usize = 1;
    #[inline(always)]
    fn splat(self, x: T) -> T {
        x
    }
    #[inline(always)]
    fn load(self, from: &[T]) -> T {
        from.first().copied().unwrap_or_default()
    }
    #[inline(always)]
    fn store(self, value: T, to: &mut [T]) {
        if let Some(x) = to.first_mut() {
            *x = value;
        }
    }
    #[inline(always)]
    fn blocks(self, numbers: &[T]) -> (&[[T; 1]], &[T]) {
        numbers.as_chunks()
    }
    #[inline(always)]
    fn blocks_mut(self, numbers: &mut [T]) -> (&mut [[T; 1]], &mut [T]) {
        numbers.as_chunks_mut()
    }
    #[inline(always)]
    fn pieces(self, numbers: &[T]) -> impl Iterator<Item = &[T]> {
        numbers.iter().map(core::slice::from_ref)
    }
    #[inline(always)]
    fn pieces_mut(self, numbers: &mut [T]) -> impl Iterator<Item = &mut [T]> {
        numbers.iter_mut().map(core::slice::from_mut)
    }
    #[inline(never)]
    fn enter<K: Kernel<T>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[cfg(target_os = "none")]
    #[inline(never)]
    fn share<K: Kernel<T>>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

impl Lanes for f32 {
    type Scalar = f32;
    type Isa = One<f32>;
    type Mask = bool;
    #[inline(always)]
    fn isa(self) -> One<f32> {
        One(PhantomData)
    }
    #[inline(always)]
    fn mul_add(self, b: f32, c: f32) -> f32 {
        self * b + c
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        fpu::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn min(self, other: f32) -> f32 {
        if other < self { other } else { self }
    }
    #[inline(always)]
    fn max(self, other: f32) -> f32 {
        if self < other { other } else { self }
    }
    #[inline(always)]
    fn less(self, other: f32) -> bool {
        self < other
    }
    #[inline(always)]
    fn select(mask: bool, a: f32, b: f32) -> f32 {
        if mask { a } else { b }
    }
    #[inline(always)]
    fn any(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        self
    }
    #[inline(always)]
    fn round(self) -> f32 {
        // Adding 1.5·2²³ leaves no bit for the fraction.
        const SHIFT: f32 = 12_582_912.0;
        (self + SHIFT) - SHIFT
    }
    #[inline(always)]
    fn pow2(self) -> f32 {
        f32::from_bits(((self as i32).wrapping_add(127) as u32) << 23)
    }
    #[inline(always)]
    fn split(self) -> (f32, f32) {
        let bits = f32::to_bits(self).wrapping_sub(math::SQRT_HALF_BITS);
        let exponent = (bits as i32) >> 23;
        let mantissa = (bits & 0x007f_ffff).wrapping_add(math::SQRT_HALF_BITS);
        (exponent as f32, f32::from_bits(mantissa))
    }
    #[inline(always)]
    fn high_half(self) -> f32 {
        f32::from_bits(f32::to_bits(self).wrapping_add(1 << 11) & !((1 << 12) - 1))
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        math::exp_of_one(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        math::ln_of_one(self)
    }
    // On a bare machine bytes count more than calls.
    #[cfg(target_os = "none")]
    #[inline(never)]
    fn plus_product(sum: (f32, f32), t: (f32, f32), x: f32) -> (f32, f32) {
        plus_product(sum, t, x)
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const EPSILON: f32 = f32::EPSILON;
    const INFINITY: f32 = f32::INFINITY;
    const MAX: f32 = f32::MAX;
    const MIN_POSITIVE: f32 = f32::MIN_POSITIVE;
    #[inline(always)]
    fn constant(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn from_u32(x: u32) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> f32 {
        math::exp_m1(self)
    }
    #[inline(always)]
    fn exp2(self) -> f32 {
        math::exp2(self)
    }
    #[inline(always)]
    fn exp2_m1(self) -> f32 {
        math::exp2_m1(self)
    }
    #[inline(always)]
    fn sin_half_pi(self) -> f32 {
        math::sin_half_pi(self)
    }
    #[inline(always)]
    fn powf(self, y: f32) -> f32 {
        math::powf(self, y)
    }
    #[inline(always)]
    fn to_bits(self) -> u64 {
        u64::from(f32::to_bits(self))
    }
    #[inline(always)]
    fn from_bits(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
}

impl Lanes for f64 {
    type Scalar = f64;
    type Isa = One<f64>;
    type Mask = bool;
    #[inline(always)]
    fn isa(self) -> One<f64> {
        One(PhantomData)
    }
    #[inline(always)]
    fn mul_add(self, b: f64, c: f64) -> f64 {
        self * b + c
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        libm::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn min(self, other: f64) -> f64 {
        if other < self { other } else { self }
    }
    #[inline(always)]
    fn max(self, other: f64) -> f64 {
        if self < other { other } else { self }
    }
    #[inline(always)]
    fn less(self, other: f64) -> bool {
        self < other
    }
    #[inline(always)]
    fn select(mask: bool, a: f64, b: f64) -> f64 {
        if mask { a } else { b }
    }
    #[inline(always)]
    fn any(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        self
    }
    #[inline(always)]
    fn maximum(self) -> f64 {
        self
    }
    #[inline(always)]
    fn round(self) -> f64 {
        libm::rint(self)
    }
    #[inline(always)]
    fn pow2(self) -> f64 {
        f64::from_bits(((self as i64).wrapping_add(1023) as u64) << 52)
    }
    #[inline(always)]
    fn split(self) -> (f64, f64) {
        let bits = f64::to_bits(self).wrapping_sub(math::SQRT_HALF_BITS_F64);
        let exponent = (bits as i64) >> 52;
        let mantissa = (bits & ((1 << 52) - 1)).wrapping_add(math::SQRT_HALF_BITS_F64);
        (exponent as f64, f64::from_bits(mantissa))
    }
    #[inline(always)]
    fn high_half(self) -> f64 {
        f64::from_bits(f64::to_bits(self).wrapping_add(1 << 26) & !((1 << 27) - 1))
    }
    #[inline(always)]
    fn exp(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        libm::log(self)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const EPSILON: f64 = f64::EPSILON;
    const INFINITY: f64 = f64::INFINITY;
    const MAX: f64 = f64::MAX;
    const MIN_POSITIVE: f64 = f64::MIN_POSITIVE;
    #[inline(always)]
    fn constant(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn from_u32(x: u32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> f64 {
        libm::expm1(self)
    }
    #[inline(always)]
    fn exp2(self) -> f64 {
        libm::exp2(self)
    }
    #[inline(always)]
    fn exp2_m1(self) -> f64 {
        libm::expm1(self * core::f64::consts::LN_2)
    }
    #[inline(always)]
    fn sin_half_pi(self) -> f64 {
        libm::sin(core::f64::consts::FRAC_PI_2 * self)
    }
    #[inline(always)]
    fn powf(self, y: f64) -> f64 {
        libm::pow(self, y)
    }
    #[inline(always)]
    fn to_bits(self) -> u64 {
        f64::to_bits(self)
    }
    #[inline(always)]
    fn from_bits(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
}

/// The nearest number to a count of up to 64 bits: exact below 2²⁴ in single precision, 2⁵³ in double.
#[inline(always)]
pub(crate) fn count<T: Real>(x: u64) -> T {
    let high = T::from_u32((x >> 32) as u32);
    high * T::constant(4_294_967_296.0) + T::from_u32(x as u32)
}
