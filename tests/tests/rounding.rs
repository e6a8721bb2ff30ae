//! Weights in 16 bits: against the crate `half`, against an oracle that knows every number of a format, and over all
//! random thresholds.

use half::{bf16, f16};
use rivergram_core::error::OptimError;
use rivergram_core::optim::rounding::Half;
use rivergram_tests::random::Random;

/// Bits of the fraction and the smallest exponent of normal numbers.
fn layout(format: Half) -> (i32, i32) {
    match format {
        Half::F16 => (10, -14),
        Half::Bf16 => (7, -126),
    }
}

/// The number of these bits by the definition of the format.
fn value(format: Half, bits: u16) -> f64 {
    let (fraction, lowest) = layout(format);
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let magnitude = i32::from(bits & 0x7fff);
    let (exponent, part) = (magnitude >> fraction, magnitude & ((1 << fraction) - 1));
    let largest = (1 << (15 - fraction)) - 1;
    let scale = 2.0_f64.powi(exponent.max(1) + lowest - 1 - fraction);
    match (exponent, part) {
        (e, 0) if e == largest => sign * f64::INFINITY,
        (e, _) if e == largest => f64::NAN,
        (0, _) => sign * f64::from(part) * scale,
        _ => sign * f64::from(part + (1 << fraction)) * scale,
    }
}

fn reference_wide(format: Half, bits: u16) -> f32 {
    match format {
        Half::F16 => f16::from_bits(bits).to_f32(),
        Half::Bf16 => bf16::from_bits(bits).to_f32(),
    }
}

fn reference_nearest(format: Half, x: f32) -> u16 {
    match format {
        Half::F16 => f16::from_f32(x).to_bits(),
        Half::Bf16 => bf16::from_f32(x).to_bits(),
    }
}

#[test]
fn every_number_of_a_format_is_widened_exactly() {
    for format in Half::ALL {
        for bits in 0..=u16::MAX {
            let (got, want) = (format.widen(bits), value(format, bits));
            assert_eq!(got.is_nan(), want.is_nan(), "{format:?} {bits:04x}");
            assert!(
                got.is_nan() || f64::from(got) == want,
                "{format:?} {bits:04x}"
            );
            assert_eq!(
                got.is_sign_negative(),
                bits >= 0x8000,
                "{format:?} {bits:04x}"
            );
            let reference = reference_wide(format, bits);
            assert_eq!(got.to_bits(), reference.to_bits(), "{format:?} {bits:04x}");
        }
    }
}

/// Whatever the random bits: they come back as they were; a NaN is made quiet.
#[test]
fn every_number_of_a_format_comes_back() {
    let mut random = Random::new(1);
    for format in Half::ALL {
        for bits in 0..=u16::MAX {
            let x = format.widen(bits);
            let quiet = if x.is_nan() {
                bits | 1 << (layout(format).0 - 1)
            } else {
                bits
            };
            assert_eq!(format.nearest(x), quiet, "{format:?} {bits:04x}");
            for threshold in [0, 1, u32::MAX, random.bits() as u32] {
                assert_eq!(
                    format.stochastic(x, threshold),
                    quiet,
                    "{format:?} {bits:04x}"
                );
            }
        }
    }
}

/// Numbers that are hard to round: around every number of a format, around every middle of two, and random bits.
fn hard(format: Half) -> impl Iterator<Item = f32> {
    let mut random = Random::new(2);
    let near = (0..=u16::MAX).flat_map(move |bits| {
        let x = format.widen(bits).to_bits();
        let middle = match format {
            Half::F16 => x.wrapping_add(1 << 12),
            Half::Bf16 => x.wrapping_add(1 << 15),
        };
        [x, middle]
            .into_iter()
            .flat_map(|x| (-2..=2).map(move |by| x.wrapping_add_signed(by)))
    });
    // Middles of F16 below its normal numbers are 2⁻²⁵ apart.
    let small = (0..4096).flat_map(|n| {
        let x = (n as f32 * 2.0_f32.powi(-25)).to_bits();
        (-2..=2).map(move |by| x.wrapping_add_signed(by))
    });
    let anywhere = (0..200_000).map(move |_| random.bits() as u32);
    near.chain(small).chain(anywhere).map(f32::from_bits)
}

#[test]
fn nearest_agrees_with_another_implementation() {
    for format in Half::ALL {
        for x in hard(format) {
            let (got, want) = (format.nearest(x), reference_nearest(format, x));
            assert_eq!(got, want, "{format:?} {x:e} ({:08x})", x.to_bits());
        }
    }
}

