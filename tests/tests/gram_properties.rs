//! Volumes and gradients of random tuples: against the naive oracle, and by the properties of a volume.

use rivergram_core::error::GramError;
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{
    Rows, assert_gradient, condition, condition_of_differences, cone, flat, near_coplanar, norm,
    norm_product, scaled, shuffled, singles, two_cones,
};
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{DOUBLE, Precision, SINGLE, SLOPE, assert_close};
use rivergram_tests::random::Random;

const DIMENSIONS: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 64, 100];
const SINGLE_EPSILON: f64 = f32::EPSILON as f64;

fn sizes(rows: &Rows) -> (usize, usize) {
    (rows.len(), rows[0].len())
}

/// The volume and its gradient, with everything that must be overwritten filled with something else.
fn gradient_on<I: Isa>(isa: I, rows: &Rows) -> (f64, Vec<I::Scalar>) {
    let (k, d) = sizes(rows);
    let x: Vec<I::Scalar> = flat(rows);
    let nan = I::Scalar::constant(f64::NAN);
    let mut gradient = vec![nan; k * d];
    let mut workspace = vec![nan; tuple::workspace_len(k, d)];
    let volume =
        tuple::volume_gradient_on(isa, &x, k, d, &mut gradient, &mut workspace).expect("a volume");
    (volume.to_f64(), gradient)
}

fn single(rows: &Rows) -> (f64, Vec<f32>) {
    gradient_on(One::<f32>::new(), rows)
}

fn double(rows: &Rows) -> (f64, Vec<f64>) {
    gradient_on(One::<f64>::new(), rows)
}

/// One tuple of each kind: unrelated, in one or two cones of each width, near-coplanar.
fn tuples(random: &mut Random, k: usize, d: usize) -> Vec<(String, Rows)> {
    let mut cases = vec![("unrelated".to_string(), random.normals(k, d))];
    for sigma in [10.0, 1.0, 0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-5] {
        cases.push((format!("cone σ {sigma}"), cone(random, k, d, sigma)));
        if k > 2 {
            cases.push((
                format!("two cones σ {sigma}"),
                two_cones(random, k, d, sigma),
            ));
        }
    }
    if k > 1 {
        for sigma in [0.1, 1e-2, 1e-3] {
            let rows = near_coplanar(random, k, d, sigma);
            cases.push((format!("near-coplanar σ {sigma}"), rows));
        }
    }
    // Scales within what a product of k norms can hold in single precision.
    let limit = 1000_f64.min(60_f64.exp2().powf(1.0 / k as f64));
    let mixed: Vec<_> = cases
        .iter()
        .map(|(name, rows)| {
            (
                format!("scaled {name}"),
                scaled(random, rows.clone(), limit),
            )
        })
        .collect();
    cases.extend(mixed);
    for (name, rows) in &mut cases {
        *rows = shuffled(random, std::mem::take(rows));
        *name = format!("k {k} d {d} {name}");
    }
    cases
}

/// A tuple with what the oracle says; `None` where it says little or `f32` cannot hold the volume.
fn expected(rows: &Rows) -> Option<(f64, Rows, f64)> {
    let volume = oracle::volume(rows);
    if volume < f64::from(f32::MIN_POSITIVE) {
        return None;
    }
    let gradient = oracle::volume_gradient(rows);
    let condition = condition(rows, volume, &gradient);
    // Beyond that the vectors are dependent but for the rounding of the inputs.
    (condition < 1e7).then_some((volume, gradient, condition))
}

fn check_tuple(name: &str, rows: &Rows) {
    let Some((volume, gradient, condition)) = expected(rows) else {
        return;
    };
    let caps = if rows.len() <= tuple::K_WITHOUT_WORKSPACE {
        (SINGLE.volume, SINGLE.tuple_gradient)
    } else {
        // An orthogonal basis in working precision: condition times ε, where a cone does not count for the
        // volume.
        let differences = condition_of_differences(rows);
        (
            SINGLE.volume.max(2.0 * SINGLE_EPSILON * differences),
            SINGLE.tuple_gradient.max(2.0 * SINGLE_EPSILON * condition),
        )
    };
    let want = || gradient.iter().flatten().copied();
    let (got, g) = single(rows);
    assert_close(&format!("{name}: volume"), got, volume, volume, caps.0);
    assert_gradient(name, &g, want(), caps.1);

    // The oracle itself rounds in double precision.
    let of_oracle = 12.0 * f64::EPSILON * condition;
    let (got, g) = double(rows);
    let cap = DOUBLE.volume.max(of_oracle);
    assert_close(&format!("{name}: f64 volume"), got, volume, volume, cap);
    let cap = DOUBLE.tuple_gradient.max(of_oracle);
    assert_gradient(&format!("{name}: f64"), &g, want(), cap);
}

