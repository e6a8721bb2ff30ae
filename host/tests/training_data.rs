//! Batches, galleries, standardised columns, noise, and the random streams below them.

use std::collections::BTreeSet;

use rivergram::data::gallery::galleries;
use rivergram::data::noise::{NoiseKind, UNK};
use rivergram::data::sample::Sampler;
use rivergram::data::standardise::Standardiser;
use rivergram::data::{Dataset, Modality};
use rivergram::random::{Purpose, Random, stream};

/// Two modalities whose rows begin with the row's number.
fn data(n: usize, labels: Option<Vec<i64>>) -> Dataset {
    let modality = |name: &str, dim: usize| {
        let rows = (0..n)
            .flat_map(|i| (0..dim).map(move |d| (i + 3 * d) as f32))
            .collect();
        Modality::new("test", name, dim, rows).expect("good rows")
    };
    Dataset::new("test", vec![modality("a", 2), modality("b", 3)], labels).expect("a dataset")
}

fn random(index: u64) -> Random {
    stream(1, Purpose::Weights, index)
}

#[test]
fn streams_are_fixed_and_differ() {
    // Fixed for ever, or a run of an earlier build would go on differently.
    let first = random(0).bits();
    assert_eq!(first, 13_133_570_871_420_467_092);
    assert_eq!(first, random(0).bits());
    let others = [
        random(1),
        stream(2, Purpose::Weights, 0),
        stream(1, Purpose::Noise, 0),
    ];
    for mut other in others {
        assert_ne!(first, other.bits());
    }
}

#[test]
fn small_numbers_are_uniform() {
    let mut random = random(0);
    let mut counts = [0_u32; 7];
    for _ in 0..70_000 {
        counts[random.below(7)] += 1;
    }
    assert!(
        counts.iter().all(|&c| (9_500..10_500).contains(&c)),
        "{counts:?}"
    );
    assert_eq!(random.below(0), 0);
    assert_eq!(random.below(1), 0);
    let mean = (0..10_000).map(|_| random.symmetric(2.0)).sum::<f32>() / 10_000.0;
    assert!(mean.abs() < 0.05, "{mean}");
    for (n, count) in [(5, 5), (5, 9), (1, 1), (1000, 64), (3, 0)] {
        let drawn = random.distinct(n, count);
        let set: BTreeSet<usize> = drawn.iter().copied().collect();
        assert_eq!(drawn.len(), count.min(n));
        assert_eq!(set.len(), drawn.len());
        assert!(set.iter().all(|&i| i < n));
    }
    let sorted: BTreeSet<usize> = random.permutation(50).into_iter().collect();
    assert_eq!(sorted.len(), 50);
}

#[test]
fn a_batch_is_a_function_of_seed_and_step() {
    let plain = Sampler::new("--batch", &data(40, None), 16).expect("it fits");
    let labels: Vec<i64> = (0..40).map(|i| -(i % 20)).collect();
    let labelled = Sampler::new("--batch", &data(40, Some(labels.clone())), 16).expect("it fits");
    for step in [0, 1, 1 << 40] {
        for sampler in [&plain, &labelled] {
            let batch = sampler.batch(3, step);
            assert_eq!(batch, sampler.batch(3, step));
            assert_ne!(batch, sampler.batch(4, step));
            assert_ne!(batch, sampler.batch(3, step + 1));
            let rows: BTreeSet<usize> = batch.iter().copied().collect();
            assert_eq!(rows.len(), 16, "no row twice");
        }
        let batch = labelled.batch(3, step);
        let seen: BTreeSet<i64> = batch.iter().map(|&row| labels[row]).collect();
        assert_eq!(seen.len(), 16, "no label twice");
    }
    let seen: BTreeSet<usize> = (0..50).flat_map(|step| labelled.batch(0, step)).collect();
    assert_eq!(seen.len(), 40, "every row is drawn at some time");
}

