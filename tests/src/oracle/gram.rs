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

/// Orthonormal rows by Gram-Schmidt, each vector orthogonalised twice, and the volume of the vectors.
#[derive(Clone, Debug)]
struct Basis {
    rows: Rows,
    volume: f64,
}

impl Basis {
    fn of<'a>(vectors: impl IntoIterator<Item = &'a Vec<f64>>) -> Self {
        let mut basis = Basis {
            rows: Rows::new(),
            volume: 1.0,
        };
        for x in vectors {
            basis.add(x);
        }
        basis
    }

    fn add(&mut self, x: &[f64]) {
        let (mut r, norm) = self.residual(x);
        self.volume *= height(norm, x);
        if self.volume > 0.0 {
            r.iter_mut().for_each(|r| *r /= norm);
            self.rows.push(r);
        }
    }

    /// What is left of a vector beside the span, and its length.
    fn residual(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let mut r = x.to_vec();
        for _ in 0..2 {
            for q in &self.rows {
                let y = dot(q, &r);
                r.iter_mut().zip(q).for_each(|(r, q)| *r -= y * q);
            }
        }
        let norm = dot(&r, &r).sqrt();
        (r, norm)
    }

    /// (Volume of these vectors) times the unit normal of x to their span.
    fn normal(&self, x: &[f64]) -> Vec<f64> {
        let (r, norm) = self.residual(x);
        let scale = self.volume / norm;
        r.iter().map(|r| r * scale).collect()
    }
}

/// The length of a residual of x, or 0.
fn height(norm: f64, x: &[f64]) -> f64 {
    if norm <= DEPENDENT * dot(x, x).sqrt() {
        0.0
    } else {
        norm
    }
}

/// The bases of some vectors without each of them.
fn without_each(vectors: &[Vec<f64>]) -> Vec<Basis> {
    let without = |p: usize| Basis::of(vectors[..p].iter().chain(&vectors[p + 1..]));
    (0..vectors.len()).map(without).collect()
}

/// The volume by Gram-Schmidt.
pub fn volume(vectors: &[Vec<f64>]) -> f64 {
    Basis::of(vectors).volume
}

/// dV/dx: each row is (volume of the others) times the unit normal to their span; 0 where V is 0.
pub fn volume_gradient(vectors: &[Vec<f64>]) -> Rows {
    if volume(vectors) == 0.0 {
        return vec![vec![0.0; vectors[0].len()]; vectors.len()];
    }
    let others = without_each(vectors).into_iter();
    others
        .zip(vectors)
        .map(|(others, x)| others.normal(x))
        .collect()
}

/// The vectors of an item, with what every anchor needs of them.
struct Item {
    vectors: Rows,
    all: Basis,
    without: Vec<Basis>,
}

impl Item {
    fn of(vectors: Rows) -> Self {
        Item {
            all: Basis::of(&vectors),
            without: without_each(&vectors),
            vectors,
        }
    }

    /// V of an anchor and these vectors.
    fn volume(&self, anchor: &[f64]) -> f64 {
        self.all.volume * height(self.all.residual(anchor).1, anchor)
    }

    /// [`volume_gradient`] of an anchor and these vectors.
    fn gradient(&self, anchor: &[f64]) -> Rows {
        if self.volume(anchor) == 0.0 {
            return vec![vec![0.0; anchor.len()]; 1 + self.vectors.len()];
        }
        let mut gradient = vec![self.all.normal(anchor)];
        for (others, x) in self.without.iter().zip(&self.vectors) {
            let mut others = others.clone();
            others.add(anchor);
            gradient.push(others.normal(x));
        }
        gradient
    }
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
            gradient: zeros(x),
            temperature: 0.0,
        }
    }

    /// Adds `weight` times another.
    pub fn add(&mut self, weight: f64, other: &Loss) {
        self.loss += weight * other.loss;
        self.temperature += weight * other.temperature;
        add_planes(&mut self.gradient, weight, &other.gradient);
    }
}

