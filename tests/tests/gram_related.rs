//! Triangles, singular values, matching and log-volumes: against naive oracles, on every path.

use rivergram_core::error::GramError;
use rivergram_core::gram::matching::matching_loss;
use rivergram_core::gram::related::{singular, triangle};
use rivergram_core::gram::tuple;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use rivergram_tests::cases::{
    Rows, assert_gradient, condition, cone, flat, near_coplanar, norm, scaled, shuffled, singles,
    two_cones,
};
use rivergram_tests::oracle::eisl::log_softmax;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::oracle::related::{self as related_oracle, Triple};
use rivergram_tests::precision::{
    CENTRAL_DIFFERENCE, DOUBLE, LOG_GRADIENT, Precision, SINGLE, SLOPE, assert_close,
};
use rivergram_tests::random::Random;

const SINGLE_EPSILON: f64 = f32::EPSILON as f64;

// Singular values.

/// Values and the gradient for some weights.
#[inline(always)]
fn singular_on<I: Isa>(isa: I, rows: &Rows, weights: &[f64]) -> (Vec<f64>, Vec<I::Scalar>) {
    let (k, d) = (rows.len(), rows[0].len());
    let (x, nan) = (flat::<I::Scalar>(rows), I::Scalar::constant(f64::NAN));
    let mut workspace = vec![nan; singular::workspace_len(k, d)];
    let found = singular::Singular::of(isa, &x, k, d, &mut workspace).expect("singular values");
    let weights: Vec<I::Scalar> = weights.iter().map(|c| I::Scalar::constant(*c)).collect();
    let mut gradient = vec![nan; k * d];
    found
        .gradient(isa, &weights, &mut gradient)
        .expect("a gradient");
    (
        found.values().iter().map(|v| v.to_f64()).collect(),
        gradient,
    )
}

struct OnLevel<'a>(&'a Rows, &'a [f64]);

impl Kernel<f32> for OnLevel<'_> {
    type Output = (Vec<f64>, Vec<f32>);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        singular_on(isa, self.0, self.1)
    }
}

/// The values within `cap` of the largest; the gradient for weights σ, which is X itself, and for equal
/// weights, where that is smooth.
fn check_values(what: &str, got: &[f64], want: &[Triple], cap: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(got.is_sorted_by(|a, b| a >= b), "{what}: {got:?}");
    for (got, want_one) in got.iter().zip(want) {
        assert_close(what, *got, want_one.value, want[0].value, cap);
    }
}

fn check_singular(what: &str, rows: &Rows) {
    let want = related_oracle::singular(rows);
    let values: Vec<f64> = want.iter().map(|t| t.value).collect();
    let x = || rows.iter().flatten().copied();
    let (got, gradient) = singular_on(One::<f64>::new(), rows, &values);
    check_values(&format!("{what}: f64"), &got, &want, DOUBLE.volume);
    assert_gradient(
        &format!("{what}: f64"),
        &gradient,
        x(),
        DOUBLE.tuple_gradient,
    );
    for level in Level::available() {
        let what = format!("{level} {what}");
        let (got, gradient) = level.run(OnLevel(rows, &values));
        check_values(&what, &got, &want, SINGLE.volume);
        assert_gradient(&what, &gradient, x(), SINGLE.tuple_gradient);
    }
}

fn kinds(random: &mut Random, k: usize, d: usize) -> Vec<(String, Rows)> {
    let mut cases = vec![("unrelated".to_string(), random.normals(k, d))];
    for sigma in [1.0, 0.1, 1e-2, 1e-3, 1e-5] {
        cases.push((format!("cone {sigma}"), cone(random, k, d, sigma)));
        if k > 2 {
            cases.push((format!("cones {sigma}"), two_cones(random, k, d, sigma)));
        }
        if k > 1 {
            cases.push((
                format!("coplanar {sigma}"),
                near_coplanar(random, k, d, sigma),
            ));
        }
    }
    let mixed: Vec<_> = cases
        .iter()
        .map(|(name, rows)| (format!("scaled {name}"), scaled(random, rows.clone(), 1e4)))
        .collect();
    cases.extend(mixed);
    for (name, rows) in &mut cases {
        *rows = shuffled(random, std::mem::take(rows));
        *name = format!("k {k} d {d} {name}");
    }
    cases
}