#[test]
fn a_batch_that_is_too_large_is_refused() {
    let error = |data: &Dataset, batch| {
        Sampler::new("--batch", data, batch)
            .expect_err("too large")
            .to_string()
    };
    let line = error(&data(5, None), 6);
    assert!(
        line.contains("--batch") && line.contains('6') && line.contains("5 rows"),
        "{line}"
    );
    let line = error(&data(5, Some(vec![1, 1, 2, 2, 3])), 4);
    assert!(
        line.contains('4') && line.contains("3 different labels"),
        "{line}"
    );
    let line = error(&data(5, None), 0);
    assert!(line.contains("at least 1"), "{line}");
}

#[test]
fn a_gallery_has_each_label_once() {
    let all = galleries(&data(3, None));
    assert_eq!((all.rows, all.left_out), (vec![vec![0, 1, 2]], 0));
    let labelled = galleries(&data(7, Some(vec![9, 4, 4, 9, 9, 4, 9])));
    assert_eq!(labelled.rows, [[1, 0], [2, 3], [5, 4]]);
    assert_eq!(labelled.left_out, 1);
}

#[test]
fn columns_are_centred_and_scaled_by_one_deviation() {
    let train = data(50, None);
    let statistics = Standardiser::fit(&train, None);
    let mut standard = train.clone();
    statistics
        .apply("train", &mut standard)
        .expect("the same modalities");
    for (modality, raw) in standard.modalities.iter().zip(&train.modalities) {
        let count = raw.rows.len() as f64;
        let mean = raw.rows.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = raw
            .rows
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / count;
        for d in 0..modality.dim {
            let column = || modality.rows.iter().skip(d).step_by(modality.dim);
            let centre = column().map(|&x| f64::from(x)).sum::<f64>() / 50.0;
            assert!(centre.abs() < 1e-6, "{centre}");
        }
        let step = f64::from(modality.rows[modality.dim] - modality.rows[0]);
        assert!(
            (step * variance.sqrt() - 1.0).abs() < 1e-5,
            "a row further is one raw unit"
        );
    }
    let mut other = train.select("x", &["b", "a"]).expect("there");
    let line = statistics
        .apply("test.npy", &mut other)
        .expect_err("another order")
        .to_string();
    assert!(line.contains("test.npy"), "{line}");
}

#[test]
fn absent_rows_change_no_statistics() {
    let train = data(50, None);
    let mut holes = train.clone();
    let mut kept = train.clone();
    for (modality, (all, kept)) in holes
        .modalities
        .iter_mut()
        .zip(&mut kept.modalities)
        .enumerate()
    {
        let dim = all.dim;
        for row in all.rows.chunks_exact_mut(dim).skip(modality).step_by(7) {
            row.fill(0.0);
        }
        let rows = all.rows.chunks_exact(dim);
        kept.rows = rows
            .filter(|row| row.iter().any(|x| *x != 0.0))
            .flatten()
            .copied()
            .collect();
    }
    let there = |modality: &Modality| -> Vec<bool> {
        let rows = modality.rows.chunks_exact(modality.dim);
        rows.map(|row| row.iter().any(|x| *x != 0.0)).collect()
    };
    let present: Vec<Vec<bool>> = holes.modalities.iter().map(there).collect();
    assert!(present.iter().all(|there| there.contains(&false)));
    let found = Standardiser::fit(&holes, Some(&present));
    assert_eq!(found, Standardiser::fit(&kept, None));
}

#[test]
fn constant_and_extreme_columns_stay_finite() {
    let modality = |rows: Vec<f32>| Modality::new("t", "m", 1, rows).expect("finite");
    for rows in [
        vec![3.0; 4],
        vec![f32::MAX, f32::MIN, 0.0, 1.0],
        vec![1e-45, 0.0, 0.0, 0.0],
    ] {
        let mut data = data(4, None);
        data.modalities[0] = modality(rows);
        let statistics = Standardiser::fit(&data, None);
        statistics.apply("t", &mut data).expect("the same");
        assert!(
            data.modalities[0].rows.iter().all(|x| x.is_finite()),
            "{:?}",
            data.modalities[0].rows
        );
    }
}

const DIGITS: [u8; 10] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3];

