//! The formulas as they stand in a paper, with nothing but libm: what one would write first.

/// The Gram matrix.
fn gram<const K: usize, const D: usize>(x: &[[f32; D]; K]) -> [[f32; K]; K] {
    let mut gram = [[0.0; K]; K];
    for p in 0..K {
        for q in 0..K {
            for i in 0..D {
                gram[p][q] += x[p][i] * x[q][i];
            }
        }
    }
    gram
}

/// sqrt(|det G|) by elimination.
#[inline(always)]
pub(crate) fn volume<const K: usize, const D: usize>(x: &[[f32; D]; K]) -> f32 {
    let mut g = gram(x);
    let mut det = 1.0;
    for p in 0..K {
        det *= g[p][p];
        for r in p + 1..K {
            let f = g[r][p] / g[p][p];
            for c in p + 1..K {
                g[r][c] -= f * g[p][c];
            }
        }
    }
    libm::sqrtf(det.abs())
}

/// V, and V·G⁻¹·X by Gauss-Jordan elimination.
#[inline(always)]
pub(crate) fn volume_gradient<const K: usize, const D: usize>(
    x: &[[f32; D]; K],
    gradient: &mut [[f32; D]; K],
) -> f32 {
    let mut g = gram(x);
    let mut inverse = [[0.0; K]; K];
    let mut det = 1.0;
    for p in 0..K {
        inverse[p][p] = 1.0;
    }
    for p in 0..K {
        det *= g[p][p];
        let f = 1.0 / g[p][p];
        for c in 0..K {
            g[p][c] *= f;
            inverse[p][c] *= f;
        }
        for r in 0..K {
            if r != p {
                let f = g[r][p];
                for c in 0..K {
                    g[r][c] -= f * g[p][c];
                    inverse[r][c] -= f * inverse[p][c];
                }
            }
        }
    }
    let volume = libm::sqrtf(det.abs());
    for p in 0..K {
        for i in 0..D {
            let mut sum = 0.0;
            for q in 0..K {
                sum += inverse[p][q] * x[q][i];
            }
            gradient[p][i] = volume * sum;
        }
    }
    volume
}

/// The GRAM loss of a batch of K modalities with the first as the anchor, τ, and its gradient: for each pair the
/// volume, then the cross-entropy of rows and columns without smoothing, then for each pair the volume's gradient.
#[inline(always)]
pub(crate) fn gram_loss<const K: usize, const B: usize, const D: usize>(
    x: &[[[f32; D]; B]; K],
    tau: f32,
    gradient: &mut [[[f32; D]; B]; K],
) -> f32 {
    let tuple = |i: usize, j: usize| -> [[f32; D]; K] {
        core::array::from_fn(|k| x[k][if k == 0 { i } else { j }])
    };
    let mut scores = [[0.0; B]; B];
    for i in 0..B {
        for j in 0..B {
            scores[i][j] = -volume(&tuple(i, j)) / tau;
        }
    }
    let (mut loss, mut weights) = (0.0, [[0.0; B]; B]);
    for i in 0..B {
        let (mut row, mut column) = (0.0, 0.0);
        for j in 0..B {
            row += libm::expf(scores[i][j]);
            column += libm::expf(scores[j][i]);
        }
        loss += (libm::logf(row) + libm::logf(column)) / 2.0 - scores[i][i];
        for j in 0..B {
            weights[i][j] += libm::expf(scores[i][j]) / row / 2.0;
            weights[j][i] += libm::expf(scores[j][i]) / column / 2.0;
        }
        weights[i][i] -= 1.0;
    }
    for plane in gradient.iter_mut() {
        for row in plane {
            row.fill(0.0);
        }
    }
    for i in 0..B {
        for j in 0..B {
            let mut g = [[0.0; D]; K];
            volume_gradient(&tuple(i, j), &mut g);
            let weight = -weights[i][j] / tau / B as f32;
            for k in 0..K {
                let row = if k == 0 { i } else { j };
                for c in 0..D {
                    gradient[k][row][c] += weight * g[k][c];
                }
            }
        }
    }
    loss / B as f32
}

