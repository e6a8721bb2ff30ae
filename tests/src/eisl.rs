//! Cases of the sequence loss: from the golden files or drawn, run over any instruction set.

use std::collections::HashMap;

use rivergram_core::eisl::{
    self, Axis, Batch, Combine, Config, IGNORE, Input, Objective, Padding, Parts, Reduction,
    References, Select, Shape, noise_len,
};
use rivergram_core::error::EislError;
use rivergram_core::lanes::{Isa, One, Real};
use rivergram_simd::{Kernel, Level};
use serde::Deserialize;

use crate::convert::{bits, cast, widen};
use crate::oracle::eisl::{evaluate, log_softmax};
use crate::precision::{DOUBLE, Precision, SINGLE, assert_close};
use crate::random::Random;

/// A batch with its configuration, in double precision.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// What messages call it.
    pub name: String,
    /// B.
    #[serde(rename = "B")]
    pub batch: usize,
    /// T.
    #[serde(rename = "T")]
    pub positions: usize,
    /// U.
    #[serde(rename = "U")]
    pub targets_len: usize,
    /// V.
    #[serde(rename = "V")]
    pub vocabulary: usize,
    /// What x holds.
    #[serde(rename = "input_kind", with = "InputName")]
    pub input: Input,
    /// \[B\]\[T\]\[V\].
    pub x: Vec<f64>,
    /// \[B\]\[U\].
    pub targets: Vec<i32>,
    /// The label of padding.
    pub pad_id: Option<i32>,
    /// What becomes of padding.
    #[serde(rename = "pad_mode", with = "PaddingName")]
    pub padding: Padding,
    /// Output positions of each row.
    #[serde(rename = "out_len")]
    pub output_lens: Vec<usize>,
    /// Labels of each row.
    #[serde(rename = "tgt_len")]
    pub target_lens: Vec<usize>,
    /// n of each order.
    #[serde(rename = "ngrams")]
    pub orders: Vec<usize>,
    /// w of each order.
    pub weights: Vec<f64>,
    /// τ.
    #[serde(rename = "tau")]
    pub temperature: f64,
    /// The least ln p.
    pub clamp: Option<f64>,
    /// The reduction over positions.
    #[serde(with = "SelectName")]
    pub select: Select,
    /// By n: \[B\]\[T−n+1\]\[U−n+1\].
    pub noise: Option<HashMap<usize, Vec<f64>>>,
    /// The factor of the n-gram loss.
    pub ngram_factor: f64,
    /// The factor of cross-entropy.
    pub ce_factor: Option<f64>,
    /// ε.
    pub label_smoothing: f64,
    /// The golden outcome.
    pub expect: Option<Outcome>,
    /// What no golden file has.
    #[serde(skip)]
    pub more: More,
}

/// What a case may have beyond those of the golden files.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// What is measured of n-grams.
    pub objective: Objective,
    /// The places of the selection.
    pub axis: Axis,
    /// k of each order relative to the output length; their weights follow those of the orders.
    pub from_length: Vec<usize>,
    /// Several references.
    pub references: Option<Several>,
    /// How rows and orders become one number.
    pub upstream: Upstream,
    /// By the cross-entropy of each row.
    pub ce_upstream: Option<Vec<f64>>,
    /// Noise as the batch wants it, in place of that by n.
    pub noise: Option<Vec<f64>>,
}

/// [`References`] of a case.
#[derive(Clone, Debug)]
pub struct Several {
    /// R.
    pub places: usize,
    /// In use, of each row.
    pub counts: Vec<usize>,
    /// How they become one loss.
    pub combine: Combine,
    /// That of cross-entropy, of each row.
    pub cross_entropy: Option<Vec<usize>>,
}

/// [`Reduction`] of a case.
#[derive(Clone, Debug, Default)]
pub enum Upstream {
    /// [`Reduction::Mean`].
    #[default]
    Mean,
    /// [`Reduction::PerOrder`].
    PerOrder(Vec<f64>),
    /// [`Reduction::PerRow`].
    PerRow(Vec<f64>),
    /// [`Reduction::None`].
    None(Vec<f64>),
}

