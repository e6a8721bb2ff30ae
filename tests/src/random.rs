//! A small seeded generator for random cases: SplitMix64 (G. L. Steele et al., OOPSLA 2014).

/// The state.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A standard normal number (Box and Muller, 1958), rounded to `f32`.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        f64::from((radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32)
    }

    /// Rows of normal numbers.
    pub fn normals(&mut self, rows: usize, d: usize) -> Vec<Vec<f64>> {
        (0..rows)
            .map(|_| (0..d).map(|_| self.normal()).collect())
            .collect()
    }
}
