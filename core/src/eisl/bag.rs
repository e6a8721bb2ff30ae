//! The distance of bags of n-grams: how far the n-grams that the outputs are expected to hold are from those of
//! the target, wherever they stand.
//!
//! With output positions that are independent of each other, as in non-autoregressive models, and the sums
//! D_n\[j, i\] of log-probabilities along diagonals ([`diagonal`](super::diagonal)):
//!
//! - C(g) = Σ_j exp D_n\[j, i\] for the target n-gram g at place i: its expected number among the K outputs
//! - B(g) = its number among the M n-grams of the target
//! - match = Σ min(C(g), B(g)) over the distinct n-grams of the target
//! - loss = ‖C − B‖₁/(K + M) = 1 − 2·match/(K + M), in \[0, 1\]
//!
//! The distance over all of the V^n n-grams needs those of the target only, since Σ_g C(g) = K. For K = M it is
//! the loss of the source, ‖C − B‖₁/(2·(T−n+1)); K + M is the largest distance for any lengths.
//!
//! Source: "Minimizing the Bag-of-Ngrams Difference for Non-Autoregressive Neural Machine Translation"
//! (arXiv 1911.09320, AAAI 2020).
//!
//! The derivative of min(C, B) by C is 1 below B and 0 from there on. An n-gram with a −100 inside is none. The
//! losses of batches, with padding, references and cross-entropy, are those of [`loss`](super::loss()) with
//! [`Config::bag_of_ngrams`](super::Config::bag_of_ngrams); the functions here are its pieces.
//!
//! ```
//! use rivergram_core::eisl::{self, Batch, Config, Parts, Shape};
//! use rivergram_core::lanes::One;
//!
//! // Both outputs say "1" with probability 1/2; the target has it once: C = 1 of K = M = 2 is matched.
//! let shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 3 };
//! let mut x = [0.0f64, 0.0, f64::NEG_INFINITY, 0.0, 0.0, f64::NEG_INFINITY];
//! let (config, batch) = (Config::bag_of_ngrams(&[(1, 1.0)]), Batch::new(shape, &[1, 2]));
//! let mut workspace = [0.0; 32];
//! let losses = eisl::loss_and_gradient_in_place(
//!     One::<f64>::new(), &config, &batch, &mut x, Parts::none(), &mut workspace,
//! )?;
//! assert!((losses.total - 0.5).abs() < 1e-12);
//! # Ok::<(), rivergram_core::error::EislError>(())
//! ```

use super::config::IGNORE;
use super::select::{Matrix, MatrixMut};
use crate::lanes::{Isa, Lanes, Real};
use crate::ops::Walk;

/// C\[i\] = Σ_j exp D_n\[j, i\] over the first `rows` positions j: the expected number of each n-gram.
///
/// `sums` is `rows` × `counts.len()`, see [`Matrix`]. Cost: one exponential per entry. Source: arXiv
/// 1911.09320, the bag of n-grams of a non-autoregressive model.
///
/// ```
/// use rivergram_core::eisl::{bag, select::Matrix};
/// use rivergram_core::lanes::One;
///
/// let sums = [0.5f64.ln(), 0.25f64.ln(), 0.5f64.ln(), f64::NEG_INFINITY];
/// let mut counts = [0.0; 2];
/// bag::counts(One::<f64>::new(), 2, Matrix { data: &sums, stride: 2 }, &mut counts);
/// assert!((counts[0] - 1.0).abs() < 1e-12 && (counts[1] - 0.25).abs() < 1e-12);
/// ```
#[inline(always)]
pub fn counts<I: Isa>(isa: I, rows: usize, sums: Matrix<'_, I::Scalar>, counts: &mut [I::Scalar]) {
    counts.fill(I::Scalar::ZERO);
    for d in sums.data.pieces(sums.stride).take(rows) {
        for (d, c) in isa.pieces(d).zip(isa.pieces_mut(counts)) {
            let p = isa.load(d).exp();
            isa.store(isa.load(c) + p, c);
        }
    }
}

