//! Losses built from the pieces of the sequence loss, as from outside, and its faces of fixed size.

use rivergram_core::eisl::select::{Matrix, MatrixMut, Selection, select};
use rivergram_core::eisl::{
    self, Axis, Batch, Checked, Combine, Config, Objective, Parts, References, RowLoss, Select,
    Shape, Work, bag, diagonal, gather,
};
use rivergram_core::error::{EislBuffer, EislError};
use rivergram_core::lanes::{Isa, Kernel};
use rivergram_core::softmax;
use rivergram_simd::Level;
use rivergram_tests::precision::{SINGLE, assert_close};
use rivergram_tests::random::Random;

const T: usize = 7;
const U: usize = 5;
const V: usize = 13;
const SHAPE: Shape = Shape {
    batch: 1,
    positions: T,
    targets: U,
    vocabulary: V,
};
const LABELS: [i32; U] = [3, 12, 3, 12, 7];
const CLAMP: f32 = -6.0;

/// What a loss makes of the sums along diagonals.
#[derive(Clone, Copy)]
enum Reducer {
    /// −(1/M) Σ_i of a selection.
    Selected(Select),
    /// The distance of bags.
    Bag,
}

/// A loss over n-grams by hand: log-sum, gather, diagonals, a reducer, and all the way back.
struct ByHand<'a> {
    n: usize,
    reducer: Reducer,
    clamp: Option<f32>,
    x: &'a mut [f32; T * V],
}

impl Kernel<f32> for ByHand<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> f32 {
        let (n, clamp) = (self.n, self.clamp);
        let (k, m) = SHAPE.grams(n);
        let [mut scores, mut sums, mut weights, mut gradient] = [[0.0; T * U]; 4];
        let lses: Vec<_> = self
            .x
            .chunks(V)
            .map(|x| softmax::log_sum(isa, x).expect("logits"))
            .collect();
        for ((x, lse), s) in self.x.chunks(V).zip(&lses).zip(scores.chunks_mut(U)) {
            gather::gather(x, lse, &LABELS, None, clamp, s);
        }
        for order in 1..=n {
            diagonal::extend(isa, &scores, U, order, &mut sums);
        }
        let from = Matrix {
            data: &sums,
            stride: U,
        };
        let to = MatrixMut {
            data: &mut weights,
            stride: U,
        };
        let values = &mut [0.0; U][..m];
        let loss = match self.reducer {
            Reducer::Selected(which) => {
                let selection = Selection {
                    select: which,
                    temperature: 0.5,
                    order: n,
                };
                let weights = Some((to, -1.0 / m as f32));
                select(isa, selection, k, from, None, values, weights);
                -values.iter().sum::<f32>() / m as f32
            }
            Reducer::Bag => {
                bag::counts(isa, k, from, values);
                let loss = bag::distance(&LABELS, n, k, values);
                bag::weigh(isa, k, from, values, 1.0, to);
                loss
            }
        };
        diagonal::spread(isa, &weights, U, (n, k, m), &mut gradient);
        let lines = scores.chunks(U).zip(gradient.chunks_mut(U));
        for ((x, lse), (s, g)) in self.x.chunks_mut(V).zip(&lses).zip(lines) {
            let r = gather::clip(isa, s, &LABELS, None, clamp, g);
            softmax::gradient(isa, lse, 0.0, r, x);
            gather::scatter(g, &LABELS, None, x);
        }
        loss
    }
}

#[test]
fn losses_can_be_built_from_the_pieces() {
    let mut random = Random::new(61);
    let reducers = [
        Reducer::Selected(Select::Softmax),
        Reducer::Selected(Select::LogSumExp),
        Reducer::Selected(Select::Max),
        Reducer::Bag,
    ];
    for level in Level::available() {
        for (reducer, n) in reducers.iter().flat_map(|r| (1..=U).map(move |n| (*r, n))) {
            let x: [f32; T * V] = std::array::from_fn(|_| random.normal() as f32 * 2.0);
            let orders = [(n, 1.0)];
            let config = match reducer {
                Reducer::Bag => Config::bag_of_ngrams(&orders),
                Reducer::Selected(select) => Config {
                    select,
                    temperature: 0.5,
                    clamp: Some(CLAMP),
                    ..Config::new(&orders)
                },
            };
            let batch = Batch::new(SHAPE, &LABELS);
            let mut want = x;
            let mut workspace = vec![f32::NAN; batch.workspace_len(&config)];
            let losses = level
                .eisl_loss(&config, &batch, &mut want, Parts::none(), &mut workspace)
                .expect("valid");
            let mut by_hand = x;
            let loss = level.run(ByHand {
                n,
                reducer,
                clamp: config.clamp,
                x: &mut by_hand,
            });
            assert_close("loss", loss.into(), losses.total.into(), 1.0, SINGLE.loss);
            for (got, want) in by_hand.into_iter().zip(want) {
                let cap = SINGLE.eisl_gradient;
                assert_close("gradient", got.into(), want.into(), 1.0, cap);
            }
        }
    }
}