/// Of two neighbours the nearer, by their distances in double precision, which are exact.
#[test]
fn nearest_is_the_nearest() {
    for format in Half::ALL {
        let largest = value(format, format.infinity() - 1);
        for x in hard(format).filter(|x| x.is_finite()) {
            let bits = format.nearest(x);
            let (got, exact) = (value(format, bits), f64::from(x));
            assert_eq!(x.is_sign_negative(), bits >= 0x8000, "{x:e}");
            if got.is_infinite() {
                let half_ulp = (largest - value(format, format.infinity() - 2)) / 2.0;
                assert!(exact.abs() >= largest + half_ulp, "{format:?} {x:e}");
                continue;
            }
            let distance = (got - exact).abs();
            let even = bits & 1 == 0;
            for other in [bits.wrapping_add(1), bits.wrapping_sub(1)] {
                let is_neighbour = other & 0x7fff < format.infinity() && (other ^ bits) < 0x8000;
                if is_neighbour {
                    let farther = (value(format, other) - exact).abs();
                    assert!(
                        distance < farther || distance == farther && even,
                        "{format:?} {x:e}"
                    );
                }
            }
        }
    }
}

/// The number of `random` values out of 2³² for which the result is the farther from 0. They are the smallest ones,
/// which the search relies on and which is checked around the border.
fn ups(format: Half, x: f32, down: u16) -> u64 {
    let is_up = |random: u64| format.stochastic(x, random as u32) != down;
    let (mut low, mut high) = (0, 1_u64 << 32);
    while low < high {
        let middle = (low + high) / 2;
        if is_up(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for random in low.saturating_sub(3)..(low + 3).min(1 << 32) {
        assert_eq!(is_up(random), random < low, "{x:e}");
    }
    low
}

/// The expectation over all 2³² thresholds, exactly: with a and b the neighbours and u of the thresholds going up, it is
/// a + (b − a)·u/2³², and all of that is exact in double precision for the numbers here.
#[test]
fn the_expectation_is_the_number() {
    for format in Half::ALL {
        let largest = value(format, format.infinity() - 1);
        for x in hard(format).step_by(3).filter(|x| x.is_finite()) {
            let exact = f64::from(x);
            if exact.abs() > largest {
                continue;
            }
            let down = format.stochastic(x, u32::MAX);
            let a = value(format, down);
            assert!(a.abs() <= exact.abs() && a.is_sign_negative() == x.is_sign_negative());
            let ups = ups(format, x, down);
            let b = value(format, down + 1);
            let share = ups as f64 / 2.0_f64.powi(32);
            if ups == 0 {
                let cut = format == Half::F16 && exact.abs() < 2.0_f64.powi(-33);
                assert!(a == exact || cut, "{format:?} {x:e}");
                continue;
            }
            assert!(b.abs() > exact.abs(), "{format:?} {x:e}: {a:e} and {b:e}");
            assert_eq!(format.stochastic(x, 0), down + 1);
            let expectation = a + (b - a) * share;
            if format == Half::F16 && exact.abs() < 2.0_f64.powi(-33) {
                let short = exact.abs() - expectation.abs();
                assert!(
                    (0.0..2.0_f64.powi(-56)).contains(&short),
                    "{x:e}: {short:e}"
                );
            } else {
                assert_eq!(expectation, exact, "{format:?} {x:e}");
            }
        }
    }
}

/// The same by going through all thresholds of the 16 or 13 bits that are cut off, one by one.
#[test]
fn the_expectation_is_the_sum_over_all_thresholds() {
    let mut random = Random::new(4);
    for (format, cut) in [(Half::Bf16, 16), (Half::F16, 13)] {
        for _ in 0..40 {
            let x = random.normal() as f32;
            let thresholds = 0..1_u32 << cut;
            let sum: f64 = thresholds
                .map(|threshold| value(format, format.stochastic(x, threshold << (32 - cut))))
                .sum();
            assert_eq!(
                sum / f64::from(1_u32 << cut),
                f64::from(x),
                "{format:?} {x}"
            );
        }
    }
}

/// With random bits: the mean of n results is within 5 standard errors, ½·ulp/√n at most.
#[test]
fn the_mean_of_many_is_near_the_number() {
    const N: usize = 100_000;
    let mut random = Random::new(5);
    for format in Half::ALL {
        for x in [1.0_f32 / 3.0, -0.1, 3.3e-5, 1234.567, 1e-6, -7e-8] {
            let mut bits = || (random.bits() >> 32) as u32;
            let mut stored = vec![0; N];
            assert_eq!(
                format.store_stochastic(&[x; N], &mut bits, &mut stored),
                Ok(())
            );
            let mean = stored.iter().map(|b| value(format, *b)).sum::<f64>() / N as f64;
            let error = (mean - f64::from(x)).abs();
            let standard = 0.5 * f64::from(format.ulp(x)) / (N as f64).sqrt();
            assert!(
                error <= 5.0 * standard,
                "{format:?} {x}: {error:e} of {standard:e}"
            );
            assert!(
                stored.iter().any(|b| *b != stored[0]),
                "both neighbours occur"
            );
        }
    }
}

#[test]
fn overflow_is_not_left_to_chance() {
    for format in Half::ALL {
        let largest = format.widen(format.infinity() - 1);
        let border = largest + format.ulp(largest) / 2.0;
        let below = f32::from_bits(border.to_bits() - 1);
        for random in [0, 1, 1 << 31, u32::MAX] {
            let of = |x| format.stochastic(x, random);
            assert_eq!(of(below), format.infinity() - 1, "{format:?}");
            assert_eq!(of(-below), 0x8000 | (format.infinity() - 1), "{format:?}");
            for x in [border, f32::MAX, f32::INFINITY] {
                assert_eq!(of(x), format.infinity(), "{format:?} {x:e}");
                assert_eq!(of(-x), 0x8000 | format.infinity(), "{format:?} {x:e}");
            }
            let nan = of(-f32::NAN);
            assert!(format.widen(nan).is_nan() && nan >= 0x8000, "{format:?}");
        }
        // A payload only in the bits that are cut off.
        let low = f32::from_bits(0x7f80_0001);
        assert!(format.widen(format.nearest(low)).is_nan(), "{format:?}");
    }
}

#[test]
fn ulp_is_the_distance_to_the_next_number() {
    for format in Half::ALL {
        for bits in 0..format.infinity() - 1 {
            let (x, next) = (value(format, bits), value(format, bits + 1));
            let ulp = f64::from(format.ulp(format.widen(bits)));
            assert_eq!(ulp, next - x, "{format:?} {bits:04x}");
            let negative = f64::from(format.ulp(-format.widen(bits)));
            assert_eq!(negative, ulp, "{format:?} {bits:04x}");
            // Between them as well.
            let between = ((x + next) / 2.0) as f32;
            assert_eq!(f64::from(format.ulp(between)), ulp, "{format:?} {bits:04x}");
        }
        assert_eq!(format.ulp(f32::NEG_INFINITY), f32::INFINITY);
        assert!(format.ulp(f32::NAN).is_nan());
    }
}

/// Below half an ulp away from 0, and below half the distance to the next number towards 0.
#[test]
fn updates_are_lost_below_half_an_ulp() {
    for format in Half::ALL {
        for bits in (1..format.infinity() - 1).step_by(7) {
            for sign in [0, 0x8000] {
                let weight = bits | sign;
                let (w, out, inside) = (
                    value(format, weight),
                    value(format, weight + 1),
                    value(format, weight - 1),
                );
                for (next, scale) in [(out, 0.98), (out, 1.02), (inside, 0.98), (inside, 1.02)] {
                    // Exact in `f32` up to the scale, which is far from a tie.
                    let update = (scale * (w - next) / 2.0) as f32;
                    let exact = f64::from(update) / (w - next);
                    let is_representable = (0.45..0.55).contains(&exact) && exact != 0.5;
                    if is_representable {
                        let lost = format.loses(weight, update);
                        assert_eq!(lost, exact < 0.5, "{format:?} {weight:04x} {update:e}");
                    }
                }
            }
        }
    }
    // The number of the design: 4.9e-4 at 1, in F16.
    let one = Half::F16.nearest(1.0);
    assert!(Half::F16.loses(one, -4.88e-4) && !Half::F16.loses(one, -4.89e-4));
}

#[test]
fn zeros_and_what_is_not_finite_lose_nothing() {
    for format in Half::ALL {
        let tiny = f32::MIN_POSITIVE / 4.0;
        for zero in [0, 0x8000] {
            // Of bf16 the smallest number is below it.
            let is_lost = format == Half::F16;
            assert_eq!(format.loses(zero, tiny), is_lost, "{format:?} {zero:04x}");
            assert_eq!(format.loses(zero, -tiny), is_lost, "{format:?} {zero:04x}");
            assert!(!format.loses(zero, 0.0) && !format.loses(zero, -0.0));
        }
        let one = format.nearest(1.0);
        for update in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
            assert!(!format.loses(one, update), "{format:?} {update}");
        }
        for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let weight = format.nearest(weight);
            assert!(!format.loses(weight, 1e-9), "{format:?} {weight:04x}");
        }
    }
}

