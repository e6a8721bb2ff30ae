//! A head by its definition: loops over rows and units.

use rivergram_core::head::Head;

/// What one row of inputs becomes.
struct Pass {
    hidden: Vec<f64>,
    raw: Vec<f64>,
    y: Vec<f64>,
}

/// W·x + b, where the layer is W \[outputs, inputs\] followed by b.
fn layer(layer: &[f64], outputs: usize, x: &[f64]) -> Vec<f64> {
    let inputs = x.len();
    (0..outputs)
        .map(|o| layer[outputs * inputs + o] + dot(&layer[o * inputs..][..inputs], x))
        .collect()
}

/// Adds the gradient of a layer, given that of its outputs.
fn layer_gradient(gradient: &mut [f64], x: &[f64], dy: &[f64]) {
    let (inputs, outputs) = (x.len(), dy.len());
    for o in 0..outputs {
        for i in 0..inputs {
            gradient[o * inputs + i] += dy[o] * x[i];
        }
        gradient[outputs * inputs + o] += dy[o];
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The parameters before the last layer.
fn first_layer(head: &Head) -> usize {
    head.hidden * (head.input + 1)
}

fn pass(head: &Head, parameters: &[f64], x: &[f64]) -> Pass {
    let (first, last) = parameters.split_at(first_layer(head));
    let mut hidden = layer(first, head.hidden, x);
    for h in &mut hidden {
        *h = h.max(0.0);
    }
    let features = if head.hidden == 0 { x } else { &hidden };
    let raw = layer(last, head.output, features);
    let norm = dot(&raw, &raw).sqrt();
    let scale = if head.normalise && norm > 0.0 {
        1.0 / norm
    } else {
        1.0
    };
    let y = raw.iter().map(|z| z * scale).collect();
    Pass { hidden, raw, y }
}

/// The outputs \[rows, output\] of the inputs \[rows, input\].
pub fn forward(head: &Head, parameters: &[f64], x: &[f64]) -> Vec<f64> {
    x.chunks(head.input)
        .flat_map(|x| pass(head, parameters, x).y)
        .collect()
}

/// The gradient of the parameters, given that of the outputs.
pub fn backward(head: &Head, parameters: &[f64], x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut gradient = vec![0.0; parameters.len()];
    for (x, dy) in x.chunks(head.input).zip(dy.chunks(head.output)) {
        let Pass { hidden, raw, y } = pass(head, parameters, x);
        let norm = dot(&raw, &raw).sqrt();
        let along = dot(&y, dy);
        let dz: Vec<f64> = match (head.normalise, norm > 0.0) {
            (false, _) => dy.to_vec(),
            (true, false) => vec![0.0; dy.len()],
            (true, true) => (0..dy.len())
                .map(|o| (dy[o] - y[o] * along) / norm)
                .collect(),
        };
        let (first, last) = gradient.split_at_mut(first_layer(head));
        if head.hidden == 0 {
            layer_gradient(last, x, &dz);
            continue;
        }
        layer_gradient(last, &hidden, &dz);
        let weights = &parameters[first_layer(head)..];
        let dh: Vec<f64> = (0..head.hidden)
            .map(|h| {
                let sum: f64 = (0..head.output)
                    .map(|o| dz[o] * weights[o * head.hidden + h])
                    .sum();
                if hidden[h] > 0.0 { sum } else { 0.0 }
            })
            .collect();
        layer_gradient(first, x, &dh);
    }
    gradient
}