/// The modalities of some tuples, \[k\]\[rows\]\[d\], and which vectors are there.
#[derive(Clone, Copy, Debug)]
struct Side<'a> {
    x: &'a [Rows],
    present: &'a [Vec<bool>],
}

/// What is contrasted: an anchor with its item, or two modalities.
#[derive(Clone, Copy, Debug)]
enum Pairing {
    Volume(usize),
    Cosine(usize, usize),
}

/// Row and column of each pair that belongs together.
type Matched = Vec<(usize, usize)>;

/// A loss and its gradients through the anchors' tuples and through the items', apart.
struct Part {
    loss: f64,
    temperature: f64,
    anchors: Vec<Rows>,
    items: Vec<Rows>,
}

impl Pairing {
    fn anchor(self) -> usize {
        match self {
            Pairing::Volume(anchor) | Pairing::Cosine(anchor, _) => anchor,
        }
    }

    /// Those modalities of item j that are there.
    fn others(self, items: Side<'_>, j: usize) -> Vec<usize> {
        let is_other = |p: usize| match self {
            Pairing::Volume(anchor) => p != anchor,
            Pairing::Cosine(_, q) => p == q,
        };
        (0..items.x.len())
            .filter(|p| is_other(*p) && items.present[*p].get(j) == Some(&true))
            .collect()
    }

    /// The vectors of each item that are there; of cosines as they are.
    fn items(self, items: Side<'_>) -> Vec<Item> {
        let columns = items.x.iter().map(Vec::len).max().unwrap_or(0);
        let vectors = |j: usize| {
            let others = self.others(items, j).into_iter();
            others.map(|p| items.x[p][j].clone()).collect()
        };
        (0..columns).map(|j| Item::of(vectors(j))).collect()
    }

    /// s_ij; `None` where the anchor or the whole item is absent.
    fn scores(self, anchors: Side<'_>, items: &[Item]) -> Vec<Vec<Option<f64>>> {
        let a = self.anchor();
        let score = |anchor: &[f64], item: &Item| match self {
            Pairing::Volume(_) => item.volume(anchor),
            Pairing::Cosine(..) => dot(anchor, &item.vectors[0]),
        };
        let row = |anchor: &[f64], there: bool| {
            let of = |item: &Item| (there && !item.vectors.is_empty()).then(|| score(anchor, item));
            items.iter().map(of).collect()
        };
        let rows = anchors.x[a].iter().zip(&anchors.present[a]);
        rows.map(|(anchor, there)| row(anchor, *there)).collect()
    }

    /// The cross-entropies of the matched rows over the columns and of the matched columns over the rows, each times
    /// `share`.
    fn part(
        self,
        anchors: Side<'_>,
        items: Side<'_>,
        directions: [&Matched; 2],
        share: f64,
        constants: Constants,
    ) -> Part {
        let bases = self.items(items);
        let scores = self.scores(anchors, &bases);
        let sign = match self {
            Pairing::Volume(_) => -1.0,
            Pairing::Cosine(..) => 1.0,
        };
        let scale = sign / constants.temperature;
        let (loss, w, temperature) = contrast(&scores, scale, directions, share, constants);
        let (mut of_anchors, mut of_items) = (zeros(anchors.x), zeros(items.x));
        for (i, row) in w.iter().enumerate() {
            for (j, w) in row.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                if let Pairing::Cosine(p, q) = self {
                    add_to(&mut of_anchors[p][i], *w, &items.x[q][j]);
                    add_to(&mut of_items[q][j], *w, &anchors.x[p][i]);
                    continue;
                }
                let a = self.anchor();
                let gradient = bases[j].gradient(&anchors.x[a][i]);
                add_to(&mut of_anchors[a][i], *w, &gradient[0]);
                for (p, g) in self.others(items, j).into_iter().zip(&gradient[1..]) {
                    add_to(&mut of_items[p][j], *w, g);
                }
            }
        }
        Part {
            loss,
            temperature,
            anchors: of_anchors,
            items: of_items,
        }
    }

    /// The pairs of anchor i and item i + offset of which both are there.
    fn matched(self, anchors: Side<'_>, items: Side<'_>, offset: usize) -> Matched {
        let there = |i: &usize| {
            anchors.present[self.anchor()][*i] && !self.others(items, *i + offset).is_empty()
        };
        (0..anchors.x[self.anchor()].len())
            .filter(there)
            .map(|i| (i, i + offset))
            .collect()
    }

    /// The loss of a whole batch.
    fn square(self, all: Side<'_>, constants: Constants) -> Loss {
        let matched = self.matched(all, all, 0);
        let share = 0.5 / matched.len() as f64;
        let part = self.part(all, all, [&matched, &matched], share, constants);
        let mut gradient = part.anchors;
        add_planes(&mut gradient, 1.0, &part.items);
        Loss {
            loss: part.loss,
            gradient,
            temperature: part.temperature,
        }
    }
}