fn random_tuples(seed: u64, arities: std::ops::RangeInclusive<usize>, rounds: usize) {
    let mut random = Random::new(seed);
    for k in arities {
        for d in DIMENSIONS.into_iter().filter(|d| k <= *d) {
            for _ in 0..rounds {
                for (name, rows) in tuples(&mut random, k, d) {
                    check_tuple(&name, &rows);
                }
            }
        }
        for (name, rows) in tuples(&mut random, k, 512) {
            check_tuple(&name, &rows);
        }
    }
}

#[test]
fn tuples_without_workspace_agree_with_the_oracle() {
    random_tuples(1, 1..=tuple::K_WITHOUT_WORKSPACE, 8);
}

#[test]
fn tuples_with_workspace_agree_with_the_oracle() {
    random_tuples(2, tuple::K_WITHOUT_WORKSPACE + 1..=12, 8);
}

/// A volume and its gradient on any lanes.
struct Gradient<'a>(&'a Rows);

impl Kernel<f32> for Gradient<'_> {
    type Output = (f64, Vec<f32>);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let (k, d) = sizes(self.0);
        let x: Vec<f32> = flat(self.0);
        let mut gradient = vec![f32::NAN; k * d];
        let mut workspace = vec![f32::NAN; tuple::workspace_len(k, d)];
        tuple::volume_gradient_on(isa, &x, k, d, &mut gradient, &mut workspace)
            .map(|volume| (f64::from(volume), gradient))
            .expect("a volume")
    }
}

#[test]
fn every_path_agrees_with_the_oracle() {
    let mut random = Random::new(3);
    for (k, d) in [(1, 3), (2, 17), (3, 64), (4, 100), (5, 9), (8, 33)] {
        for (name, rows) in tuples(&mut random, k, d) {
            let Some((volume, gradient, _)) = expected(&rows) else {
                continue;
            };
            for level in Level::available() {
                let name = format!("{level} {name}");
                let (got, g) = level.run(Gradient(&rows));
                assert_close(&name, got, volume, volume, SINGLE.volume);
                assert_gradient(
                    &name,
                    &g,
                    gradient.iter().flatten().copied(),
                    SINGLE.tuple_gradient,
                );
            }
        }
    }
}

// Dependent vectors.

#[track_caller]
fn assert_zero(what: &str, rows: &Rows) {
    let (volume, gradient) = single(rows);
    assert_eq!(volume, 0.0, "{what}");
    assert!(gradient.iter().all(|g| *g == 0.0), "{what}: gradient");
    let (volume, gradient) = double(rows);
    assert_eq!(volume, 0.0, "{what}: f64");
    assert!(gradient.iter().all(|g| *g == 0.0), "{what}: f64 gradient");
}

/// Vectors of several widths to be made dependent.
fn to_spoil(random: &mut Random) -> impl Iterator<Item = Rows> + '_ {
    (2..=12)
        .flat_map(|k| [12, 17, 64].map(|d| (k, d)))
        .flat_map(|(k, d)| {
            [f64::INFINITY, 0.3, 1e-3].map(|sigma| {
                if sigma.is_finite() {
                    cone(random, k, d, sigma)
                } else {
                    random.normals(k, d)
                }
            })
        })
}

