//! The inputs of heads: numbers as they are, or 8-bit integers with a scale.
//!
//! Features that do not change while heads are trained may lie in flash, a quarter as large. A step unpacks a
//! few rows at a time: on the way forward, and each time that the gradient of the weights is made.

use crate::lanes::{Isa, Real};
use crate::ops;

/// Features in 8 bits: x = scale · q.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Int8<'a, T> {
    /// q, \[rows, input\].
    pub values: &'a [i8],
    /// How much a step of 1 is.
    pub scale: T,
}

impl<T: Real> Int8<'_, T> {
    /// Unpacks as many numbers as `to` has room for, from number `start` on; returns how many there were.
    /// Cost: one product per number.
    ///
    /// ```
    /// use rivergram_core::features::Int8;
    ///
    /// let features = Int8 { values: &[-128, 0, 127, 2], scale: 0.5_f32 };
    /// let mut row = [0.0; 2];
    /// assert_eq!(features.unpack(2, &mut row), 2);
    /// assert_eq!(row, [63.5, 1.0]);
    /// assert_eq!(features.unpack(3, &mut row), 1);
    /// ```
    pub fn unpack(&self, start: usize, to: &mut [T]) -> usize {
        let values = self.values.get(start..).unwrap_or(&[]);
        for (to, q) in to.iter_mut().zip(values) {
            // An i8 plus 128 fits the unsigned number that every `Real` can be made from.
            let offset = T::from_u32(u32::from(q.cast_unsigned() ^ 0x80));
            *to = self.scale * (offset - T::constant(128.0));
        }
        values.len().min(to.len())
    }
}

/// Rows that are unpacked at once: as many as a product takes at once, so that the sums are those of all rows.
const TILE_ROWS: usize = 4;

/// Floats of a tile of rows that are unpacked at once.
pub(crate) const fn tile_len(input: usize) -> usize {
    TILE_ROWS.saturating_mul(input)
}

/// What a head can read.
pub(crate) trait Features<T>: Copy {
    /// Whether they have to be unpacked.
    const PACKED: bool;

    /// How many numbers there are.
    fn numbers(self) -> usize;

    /// At least the sum of the squares of all numbers; NaN or infinite where one of them is.
    fn square_bound<I: Isa<Scalar = T>>(self, isa: I) -> T;

    /// The numbers from `start` on; of packed ones as many as `tile` holds.
    fn read<'a>(self, start: usize, tile: &'a mut [T]) -> &'a [T]
    where
        Self: 'a;

    /// Rows that are read at once.
    #[inline(always)]
    fn rows_at_once() -> usize {
        if Self::PACKED { TILE_ROWS } else { usize::MAX }
    }

    /// Floats of `tile`.
    #[inline(always)]
    fn tile_len(input: usize) -> usize {
        if Self::PACKED { tile_len(input) } else { 0 }
    }
}

impl<T: Real> Features<T> for &[T] {
    const PACKED: bool = false;

    #[inline(always)]
    fn numbers(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn square_bound<I: Isa<Scalar = T>>(self, isa: I) -> T {
        ops::dot(isa, self, self)
    }

    #[inline(always)]
    fn read<'a>(self, start: usize, _: &'a mut [T]) -> &'a [T]
    where
        Self: 'a,
    {
        self.get(start..).unwrap_or(&[])
    }
}

impl<T: Real> Features<T> for Int8<'_, T> {
    const PACKED: bool = true;

    #[inline(always)]
    fn numbers(self) -> usize {
        self.values.len()
    }

    #[inline(always)]
    fn square_bound<I: Isa<Scalar = T>>(self, _: I) -> T {
        let largest = self.scale * T::constant(128.0);
        T::from_usize(self.values.len()) * largest * largest
    }

    #[inline(always)]
    fn read<'a>(self, start: usize, tile: &'a mut [T]) -> &'a [T]
    where
        Self: 'a,
    {
        let count = self.unpack(start, tile);
        tile.get(..count).unwrap_or(&[])
    }
}