/// The normalised distance of bags, 1 − 2·match/(K + M), from the expected numbers of n-grams of order `order`
/// at all places of `labels`, which are replaced by its derivatives by them.
///
/// `positions` is K; `counts` has one number per n-gram, M, and equal n-grams have equal ones. A repeated n-gram
/// is counted at its first place; at the others the derivative is 0. Where K or M is 0, or all n-grams have a
/// −100, the loss and the derivatives are 0. Cost: O(M²·n) comparisons, nearly always O(M²). Source: arXiv
/// 1911.09320, the bag-of-n-grams difference.
///
/// ```
/// use rivergram_core::eisl::bag;
///
/// // "7" twice, "8" once; the outputs hold 1.5 and 2 of them: matched are 1.5 and 1 of 3.
/// let mut counts = [1.5f64, 2.0, 1.5];
/// let loss = bag::distance(&[7, 8, 7], 1, 3, &mut counts);
/// assert!((loss - (1.0 - 2.5 / 3.0)).abs() < 1e-12);
/// assert_eq!(counts, [-2.0 / 6.0, 0.0, 0.0]);
/// ```
pub fn distance<T: Real>(labels: &[i32], order: usize, positions: usize, counts: &mut [T]) -> T {
    let places = counts.len();
    let mut taken = 0usize;
    for i in 0..places {
        if gram(labels, order, i).is_some() {
            taken = taken.wrapping_add(1);
        }
    }
    if taken == 0 || positions == 0 {
        counts.fill(T::ZERO);
        return T::ZERO;
    }
    let two = T::constant(2.0);
    let slope = two / T::from_usize(positions.saturating_add(taken));
    let mut matched = T::ZERO;
    for (i, count) in (0..places).zip(counts) {
        let times = T::from_usize(times(labels, order, i, places));
        if *count < times {
            matched += *count;
            *count = -slope;
        } else {
            matched += times;
            *count = T::ZERO;
        }
    }
    T::ONE - slope * matched
}

/// W\[j, i\] = `factor` · derivative\[i\] · exp D_n\[j, i\]: the derivative by the sums along diagonals, from
/// that by the expected numbers. [`spread`](super::diagonal::spread) takes it on to the scores.
///
/// `sums` and `weights` are `rows` × `derivatives.len()`. Cost: one exponential per entry. Source: the chain
/// rule of [`counts`].
///
/// ```
/// use rivergram_core::eisl::bag;
/// use rivergram_core::eisl::select::{Matrix, MatrixMut};
/// use rivergram_core::lanes::One;
///
/// let sums = [0.5f64.ln(), f64::NEG_INFINITY];
/// let mut weights = [9.0; 2];
/// let (sums, to) = (Matrix { data: &sums, stride: 2 }, MatrixMut { data: &mut weights, stride: 2 });
/// bag::weigh(One::<f64>::new(), 1, sums, &[-0.5, -0.5], 2.0, to);
/// assert!((weights[0] + 0.5).abs() < 1e-12 && weights[1] == 0.0);
/// ```
#[inline(always)]
pub fn weigh<I: Isa>(
    isa: I,
    rows: usize,
    sums: Matrix<'_, I::Scalar>,
    derivatives: &[I::Scalar],
    factor: I::Scalar,
    weights: MatrixMut<'_, I::Scalar>,
) {
    let zero = isa.splat(I::Scalar::ZERO);
    let factor = isa.splat(factor);
    let columns = derivatives.len();
    let lines = weights.data.pieces_mut(weights.stride);
    for (d, w) in sums.data.pieces(sums.stride).zip(lines).take(rows) {
        let w = isa.pieces_mut(w.get_mut(..columns).unwrap_or(&mut []));
        let of_columns = isa.pieces(d).zip(isa.pieces(derivatives));
        for (w, (d, slope)) in w.zip(of_columns) {
            let slope = isa.load(slope);
            let by_sum = slope * factor * isa.load(d).exp();
            // A matched n-gram has none, however large its number.
            let by_sum = I::Lanes::select(zero.less(slope.abs()), by_sum, zero);
            isa.store(by_sum, w);
        }
    }
}

/// The n-gram at place i, unless a −100 is in it.
fn gram(labels: &[i32], order: usize, i: usize) -> Option<&[i32]> {
    let gram = labels.get(i..i.saturating_add(order));
    gram.filter(|gram| !gram.contains(&IGNORE))
}

/// How often the n-gram at place i is in the target; 0 where an earlier place has it, or a −100 is in it.
fn times(labels: &[i32], order: usize, i: usize, places: usize) -> usize {
    let Some(this) = gram(labels, order, i) else {
        return 0;
    };
    let mut times = 0usize;
    for other in 0..places {
        if gram(labels, order, other) == Some(this) {
            if other < i {
                return 0;
            }
            times = times.wrapping_add(1);
        }
    }
    times
}