#[test]
fn a_multiple_by_a_power_of_two_spans_no_volume() {
    let mut random = Random::new(4);
    let mut other = Random::new(5);
    for rows in to_spoil(&mut random) {
        for factor in [1.0, -1.0, 2.0, -0.5, 1024.0, 0.0] {
            let mut rows = rows.clone();
            let last = rows.len() - 1;
            rows[last] = rows[0].iter().map(|x| factor * x).collect();
            let rows = shuffled(&mut other, rows);
            assert_zero(&format!("{:?} times {factor}", sizes(&rows)), &rows);
        }
    }
}

#[test]
fn more_vectors_than_dimensions_span_no_volume() {
    let mut random = Random::new(6);
    for d in 1..=11 {
        for k in d + 1..=12 {
            assert_zero(&format!("k {k} d {d}"), &random.normals(k, d));
        }
    }
}

#[test]
fn a_sum_of_others_spans_next_to_no_volume() {
    let mut random = Random::new(7);
    let mut other = Random::new(8);
    for rows in to_spoil(&mut random).filter(|rows| rows.len() > 2) {
        let mut rows = rows;
        let last = rows.len() - 1;
        let (a, b) = (other.normal(), other.normal());
        rows[last] = rows[0]
            .iter()
            .zip(&rows[1])
            .map(|(x, y)| a * x + b * y)
            .collect();
        // What is left is the rounding of the sum.
        let rows = shuffled(&mut other, singles(rows));
        let (volume, gradient) = single(&rows);
        let what = format!("{:?}", sizes(&rows));
        assert_bounded(&what, &rows, volume, &gradient, SINGLE);
        if rows.len() <= tuple::K_WITHOUT_WORKSPACE && volume > 0.0 {
            let (want, product) = (oracle::volume(&rows), norm_product(&rows));
            let digits = (1e-7 * product / want).max(1.0);
            assert_close(&what, volume, want, want, SINGLE.volume * digits);
            let of_oracle = oracle::volume_gradient(&rows);
            let want = of_oracle.into_iter().flatten();
            assert_gradient(&what, &gradient, want, SINGLE.tuple_gradient);
        }
    }
}

/// The volume is next to none, and the gradient does not explode.
#[track_caller]
fn assert_bounded<T: Real>(what: &str, rows: &Rows, volume: f64, gradient: &[T], caps: Precision) {
    assert_close(what, volume, 0.0, norm_product(rows), caps.volume);
    assert_hadamard(what, rows, volume, gradient, caps);
}

#[test]
fn an_exact_sum_of_others_spans_no_volume() {
    let mut random = Random::new(25);
    for k in 3..=12 {
        for round in 0..1000 {
            let d = random.range(k, 40);
            // Few bits and whole factors: the sum is exact.
            let mut rows: Rows = random.normals(k, d);
            for x in rows.iter_mut().flatten() {
                *x = (*x * 256.0).round() / 256.0;
            }
            let mut sum = vec![0.0; d];
            for row in &rows[..random.range(2, 3).min(k - 1)] {
                let factor = random.range(1, 7) as f64 * [1.0, -1.0][random.range(0, 1)];
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += factor * x);
            }
            rows[k - 1] = sum;
            let rows = shuffled(&mut random, rows);
            let what = format!("k {k} d {d} round {round}");
            if k <= tuple::K_WITHOUT_WORKSPACE {
                assert_zero(&what, &rows);
            } else {
                let (volume, gradient) = single(&rows);
                assert_bounded(&what, &rows, volume, &gradient, SINGLE);
                let (volume, gradient) = double(&rows);
                assert_bounded(&what, &rows, volume, &gradient, DOUBLE);
            }
        }
    }
}

// What holds for every volume.

/// Tuples that are not too ill conditioned, with their volume and condition: some of each kind, and thousands
/// drawn at random.
fn fair_tuples(seed: u64) -> Vec<(String, Rows, f64, f64)> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    for (k, d) in [(1, 4), (2, 3), (3, 16), (4, 8), (5, 64), (8, 17), (10, 33)] {
        all.extend(tuples(&mut random, k, d));
    }
    for k in 2..=12 {
        for round in 0..200 {
            let d = random.range(k, 40);
            let sigma = 10_f64.powf(-2.5 * random.unit());
            let mut rows = match round % 4 {
                0 => random.normals(k, d),
                1 => cone(&mut random, k, d, sigma),
                2 if k > 3 => two_cones(&mut random, k, d, sigma),
                _ => near_coplanar(&mut random, k, d, sigma),
            };
            if random.bits() & 1 == 0 {
                rows = scaled(&mut random, rows, 10.0);
            }
            all.push((format!("k {k} d {d} round {round}"), rows));
        }
    }
    let fair: Vec<_> = all
        .into_iter()
        .filter_map(|(name, rows)| {
            let (volume, _, condition) = expected(&rows)?;
            (condition < 1e4).then_some((name, rows, volume, condition))
        })
        .collect();
    assert!(fair.len() > 2000, "{}", fair.len());
    fair
}

