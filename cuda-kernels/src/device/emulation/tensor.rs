//! What a warp does as one: the products of tensor cores and the loads for them, as the PTX ISA lays them out over the
//! lanes.
//!
//! Of a word's numbers the first one is the lowest bits. With g = lane / 4 and t = lane % 4:
//!
//! ```text
//! A, 16 rows of 8 words     (g, t)   (g + 8, t)   (g, t + 4)   (g + 8, t + 4)
//! B, 8 columns of 8 words   (g, t)   (g, t + 4)
//! C, 16 rows by 8 columns   (g, 2t)   (g, 2t + 1)   (g + 8, 2t)   (g + 8, 2t + 1)
//! ```
//!
//! The words are the same whatever a word holds: one number in TF32, two of 16 bits, four of 8.
//!
//! Source: the PTX ISA, "Matrix fragments for mma.m16n8k8", "… m16n8k16" and "… m16n8k32", and "ldmatrix".

use rivergram_core::optim::rounding::Half;

use crate::device::{Format, WARP};

/// What a lane gives to a product.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fragment {
    pub(super) a: [u32; 4],
    pub(super) b: [u32; 2],
    pub(super) c: [u32; 4],
}

const LANES: usize = WARP as usize;
// Rows of A, columns of B, words of either.
const ROWS: usize = 16;
const COLUMNS: usize = 8;
const WORDS: usize = 8;

/// Where a lane's words of A, and numbers of C, are: row and column.
fn places(lane: usize) -> ([[usize; 2]; 4], [[usize; 2]; 4]) {
    let (g, t) = (lane / 4, lane % 4);
    let a = [[g, t], [g + 8, t], [g, t + 4], [g + 8, t + 4]];
    let c = [
        [g, 2 * t],
        [g, 2 * t + 1],
        [g + 8, 2 * t],
        [g + 8, 2 * t + 1],
    ];
    (a, c)
}

/// A·B + C of a warp. Of floats each product is exact, and the sum is rounded after each; integers wrap around.
pub(super) fn product(format: Format, lanes: &[Fragment; LANES]) -> [[u32; 4]; LANES] {
    match format {
        // The lowest bits take no part.
        Format::Tf32 => multiply(lanes, |word| [f32::from_bits(word & !0x1fff)], add_float),
        Format::F16 => multiply(lanes, |word| halves(Half::F16, word), add_float),
        Format::Bf16 => multiply(lanes, |word| halves(Half::Bf16, word), add_float),
        Format::I8 => multiply(lanes, bytes, |sum, a, b| {
            sum.wrapping_add((a * b).cast_unsigned())
        }),
    }
}

/// A·B + C, given the numbers of a word and how a product is added to a sum.
fn multiply<T: Copy + Default, const N: usize>(
    lanes: &[Fragment; LANES],
    numbers: impl Fn(u32) -> [T; N],
    add: impl Fn(u32, T, T) -> u32,
) -> [[u32; 4]; LANES] {
    let mut a = [[[T::default(); N]; WORDS]; ROWS];
    let mut b = [[[T::default(); N]; WORDS]; COLUMNS];
    for (lane, fragment) in lanes.iter().enumerate() {
        for ([row, word], x) in places(lane).0.into_iter().zip(fragment.a) {
            a[row][word] = numbers(x);
        }
        for (half, x) in fragment.b.into_iter().enumerate() {
            b[lane / 4][lane % 4 + 4 * half] = numbers(x);
        }
    }
    let mut out = [[0; 4]; LANES];
    for (lane, fragment) in lanes.iter().enumerate() {
        let places = places(lane).1.into_iter().zip(fragment.c);
        for (to, ([row, column], c)) in out[lane].iter_mut().zip(places) {
            let factors = a[row].as_flattened().iter().zip(b[column].as_flattened());
            *to = factors.fold(c, |sum, (a, b)| add(sum, *a, *b));
        }
    }
    out
}

fn add_float(sum: u32, a: f32, b: f32) -> u32 {
    // In double precision the product is exact.
    let sum = f64::from(f32::from_bits(sum));
    ((f64::from(a) * f64::from(b) + sum) as f32).to_bits()
}

fn bytes(word: u32) -> [i32; 4] {
    word.to_le_bytes().map(|byte| i32::from(byte as i8))
}

fn halves(format: Half, word: u32) -> [f32; 2] {
    [word as u16, (word >> 16) as u16].map(|bits| format.widen(bits))
}

/// Which lane gives the address of the row of matrix `matrix` that a lane gets a word of.
pub(super) fn row_of(lane: usize, matrix: usize) -> usize {
    8 * matrix + lane / 4
}

/// The nearest number of TF32, of two the one away from zero.
pub(super) fn to_tf32(x: f32) -> u32 {
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    (x.to_bits() + 0x1000) & !0x1fff
}
