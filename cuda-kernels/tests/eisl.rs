//! The kernels of EISL under emulation, against core in double precision.

mod support;

use rivergram_core::eisl::{
    self, Batch, Config, IGNORE, Parts, Select, Shape, half_loss_and_gradient_in_place,
    half_workspace_len, loss_and_gradient_in_place,
};
use rivergram_core::lanes::One;
use rivergram_core::optim::rounding::Half;
use rivergram_cuda_kernels::device::{Launch, Memory, Order};
use rivergram_cuda_kernels::kernels::eisl::{
    Eisl, Logit, ORDERS as MOST, SHARED, THREADS, ngrams, read, write,
};
use rivergram_cuda_kernels::lanes::{Bf16, F32};
use support::{ORDERS, Random, assert_close, double, run};

const SELECTIONS: [Select; 5] = [
    Select::Softmax,
    Select::Detached,
    Select::LogSumExp,
    Select::Mean,
    Select::Max,
];

#[derive(Clone)]
struct Case {
    name: &'static str,
    shape: Shape,
    x: Vec<f32>,
    labels: Vec<i32>,
    outputs: Vec<usize>,
    lengths: Vec<usize>,
    orders: Vec<(usize, f32)>,
    select: Select,
    temperature: f32,
    clamp: Option<f32>,
    ngram_factor: f32,
    ce_factor: f32,
    smoothing: f32,
}

