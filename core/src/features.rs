//! The inputs of heads: numbers as they are, or 8-bit integers with a scale, in one piece or row by row.
//!
//! Features that do not change while heads are trained may lie in flash, a quarter as large. A step unpacks a
//! few rows at a time: on the way forward, and each time that the gradient of the weights is made.

use crate::lanes::{Isa, Real};
use crate::ops::{self, Walk};

/// Features in 8 bits: x = scale · q.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Int8<'a, T> {
    /// q, \[rows, input\].
    pub values: &'a [i8],
    /// How much a step of 1 is.
    pub scale: T,
}

/// Rows of a table in 8 bits, such as the samples of a batch among those in flash: x = scale · table\[rows\[r\]\].
/// Nothing is copied.
///
/// ```
/// use rivergram_core::features::Int8Rows;
///
/// static SAMPLES: [[i8; 2]; 3] = [[10, 0], [0, 10], [5, 5]];
/// let batch = Int8Rows { table: SAMPLES.as_flattened(), rows: &[2, 0], scale: 0.1_f32 };
/// assert_eq!(batch.rows.len(), 2); // (0.5, 0.5) and (1, 0)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Int8Rows<'a, T> {
    /// q of all samples, \[samples, input\].
    pub table: &'a [i8],
    /// The samples of the batch, each once: of two that are the same each would be the other's negative. Those outside
    /// of the table do not count.
    pub rows: &'a [u32],
    /// How much a step of 1 is.
    pub scale: T,
}

impl<T> Int8Rows<'_, T> {
    /// A row; nothing where the table ends before it does.
    #[inline(always)]
    fn row(&self, row: u32, input: usize) -> Option<&[i8]> {
        let start = usize::try_from(row).ok()?.checked_mul(input)?;
        self.table.get(start..start.checked_add(input)?)
    }
}

/// What a head can read: `&[T]`, [`Int8`] and [`Int8Rows`]; or what else gives rows of numbers, such as samples in
/// external flash.
pub trait Features<T>: Copy {
    /// Whether they have to be unpacked.
    const PACKED: bool;

    /// How many numbers there are in rows of `input`; rows that do not exist do not count. Cost: at most one look at
    /// each row.
    ///
    /// ```
    /// use rivergram_core::features::{Features, Int8Rows};
    ///
    /// // The table has two rows of two, so that there is no third.
    /// let rows = Int8Rows { table: &[1, 2, 3, 4], rows: &[1, 2], scale: 1.0_f32 };
    /// assert_eq!(rows.numbers(2), 2);
    /// ```
    fn numbers(self, input: usize) -> usize;

    /// At least the sum of the squares of all numbers in rows of `input`; NaN or infinite where one of them is. Cost: at
    /// most one pass over the numbers.
    ///
    /// ```
    /// use rivergram_core::features::Features;
    /// use rivergram_core::lanes::One;
    ///
    /// let features = &[3.0_f32, 4.0][..];
    /// assert_eq!(features.square_bound(2, One::new()), 25.0);
    /// ```
    fn square_bound<I: Isa<Scalar = T>>(self, input: usize, isa: I) -> T;

    /// The numbers from a row of `input` on; of packed ones as many rows as `tile` holds. Cost: one product per number
    /// that is unpacked.
    ///
    /// ```
    /// use rivergram_core::features::{Features, Int8};
    ///
    /// let features = Int8 { values: &[2, 4, 6, 8], scale: 0.5_f32 };
    /// assert_eq!(features.read(1, 2, &mut [0.0; 2]), [3.0, 4.0]);
    /// ```
    fn read<'a>(self, row: usize, input: usize, tile: &'a mut [T]) -> &'a [T]
    where
        Self: 'a;
}

/// Rows that are read at once.
#[inline(always)]
pub(crate) const fn rows_at_once<F: Features<T>, T>() -> usize {
    if F::PACKED { TILE_ROWS } else { usize::MAX }
}

