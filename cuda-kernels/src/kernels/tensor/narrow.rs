//! Copies of rows in a narrow format.

use rivergram_core::gram::int8::Step;
use rivergram_core::lanes::{Lanes, Real};
use rivergram_core::optim::rounding::Half;

use crate::device::{Format, Global, Shared, Thread, WARP};
use crate::kernels::warp_of_grid;
use crate::lanes::F32;
use crate::rows::Warp;

/// The parameters of [`narrow`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Narrow {
    /// \[rows, d\].
    pub numbers: Global<F32>,
    /// \[rows, words\], with zeros after the numbers of a row.
    pub words: Global<u32>,
    /// What the numbers of a row are counted in, \[rows\]: of integers max|x|/127, else 1.
    pub scales: Global<F32>,
    /// Rows.
    pub rows: u32,
    /// Dimensions.
    pub d: u32,
    /// Words of a row.
    pub row_words: u32,
    /// [`Format`], as a number.
    pub format: u32,
}

/// Rows in a narrow format; a warp per row.
#[inline(always)]
pub fn narrow(thread: Thread<'_>, p: Narrow) {
    let Some(row) = warp_of_grid(thread, p.rows) else {
        return;
    };
    let (warp, d) = (Warp(thread), p.d as usize);
    let numbers = p.numbers.row(row, d);
    let words = p.words.row(row, p.row_words as usize);
    let mut step = Step::ONE;
    if p.format == Format::I8 as u32 {
        let mut most = F32::ZERO;
        for i in warp.own(d) {
            most = most.max(thread.read(numbers, i).abs());
        }
        step = Step::of(warp.maximum(most).0);
    }
    let number = |i: usize| {
        if i < d {
            thread.read(numbers, i)
        } else {
            F32::ZERO
        }
    };
    for i in warp.own(p.row_words as usize) {
        let halves = |half: Half| {
            let [low, high] = [0, 1].map(|part| half.nearest(number(2 * i + part).0));
            u32::from(low) | u32::from(high) << 16
        };
        let word = if p.format == Format::Tf32 as u32 {
            thread.to_tf32(number(i))
        } else if p.format == Format::F16 as u32 {
            halves(Half::F16)
        } else if p.format == Format::Bf16 as u32 {
            halves(Half::Bf16)
        } else {
            u32::from_le_bytes([0, 1, 2, 3].map(|part| step.round(number(4 * i + part).0) as u8))
        };
        thread.write(words, i, word);
    }
    if thread.lane() == 0 {
        thread.write(p.scales, row, F32(step.scale));
    }
}

/// Rows and columns of a tile that [`narrow_transposed`] turns over.
const TILE: u32 = 32;
/// Words of shared memory of [`narrow_transposed`], and its threads.
pub const TRANSPOSED: [u32; 2] = [TILE * (TILE + 1), 256];

/// The columns of a matrix as rows in TF32: \[rows, d\] → \[d, words\], with zeros after the rows. A block for 32 columns and 32 words, down
/// one after the other for each of several matrices that follow each other.
#[inline(always)]
pub fn narrow_transposed(thread: Thread<'_>, p: Narrow) {
    let matrix = thread.block_y() as usize;
    let numbers = p.numbers.row(matrix, (p.rows * p.d) as usize);
    let words = p.words.row(matrix, (p.d * p.row_words) as usize);
    let across = p.row_words.div_ceil(TILE).max(1);
    let (column, row) = (
        thread.block() / across * TILE,
        thread.block() % across * TILE,
    );
    let memory = Shared::<F32>::new(0, TRANSPOSED[0]);
    let (lane, step) = (thread.lane(), thread.threads() / WARP);
    let first = thread.index() / WARP;
    let mut r = first;
    while r < TILE {
        let (i, j) = (row + r, column + lane);
        let number = if i < p.rows && j < p.d {
            thread.read(numbers, (i * p.d + j) as usize)
        } else {
            F32::ZERO
        };
        thread.write_shared(memory, r * (TILE + 1) + lane, number);
        r += step;
    }
    thread.sync_threads();
    let mut c = first;
    while c < TILE {
        let (i, j) = (row + lane, column + c);
        let number = thread.read_shared(memory, lane * (TILE + 1) + c);
        if i < p.row_words && j < p.d {
            thread.write(
                words,
                (j * p.row_words + i) as usize,
                thread.to_tf32(number),
            );
        }
        c += step;
    }
}