impl Case {
    fn random(seed: u64, [batch, positions, targets, vocabulary]: [usize; 4]) -> Self {
        let mut random = Random(seed);
        let x = random.normals(batch * positions * vocabulary);
        let mut label = |_| random.below(vocabulary) as i32;
        Case {
            name: "random",
            labels: (0..batch * targets).map(&mut label).collect(),
            x,
            shape: Shape {
                batch,
                positions,
                targets,
                vocabulary,
            },
            outputs: vec![positions; batch],
            lengths: vec![targets; batch],
            orders: vec![(1, 0.5), (2, 0.25), (4, 0.125)],
            select: Select::Softmax,
            temperature: 1.0,
            clamp: Some(-20.0),
            ngram_factor: 1.0,
            ce_factor: 0.5,
            smoothing: 0.125,
        }
    }

    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (seed, select) in SELECTIONS.into_iter().enumerate() {
            let case = Case::random(seed as u64, [2, 9, 6, 37]);
            cases.push(Case {
                select,
                temperature: 0.5,
                ..case
            });
        }
        let case = Case::random(10, [1, 3, 2, 2100]);
        cases.push(Case {
            name: "a large vocabulary",
            ..case
        });
        let case = Case::random(11, [3, 8, 7, 20]);
        cases.push(Case {
            name: "lengths",
            outputs: vec![8, 5, 1],
            lengths: vec![3, 7, 0],
            ..case
        });
        let mut case = Case::random(12, [2, 6, 8, 11]);
        case.labels[..5].fill(3);
        cases.push(Case {
            name: "repeated targets",
            smoothing: 0.0,
            ..case
        });
        let mut case = Case::random(13, [1, 5, 5, 40]);
        case.x.iter_mut().for_each(|x| *x = 300.0 + 30.0 * *x);
        cases.push(Case {
            name: "huge logits",
            clamp: Some(-10.0),
            ..case
        });
        let mut case = Case::random(14, [2, 6, 4, 30]);
        for (i, x) in case.x.iter_mut().enumerate() {
            if i % 7 == 0 {
                *x = f32::NEG_INFINITY;
            }
        }
        case.smoothing = 0.0;
        cases.push(Case {
            name: "logits of probability 0",
            ce_factor: 0.0,
            ..case.clone()
        });
        cases.push(Case {
            name: "no clamp",
            clamp: None,
            ce_factor: 0.0,
            select: Select::LogSumExp,
            ..case
        });
        let case = Case::random(15, [1, 1, 1, 1]);
        cases.push(Case {
            name: "one of each",
            ..case
        });
        let case = Case::random(16, [2, 3, 9, 5]);
        cases.push(Case {
            name: "cross-entropy alone",
            ngram_factor: 0.0,
            ..case
        });
        cases
    }

    /// The token that cross-entropy wants at each position.
    fn tokens(&self) -> Vec<i32> {
        let Shape {
            batch,
            positions,
            targets,
            ..
        } = self.shape;
        let token = |row: usize, j: usize| {
            let there = j < self.lengths[row].min(self.outputs[row]);
            if there {
                self.labels[row * targets + j]
            } else {
                IGNORE
            }
        };
        (0..batch * positions)
            .map(|at| token(at / positions, at % positions))
            .collect()
    }

    /// ∂loss/∂E and the share of E in the loss, of each row and order.
    fn shares(&self) -> Vec<f32> {
        let mut shares = Vec::new();
        for row in 0..self.shape.batch {
            for (n, weight) in &self.orders {
                let m = (self.lengths[row] + 1).saturating_sub(*n).max(1);
                let mean = (self.shape.batch * m) as f32;
                shares.push(-self.ngram_factor * weight / mean);
            }
        }
        shares
    }

    fn parameters<T: Logit>(&self, memory: &mut Memory) -> Eisl<T> {
        let Shape {
            batch,
            positions,
            targets,
            vocabulary,
        } = self.shape;
        let counts = |x: &[usize]| x.iter().map(|x| *x as u32).collect::<Vec<_>>();
        let tokens = self.tokens();
        let count = tokens.iter().filter(|token| **token != IGNORE).count();
        let mut orders = [0; MOST];
        for (to, (n, _)) in orders.iter_mut().zip(&self.orders) {
            *to = *n as u32;
        }
        let select = SELECTIONS.iter().position(|select| *select == self.select);
        let logits: Vec<T> = self.x.iter().map(|x| T::nearest(F32(*x))).collect();
        Eisl {
            logits: memory.copy(&logits),
            labels: memory.copy(&self.labels),
            tokens: memory.copy(&tokens),
            outputs: memory.copy(&counts(&self.outputs)),
            lengths: memory.copy(&counts(&self.lengths)),
            factors: memory.copy_f32(&self.shares()),
            sums: memory.room(2 * batch * positions),
            scores: memory.room(batch * positions * targets),
            work: memory.room(2 * batch * positions * targets),
            gradient: memory.room(batch * positions * targets),
            values: memory.room(batch * self.orders.len() * targets),
            cross_entropy: memory.room(batch * positions),
            rows: batch as u32,
            positions: positions as u32,
            targets: targets as u32,
            vocabulary: vocabulary as u32,
            orders,
            order_count: self.orders.len() as u32,
            select: select.expect("a selection") as u32,
            temperature: F32(self.temperature),
            clamp: F32(self.clamp.unwrap_or(f32::NEG_INFINITY)),
            smoothing: F32(self.smoothing),
            token_share: F32(self.ce_factor / count.max(1) as f32),
        }
    }

    /// The parts of the loss and its gradient, on the device, of logits in `f32`.
    fn run(&self, order: Order) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        self.run_as::<F32>(order)
    }

    fn run_as<T: Logit>(&self, order: Order) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let Shape {
            batch, positions, ..
        } = self.shape;
        let mut memory = Memory::new();
        let p = self.parameters::<T>(&mut memory);
        let per_position = |kernel| Launch {
            kernel,
            blocks: [positions as u32, batch as u32],
            threads: THREADS,
            shared: SHARED,
        };
        let per_row = Launch {
            kernel: "ngrams",
            blocks: [batch as u32, 1],
            threads: 64,
            shared: 0,
        };
        run(&mut memory, per_position("read"), order, read, p);
        run(&mut memory, per_row, order, ngrams, p);
        run(&mut memory, per_position("write"), order, write, p);
        let x = memory.numbers(p.logits).into_iter().map(|x| x.widen().0);
        let [values, cross_entropy] = [p.values, p.cross_entropy].map(|x| memory.numbers_f32(x));
        (values, cross_entropy, x.collect())
    }

    /// With logits that bf16 holds.
    fn in_bf16(&self) -> Self {
        let mut case = self.clone();
        for x in &mut case.x {
            *x = Bf16::nearest(F32(*x)).widen().0;
        }
        case
    }

    /// Losses and gradient of core.
    fn oracle(&self) -> (eisl::Losses<f64>, Vec<f64>) {
        let orders: Vec<(usize, f64)> = self
            .orders
            .iter()
            .map(|(n, weight)| (*n, f64::from(*weight)))
            .collect();
        let config = Config {
            select: self.select,
            temperature: f64::from(self.temperature),
            clamp: self.clamp.map(f64::from),
            ngram_factor: f64::from(self.ngram_factor),
            ce_factor: f64::from(self.ce_factor),
            label_smoothing: f64::from(self.smoothing),
            ..Config::new(&orders)
        };
        let batch = Batch {
            target_lens: Some(&self.lengths),
            output_lens: Some(&self.outputs),
            ..Batch::new(self.shape, &self.labels)
        };
        let mut x = double(&self.x);
        let mut workspace = vec![0.0; eisl::workspace_len(self.shape, orders.len())];
        let isa = One::<f64>::new();
        let losses =
            loss_and_gradient_in_place(isa, &config, &batch, &mut x, Parts::none(), &mut workspace);
        (losses.expect("valid inputs"), x)
    }
}