/// Floats of the tile that rows of `input` are unpacked into.
#[inline(always)]
pub(crate) const fn tile_len_of<F: Features<T>, T>(input: usize) -> usize {
    if F::PACKED { tile_len(input) } else { 0 }
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
        unpack(self.scale, self.values.get(start..).unwrap_or(&[]), to)
    }
}

/// Unpacks as many numbers as there are and fit; returns how many.
#[inline(always)]
fn unpack<T: Real>(scale: T, values: &[i8], to: &mut [T]) -> usize {
    for (to, q) in to.iter_mut().zip(values) {
        // An i8 plus 128 fits the unsigned number that every `Real` can be made from.
        let offset = T::from_u32(u32::from(q.cast_unsigned() ^ 0x80));
        *to = scale * (offset - T::constant(128.0));
    }
    values.len().min(to.len())
}

/// Rows that are unpacked at once: as many as a product takes at once, so that the sums are those of all rows.
const TILE_ROWS: usize = 4;

/// Floats of a tile of rows that are unpacked at once.
pub(crate) const fn tile_len(input: usize) -> usize {
    TILE_ROWS.saturating_mul(input)
}

/// How many of the rows end within a table.
fn whole_rows(table: usize, rows: &[u32], input: usize) -> usize {
    let mut there = 0_usize;
    for row in rows {
        let end = usize::try_from(*row)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
            .saturating_mul(input);
        there = there.saturating_add(usize::from(end <= table));
    }
    there
}

/// At least the sum of the squares of so many numbers in 8 bits.
#[inline(always)]
fn square_bound<T: Real>(scale: T, numbers: usize) -> T {
    let largest = scale * T::constant(128.0);
    T::from_usize(numbers) * largest * largest
}

impl<T: Real> Features<T> for &[T] {
    const PACKED: bool = false;

    #[inline(always)]
    fn numbers(self, _: usize) -> usize {
        self.len()
    }

    #[inline(always)]
    fn square_bound<I: Isa<Scalar = T>>(self, _: usize, isa: I) -> T {
        ops::dot(isa, self, self)
    }

    #[inline(always)]
    fn read<'a>(self, row: usize, input: usize, _: &'a mut [T]) -> &'a [T]
    where
        Self: 'a,
    {
        self.get(row.saturating_mul(input)..).unwrap_or(&[])
    }
}

impl<T: Real> Features<T> for Int8<'_, T> {
    const PACKED: bool = true;

    #[inline(always)]
    fn numbers(self, _: usize) -> usize {
        self.values.len()
    }

    #[inline(always)]
    fn square_bound<I: Isa<Scalar = T>>(self, _: usize, _: I) -> T {
        square_bound(self.scale, self.values.len())
    }

    #[inline(always)]
    fn read<'a>(self, row: usize, input: usize, tile: &'a mut [T]) -> &'a [T]
    where
        Self: 'a,
    {
        let count = self.unpack(row.saturating_mul(input), tile);
        tile.get(..count).unwrap_or(&[])
    }
}

impl<T: Real> Features<T> for Int8Rows<'_, T> {
    const PACKED: bool = true;

    #[inline(always)]
    fn numbers(self, input: usize) -> usize {
        whole_rows(self.table.len(), self.rows, input).saturating_mul(input)
    }

    #[inline(always)]
    fn square_bound<I: Isa<Scalar = T>>(self, input: usize, _: I) -> T {
        square_bound(self.scale, self.rows.len().saturating_mul(input))
    }

    #[inline(always)]
    fn read<'a>(self, row: usize, input: usize, tile: &'a mut [T]) -> &'a [T]
    where
        Self: 'a,
    {
        let rows = self.rows.get(row..).unwrap_or(&[]);
        for (row, to) in rows.iter().zip(tile.rows_mut(input)) {
            unpack(self.scale, self.row(*row, input).unwrap_or(&[]), to);
        }
        let count = rows.len().saturating_mul(input);
        tile.get(..count).unwrap_or(tile)
    }
}
