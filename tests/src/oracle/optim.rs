//! The optimizers and the averages of weights by their definitions, one parameter at a time, with no care for
//! digits that cancel.

use rivergram_core::optim::Optimizer;

/// One parameter with its moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameter {
    /// w.
    pub value: f64,
    /// v of SGD, m of AdamW and Lion.
    pub first: f64,
    /// v of AdamW.
    pub second: f64,
}

impl Parameter {
    /// The t-th update, from 1.
    pub fn update(&mut self, optimizer: Optimizer<f64>, lr: f64, t: u64, g: f64) {
        match optimizer {
            Optimizer::Sgd {
                momentum,
                weight_decay,
            } => {
                self.first = momentum * self.first + g + weight_decay * self.value;
                self.value -= lr * self.first;
            }
            Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            } => {
                self.first = beta1 * self.first + (1.0 - beta1) * g;
                self.second = beta2 * self.second + (1.0 - beta2) * g * g;
                let m = self.first / (1.0 - beta1.powf(t as f64));
                let v = self.second / (1.0 - beta2.powf(t as f64));
                self.value -= lr * (m / (v.sqrt() + epsilon) + weight_decay * self.value);
            }
            Optimizer::Lion {
                beta1,
                beta2,
                weight_decay,
            } => {
                let interpolated = beta1 * self.first + (1.0 - beta1) * g;
                let sign = match interpolated {
                    c if c > 0.0 => 1.0,
                    c if c < 0.0 => -1.0,
                    c => c,
                };
                self.value -= lr * (sign + weight_decay * self.value);
                self.first = beta2 * self.first + (1.0 - beta2) * g;
            }
        }
    }
}

/// Σ βᵗ⁻ⁱ·wᵢ / Σ βᵗ⁻ⁱ: the unbiased exponential average of what was seen.
pub fn unbiased_average(beta: f64, seen: &[f64]) -> f64 {
    let weights = || (0..seen.len()).rev().map(|age| beta.powi(age as i32));
    let sum: f64 = weights().zip(seen).map(|(weight, w)| weight * w).sum();
    sum / weights().sum::<f64>()
}

/// βᵗ·start + (1 − β)·Σ βᵗ⁻ⁱ·wᵢ.
pub fn average_from(beta: f64, start: f64, seen: &[f64]) -> f64 {
    let kept = beta.powi(seen.len() as i32);
    kept * start + (1.0 - kept) * unbiased_average(beta, seen)
}

/// The mean.
pub fn mean(seen: &[f64]) -> f64 {
    seen.iter().sum::<f64>() / seen.len() as f64
}

/// The mean of the latest `copies` of every `every`-th number; none before the first.
pub fn latest_mean(copies: usize, every: usize, seen: &[f64]) -> Option<f64> {
    let taken: Vec<f64> = seen.chunks_exact(every).map(|c| c[every - 1]).collect();
    let latest = &taken[taken.len().saturating_sub(copies)..];
    (!latest.is_empty()).then(|| mean(latest))
}
