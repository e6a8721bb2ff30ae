//! Which row of a gallery does a query match? Products with every row and their softmax, on the fastest
//! lanes of this CPU.
//!
//!     cargo run --release -p rivergram-simd --example similarity

use rivergram_core::lanes::{Isa, Lanes};
use rivergram_core::{lse::LogSum, ops};
use rivergram_simd::{Kernel, Level};

/// The softmax of the products into `probabilities`.
struct Similarity<'a> {
    query: &'a [f32],
    gallery: &'a [f32],
    probabilities: &'a mut [f32],
}

impl Kernel<f32> for Similarity<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) {
        let rows = self.gallery.chunks_exact(self.query.len().max(1));
        for (p, row) in self.probabilities.iter_mut().zip(rows) {
            *p = ops::dot(isa, self.query, row);
        }
        let all = LogSum::of(isa, self.probabilities);
        let (max, ln_sum) = (isa.splat(all.max), isa.splat(all.ln_sum));
        for p in self.probabilities.chunks_mut(I::WIDTH) {
            isa.store(((isa.load(p) - max) - ln_sum).exp(), p);
        }
    }
}

fn main() {
    const LENGTH: usize = 96;
    let gallery: Vec<f32> = (0..10 * LENGTH).map(|i| (i as f32).sin()).collect();
    let query: Vec<f32> = gallery[3 * LENGTH..4 * LENGTH]
        .iter()
        .map(|x| 0.1 * x)
        .collect();
    let mut probabilities = [0.0; 10];
    let level = Level::detect();
    level.run(Similarity {
        query: &query,
        gallery: &gallery,
        probabilities: &mut probabilities,
    });
    println!("on {level}:");
    for (row, p) in probabilities.iter().enumerate() {
        println!("row {row}: {p:.4}");
    }
}
