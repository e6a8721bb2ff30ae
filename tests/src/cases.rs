//! What the tests of GRAM share: rows and planes of numbers, gradients within a cap, random tuples.

use rivergram_core::lanes::Real;
use rivergram_simd::Level;

use crate::oracle::gram as oracle;
use crate::precision::assert_close;
use crate::random::Random;

/// The levels that a case of a loss runs on: all; where `RIVERGRAM_EMULATED` is set, only that of the
/// vectors. One number at a time is the same code everywhere, and the machine that emulates runs it on every case.
pub fn levels() -> impl Iterator<Item = Level> {
    let is_emulated = is_emulated();
    Level::available().filter(move |level| !is_emulated || *level == Level::detect())
}

/// Whether this machine is emulated by one that runs everything besides its vectors itself.
pub fn is_emulated() -> bool {
    std::env::var_os("RIVERGRAM_EMULATED").is_some()
}

/// Vectors of one length.
pub type Rows = Vec<Vec<f64>>;

/// Rows one after the other.
pub fn flat<T: Real>(rows: &[Vec<f64>]) -> Vec<T> {
    rows.iter().flatten().map(|x| T::constant(*x)).collect()
}

/// Planes of rows one after the other.
pub fn planes<T: Real>(x: &[Rows]) -> Vec<T> {
    x.iter().flat_map(|rows| flat(rows)).collect()
}

/// The length of a vector.
pub fn norm(x: impl IntoIterator<Item = f64>) -> f64 {
    x.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Panics where a gradient is not finite or further than `cap` of its norm from what is wanted.
#[track_caller]
pub fn assert_gradient<T: Real>(
    what: &str,
    got: &[T],
    want: impl IntoIterator<Item = f64>,
    cap: f64,
) {
    let want: Vec<f64> = want.into_iter().collect();
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(
        got.iter().all(|g| g.is_finite()),
        "{what}: the gradient is not finite"
    );
    let error = norm(got.iter().zip(&want).map(|(g, w)| g.to_f64() - w));
    let scale = norm(want.iter().copied());
    assert_close(&format!("{what}: gradient"), error, 0.0, scale, cap);
}

/// The same numbers rounded to `f32`, so that both precisions start from one input.
pub fn singles(mut rows: Rows) -> Rows {
    for x in rows.iter_mut().flatten() {
        *x = f64::from(*x as f32);
    }
    rows
}

/// Vectors around one centre: centre + σ · noise.
pub fn cone(random: &mut Random, k: usize, d: usize, sigma: f64) -> Rows {
    let centre = random.normals(1, d).remove(0);
    let around = |random: &mut Random| centre.iter().map(|c| c + sigma * random.normal()).collect();
    singles((0..k).map(|_| around(random)).collect())
}

/// Vectors far from each other, but for σ · noise in a subspace of one dimension less.
pub fn near_coplanar(random: &mut Random, k: usize, d: usize, sigma: f64) -> Rows {
    let mut rows = random.normals(k - 1, d);
    let mut last: Vec<f64> = (0..d).map(|_| sigma * random.normal()).collect();
    for row in &rows {
        let part = random.normal();
        last.iter_mut().zip(row).for_each(|(l, x)| *l += part * x);
    }
    rows.push(last);
    singles(rows)
}

/// Vectors around two centres, so that whichever is compared with whichever, some are near and some far.
pub fn two_cones(random: &mut Random, k: usize, d: usize, sigma: f64) -> Rows {
    let first = k / 2;
    let mut rows = cone(random, first, d, sigma);
    rows.extend(cone(random, k - first, d, sigma));
    rows
}

/// Each vector times a number of its own between 1/limit and limit, of either sign.
pub fn scaled(random: &mut Random, mut rows: Rows, limit: f64) -> Rows {
    for row in &mut rows {
        let sign = if random.bits() & 1 == 0 { 1.0 } else { -1.0 };
        let scale = sign * limit.powf(2.0 * random.unit() - 1.0);
        row.iter_mut().for_each(|x| *x *= scale);
    }
    singles(rows)
}

/// The same vectors in another order.
pub fn shuffled(random: &mut Random, mut rows: Rows) -> Rows {
    for last in (1..rows.len()).rev() {
        rows.swap(last, random.range(0, last));
    }
    rows
}

/// Π|x|.
pub fn norm_product(rows: &[Vec<f64>]) -> f64 {
    rows.iter().map(|row| norm(row.iter().copied())).product()
}

/// The factor by which a relative change of one vector can grow in the volume, given its gradient:
/// max |x| / (distance of x to the span of the others).
pub fn condition(rows: &[Vec<f64>], volume: f64, gradient: &[Vec<f64>]) -> f64 {
    rows.iter()
        .zip(gradient)
        .map(|(x, g)| norm(x.iter().copied()) * norm(g.iter().copied()) / volume)
        .fold(0.0, f64::max)
}

/// The same for the vectors after each has lost its part along the nearest one before it: what is left of
/// the condition where a cone of vectors does not count.
pub fn condition_of_differences(rows: &[Vec<f64>]) -> f64 {
    let mut differences = rows.to_vec();
    for (p, x) in rows.iter().enumerate().skip(1) {
        let part = |v: &[f64]| oracle::dot(x, v) / oracle::dot(v, v);
        let gain = |v: &[f64]| part(v) * oracle::dot(x, v);
        let nearest = rows[..p]
            .iter()
            .max_by(|a, b| gain(a).total_cmp(&gain(b)))
            .expect("a vector before");
        let step = part(nearest);
        for (z, n) in differences[p].iter_mut().zip(nearest) {
            *z -= step * n;
        }
    }
    let gradient = oracle::volume_gradient(&differences);
    condition(&differences, oracle::volume(&differences), &gradient)
}
