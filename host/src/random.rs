//! Seeded random numbers without state: each stream is a function of (seed, purpose, index).
//!
//! The key of a ChaCha8 generator is the seed, the purpose and the index, so step t can be drawn without having
//! drawn the steps before it. ChaCha8 is a fixed algorithm and everything built on it here is integer or exactly
//! rounded arithmetic: for one version of this crate the numbers are the same on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What random numbers are drawn for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The rows of a batch; the index is the step.
    Batch = 1,
    /// The digit images of the built-in numbers; the index is the part of the data.
    Image = 2,
    /// Training strips; the index is the strip.
    TrainStrip = 3,
    /// Test strips; the index is the strip.
    TestStrip = 4,
    /// Noise of weak transcriptions; the index is the strip.
    Noise = 5,
    /// Initial weights; the index is the head.
    Weights = 6,
    /// The numbers that are left out of the training.
    Unseen = 7,
    /// When parts of a stream arrive, and when releases are asked for; the index tells the two apart.
    Moment = 8,
    /// Stochastic rounding of the weights; the index is the update.
    Rounding = 9,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

/// The stream of a seed, a purpose and an index.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> Random {
    let mut key = [0; 32];
    let words = [seed, purpose as u64, index];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Random(ChaCha8Rng::from_seed(key))
}

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in 0..n without bias (Lemire, arXiv 1805.10941); 0 where n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let unfair = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= unfair {
                return (product >> 64) as usize;
            }
        }
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.bits() >> 11) as f64 * STEP
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in [−bound, bound): initial weights.
    pub fn symmetric(&mut self, bound: f32) -> f32 {
        ((2.0 * self.unit() - 1.0) * f64::from(bound)) as f32
    }

    /// One of the items; nothing where there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// A random permutation in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A random permutation of 0..n.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// `count` distinct numbers below n (all of them where `count` ≥ n), in O(count) (Floyd's method).
    pub fn distinct(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut seen = std::collections::HashSet::new();
        (n.saturating_sub(count)..n)
            .map(|last| {
                let draw = self.below(last + 1);
                let taken = if seen.insert(draw) { draw } else { last };
                seen.insert(taken);
                taken
            })
            .collect()
    }
}
