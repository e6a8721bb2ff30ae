//! GRAM by its definitions, in `f64`, one pair at a time.

use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};

/// Rows of length d.
pub type Rows = Vec<Vec<f64>>;

/// Σ a·b.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// A residual below this part of its vector is taken as 0: `f64` rounds at 1e-16.
const DEPENDENT: f64 = 1e-13;

/// The volume by Gram-Schmidt, each vector orthogonalised twice.
pub fn volume(vectors: &[Vec<f64>]) -> f64 {
    let mut basis: Rows = Vec::new();
    let mut volume = 1.0;
    for x in vectors {
        let mut r = x.clone();
        for _ in 0..2 {
            for q in &basis {
                let y = dot(q, &r);
                r.iter_mut().zip(q).for_each(|(r, q)| *r -= y * q);
            }
        }
        let norm = dot(&r, &r).sqrt();
        if norm <= DEPENDENT * dot(x, x).sqrt() {
            return 0.0;
        }
        volume *= norm;
        basis.push(r.iter().map(|r| r / norm).collect());
    }
    volume
}

/// dV/dx: each row is (volume of the others) times the unit normal to their span; 0 where V is 0.
pub fn volume_gradient(vectors: &[Vec<f64>]) -> Rows {
    if volume(vectors) == 0.0 {
        return vec![vec![0.0; vectors[0].len()]; vectors.len()];
    }
    (0..vectors.len())
        .map(|p| {
            let mut others = vectors.to_vec();
            let x = others.remove(p);
            let mut basis: Rows = Vec::new();
            let mut r = x;
            for o in &others {
                let mut q = o.clone();
                for _ in 0..2 {
                    for b in &basis {
                        let y = dot(b, &q);
                        q.iter_mut().zip(b).for_each(|(q, b)| *q -= y * b);
                    }
                }
                let norm = dot(&q, &q).sqrt();
                basis.push(q.iter().map(|q| q / norm).collect());
            }
            for _ in 0..2 {
                for b in &basis {
                    let y = dot(b, &r);
                    r.iter_mut().zip(b).for_each(|(r, b)| *r -= y * b);
                }
            }
            let norm = dot(&r, &r).sqrt();
            let scale = volume(&others) / norm;
            r.iter().map(|r| r * scale).collect()
        })
        .collect()
}

/// The cross-entropy with label smoothing over some logits, and its gradient.
fn cross_entropy(logits: &[f64], target: usize, smoothing: f64) -> (f64, Vec<f64>) {
    let count = logits.len() as f64;
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
    let mut loss = 0.0;
    let mut gradient = Vec::new();
    for (c, l) in logits.iter().enumerate() {
        let q = smoothing / count + if c == target { 1.0 - smoothing } else { 0.0 };
        loss += q * (lse - l);
        gradient.push((l - lse).exp() - q);
    }
    // The gradient sums to 0, and p − 1 would cancel where the match is sure.
    gradient[target] = 0.0;
    gradient[target] = -gradient.iter().sum::<f64>();
    (loss, gradient)
}

/// What a loss needs besides its vectors.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// τ.
    pub temperature: f64,
    /// ε.
    pub smoothing: f64,
}

/// Loss, gradients \[k\]\[rows\]\[d\] and dL/dτ.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The loss.
    pub loss: f64,
    /// With respect to every vector.
    pub gradient: Vec<Rows>,
    /// With respect to τ.
    pub temperature: f64,
}

impl Loss {
    fn zero(x: &[Rows]) -> Self {
        Loss {
            loss: 0.0,
            gradient: x
                .iter()
                .map(|rows| rows.iter().map(|row| vec![0.0; row.len()]).collect())
                .collect(),
            temperature: 0.0,
        }
    }

    /// Adds `weight` times another.
    pub fn add(&mut self, weight: f64, other: &Loss) {
        self.loss += weight * other.loss;
        self.temperature += weight * other.temperature;
        for (a, b) in self
            .gradient
            .iter_mut()
            .flatten()
            .flatten()
            .zip(other.gradient.iter().flatten().flatten())
        {
            *a += weight * b;
        }
    }
}

/// Both directions of the contrastive loss over scores s_ij with logits scale·s_ij; `None` where row or column
/// is absent. Returns the loss, dL/ds and dL/dτ, given that the scale is ±1/τ.
fn contrast(scores: &[Vec<Option<f64>>], scale: f64, constants: Constants) -> (f64, Rows, f64) {
    let n = scores.len();
    let mut gradient = vec![vec![0.0; n]; n];
    let (mut loss, mut temperature) = (0.0, 0.0);
    let counting: Vec<usize> = (0..n).filter(|i| scores[*i][*i].is_some()).collect();
    for transposed in [false, true] {
        for &t in &counting {
            let at = |c: usize| if transposed { (c, t) } else { (t, c) };
            let candidates: Vec<usize> = (0..n)
                .filter(|c| scores[at(*c).0][at(*c).1].is_some())
                .collect();
            let logits: Vec<f64> = candidates
                .iter()
                .map(|c| scale * scores[at(*c).0][at(*c).1].expect("a candidate"))
                .collect();
            let target = candidates
                .iter()
                .position(|c| *c == t)
                .expect("the target is a candidate");
            let (ce, dl) = cross_entropy(&logits, target, constants.smoothing);
            let share = 0.5 / counting.len() as f64;
            loss += share * ce;
            for ((c, dl), l) in candidates.iter().zip(dl).zip(&logits) {
                gradient[at(*c).0][at(*c).1] += share * dl * scale;
                // As Σ dl = 0, any number may be taken from all l.
                temperature -= share * dl * (l - logits[target]) / constants.temperature;
            }
        }
    }
    (loss, gradient, temperature)
}

