//! The data that the firmware tests train on: made of the built-in data, small enough for the flash of a
//! microcontroller, and compared with what lies in `tests/firmware/programs/data`.
//!
//! `RIVERGRAM_BLESS=1 cargo test -p rivergram-tests --test firmware_data` writes it anew.

use rivergram::data::Dataset;
use rivergram::data::noise::NoiseKind;
use rivergram::data::numbers::{self, NUMBERS};
use rivergram::data::standardise::Standardiser;
use rivergram::data::strips::{DIM, LENGTH, Split, Strip, make};
use rivergram_tests::random::Random;
use rivergram_tests::source::root;

const SEED: u64 = 7;

/// Features of each modality after the projection.
const FEATURES: usize = 32;

/// Steps of the stored integers per standard deviation: ±4 deviations fit a byte.
const STEPS: f64 = 32.0;

/// Voices that heads are trained on, and others that they are tested on.
const TRAIN_VOICES: usize = 6;
const TEST_VOICES: usize = 2;

const TRAIN_STRIPS: usize = 48;
const TEST_STRIPS: usize = 24;

/// What becomes of the labels of the training strips.
const NOISE: &str = "shuffle:5";

/// Compares a file with what it should hold, or writes it.
fn check(name: &str, bytes: &[u8]) {
    let path = root().join("tests/firmware/programs/data").join(name);
    if std::env::var_os("RIVERGRAM_BLESS").is_some() {
        std::fs::write(&path, bytes).expect("a writable folder");
    }
    let stored = std::fs::read(&path).unwrap_or_default();
    assert!(
        stored == bytes,
        "{}: {} bytes that the built-in data do not give; RIVERGRAM_BLESS=1 writes them anew",
        path.display(),
        stored.len()
    );
}

fn byte(x: f64) -> u8 {
    (x.round().clamp(-127.0, 127.0) as i8) as u8
}

/// Columns of a random projection, \[features\]\[dim\]: signs, which are the same on every machine.
fn projection(random: &mut Random, dim: usize) -> Vec<Vec<f64>> {
    let mut sign = || if random.bits() >> 63 == 0 { 1.0 } else { -1.0 };
    (0..FEATURES)
        .map(|_| (0..dim).map(|_| sign()).collect())
        .collect()
}

fn project(columns: &[Vec<f64>], row: &[f32]) -> Vec<f64> {
    let dot = |column: &Vec<f64>| {
        let products = column.iter().zip(row).map(|(c, x)| c * f64::from(*x));
        products.sum::<f64>()
    };
    columns.iter().map(dot).collect()
}

/// The first rows of a modality as bytes, projected and scaled so that those of the training data have the
/// deviation 1.
fn features(
    modality: usize,
    columns: &[Vec<f64>],
    scale: f64,
    data: &Dataset,
    rows: usize,
) -> Vec<u8> {
    let modality = &data.modalities[modality];
    let rows = (0..rows).filter_map(|row| modality.row(row));
    let projected = rows.flat_map(|row| project(columns, row));
    projected.map(|x| byte(x * scale * STEPS)).collect()
}

#[test]
fn the_features_are_those_of_the_built_in_numbers() {
    let order = ["text", "image", "audio"];
    let select = |data: Dataset| data.select("the test", &order).expect("three modalities");
    let mut train = select(numbers::train(SEED).expect("data"));
    let mut test = select(numbers::test(SEED).expect("data"));
    let standardiser = Standardiser::fit(&train, None);
    standardiser.apply("train", &mut train).expect("its own");
    standardiser.apply("test", &mut test).expect("the same");

    let mut random = Random::new(SEED);
    let (mut text, mut voices) = (Vec::new(), [Vec::new(), Vec::new()]);
    for modality in 0..order.len() {
        let columns = projection(&mut random, train.modalities[modality].dim);
        let rows = NUMBERS * TRAIN_VOICES;
        let squares = (0..rows).filter_map(|row| train.modalities[modality].row(row));
        let squares = squares.flat_map(|row| project(&columns, row));
        let mean = squares.map(|x| x * x).sum::<f64>() / (rows * FEATURES) as f64;
        let scale = 1.0 / mean.sqrt();
        match modality {
            0 => text = features(0, &columns, scale, &train, NUMBERS),
            _ => {
                let mut bytes = features(modality, &columns, scale, &train, rows);
                let rows = NUMBERS * TEST_VOICES;
                bytes.extend(features(modality, &columns, scale, &test, rows));
                voices[modality - 1] = bytes;
            }
        }
    }
    check("numbers.bin", &[text, voices.concat()].concat());
}

/// Number of digits, digits, labels, pixels times 127; padded to the longest strip.
fn strip(strip: &Strip, labels: &[u8]) -> Vec<u8> {
    let longest = *LENGTH.end();
    assert_eq!(labels.len(), strip.digits.len());
    let mut bytes = vec![u8::try_from(labels.len()).expect("a dozen")];
    for tokens in [&strip.digits[..], labels] {
        bytes.extend(tokens);
        bytes.resize(bytes.len() + longest - tokens.len(), 0);
    }
    bytes.extend(strip.pixels.iter().map(|x| byte(f64::from(*x) * 127.0)));
    bytes.resize(1 + 2 * longest + longest * DIM, 0);
    bytes
}

#[test]
fn the_strips_are_those_of_the_built_in_digits() {
    let noise = NoiseKind::parse(NOISE).expect("a noise");
    let train = make(Split::Train, TRAIN_STRIPS, SEED).expect("data");
    let test = make(Split::Test, TEST_STRIPS, SEED).expect("data");
    let noisy = train.iter().zip(0..).map(|(drawn, index)| {
        let labels = noise.apply_to(&drawn.digits, SEED, index);
        strip(drawn, &labels)
    });
    let clean = test.iter().map(|drawn| strip(drawn, &drawn.digits));
    check(
        "strips.bin",
        &noisy.chain(clean).flatten().collect::<Vec<_>>(),
    );
}
