//! What the tests of the contrastive loss share: random batches and options, and what is found against what is
//! wanted.

use rivergram_core::gram::contrastive::{Anchor, GramLoss, GramReport, Term, ZeroRows};
use rivergram_core::lanes::Real;

use crate::cases::{Rows, assert_gradient, cone, norm, singles};
use crate::precision::{Precision, assert_close};
use crate::random::Random;

/// Planes of tuples, each around a centre of its own with noise σ (∞: unrelated vectors), of lengths
/// 0.5 to 1.5.
pub fn batch(random: &mut Random, [k, rows, d]: [usize; 3], sigma: f64) -> Vec<Rows> {
    let mut x = vec![Vec::new(); k];
    for _ in 0..rows {
        let tuple = if sigma.is_finite() {
            cone(random, k, d, sigma)
        } else {
            random.normals(k, d)
        };
        for (plane, row) in x.iter_mut().zip(tuple) {
            let scale = (0.5 + random.unit()) / norm(row.iter().copied());
            plane.push(row.iter().map(|v| v * scale).collect());
        }
    }
    x.into_iter().map(singles).collect()
}

/// Constants at random around a term.
pub fn config(random: &mut Random, term: Term, normalise: bool) -> GramLoss<f64> {
    GramLoss {
        term,
        pairs: [0.0, 0.3][random.range(0, 1)],
        temperature: [0.05, 0.07, 0.25, 1.0][random.range(0, 3)],
        label_smoothing: [0.0, 0.1][random.range(0, 1)],
        normalise,
        zero_rows: ZeroRows::Missing,
    }
}

/// With some vectors absent at random: items of which nothing is there and absent anchors among them.
pub fn presence(random: &mut Random, k: usize, rows: usize) -> Vec<Vec<bool>> {
    let mut flags = |_| (0..rows).map(|_| random.unit() < 0.6).collect();
    (0..k).map(&mut flags).collect()
}

/// What may be contrasted, of k modalities.
pub fn terms(k: usize) -> [Term; 5] {
    [
        Term::Volume(Anchor::One(0)),
        Term::Volume(Anchor::One(k - 1)),
        Term::Volume(Anchor::Each),
        Term::Cosine(Anchor::One(k - 1)),
        Term::Cosine(Anchor::Each),
    ]
}

/// What a path gave for a case.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// The report.
    pub report: GramReport<T>,
    /// All gradients, one after the other.
    pub gradient: Vec<T>,
}

/// What the oracle says.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The loss.
    pub loss: f64,
    /// Its part that is the weighted cosines of all pairs.
    pub pairs: f64,
    /// With respect to τ.
    pub temperature: f64,
    /// All gradients, one after the other.
    pub gradient: Vec<f64>,
}

/// Panics where the report or the gradient is further from the oracle's than its cap.
#[track_caller]
pub fn assert_found<T: Real>(
    what: &str,
    found: &Found<T>,
    want: &Wanted,
    cap: Precision,
    gradient_cap: f64,
) {
    let GramReport {
        loss,
        pairs_loss,
        temperature_gradient,
        ..
    } = found.report;
    let scale = want.loss.abs().max(1.0);
    for (name, got, want) in [("loss", loss, want.loss), ("pairs", pairs_loss, want.pairs)] {
        assert_close(
            &format!("{what}: {name}"),
            got.to_f64(),
            want,
            scale,
            cap.loss,
        );
    }
    assert_close(
        &format!("{what}: dL/dτ"),
        temperature_gradient.to_f64(),
        want.temperature,
        want.temperature.abs().max(1.0),
        cap.gram_gradient,
    );
    let want = want.gradient.iter().copied();
    if norm(want.clone()) < EXP_UNDERFLOW {
        let got = norm(found.gradient.iter().map(|g| g.to_f64()));
        assert!(got <= EXP_UNDERFLOW, "{what}: gradient {got:e}");
    } else {
        assert_gradient(what, &found.gradient, want, gradient_cap);
    }
}

/// Gradients below this come from exponentials that leave the range of `f32`.
const EXP_UNDERFLOW: f64 = 1e-25;

/// How far a gradient in `f32` may turn where vectors are normalised inside: rounding a vector to its unit turns it by
/// up to ε, and the normals of a tuple by ε over the distance, of which some are a quarter of σ.
pub fn turned_by_rounding(normalise: bool, sigma: f64) -> f64 {
    if normalise {
        4.0 * f64::from(f32::EPSILON) / sigma
    } else {
        0.0
    }
}