/// All three faces of fixed size with options, where rows are longer than columns and the other way round.
fn fixed_faces<const P: usize, const Q: usize>(seed: u64) -> Result<(), EislError> {
    let mut random = Random::new(seed);
    let x: [[f32; V]; P] = std::array::from_fn(|_| std::array::from_fn(|_| random.normal() as f32));
    let labels: [i32; Q] = std::array::from_fn(|_| random.below(V) as i32);
    let shape = Shape {
        positions: P,
        targets: Q,
        ..SHAPE
    };
    let orders = [(1, 0.5), (2, 0.25)];
    for (objective, axis) in [
        (Objective::EditInvariant, Axis::Positions),
        (Objective::EditInvariant, Axis::Targets),
        (Objective::BagOfNgrams, Axis::Positions),
    ] {
        let config = Config {
            from_length: &[(1, 0.5)],
            objective,
            axis,
            ..Config::new(&orders)
        };
        let batch = Batch::new(shape, &labels);
        let mut workspace = vec![f32::NAN; batch.workspace_len(&config)];
        let (mut want, mut per_order) = (x, [0.0; 3]);
        let parts = Parts {
            per_order: Some(&mut per_order),
            ..Parts::none()
        };
        let flat = want.as_flattened_mut();
        let losses = Level::SCALAR.eisl_loss(&config, &batch, flat, parts, &mut workspace)?;
        assert!(losses.total > 0.0);
        let (mut got, mut found) = (x, [0.0; 3]);
        let fixed = eisl::loss_and_gradient_f32(&config, &mut got, &labels, None, &mut found)?;
        assert_eq!((fixed, found, got), (losses, per_order, want));
    }
    Ok(())
}

#[test]
fn fixed_sizes_have_the_options_too() -> Result<(), EislError> {
    fixed_faces::<6, 3>(62)?;
    fixed_faces::<3, 6>(63)
}

/// Rows one by one, with references and their own workspace.
struct RowByRow<'a> {
    config: &'a Config<'a, f32>,
    batch: &'a Batch<'a, f32>,
    x: &'a mut [f32],
}

impl Kernel<f32> for RowByRow<'_> {
    type Output = Result<eisl::Losses<f32>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let checked = Checked::new(self.config, self.batch)?;
        let mut sum = RowLoss { eisl: 0.0, ce: 0.0 };
        for (b, x) in self.x.chunks_mut(checked.row_len()).enumerate() {
            let mut buffer = vec![f32::NAN; self.batch.workspace_len(self.config)];
            let mut work = Work::split_for(&mut buffer, self.config, self.batch)?;
            let row = checked.forward(isa, b, x, true, &mut work)?;
            checked.gradient(isa, b, x, &mut work);
            sum.eisl += row.eisl;
            sum.ce += row.ce;
        }
        Ok(checked.losses(sum))
    }
}

#[test]
fn rows_with_references_can_be_computed_one_by_one() {
    let mut random = Random::new(64);
    let shape = Shape { batch: 3, ..SHAPE };
    let labels: Vec<i32> = (0..3 * 2 * U).map(|_| random.below(V) as i32).collect();
    let orders = [(1, 0.5), (2, 0.5)];
    for combine in [Combine::Mean, Combine::Best] {
        let config = Config {
            ce_factor: 0.5,
            ..Config::new(&orders)
        };
        let batch = Batch {
            references: Some(References {
                places: 2,
                counts: None,
                combine,
                cross_entropy: None,
            }),
            ..Batch::new(shape, &labels)
        };
        let mut rows: Vec<f32> = (0..3 * T * V).map(|_| random.normal() as f32).collect();
        let mut whole = rows.clone();
        let mut workspace = vec![0.0; batch.workspace_len(&config)];
        let level = Level::detect();
        let want = level.eisl_loss(&config, &batch, &mut whole, Parts::none(), &mut workspace);
        let value = level.eisl_value(&config, &batch, &rows, Parts::none(), &mut workspace);
        assert_eq!(value, want);
        let kernel = RowByRow {
            config: &config,
            batch: &batch,
            x: &mut rows,
        };
        assert_eq!(level.run(kernel), want);
        assert_eq!(rows, whole);
        // One number of workspace or of a part too few.
        workspace.pop();
        let short = level.eisl_loss(&config, &batch, &mut whole, Parts::none(), &mut workspace);
        let buffer = EislBuffer::Workspace;
        assert!(matches!(short, Err(EislError::Length { buffer: b, .. }) if b == buffer));
        workspace.push(0.0);
        let mut chosen = [0; 2];
        let parts = Parts {
            chosen: Some(&mut chosen),
            ..Parts::none()
        };
        let short = level.eisl_loss(&config, &batch, &mut whole, parts, &mut workspace);
        let (buffer, expected, got) = (EislBuffer::Chosen, 3, 2);
        assert_eq!(
            short,
            Err(EislError::Length {
                buffer,
                expected,
                got
            })
        );
    }
}