#[test]
fn lost_updates_are_counted() {
    let mut random = Random::new(6);
    for format in Half::ALL {
        let weights: Vec<u16> = (0..500)
            .map(|_| format.nearest(random.normal() as f32))
            .collect();
        let gradient: Vec<f32> = (0..500).map(|_| random.normal() as f32).collect();
        let mut counts = Vec::new();
        for lr in [0.0, 1e-42, 1e-6, 1e-4, 1e-2, 1.0] {
            let lost = |(w, g): (&u16, &f32)| {
                lr != 0.0 && *g != 0.0 && {
                    let after = format.widen(*w) - lr * g;
                    reference_nearest(format, after) == *w
                }
            };
            let want = weights
                .iter()
                .zip(&gradient)
                .filter(|pair| lost(*pair))
                .count();
            assert_eq!(
                format.lost_updates(lr, &weights, &gradient),
                Ok(want),
                "{format:?} {lr}"
            );
            counts.push(want);
        }
        assert_eq!(counts[..2], [0, 500]);
        assert!(
            counts[1..].is_sorted_by(|a, b| a >= b) && counts[5] < 20,
            "{counts:?}"
        );
        // A product too small for an `f32` is lost as well; a NaN is not.
        let lost = format.lost_updates(1e-30, &weights[..3], &[1e-30, 0.0, f32::NAN]);
        assert_eq!(lost, Ok(1));
    }
}