/// What comes out of a case.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// The whole loss.
    pub total: f64,
    /// The n-gram loss.
    pub eisl: f64,
    /// Cross-entropy.
    pub ce: Option<f64>,
    /// Of each order.
    #[serde(rename = "per_n_loss")]
    pub per_order: Vec<f64>,
    /// Of each order and row.
    #[serde(rename = "per_row_loss")]
    pub per_row: Vec<Vec<f64>>,
    /// \[B\]\[T\]\[V\].
    #[serde(rename = "grad")]
    pub gradient: Vec<f64>,
    /// Of each row: Σ wₙ·loss, the cross-entropy of its tokens, the chosen reference.
    #[serde(skip)]
    pub rows: Vec<(f64, f64, usize)>,
    /// With derivatives from the caller, which may have either sign: Σ |term| of the whole loss.
    #[serde(skip)]
    pub magnitude: f64,
}

#[derive(Deserialize)]
#[serde(remote = "Input")]
enum InputName {
    #[serde(rename = "logits")]
    Logits,
    #[serde(rename = "logprobs")]
    LogProbs,
}

#[derive(Deserialize)]
#[serde(remote = "Padding")]
enum PaddingName {
    #[serde(rename = "mask")]
    Mask,
    #[serde(rename = "zero")]
    Zero,
    #[serde(rename = "none")]
    None,
}

#[derive(Deserialize)]
#[serde(remote = "Select")]
enum SelectName {
    #[serde(rename = "softmax")]
    Softmax,
    #[serde(rename = "softmax_detach")]
    Detached,
    #[serde(rename = "logsumexp")]
    LogSumExp,
    #[serde(rename = "mean")]
    Mean,
    #[serde(rename = "max")]
    Max,
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

impl Case {
    /// A small random case of any kind, without zeros and infinities.
    pub fn random(random: &mut Random, number: usize) -> Self {
        let (batch, vocabulary) = (1 + random.below(3), 3 + random.below(18));
        let (positions, targets_len) = (1 + random.below(9), 1 + random.below(9));
        let shape = Shape {
            batch,
            positions,
            targets: targets_len,
            vocabulary,
        };
        let input = pick(random, &[Input::Logits, Input::LogProbs]);
        let padding = pick(random, &[Padding::Mask, Padding::Zero, Padding::None]);
        let mut x: Vec<f64> = (0..batch * positions * vocabulary)
            .map(|_| f64::from((3.0 * random.normal()) as f32))
            .collect();
        if input == Input::LogProbs {
            let rows = x.chunks(vocabulary).flat_map(log_softmax);
            x = rows.map(|x| f64::from(x as f32)).collect();
        }
        let orders: Vec<usize> = (0..1 + random.below(3))
            .map(|_| 1 + random.below(5))
            .collect();
        let noise = (random.below(2) == 0).then(|| {
            let of = |n: &usize, random: &mut Random| {
                let len = noise_len(shape, &[(*n, 0.0)]);
                (0..len)
                    .map(|_| f64::from(random.normal() as f32))
                    .collect()
            };
            orders.iter().map(|n| (*n, of(n, random))).collect()
        });
        let label = |random: &mut Random| {
            let may_ignore = padding != Padding::None && random.below(8) == 0;
            if may_ignore {
                IGNORE
            } else {
                random.below(vocabulary) as i32
            }
        };
        Case {
            name: format!("random {number}"),
            batch,
            positions,
            targets_len,
            vocabulary,
            input,
            x,
            targets: (0..batch * targets_len).map(|_| label(random)).collect(),
            pad_id: pick(random, &[None, Some(1)]),
            padding,
            output_lens: (0..batch).map(|_| random.below(positions + 1)).collect(),
            target_lens: (0..batch).map(|_| random.below(targets_len + 1)).collect(),
            weights: orders
                .iter()
                .map(|_| pick(random, &[0.25, 0.5, 1.0, 2.0]))
                .collect(),
            orders,
            temperature: pick(random, &[0.5, 1.0, 2.0]),
            clamp: pick(random, &[None, Some(-4.0), Some(-20.0)]),
            select: pick(
                random,
                &[
                    Select::Softmax,
                    Select::Detached,
                    Select::LogSumExp,
                    Select::Mean,
                    Select::Max,
                ],
            ),
            noise,
            ngram_factor: pick(random, &[1.0, 0.75]),
            ce_factor: pick(random, &[None, Some(0.25)]),
            label_smoothing: pick(random, &[0.0, 0.125]),
            expect: None,
            more: More::default(),
        }
    }

    /// A small random case with any of the other options, of positive weights.
    pub fn random_more(random: &mut Random, number: usize) -> Self {
        let mut case = Case::random(random, number);
        case.add_more(random);
        case
    }

