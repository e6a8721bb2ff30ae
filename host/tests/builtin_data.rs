//! The built-in data: numbers and strips.
#![cfg(feature = "demo-data")]

use std::collections::BTreeSet;

use rivergram::data::numbers::{self, NUMBERS, TEXT_DIM, spell, text_features};
use rivergram::data::strips::{self, Split};
use rivergram::data::{Dataset, Modality};

fn halves(data: &Dataset) -> BTreeSet<Vec<u32>> {
    let image = &data.modalities[0];
    let half = |row: &[f32], from: usize| -> Vec<u32> {
        let lines = row.chunks_exact(16);
        lines
            .flat_map(|line| line[from..from + 8].iter().map(|x| x.to_bits()))
            .collect()
    };
    let rows = image.rows.chunks_exact(image.dim);
    rows.flat_map(|row| [half(row, 0), half(row, 8)]).collect()
}

fn rows(modality: &Modality) -> BTreeSet<Vec<u32>> {
    let rows = modality.rows.chunks_exact(modality.dim);
    rows.map(|row| row.iter().map(|x| x.to_bits()).collect())
        .collect()
}

fn assert_disjoint(a: &Dataset, b: &Dataset) {
    assert!(halves(a).is_disjoint(&halves(b)), "a shared digit image");
    assert!(
        rows(&a.modalities[1]).is_disjoint(&rows(&b.modalities[1])),
        "a shared utterance"
    );
}

#[test]
fn numbers_in_three_modalities() {
    let (train, test) = (
        numbers::train(1).expect("sound"),
        numbers::test(1).expect("sound"),
    );
    assert_eq!(train.names(), "image, audio, text");
    assert_eq!((train.n, test.n), (3000, 1000));
    for data in [&train, &test] {
        let dims: Vec<usize> = data.modalities.iter().map(|m| m.dim).collect();
        assert_eq!(dims, [128, 320, 256]);
        let labels = data.labels.as_ref().expect("labels");
        assert!(
            labels
                .iter()
                .enumerate()
                .all(|(row, &label)| label == (row % NUMBERS) as i64)
        );
        assert!(
            data.modalities[0]
                .rows
                .iter()
                .all(|x| (0.0..=1.0).contains(x))
        );
        assert!(
            data.modalities[1]
                .rows
                .iter()
                .all(|x| (-4.0..4.0).contains(x))
        );
        assert_eq!(
            data.modalities[2].rows[..NUMBERS * TEXT_DIM],
            numbers::texts().rows
        );
        for patch in data.modalities[1].rows.chunks_exact(320) {
            let mean = patch.iter().sum::<f32>() / 320.0;
            let square = patch.iter().map(|x| x * x).sum::<f32>() / 320.0;
            assert!(
                mean.abs() < 0.05 && (square - 1.0).abs() < 0.1,
                "mean {mean}, square {square}"
            );
        }
    }
    assert_disjoint(&train, &test);
    assert_eq!(train, numbers::train(1).expect("sound"));
    let other = numbers::train(2).expect("sound");
    assert_ne!(
        train.modalities[0], other.modalities[0],
        "another seed draws other images"
    );
    assert_eq!(train.modalities[1..], other.modalities[1..]);
}

#[test]
fn voices_are_held_out_with_their_digits() {
    let voices = 30;
    for held_out in 1..voices {
        let (rest, kept) = numbers::train_split(5, held_out).expect("sound");
        assert_eq!(
            (rest.n, kept.n),
            ((voices - held_out) * NUMBERS, held_out * NUMBERS)
        );
        if held_out % 9 == 1 {
            assert_disjoint(&rest, &kept);
        }
    }
    for held_out in [0, voices, usize::MAX] {
        let line = numbers::train_split(5, held_out)
            .expect_err("nothing left")
            .to_string();
        assert!(
            line.contains(&held_out.to_string()) && line.contains("1 to 29"),
            "{line}"
        );
    }
}

#[test]
fn numbers_are_spelled() {
    let words: BTreeSet<String> = (0..NUMBERS).map(spell).collect();
    assert_eq!(words.len(), NUMBERS);
    for (n, word) in [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (42, "forty-two"),
        (99, "ninety-nine"),
    ] {
        assert_eq!(spell(n), word);
    }
}