/// What rounding a tuple's vectors to `f32`, and the volume itself, may change of the volume.
fn rounding(rows: &Rows, condition: f64) -> f64 {
    let vectors = rows.len() as f64;
    2.0 * SINGLE.volume + vectors * SINGLE_EPSILON * condition
}

/// The same in double precision.
fn rounding_of_double(condition: f64) -> f64 {
    DOUBLE.volume.max(100.0 * f64::EPSILON * condition)
}

#[test]
fn rotation_keeps_the_volume() {
    let mut random = Random::new(10);
    for (name, rows, volume, condition) in fair_tuples(9) {
        let d = rows[0].len();
        // A product of reflections.
        let mut turned = rows.clone();
        for mirror in random.normals(d.min(6), d) {
            let square = oracle::dot(&mirror, &mirror);
            for row in &mut turned {
                let part = 2.0 * oracle::dot(row, &mirror) / square;
                row.iter_mut()
                    .zip(&mirror)
                    .for_each(|(x, m)| *x -= part * m);
            }
        }
        let (got, _) = double(&turned);
        let cap = rounding_of_double(condition);
        assert_close(&format!("f64 {name}"), got, volume, volume, cap);
        let turned = singles(turned);
        let (got, _) = single(&turned);
        assert_close(&name, got, volume, volume, rounding(&rows, condition));
    }
}

#[test]
fn order_and_sign_do_not_matter() {
    let mut random = Random::new(12);
    for (name, rows, volume, condition) in fair_tuples(11) {
        let mut other = shuffled(&mut random, rows.clone());
        for row in &mut other {
            let sign = if random.bits() & 1 == 0 { 1.0 } else { -1.0 };
            row.iter_mut().for_each(|x| *x *= sign);
        }
        let (got, _) = single(&other);
        assert_close(&name, got, volume, volume, rounding(&rows, condition));
        let (got, _) = double(&other);
        let cap = rounding_of_double(condition);
        assert_close(&format!("f64 {name}"), got, volume, volume, cap);
    }
}

#[test]
fn a_multiple_of_one_vector_may_be_added_to_another() {
    let mut random = Random::new(14);
    for (name, rows, volume, _) in fair_tuples(13) {
        let k = rows.len();
        if k == 1 {
            continue;
        }
        let to = random.range(0, k - 1);
        let from = (to + random.range(1, k - 1)) % k;
        let factor = random.normal();
        let mut sheared = rows.clone();
        let added: Vec<f64> = rows[from].iter().map(|x| factor * x).collect();
        sheared[to].iter_mut().zip(added).for_each(|(x, a)| *x += a);
        let condition = condition(&sheared, volume, &oracle::volume_gradient(&sheared));
        let (got, _) = single(&singles(sheared.clone()));
        assert_close(&name, got, volume, volume, rounding(&sheared, condition));
        let (got, _) = double(&sheared);
        let cap = rounding_of_double(condition);
        assert_close(&format!("f64 {name}"), got, volume, volume, cap);
    }
}

