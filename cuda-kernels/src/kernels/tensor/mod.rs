//! Anchors against items on tensor cores, from sm_80 on: a block per tile of 128 anchors and 64 items, two planes of the
//! basis at a time.
//!
//! ```text
//! y = Q·a          d = sqrt(max(|a|² − |y|², 0))          V = vol · d
//! ```
//!
//! The operands are copies of anchors and bases in a narrow [`Format`], made by [`narrow`]; the sums are in `f32`, of
//! eight bits exact integers. Near pairs are computed from the residual in `f32`, as in [`super::pairs`], so what is left
//! of the error stays small: outside of them d ≥ |a|/2, and ΔV ≤ vol·|y|·|Δy|/d. Of unit vectors Δy is at most 2⁻¹⁰ in
//! TF32 and in binary16, and 2⁻⁷ in bf16, and in 512 dimensions far below, since roundings cancel: |ΔV| ≤ 2e-3 and 1e-2.
//!
//! Blocks take tiles in bands of eight rows of tiles, so that those which run at the same time share their anchors and
//! items in the second-level cache.

mod multiply;
mod narrow;
mod pairs;

pub use multiply::{COLUMNS, DEPTH, ROWS, SHARED, THREADS};
pub use narrow::{Narrow, TRANSPOSED, narrow, narrow_transposed};
pub use pairs::{Operands, TensorVolumes, volumes_bf16, volumes_tf32};

pub(crate) use multiply::{Factors, Side, Words, for_each_place};
pub(crate) use pairs::{Tile, next_tile};

use crate::device::Format;

/// How precisely anchors are multiplied with items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In `f32`: the table of precision that every path keeps.
    #[default]
    Exact,
    /// From operands rounded to TF32: volumes of unit vectors within 2e-3, near pairs as exact as ever.
    Tf32,
    /// From operands rounded to bf16: within 1e-2.
    Bf16,
}

impl Precision {
    /// What a GPU of this compute capability does when asked for it: before 8.0 no tensor core has either format, and the
    /// products are exact.
    ///
    /// ```
    /// use rivergram_cuda_kernels::kernels::tensor::Precision;
    ///
    /// assert_eq!(Precision::Bf16.on(9, 0), Precision::Bf16);
    /// assert_eq!(Precision::Bf16.on(7, 5), Precision::Exact);
    /// ```
    #[must_use]
    pub const fn on(self, major: u32, _minor: u32) -> Self {
        if major < 8 { Precision::Exact } else { self }
    }

    /// The operands that [`narrow`] makes for it; none where the products are exact.
    pub const fn format(self) -> Option<Format> {
        match self {
            Precision::Exact => None,
            Precision::Tf32 => Some(Format::Tf32),
            Precision::Bf16 => Some(Format::Bf16),
        }
    }
}

/// Words of a row of `d` numbers: whole steps.
///
/// ```
/// use rivergram_cuda_kernels::device::Format;
/// use rivergram_cuda_kernels::kernels::tensor::row_words;
///
/// assert_eq!([512, 513].map(|d| row_words(Format::Bf16, d)), [256, 272]);
/// ```
pub const fn row_words(format: Format, d: u32) -> u32 {
    d.div_ceil(format.per_word()).next_multiple_of(DEPTH)
}