/// EISL of order N of one row, softmax over positions, and its gradient in place of the logits: all
/// log-probabilities, then the mean of the diagonal for each pair of positions.
#[inline(always)]
pub(crate) fn eisl<const T: usize, const U: usize, const V: usize>(
    x: &mut [[f32; V]; T],
    targets: &[i32; U],
    n: usize,
) -> f32 {
    let mut log_p = *x;
    for row in &mut log_p {
        let mut most = row[0];
        for v in 0..V {
            most = if row[v] > most { row[v] } else { most };
        }
        let mut sum = 0.0;
        for v in 0..V {
            sum += libm::expf(row[v] - most);
        }
        let lse = most + libm::logf(sum);
        for v in 0..V {
            row[v] -= lse;
        }
    }
    let (positions, places) = (T + 1 - n, U + 1 - n);
    let (mut loss, mut gradient) = (0.0, [[0.0; V]; T]);
    for i in 0..places {
        let mut t = [0.0; T];
        for j in 0..positions {
            for k in 0..n {
                t[j] += log_p[j + k][targets[i + k] as usize] / n as f32;
            }
        }
        let (mut sum, mut mean) = (0.0, 0.0);
        for j in 0..positions {
            sum += libm::expf(t[j]);
        }
        for j in 0..positions {
            mean += libm::expf(t[j]) / sum * t[j];
        }
        loss -= mean;
        for j in 0..positions {
            let g = -libm::expf(t[j]) / sum * (1.0 + t[j] - mean);
            for k in 0..n {
                gradient[j + k][targets[i + k] as usize] += g / n as f32;
            }
        }
    }
    for j in 0..T {
        let mut sum = 0.0;
        for v in 0..V {
            sum += gradient[j][v];
        }
        for v in 0..V {
            x[j][v] = (gradient[j][v] - libm::expf(log_p[j][v]) * sum) / places as f32;
        }
    }
    loss / places as f32
}

/// A linear head with unit outputs, its gradient, and the update by SGD: weights \[O, I\], then biases.
pub(crate) struct Head<const I: usize, const O: usize> {
    pub(crate) weights: [[f32; I]; O],
    pub(crate) biases: [f32; O],
}

impl<const I: usize, const O: usize> Head<I, O> {
    /// The outputs, and the lengths that they had.
    #[inline(always)]
    pub(crate) fn forward<const B: usize>(&self, x: &[[f32; I]; B]) -> ([[f32; O]; B], [f32; B]) {
        let (mut y, mut lengths) = ([[0.0; O]; B], [0.0; B]);
        for b in 0..B {
            let mut square = 0.0;
            for o in 0..O {
                y[b][o] = self.biases[o];
                for i in 0..I {
                    y[b][o] += self.weights[o][i] * x[b][i];
                }
                square += y[b][o] * y[b][o];
            }
            lengths[b] = libm::sqrtf(square);
            for o in 0..O {
                y[b][o] /= lengths[b];
            }
        }
        (y, lengths)
    }

    #[inline(always)]
    pub(crate) fn step<const B: usize>(
        &mut self,
        x: &[[f32; I]; B],
        y: &[[f32; O]; B],
        lengths: &[f32; B],
        dy: &[[f32; O]; B],
        rate: f32,
    ) {
        for b in 0..B {
            let mut along = 0.0;
            for o in 0..O {
                along += y[b][o] * dy[b][o];
            }
            for o in 0..O {
                let g = rate * (dy[b][o] - y[b][o] * along) / lengths[b];
                self.biases[o] -= g;
                for i in 0..I {
                    self.weights[o][i] -= g * x[b][i];
                }
            }
        }
    }
}

/// The rate at step t of a warmup, a stable phase and a decay, as libm computes its shape.
pub(crate) struct Schedule {
    pub(crate) step: u32,
    pub(crate) warmup: u32,
    pub(crate) start: u32,
    pub(crate) length: u32,
    pub(crate) peak: f32,
    pub(crate) floor: f32,
}

impl Schedule {
    #[inline(always)]
    pub(crate) fn advance(&mut self, shape: impl Fn(f32, f32, f32) -> f32) -> f32 {
        let t = self.step;
        self.step += 1;
        if t < self.warmup {
            return self.peak * t as f32 / self.warmup as f32;
        }
        if t < self.start {
            return self.peak;
        }
        if t >= self.start + self.length {
            return self.floor;
        }
        let p = (t - self.start) as f32 / self.length as f32;
        shape(p, self.peak, self.floor)
    }
}