#[test]
fn the_volume_scales_with_every_vector() {
    let mut random = Random::new(16);
    for (name, rows, volume, condition) in fair_tuples(15) {
        let (before, gradient) = single(&rows);
        let twice: Rows = rows
            .iter()
            .map(|row| row.iter().map(|x| 2.0 * x).collect())
            .collect();
        let (after, twice_gradient) = single(&twice);
        let factor = 2_f64.powi(rows.len() as i32);
        assert_eq!(after, before * factor, "{name}: all twice as long");
        let exact = gradient
            .iter()
            .zip(&twice_gradient)
            .all(|(g, twice)| f64::from(*twice) == f64::from(*g) * factor / 2.0);
        assert!(exact, "{name}: the gradient of all twice as long");

        let mut one = rows.clone();
        let p = random.range(0, rows.len() - 1);
        one[p].iter_mut().for_each(|x| *x *= -8.0);
        let want = 8.0 * volume;
        let (got, _) = single(&one);
        assert_close(&name, got, want, want, rounding(&rows, condition));
        let (got, _) = double(&one);
        let cap = rounding_of_double(condition);
        assert_close(&format!("f64 {name}"), got, want, want, cap);
    }
}

/// No volume exceeds the product of the norms, nor a row of its gradient that of the other norms.
#[track_caller]
fn assert_hadamard<T: Real>(name: &str, rows: &Rows, volume: f64, gradient: &[T], caps: Precision) {
    let product = norm_product(rows);
    assert!(volume <= product * (1.0 + caps.volume), "{name}");
    for (row, g) in rows.iter().zip(gradient.chunks_exact(rows[0].len())) {
        let length = norm(g.iter().map(|g| g.to_f64()));
        let others = product / norm(row.iter().copied());
        assert!(
            length <= others * (1.0 + caps.tuple_gradient),
            "{name}: {length:e} of {others:e}"
        );
    }
}

#[test]
fn no_volume_exceeds_the_product_of_the_norms() {
    for (name, rows, ..) in fair_tuples(17) {
        let (volume, gradient) = single(&rows);
        assert_hadamard(&name, &rows, volume, &gradient, SINGLE);
        let (volume, gradient) = double(&rows);
        assert_hadamard(&format!("f64 {name}"), &rows, volume, &gradient, DOUBLE);
    }
}

/// A random orthonormal basis of a subspace.
fn subspace(random: &mut Random, dimensions: usize, d: usize) -> Rows {
    let mut basis: Rows = Vec::new();
    for mut row in random.normals(dimensions, d) {
        for _ in 0..2 {
            for q in &basis {
                let part = oracle::dot(q, &row);
                row.iter_mut().zip(q).for_each(|(x, q)| *x -= part * q);
            }
        }
        let length = norm(row.iter().copied());
        basis.push(row.iter().map(|x| x / length).collect());
    }
    basis
}

#[test]
fn projection_onto_a_subspace_never_increases_the_volume() {
    let mut random = Random::new(22);
    for (name, rows, volume, condition) in fair_tuples(21) {
        let (k, d) = sizes(&rows);
        let dimensions = random.range(1, d);
        let basis = subspace(&mut random, dimensions, d);
        let projected: Rows = rows
            .iter()
            .map(|row| {
                let mut sum = vec![0.0; d];
                for q in &basis {
                    let part = oracle::dot(q, row);
                    sum.iter_mut().zip(q).for_each(|(s, q)| *s += part * q);
                }
                sum
            })
            .collect();
        // Rounding leaves each vector within ε of the subspace.
        let rounding = 100.0 * f64::EPSILON * condition;
        let (got, _) = double(&projected);
        assert!(got <= volume * (1.0 + rounding), "{name}: {got} {volume}");
        if dimensions < k {
            assert!(
                got <= volume * rounding,
                "{name}: {got} of {dimensions} dimensions"
            );
        }
        // Without some coordinates: no rounding in single precision either.
        let kept: Vec<usize> = (0..d).filter(|_| random.unit() < 0.8).collect();
        if kept.is_empty() {
            continue;
        }
        let fewer: Rows = rows
            .iter()
            .map(|row| kept.iter().map(|c| row[*c]).collect())
            .collect();
        let (got, _) = single(&fewer);
        let cap = if k <= tuple::K_WITHOUT_WORKSPACE {
            SINGLE.volume
        } else {
            rounding_of_basis(&fewer)
        };
        assert!(got <= volume * (1.0 + cap), "{name}: {got} {volume}");
        let (got, _) = double(&fewer);
        assert!(got <= volume * (1.0 + 1e-10), "{name}: f64 {got} {volume}");
    }
}