fn sorted(tokens: &[u8]) -> Vec<u8> {
    let mut tokens = tokens.to_vec();
    tokens.sort_unstable();
    tokens
}

#[test]
fn noise_does_what_it_says() {
    let apply = |kind: NoiseKind, i: u64| kind.apply_to(&DIGITS, 7, i);
    for i in 0..200 {
        assert_eq!(apply(NoiseKind::None, i), DIGITS);
        assert_eq!(apply(NoiseKind::Shuffle(0), i), DIGITS);
        for kind in [
            NoiseKind::Shuffle(1),
            NoiseKind::Shuffle(500),
            NoiseKind::ShuffleAll,
        ] {
            assert_eq!(sorted(&apply(kind, i)), sorted(&DIGITS));
        }
        let moved = apply(NoiseKind::Shuffle(1), i)
            .iter()
            .zip(DIGITS)
            .filter(|&(&a, b)| a != b)
            .count();
        assert!(
            moved == 0 || moved == 2,
            "one swap moves two tokens or two equal ones: {moved}"
        );
        let twice: Vec<u8> = DIGITS.iter().flat_map(|&d| [d, d]).collect();
        assert_eq!(apply(NoiseKind::Repetition(1.0), i), twice);
        assert_eq!(apply(NoiseKind::Repetition(0.0), i), DIGITS);
        let mut repeated = apply(NoiseKind::Repetition(0.5), i);
        assert!(repeated.len() <= 20, "at most doubled");
        repeated.dedup();
        assert_eq!(repeated, DIGITS, "no two neighbours were equal");
        assert_eq!(apply(NoiseKind::Blank(1.0), i), [UNK; 10]);
        let blank = apply(NoiseKind::Blank(0.5), i);
        assert!(blank.iter().zip(DIGITS).all(|(&a, b)| a == b || a == UNK));
        assert_eq!(apply(NoiseKind::Combined(0.0), i), DIGITS);
        let combined = apply(NoiseKind::Combined(0.5), i);
        assert!((10..=20).contains(&combined.len()) && combined.iter().all(|&token| token <= UNK));
        assert_eq!(combined, apply(NoiseKind::Combined(0.5), i));
    }
    let blanks: usize = (0..1000)
        .map(|i| {
            apply(NoiseKind::Blank(0.3), i)
                .iter()
                .filter(|&&t| t == UNK)
                .count()
        })
        .sum();
    assert!((2_800..3_200).contains(&blanks), "{blanks}");
    let longer: usize = (0..1000)
        .map(|i| apply(NoiseKind::Combined(0.3), i).len() - 10)
        .sum();
    assert!(
        (1_800..2_200).contains(&longer),
        "0.6 / 3 of the tokens are doubled: {longer}"
    );
    for kind in [
        NoiseKind::Shuffle(3),
        NoiseKind::ShuffleAll,
        NoiseKind::Repetition(0.5),
        NoiseKind::Combined(0.5),
    ] {
        assert!(kind.apply_to(&[], 0, 0).is_empty());
        assert!(!kind.apply_to(&[1], 0, 0).is_empty());
    }
}

#[test]
fn noise_is_read_and_written() {
    for text in [
        "none",
        "shuffle:5",
        "shuffle:all",
        "repetition:0.3",
        "blank:0.5",
        "combined:0.2",
    ] {
        assert_eq!(NoiseKind::parse(text).expect("known").to_string(), text);
    }
    assert_eq!(
        NoiseKind::parse("blank:.5").expect("short"),
        NoiseKind::Blank(0.5)
    );
    for text in [
        "",
        "shuffle",
        "shuffle:",
        "shuffle:-1",
        "shuffle:1.5",
        "repetition:1.1",
        "repetition:NaN",
        "blank:-0.1",
        "blank:x",
        "combined:0.6",
        "none:1",
        "typo:0.3",
    ] {
        let error = NoiseKind::parse(text).expect_err("wrong");
        let line = error.to_string();
        assert!(
            line.contains("--noise") && line.contains(&format!("\"{text}\"")),
            "{line}"
        );
        assert_eq!(error.exit_code(), 2);
    }
}
