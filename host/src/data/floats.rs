//! Little-endian floating point numbers of several widths, in rows or in columns, read as rows of `f32`.

use half::{bf16, f16};
use npyz::Order;

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
}

/// An array \[n, dim\] in the bytes of a file: where it begins, and how it lies there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Where the first number begins.
    pub(super) start: usize,
    pub(super) storage: Storage,
    pub(super) order: Order,
    pub(super) n: usize,
    pub(super) dim: usize,
}

impl Layout {
    /// All rows, row-major.
    ///
    /// A number beyond the range of `f32` becomes infinite, which the check of the rows then names.
    pub(super) fn read_all(&self, bytes: &[u8]) -> Vec<f32> {
        let mut rows = vec![0.0; self.n * self.dim];
        self.read(bytes, 0, &mut rows);
        rows
    }

    /// Rows from number `first` on, as many as `to` has room for and as there are.
    pub(super) fn read(&self, bytes: &[u8], first: usize, to: &mut [f32]) {
        let from = |number: usize| {
            let start = self.start + number * self.storage.size();
            bytes.get(start..).unwrap_or(&[])
        };
        if self.order == Order::C {
            self.storage.read_into(from(first * self.dim), to);
            return;
        }
        let mut column = vec![0.0; to.len() / self.dim.max(1)];
        for d in 0..self.dim {
            self.storage
                .read_into(from(d * self.n + first), &mut column);
            let places = to.iter_mut().skip(d).step_by(self.dim);
            places.zip(&column).for_each(|(to, x)| *to = *x);
        }
    }
}

/// The whole words of `N` bytes.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}