    /// Draws all other options anew.
    pub fn add_more(&mut self, random: &mut Random) {
        let objective = pick(random, &[Objective::EditInvariant, Objective::BagOfNgrams]);
        if objective == Objective::BagOfNgrams && self.padding == Padding::Zero {
            self.padding = Padding::Mask;
        }
        let from_length: Vec<usize> = (0..random.below(3)).map(|_| random.below(6)).collect();
        self.weights.truncate(self.orders.len());
        for _ in &from_length {
            self.weights.push(pick(random, &[0.25, 0.5]));
        }
        let references = (random.below(2) == 0).then(|| {
            let places = random.below(4);
            let counts: Vec<usize> = (0..self.batch).map(|_| random.below(places + 1)).collect();
            let of_ce = counts.iter().map(|&count| random.below(count.max(1)));
            let of_ce: Vec<usize> = of_ce.collect();
            Several {
                places,
                combine: pick(random, &[Combine::Mean, Combine::Best]),
                cross_entropy: (random.below(2) == 0).then_some(of_ce),
                counts,
            }
        });
        self.more = More {
            objective,
            axis: pick(random, &[Axis::Positions, Axis::Targets]),
            from_length,
            references,
            ..More::default()
        };
        self.draw_labels(random);
        self.draw_upstream(random, None);
        self.more.noise = (random.below(3) == 0).then(|| {
            let orders = self.orders::<f64>();
            let lengths = self.from_length::<f64>();
            let config = self.config(&orders, &lengths);
            let loan = self.loan::<f64>();
            let len = self.batch(&loan).noise_len(&config);
            (0..len)
                .map(|_| f64::from(random.normal() as f32))
                .collect()
        });
        self.noise = None;
    }

    /// Labels for all references.
    pub fn draw_labels(&mut self, random: &mut Random) {
        let slots = self.batch * self.places();
        let label = |random: &mut Random| {
            if self.padding != Padding::None && random.below(8) == 0 {
                IGNORE
            } else {
                random.below(self.vocabulary.min(6)) as i32
            }
        };
        self.targets = (0..slots * self.targets_len)
            .map(|_| label(random))
            .collect();
        self.target_lens = (0..slots)
            .map(|_| random.below(self.targets_len + 1))
            .collect();
    }

    /// Derivatives for one of the four reductions.
    pub fn draw_upstream(&mut self, random: &mut Random, which: Option<usize>) {
        let orders = self.order_count();
        let mut draw = |len: usize| -> Vec<f64> {
            (0..len)
                .map(|_| f64::from(random.normal() as f32))
                .collect()
        };
        let (per_order, per_row) = (draw(orders), draw(self.batch));
        let each = draw(self.batch * orders);
        let of_ce = draw(self.batch);
        let which = which.unwrap_or_else(|| random.below(4));
        self.more.upstream = match which {
            0 => Upstream::Mean,
            1 => Upstream::PerOrder(per_order),
            2 => Upstream::PerRow(per_row),
            _ => Upstream::None(each),
        };
        self.more.ce_upstream = (random.below(2) == 0).then_some(of_ce);
    }

    /// The same with its logits and noise rounded to `f32`.
    pub fn rounded(&self) -> Self {
        let single = |x: &mut f64| *x = f64::from(*x as f32);
        let mut case = self.clone();
        case.x.iter_mut().for_each(single);
        let by_order = case.noise.iter_mut().flat_map(|noise| noise.values_mut());
        by_order.flatten().for_each(single);
        case
    }

    /// R.
    pub fn places(&self) -> usize {
        self.more.references.as_ref().map_or(1, |r| r.places)
    }

    /// The references of a row.
    pub fn references(&self, row: usize) -> usize {
        self.more.references.as_ref().map_or(1, |r| r.counts[row])
    }

    /// The orders of both kinds.
    pub fn order_count(&self) -> usize {
        self.orders.len() + self.more.from_length.len()
    }

    /// The sizes.
    pub fn shape(&self) -> Shape {
        Shape {
            batch: self.batch,
            positions: self.positions,
            targets: self.targets_len,
            vocabulary: self.vocabulary,
        }
    }

    /// (n, w) of each order.
    pub fn orders<T: Real>(&self) -> Vec<(usize, T)> {
        let weights = cast(&self.weights);
        self.orders.iter().copied().zip(weights).collect()
    }

