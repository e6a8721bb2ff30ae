//! Inputs of the checks, and what core makes of them in double precision.

use rivergram_core::eisl::{self, Shape};
use rivergram_core::gram::contrastive::{
    Anchor, Batch, GramLoss, GramReport, Term, ZeroRows, gram_loss, workspace_len,
};
use rivergram_core::gram::pair::{Measure, volume_matrix, volume_matrix_workspace_len};
use rivergram_core::lanes::One;
use rivergram_core::optim::rounding::Half;
use rivergram_tests::random::Random;

/// Normal numbers.
pub fn normals(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// The numbers in double precision.
pub fn double(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// √Σx².
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// That each number is within `cap · scale` of the one in double precision.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f64], scale: impl Fn(usize) -> f64, cap: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= cap * scale(i),
            "{what}, {i}: got {got:e}, want {want:e}: error {:.2e} of {:e}",
            error / scale(i),
            scale(i)
        );
    }
}

/// A batch for the contrastive loss.
#[derive(Clone, Debug)]
pub struct Tuples {
    /// What messages call it.
    pub name: &'static str,
    /// \[k, rows, d\].
    pub x: Vec<f32>,
    /// \[k, rows\].
    pub present: Option<Vec<bool>>,
    /// k, rows, d.
    pub sizes: [usize; 3],
    /// The loss.
    pub config: GramLoss<f32>,
}

impl Tuples {
    /// Unrelated vectors.
    pub fn random(seed: u64, sizes: [usize; 3]) -> Self {
        Tuples {
            name: "random",
            x: normals(seed, sizes.iter().product()),
            present: None,
            sizes,
            config: GramLoss {
                temperature: 0.25,
                label_smoothing: 0.125,
                ..GramLoss::paper(0)
            },
        }
    }

    /// The vectors of a tuple in a cone of this width.
    pub fn cone(seed: u64, sizes: [usize; 3], sigma: f32) -> Self {
        let mut case = Tuples::random(seed, sizes);
        let [_, rows, d] = sizes;
        let centres = normals(seed + 1, rows * d);
        for plane in case.x.chunks_mut(rows * d) {
            for (x, c) in plane.iter_mut().zip(&centres) {
                *x = c + sigma * *x;
            }
        }
        Tuples {
            name: "cone",
            ..case
        }
    }

    /// With this term.
    pub fn by(mut self, anchor: Anchor) -> Self {
        self.config.term = Term::Volume(anchor);
        self
    }

    /// A zero anchor, absent vectors, an item without any, equal vectors.
    pub fn odd(seed: u64) -> Self {
        let mut case = Tuples::random(seed, [3, 9, 15]);
        let d = 15;
        case.name = "absent, zero and equal vectors";
        case.x[2 * d..3 * d].fill(0.0);
        case.x[4 * d..5 * d].fill(f32::NAN);
        let item = case.x[(9 + 8) * d..(9 + 9) * d].to_vec();
        case.x[(18 + 8) * d..(18 + 9) * d].copy_from_slice(&item);
        let mut present = vec![true; 27];
        for absent in [4, 9 + 1, 9 + 6, 18 + 6] {
            present[absent] = false;
        }
        case.present = Some(present);
        case
    }

    /// As core takes it.
    pub fn batch(&self) -> Batch<'_, f32> {
        let [k, rows, d] = self.sizes;
        Batch {
            vectors: &self.x,
            present: self.present.as_deref(),
            k,
            rows,
            d,
        }
    }

    /// What core makes of it, without the cosines of pairs.
    pub fn oracle(&self) -> (GramReport<f64>, Vec<f64>) {
        let config = GramLoss {
            term: self.config.term,
            pairs: 0.0,
            temperature: f64::from(self.config.temperature),
            label_smoothing: f64::from(self.config.label_smoothing),
            normalise: true,
            zero_rows: ZeroRows::Missing,
        };
        let [k, rows, d] = self.sizes;
        let x = double(&self.x);
        let batch = Batch {
            vectors: &x,
            present: self.present.as_deref(),
            k,
            rows,
            d,
        };
        let mut gradient = vec![0.0; x.len()];
        let mut work = vec![0.0; workspace_len(k, rows, d)];
        let report = gram_loss(One::<f64>::new(), &config, &batch, &mut gradient, &mut work);
        (report.expect("valid inputs"), gradient)
    }
}

/// Anchors and items.
#[derive(Clone, Debug)]
pub struct Against {
    /// What messages call it.
    pub name: &'static str,
    /// \[anchors, d\].
    pub anchors: Vec<f32>,
    /// \[m, items, d\].
    pub items: Vec<f32>,
    /// \[m, items\].
    pub present: Option<Vec<bool>>,
    /// Anchors, m, items, d.
    pub sizes: [usize; 4],
}

impl Against {
    /// Unrelated vectors.
    pub fn random(seed: u64, sizes: [usize; 4]) -> Self {
        let [b1, m, b2, d] = sizes;
        Against {
            name: "random",
            anchors: normals(seed, b1 * d),
            items: normals(seed + 100, m * b2 * d),
            present: None,
            sizes,
        }
    }

    /// Anchors near items.
    pub fn near(seed: u64, sizes: [usize; 4], sigma: f32) -> Self {
        let [b1, m, b2, d] = sizes;
        let mut case = Against::random(seed, sizes);
        let noise = case.items.clone();
        for (at, row) in case.items.chunks_mut(d).enumerate() {
            let centre = &case.anchors[at % b2 % b1 * d..][..d];
            for (i, x) in row.iter_mut().enumerate() {
                *x = centre[i] + sigma * noise[at * d + i];
            }
        }
        assert_eq!(case.items.len(), m * b2 * d);
        Against {
            name: "near",
            ..case
        }
    }