#[test]
fn singular_values_agree_with_the_oracle() {
    let mut random = Random::new(101);
    for k in 1..=8 {
        for d in [1, 2, 3, 5, 8, 17, 64] {
            for _ in 0..4 {
                for (what, rows) in kinds(&mut random, k, d) {
                    check_singular(&what, &rows);
                }
            }
        }
        for (what, rows) in kinds(&mut random, k, 512) {
            check_singular(&what, &rows);
        }
    }
}

#[test]
fn small_singular_values_of_a_cone_keep_their_digits() {
    let mut random = Random::new(102);
    let mut worst = 0_f64;
    for k in 2..=8 {
        for sigma in [0.3, 1e-2, 1e-3, 1e-4] {
            for d in [16, 64, 512] {
                for _ in 0..8 {
                    let rows = cone(&mut random, k, d, sigma);
                    let want = related_oracle::singular(&rows);
                    let weights = vec![1.0; k];
                    let (got, _) = singular_on(One::<f32>::new(), &rows, &weights);
                    for (got, want) in got.iter().zip(&want) {
                        let what = format!("k {k} d {d} σ {sigma}");
                        assert_close(&what, *got, want.value, want.value, SINGLE.volume);
                        worst = worst.max((got - want.value).abs() / want.value);
                    }
                }
            }
        }
    }
    println!("worst relative error {worst:.1e}");
}

#[test]
fn dependent_stacks_have_zeros_and_no_nan() {
    let mut random = Random::new(103);
    for k in 2..=8 {
        for d in [1, 2, 3, 7, 16] {
            let rows = random.normals(k, d);
            check_singular("k and d", &rows);
            let weights: Vec<f64> = (1..=k).map(|r| 1.0 / r as f64).collect();
            let mut spoiled = Vec::new();
            for p in 0..k {
                let mut zero = rows.clone();
                zero[p] = vec![0.0; d];
                spoiled.push((1, zero));
                let mut equal = rows.clone();
                equal[p] = rows[(p + 1) % k].iter().map(|x| -2.0 * x).collect();
                spoiled.push((1, equal));
            }
            spoiled.push((k, vec![vec![0.0; d]; k]));
            spoiled.push((k - 1, vec![rows[0].clone(); k]));
            let mut tiny = vec![vec![1e-25; d]; k];
            tiny[0] = rows[0].clone();
            spoiled.push((k - 1, tiny));
            for (lost, rows) in spoiled {
                let what = format!("{k} × {d}, {lost} lost: {rows:?}");
                let want = related_oracle::singular(&rows);
                let (got, gradient) = singular_on(One::<f32>::new(), &rows, &weights);
                check_values(&what, &got, &want, SINGLE.volume);
                let rank = (k - lost).min(d);
                assert!(got[rank..].iter().all(|v| *v == 0.0), "{what}: {got:?}");
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{what}: {gradient:?}"
                );
                let (got, gradient) = singular_on(One::<f64>::new(), &rows, &weights);
                if norm(rows.concat()) == 0.0 {
                    assert!(got.iter().all(|v| *v == 0.0), "{what}");
                }
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{what}: {gradient:?}"
                );
            }
        }
    }
}

#[test]
fn singular_values_stand_any_scale() {
    let mut random = Random::new(104);
    for exponent in -18..=17 {
        let mut rows = random.normals(4, 9);
        rows.iter_mut()
            .flatten()
            .for_each(|x| *x *= 10_f64.powi(exponent));
        check_singular(&format!("1e{exponent}"), &singles(rows));
    }
}

