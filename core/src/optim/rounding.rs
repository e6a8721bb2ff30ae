//! Weights in 16 bits: conversion, stochastic rounding, and updates that would be lost.
//!
//! ```text
//! nearest      x ← the nearest number of the format, the even one of two that are as near
//! stochastic   x ← a + ulp with probability (x − a)/ulp, else a        a = the next number towards 0
//!              the expectation is x
//! lost         w − u rounds back to w: everywhere where |u| < ½·ulp(w), but towards 0 from a power of two,
//!              where the numbers lie twice as close and it takes |u| < ¼·ulp(w)
//! ```
//! Source of stochastic rounding: S. Gupta et al., "Deep Learning with Limited Numerical Precision"
//! (arXiv 1502.02551, section 3).
//!
//! | format | bits: sign, exponent, fraction | ulp at 1 | smallest normal, smallest | largest |
//! |---|---|---|---|---|
//! | [`Half::F16`] (IEEE 754 binary16) | 1, 5, 10 | 9.8e-4 | 6.1e-5, 6.0e-8 | 65504 |
//! | [`Half::Bf16`] (upper half of an `f32`) | 1, 8, 7 | 7.8e-3 | 1.2e-38, 9.2e-41 | 3.39e38 |
//!
//! Why it matters: in the tail of a decay lr·|g| falls below half an ulp of the weights, and with rounding to
//! nearest training stops there without a word. With stochastic rounding the weights still move by lr·g on the
//! average. Compare [`Half::lost_updates`].
//!
//! Both formats are kept as their bits in a `u16`. Conversion is integer arithmetic on bits, without a table or a
//! division, the same on every machine; no floating-point unit for 16 bits is needed. The random bits are the
//! caller's: one `u32` per number, from any generator whose high bits are uniform.

use super::check_len;
use crate::error::OptimError;
use crate::lanes::{Isa, Kernel};

/// A floating-point format of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Half {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

/// Bits of the fraction of an `f32`.
const FRACTION: u32 = 23;
/// The bits of +∞ in `f32`.
const INFINITY: u32 = 0xff << FRACTION;

/// A magnitude cut to a format: the bits of the next number towards 0, and what was cut off as a fraction of an
/// ulp, `cut / 2^width`.
#[derive(Clone, Copy)]
struct Cut {
    bits: u32,
    cut: u32,
    width: u32,
}

impl Half {
    /// Both formats.
    pub const ALL: [Half; 2] = [Half::F16, Half::Bf16];

    /// Bits of the fraction.
    #[inline(always)]
    const fn fraction(self) -> u32 {
        match self {
            Half::F16 => 10,
            Half::Bf16 => 7,
        }
    }

    /// What the exponent of an `f32` loses on the way: the difference of the two biases.
    #[inline(always)]
    const fn rebias(self) -> u32 {
        match self {
            Half::F16 => 112,
            Half::Bf16 => 0,
        }
    }

    /// Bits of an `f32`'s fraction that the format does not have.
    #[inline(always)]
    const fn dropped(self) -> u32 {
        FRACTION.wrapping_sub(self.fraction())
    }

    /// The bits of +∞. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// assert_eq!(Half::F16.infinity(), 0x7c00);
    /// assert_eq!(Half::Bf16.widen(Half::Bf16.infinity()), f32::INFINITY);
    /// ```
    #[inline(always)]
    pub const fn infinity(self) -> u16 {
        match self {
            Half::F16 => 0x7c00,
            Half::Bf16 => 0x7f80,
        }
    }

    /// The number of these bits, exactly. A NaN stays one, with its sign and payload, and is made quiet. Cost: about
    /// ten operations on integers; of subnormal numbers in `F16` a subtraction of floats too.
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// assert_eq!(Half::F16.widen(0x3c00), 1.0);
    /// assert_eq!(Half::Bf16.widen(0xc000), -2.0);
    /// assert_eq!(Half::F16.widen(0x0001), 2.0_f32.powi(-24)); // The smallest of all.
    /// ```
    #[inline]
    pub const fn widen(self, bits: u16) -> f32 {
        let sign = ((bits & 0x8000) as u32) << 16;
        let magnitude = (bits & 0x7fff) as u32;
        let wide = magnitude.wrapping_shl(self.dropped());
        let is_normal = magnitude.wrapping_shr(self.fraction()) != 0;
        let wide = if magnitude > self.infinity() as u32 {
            INFINITY | wide | 1 << (FRACTION - 1)
        } else if magnitude == self.infinity() as u32 {
            INFINITY
        } else if is_normal || self.rebias() == 0 {
            wide.wrapping_add(self.rebias() << FRACTION)
        } else {
            // f · 2^(1 − bias − fraction): with one bit put before the fraction the subtraction is exact.
            let lowest = self.rebias().wrapping_add(1) << FRACTION;
            (f32::from_bits(lowest | wide) - f32::from_bits(lowest)).to_bits()
        };
        f32::from_bits(sign | wide)
    }

