//! Little-endian floating point numbers of several widths, read as `f32`.

use half::{bf16, f16};

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    F16,
    Bf16,
    F32,
    F64,
}

impl Storage {
    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The first numbers in `bytes`, as many as `to` has room for and as there are.
    pub(super) fn read_into(self, bytes: &[u8], to: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], to: &mut [f32], read: impl Fn([u8; N]) -> f32) {
            to.iter_mut()
                .zip(words(bytes))
                .for_each(|(to, word)| *to = read(word));
        }
        match self {
            Self::F16 => each(bytes, to, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => each(bytes, to, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => each(bytes, to, f32::from_le_bytes),
            Self::F64 => each(bytes, to, |b| f64::from_le_bytes(b) as f32),
        }
    }

    /// The numbers in `bytes`; an incomplete last one is left out.
    ///
    /// A number beyond the range of `f32` becomes infinite, which the check of the rows then names.
    pub(super) fn read(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => words(bytes)
                .map(|b| f16::from_le_bytes(b).to_f32())
                .collect(),
            Self::Bf16 => words(bytes)
                .map(|b| bf16::from_le_bytes(b).to_f32())
                .collect(),
            Self::F32 => words(bytes).map(f32::from_le_bytes).collect(),
            Self::F64 => words(bytes).map(|b| f64::from_le_bytes(b) as f32).collect(),
        }
    }
}

/// The whole words of `N` bytes.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}
