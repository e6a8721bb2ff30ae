//! The product that the losses and the volume matrix are made of: strips of one operand packed, blocks of the other
//! multiplied with a strip while the result is in the cache. Core keeps it to itself, so its own files are compiled here.

#[expect(dead_code, reason = "of the transposed product nothing is measured")]
#[path = "../../core/src/ops/tile.rs"]
mod kernel;
#[expect(dead_code, reason = "walks that the product does not take")]
#[path = "../../core/src/ops/walk.rs"]
mod walk;

use std::hint::black_box;

use rivergram_core::lanes::{Isa, Kernel};
use rivergram_simd::Level;

use crate::products::Size;
use crate::random::normals;
use crate::timing::Contestant;

/// Vectors of a strip, and rows of a block, as in `gram::strip` of core.
const STRIP: usize = 192;
const BLOCK: usize = 48;

/// A·Bᵀ with B \[n, k\], a block at a time: of each the last takes the place of the one before, as in the losses.
struct Strips<'a> {
    size: Size,
    a: &'a [f32],
    b: &'a [f32],
    panels: &'a mut [f32],
    c: &'a mut [f32],
}

impl Kernel<f32> for Strips<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        let Strips {
            size: Size { k, .. },
            a,
            b,
            panels,
            c,
        } = self;
        for strip in b.chunks(STRIP * k) {
            let width = kernel::padded(strip.len() / k);
            let panels = &mut panels[..k * width];
            kernel::pack_rows(isa, k, strip.chunks_exact(k), panels);
            for rows in a.chunks(BLOCK * k) {
                let c = &mut c[..rows.len() / k * width];
                kernel::add_product(isa, kernel::To::Anything, [k, width], rows, panels, c);
                black_box(c);
            }
        }
    }
}

/// Numbers that the product needs, and where it works.
struct Memory {
    a: Vec<f32>,
    b: Vec<f32>,
    panels: Vec<f32>,
    c: Vec<f32>,
}

impl Memory {
    fn new(Size { m, k, n }: Size) -> Self {
        Self {
            a: normals(m * k, 1),
            b: normals(k * n, 2),
            panels: vec![0.0; STRIP * k],
            c: vec![0.0; BLOCK * STRIP],
        }
    }

    fn multiply(&mut self, level: Level, size: Size) {
        level.run(Strips {
            size,
            a: black_box(&self.a),
            b: black_box(&self.b),
            panels: &mut self.panels,
            c: &mut self.c,
        });
    }
}

/// Our product in strips.
pub(crate) fn ours(level: Level, size: Size) -> Contestant {
    let mut memory = Memory::new(size);
    Contestant::new("ours", move || memory.multiply(level, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_a_strip_is_the_product() {
        let size = Size { m: 5, k: 300, n: 9 };
        let (Size { m, k, n }, width) = (size, kernel::padded(9));
        for level in Level::available() {
            let mut memory = Memory::new(size);
            memory.multiply(level, size);
            for i in 0..m {
                for j in 0..n {
                    let (a, b) = (&memory.a[i * k..][..k], &memory.b[j * k..][..k]);
                    let want: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    let found = memory.c[i * width + j];
                    assert!((found - want).abs() < 1e-3, "{level} {i} {j}");
                }
            }
        }
    }
}