fn zeros(x: &[Rows]) -> Vec<Rows> {
    let zero = |rows: &Rows| rows.iter().map(|row| vec![0.0; row.len()]).collect();
    x.iter().map(zero).collect()
}

fn add_to(to: &mut [f64], weight: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(a, b)| *a += weight * b);
}

fn add_planes(to: &mut [Rows], weight: f64, from: &[Rows]) {
    for (a, b) in to.iter_mut().flatten().zip(from.iter().flatten()) {
        add_to(a, weight, b);
    }
}

/// The cross-entropies over scores s_ij with logits scale·s_ij, each times `share`, of the rows and of the columns
/// whose targets are given; `None` where row or column is absent. Returns the loss, dL/ds and dL/dτ, given that
/// the scale is ±1/τ.
fn contrast(
    scores: &[Vec<Option<f64>>],
    scale: f64,
    directions: [&Matched; 2],
    share: f64,
    constants: Constants,
) -> (f64, Rows, f64) {
    let (rows, columns) = (scores.len(), scores.first().map_or(0, Vec::len));
    let mut gradient = vec![vec![0.0; columns]; rows];
    let (mut loss, mut temperature) = (0.0, 0.0);
    for (transposed, matched) in [false, true].into_iter().zip(directions) {
        for &(row, column) in matched {
            let line: Vec<(usize, usize)> = if transposed {
                (0..rows).map(|i| (i, column)).collect()
            } else {
                (0..columns).map(|j| (row, j)).collect()
            };
            let candidates: Vec<(usize, usize)> = line
                .into_iter()
                .filter(|(i, j)| scores[*i][*j].is_some())
                .collect();
            let logits: Vec<f64> = candidates
                .iter()
                .map(|(i, j)| scale * scores[*i][*j].expect("a candidate"))
                .collect();
            let target = candidates
                .iter()
                .position(|at| *at == (row, column))
                .expect("the target is a candidate");
            let (ce, dl) = cross_entropy(&logits, target, constants.smoothing);
            loss += share * ce;
            for (((i, j), dl), l) in candidates.iter().zip(dl).zip(&logits) {
                gradient[*i][*j] += share * dl * scale;
                // As Σ dl = 0, any number may be taken from all l.
                temperature -= share * dl * (l - logits[target]) / constants.temperature;
            }
        }
    }
    (loss, gradient, temperature)
}

/// The volume loss with modality `anchor`; `present`\[modality\]\[row\].
pub fn volume_loss(x: &[Rows], present: &[Vec<bool>], anchor: usize, constants: Constants) -> Loss {
    Pairing::Volume(anchor).square(Side { x, present }, constants)
}