#[test]
fn their_product_is_the_volume_and_their_logarithms_give_its_gradient() {
    let mut random = Random::new(105);
    for k in 1..=8 {
        for d in [8, 33] {
            let rows = random.normals(k, d);
            let mut gradient = vec![0.0; k * d];
            let x: Vec<f64> = flat(&rows);
            let isa = One::<f64>::new();
            let ln = tuple::log_volume_gradient_on(isa, &x, k, d, &mut gradient, &mut [])
                .expect("a volume");
            let weights: Vec<f64> = related_oracle::singular(&rows)
                .iter()
                .map(|triple| 1.0 / triple.value)
                .collect();
            let (values, of_values) = singular_on(isa, &rows, &weights);
            let sum: f64 = values.iter().map(|v| v.ln()).sum();
            assert_close("ln V", sum, ln, ln.abs().max(1.0), 1e-12);
            assert_gradient("d ln V", &of_values, gradient, LOG_GRADIENT);
        }
    }
}

/// Distinct weights: the oracle's combination where the values are apart.
#[test]
fn gradients_of_singular_values_agree_with_the_oracle_and_with_differences() {
    let mut random = Random::new(106);
    for k in 1..=8 {
        for d in [8, 12] {
            let rows = random.normals(k, d);
            let triples = related_oracle::singular(&rows);
            let gap = triples
                .windows(2)
                .map(|pair| pair[0].value - pair[1].value)
                .fold(triples[0].value, f64::min)
                / triples[0].value;
            if gap < 1e-2 {
                continue;
            }
            let temperature = 0.5;
            let values: Vec<f64> = triples.iter().map(|t| t.value).collect();
            let mut weights = vec![0.0; k];
            singular::rank_loss(&values, temperature, &mut weights).expect("a loss");
            let want = related_oracle::combination(&triples, &weights).concat();
            let (_, gradient) = singular_on(One::<f64>::new(), &rows, &weights);
            assert_gradient("f64", &gradient, want.iter().copied(), 1e-12 / gap);
            let (_, single) = singular_on(One::<f32>::new(), &rows, &weights);
            let cap = SINGLE.tuple_gradient.max(8.0 * SINGLE_EPSILON / gap);
            assert_gradient("f32", &single, want, cap);
            let loss = |rows: &Rows| {
                let (values, _) = singular_on(One::<f64>::new(), rows, &weights);
                singular::rank_loss(&values, temperature, &mut vec![0.0; k]).expect("a loss")
            };
            let differences = (0..k * d).map(|at| {
                let moved = |step: f64| {
                    let mut moved = rows.clone();
                    moved[at / d][at % d] += step;
                    loss(&moved)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            });
            let scale = norm(gradient.iter().copied());
            let errors = gradient.iter().zip(differences).map(|(g, d)| g - d);
            let error = norm(errors);
            // The loss is near 0 where one value is far ahead: its rounding is that of 1.
            assert_close(
                "differences",
                error,
                0.0,
                scale.max(0.1),
                10.0 * CENTRAL_DIFFERENCE,
            );
        }
    }
}

#[test]
fn the_rank_loss_is_a_cross_entropy() {
    let mut random = Random::new(107);
    for k in 1..=8 {
        for temperature in [0.05, 0.5, 2.0] {
            let mut values: Vec<f64> = (0..k).map(|_| f64::from(random.unit() as f32)).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            let logits: Vec<f64> = values.iter().map(|v| v / temperature).collect();
            let log_p = log_softmax(&logits);
            let want = log_p
                .iter()
                .zip(0..)
                .map(|(ln, r)| (ln.exp() - if r == 0 { 1.0 } else { 0.0 }) / temperature);
            let want: Vec<f64> = want.collect();
            rank_case::<f64>(&values, temperature, -log_p[0], &want, DOUBLE);
            rank_case::<f32>(&values, temperature, -log_p[0], &want, SINGLE);
        }
    }
    let error = |values: &[f32], temperature: f32, len: usize| {
        singular::rank_loss(values, temperature, &mut vec![0.0; len])
    };
    let most = singular::K_MAX;
    assert_eq!(error(&[], 1.0, 0), Err(GramError::Vectors { k: 0, most }));
    assert_eq!(
        error(&[1.0; 9], 1.0, 9),
        Err(GramError::Vectors { k: 9, most })
    );
    let size = GramError::BufferSize { need: 2, have: 3 };
    assert_eq!(error(&[1.0; 2], 1.0, 3), Err(size));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
        assert_eq!(
            error(&[1.0; 2], bad, 2),
            Err(GramError::Temperature),
            "{bad}"
        );
    }
    let (row, column) = (0, 1);
    let score = Err(GramError::Score { row, column });
    assert_eq!(error(&[1.0, f32::NAN], 1.0, 2), score);
}

