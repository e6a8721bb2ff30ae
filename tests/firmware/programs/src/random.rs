//! Random numbers for weights and batches: xorshift, in a word of state.

/// A stream of random numbers.
#[derive(Clone, Copy, Debug)]
pub struct Random(u32);

impl Random {
    /// The stream of a seed.
    pub const fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    /// What is left to draw.
    pub const fn state(&self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// The stream that goes on from a [`Random::state`].
    pub const fn of(state: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(state))
    }

    /// The next 32 bits (Marsaglia, Xorshift RNGs, 2003).
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Uniform in 0..n, but for a bias of n/2³².
    pub fn below(&mut self, n: usize) -> usize {
        let wide = u64::from(self.bits()) * n as u64;
        (wide >> 32) as usize
    }

    /// Uniform in ±bound.
    pub fn symmetric(&mut self, bound: f32) -> f32 {
        let signed = self.bits() as i32;
        signed as f32 * (bound / 2_147_483_648.0)
    }
}
