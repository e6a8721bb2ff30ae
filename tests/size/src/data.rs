//! Inputs.

include!(concat!(env!("OUT_DIR"), "/aligned.rs"));

/// The golden tuples in cones of every width, with their names.
pub(crate) fn aligned() -> impl Iterator<Item = (&'static str, [[f32; 64]; 3])> {
    ALIGNED_BITS
        .iter()
        .map(|(name, bits)| (*name, bits.map(|row| row.map(f32::from_bits))))
}

/// Numbers in [−½, ½), the same in every run.
pub(crate) struct Numbers(u32);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(12345)
    }

    pub(crate) fn next(&mut self) -> f32 {
        // Numerical Recipes' generator, its upper bits.
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 16_777_216.0 - 0.5
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [f32; N] {
        core::array::from_fn(|_| self.next())
    }

    /// Vectors in a cone: what training makes of matching tuples.
    pub(crate) fn cone<const K: usize, const D: usize>(&mut self, width: f32) -> [[f32; D]; K] {
        let axis = self.array::<D>();
        core::array::from_fn(|_| axis.map(|a| 0.4 * a + width * self.next()))
    }
}