fn rank_case<T: Real>(values: &[f64], tau: f64, loss: f64, want: &[f64], cap: Precision) {
    let values: Vec<T> = values.iter().map(|v| T::constant(*v)).collect();
    let mut gradient = vec![T::ZERO; values.len()];
    let got = singular::rank_loss(&values, T::constant(tau), &mut gradient).expect("a loss");
    // Logits to 20 are rounded themselves.
    let scale = loss.max(1.0) * (1.0 + 1.0 / tau);
    assert_close("rank loss", got.to_f64(), loss, scale, cap.loss);
    for (got, want) in gradient.iter().zip(want) {
        assert_close(
            "its gradient",
            got.to_f64(),
            *want,
            1.0 + 1.0 / tau,
            cap.gram_gradient,
        );
    }
}

#[test]
fn wrong_stacks_are_errors() {
    let (isa, x) = (One::<f32>::new(), [1.0_f32; 18]);
    let call = |k: usize, d: usize, x: &[f32], len: usize| {
        let mut space = vec![0.0; len];
        singular::Singular::of(isa, x, k, d, &mut space)
            .map(|found| found.values().to_vec())
            .err()
    };
    let need = singular::workspace_len(3, 6);
    assert_eq!(call(3, 6, &x, need), None);
    let most = singular::K_MAX;
    assert_eq!(call(9, 2, &x, 99), Some(GramError::Vectors { k: 9, most }));
    let (k, rows, d) = (0, 1, 6);
    assert_eq!(call(0, 6, &x, need), Some(GramError::Empty { k, rows, d }));
    let size = GramError::BufferSize { need: 12, have: 18 };
    assert_eq!(call(2, 6, &x, need), Some(size));
    let have = need - 1;
    assert_eq!(
        call(3, 6, &x, have),
        Some(GramError::Workspace { need, have })
    );
    let mut bad = x;
    bad[7] = f32::NAN;
    let (modality, row) = (1, 0);
    let error = GramError::NotFinite { modality, row };
    assert_eq!(call(3, 6, &bad, need), Some(error));

    let mut space = vec![0.0; need];
    let found = singular::Singular::of(isa, &x, 3, 6, &mut space).expect("values");
    let size = |need, have| Err(GramError::BufferSize { need, have });
    assert_eq!(found.gradient(isa, &[1.0; 2], &mut [0.0; 18]), size(3, 2));
    assert_eq!(found.gradient(isa, &[1.0; 3], &mut [0.0; 17]), size(18, 17));
}

// Triangles.

#[inline(always)]
fn area_on<I: Isa>(isa: I, corners: &Rows) -> (f64, Vec<I::Scalar>) {
    let (d, nan) = (corners[0].len(), I::Scalar::constant(f64::NAN));
    let x: Vec<I::Scalar> = flat(corners);
    let mut workspace = vec![nan; triangle::workspace_len(d)];
    let alone = triangle::area_on(isa, &x, d, &mut workspace).expect("an area");
    let mut gradient = vec![nan; 3 * d];
    let area = triangle::area_gradient_on(isa, &x, d, &mut gradient, &mut workspace);
    assert_eq!(area, Ok(alone));
    (alone.to_f64(), gradient)
}