    /// (k, w) of each order relative to the output length.
    pub fn from_length<T: Real>(&self) -> Vec<(usize, T)> {
        let weights = cast(&self.weights).into_iter().skip(self.orders.len());
        self.more.from_length.iter().copied().zip(weights).collect()
    }

    /// The configuration.
    pub fn config<'a, T: Real>(
        &self,
        orders: &'a [(usize, T)],
        from_length: &'a [(usize, T)],
    ) -> Config<'a, T> {
        Config {
            orders,
            from_length,
            objective: self.more.objective,
            select: self.select,
            axis: self.more.axis,
            temperature: T::constant(self.temperature),
            clamp: self.clamp.map(T::constant),
            padding: self.padding,
            pad_id: self.pad_id,
            input: self.input,
            ngram_factor: T::constant(self.ngram_factor),
            ce_factor: T::constant(self.ce_factor.unwrap_or(0.0)),
            label_smoothing: T::constant(self.label_smoothing),
        }
    }

    /// What a batch borrows beyond the labels.
    pub fn loan<T: Real>(&self) -> Loan<T> {
        let (kind, upstream) = match &self.more.upstream {
            Upstream::Mean => (0, vec![]),
            Upstream::PerOrder(g) => (1, cast(g)),
            Upstream::PerRow(g) => (2, cast(g)),
            Upstream::None(g) => (3, cast(g)),
        };
        let flat = self.more.noise.as_ref().map(|noise| cast(noise));
        let by_order = self.noise.as_ref().map(|by_order| {
            let orders = self.orders.iter();
            orders.flat_map(|n| cast(&by_order[n])).collect()
        });
        Loan {
            kind,
            upstream,
            ce_upstream: self.more.ce_upstream.as_ref().map(|g| cast(g)),
            noise: flat.or(by_order),
        }
    }

    /// The batch.
    pub fn batch<'a, T: Real>(&'a self, loan: &'a Loan<T>) -> Batch<'a, T> {
        let several = self.more.references.as_ref();
        Batch {
            target_lens: Some(&self.target_lens),
            output_lens: Some(&self.output_lens),
            noise: loan.noise.as_deref(),
            references: several.map(|several| References {
                places: several.places,
                counts: Some(&several.counts),
                combine: several.combine,
                cross_entropy: several.cross_entropy.as_deref(),
            }),
            reduction: match loan.kind {
                0 => Reduction::Mean,
                1 => Reduction::PerOrder(&loan.upstream),
                2 => Reduction::PerRow(&loan.upstream),
                _ => Reduction::None(&loan.upstream),
            },
            ce_upstream: loan.ce_upstream.as_deref(),
            ..Batch::new(self.shape(), &self.targets)
        }
    }

    /// The noise of one score: by the place of its order, and by n in a row with so many outputs.
    pub fn noise_at(&self, o: usize, row: usize, reference: usize, j: usize, i: usize) -> f64 {
        if let Some(noise) = &self.more.noise {
            let grams = |o: usize| match self.orders.get(o) {
                Some(n) => self.shape().grams(*n),
                None if self.more.from_length[o - self.orders.len()] < self.positions => {
                    let k = self.more.from_length[o - self.orders.len()];
                    (k + 1, self.targets_len)
                }
                None => (0, 0),
            };
            let slots = self.batch * self.places();
            let before: usize = (0..o).map(|o| slots * grams(o).0 * grams(o).1).sum();
            let (k, m) = grams(o);
            let at = match self.more.axis {
                Axis::Positions => j * m + i,
                Axis::Targets => i * k + j,
            };
            return noise[before + (row * self.places() + reference) * k * m + at];
        }
        let Some(by_order) = &self.noise else {
            return 0.0;
        };
        let n = self.orders[o];
        let (k, m) = self.shape().grams(n);
        by_order[&n][(row * k + j) * m + i]
    }
}

/// What a batch borrows, in one precision.
#[derive(Clone, Debug)]
pub struct Loan<T> {
    kind: usize,
    upstream: Vec<T>,
    ce_upstream: Option<Vec<T>>,
    noise: Option<Vec<T>>,
}

