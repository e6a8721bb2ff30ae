//! Cases of the sequence loss: from the golden files or drawn, run over any instruction set.

use std::collections::HashMap;

use rivergram_core::eisl::{
    self, Batch, Config, IGNORE, Input, Padding, Parts, Select, Shape, noise_len,
};
use rivergram_core::error::EislError;
use rivergram_core::lanes::{Isa, Real};
use rivergram_simd::{Kernel, Level};
use serde::Deserialize;

use crate::convert::{bits, cast, widen};
use crate::oracle::eisl::log_softmax;
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
        }
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

    /// The configuration.
    pub fn config<'a, T: Real>(&self, orders: &'a [(usize, T)]) -> Config<'a, T> {
        Config {
            orders,
            select: self.select,
            temperature: T::constant(self.temperature),
            clamp: self.clamp.map(T::constant),
            padding: self.padding,
            pad_id: self.pad_id,
            input: self.input,
            ngram_factor: T::constant(self.ngram_factor),
            ce_factor: T::constant(self.ce_factor.unwrap_or(0.0)),
            label_smoothing: T::constant(self.label_smoothing),
            ..Config::new(orders)
        }
    }

    /// The batch; noise as [`Case::noise`] gives it.
    pub fn batch<'a, T>(&'a self, noise: Option<&'a [T]>) -> Batch<'a, T> {
        Batch {
            target_lens: Some(&self.target_lens),
            output_lens: Some(&self.output_lens),
            noise,
            ..Batch::new(self.shape(), &self.targets)
        }
    }

    /// The noise of all orders in one buffer.
    pub fn noise<T: Real>(&self) -> Option<Vec<T>> {
        let by_order = self.noise.as_ref()?;
        Some(
            self.orders
                .iter()
                .flat_map(|n| cast(&by_order[n]))
                .collect(),
        )
    }

    /// The noise of one score.
    pub fn noise_at(&self, order: usize, row: usize, j: usize, i: usize) -> f64 {
        let n = self.orders[order];
        let (k, m) = self.shape().grams(n);
        let noise = self.noise.as_ref();
        noise.map_or(0.0, |noise| noise[&n][(row * k + j) * m + i])
    }
}

/// Runs a case with the gradient in a buffer of its own, and checks that in place, without a gradient
/// and without the parts it is the same bit for bit.
#[inline(always)]
pub fn run<I: Isa>(isa: I, case: &Case) -> Result<Outcome, EislError> {
    let orders = case.orders();
    let config = case.config(&orders);
    let noise = case.noise();
    let batch = case.batch(noise.as_deref());
    let x: Vec<I::Scalar> = cast(&case.x);
    let zero = I::Scalar::ZERO;
    // Whatever the workspace held before must not matter.
    let dirt = I::Scalar::ONE / zero;
    let mut workspace = vec![dirt; eisl::workspace_len(case.shape(), orders.len())];
    let mut per_order = vec![dirt; orders.len()];
    let mut per_row = vec![dirt; orders.len() * case.batch];
    let mut gradient = vec![dirt; x.len()];
    let parts = Parts {
        per_order: Some(&mut per_order),
        per_row: Some(&mut per_row),
        ..Parts::none()
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
        per_row: (0..orders.len())
            .map(|o| {
                per_row
                    .iter()
                    .skip(o)
                    .step_by(orders.len())
                    .copied()
                    .collect()
            })
            .collect(),
        gradient: widen(&gradient),
    })
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
