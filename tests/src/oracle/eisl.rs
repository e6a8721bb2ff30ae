//! The sequence loss by its definition: loops over rows, n-grams and positions.

use std::collections::HashMap;

use crate::eisl::{Case, Outcome, Upstream};
use rivergram_core::eisl::{Axis, Combine, IGNORE, Input, Objective, Padding, Select};

/// ln softmax of V numbers.
pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| x - max - sum.ln()).collect()
}

/// ln p of all positions, \[B·T\]\[V\].
type LogP = Vec<Vec<f64>>;

fn log_p(case: &Case) -> LogP {
    let positions = case.x.chunks(case.vocabulary);
    match case.input {
        Input::Logits => positions.map(log_softmax).collect(),
        Input::LogProbs => positions.map(<[f64]>::to_vec).collect(),
    }
}

/// Loss and gradient of a case.
pub fn evaluate(case: &Case) -> Outcome {
    evaluate_held(case, case)
}

/// The same; the probabilities of [`Select::Detached`] are those of another input, which is held constant.
pub fn evaluate_held(case: &Case, held: &Case) -> Outcome {
    let (b, t, v) = (case.batch, case.positions, case.vocabulary);
    let (log_p, held) = (log_p(case), log_p(held));
    // By ln p.
    let mut gradient = vec![vec![0.0; v]; b * t];
    let orders = case.order_count();
    let mut per_row = vec![vec![0.0; b]; orders];
    let mut rows = Vec::new();
    for row in 0..b {
        let references = if case.ngram_factor == 0.0 {
            0
        } else {
            case.references(row)
        };
        let found: Vec<Vec<Option<Scored>>> = (0..references)
            .map(|r| {
                let of_order = |o| ngram_loss(case, (&log_p, &held), row, r, o);
                (0..orders).map(of_order).collect()
            })
            .collect();
        let best = best_reference(case, &found);
        let taken = match case.more.references.as_ref().map(|several| several.combine) {
            Some(Combine::Best) if references > 0 => best..best + 1,
            _ => 0..references,
        };
        let chosen = if taken.len() < references { best } else { 0 };
        let share = 1.0 / taken.len() as f64;
        for o in 0..orders {
            let factor = coefficient(case, row, o) * case.ngram_factor * share;
            for scored in taken.clone().filter_map(|r| found[r][o].as_ref()) {
                per_row[o][row] += share * scored.loss;
                for (to, from) in gradient[row * t..].iter_mut().zip(&scored.gradient) {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += factor * from;
                    }
                }
            }
        }
        let of_row = (0..orders).map(|o| case.weights[o] * per_row[o][row]);
        rows.push((of_row.sum(), 0.0, chosen));
    }
    let mut eisl = 0.0;
    let mut magnitude = 0.0;
    for (o, of_rows) in per_row.iter().enumerate() {
        for (row, loss) in of_rows.iter().enumerate() {
            let term = coefficient(case, row, o) * loss;
            eisl += term;
            magnitude += term.abs();
        }
    }
    let ce_rows = match case.ce_factor {
        Some(factor) => cross_entropy(case, &log_p, factor, &mut gradient),
        None => vec![(0.0, 0.0); b],
    };
    for (row, (sum, _)) in rows.iter_mut().zip(&ce_rows) {
        row.1 = *sum;
    }
    magnitude += ce_rows
        .iter()
        .map(|(_, weighed)| weighed.abs())
        .sum::<f64>();
    let is_mean = matches!(case.more.upstream, Upstream::Mean) && case.more.ce_upstream.is_none();
    let ce = ce_rows.iter().map(|(_, weighed)| weighed).sum::<f64>();
    if case.input == Input::Logits {
        for (g, log_p) in gradient.iter_mut().zip(&log_p) {
            let r: f64 = g.iter().sum();
            for (g, log_p) in g.iter_mut().zip(log_p) {
                *g -= log_p.exp() * r;
            }
        }
    }
    let total = case.ngram_factor * eisl + case.ce_factor.unwrap_or(0.0) * ce;
    let mean = |of_rows: &Vec<f64>| of_rows.iter().sum::<f64>() / b as f64;
    Outcome {
        total,
        eisl,
        ce: case.ce_factor.map(|_| ce),
        per_order: per_row.iter().map(mean).collect(),
        per_row,
        gradient: gradient.concat(),
        magnitude: if is_mean { 0.0 } else { magnitude },
        rows,
    }
}

/// ∂eisl/∂loss of a row and order.
fn coefficient(case: &Case, row: usize, o: usize) -> f64 {
    let rows = case.batch as f64;
    match &case.more.upstream {
        Upstream::Mean => case.weights[o] / rows,
        Upstream::PerOrder(g) => g[o] / rows,
        Upstream::PerRow(g) => g[row] * case.weights[o],
        Upstream::None(g) => g[row * case.order_count() + o],
    }
}