/// Compares what the device gave with core; a number of the gradient may be off by `rounding` of itself besides.
fn compare(
    case: &Case,
    (values, cross_entropy, x): &(Vec<f32>, Vec<f32>, Vec<f32>),
    rounding: f64,
) {
    let (want, gradient) = case.oracle();
    let what = format!("{} {:?}", case.name, case.select);
    // −Σ w/(B·M)·E, where E may be −∞ and its share 0.
    let values = values.chunks(case.shape.targets).zip(case.shares());
    let eisl: f64 = values
        .filter(|(_, share)| *share != 0.0)
        .map(|(e, share)| f64::from(share) * double(e).iter().sum::<f64>())
        .sum();
    let close = |got: f64, want: f64| {
        assert_close(&what, &[got as f32], &[want], |_| want.abs().max(1.0), 1e-6);
    };
    if case.ngram_factor != 0.0 {
        close(eisl, want.eisl);
    }
    let tokens = case.tokens();
    let count = tokens.iter().filter(|token| **token != IGNORE).count();
    if case.ce_factor != 0.0 {
        let sum = double(cross_entropy).iter().sum::<f64>();
        close(sum / count.max(1) as f64, want.ce);
    }
    let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
    let cap = |i: usize| 5e-6 * norm.max(1e-2) + rounding * gradient[i].abs();
    assert_close(&what, x, &gradient, cap, 1.0);
}

#[test]
fn losses_and_gradients_are_those_of_core() {
    for case in Case::all() {
        for order in ORDERS {
            compare(&case, &case.run(order), 0.0);
        }
    }
}

/// What [`read`] finds of each row of a case: the log-sums, the scores and the cross-entropy.
fn read_rows<T: Logit>(case: &Case) -> Vec<Vec<u32>> {
    let Shape {
        batch,
        positions,
        targets,
        ..
    } = case.shape;
    let mut memory = Memory::new();
    let p = case.parameters::<T>(&mut memory);
    let launch = Launch {
        kernel: "read",
        blocks: [positions as u32, batch as u32],
        threads: THREADS,
        shared: SHARED,
    };
    run(&mut memory, launch, Order::Forward, read, p);
    let [sums, scores, cross_entropy] =
        [p.sums, p.scores, p.cross_entropy].map(|x| memory.numbers_f32(x));
    let row = |row: usize| {
        let at = |table: &[f32], row: usize, each: usize| table[row * each..][..each].to_vec();
        let found = [
            at(&sums, row, positions),
            at(&sums, batch + row, positions),
            at(&scores, row, positions * targets),
            at(&cross_entropy, row, positions),
        ];
        found.concat().into_iter().map(f32::to_bits).collect()
    };
    (0..batch).map(row).collect()
}