    /// Cuts the magnitude of an `f32`, which is finite, below the bits of the format.
    #[inline(always)]
    const fn cut(self, magnitude: u32) -> Cut {
        let lowest_exponent = self.rebias().wrapping_add(1);
        let exponent = magnitude >> FRACTION;
        if exponent >= lowest_exponent || self.rebias() == 0 {
            let rebiased = magnitude.wrapping_sub(self.rebias() << FRACTION);
            let width = self.dropped();
            return Cut {
                bits: rebiased.wrapping_shr(width),
                cut: rebiased & low_bits(width),
                width,
            };
        }
        // Below the normal numbers of the format: the leading bit becomes part of the fraction.
        let fraction = magnitude & low_bits(FRACTION);
        let (significand, exponent) = if exponent == 0 {
            (fraction, 1)
        } else {
            (fraction | 1 << FRACTION, exponent)
        };
        let width = self
            .dropped()
            .wrapping_add(lowest_exponent.wrapping_sub(exponent));
        if width > 31 {
            // Less than 2⁻⁸ of an ulp. What fits 32 bits is kept.
            let lost = width.wrapping_sub(32);
            return Cut {
                bits: 0,
                cut: if lost < 32 {
                    significand.wrapping_shr(lost)
                } else {
                    0
                },
                width: 32,
            };
        }
        Cut {
            bits: significand.wrapping_shr(width),
            cut: significand & low_bits(width),
            width,
        }
    }

    /// The bits of a NaN of an `f32`, made quiet, with its sign and the upper part of its payload.
    #[inline(always)]
    const fn nan(self, x: u32) -> u16 {
        let quiet = 1_u32.wrapping_shl(self.fraction().wrapping_sub(1));
        let payload = (x & low_bits(FRACTION)).wrapping_shr(self.dropped());
        sign(x) | self.infinity() | (payload | quiet) as u16
    }

    /// The nearest number of the format, the even one of two that are as near. From half an ulp above the largest
    /// number on it is infinite; a NaN stays one, with its sign and the upper part of its payload; −0 stays −0.
    /// Source: IEEE 754-2019, section 4.3.1, roundTiesToEven. Cost: about a dozen operations on integers, no
    /// division.
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// assert_eq!(Half::F16.nearest(1.0), 0x3c00);
    /// assert_eq!(Half::F16.nearest(1.0 + 4.8e-4), 0x3c00); // Below half an ulp.
    /// assert_eq!(Half::F16.nearest(65519.0), 0x7bff);
    /// assert_eq!(Half::F16.nearest(65520.0), Half::F16.infinity());
    /// assert_eq!(Half::Bf16.nearest(-0.0), 0x8000);
    /// ```
    #[inline]
    pub const fn nearest(self, x: f32) -> u16 {
        let x = x.to_bits();
        let magnitude = x & !(1 << 31);
        if magnitude > INFINITY {
            return self.nan(x);
        }
        if magnitude >= self.overflow() {
            return sign(x) | self.infinity();
        }
        let Cut { bits, cut, width } = self.cut(magnitude);
        let tie = 1_u32.wrapping_shl(width.wrapping_sub(1));
        let up = cut > tie || cut == tie && bits & 1 == 1;
        sign(x) | bits.wrapping_add(up as u32) as u16
    }

    /// The magnitude of an `f32` from which the nearest number of the format is infinite: half an ulp above the
    /// largest.
    #[inline(always)]
    const fn overflow(self) -> u32 {
        let largest = (self.infinity() as u32).wrapping_sub(1);
        let half_above = (largest << 1 | 1).wrapping_shl(self.dropped().wrapping_sub(1));
        half_above.wrapping_add(self.rebias() << FRACTION)
    }

