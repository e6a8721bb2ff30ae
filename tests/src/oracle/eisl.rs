//! The sequence loss by its definition: loops over rows, n-grams and positions.

use crate::eisl::{Case, Outcome};
use rivergram_core::eisl::{IGNORE, Input, Padding, Select};

/// ln softmax of V numbers.
pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| x - max - sum.ln()).collect()
}

/// Loss and gradient of a case.
pub fn evaluate(case: &Case) -> Outcome {
    let (b, t, v) = (case.batch, case.positions, case.vocabulary);
    let log_p: Vec<Vec<f64>> = match case.input {
        Input::Logits => case.x.chunks(v).map(log_softmax).collect(),
        Input::LogProbs => case.x.chunks(v).map(<[f64]>::to_vec).collect(),
    };
    // By ln p.
    let mut gradient = vec![vec![0.0; v]; b * t];
    let mut per_order = Vec::new();
    let mut per_row = Vec::new();
    let mut eisl = 0.0;
    for (o, (&n, &weight)) in case.orders.iter().zip(&case.weights).enumerate() {
        let rows: Vec<f64> = (0..b)
            .map(|row| order(case, &log_p, row, o, n, weight, &mut gradient))
            .collect();
        let mean = rows.iter().sum::<f64>() / b as f64;
        eisl += weight * mean;
        per_order.push(mean);
        per_row.push(rows);
    }
    let ce = case
        .ce_factor
        .map(|f| cross_entropy(case, &log_p, f, &mut gradient));
    if case.input == Input::Logits {
        for (g, log_p) in gradient.iter_mut().zip(&log_p) {
            let r: f64 = g.iter().sum();
            for (g, log_p) in g.iter_mut().zip(log_p) {
                *g -= log_p.exp() * r;
            }
        }
    }
    let total = case.ngram_factor * eisl + case.ce_factor.unwrap_or(0.0) * ce.unwrap_or(0.0);
    Outcome {
        total,
        eisl,
        ce,
        per_order,
        per_row,
        gradient: gradient.concat(),
    }
}

/// Output positions and labels of a row.
fn lens(case: &Case, row: usize) -> (usize, usize) {
    match case.padding {
        Padding::Mask => (case.output_lens[row], case.target_lens[row]),
        Padding::Zero | Padding::None => (case.positions, case.targets_len),
    }
}

fn is_zeroed(case: &Case, label: i32) -> bool {
    case.padding == Padding::Zero && (label == IGNORE || Some(label) == case.pad_id)
}

/// The loss of one row and order; adds its part of the gradient.
fn order(
    case: &Case,
    log_p: &[Vec<f64>],
    row: usize,
    o: usize,
    n: usize,
    weight: f64,
    gradient: &mut [Vec<f64>],
) -> f64 {
    let (positions, targets) = lens(case, row);
    // At factor 0 the part is not computed.
    if positions < n || targets < n || case.ngram_factor == 0.0 {
        return 0.0;
    }
    let (k_count, m_count) = (positions - n + 1, targets - n + 1);
    let labels = &case.targets[row * case.targets_len..][..targets];
    let grams: Vec<usize> = (0..m_count)
        .filter(|&i| case.padding != Padding::Mask || !labels[i..i + n].contains(&IGNORE))
        .collect();
    if grams.is_empty() {
        return 0.0;
    }
    let mut sum = 0.0;
    for &i in &grams {
        let score = |j: usize, k: usize| {
            let label = labels[i + k];
            if is_zeroed(case, label) {
                return 0.0;
            }
            let s = log_p[row * case.positions + j + k][label as usize];
            s.max(case.clamp.unwrap_or(f64::NEG_INFINITY))
        };
        let t: Vec<f64> = (0..k_count)
            .map(|j| (0..n).map(|k| score(j, k)).sum::<f64>() / n as f64)
            .collect();
        let noise: Vec<f64> = (0..k_count).map(|j| case.noise_at(o, row, j, i)).collect();
        let (e, de) = selected(case, n, &t, &noise);
        sum += e;
        let factor =
            -weight * case.ngram_factor / (case.batch as f64 * grams.len() as f64 * n as f64);
        for j in 0..k_count {
            for k in 0..n {
                let label = labels[i + k];
                let at = row * case.positions + j + k;
                let free = case
                    .clamp
                    .is_none_or(|c| !is_zeroed(case, label) && log_p[at][label as usize] > c);
                if free && !is_zeroed(case, label) {
                    gradient[at][label as usize] += factor * de[j];
                }
            }
        }
    }
    -sum / grams.len() as f64
}

/// E of one column, and its derivatives by t.
fn selected(case: &Case, n: usize, t: &[f64], noise: &[f64]) -> (f64, Vec<f64>) {
    let softmax = |z: Vec<f64>| -> Vec<f64> { log_softmax(&z).into_iter().map(f64::exp).collect() };
    let count = t.len() as f64;
    match case.select {
        Select::Softmax | Select::Detached => {
            let tau = case.temperature;
            let q = softmax(t.iter().zip(noise).map(|(t, g)| (t + g) / tau).collect());
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

/// The mean over tokens; adds its part of the gradient.
fn cross_entropy(case: &Case, log_p: &[Vec<f64>], factor: f64, gradient: &mut [Vec<f64>]) -> f64 {
    let epsilon = case.label_smoothing;
    let v = case.vocabulary as f64;
    let mut tokens = Vec::new();
    for row in 0..case.batch {
        let outputs = match case.padding {
            Padding::Mask => case.output_lens[row],
            Padding::Zero | Padding::None => case.positions,
        };
        for t in 0..case.target_lens[row].min(outputs) {
            let label = case.targets[row * case.targets_len + t];
            if label != IGNORE {
                tokens.push((row * case.positions + t, label as usize));
            }
        }
    }
    let count = tokens.len() as f64;
    let mut sum = 0.0;
    for &(at, label) in &tokens {
        sum -= (1.0 - epsilon) * log_p[at][label];
        gradient[at][label] -= factor * (1.0 - epsilon) / count;
        if epsilon != 0.0 {
            sum -= epsilon * log_p[at].iter().sum::<f64>() / v;
            for g in &mut gradient[at] {
                *g -= factor * epsilon / (count * v);
            }
        }
    }
    if tokens.is_empty() { 0.0 } else { sum / count }
}