/// What an orthogonal basis in working precision may err in the volume, as [`check_tuple`] allows; any volume
/// of vectors that are next to dependent is small enough.
fn rounding_of_basis(rows: &Rows) -> f64 {
    let (k, d) = sizes(rows);
    if k > d || oracle::volume(rows) == 0.0 {
        return 0.0;
    }
    SINGLE
        .volume
        .max(2.0 * SINGLE_EPSILON * condition_of_differences(rows))
}

#[test]
fn the_gradient_is_the_slope_in_any_direction() {
    let mut random = Random::new(24);
    let mut checked = 0;
    for (name, rows, volume, condition) in fair_tuples(23) {
        if condition > 100.0 {
            continue;
        }
        checked += 1;
        let (k, d) = sizes(&rows);
        let (_, gradient) = double(&rows);
        let direction = random.normals(k, d);
        let length = norm(direction.concat());
        let steepest = norm(gradient.iter().copied());
        // The volume changes over distances of volume/steepest, whatever the lengths of the vectors.
        let step = 1e-5 * volume / steepest / length;
        let at = |step: f64| {
            let mut moved = rows.clone();
            for (x, e) in moved.iter_mut().flatten().zip(direction.iter().flatten()) {
                *x += step * e;
            }
            double(&moved).0
        };
        let got = (at(step) - at(-step)) / (2.0 * step);
        let want = oracle::dot(&gradient, &direction.concat());
        assert_close(&name, got, want, steepest * length, SLOPE);
    }
    assert!(checked > 1000, "only {checked} tuples");
}

#[test]
fn the_gradient_is_that_of_central_differences() {
    let mut random = Random::new(18);
    for (k, d) in (1..=12).map(|k| (k, k + 3)) {
        for rows in [random.normals(k, d), cone(&mut random, k, d, 0.3)] {
            let (volume, gradient) = double(&rows);
            let mut differences = Vec::new();
            for (p, c) in (0..k).flat_map(|p| (0..d).map(move |c| (p, c))) {
                let at = |step: f64| {
                    let mut moved = rows.clone();
                    moved[p][c] += step;
                    double(&moved).0
                };
                // The volume is the root of a quadratic in each number: the error is of third order.
                let step = 1e-6 * volume / norm(gradient.iter().copied());
                differences.push((at(step) - at(-step)) / (2.0 * step));
            }
            assert_gradient(&format!("k {k} d {d}"), &gradient, differences, SLOPE);
        }
    }
}

#[test]
fn gradients_stay_finite_to_the_ends_of_the_range() {
    let mut random = Random::new(20);
    for exponent in -45..=38 {
        let scale = 10_f64.powi(exponent);
        for k in 1..=4 {
            let mut rows = random.normals(k, 6);
            for row in &mut rows {
                let length = norm(row.iter().copied());
                row.iter_mut().for_each(|x| *x *= scale / length);
            }
            let rows = singles(rows);
            let x: Vec<f32> = flat(&rows);
            let mut gradient = vec![f32::NAN; x.len()];
            let isa = One::<f32>::new();
            let volume = tuple::volume_gradient_on(isa, &x, k, 6, &mut gradient, &mut []);
            let what = format!("k {k} length {scale:e}: {volume:?}");
            // Squares of differences of lengths to 9e18 are in range.
            assert_eq!(volume.is_ok(), exponent < 19, "{what}");
            let Ok(volume) = volume else { continue };
            let product = norm_product(&rows);
            if product < f64::from(f32::MAX) {
                assert!(
                    volume.is_finite() && f64::from(volume) <= 1.001 * product,
                    "{what}"
                );
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{what} {gradient:?}"
                );
            }
            // Rows of the gradient are products of the other norms.
            if exponent >= -18 && scale.powi(k as i32) > 1e-37 && product < 1e38 {
                let want = oracle::volume_gradient(&rows);
                let volume_want = oracle::volume(&rows);
                assert_close(
                    &what,
                    f64::from(volume),
                    volume_want,
                    volume_want,
                    SINGLE.volume,
                );
                assert_gradient(
                    &what,
                    &gradient,
                    want.into_iter().flatten(),
                    SINGLE.tuple_gradient,
                );
            }
        }
    }
}

