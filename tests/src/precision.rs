//! The precision that every path keeps against the golden files and the oracles: one table for `f32`, one for
//! `f64`, and what is compared in one precision only.

use rivergram_core::lanes::Real;

/// Largest errors allowed.
#[derive(Clone, Copy, Debug)]
pub struct Precision {
    /// Volume: relative; where it is 0, of the product of the norms.
    pub volume: f64,
    /// Gradient of one tuple's volume: of the gradient's norm.
    pub tuple_gradient: f64,
    /// Any loss: of max(|loss|, 1).
    pub loss: f64,
    /// Gradient of a GRAM loss: of the gradient's norm; of its temperature: of max(|dL/dτ|, 1), since the logits
    /// V/τ are rounded themselves.
    pub gram_gradient: f64,
    /// Gradient of an EISL loss: of max(norm, 1e-2).
    pub eisl_gradient: f64,
    /// A learning rate: relative to the rate, or to the peak where the rate is 0.
    pub schedule: f64,
    /// A head: of the largest output, and of the gradient's norm, each times the condition of the head: what
    /// normalising a short output makes of the rounding in the sums before it.
    pub head: f64,
    /// A head of one layer and two inputs, whose sums have three terms and whose condition is near 1.
    pub short_head: f64,
    /// Parameters after hundreds of updates: of the largest; each update rounds once more.
    pub run: f64,
    /// Parameters after one or a few updates: of the largest.
    pub update: f64,
    /// A late AdamW update: relative. In `f64` it is the oracle, exp(t·ln β), that loses digits at a large t.
    pub late_update: f64,
    /// A clipped gradient: of the limit; one quotient and one product are rounded.
    pub clip: f64,
}

/// The gradient of a whole training step in `f64`, of its norm: the errors of the loss go through the heads.
pub const STEP_GRADIENT: f64 = 1e-11;

/// The gradient's norm and the parameters that a step in `f64` reports or leaves, both near 1.
pub const STEP: f64 = 1e-12;

/// What levels may differ in after tens of updates in `f32`, of the norm of the parameters: they add in other
/// orders.
pub const LEVELS: f64 = 1e-6;

/// A parameter that only decays, in `f64`: one product is rounded.
pub const DECAY: f64 = 1e-15;

/// A gradient in `f64` against central differences with a step h of 1e-5, of its norm: h² is 1e-10 and ε/h is
/// 2e-11, each times derivatives and values that may be some tens.
pub const CENTRAL_DIFFERENCE: f64 = 1e-8;

/// A slope in `f64` against central differences, of 1 or of the gradient's norm: as [`CENTRAL_DIFFERENCE`], where
/// second and third derivatives may be some thousands.
pub const SLOPE: f64 = 1e-7;

/// The gradient of ln V in `f64` from singular values, of its norm: each quotient adds to what both methods round.
pub const LOG_GRADIENT: f64 = 1e-11;

/// The mean of the least volumes, relative, in `f32`: one rounding.
pub const MEAN: f64 = 1e-7;

/// A hard negative's weight, relative, given the row's largest V/τ: that is rounded twice, so is its least; then a few
/// roundings more.
pub fn weight_cap<T: Real>(largest: f64) -> f64 {
    (8.0 + 4.0 * largest) * T::EPSILON.to_f64()
}

/// A volume of three vectors in a cone of any width, relative, in `f32`.
pub const VOLUME_OF_THREE: f64 = 5e-7;

/// A compact volume besides [`Precision::volume`], of ε·|b|·Π|x_p − b|: the rounding of one word, where vectors are
/// dependent but far apart.
pub const COMPACT_VOLUME: f64 = 1.0;

/// A compact volume that counts as 0, of the same.
pub const COMPACT_DEPENDENT: f64 = 8.0;

/// Its gradient besides [`Precision::tuple_gradient`], of its norm times ε·|b|·Π|x_p − b|/V.
pub const COMPACT_GRADIENT: f64 = 2.0;

/// A volume of k int8 vectors, relative, per (k + 2): the determinant is exact, the root and each scale are rounded once.
pub const INT8_VOLUME: f64 = 6e-8;

/// A distance and a volume of int8 vectors in retrieval, relative: a quotient of two roots, and the scales.
pub const INT8_SCORE: f64 = 1e-6;

/// A sum of cosines of int8 vectors, per vector.
pub const INT8_COSINE: f64 = 4e-7;

/// What quantising moves a normally distributed unit vector of 64 numbers by: the mean of |e|.
pub const INT8_STEP: f64 = 0.0065;

/// `f32`.
pub const SINGLE: Precision = Precision {
    volume: 1e-6,
    tuple_gradient: 1e-5,
    loss: 1e-6,
    gram_gradient: 1e-5,
    eisl_gradient: 5e-6,
    schedule: 1e-6,
    head: 3e-6,
    short_head: 1e-6,
    run: 3e-6,
    update: 1e-6,
    late_update: 1e-6,
    clip: 1e-6,
};

/// `f64`.
pub const DOUBLE: Precision = Precision {
    volume: 1e-12,
    tuple_gradient: 1e-12,
    loss: 1e-12,
    gram_gradient: 1e-12,
    eisl_gradient: 1e-12,
    schedule: 1e-12,
    head: 1e-13,
    short_head: 1e-14,
    run: 1e-12,
    update: 1e-14,
    late_update: 1e-12,
    clip: 1e-15,
};

/// Panics where `got` is further than `cap · scale` from `want`; `what` names the place.
#[track_caller]
pub fn assert_close(what: &str, got: f64, want: f64, scale: f64, cap: f64) {
    let error = (got - want).abs();
    assert!(
        error <= cap * scale,
        "{what}: got {got:e}, want {want:e}: error {:.2e} of the scale {scale:e}, at most {cap:e}",
        error / scale
    );
}