struct Area<'a>(&'a Rows);

impl Kernel<f32> for Area<'_> {
    type Output = (f64, Vec<f32>);
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        area_on(isa, self.0)
    }
}

#[test]
fn areas_agree_with_the_oracle() {
    let mut random = Random::new(108);
    for d in [2, 3, 4, 9, 17, 64, 512] {
        for sigma in [f64::INFINITY, 1.0, 1e-2, 1e-4] {
            for _ in 0..20 {
                let corners = match sigma.is_finite() {
                    true => cone(&mut random, 3, d, sigma),
                    false => random.normals(3, d),
                };
                check_area(&format!("d {d} σ {sigma}"), &corners);
            }
        }
    }
}

fn check_area(what: &str, corners: &Rows) {
    let want = related_oracle::area(corners);
    let sides: Rows = corners[1..]
        .iter()
        .map(|corner| corners[0].iter().zip(corner).map(|(a, c)| a - c).collect())
        .collect();
    let of_sides = oracle::volume_gradient(&sides);
    let condition = condition(&sides, 2.0 * want, &of_sides);
    if condition > 1e6 {
        return;
    }
    let half = |g: &Vec<f64>| g.iter().map(|g| 0.5 * g).collect::<Vec<f64>>();
    let (u, v) = (half(&of_sides[0]), half(&of_sides[1]));
    let of_a = u.iter().zip(&v).map(|(u, v)| u + v);
    let gradient: Vec<f64> = of_a.chain(u.iter().chain(&v).map(|g| -g)).collect();
    let (got, g) = area_on(One::<f64>::new(), corners);
    let cap = DOUBLE.volume.max(12.0 * f64::EPSILON * condition);
    assert_close(what, got, want, want, cap);
    assert_gradient(
        what,
        &g,
        gradient.iter().copied(),
        cap.max(DOUBLE.tuple_gradient),
    );
    for level in Level::available() {
        let what = format!("{level} {what}");
        let (got, g) = level.run(Area(corners));
        let rounding = SINGLE_EPSILON * condition;
        assert_close(&what, got, want, want, SINGLE.volume + rounding);
        assert_gradient(
            &what,
            &g,
            gradient.iter().copied(),
            SINGLE.tuple_gradient + 2.0 * rounding,
        );
    }
}