    /// Zero anchors and vectors, equal ones, absent ones, an item of which nothing is there.
    pub fn odd(seed: u64) -> Self {
        let (d, b2) = (20, 9);
        let mut case = Against::random(seed, [5, 3, b2, d]);
        case.name = "absent, zero and equal vectors";
        let first = case.items[d..2 * d].to_vec();
        case.items[(2 * b2 + 1) * d..(2 * b2 + 2) * d].copy_from_slice(&first);
        case.items[(b2 + 2) * d..(b2 + 3) * d].fill(0.0);
        case.items[3 * d..4 * d].fill(f32::NAN);
        case.anchors[d..2 * d].fill(0.0);
        let mut present = vec![true; 3 * b2];
        for absent in [3, b2 + 4, 2 * b2 + 4, 5, b2 + 5, 2 * b2 + 5] {
            present[absent] = false;
        }
        case.present = Some(present);
        case
    }

    /// The volumes or the distances by core.
    pub fn oracle(&self, measure: Measure) -> Vec<f64> {
        let [b1, m, b2, d] = self.sizes;
        let mut out = vec![0.0; b1 * b2];
        let mut work = vec![0.0; volume_matrix_workspace_len(b1, m, b2, d)];
        let done = volume_matrix(
            One::<f64>::new(),
            measure,
            &double(&self.anchors),
            &double(&self.items),
            self.present.as_deref(),
            self.sizes,
            &mut out,
            &mut work,
        );
        done.expect("valid inputs");
        out
    }

    /// The product of the norms of a pair, or the norm of the anchor.
    pub fn size(&self, measure: Measure, pair: usize) -> f64 {
        let [_, m, b2, d] = self.sizes;
        let (i, j) = (pair / b2, pair % b2);
        let of = |x: &[f32]| norm(&double(x));
        let mut size = of(&self.anchors[i * d..][..d]);
        for at in (0..m).map(|p| p * b2 + j) {
            let there = self.present.as_ref().is_none_or(|present| present[at]);
            if measure == Measure::Volume && there {
                size *= of(&self.items[at * d..][..d]);
            }
        }
        size
    }
}

/// A batch for the sequence loss.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What messages call it.
    pub name: &'static str,
    /// The sizes.
    pub shape: Shape,
    /// \[B\]\[T\]\[V\].
    pub x: Vec<f32>,
    /// \[B\]\[U\].
    pub labels: Vec<i32>,
    /// Output positions of each row.
    pub outputs: Option<Vec<usize>>,
    /// Targets of each row.
    pub lengths: Option<Vec<usize>>,
    /// (n, wₙ).
    pub orders: Vec<(usize, f32)>,
    /// Everything else.
    pub config: eisl::Config<'static, f32>,
}

impl Rows {
    /// Logits and labels at random.
    pub fn random(seed: u64, [batch, positions, targets, vocabulary]: [usize; 4]) -> Self {
        let mut random = Random::new(seed);
        let label = |_| random.range(0, vocabulary - 1) as i32;
        Rows {
            name: "random",
            labels: (0..batch * targets).map(label).collect(),
            x: normals(seed + 1, batch * positions * vocabulary),
            shape: Shape {
                batch,
                positions,
                targets,
                vocabulary,
            },
            outputs: None,
            lengths: None,
            orders: vec![(2, 0.25), (1, 0.5), (4, 0.125)],
            config: eisl::Config {
                ce_factor: 0.5,
                label_smoothing: 0.125,
                ..eisl::Config::new(&[])
            },
        }
    }

    /// With logits that bf16 has, and their bits.
    pub fn in_bf16(&self) -> (Self, Vec<u16>) {
        let bits: Vec<u16> = self.x.iter().map(|x| Half::Bf16.nearest(*x)).collect();
        let x = bits.iter().map(|x| Half::Bf16.widen(*x)).collect();
        (Rows { x, ..self.clone() }, bits)
    }

    /// As core takes it.
    pub fn batch<T>(&self) -> eisl::Batch<'_, T> {
        eisl::Batch {
            target_lens: self.lengths.as_deref(),
            output_lens: self.outputs.as_deref(),
            ..eisl::Batch::new(self.shape, &self.labels)
        }
    }

    /// The options.
    pub fn config(&self) -> eisl::Config<'_, f32> {
        eisl::Config {
            orders: &self.orders,
            ..self.config
        }
    }

    /// What core makes of it.
    pub fn oracle(&self) -> (eisl::Losses<f64>, Vec<f64>) {
        let orders: Vec<(usize, f64)> = self
            .orders
            .iter()
            .map(|(n, weight)| (*n, f64::from(*weight)))
            .collect();
        let config = eisl::Config {
            select: self.config.select,
            temperature: f64::from(self.config.temperature),
            clamp: self.config.clamp.map(f64::from),
            ngram_factor: f64::from(self.config.ngram_factor),
            ce_factor: f64::from(self.config.ce_factor),
            label_smoothing: f64::from(self.config.label_smoothing),
            ..eisl::Config::new(&orders)
        };
        let (batch, mut x) = (self.batch(), double(&self.x));
        let mut work = vec![0.0; batch.workspace_len(&config)];
        let losses = eisl::loss_and_gradient_in_place(
            One::<f64>::new(),
            &config,
            &batch,
            &mut x,
            eisl::Parts::none(),
            &mut work,
        );
        (losses.expect("valid inputs"), x)
    }
}
