//! The compact volume: its golden values and the oracle within 1e-6 and the rounding that its documentation states.

use rivergram_core::gram::{compact, tuple};
use rivergram_tests::cases::{
    Rows, assert_gradient, cone, near_coplanar, norm, norm_product, scaled, shuffled, two_cones,
};
use rivergram_tests::golden;
use rivergram_tests::oracle::gram as oracle;
use rivergram_tests::precision::{
    COMPACT_DEPENDENT, COMPACT_GRADIENT, COMPACT_VOLUME, SINGLE, VOLUME_OF_THREE, assert_close,
};
use rivergram_tests::random::Random;
use serde::Deserialize;

/// Zeros make all vectors as long: they change no volume.
const D: usize = 512;

#[derive(Clone, Copy)]
enum Form {
    Compact,
    Full,
}

/// Volume and gradient.
fn of<const K: usize>(rows: &Rows, form: Form) -> (f32, Vec<f32>) {
    let mut x = [[0.0; D]; K];
    for (x, row) in x.iter_mut().zip(rows) {
        for (x, number) in x.iter_mut().zip(row) {
            *x = *number as f32;
        }
    }
    let mut gradient = [[1.0; D]; K];
    let (alone, volume) = match form {
        Form::Compact => (
            compact::volume(&x),
            compact::volume_gradient(&x, &mut gradient),
        ),
        Form::Full => (tuple::volume(&x), tuple::volume_gradient(&x, &mut gradient)),
    };
    assert_eq!(
        alone.to_bits(),
        volume.to_bits(),
        "with and without the gradient"
    );
    let d = rows[0].len();
    let gradient = gradient.iter().flat_map(|row| row[..d].iter().copied());
    (volume, gradient.collect())
}

fn of_any(rows: &Rows, form: Form) -> (f32, Vec<f32>) {
    match rows.len() {
        1 => of::<1>(rows, form),
        2 => of::<2>(rows, form),
        3 => of::<3>(rows, form),
        4 => of::<4>(rows, form),
        5 => of::<5>(rows, form),
        6 => of::<6>(rows, form),
        7 => of::<7>(rows, form),
        8 => of::<8>(rows, form),
        k => panic!("{k} vectors"),
    }
}

/// |b|·Π|x_p − b|, of which κ = this / V.
fn product_of_differences(rows: &Rows) -> f64 {
    let base = &rows[1.min(rows.len() - 1)];
    let lengths = rows.iter().map(|row| match std::ptr::eq(row, base) {
        true => norm(base.iter().copied()),
        false => norm(row.iter().zip(base).map(|(x, b)| x - b)),
    });
    lengths.product()
}

/// Compares with a volume and its gradient.
fn check(name: &str, rows: &Rows, want: f64, gradient: &Rows) {
    let (volume, got) = of_any(rows, Form::Compact);
    let rounding = f64::from(f32::EPSILON) * product_of_differences(rows);
    let share = match volume == 0.0 {
        true => COMPACT_DEPENDENT,
        false => COMPACT_VOLUME,
    };
    let cap = SINGLE.volume * want + share * rounding;
    assert_close(name, volume.into(), want, 1.0, cap);
    if volume == 0.0 {
        assert!(got.iter().all(|g| *g == 0.0), "{name}: the gradient at 0");
        return;
    }
    // The gradient of a volume without digits is only bounded.
    let cap = SINGLE.tuple_gradient + COMPACT_GRADIENT * rounding / want;
    if cap < 0.1 {
        assert_gradient(name, &got, gradient.iter().flatten().copied(), cap);
    }
    assert!(got.iter().all(|g| g.is_finite()), "{name}");
}

#[derive(Deserialize)]
struct Volumes {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    k: usize,
    d: usize,
    vectors: Vec<Vec<f32>>,
    volume: f64,
}

impl Case {
    fn rows(&self) -> Rows {
        let rows = self.vectors.iter();
        rows.map(|row| row.iter().map(|x| f64::from(*x)).collect())
            .collect()
    }
}

fn file(name: &str) {
    let file: Volumes = golden::read(name);
    // Zeros would give more vectors than dimensions a volume.
    let cases = file
        .cases
        .iter()
        .filter(|case| case.k <= 8 && case.k <= case.d);
    let mut checked = 0;
    for case in cases {
        let rows = case.rows();
        check(
            &case.name,
            &rows,
            case.volume,
            &oracle::volume_gradient(&rows),
        );
        checked += 1;
    }
    assert!(checked >= 3, "{name} has cases");
}

#[test]
fn golden_compact_volume_small() {
    file("gram/volume_small.json");
}

#[test]
fn golden_compact_volume_d512() {
    file("gram/volume_d512.json");
}

#[test]
fn golden_compact_edge() {
    file("gram/edge.json");
}

/// In a cone of any width the bound of the other volumes holds.
#[test]
fn golden_compact_volume_aligned() {
    let file: Volumes = golden::read("gram/volume_aligned.json");
    let mut three = 0;
    for case in &file.cases {
        let (volume, _) = of_any(&case.rows(), Form::Compact);
        let cap = match case.k {
            3 => VOLUME_OF_THREE,
            _ => SINGLE.volume,
        };
        assert_close(&case.name, volume.into(), case.volume, case.volume, cap);
        three += usize::from(case.k == 3);
    }
    assert!(three >= 3, "{three} cases of three vectors");
}