#[test]
fn flat_triangles_have_no_area_and_no_gradient() {
    let mut random = Random::new(109);
    for d in [1, 2, 5, 16] {
        let rows = random.normals(2, d);
        let middle = rows[0].iter().zip(&rows[1]).map(|(x, y)| 0.5 * (x + y));
        let on_a_line: Rows = vec![rows[0].clone(), middle.collect(), rows[1].clone()];
        for corners in [
            vec![rows[0].clone(), rows[0].clone(), rows[1].clone()],
            vec![rows[0].clone(), rows[1].clone(), rows[1].clone()],
            vec![vec![0.0; d]; 3],
            // Exact: few bits.
            vec![vec![1.0; d], vec![2.0; d], vec![-3.0; d]],
        ] {
            let (area, gradient) = area_on(One::<f32>::new(), &corners);
            assert_eq!(area, 0.0, "{corners:?}");
            assert!(gradient.iter().all(|g| *g == 0.0), "{corners:?}");
        }
        let (area, gradient) = area_on(One::<f32>::new(), &singles(on_a_line));
        assert_close(
            "on a line",
            area,
            0.0,
            norm(rows[0].iter().copied()).max(1.0).powi(2),
            1e-6,
        );
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn fixed_triangles_give_the_same_bits_as_slices() {
    let mut random = Random::new(110);
    for _ in 0..50 {
        let rows = random.normals(3, 7);
        let x: [[f32; 7]; 3] = std::array::from_fn(|p| std::array::from_fn(|c| rows[p][c] as f32));
        let mut fixed = [[f32::NAN; 7]; 3];
        let area = triangle::area_gradient(&x, &mut fixed);
        let (want, gradient) = area_on(One::<f32>::new(), &rows);
        assert_eq!(f64::from(area), want);
        assert_eq!(triangle::area(&x), area);
        assert_eq!(fixed.as_flattened(), gradient);
    }
    let mut gradient = [[f32::NAN; 1]; 3];
    assert_eq!(
        triangle::area_gradient(&[[1.0], [2.0], [4.0]], &mut gradient),
        0.0
    );
    assert_eq!(gradient, [[0.0]; 3]);
}

#[test]
fn the_gradient_of_an_area_is_that_of_central_differences() {
    let mut random = Random::new(111);
    for d in [2, 3, 8] {
        for _ in 0..20 {
            let corners = random.normals(3, d);
            let (area, gradient) = area_on(One::<f64>::new(), &corners);
            let differences: Vec<f64> = (0..3 * d)
                .map(|at| {
                    let moved = |step: f64| {
                        let mut moved = corners.clone();
                        moved[at / d][at % d] += step;
                        area_on(One::<f64>::new(), &moved).0
                    };
                    let step = 1e-6 * area / norm(gradient.iter().copied());
                    (moved(step) - moved(-step)) / (2.0 * step)
                })
                .collect();
            assert_gradient("area", &gradient, differences, SLOPE);
        }
    }
}

#[test]
fn wrong_triangles_are_errors() {
    let isa = One::<f32>::new();
    let call = |x: &[f32], d: usize, gradient: usize, len: usize| {
        let mut space = vec![0.0; len];
        let mut gradient = vec![0.0; gradient];
        let area = triangle::area_on(isa, x, d, &mut space);
        let again = triangle::area_gradient_on(isa, x, d, &mut gradient, &mut space);
        (area.err(), again.err())
    };
    let x = [1.0_f32, 2.0, 3.0, 5.0, 8.0, 13.0];
    assert_eq!(call(&x, 2, 6, 4), (None, None));
    let size = |need, have| Some(GramError::BufferSize { need, have });
    assert_eq!(call(&x, 3, 6, 6), (size(9, 6), size(9, 6)));
    assert_eq!(call(&x, 2, 5, 4), (None, size(6, 5)));
    let (need, have) = (4, 3);
    let short = Some(GramError::Workspace { need, have });
    assert_eq!(call(&x, 2, 6, 3), (short, short));
    let mut bad = x;
    bad[4] = f32::INFINITY;
    let (modality, row) = (2, 0);
    let error = Some(GramError::NotFinite { modality, row });
    assert_eq!(call(&bad, 2, 6, 4), (error, error));
}

// Matching.

#[test]
fn the_matching_loss_agrees_with_the_oracle() {
    let mut random = Random::new(112);
    for (positives, pairs) in [(0, 1), (1, 1), (1, 3), (3, 9), (64, 192), (1000, 3000)] {
        for (size, share) in [(0.1, 1.0), (1.0, 0.6), (10.0, 0.1), (80.0, 1.0), (1.0, 0.0)] {
            let mut logits = random.normals(pairs, 2);
            logits
                .iter_mut()
                .flatten()
                .for_each(|x| *x = f64::from((*x * size) as f32));
            let present: Vec<bool> = (0..pairs).map(|_| random.unit() < share).collect();
            let there = present.iter().filter(|there| **there).count().max(1) as f64;
            let (mut loss, mut gradient) = (0.0, Vec::new());
            for (row, x) in logits.iter_mut().enumerate() {
                if !present[row] {
                    gradient.extend([0.0; 2]);
                    x[row % 2] = f64::NAN;
                    continue;
                }
                let log_p = log_softmax(x);
                let class = usize::from(row < positives);
                loss -= log_p[class] / there;
                let wrong = log_p[1 - class].exp() / there;
                gradient.extend([0, 1].map(|c| if c == class { -wrong } else { wrong }));
            }
            let present = (share < 1.0).then_some(present.as_slice());
            matching_case::<f64>(&logits, positives, present, loss, &gradient, DOUBLE);
            matching_case::<f32>(&logits, positives, present, loss, &gradient, SINGLE);
        }
    }
}

fn matching_case<T: Real>(
    x: &Rows,
    positives: usize,
    present: Option<&[bool]>,
    loss: f64,
    want: &[f64],
    cap: Precision,
) {
    let logits: Vec<T> = flat(x);
    let mut gradient = vec![T::constant(f64::NAN); logits.len()];
    let got = matching_loss(&logits, positives, present, &mut gradient).expect("a loss");
    assert_close("matching", got.to_f64(), loss, loss.max(1.0), cap.loss);
    for (got, _) in gradient.iter().zip(want).filter(|(_, want)| **want == 0.0) {
        assert_eq!(*got, T::ZERO, "an absent pair");
    }
    if norm(want.iter().copied()) < f64::from(f32::MIN_POSITIVE) {
        return;
    }
    assert_gradient(
        "matching",
        &gradient,
        want.iter().copied(),
        cap.gram_gradient,
    );
}

#[test]
fn sure_matches_have_a_gradient_that_is_no_rounding() {
    // p = e⁻³⁰ of the wrong class: p − 1 would leave nothing of it.
    let mut gradient = [0.0_f32; 2];
    let loss = matching_loss(&[-15.0, 15.0], 1, None, &mut gradient).expect("a loss");
    let wrong = (-30_f64).exp();
    assert_eq!(loss, 0.0);
    for (got, want) in gradient.iter().zip([wrong, -wrong]) {
        assert_close("a sure match", f64::from(*got), want, want.abs(), 1e-6);
    }
}

#[test]
fn wrong_matchings_are_errors() {
    let call = |logits: &[f32], positives, len| {
        let mut gradient = vec![7.0; len];
        let result = matching_loss(logits, positives, None, &mut gradient);
        assert!(
            result.is_ok() || gradient.iter().all(|g| *g == 7.0),
            "untouched"
        );
        result.err()
    };
    assert_eq!(call(&[0.0; 6], 3, 6), None);
    let size = |need, have| Some(GramError::BufferSize { need, have });
    assert_eq!(call(&[0.0; 6], 4, 6), size(8, 6));
    assert_eq!(call(&[0.0; 7], 1, 7), size(6, 7));
    assert_eq!(call(&[0.0; 6], 1, 5), size(6, 5));
    let short = matching_loss(&[0.0; 6], 1, Some(&[true; 2]), &mut [0.0; 6]);
    assert_eq!(short.err(), size(3, 2));
    assert!(matches!(call(&[], 0, 0), Some(GramError::Empty { .. })));
    let (row, column) = (1, 1);
    let score = Some(GramError::Score { row, column });
    assert_eq!(call(&[0.0, 0.0, 0.0, f32::NAN], 1, 4), score);
    assert_eq!(call(&[0.0, 0.0, 0.0, f32::INFINITY], 1, 4), score);
}

// Log-volumes.

#[test]
fn log_volumes_have_their_gradient() {
    let mut random = Random::new(113);
    for k in 1..=12 {
        for d in [k, 12, 40] {
            for sigma in [f64::INFINITY, 0.3, 1e-2] {
                let rows = match sigma.is_finite() {
                    true => cone(&mut random, k, d, sigma),
                    false => random.normals(k, d),
                };
                let volume = oracle::volume(&rows);
                let gradient = oracle::volume_gradient(&rows);
                let condition = condition(&rows, volume, &gradient);
                if condition > 1e3 || volume < 1e-30 {
                    continue;
                }
                let want = || gradient.iter().flatten().map(|g| g / volume);
                let isa = One::<f32>::new();
                let x: Vec<f32> = flat(&rows);
                let mut workspace = vec![0.0; tuple::workspace_len(k, d)];
                let mut g = vec![f32::NAN; k * d];
                let ln = tuple::log_volume_gradient_on(isa, &x, k, d, &mut g, &mut workspace)
                    .expect("a volume");
                let what = format!("k {k} d {d} σ {sigma}");
                let scale = volume.ln().abs().max(1.0);
                let rounding = if k > tuple::K_WITHOUT_WORKSPACE {
                    2.0 * SINGLE_EPSILON * condition
                } else {
                    0.0
                };
                let cap = 2.0 * SINGLE.volume + rounding;
                assert_close(&what, f64::from(ln), volume.ln(), scale, cap);
                assert_gradient(&what, &g, want(), SINGLE.tuple_gradient + rounding);
                assert_eq!(Ok(ln), tuple::log_volume_on(isa, &x, k, d, &mut workspace));
            }
        }
    }
}

#[test]
fn log_volumes_of_dependent_vectors_have_no_gradient() {
    let x = [1.0_f32, 2.0, 1.0, 2.0];
    let mut gradient = [7.0; 4];
    let ln = tuple::log_volume_gradient_on(One::new(), &x, 2, 2, &mut gradient, &mut []);
    assert_eq!((ln, gradient), (Ok(f32::NEG_INFINITY), [0.0; 4]));
    let mut fixed = [[7.0; 2]; 2];
    let ln = tuple::log_volume_gradient(&[[1.0, 2.0], [1.0, 2.0]], &mut fixed);
    assert_eq!((ln, fixed), (f32::NEG_INFINITY, [[0.0; 2]; 2]));
    // The shortest vectors that count.
    let length = 1.25e-19_f32;
    let mut fixed = [[7.0; 2]; 2];
    tuple::log_volume_gradient(&[[length, 0.0], [0.0, length]], &mut fixed);
    let want = 1.0 / f64::from(length);
    for p in 0..2 {
        assert_close("short", f64::from(fixed[p][p]), want, want, 1e-6);
    }
}

/// ln V needs no volume that is in range: orthogonal vectors, of which the volume is a product of lengths.
#[test]
fn log_volumes_reach_beyond_the_range_of_volumes() {
    for k in 2..=11 {
        for length in [1e-15_f32, 1e-6, 1.0, 1e5, 1e15] {
            let d = k + 2;
            let mut x = vec![0.0; k * d];
            for p in 0..k {
                x[p * d + p] = length;
            }
            let (mut gradient, mut workspace) = (vec![0.0; k * d], vec![0.0; 20 * (d + k)]);
            let isa = One::<f32>::new();
            let (g, space) = (&mut gradient, &mut workspace);
            let ln = tuple::log_volume_gradient_on(isa, &x, k, d, g, space).expect("ln V");
            let want = k as f64 * f64::from(length).ln();
            assert_close(
                "ln V",
                f64::from(ln),
                want,
                want.abs().max(1.0),
                SINGLE.volume,
            );
            let want = x.iter().map(|x| f64::from(*x) / f64::from(length * length));
            assert_gradient("d ln V", &gradient, want, SINGLE.tuple_gradient);
            assert_eq!(Ok(ln), tuple::log_volume_on(isa, &x, k, d, space));
        }
    }
}

#[test]
fn a_difference_of_logits_beyond_the_range_is_an_error() {
    let error = GramError::Score { row: 1, column: 1 };
    let logits = [0.0, 1.0, 2e38_f32, -2e38];
    assert_eq!(matching_loss(&logits, 1, None, &mut [0.0; 4]), Err(error));
    let absent = Some(&[true, false][..]);
    assert!(matching_loss(&logits, 1, absent, &mut [0.0; 4]).is_ok());
}