impl Outcome {
    /// This golden outcome for the case with rounded inputs: moved by what the definition says of the rounding. The
    /// decimals of a golden file are exact in `f64` only, and rounding a logit of 300 moves its probability by 1e-5.
    pub fn of_rounded(&self, case: &Case) -> Self {
        let (from, to) = (evaluate(case), evaluate(&case.rounded()));
        let moved = |x: f64, from: f64, to: f64| x + (to - from);
        let all = |x: &[f64], from: &[f64], to: &[f64]| -> Vec<f64> {
            let both = from.iter().zip(to);
            let each = x.iter().zip(both);
            each.map(|(x, (from, to))| moved(*x, *from, *to)).collect()
        };
        let by_order = self
            .per_row
            .iter()
            .zip(from.per_row.iter().zip(&to.per_row));
        Outcome {
            total: moved(self.total, from.total, to.total),
            eisl: moved(self.eisl, from.eisl, to.eisl),
            ce: (self.ce.zip(from.ce.zip(to.ce))).map(|(x, (from, to))| moved(x, from, to)),
            per_order: all(&self.per_order, &from.per_order, &to.per_order),
            per_row: by_order.map(|(x, (from, to))| all(x, from, to)).collect(),
            gradient: all(&self.gradient, &from.gradient, &to.gradient),
            ..self.clone()
        }
    }
}

/// Runs a case with the gradient in a buffer of its own, and checks that in place, without a gradient
/// and without the parts it is the same bit for bit.
#[inline(always)]
pub fn run<I: Isa>(isa: I, case: &Case) -> Result<Outcome, EislError> {
    let (orders, lengths) = (case.orders(), case.from_length());
    let config = case.config(&orders, &lengths);
    let loan = case.loan();
    let batch = case.batch(&loan);
    let x: Vec<I::Scalar> = cast(&case.x);
    let zero = I::Scalar::ZERO;
    // Whatever the workspace held before must not matter.
    let dirt = I::Scalar::ONE / zero;
    let count = case.order_count();
    let mut workspace = vec![dirt; batch.workspace_len(&config)];
    let mut per_order = vec![dirt; count];
    let mut per_row = vec![dirt; count * case.batch];
    let mut rows = vec![dirt; case.batch];
    let mut ce_per_row = vec![dirt; case.batch];
    let mut chosen = vec![usize::MAX; case.batch];
    let mut gradient = vec![dirt; x.len()];
    let parts = Parts {
        per_order: Some(&mut per_order),
        per_row: Some(&mut per_row),
        rows: Some(&mut rows),
        ce_per_row: Some(&mut ce_per_row),
        chosen: Some(&mut chosen),
    };
    let losses = eisl::loss_and_gradient(
        isa,
        &config,
        &batch,
        &x,
        &mut gradient,
        parts,
        &mut workspace,
    )?;

    let alone = eisl::loss(isa, &config, &batch, &x, Parts::none(), &mut workspace)?;
    assert_eq!(
        bits(&[losses.total]),
        bits(&[alone.total]),
        "{}: loss alone",
        case.name
    );
    let mut in_place = x;
    let again = eisl::loss_and_gradient_in_place(
        isa,
        &config,
        &batch,
        &mut in_place,
        Parts::none(),
        &mut workspace,
    )?;
    assert_eq!(
        bits(&[losses.total]),
        bits(&[again.total]),
        "{}: loss in place",
        case.name
    );
    assert_eq!(
        bits(&gradient),
        bits(&in_place),
        "{}: gradient in place",
        case.name
    );

    let per_row = widen(&per_row);
    Ok(Outcome {
        total: losses.total.to_f64(),
        eisl: losses.eisl.to_f64(),
        ce: case.ce_factor.map(|_| losses.ce.to_f64()),
        per_order: widen(&per_order),
        per_row: (0..count)
            .map(|o| per_row.iter().skip(o).step_by(count).copied().collect())
            .collect(),
        gradient: widen(&gradient),
        magnitude: 0.0,
        rows: zip_rows(&widen(&rows), &widen(&ce_per_row), &chosen),
    })
}

fn zip_rows(rows: &[f64], ce: &[f64], chosen: &[usize]) -> Vec<(f64, f64, usize)> {
    let both = rows.iter().copied().zip(ce.iter().copied());
    let all = both.zip(chosen.iter().copied());
    all.map(|((row, ce), chosen)| (row, ce, chosen)).collect()
}

/// The case in double precision.
pub fn run_double(case: &Case) -> Result<Outcome, EislError> {
    run(One::<f64>::new(), case)
}