#[test]
fn text_features_are_hashed_ngrams() {
    let features = text_features("a");
    // "^a$" has the bigrams "^a" and "a$" and the trigram "^a$"; FNV-1a computed by hand from its definition.
    let hash = |gram: &str| {
        gram.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
    };
    let mut expected = [0.0_f64; TEXT_DIM];
    for gram in ["^a", "a$", "^a$"] {
        let sign = if hash(gram) & 0x8000_0000 == 0 {
            -1.0
        } else {
            1.0
        };
        expected[hash(gram) as usize & 255] += sign;
    }
    let norm = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (got, want) in features.iter().zip(expected) {
        assert!((f64::from(*got) - want / norm).abs() < 1e-7);
    }
    let texts = numbers::texts();
    for row in texts.rows.chunks_exact(TEXT_DIM) {
        let square: f32 = row.iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 1e-6, "{square}");
    }
}

#[test]
fn strips_of_digits() {
    let train = strips::make(Split::Train, 300, 4).expect("sound");
    let test = strips::make(Split::Test, 300, 4).expect("sound");
    let mut lengths = BTreeSet::new();
    for strip in train.iter().chain(&test) {
        lengths.insert(strip.digits.len());
        assert_eq!(strip.pixels.len(), strip.digits.len() * strips::DIM);
        assert!(strip.digits.iter().all(|&digit| digit < 10));
        assert!(strip.pixels.iter().all(|x| x.abs() <= 1.0));
    }
    assert_eq!(lengths, (8..=12).collect());
    let images = |strips: &[strips::Strip]| -> BTreeSet<Vec<u32>> {
        let images = strips
            .iter()
            .flat_map(|strip| strip.pixels.chunks_exact(strips::DIM));
        images
            .map(|image| image.iter().map(|x| x.to_bits()).collect())
            .collect()
    };
    assert!(images(&train).is_disjoint(&images(&test)));
    assert_eq!(
        train[..10],
        strips::make(Split::Train, 10, 4).expect("sound")
    );
    assert_ne!(
        train[..10],
        strips::make(Split::Train, 10, 5).expect("sound")
    );
}

#[test]
fn strip_pixels_are_centred_on_the_training_digits() {
    let strips = strips::make(Split::Train, 2000, 0).expect("sound");
    let mut mean = [0.0_f64; strips::DIM];
    let mut count = 0.0;
    for image in strips
        .iter()
        .flat_map(|strip| strip.pixels.chunks_exact(strips::DIM))
    {
        count += 1.0;
        mean.iter_mut()
            .zip(image)
            .for_each(|(sum, &x)| *sum += f64::from(x));
    }
    assert!(
        mean.iter().all(|sum| (sum / count).abs() < 0.02),
        "the mean of many images is near 0"
    );
}

#[test]
fn arrivals_divide_all_voices_and_digits() {
    for count in numbers::ARRIVALS {
        let arrivals = numbers::arrivals(5, count).expect("sound");
        assert_eq!(arrivals.len(), count);
        let mut utterances = BTreeSet::new();
        let mut voices = 0;
        for arrival in &arrivals {
            assert_disjoint(&arrival.train, &arrival.test);
            for data in [&arrival.train, &arrival.test] {
                assert_eq!(data.names(), "image, audio, text");
                utterances.extend(rows(&data.modalities[1]));
            }
            // Every training voice says every number twice, with other images.
            voices += arrival.train.n / (2 * NUMBERS) + arrival.test.n / NUMBERS;
        }
        // Two voices of espeak say a few numbers alike.
        assert!(
            voices == 40 && utterances.len() > 3900,
            "{}",
            utterances.len()
        );
        for pair in arrivals.windows(2) {
            assert_disjoint(&pair[0].train, &pair[1].train);
            assert_disjoint(&pair[0].train, &pair[1].test);
        }
    }
    for count in [0, 1, 9, usize::MAX] {
        let refused = numbers::arrivals(5, count).expect_err("refused");
        let line = refused.to_string();
        assert!(
            line.contains(&count.to_string()) && line.contains("2 to 8"),
            "{line}"
        );
    }
}

#[test]
fn voices_arrive_from_low_to_high() {
    let arrivals = numbers::arrivals(5, 5).expect("sound");
    let height = |data: &Dataset| -> f64 {
        let audio = &data.modalities[1];
        let sum: f64 = audio
            .rows
            .iter()
            .zip((0..20).cycle())
            .map(|(x, band)| f64::from(x * band as f32))
            .sum();
        sum / data.n as f64
    };
    let heights: Vec<f64> = arrivals
        .iter()
        .map(|arrival| height(&arrival.train))
        .collect();
    assert!(heights.is_sorted_by(|a, b| a < b), "{heights:?}");
    assert_eq!(arrivals, numbers::arrivals(5, 5).expect("sound"));
    let other = numbers::arrivals(6, 5).expect("sound");
    assert_ne!(
        arrivals[0].train.modalities[0],
        other[0].train.modalities[0]
    );
    assert_eq!(
        arrivals[0].train.modalities[1..],
        other[0].train.modalities[1..]
    );
}