/// Orders without an n-gram, and Σ w·loss.
fn standing(case: &Case, found: &[Option<Scored>]) -> (usize, f64) {
    let losses = found.iter().zip(&case.weights);
    let sum = losses.map(|(scored, w)| scored.as_ref().map_or(0.0, |s| w * s.loss));
    (found.iter().filter(|s| s.is_none()).count(), sum.sum())
}

fn best_reference(case: &Case, found: &[Vec<Option<Scored>>]) -> usize {
    let mut best = 0;
    for r in 1..found.len() {
        if standing(case, &found[r]) < standing(case, &found[best]) {
            best = r;
        }
    }
    best
}

/// Whether rounding may decide which reference of a row is the best.
pub fn is_tied(case: &Case) -> bool {
    let log_p = log_p(case);
    let is_best = case.more.references.as_ref();
    if is_best.is_none_or(|several| several.combine != Combine::Best) {
        return false;
    }
    (0..case.batch).any(|row| {
        let mut standings: Vec<(usize, f64)> = (0..case.references(row))
            .map(|r| {
                let of_order = |o| ngram_loss(case, (&log_p, &log_p), row, r, o);
                let found: Vec<_> = (0..case.order_count()).map(of_order).collect();
                standing(case, &found)
            })
            .collect();
        standings.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        let two = standings.first().zip(standings.get(1));
        two.is_some_and(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5)
    })
}

/// Output positions and labels of a reference.
fn lens(case: &Case, row: usize, reference: usize) -> (usize, usize) {
    let slot = row * case.places() + reference;
    match case.padding {
        Padding::Mask => (case.output_lens[row], case.target_lens[slot]),
        Padding::Zero | Padding::None => (case.positions, case.targets_len),
    }
}

fn is_zeroed(case: &Case, label: i32) -> bool {
    case.padding == Padding::Zero && (label == IGNORE || Some(label) == case.pad_id)
}

/// The loss of one reference and order, and its gradient by ln p, \[T\]\[V\].
struct Scored {
    loss: f64,
    gradient: Vec<Vec<f64>>,
}

/// Nothing where there is no n-gram.
fn ngram_loss(
    case: &Case,
    (log_p, held): (&LogP, &LogP),
    row: usize,
    reference: usize,
    o: usize,
) -> Option<Scored> {
    let (positions, targets) = lens(case, row, reference);
    let n = match case.orders.get(o) {
        Some(n) => *n,
        None => positions.saturating_sub(case.more.from_length[o - case.orders.len()]),
    };
    if n == 0 || positions < n || targets < n {
        return None;
    }
    let start = (row * case.places() + reference) * case.targets_len;
    let labels = &case.targets[start..][..targets];
    let grams: Vec<usize> = (0..targets - n + 1)
        .filter(|&i| case.padding != Padding::Mask || !labels[i..i + n].contains(&IGNORE))
        .collect();
    if grams.is_empty() {
        return None;
    }
    let score = |log_p: &LogP, j: usize, label: i32| {
        if is_zeroed(case, label) {
            return 0.0;
        }
        let s = log_p[row * case.positions + j][label as usize];
        s.max(case.clamp.unwrap_or(f64::NEG_INFINITY))
    };
    let sum_of = |log_p: &LogP, j: usize, i: usize| -> f64 {
        (0..n).map(|k| score(log_p, j + k, labels[i + k])).sum()
    };
    let outputs: Vec<usize> = (0..positions - n + 1).collect();
    // By D at each output and n-gram.
    let mut by_sum = vec![vec![0.0; targets]; outputs.len()];
    let loss = if case.more.objective == Objective::BagOfNgrams {
        let mut bag: HashMap<&[i32], f64> = HashMap::new();
        for &i in &grams {
            *bag.entry(&labels[i..i + n]).or_default() += 1.0;
        }
        let both = (outputs.len() + grams.len()) as f64;
        let mut distance = both;
        for (gram, count) in bag {
            let i = grams.iter().copied().find(|&i| &labels[i..i + n] == gram);
            let i = i.expect("an n-gram of the target");
            let expected: f64 = outputs.iter().map(|&j| sum_of(log_p, j, i).exp()).sum();
            // |C − B| in place of C and B.
            distance += (expected - count).abs() - expected - count;
            if expected < count {
                for &j in &outputs {
                    by_sum[j][i] = -2.0 * sum_of(log_p, j, i).exp() / both;
                }
            }
        }
        distance / both
    } else {
        let mirrored = case.more.axis == Axis::Targets;
        let (lines, places) = if mirrored {
            (&outputs, &grams)
        } else {
            (&grams, &outputs)
        };
        let mut sum = 0.0;
        for &line in lines {
            let at = |place: usize| {
                if mirrored {
                    (line, place)
                } else {
                    (place, line)
                }
            };
            let mean_of = |log_p: &LogP, place: usize| {
                let (j, i) = at(place);
                sum_of(log_p, j, i) / n as f64
            };
            let t: Vec<f64> = places.iter().map(|&p| mean_of(log_p, p)).collect();
            let t_held: Vec<f64> = places.iter().map(|&p| mean_of(held, p)).collect();
            let noise = places.iter().map(|&place| {
                let (j, i) = at(place);
                case.noise_at(o, row, reference, j, i)
            });
            let (e, de) = selected(case, n, &t, &t_held, &noise.collect::<Vec<_>>());
            sum += e;
            for (&place, de) in places.iter().zip(de) {
                let (j, i) = at(place);
                by_sum[j][i] -= de / (n * lines.len()) as f64;
            }
        }
        -sum / lines.len() as f64
    };
    let mut gradient = vec![vec![0.0; case.vocabulary]; case.positions];
    for &j in &outputs {
        for &i in &grams {
            for k in 0..n {
                let label = labels[i + k];
                let at = row * case.positions + j + k;
                let is_free = |c: f64| log_p[at][label as usize] > c;
                if !is_zeroed(case, label) && case.clamp.is_none_or(is_free) {
                    gradient[j + k][label as usize] += by_sum[j][i];
                }
            }
        }
    }
    Some(Scored { loss, gradient })
}

