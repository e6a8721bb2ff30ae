//! Whatever options a sequence loss is given, an error or a result comes out. Overflow checks are on in this
//! profile, so that a sum that wraps panics too.

use rivergram_core::eisl::{
    Axis, Batch, Combine, Config, Input, Objective, Padding, Parts, Reduction, References, Select,
    Shape, bag, select::Matrix, select::MatrixMut,
};
use rivergram_core::lanes::One;
use rivergram_simd::Level;
use rivergram_tests::random::Random;

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len())]
}

/// Small, and rarely enormous.
fn size(random: &mut Random, below: usize) -> usize {
    match random.below(80) {
        0 => usize::MAX,
        1 => 1 << 33,
        _ => random.below(below),
    }
}

/// About the length that is asked for, and never enormous.
fn length(random: &mut Random, right: usize) -> usize {
    let right = right.min(1 << 12);
    match random.below(80) {
        0 => right.saturating_sub(1),
        1 => right + 1,
        _ => right,
    }
}

fn numbers(random: &mut Random, length: usize) -> Vec<f32> {
    let odd = random.below(8) == 0;
    let number = |random: &mut Random| match random.below(40) {
        0 if odd => f32::NAN,
        1 if odd => f32::INFINITY,
        2 if odd => f32::NEG_INFINITY,
        3 if odd => f32::MAX,
        _ => random.normal() as f32,
    };
    (0..length).map(|_| number(random)).collect()
}

fn lens(random: &mut Random, count: usize, below: usize) -> Option<Vec<usize>> {
    let count = length(random, count);
    (random.below(2) == 0).then(|| (0..count).map(|_| size(random, below)).collect())
}

fn orders(random: &mut Random) -> Vec<(usize, f32)> {
    let count = random.below(3);
    (0..count).map(|_| (size(random, 6), 0.5)).collect()
}

#[test]
fn options_never_panic() {
    let mut random = Random::new(51);
    let random = &mut random;
    let levels: Vec<Level> = Level::available().collect();
    let mut good = 0;
    const ALL: usize = 12000;
    for _ in 0..ALL {
        let (exact, from_length) = (orders(random), orders(random));
        let selects = [
            Select::Softmax,
            Select::LogSumExp,
            Select::Mean,
            Select::Max,
        ];
        let config = Config {
            from_length: &from_length,
            objective: pick(random, &[Objective::EditInvariant, Objective::BagOfNgrams]),
            select: pick(random, &selects),
            axis: pick(random, &[Axis::Positions, Axis::Targets]),
            padding: pick(random, &[Padding::Mask, Padding::Mask, Padding::Zero]),
            input: pick(random, &[Input::Logits, Input::LogProbs]),
            ce_factor: pick(random, &[0.0, 0.5]),
            clamp: pick(random, &[None, Some(-3.0)]),
            ..Config::new(&exact)
        };
        let targets = random.below(5);
        let shape = Shape {
            // Rows without labels are counted one by one.
            batch: if targets == 0 { 2 } else { size(random, 4) },
            positions: size(random, 6),
            targets,
            vocabulary: 1 + random.below(5),
        };
        let places = match random.below(3) {
            0 => 1,
            _ => size(random, 4),
        };
        let slots = shape.batch.saturating_mul(places);
        let count = length(random, slots.saturating_mul(targets));
        let label = |random: &mut Random| match random.below(60) {
            0 => -7,
            1..9 => -100,
            _ => random.below(shape.vocabulary) as i32,
        };
        let labels: Vec<i32> = (0..count).map(|_| label(random)).collect();
        let target_lens = lens(random, slots, targets + 1);
        let output_lens = lens(random, shape.batch, shape.positions.clamp(1, 9));
        let counts = lens(random, shape.batch, places.clamp(1, 9));
        let cross_entropy = lens(random, shape.batch, 1);
        let upstream = match random.below(4) {
            0 => config.order_count(),
            1 => shape.batch,
            _ => shape.batch.saturating_mul(config.order_count()),
        };
        let upstream = length(random, upstream);
        let upstream = numbers(random, upstream);
        let mut batch = Batch {
            target_lens: target_lens.as_deref(),
            output_lens: output_lens.as_deref(),
            references: (places != 1).then_some(References {
                places,
                counts: counts.as_deref(),
                combine: pick(random, &[Combine::Mean, Combine::Best]),
                cross_entropy: cross_entropy.as_deref(),
            }),
            reduction: pick(
                random,
                &[
                    Reduction::Mean,
                    Reduction::Mean,
                    Reduction::PerOrder(&upstream),
                    Reduction::PerRow(&upstream),
                    Reduction::None(&upstream),
                ],
            ),
            ce_upstream: pick(random, &[None, None, Some(upstream.as_slice())]),
            ..Batch::new(shape, &labels)
        };
        let noise = length(random, batch.noise_len(&config));
        let noise = numbers(random, noise);
        batch.noise = (random.below(4) == 0).then_some(&noise);
        let input = shape
            .batch
            .saturating_mul(shape.positions)
            .saturating_mul(shape.vocabulary);
        let input = length(random, input);
        let mut x = numbers(random, input);
        let mut workspace = vec![f32::NAN; length(random, batch.workspace_len(&config))];
        let (mut rows, mut chosen) = (
            vec![f32::NAN; length(random, shape.batch)],
            vec![7; length(random, shape.batch)],
        );
        let parts = Parts {
            rows: Some(&mut rows),
            chosen: Some(&mut chosen),
            ..Parts::none()
        };
        let level = pick(random, &levels);
        let result = level.eisl_loss(&config, &batch, &mut x, parts, &mut workspace);
        good += usize::from(result.is_ok());
    }
    assert!(ALL / 10 < good && good < ALL - ALL / 10, "{good} of {ALL}");
}

#[test]
fn bags_never_panic() {
    let mut random = Random::new(52);
    let isa = One::<f32>::new();
    for _ in 0..3000 {
        let [rows, stride, order, k] = std::array::from_fn(|_| size(&mut random, 6));
        let (len, columns) = (random.below(40), random.below(9));
        let sums = numbers(&mut random, len);
        let mut counts = numbers(&mut random, columns);
        let mut weights = vec![0.0; random.below(40)];
        let labels: Vec<i32> = (0..random.below(9))
            .map(|_| random.below(3) as i32)
            .collect();
        let from = Matrix {
            data: &sums,
            stride,
        };
        bag::counts(isa, rows, from, &mut counts);
        bag::distance(&labels, order, k, &mut counts);
        let to = MatrixMut {
            data: &mut weights,
            stride,
        };
        bag::weigh(isa, rows, from, &counts, 1.0, to);
    }
}
