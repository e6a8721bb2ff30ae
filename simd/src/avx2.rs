//! Eight lanes on AVX2 with FMA and F16C, chosen at run time.
//!
//! The intrinsics are `unsafe` because a CPU without them would misbehave. Here each needs the token
//! [`Avx2`] or a value made from it, and the token is only made where these instruction sets are known
//! to be there: that is the reason behind every `unsafe` block of this file.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86")]
use core::arch::x86::*;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Neg, Sub};

use rivergram_core::lanes::{Isa, Kernel, Lanes, One};
use rivergram_core::math;
use rivergram_core::optim::rounding::Half;

use crate::level::LevelError;

/// The token: the CPU has AVX2, FMA and F16C, as every CPU with AVX2 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token if the CPU has them.
    #[cfg(feature = "std")]
    pub(crate) fn find() -> Result<Self, LevelError> {
        use std::arch::is_x86_feature_detected;
        let has_lanes = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if has_lanes && is_x86_feature_detected!("f16c") {
            Ok(Avx2(()))
        } else {
            Err(LevelError::NotOnCpu {
                needs: "AVX2, FMA and F16C",
            })
        }
    }

    /// The token if the build promises them: without `std` the CPU cannot be asked.
    #[cfg(not(feature = "std"))]
    pub(crate) fn find() -> Result<Self, LevelError> {
        Self::compiled().ok_or(LevelError::NotInBuild {
            needs: "the target features avx2, fma and f16c, or the feature std to ask the CPU",
        })
    }

    /// The token if the build promises them.
    pub(crate) fn compiled() -> Option<Self> {
        cfg!(all(
            target_feature = "avx2",
            target_feature = "fma",
            target_feature = "f16c"
        ))
        .then_some(Avx2(()))
    }
}

/// Eight numbers.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// Eight truth values: all bits of a lane, or none.
#[derive(Clone, Copy)]
pub(crate) struct Mask8(__m256);

/// Ones in the first `length` lanes.
#[inline(always)]
fn first_lanes(_: Avx2, length: usize) -> __m256i {
    // SAFETY: the token was made after detection.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(length as i32), lane)
    }
}

/// The first numbers, zeros after them.
#[inline(always)]
fn padded<T: Copy + Default>(numbers: &[T]) -> [T; 16] {
    let mut all = [T::default(); 16];
    all.iter_mut().zip(numbers).for_each(|(to, x)| *to = *x);
    all
}

/// Adds the products of sixteen numbers, in pairs.
#[inline(always)]
fn add_products(_: Avx2, a: &[i16; 16], b: &[i8; 16], sum: &mut __m256i) {
    // SAFETY: the token was made after detection, and both arrays hold sixteen numbers.
    *sum = unsafe {
        let a = _mm256_loadu_si256(a.as_ptr().cast());
        let b = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.as_ptr().cast()));
        _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b))
    };
}

/// The products of two rows, added up by lane. A row from end to end: rows side by side would be streams too short for
/// the CPU to fetch ahead.
#[inline(always)]
fn sums_of_row(isa: Avx2, a: &[i16], b: &[i8]) -> __m256i {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<2>(), b.as_chunks::<2>());
    // SAFETY: the token was made after detection.
    let mut sums = [unsafe { _mm256_setzero_si256() }; 2];
    for (a, b) in a.iter().zip(b) {
        add_products(isa, &a[0], &b[0], &mut sums[0]);
        add_products(isa, &a[1], &b[1], &mut sums[1]);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        add_products(isa, a, b, &mut sums[0]);
    }
    if !a_tail.is_empty() {
        add_products(isa, &padded(a_tail), &padded(b_tail), &mut sums[1]);
    }
    // SAFETY: as above.
    unsafe { _mm256_add_epi32(sums[0], sums[1]) }
}

/// The first lanes into fewer than eight numbers: four, two and one of them. A masked store does the same in one
/// instruction, which takes a dozen cycles on some CPUs.
#[inline(always)]
fn store_some(value: F32x8, to: &mut [f32]) {
    // SAFETY: a value proves a token.
    let (mut four, high) = unsafe {
        (
            _mm256_castps256_ps128(value.0),
            _mm256_extractf128_ps::<1>(value.0),
        )
    };
    let (fours, rest) = to.as_chunks_mut::<4>();
    if let Some(to) = fours.first_mut() {
        // SAFETY: a value proves a token, and the array holds four numbers.
        unsafe { _mm_storeu_ps(to.as_mut_ptr(), four) };
        four = high;
    }
    let (twos, rest) = rest.as_chunks_mut::<2>();
    if let Some(to) = twos.first_mut() {
        // SAFETY: as above; the array holds two numbers, the bytes of one `f64`, which need not be aligned.
        unsafe { _mm_store_sd(to.as_mut_ptr().cast(), _mm_castps_pd(four)) };
        // SAFETY: a value proves a token.
        four = unsafe { _mm_movehl_ps(four, four) };
    }
    if let Some(to) = rest.first_mut() {
        // SAFETY: a value proves a token.
        *to = unsafe { _mm_cvtss_f32(four) };
    }
}

