//! The functions that the shapes of a decay are made of, in single precision against double.

use rivergram_core::math;

/// The largest relative error of `got` against `want` over `xs`.
fn worst(xs: impl Iterator<Item = f32>, got: fn(f32) -> f32, want: fn(f64) -> f64) -> f64 {
    let mut worst: f64 = 0.0;
    for x in xs {
        let (got, want) = (f64::from(got(x)), want(f64::from(x)));
        assert!(got.is_finite(), "{x}");
        if want != 0.0 {
            worst = worst.max((got / want - 1.0).abs());
        }
    }
    worst
}

/// `n` numbers from `low` to `high`.
fn range(low: f32, high: f32, n: u32) -> impl Iterator<Item = f32> {
    (0..=n).map(move |i| low + (high - low) * (i as f32 / n as f32))
}

/// Numbers from 2⁻³⁰ to 1 at all scales.
fn scales() -> impl Iterator<Item = f32> {
    (0..300_000).map(|i| (-30.0 * f64::from(i) / 3e5).exp2() as f32)
}

#[test]
fn sin_half_pi_to_one_and_a_half_ulps() {
    let sine = |x: f64| (core::f64::consts::FRAC_PI_2 * x).sin();
    let error = worst(scales(), math::sin_half_pi, sine).max(worst(
        range(0.0, 1.0, 1 << 20),
        math::sin_half_pi,
        sine,
    ));
    println!("sin_half_pi: {error:.2e}");
    assert!(error < 1.8e-7, "{error:e}");
    assert_eq!(math::sin_half_pi(1.0_f32), 1.0);
    assert_eq!(math::sin_half_pi(0.0_f32), 0.0);
}

#[test]
fn exp_m1_near_zero_and_beyond() {
    let small = worst(scales(), math::exp_m1, f64::exp_m1);
    let negative = worst(scales().map(|x| -x), math::exp_m1, f64::exp_m1);
    let wide = worst(range(-80.0, 88.0, 1 << 20), math::exp_m1, f64::exp_m1);
    println!("exp_m1: {small:.2e} in (0, 1], {negative:.2e} in [-1, 0), {wide:.2e} in [-80, 88]");
    assert!(small < 2.5e-7 && negative < 2.5e-7 && wide < 2.5e-7);
    assert_eq!(math::exp_m1(0.0_f32), 0.0);
}

#[test]
fn exp2_and_exp2_m1() {
    let power = worst(range(-126.0, 127.0, 1 << 20), math::exp2, f64::exp2);
    let less_one = |x: f64| (x * core::f64::consts::LN_2).exp_m1();
    let small = worst(scales(), math::exp2_m1, less_one);
    let wide = worst(range(-126.0, 127.0, 1 << 20), math::exp2_m1, less_one);
    println!("exp2: {power:.2e}; exp2_m1: {small:.2e} in (0, 1], {wide:.2e} in [-126, 127]");
    assert!(power < 1.8e-7 && small < 2.5e-7 && wide < 2.5e-7);
    assert_eq!([math::exp2(0.0_f32), math::exp2_m1(0.0_f32)], [1.0, 0.0]);
}

#[test]
fn powf_keeps_its_digits() {
    let mut error: f64 = 0.0;
    for y in [
        0.1_f32, 0.5, 0.9, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, -0.5, -2.0,
    ] {
        for i in 1..200_000_u32 {
            let x = (f64::from(i) / 1e5).powi(3) as f32;
            let want = f64::from(x).powf(f64::from(y));
            if (1.3e-38..3e38).contains(&want) {
                error = error.max((f64::from(math::powf(x, y)) / want - 1.0).abs());
            }
        }
    }
    println!("powf: {error:.2e}");
    assert!(error < 4e-7, "{error:e}");
}

#[test]
fn powf_at_the_ends() {
    assert_eq!(math::powf(0.0, 0.0), 1.0);
    assert_eq!(math::powf(0.0, 2.0), 0.0);
    assert_eq!(math::powf(0.0, -2.0), f32::INFINITY);
    assert_eq!(math::powf(1.0, f32::MAX), 1.0);
    assert_eq!(math::powf(0.5, 1e30), 0.0);
    assert_eq!(math::powf(2.0, f32::MAX), f32::INFINITY);
    assert_eq!(math::powf(3.0, 1.0), 3.0);
    assert_eq!(math::powf(0.25, 0.5), 0.5);
}