/// The cosine loss of two modalities, of vectors that are unit already.
pub fn cosine_loss(
    x: &[Rows],
    present: &[Vec<bool>],
    p: usize,
    q: usize,
    constants: Constants,
) -> Loss {
    Pairing::Cosine(p, q).square(Side { x, present }, constants)
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

/// The terms of a loss of k modalities with their weights, and apart those of the pairs.
fn terms(config: &GramLoss<f64>, k: usize) -> [Vec<(f64, Pairing)>; 2] {
    let cosines = |anchor: Anchor| -> Vec<Pairing> {
        match anchor {
            Anchor::One(p) => (0..k)
                .filter(|q| *q != p)
                .map(|q| Pairing::Cosine(p, q))
                .collect(),
            Anchor::Each => (0..k)
                .flat_map(|q| (0..q).map(move |p| Pairing::Cosine(p, q)))
                .collect(),
        }
    };
    let mean = |weight: f64, pairings: Vec<Pairing>| -> Vec<(f64, Pairing)> {
        let weight = weight / pairings.len() as f64;
        pairings.into_iter().map(|p| (weight, p)).collect()
    };
    let main = match config.term {
        Term::Volume(Anchor::One(anchor)) => vec![Pairing::Volume(anchor)],
        Term::Volume(Anchor::Each) => (0..k).map(Pairing::Volume).collect(),
        Term::Cosine(anchor) => cosines(anchor),
    };
    let pairs = if config.pairs > 0.0 {
        cosines(Anchor::Each)
    } else {
        Vec::new()
    };
    [mean(1.0, main), mean(config.pairs, pairs)]
}

impl Constants {
    fn of(config: &GramLoss<f64>) -> Self {
        Constants {
            temperature: config.temperature,
            smoothing: config.label_smoothing,
        }
    }
}

/// Which vectors take part, and what they are contrasted as.
fn prepared(
    config: &GramLoss<f64>,
    x: &[Rows],
    present: &[Vec<bool>],
) -> (Vec<Rows>, Vec<Vec<bool>>) {
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
    (vectors, present)
}

/// The whole loss of a batch and, apart, its part that is the weighted cosines of all pairs;
/// `present`\[modality\]\[row\]. Absent vectors must hold numbers.
pub fn batch_loss(config: &GramLoss<f64>, x: &[Rows], present: &[Vec<bool>]) -> (Loss, f64) {
    let (vectors, present) = prepared(config, x, present);
    let all = Side {
        x: &vectors,
        present: &present,
    };
    let [main, pairs] = terms(config, x.len()).map(|terms| {
        let mut sum = Loss::zero(x);
        for (weight, pairing) in terms {
            sum.add(weight, &pairing.square(all, Constants::of(config)));
        }
        sum
    });
    let mut loss = main;
    loss.add(1.0, &pairs);
    if config.normalise {
        through_normalisation(x, &mut loss.gradient);
    }
    (loss, pairs.loss)
}

/// The loss of a shard, with its gradients through the local vectors and through the gathered ones apart, as if those
/// were copies; \[k\]\[all rows\]\[d\].
#[derive(Clone, Debug)]
pub struct ShardLoss {
    /// The loss.
    pub loss: f64,
    /// Its part that is the weighted cosines of all pairs.
    pub pairs: f64,
    /// With respect to τ.
    pub temperature: f64,
    /// Through the local vectors; 0 for other rows.
    pub local: Vec<Rows>,
    /// Through the gathered vectors.
    pub gathered: Vec<Rows>,
}

impl ShardLoss {
    /// With respect to everything.
    pub fn full(&self) -> Vec<Rows> {
        let mut sum = self.local.clone();
        add_planes(&mut sum, 1.0, &self.gathered);
        sum
    }
}

/// The loss of the rows `from` to `to` of a gathered batch: local anchors against all items, all anchors against local
/// items, times all rows / local rows over the tuples of the whole batch that are there.
pub fn shard_loss(
    config: &GramLoss<f64>,
    x: &[Rows],
    present: &[Vec<bool>],
    [from, to]: [usize; 2],
) -> ShardLoss {
    let local: Vec<Rows> = x.iter().map(|x| x[from..to].to_vec()).collect();
    shard_loss_of_copies(config, &local, x, present, from)
}

/// The same of local vectors that need not be those of the gathered batch, but are there where those are.
pub fn shard_loss_of_copies(
    config: &GramLoss<f64>,
    local: &[Rows],
    x: &[Rows],
    present: &[Vec<bool>],
    from: usize,
) -> ShardLoss {
    let to = from + local[0].len();
    let (vectors, present) = prepared(config, x, present);
    let local_present: Vec<Vec<bool>> = present.iter().map(|p| p[from..to].to_vec()).collect();
    let (local_x, _) = prepared(config, local, &local_present);
    let all = Side {
        x: &vectors,
        present: &present,
    };
    let local = Side {
        x: &local_x,
        present: &local_present,
    };
    let mut result = ShardLoss {
        loss: 0.0,
        pairs: 0.0,
        temperature: 0.0,
        local: zeros(x),
        gathered: zeros(x),
    };
    let [main, pairs] = terms(config, x.len());
    let main = main.into_iter().map(|term| (term, false));
    for ((weight, pairing), is_pair) in main.chain(pairs.into_iter().map(|term| (term, true))) {
        let tuples = pairing.matched(all, all, 0).len() as f64;
        let share = 0.5 * x[0].len() as f64 / (to - from) as f64 / tuples;
        let rows: Matched = pairing.matched(local, local, 0);
        let rows: Matched = rows.into_iter().map(|(i, _)| (i, from + i)).collect();
        let columns: Matched = rows.iter().map(|(i, j)| (*j, *i)).collect();
        let (none, constants) = (Matched::new(), Constants::of(config));
        let forward = pairing.part(local, all, [&rows, &none], share, constants);
        let backward = pairing.part(all, local, [&none, &columns], share, constants);
        let loss = weight * (forward.loss + backward.loss);
        result.loss += loss;
        if is_pair {
            result.pairs += loss;
        }
        result.temperature += weight * (forward.temperature + backward.temperature);
        add_planes(&mut result.gathered, weight, &forward.items);
        add_planes(&mut result.gathered, weight, &backward.anchors);
        for part in [forward.anchors, backward.items] {
            for (to, from_rows) in result.local.iter_mut().zip(part) {
                for (to, g) in to[from..].iter_mut().zip(from_rows) {
                    add_to(to, weight, &g);
                }
            }
        }
    }
    if config.normalise {
        through_normalisation(x, &mut result.local);
        through_normalisation(x, &mut result.gathered);
    }
    result
}

/// The cross-entropies of anchors over items, the target of anchor i being item i + `offset`. The first plane of `x` is
/// that of the anchors, the others are the items'; the gradient has their shape.
pub fn rectangle_loss(
    config: &GramLoss<f64>,
    x: &[Rows],
    present: &[Vec<bool>],
    offset: usize,
) -> Loss {
    let (vectors, present) = prepared(config, x, present);
    let both = Side {
        x: &vectors,
        present: &present,
    };
    let mut loss = Loss::zero(x);
    let [main, _] = terms(config, x.len());
    for (weight, pairing) in main {
        // The anchors' own plane is among the items' too, and no item has anything of it.
        let rows = pairing.matched(both, both, offset);
        let share = 1.0 / rows.len() as f64;
        let none = Matched::new();
        let part = pairing.part(both, both, [&rows, &none], share, Constants::of(config));
        loss.loss += weight * part.loss;
        loss.temperature += weight * part.temperature;
        add_planes(&mut loss.gradient, weight, &part.anchors);
        add_planes(&mut loss.gradient, weight, &part.items);
    }
    if config.normalise {
        through_normalisation(x, &mut loss.gradient);
    }
    loss
}