/// E of one line, and its derivatives by t.
fn selected(case: &Case, n: usize, t: &[f64], held: &[f64], noise: &[f64]) -> (f64, Vec<f64>) {
    let softmax = |z: Vec<f64>| -> Vec<f64> { log_softmax(&z).into_iter().map(f64::exp).collect() };
    let count = t.len() as f64;
    match case.select {
        Select::Softmax | Select::Detached => {
            let tau = case.temperature;
            let from = match case.select {
                Select::Detached => held,
                _ => t,
            };
            let q = softmax(from.iter().zip(noise).map(|(t, g)| (t + g) / tau).collect());
            // A score of −∞ has probability 0 and adds nothing.
            let e: f64 = q
                .iter()
                .zip(t)
                .map(|(q, t)| if *q > 0.0 { q * t } else { 0.0 })
                .sum();
            if case.select == Select::Detached {
                return (e, q);
            }
            let de = q.iter().zip(t).map(|(q, t)| {
                if *q > 0.0 {
                    q * (1.0 + (t - e) / tau)
                } else {
                    0.0
                }
            });
            (e, de.collect())
        }
        Select::LogSumExp => {
            let z: Vec<f64> = t.iter().map(|t| n as f64 * t).collect();
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
            (e, softmax(z).into_iter().map(|q| q * n as f64).collect())
        }
        Select::Mean => (t.iter().sum::<f64>() / count, vec![1.0 / count; t.len()]),
        Select::Max => {
            let mut best = 0;
            for j in 1..t.len() {
                if t[j] > t[best] {
                    best = j;
                }
            }
            let mut de = vec![0.0; t.len()];
            de[best] = 1.0;
            (t[best], de)
        }
    }
}

/// Of each row the sum over its tokens, and what it adds to the loss; adds its part of the gradient.
fn cross_entropy(
    case: &Case,
    log_p: &[Vec<f64>],
    factor: f64,
    gradient: &mut [Vec<f64>],
) -> Vec<(f64, f64)> {
    let epsilon = case.label_smoothing;
    let v = case.vocabulary as f64;
    let tokens: Vec<Vec<(usize, usize)>> = (0..case.batch).map(|row| tokens(case, row)).collect();
    let count = tokens.iter().map(Vec::len).sum::<usize>() as f64;
    let mut rows = Vec::new();
    for (row, tokens) in tokens.iter().enumerate() {
        let g = match &case.more.ce_upstream {
            Some(g) => g[row],
            None => 1.0 / count,
        };
        let mut sum = 0.0;
        for &(at, label) in tokens {
            sum -= (1.0 - epsilon) * log_p[at][label];
            gradient[at][label] -= factor * (1.0 - epsilon) * g;
            if epsilon != 0.0 {
                sum -= epsilon * log_p[at].iter().sum::<f64>() / v;
                for to in &mut gradient[at] {
                    *to -= factor * epsilon * g / v;
                }
            }
        }
        rows.push((sum, if tokens.is_empty() { 0.0 } else { g * sum }));
    }
    rows
}

/// Position and label of each token that cross-entropy counts.
fn tokens(case: &Case, row: usize) -> Vec<(usize, usize)> {
    let several = case.more.references.as_ref();
    let of_ce = several.and_then(|several| several.cross_entropy.as_ref());
    let reference = of_ce.map_or(0, |of_ce| of_ce[row]);
    if reference >= case.references(row) {
        return Vec::new();
    }
    let slot = row * case.places() + reference;
    let outputs = match case.padding {
        Padding::Mask => case.output_lens[row],
        Padding::Zero | Padding::None => case.positions,
    };
    let labels = &case.targets[slot * case.targets_len..];
    (0..case.target_lens[slot].min(outputs))
        .filter(|&t| labels[t] != IGNORE)
        .map(|t| (row * case.positions + t, labels[t] as usize))
        .collect()
}