#[test]
fn compact_volumes_agree_with_the_oracle() {
    let random = &mut Random::new(41);
    for k in 2..=8 {
        for d in [k, k + 1, 16, 64, 65, 300] {
            for sigma in [1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-6] {
                let cone = cone(random, k, d, sigma);
                let plane = near_coplanar(random, k, d, sigma);
                let lengths = scaled(random, cone.clone(), 3.0);
                let cases = [
                    ("cone", cone),
                    ("plane", shuffled(random, plane)),
                    ("lengths", lengths),
                    ("two cones", two_cones(random, k, d, sigma)),
                ];
                for (name, rows) in cases {
                    let want = oracle::volume(&rows);
                    let name = format!("{name}, k = {k}, d = {d}, σ = {sigma}");
                    check(&name, &rows, want, &oracle::volume_gradient(&rows));
                }
            }
        }
    }
}

/// Where the first pass is kept, both are one algorithm.
#[test]
fn compact_volumes_of_a_cone_are_those_of_tuples() {
    let random = &mut Random::new(42);
    for k in 1..=3 {
        for d in [64, 65, 300] {
            for sigma in [1.0, 1e-3, 1e-5] {
                let rows = cone(random, k, d, sigma);
                let (compact, gradient) = of_any(&rows, Form::Compact);
                let (full, want) = of_any(&rows, Form::Full);
                assert_eq!(
                    compact.to_bits(),
                    full.to_bits(),
                    "k = {k}, d = {d}, σ = {sigma}"
                );
                let want = want.into_iter().map(f64::from);
                assert_gradient("a cone", &gradient, want, SINGLE.tuple_gradient);
            }
        }
    }
}

#[test]
fn dependent_vectors_have_no_compact_volume() {
    let mut gradient = [[1.0; 4]; 3];
    let x = [[1.0, 2.0, 3.0, 4.0], [0.0; 4], [4.0, 3.0, 2.0, 1.0]];
    assert_eq!(compact::volume_gradient(&x, &mut gradient), 0.0);
    assert_eq!(gradient, [[0.0; 4]; 3]);
    for zero in 0..3 {
        let mut x = [
            [1.0, 2.0, 3.0, 4.0],
            [0.0, 1.0, 0.0, 2.0],
            [4.0, 3.0, 2.0, 1.0],
        ];
        x[zero] = [1e-20; 4];
        assert_eq!(compact::volume(&x), 0.0, "vector {zero} is below the range");
    }
    // Equal vectors, multiples, a sum.
    assert_eq!(compact::volume(&[[0.1, 0.7, 0.3]; 2]), 0.0);
    assert_eq!(compact::volume(&[[0.1, 0.7, 0.3], [0.2, 1.4, 0.6]]), 0.0);
    let sum = [[1.0, 5.0, 2.0], [7.0, -3.0, 4.0], [8.0, 2.0, 6.0]];
    let mut gradient = [[1.0; 3]; 3];
    assert_eq!(compact::volume_gradient(&sum, &mut gradient), 0.0);
    assert_eq!(gradient, [[0.0; 3]; 3]);
    // More vectors than dimensions.
    let mut gradient = [[1.0; 2]; 3];
    let x = [[1.0, 2.0], [5.0, 3.0], [0.0, 1.0]];
    assert_eq!(compact::volume_gradient(&x, &mut gradient), 0.0);
    assert_eq!(gradient, [[0.0; 2]; 3]);
    // Sums that are rounded.
    let random = &mut Random::new(43);
    for k in 3..=6 {
        let rows = near_coplanar(random, k, 64, 0.0);
        let (volume, _) = of_any(&rows, Form::Compact);
        let share = f64::from(volume) / norm_product(&rows).max(product_of_differences(&rows));
        let most = COMPACT_DEPENDENT * f64::from(f32::EPSILON);
        assert!(share <= most, "k = {k}: {share:e} of the norms");
    }
}

/// To the ends of the range: nothing but 0 below it, never 0 above.
#[test]
fn compact_volumes_at_the_ends_of_the_range() {
    let unit = [
        [1.0, 0.1, 0.0, 0.2],
        [0.1, 1.0, 0.3, 0.0],
        [0.0, 0.2, 1.0, 0.4],
    ];
    let want = f64::from(compact::volume(&unit));
    for exponent in [-40, -20, 20, 40] {
        let scale = 2_f32.powi(exponent);
        let volume = compact::volume(&unit.map(|row| row.map(|x| x * scale)));
        assert_eq!(f64::from(volume), want * f64::from(scale).powi(3));
    }
    for base in 0..3 {
        let mut x = unit;
        x[base] = x[base].map(|x| x * 1e20);
        let volume = compact::volume(&x);
        assert!(volume.is_nan() || volume == f32::INFINITY, "{volume}");
        // The same with two vectors that need better rows.
        x[(base + 1) % 3] = unit[(base + 2) % 3].map(|x| 2.0 * x + 1e-3);
        let volume = compact::volume(&x);
        assert!(volume.is_nan() || volume == f32::INFINITY, "{volume}");
    }
    let nan = [[f32::NAN, 1.0], [1.0, 2.0]];
    assert!(compact::volume(&nan).is_nan());
}
