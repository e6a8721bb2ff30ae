//! How a rate falls from P to F: the shapes of a decay.

use crate::error::PlanError;
use crate::lanes::Real;
use crate::lanes::count;

/// The shape of a decay from P to F with progress p = k/D in \[0, 1\]; q = (D−k)/D = 1 − p.
///
/// The right column is the form that is computed: the middle one cancels in single precision.
///
/// | shape | definition | computed |
/// |---|---|---|
/// | `Linear` | F + (P−F)(1−p) | F + (P−F)·q |
/// | `Cosine` | F + (P−F)(1+cos πp)/2 | F + (P−F)·sin²(πq/2) |
/// | `OneMinusSqrt` | F + (P−F)(1−√p) | F + (P−F)·q/(1+√p) |
/// | `OneMinusSquare` | F + (P−F)(1−p²) | F + (P−F)·q(1+p) |
/// | `Polynomial` | F + (P−F)(1−p)ᵃ | F + (P−F)·qᵃ |
/// | `Geometric` | P(F/P)ᵖ, F > 0 | from the nearer end |
/// | `HalfLife` (MiniCPM) | max(F, P·2^(−hp)) | |
/// | `Exponential` (Megatron) | F + (P−F)(2·2⁻ᵖ − 1) | F + (P−F)·expm1(q·ln 2) |
/// | `InverseProportional` (WSD-S) | 1/(p/F + (1−p)/P), F > 0 | P/(q + p·P/F) |
/// | `InverseSqrt` | 1/(p/√F + (1−p)/√P)², F > 0 | P/(q + p·√(P/F))² |
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape<T> {
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
    /// Steep at first: Hägele et al., arXiv 2405.18392.
    OneMinusSqrt,
    /// Steep at the end.
    OneMinusSquare,
    /// A power of what is left of the decay.
    Polynomial {
        /// The exponent a > 0.
        power: T,
    },
    /// A straight line in ln lr.
    Geometric,
    /// So many halvings, cut off at the floor.
    HalfLife {
        /// The halvings h > 0 within one decay.
        half_lives: T,
    },
    /// Megatron-LM's `exponential`.
    Exponential,
    /// A straight line in 1/lr.
    InverseProportional,
    /// A straight line in 1/√lr.
    InverseSqrt,
}

impl<T: Real> Shape<T> {
    /// The rate after `done` of `length` steps of a decay from `from` down to `floor`: `from` at 0, and
    /// from `length` on the floor (for `HalfLife` the rate after all halvings). Never outside
    /// \[floor, from\]; `from` throughout where it lies below the floor. Cost: O(1); relative error below 1e-6 in
    /// `f32` and 1e-12 in `f64` for lengths up to 5000.
    ///
    /// ```
    /// use rivergram_core::schedule::Shape;
    ///
    /// // Half of a decay from 1 to 0.25, straight in the rate and straight in its inverse.
    /// assert_eq!(Shape::Linear.rate(5, 10, 1.0_f64, 0.25), 0.625);
    /// assert_eq!(Shape::InverseProportional.rate(5, 10, 1.0_f64, 0.25), 0.4);
    /// ```
    #[inline(always)]
    pub fn rate(self, done: u64, length: u64, from: T, floor: T) -> T {
        if done == 0 || from <= floor {
            return from;
        }
        let left = length.saturating_sub(done);
        if left == 0 && !matches!(self, Shape::HalfLife { .. }) {
            return floor;
        }
        let length = count::<T>(length.max(done));
        let (p, q) = (count::<T>(done) / length, count::<T>(left) / length);
        let rate = match self {
            Shape::Geometric => geometric(p, q, from, floor),
            Shape::HalfLife { half_lives } => from * T::constant(0.5).powf(p * half_lives),
            Shape::InverseProportional => from / (q + p * (from / floor)),
            Shape::InverseSqrt => {
                let root = q + p * (from / floor).sqrt();
                from / (root * root)
            }
            Shape::Linear => floor + (from - floor) * q,
            Shape::Cosine => {
                let s = q.sin_half_pi();
                floor + (from - floor) * (s * s)
            }
            Shape::OneMinusSqrt => floor + (from - floor) * (q / (T::ONE + p.sqrt())),
            Shape::OneMinusSquare => floor + (from - floor) * (q * (T::ONE + p)),
            Shape::Polynomial { power } => floor + (from - floor) * q.powf(power),
            Shape::Exponential => {
                let ln2 = T::constant(core::f64::consts::LN_2);
                floor + (from - floor) * (q * ln2).exp_m1()
            }
        };
        rate.max(floor).min(from)
    }

    /// The name in messages and on command lines.
    ///
    /// ```
    /// use rivergram_core::schedule::Shape;
    ///
    /// assert_eq!(Shape::<f32>::OneMinusSqrt.name(), "one-minus-sqrt");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Shape::Linear => "linear",
            Shape::Cosine => "cosine",
            Shape::OneMinusSqrt => "one-minus-sqrt",
            Shape::OneMinusSquare => "one-minus-square",
            Shape::Polynomial { .. } => "polynomial",
            Shape::Geometric => "geometric",
            Shape::HalfLife { .. } => "half-life",
            Shape::Exponential => "exponential",
            Shape::InverseProportional => "inverse-proportional",
            Shape::InverseSqrt => "inverse-sqrt",
        }
    }

    /// The power or the number of half-lives; 0 where there is none.
    pub(super) fn parameter(self) -> T {
        match self {
            Shape::Polynomial { power } => power,
            Shape::HalfLife { half_lives } => half_lives,
            _ => T::ZERO,
        }
    }

    pub(super) fn check(self, floor: T) -> Result<(), PlanError> {
        let shape = self.name();
        match self {
            Shape::Geometric | Shape::InverseProportional | Shape::InverseSqrt
                if floor == T::ZERO =>
            {
                Err(PlanError::FloorZero { shape })
            }
            Shape::Polynomial { power: x } | Shape::HalfLife { half_lives: x }
                if !(x > T::ZERO && x.is_finite()) =>
            {
                let value = x.to_f32();
                Err(PlanError::ShapeParameter { shape, value })
            }
            _ => Ok(()),
        }
    }
}

/// P(F/P)ᵖ = F(P/F)^q: the smaller exponent keeps more digits, and both ends are exact.
#[inline(always)]
fn geometric<T: Real>(p: T, q: T, from: T, floor: T) -> T {
    let (base, ratio, exponent) = if p < q {
        (from, floor / from, p)
    } else {
        (floor, from / floor, q)
    };
    base * ratio.powf(exponent)
}