/// The case at every level of this CPU, by name; `scalar` is among them.
pub fn run_at_all_levels(case: &Case) -> Vec<(&'static str, Result<Outcome, EislError>)> {
    struct Run<'a>(&'a Case);
    impl Kernel<f32> for Run<'_> {
        type Output = Result<Outcome, EislError>;
        #[inline(always)]
        fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
            run(isa, self.0)
        }
    }
    let levels = Level::available();
    levels
        .map(|level| (level.name(), level.run(Run(case))))
        .collect()
}

/// A valid case in double precision, and in single precision at every level: by name, with the caps to keep.
#[track_caller]
pub fn run_everywhere(case: &Case) -> Vec<(&'static str, Outcome, Precision)> {
    let double = ("f64", run_double(case), DOUBLE);
    let singles = run_at_all_levels(case).into_iter();
    let all = [double]
        .into_iter()
        .chain(singles.map(|(level, outcome)| (level, outcome, SINGLE)));
    all.map(|(name, outcome, caps)| (name, outcome.expect("a valid case"), caps))
        .collect()
}

/// Panics where a case is outside the precision; returns the worst errors of loss and gradient.
#[track_caller]
pub fn compare(what: &str, got: &Outcome, want: &Outcome, precision: &Precision) -> (f64, f64) {
    assert_eq!(got.ce.is_some(), want.ce.is_some(), "{what}");
    // Sums of terms of either sign are rounded as their terms are.
    let mut pairs = vec![];
    let sums = [(got.total, want.total), (got.eisl, want.eisl)];
    for (got, sum) in sums.into_iter().chain(got.ce.zip(want.ce)) {
        pairs.push((got, sum, want.magnitude));
    }
    let own = |(got, want): (f64, f64)| (got, want, 0.0);
    assert_eq!(got.per_order.len(), want.per_order.len(), "{what}");
    pairs.extend(zip(&got.per_order, &want.per_order).map(own));
    let (got_rows, want_rows) = (got.per_row.concat(), want.per_row.concat());
    assert_eq!(got_rows.len(), want_rows.len(), "{what}");
    pairs.extend(zip(&got_rows, &want_rows).map(own));
    // Golden files have no such rows.
    for (got, want) in got.rows.iter().zip(&want.rows) {
        pairs.extend([(got.0, want.0), (got.1, want.1)].map(own));
        assert_eq!(got.2, want.2, "{what}: chosen");
    }
    let mut worst = 0.0f64;
    for (got, want, magnitude) in pairs {
        let scale = want.abs().max(magnitude).max(1.0);
        assert_close(what, got, want, scale, precision.loss);
        worst = worst.max((got - want).abs() / scale);
    }
    (
        worst,
        compare_gradients(what, &got.gradient, &want.gradient, precision),
    )
}

/// Panics where an entry is outside the precision; returns the worst error.
#[track_caller]
pub fn compare_gradients(what: &str, got: &[f64], want: &[f64], precision: &Precision) -> f64 {
    assert_eq!(got.len(), want.len(), "{what}");
    let norm = want.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = norm.max(1e-2);
    let what = format!("{what}: gradient");
    let mut worst = 0.0f64;
    for (got, want) in zip(got, want) {
        assert_close(&what, got, want, scale, precision.eisl_gradient);
        worst = worst.max((got - want).abs() / scale);
    }
    worst
}

fn zip(a: &[f64], b: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    a.iter().copied().zip(b.iter().copied())
}

/// One order with weight 1 over logits, three rows of full length, T = `positions`, U = `targets`, V = 11.
pub fn plain(random: &mut Random, positions: usize, targets: usize, n: usize) -> Case {
    let mut case = Case::random(random, 0);
    case.batch = 3;
    case.positions = positions;
    case.targets_len = targets;
    case.vocabulary = 11;
    case.x = (0..3 * positions * 11).map(|_| random.normal()).collect();
    case.targets = (0..3 * targets).map(|_| random.below(11) as i32).collect();
    case.target_lens = vec![targets; 3];
    case.output_lens = vec![positions; 3];
    case.orders = vec![n];
    case.weights = vec![1.0];
    case.input = Input::Logits;
    case.select = Select::Softmax;
    case.padding = Padding::Mask;
    case.pad_id = None;
    case.noise = None;
    case.temperature = 1.0;
    case.clamp = None;
    case.ngram_factor = 1.0;
    case.ce_factor = None;
    case.label_smoothing = 0.0;
    case
}