    /// One of the two numbers of the format next to x, the farther from 0 with the probability that makes x the
    /// expectation; `random` is uniform in all of its 32 bits, and one of its own for each number.
    ///
    /// A number that the format has is never changed, whatever `random` is, nor is −0. The expectation is exact:
    /// of the 2³² values of `random` as many round up as the share of an ulp says. Below 2⁻³³ in `F16`, which
    /// has 2⁻²⁴ as its smallest number, that share has more than 32 bits, and is cut there: the expectation is
    /// then short by less than 2⁻⁵⁶.
    ///
    /// What overflows is not left to chance: from half an ulp above the largest number on the result is infinite,
    /// as with [`Half::nearest`], and between it and the largest number the result is the largest. NaN as with
    /// [`Half::nearest`]. Source: arXiv 1502.02551, section 3. Cost: that of [`Half::nearest`]; the random bits are
    /// extra.
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let x = 1.0 + Half::F16.ulp(1.0) / 4.0;
    /// let up = |random| Half::F16.widen(Half::F16.stochastic(x, random)) > 1.0;
    /// assert!(up(0) && up((1 << 30) - 1)); // A quarter of all numbers rounds up,
    /// assert!(!up(1 << 30) && !up(u32::MAX)); // three quarters round down.
    /// assert_eq!(Half::F16.stochastic(1.0, 0), 0x3c00);
    /// ```
    #[inline]
    pub const fn stochastic(self, x: f32, random: u32) -> u16 {
        let x = x.to_bits();
        let magnitude = x & !(1 << 31);
        if magnitude > INFINITY {
            return self.nan(x);
        }
        if magnitude >= self.overflow() {
            return sign(x) | self.infinity();
        }
        let Cut { bits, cut, width } = self.cut(magnitude);
        let threshold = random.wrapping_shr(32_u32.wrapping_sub(width));
        let up = threshold < cut && bits.wrapping_add(1) < self.infinity() as u32;
        sign(x) | bits.wrapping_add(up as u32) as u16
    }

