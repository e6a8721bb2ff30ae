//! The sequence loss against golden values, a naive oracle, its own invariants and bad input.

use rivergram_core::lanes::One;
use rivergram_tests::eisl::{Case, Outcome, run};
use rivergram_tests::golden;
use rivergram_tests::oracle::eisl::evaluate;
use rivergram_tests::precision::{DOUBLE, Precision, SINGLE, assert_close};

/// The error of a gradient as a part of its norm, or of 1e-2.
fn gradient_error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut got.iter().zip(want).map(|(a, b)| a - b));
    error / norm(&mut want.iter().copied()).max(1e-2)
}

/// Panics where a case is outside the precision; returns the worst errors of loss and gradient.
fn compare(what: &str, got: &Outcome, want: &Outcome, precision: &Precision) -> (f64, f64) {
    let mut pairs = vec![(got.total, want.total), (got.eisl, want.eisl)];
    assert_eq!(got.ce.is_some(), want.ce.is_some(), "{what}");
    pairs.extend(got.ce.zip(want.ce));
    pairs.extend(
        got.per_order
            .iter()
            .copied()
            .zip(want.per_order.iter().copied()),
    );
    let rows = got.per_row.concat().into_iter().zip(want.per_row.concat());
    pairs.extend(rows);
    let mut worst = 0.0f64;
    for (got, want) in pairs {
        assert_close(what, got, want, want.abs().max(1.0), precision.loss);
        worst = worst.max((got - want).abs() / want.abs().max(1.0));
    }
    let error = gradient_error(&got.gradient, &want.gradient);
    assert!(
        error <= precision.eisl_gradient,
        "{what}: gradient is off by {error:.2e} of its norm"
    );
    (worst, error)
}

const GROUPS: &[(&str, &[&str])] = &[
    ("basic", &["basic", "B1", "V64", "uniform"]),
    ("gumbel", &["gumbel"]),
    ("logprob", &["logprob"]),
    ("lengths", &["t_longer", "t_shorter", "n_eq"]),
    ("weights", &["weights"]),
    ("repeat", &["repeat"]),
    ("pad", &["pad"]),
    ("select", &["detach", "lse", "mean", "max"]),
    ("temperature", &["tau"]),
    ("extremes", &["peaked", "huge", "inf"]),
    ("ce", &["ce"]),
];

fn group_of(file: &str) -> &'static str {
    let is_in = |prefixes: &[&str]| prefixes.iter().any(|p| file.starts_with(p));
    let group = GROUPS.iter().find(|(_, prefixes)| is_in(prefixes));
    group.map_or("rest", |(name, _)| name)
}

fn golden_group(group: &str) {
    for file in golden::names("eisl") {
        if group_of(&file) != group {
            continue;
        }
        let case: Case = golden::read(&format!("eisl/{file}"));
        let want = case
            .expect
            .as_ref()
            .expect("a golden file expects something");
        let double = run(One::<f64>::new(), &case).expect("a valid case");
        let (loss, gradient) = compare(&format!("{file} f64"), &double, want, &DOUBLE);
        println!("{group} {file} f64: loss {loss:.1e}, gradient {gradient:.1e}");
        let single = run(One::<f32>::new(), &case).expect("a valid case");
        let (loss, gradient) = compare(&format!("{file} f32"), &single, want, &SINGLE);
        println!("{group} {file} f32: loss {loss:.1e}, gradient {gradient:.1e}");
        compare(&format!("{file} oracle"), &evaluate(&case), want, &DOUBLE);
    }
}

#[test]
fn golden_basic() {
    golden_group("basic");
}
#[test]
fn golden_gumbel() {
    golden_group("gumbel");
}
#[test]
fn golden_logprob() {
    golden_group("logprob");
}
#[test]
fn golden_lengths() {
    golden_group("lengths");
}
#[test]
fn golden_weights() {
    golden_group("weights");
}
#[test]
fn golden_repeat() {
    golden_group("repeat");
}
#[test]
fn golden_pad() {
    golden_group("pad");
}
#[test]
fn golden_select() {
    golden_group("select");
}
#[test]
fn golden_temperature() {
    golden_group("temperature");
}
#[test]
fn golden_extremes() {
    golden_group("extremes");
}
#[test]
fn golden_ce() {
    golden_group("ce");
}
#[test]
fn golden_rest() {
    golden_group("rest");
}
