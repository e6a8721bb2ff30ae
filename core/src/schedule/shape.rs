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
///
/// Sources: WSD-S, arXiv 2410.05192; MiniCPM, arXiv 2404.06395; others at their shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
        if done >= length {
            return self.end(from, floor);
        }
        let (done, left, length) = parts::<T>(done, length);
        let (p, q) = (|| done / length, || left / length);
        let above = from - floor;
        let rate = match self {
            Shape::Linear => floor + above * q(),
            Shape::OneMinusSquare => floor + above * (q() * (T::ONE + p())),
            Shape::OneMinusSqrt => floor + above * (q() / (T::ONE + p().sqrt())),
            Shape::Cosine => {
                let s = q().sin_half_pi();
                floor + above * (s * s)
            }
            Shape::Exponential => floor + above * q().exp2_m1(),
            Shape::InverseProportional => from / (q() + p() * (from / floor)),
            Shape::InverseSqrt => {
                let root = q() + p() * (from / floor).sqrt();
                from / (root * root)
            }
            Shape::HalfLife { half_lives } => halved(p() * half_lives, from),
            Shape::Polynomial { power } => return polynomial(q(), power, from, floor),
            Shape::Geometric => return geometric(p(), q(), from, floor),
        };
        rate.max(floor).min(from)
    }

    /// The rate after the decay.
    #[cold]
    #[inline(never)]
    fn end(self, from: T, floor: T) -> T {
        match self {
            Shape::HalfLife { half_lives } => halved(half_lives, from).max(floor),
            _ => floor,
        }
    }

    /// The name in messages and on command lines. Cost: O(1).
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

/// P·2⁻ˣ; 0 where that is no normal number for P = 1.
#[inline(always)]
fn halved<T: Real>(x: T, from: T) -> T {
    let most = if size_of::<T>() == 4 { 126.0 } else { 1022.0 };
    if x > T::constant(most) {
        return T::ZERO;
    }
    from * (-x).exp2()
}

/// k, D − k and D of k ≤ D: the difference is one of integers.
#[inline(always)]
fn parts<T: Real>(done: u64, length: u64) -> (T, T, T) {
    match u32::try_from(length) {
        Ok(length) => {
            let done = done as u32;
            let left = length.wrapping_sub(done);
            (T::from_u32(done), T::from_u32(left), T::from_u32(length))
        }
        Err(_) => {
            let left = length.wrapping_sub(done);
            (count(done), count(left), count(length))
        }
    }
}

/// F + (P−F)·qᵃ. A function of its own, as is [`geometric`]: what a power needs is not paid for by the other shapes.
#[inline(never)]
fn polynomial<T: Real>(q: T, power: T, from: T, floor: T) -> T {
    (floor + (from - floor) * q.powf(power))
        .max(floor)
        .min(from)
}

/// P(F/P)ᵖ = F(P/F)^q: the smaller exponent keeps more digits, and both ends are exact.
#[inline(never)]
fn geometric<T: Real>(p: T, q: T, from: T, floor: T) -> T {
    let (base, ratio, exponent) = if p < q {
        (from, floor / from, p)
    } else {
        (floor, from / floor, q)
    };
    (base * ratio.powf(exponent)).max(floor).min(from)
}
