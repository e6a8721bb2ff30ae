//! Strips: sequences of 8 to 12 handwritten digits with their transcription.
//!
//! A digit is 64 numbers: pixel/16 minus the mean image of the training digits, for test strips too.

use std::ops::RangeInclusive;

use super::numbers::{Builtin, DIGIT_DIM, DIGIT_MAX};
use crate::error::Result;
use crate::random::{Purpose, Random, stream};

/// Numbers per digit.
pub const DIM: usize = DIGIT_DIM;
/// How many digits a strip has.
pub const LENGTH: RangeInclusive<usize> = 8..=12;

/// Which digit images a strip is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The training digits of the built-in data.
    Train,
    /// Its test digits: no image is in both.
    Test,
}

/// A sequence of digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Strip {
    /// The images one after the other: `digits.len()` rows of [`DIM`] numbers.
    pub pixels: Vec<f32>,
    /// What is written, 0 to 9 each.
    pub digits: Vec<u8>,
}

/// `count` strips; strip i depends on the split, the seed and i alone.
///
/// # Errors
/// None in a sound build: the embedded file is checked like any other.
pub fn make(split: Split, count: usize, seed: u64) -> Result<Vec<Strip>> {
    let data = Builtin::load()?;
    let mean = mean_image(&data);
    let (purpose, first, images) = match split {
        Split::Train => (Purpose::TrainStrip, 0, data.train_digits),
        Split::Test => {
            let images = data.digits() - data.train_digits;
            (Purpose::TestStrip, data.train_digits, images)
        }
    };
    let strip = |i| {
        let mut random = stream(seed, purpose, i as u64);
        draw(&data, &mean, first, images, &mut random)
    };
    Ok((0..count).map(strip).collect())
}

fn draw(
    data: &Builtin,
    mean: &[f32; DIM],
    first: usize,
    images: usize,
    random: &mut Random,
) -> Strip {
    let length = LENGTH.start() + random.below(LENGTH.end() - LENGTH.start() + 1);
    let mut pixels = Vec::with_capacity(length * DIM);
    let mut digits = Vec::with_capacity(length);
    for _ in 0..length {
        let i = first + random.below(images);
        let centred = data.image(i).iter().zip(mean);
        pixels.extend(centred.map(|(&pixel, mean)| f32::from(pixel) / DIGIT_MAX - mean));
        digits.extend(data.classes.get(i));
    }
    Strip { pixels, digits }
}

/// The mean of the training digits, on the scale of pixel/16.
fn mean_image(data: &Builtin) -> [f32; DIM] {
    let mut sums = [0_u32; DIM];
    for i in 0..data.train_digits {
        for (sum, &pixel) in sums.iter_mut().zip(data.image(i)) {
            *sum += u32::from(pixel);
        }
    }
    let count = data.train_digits.max(1) as f32;
    sums.map(|sum| sum as f32 / (count * DIGIT_MAX))
}
