//! The precision that every path keeps against the golden files: one table for `f32`, one for `f64`.

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
}

/// `f32`.
pub const SINGLE: Precision = Precision {
    volume: 1e-6,
    tuple_gradient: 1e-5,
    loss: 1e-6,
    gram_gradient: 1e-5,
    eisl_gradient: 5e-6,
    schedule: 1e-6,
};

/// `f64`.
pub const DOUBLE: Precision = Precision {
    volume: 1e-12,
    tuple_gradient: 1e-12,
    loss: 1e-12,
    gram_gradient: 1e-12,
    eisl_gradient: 1e-12,
    schedule: 1e-12,
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