#[test]
fn a_row_has_the_same_bits_in_any_part_of_a_batch() {
    // Rows begin at any multiple of four bytes: no product of these is a multiple of four.
    let case = Case::random(17, [5, 3, 2, 1031]);
    let Shape {
        batch,
        positions,
        targets,
        vocabulary,
    } = case.shape;
    let alone = |row: usize| {
        let of = |each: usize| row * each..(row + 1) * each;
        Case {
            shape: Shape {
                batch: 1,
                ..case.shape
            },
            x: case.x[of(positions * vocabulary)].to_vec(),
            labels: case.labels[of(targets)].to_vec(),
            outputs: vec![case.outputs[row]],
            lengths: vec![case.lengths[row]],
            ..case.clone()
        }
    };
    let (rows, rows_in_bf16) = (read_rows::<F32>(&case), read_rows::<Bf16>(&case));
    for row in 0..batch {
        assert_eq!(read_rows::<F32>(&alone(row)), [rows[row].clone()]);
        assert_eq!(read_rows::<Bf16>(&alone(row)), [rows_in_bf16[row].clone()]);
    }
}

/// Half the distance of a number of bf16 to the next, at most, over the number.
const BF16: f64 = 1.0 / 256.0;

#[test]
fn logits_in_bf16_are_widened_and_their_gradient_rounded_once() {
    for case in Case::all() {
        let case = case.in_bf16();
        let [a, b] = ORDERS.map(|order| case.run_as::<Bf16>(order));
        compare(&case, &a, BF16 * 1.001);
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn logits_in_bf16_give_what_core_gives_of_them() {
    for case in Case::all() {
        let case = case.in_bf16();
        let (_, _, x) = case.run_as::<Bf16>(Order::Forward);
        let mut half: Vec<u16> = case.x.iter().map(|x| Half::Bf16.nearest(*x)).collect();
        let config = Config {
            select: case.select,
            temperature: case.temperature,
            clamp: case.clamp,
            ngram_factor: case.ngram_factor,
            ce_factor: case.ce_factor,
            label_smoothing: case.smoothing,
            ..Config::new(&case.orders)
        };
        let batch = Batch {
            target_lens: Some(&case.lengths),
            output_lens: Some(&case.outputs),
            ..Batch::new(case.shape, &case.labels)
        };
        let mut work = vec![0.0; half_workspace_len(case.shape, case.orders.len())];
        let (isa, parts) = (One::<f32>::new(), Parts::none());
        half_loss_and_gradient_in_place(
            isa,
            &config,
            &batch,
            Half::Bf16,
            &mut half,
            parts,
            &mut work,
        )
        .expect("valid inputs");
        let want: Vec<f64> = half
            .iter()
            .map(|x| f64::from(Half::Bf16.widen(*x)))
            .collect();
        let norm = want.iter().map(|x| x * x).sum::<f64>().sqrt();
        // Both are rounded: at worst to the two numbers beside the gradient.
        let cap = |i: usize| 5e-6 * norm.max(1e-2) + 2.0 * BF16 * want[i].abs();
        assert_close(case.name, &x, &want, cap, 1.0);
    }
}

#[test]
fn either_order_gives_the_same_bits() {
    for case in Case::all() {
        let [a, b] = ORDERS.map(|order| {
            let (values, cross_entropy, x) = case.run(order);
            [values, cross_entropy, x].map(|x| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        });
        assert_eq!(a, b, "{}", case.name);
    }
}

#[test]
fn labels_without_a_column_have_no_gradient() {
    let mut case = Case::random(20, [1, 4, 4, 9]);
    case.orders = vec![(1, 1.0)];
    case.labels = vec![-100, 9, 1000, -7];
    case.ce_factor = 0.0;
    let (_, _, x) = case.run(Order::Forward);
    assert!(x.iter().all(|x| *x == 0.0), "{x:?}");
}

#[test]
fn a_position_that_is_no_distribution_is_marked() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut case = Case::random(21, [1, 3, 2, 700]);
        case.x[700 + 513] = bad;
        case.x[1400..].fill(f32::NEG_INFINITY);
        let mut memory = Memory::new();
        let p = case.parameters::<F32>(&mut memory);
        let launch = Launch {
            kernel: "read",
            blocks: [3, 1],
            threads: THREADS,
            shared: SHARED,
        };
        run(&mut memory, launch, Order::Forward, read, p);
        let sums = memory.numbers_f32(p.sums);
        let finite: Vec<bool> = sums[3..].iter().map(|x| x.is_finite()).collect();
        assert_eq!(finite, [true, false, false]);
    }
}