#[test]
fn fixed_sizes_show_that_a_square_left_the_range() {
    for x in [[[1e30, 0.0], [0.0, 1.0]], [[1e20, 1e20], [1e20, -1e20]]] {
        let mut gradient = [[0.0; 2]; 2];
        assert!(!tuple::volume(&x).is_finite());
        assert!(!tuple::volume_gradient(&x, &mut gradient).is_finite());
    }
}

// The two faces.

fn same_on_both_faces<const K: usize, const D: usize>(random: &mut Random) {
    for (name, rows) in tuples(random, K, D) {
        let x: [[f32; D]; K] = std::array::from_fn(|p| std::array::from_fn(|c| rows[p][c] as f32));
        let (volume, gradient) = single(&rows);
        let mut fixed = [[f32::NAN; D]; K];
        let with_gradient = tuple::volume_gradient(&x, &mut fixed);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(f64::from(tuple::volume(&x)), volume, "{name}");
        assert_eq!(f64::from(with_gradient), volume, "{name}");
        assert_eq!(bits(fixed.as_flattened()), bits(&gradient), "{name}");
    }
}

#[test]
fn fixed_sizes_give_the_same_bits_as_slices() {
    let mut random = Random::new(19);
    same_on_both_faces::<1, 7>(&mut random);
    same_on_both_faces::<2, 2>(&mut random);
    same_on_both_faces::<2, 64>(&mut random);
    same_on_both_faces::<3, 64>(&mut random);
    same_on_both_faces::<4, 33>(&mut random);
    same_on_both_faces::<5, 16>(&mut random);
    same_on_both_faces::<8, 17>(&mut random);
    same_on_both_faces::<3, 2>(&mut random);
}

// Errors.

/// The error of every function of one tuple on the same input.
fn error_of(x: &[f32], k: usize, d: usize, workspace: usize) -> Option<GramError> {
    let isa = One::<f32>::new();
    let mut space = vec![0.0; workspace];
    let mut gradient = vec![0.0; x.len()];
    let error = tuple::volume_on(isa, x, k, d, &mut space).err();
    let others = [
        tuple::volume_gradient_on(isa, x, k, d, &mut gradient, &mut space).err(),
        tuple::determinant_on(isa, x, k, d, &mut space).err(),
        tuple::log_volume_on(isa, x, k, d, &mut space).err(),
    ];
    assert_eq!(others, [error; 3]);
    error
}

#[test]
fn wrong_tuples_are_errors() {
    let x = [1.0; 12];
    assert_eq!(error_of(&x, 3, 4, 0), None);
    let empty = |k, d| Some(GramError::Empty { k, rows: 1, d });
    assert_eq!(error_of(&x, 0, 4, 0), empty(0, 4));
    assert_eq!(error_of(&x, 3, 0, 0), empty(3, 0));
    let size = Some(GramError::BufferSize { need: 8, have: 12 });
    assert_eq!(error_of(&x, 2, 4, 0), size);
    let huge = error_of(&x, usize::MAX, 2, 0);
    let need = usize::MAX;
    assert_eq!(huge, Some(GramError::BufferSize { need, have: 12 }));
    for (at, modality) in [(0, 0), (7, 1), (11, 2)] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = x;
            x[at] = bad;
            let error = Some(GramError::NotFinite { modality, row: 0 });
            assert_eq!(error_of(&x, 3, 4, 0), error);
        }
    }
    let need = tuple::workspace_len(9, 10);
    let have = need - 1;
    let short = Some(GramError::Workspace { need, have });
    assert_eq!(error_of(&[1.0; 90], 9, 10, have), short);
    assert_eq!(error_of(&[1.0; 90], 9, 10, need), None);

    let isa = One::<f32>::new();
    let size = Err(GramError::BufferSize { need: 12, have: 11 });
    let gradient = tuple::volume_gradient_on(isa, &x, 3, 4, &mut [0.0; 11], &mut []);
    assert_eq!(gradient.map(|_| ()), size);
    let size = Err(GramError::BufferSize { need: 9, have: 8 });
    assert_eq!(tuple::gram_matrix_on(isa, &x, 3, 4, &mut [0.0; 8]), size);
}