    /// [`Half::nearest`] of each number; `to` is as long as `from`. Cost: one rounding per number.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let mut stored = [0; 3];
    /// Half::Bf16.store_nearest(&[1.0, -2.0, 0.0], &mut stored)?;
    /// assert_eq!(stored, [0x3f80, 0xc000, 0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn store_nearest(self, from: &[f32], to: &mut [u16]) -> Result<(), OptimError> {
        check_len(from.len(), to.len())?;
        for (to, from) in to.iter_mut().zip(from) {
            *to = self.nearest(*from);
        }
        Ok(())
    }

    /// [`Half::stochastic`] of each number; `to` is as long as `from`. `random` is called once for each, in order,
    /// and returns 32 uniform bits. Cost: one rounding per number.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let mut bits = [0, u32::MAX].into_iter();
    /// let mut stored = [0; 2];
    /// Half::Bf16.store_stochastic(&[1.001, 1.001], || bits.next().unwrap(), &mut stored)?;
    /// assert_eq!(stored, [0x3f81, 0x3f80]); // Once up, once down.
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn store_stochastic(
        self,
        from: &[f32],
        mut random: impl FnMut() -> u32,
        to: &mut [u16],
    ) -> Result<(), OptimError> {
        check_len(from.len(), to.len())?;
        for (to, from) in to.iter_mut().zip(from) {
            *to = self.stochastic(*from, random());
        }
        Ok(())
    }

    /// [`Half::widen`] of each number; `to` is as long as `from`. Cost: one conversion per number.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let mut numbers = [0.0; 2];
    /// Half::F16.load(&[0x3c00, 0xbc00], &mut numbers)?;
    /// assert_eq!(numbers, [1.0, -1.0]);
    /// # Ok::<(), rivergram_core::error::OptimError>(())
    /// ```
    pub fn load(self, from: &[u16], to: &mut [f32]) -> Result<(), OptimError> {
        check_len(from.len(), to.len())?;
        for (to, from) in to.iter_mut().zip(from) {
            *to = self.widen(*from);
        }
        Ok(())
    }

    /// The unit in the last place at x: the distance of two neighbours of the format from |x|'s power of two up to
    /// the next, and that of its subnormal numbers below the normal ones. For an x above the largest number it is
    /// what a longer exponent would give; infinite for ±∞, NaN for NaN. Cost: about ten operations on integers.
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// assert_eq!(Half::F16.ulp(1.0), 2.0_f32.powi(-10));
    /// assert_eq!(Half::Bf16.ulp(-3.0), 2.0_f32.powi(-6));
    /// assert_eq!(Half::F16.ulp(0.0), 2.0_f32.powi(-24));
    /// ```
    pub const fn ulp(self, x: f32) -> f32 {
        let magnitude = x.to_bits() & !(1 << 31);
        if magnitude >= INFINITY {
            return f32::from_bits(magnitude);
        }
        let lowest = self.rebias().wrapping_add(1);
        let exponent = magnitude >> FRACTION;
        let exponent = if exponent < lowest { lowest } else { exponent };
        // Of bf16 the ulp is subnormal below 2⁻¹¹⁹.
        match exponent.checked_sub(self.fraction()) {
            Some(exponent) if exponent > 0 => f32::from_bits(exponent << FRACTION),
            _ => {
                let below = self.fraction().wrapping_sub(exponent);
                f32::from_bits((1_u32 << (FRACTION - 1)).wrapping_shr(below))
            }
        }
    }

    /// Whether the weight of these bits is the same after an update, which is not 0: w − u, computed in `f32`,
    /// rounds back to w. Never where the weight or the update is NaN or infinite. Cost: a subtraction and the
    /// conversions [`Half::widen`] and [`Half::nearest`].
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let one = Half::F16.nearest(1.0);
    /// assert!(Half::F16.loses(one, -4.8e-4)); // Half an ulp is 4.88e-4.
    /// assert!(!Half::F16.loses(one, -5e-4));
    /// assert!(!Half::F16.loses(one, 4.8e-4)); // Below 1 the numbers lie twice as close.
    /// assert!(!Half::F16.loses(one, 0.0)); // There is nothing to lose.
    /// ```
    #[inline]
    pub const fn loses(self, weight: u16, update: f32) -> bool {
        update != 0.0 && self.stays(weight, update)
    }

    #[inline(always)]
    const fn stays(self, weight: u16, update: f32) -> bool {
        let is_finite = weight & 0x7fff < self.infinity();
        let before = self.widen(weight);
        // By value: 0 less something that is lost may become −0.
        is_finite && self.widen(self.nearest(before - update)) == before
    }

    /// How many updates w ← w − lr·d would be lost ([`Half::loses`]) of weights \[n\] stored in this format, with d
    /// \[n\] the direction that the rate multiplies: the gradient for SGD, the sign plus λ·w for Lion. A product
    /// lr·d too small for an `f32` is lost as well; one that is 0 because lr or d is, is not counted.
    ///
    /// Cost: one pass.
    ///
    /// # Errors
    /// [`OptimError::Length`].
    ///
    /// ```
    /// use rivergram_core::optim::rounding::Half;
    ///
    /// let weights = [1.0, 0.01, 3.0].map(|w| Half::F16.nearest(w));
    /// let gradient = [-1.0, -1.0, 0.0];
    /// assert_eq!(Half::F16.lost_updates(1e-2, &weights, &gradient), Ok(0));
    /// assert_eq!(Half::F16.lost_updates(1e-4, &weights, &gradient), Ok(1)); // That of 1.0.
    /// assert_eq!(Half::F16.lost_updates(1e-7, &weights, &gradient), Ok(2));
    /// ```
    pub fn lost_updates(
        self,
        lr: f32,
        weights: &[u16],
        direction: &[f32],
    ) -> Result<usize, OptimError> {
        check_len(weights.len(), direction.len())?;
        let mut lost = 0_usize;
        for (weight, d) in weights.iter().zip(direction) {
            let moves = lr != 0.0 && *d != 0.0;
            lost = lost.saturating_add(usize::from(moves && self.stays(*weight, lr * *d)));
        }
        Ok(lost)
    }
}

/// [`Half::widen`] of each number, in a kernel of its own, by [`Isa::widen`].
pub(crate) struct Widen<'a> {
    pub(crate) format: Half,
    pub(crate) x: &'a [u16],
    pub(crate) wide: &'a mut [f32],
}

impl Kernel<f32> for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        isa.widen(self.format, self.x, self.wide);
    }
}

/// A mask of the lowest bits, fewer than 32.
#[inline(always)]
const fn low_bits(width: u32) -> u32 {
    1_u32.wrapping_shl(width).wrapping_sub(1)
}

/// The sign of an `f32`, where 16 bits have it.
#[inline(always)]
const fn sign(x: u32) -> u16 {
    (x >> 16) as u16 & 0x8000
}