impl Isa for Avx2 {
    type Scalar = f32;
    type Lanes = F32x8;
    type Block = [f32; 8];
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        // SAFETY: the token was made after detection.
        F32x8(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> F32x8 {
        match from.first_chunk::<8>() {
            // SAFETY: the token was made after detection, and the array holds eight numbers.
            Some(eight) => F32x8(unsafe { _mm256_loadu_ps(eight.as_ptr()) }),
            // SAFETY: as above; only the first `from.len()` lanes are read.
            None => {
                F32x8(unsafe { _mm256_maskload_ps(from.as_ptr(), first_lanes(self, from.len())) })
            }
        }
    }
    #[inline(always)]
    fn store(self, value: F32x8, to: &mut [f32]) {
        match to.first_chunk_mut::<8>() {
            // SAFETY: the token was made after detection, and the array holds eight numbers.
            Some(eight) => unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), value.0) },
            None => store_some(value, to),
        }
    }
    #[inline(always)]
    fn blocks(self, numbers: &[f32]) -> (&[[f32; 8]], &[f32]) {
        numbers.as_chunks()
    }
    #[inline(always)]
    fn blocks_mut(self, numbers: &mut [f32]) -> (&mut [[f32; 8]], &mut [f32]) {
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
    #[inline(always)]
    fn dots_i8(self, a: &[i16], b: [&[i8]; 4]) -> [i32; 4] {
        let [b0, b1, b2, b3] = b;
        let (s0, s1) = (sums_of_row(self, a, b0), sums_of_row(self, a, b1));
        let (s2, s3) = (sums_of_row(self, a, b2), sums_of_row(self, a, b3));
        let mut totals = [0; 4];
        // SAFETY: the token was made after detection; the array holds four numbers.
        unsafe {
            let all = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
            let (low, high) = (
                _mm256_castsi256_si128(all),
                _mm256_extracti128_si256::<1>(all),
            );
            _mm_storeu_si128(totals.as_mut_ptr().cast(), _mm_add_epi32(low, high));
        }
        totals
    }
    #[inline(always)]
    fn widen(self, format: Half, from: &[u16], to: &mut [f32]) {
        if format != Half::F16 {
            return One::<f32>::new().widen(format, from, to);
        }
        let n = from.len().min(to.len());
        let (from, from_tail) = from[..n].as_chunks::<8>();
        let (to, to_tail) = to[..n].as_chunks_mut::<8>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: the token was made after detection, and both arrays hold eight numbers.
            unsafe {
                let x = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(x));
            }
        }
        One::<f32>::new().widen(format, from_tail, to_tail);
    }
    #[inline(always)]
    fn enter<K: Kernel<f32>>(self, kernel: K) -> K::Output {
        // SAFETY: the token was made after detection.
        unsafe { run_avx2(kernel, self) }
    }
}

/// Never inlined, so that a disassembly shows one kernel as one function.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
fn run_avx2<K: Kernel<f32>>(kernel: K, isa: Avx2) -> K::Output {
    kernel.run(isa)
}

impl Add for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_add_ps(self.0, other.0) })
    }
}

impl Sub for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
}

impl Mul for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
}

impl Div for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_div_ps(self.0, other.0) })
    }
}

impl Neg for F32x8 {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_xor_ps(self.0, _mm256_set1_ps(-0.0)) })
    }
}

impl Lanes for F32x8 {
    type Scalar = f32;
    type Isa = Avx2;
    type Mask = Mask8;

    #[inline(always)]
    fn isa(self) -> Avx2 {
        Avx2(())
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Mask8 {
        // SAFETY: a value proves a token.
        Mask8(unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) })
    }
    #[inline(always)]
    fn select(mask: Mask8, a: Self, b: Self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_blendv_ps(b.0, a.0, mask.0) })
    }
    #[inline(always)]
    fn any(mask: Mask8) -> bool {
        // SAFETY: a mask is made from values, and they prove a token.
        unsafe { _mm256_movemask_ps(mask.0) != 0 }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: a value proves a token.
        unsafe {
            let (low, high) = (
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let four = _mm_add_ps(low, high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        // SAFETY: a value proves a token.
        unsafe {
            let (low, high) = (
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let four = _mm_max_ps(low, high);
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: a value proves a token.
        F32x8(unsafe { _mm256_round_ps::<NEAREST>(self.0) })
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        })
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // SAFETY: a value proves a token.
        unsafe {
            let offset = _mm256_set1_epi32(math::SQRT_HALF_BITS as i32);
            let bits = _mm256_sub_epi32(_mm256_castps_si256(self.0), offset);
            let exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(bits));
            let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
            let mantissa = _mm256_castsi256_ps(_mm256_add_epi32(mantissa, offset));
            (F32x8(exponent), F32x8(mantissa))
        }
    }
    #[inline(always)]
    fn high_half(self) -> Self {
        // SAFETY: a value proves a token.
        F32x8(unsafe {
            let bits = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_set1_epi32(1 << 11));
            let mask = _mm256_set1_epi32(!((1 << 12) - 1));
            _mm256_castsi256_ps(_mm256_and_si256(bits, mask))
        })
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
        // SAFETY: a value proves a token.
        let error = F32x8(unsafe { _mm256_fmsub_ps(self.0, b.0, product.0) });
        (product, error)
    }
}