#[test]
fn slices_are_their_numbers() {
    let format = Half::F16;
    let numbers: Vec<f32> = Random::new(7)
        .normals(1, 20)
        .concat()
        .iter()
        .map(|x| *x as f32)
        .collect();
    let mut stored = vec![0; 20];
    assert_eq!(format.store_nearest(&numbers, &mut stored), Ok(()));
    assert!(
        stored
            .iter()
            .zip(&numbers)
            .all(|(b, x)| *b == format.nearest(*x))
    );
    let mut wide = vec![0.0; 20];
    assert_eq!(format.load(&stored, &mut wide), Ok(()));
    assert!(
        stored
            .iter()
            .zip(&wide)
            .all(|(b, x)| format.widen(*b) == *x)
    );
    let mut draws = 0..;
    let mut next = || draws.next().unwrap_or(0) << 20;
    assert_eq!(
        format.store_stochastic(&numbers, &mut next, &mut stored),
        Ok(())
    );
    for (at, (b, x)) in (0..).zip(stored.iter().zip(&numbers)) {
        assert_eq!(*b, format.stochastic(*x, at << 20));
    }
    assert_eq!(draws.next(), Some(20), "one draw for each");

    let refused = Err(OptimError::Length { need: 20, have: 19 });
    let kept = stored.clone();
    assert_eq!(format.store_nearest(&numbers, &mut stored[..19]), refused);
    assert_eq!(
        format.store_stochastic(&numbers, || 0, &mut stored[..19]),
        refused
    );
    assert_eq!(stored, kept);
    assert_eq!(format.load(&stored, &mut wide[..19]), refused);
    let counted = format.lost_updates(1.0, &stored, &wide[..19]);
    assert_eq!(counted.map(|_| ()), refused);
    assert_eq!(format.store_nearest(&[], &mut []), Ok(()));
    assert_eq!(format.lost_updates(1.0, &[], &[]), Ok(0));
}

/// Why it is there: 1 − 1000 updates of a tenth of an ulp. Nearest stays at 1; stochastic arrives near the truth.
#[test]
fn stochastic_weights_move_where_nearest_ones_stand_still() {
    let mut random = Random::new(8);
    for format in Half::ALL {
        let update = format.ulp(1.0) / 10.0;
        let start = format.nearest(1.0);
        let (mut nearest, mut stochastic) = (start, [start; 64]);
        for _ in 0..1000 {
            nearest = format.nearest(format.widen(nearest) + update);
            for w in &mut stochastic {
                *w = format.stochastic(format.widen(*w) + update, (random.bits() >> 32) as u32);
            }
        }
        assert_eq!(nearest, start, "{format:?}");
        let moved = stochastic
            .map(|w| value(format, w) - 1.0)
            .iter()
            .sum::<f64>()
            / 64.0;
        let want = 1000.0 * f64::from(update);
        // The standard error of the mean of 64 walks of 1000 draws is 0.3·√1000/√64 = 1.2 ulp.
        let error = (moved - want).abs();
        assert!(
            error <= 6.0 * f64::from(format.ulp(1.0)),
            "{format:?}: {moved} of {want}"
        );
    }
}
