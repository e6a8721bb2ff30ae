//! exp and ln in single precision against double precision, in units of the last place.

use rivergram_core::math::{exp, ln};

/// The distance from |x| to the next larger `f32`; below the normal numbers, the smallest of theirs.
fn ulp(x: f64) -> f64 {
    let exponent = x.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (exponent - 23.0).exp2()
}

/// The largest error over numbers from `low` to `high`, a fixed number of steps of their bits apart.
fn worst(low: f32, high: f32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f32) {
    let mut worst = (0.0, low);
    for bits in (low.to_bits()..=high.to_bits()).step_by(499) {
        let x = f32::from_bits(bits);
        let want = exact(f64::from(x));
        let error = (f64::from(f(x)) - want).abs() / ulp(want);
        assert!(error.is_finite(), "{x:e}");
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn exp_is_within_1_ulp() {
    for (low, high) in [(0.0, 88.72), (-0.0, -87.3), (1e-3, 1.0), (-1e-3, -1.0)] {
        let (error, x) = worst(low, high, exp, f64::exp);
        println!("exp from {low} to {high}: {error:.3} ulp at {x:e}");
        assert!(error <= 1.0, "{error} ulp at {x:e}");
    }
}

#[test]
fn ln_is_within_1_ulp() {
    for (low, high) in [(f32::MIN_POSITIVE, f32::MAX), (0.5, 2.0), (0.99, 1.01)] {
        let (error, x) = worst(low, high, ln, f64::ln);
        println!("ln from {low} to {high}: {error:.3} ulp at {x:e}");
        assert!(error <= 1.0, "{error} ulp at {x:e}");
    }
}

#[test]
fn exp_of_special_values() {
    assert_eq!(exp(0.0f32), 1.0);
    assert_eq!(exp(-0.0f32), 1.0);
    assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(exp(f32::INFINITY), f32::INFINITY);
    assert!(exp(f32::NAN).is_nan());
    assert!(exp(-f32::NAN).is_nan());
    assert_eq!(exp(-87.4f32), 0.0);
    assert_eq!(exp(f32::MIN), 0.0);
    assert_eq!(exp(88.73f32), f32::INFINITY);
    assert_eq!(exp(f32::MAX), f32::INFINITY);
    // The largest result there is, and the first that is none.
    let last = 88.722_83_f32;
    assert!(exp(last).is_finite() && exp(last) > 3.4e38);
    assert_eq!(exp(f32::from_bits(last.to_bits() + 1)), f32::INFINITY);
    let mut before = 0.0;
    for step in -88_000..88_000 {
        let y = exp(step as f32 * 1e-3);
        assert!(y >= before, "exp falls at {step}e-3");
        before = y;
    }
}

#[test]
fn ln_of_special_values() {
    assert_eq!(ln(1.0f32).to_bits(), 0);
    assert_eq!(ln(0.0f32), f32::NEG_INFINITY);
    assert_eq!(ln(-0.0f32), f32::NEG_INFINITY);
    assert_eq!(ln(f32::INFINITY), f32::INFINITY);
    assert!(ln(f32::NAN).is_nan());
    assert!(ln(-1.0f32).is_nan());
    assert!(ln(f32::NEG_INFINITY).is_nan());
    assert!(ln(-f32::MIN_POSITIVE).is_nan());
    // A number below the normal ones counts as 0.
    assert_eq!(ln(f32::MIN_POSITIVE / 2.0), f32::NEG_INFINITY);
    assert!((ln(f32::MIN_POSITIVE) - f32::MIN_POSITIVE.ln()).abs() <= 1e-5);
    assert!((ln(f32::MAX) - f32::MAX.ln()).abs() <= 1e-5);
}
