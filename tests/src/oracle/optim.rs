//! The optimizers by their definitions, one parameter at a time, with no care for digits that cancel.

use rivergram_core::optim::Optimizer;

/// One parameter with its moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameter {
    /// w.
    pub value: f64,
    /// v of SGD, m of AdamW.
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
        }
    }
}
