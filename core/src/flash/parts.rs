//! What is stored: numbers and bytes where they lie, as one row of bytes.

use crate::lanes::Real;

/// A part of what is stored. Its bytes are little endian.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part<'a, T> {
    /// Bytes as they are: a counter, a generator, what `save` of core's types wrote.
    Bytes(&'a [u8]),
    /// Numbers: weights, moments, an average.
    Numbers(&'a [T]),
    /// Numbers in 16 bits.
    Halves(&'a [u16]),
    /// Numbers in 8 bits: samples of a [`Reservoir`](crate::replay::Reservoir).
    Int8(&'a [i8]),
}

/// Where a [`Part`] is to be read back to.
#[derive(Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PartMut<'a, T> {
    /// Bytes.
    Bytes(&'a mut [u8]),
    /// Numbers.
    Numbers(&'a mut [T]),
    /// Numbers in 16 bits.
    Halves(&'a mut [u16]),
    /// Numbers in 8 bits.
    Int8(&'a mut [i8]),
}

impl<T> Part<'_, T> {
    /// How many bytes it has. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::flash::Part;
    ///
    /// assert_eq!(Part::Numbers(&[1.0_f32, 2.0]).bytes(), 8);
    /// ```
    pub fn bytes(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Numbers(numbers) => size_of_val(*numbers),
            Part::Halves(numbers) => size_of_val(*numbers),
            Part::Int8(numbers) => size_of_val(*numbers),
        }
    }
}

impl<T> PartMut<'_, T> {
    /// How many bytes it has. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::flash::PartMut;
    ///
    /// assert_eq!(PartMut::<f32>::Halves(&mut [0; 3]).bytes(), 6);
    /// ```
    pub fn bytes(&self) -> usize {
        match self {
            PartMut::Bytes(bytes) => bytes.len(),
            PartMut::Numbers(numbers) => size_of_val(*numbers),
            PartMut::Halves(numbers) => size_of_val(*numbers),
            PartMut::Int8(numbers) => size_of_val(*numbers),
        }
    }
}

/// Of all parts together.
pub(super) fn length<T>(parts: &[Part<'_, T>]) -> usize {
    let bytes = parts.iter().map(Part::bytes);
    bytes.fold(0, usize::saturating_add)
}

/// Of all parts together.
pub(super) fn length_mut<T>(parts: &[PartMut<'_, T>]) -> usize {
    let bytes = parts.iter().map(PartMut::bytes);
    bytes.fold(0, usize::saturating_add)
}

/// The bytes from `at` on; those beyond the end stay as they are.
pub(super) fn read<T: Real>(parts: &[Part<'_, T>], at: usize, to: &mut [u8]) {
    let mut start = 0_usize;
    for part in parts {
        let end = start.saturating_add(part.bytes());
        let places = (start.max(at)..end.min(at.saturating_add(to.len())))
            .zip(to.get_mut(start.saturating_sub(at)..).unwrap_or_default());
        for (place, to) in places {
            let i = place.wrapping_sub(start);
            *to = match part {
                Part::Bytes(bytes) => bytes.get(i).copied().unwrap_or(0),
                Part::Numbers(numbers) => {
                    let x = numbers.get(i / size_of::<T>().max(1));
                    byte(x.map_or(0, |x| x.to_bits()), i % size_of::<T>().max(1))
                }
                Part::Halves(numbers) => {
                    byte(numbers.get(i / 2).map_or(0, |x| u64::from(*x)), i % 2)
                }
                Part::Int8(numbers) => numbers.get(i).map_or(0, |x| x.cast_unsigned()),
            };
        }
        start = end;
    }
}

/// Puts bytes at `at`.
pub(super) fn write<T: Real>(parts: &mut [PartMut<'_, T>], at: usize, from: &[u8]) {
    let mut start = 0_usize;
    for part in parts {
        let end = start.saturating_add(part.bytes());
        let places = (start.max(at)..end.min(at.saturating_add(from.len())))
            .zip(from.get(start.saturating_sub(at)..).unwrap_or_default());
        for (place, from) in places {
            let i = place.wrapping_sub(start);
            match part {
                PartMut::Bytes(bytes) => {
                    if let Some(to) = bytes.get_mut(i) {
                        *to = *from;
                    }
                }
                PartMut::Numbers(numbers) => {
                    let size = size_of::<T>().max(1);
                    if let Some(to) = numbers.get_mut(i / size) {
                        *to = T::from_bits(with_byte(to.to_bits(), i % size, *from));
                    }
                }
                PartMut::Halves(numbers) => {
                    if let Some(to) = numbers.get_mut(i / 2) {
                        *to = with_byte(u64::from(*to), i % 2, *from) as u16;
                    }
                }
                PartMut::Int8(numbers) => {
                    if let Some(to) = numbers.get_mut(i) {
                        *to = from.cast_signed();
                    }
                }
            }
        }
        start = end;
    }
}

/// A byte of a number, lowest first.
fn byte(bits: u64, index: usize) -> u8 {
    (bits >> (8 * (index as u32 & 7))) as u8
}

/// A number with one byte replaced.
fn with_byte(bits: u64, index: usize, byte: u8) -> u64 {
    let shift = 8 * (index as u32 & 7);
    bits & !(0xff << shift) | u64::from(byte) << shift
}