/// The volume loss with modality `anchor`; `present`\[modality\]\[row\].
pub fn volume_loss(x: &[Rows], present: &[Vec<bool>], anchor: usize, constants: Constants) -> Loss {
    let n = x[0].len();
    let others = |j: usize| (0..x.len()).filter(move |p| *p != anchor && present[*p][j]);
    let tuple = |i: usize, j: usize| -> Rows {
        std::iter::once(x[anchor][i].clone())
            .chain(others(j).map(|p| x[p][j].clone()))
            .collect()
    };
    let scores: Vec<Vec<Option<f64>>> = (0..n)
        .map(|i| {
            (0..n)
                .map(|j| {
                    (present[anchor][i] && others(j).next().is_some()).then(|| volume(&tuple(i, j)))
                })
                .collect()
        })
        .collect();
    let (loss, w, temperature) = contrast(&scores, -1.0 / constants.temperature, constants);
    let mut result = Loss {
        loss,
        temperature,
        ..Loss::zero(x)
    };
    for i in 0..n {
        for j in 0..n {
            if scores[i][j].is_none() || w[i][j] == 0.0 {
                continue;
            }
            let gradient = volume_gradient(&tuple(i, j));
            let mut add = |p: usize, row: usize, g: &[f64]| {
                result.gradient[p][row]
                    .iter_mut()
                    .zip(g)
                    .for_each(|(a, g)| *a += w[i][j] * g);
            };
            add(anchor, i, &gradient[0]);
            for (p, g) in others(j).zip(&gradient[1..]) {
                add(p, j, g);
            }
        }
    }
    result
}

/// The cosine loss of two modalities, of vectors that are unit already.
pub fn cosine_loss(
    x: &[Rows],
    present: &[Vec<bool>],
    p: usize,
    q: usize,
    constants: Constants,
) -> Loss {
    let n = x[0].len();
    let scores: Vec<Vec<Option<f64>>> = (0..n)
        .map(|i| {
            (0..n)
                .map(|j| (present[p][i] && present[q][j]).then(|| dot(&x[p][i], &x[q][j])))
                .collect()
        })
        .collect();
    let (loss, w, temperature) = contrast(&scores, 1.0 / constants.temperature, constants);
    let mut result = Loss {
        loss,
        temperature,
        ..Loss::zero(x)
    };
    for i in 0..n {
        for j in 0..n {
            for c in 0..x[p][i].len() {
                result.gradient[p][i][c] += w[i][j] * x[q][j][c];
                result.gradient[q][j][c] += w[i][j] * x[p][i][c];
            }
        }
    }
    result
}

/// Unit vectors; zero vectors stay.
pub fn normalised(x: &[Rows]) -> Vec<Rows> {
    x.iter()
        .map(|rows| {
            rows.iter()
                .map(|row| {
                    let norm = dot(row, row).sqrt();
                    row.iter()
                        .map(|v| if norm == 0.0 { 0.0 } else { v / norm })
                        .collect()
                })
                .collect()
        })
        .collect()
}

/// The gradient with respect to raw vectors, from that with respect to their unit vectors.
pub fn through_normalisation(raw: &[Rows], gradient: &mut [Rows]) {
    for (raw, gradient) in raw.iter().flatten().zip(gradient.iter_mut().flatten()) {
        let norm = dot(raw, raw).sqrt();
        if norm == 0.0 {
            gradient.fill(0.0);
            continue;
        }
        let unit: Vec<f64> = raw.iter().map(|v| v / norm).collect();
        let along = dot(&unit, gradient);
        for (g, u) in gradient.iter_mut().zip(unit) {
            *g = (*g - u * along) / norm;
        }
    }
}

/// The whole loss of a batch and, apart, its part that is the weighted cosines of all pairs;
/// `present`\[modality\]\[row\]. Absent vectors must hold numbers.
pub fn batch_loss(config: &GramLoss<f64>, x: &[Rows], present: &[Vec<bool>]) -> (Loss, f64) {
    let k = x.len();
    let constants = Constants {
        temperature: config.temperature,
        smoothing: config.label_smoothing,
    };
    let mut present = present.to_vec();
    if config.zero_rows == ZeroRows::Missing {
        for (flag, row) in present.iter_mut().flatten().zip(x.iter().flatten()) {
            *flag &= dot(row, row) > 0.0;
        }
    }
    let vectors = if config.normalise {
        normalised(x)
    } else {
        x.to_vec()
    };
    let cosines = |anchor: Anchor| -> Loss {
        let pairs: Vec<(usize, usize)> = match anchor {
            Anchor::One(p) => (0..k).filter(|q| *q != p).map(|q| (p, q)).collect(),
            Anchor::Each => (0..k).flat_map(|q| (0..q).map(move |p| (p, q))).collect(),
        };
        let mut sum = Loss::zero(x);
        for (p, q) in &pairs {
            let term = cosine_loss(&vectors, &present, *p, *q, constants);
            sum.add(1.0 / pairs.len() as f64, &term);
        }
        sum
    };
    let mut loss = match config.term {
        Term::Volume(Anchor::One(anchor)) => volume_loss(&vectors, &present, anchor, constants),
        Term::Volume(Anchor::Each) => {
            let mut sum = Loss::zero(x);
            for anchor in 0..k {
                let term = volume_loss(&vectors, &present, anchor, constants);
                sum.add(1.0 / k as f64, &term);
            }
            sum
        }
        Term::Cosine(anchor) => cosines(anchor),
    };
    let pairs = cosines(Anchor::Each);
    loss.add(config.pairs, &pairs);
    if config.normalise {
        through_normalisation(x, &mut loss.gradient);
    }
    (loss, config.pairs * pairs.loss)
}
