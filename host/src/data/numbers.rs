//! The built-in data: the numbers 0 to 99 as image, audio and text.
//!
//! - *image*: two handwritten digits side by side, 8×16 = 128 numbers in [0, 1];
//! - *audio*: the spoken number as a log-mel patch of 16 time slices of 20 bands, 320 numbers;
//! - *text*: the spelled number as signed hashed n-grams, 256 numbers of norm 1.
//!
//! The label of an item is its number. Digits and utterances are stored once; which digit images make up an item is
//! drawn when the data is loaded. There is one item per voice and number, voice by voice, so that rows 100·v to
//! 100·v + 99 are the numbers 0 to 99 in voice v. Training and test data share no digit image and no voice. Origin
//! and licence of digits and voices: `data/README.md` of this crate.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};

use super::{Dataset, Modality, safetensors};
use crate::error::{Error, Result};
use crate::random::{Purpose, Random, stream};

/// How many numbers there are: 0 to 99.
pub const NUMBERS: usize = 100;
/// Length of an image row.
pub const IMAGE_DIM: usize = 2 * DIGIT_DIM;
/// Length of an audio row.
pub const AUDIO_DIM: usize = 320;
/// Length of a text row.
pub const TEXT_DIM: usize = 256;

/// Pixels of one digit, 8×8.
pub(crate) const DIGIT_DIM: usize = 64;
/// The largest value of a pixel as stored.
pub(crate) const DIGIT_MAX: f32 = 16.0;

const PLACE: &str = "built-in data";
static FILE: &[u8] = include_bytes!("../../data/numbers.safetensors");

/// The training data: every training voice.
///
/// # Errors
/// None in a sound build: the embedded file is checked like any other.
pub fn train(seed: u64) -> Result<Dataset> {
    let data = Builtin::load()?;
    let voices = 0..data.train_voices();
    data.build(Part::Train, voices, 0..data.train_digits, seed)
}

/// The test data: voices and digit images that are not in the training data.
///
/// # Errors
/// As [`train`].
pub fn test(seed: u64) -> Result<Dataset> {
    let data = Builtin::load()?;
    let voices = 0..data.audio_test.len() / (NUMBERS * AUDIO_DIM);
    data.build(Part::Test, voices, data.train_digits..data.digits(), seed)
}

/// The training data in two: without the last `held_out` voices, and those voices alone.
///
/// The held-out part shares neither voices nor digit images with the first: the last share of the training digits
/// is kept for it, as large as its share of the voices but at least an eighth. For choosing settings without
/// looking at test data.
///
/// # Errors
/// No voice on one of the two sides.
pub fn train_split(seed: u64, held_out: usize) -> Result<(Dataset, Dataset)> {
    let data = Builtin::load()?;
    let voices = data.train_voices();
    if held_out == 0 || held_out >= voices {
        let problem = format!("{held_out} held-out voices: 1 to {} expected", voices - 1);
        return Err(Error::input(PLACE, problem));
    }
    let eighth = data.train_digits / 8;
    let share = data.train_digits * held_out / voices;
    let digits = data.train_digits - share.clamp(eighth, data.train_digits - eighth);
    let split = voices - held_out;
    let rest = data.build(Part::Train, 0..split, 0..digits, seed)?;
    let kept = data.build(
        Part::HeldOut,
        split..voices,
        digits..data.train_digits,
        seed,
    )?;
    Ok((rest, kept))
}

/// A part of the data that arrives at a time of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// To be trained on.
    pub train: Dataset,
    /// Other voices that sound alike, and other digit images of the same part of the file.
    pub test: Dataset,
}

/// How many arrivals the data can be divided into.
pub const ARRIVALS: RangeInclusive<usize> = 2..=8;
/// Of so many voices of an arrival one is for testing; of so many digit images one.
const TEST_VOICE: usize = 4;
const TEST_DIGIT: usize = 3;
/// Items of each training voice and number, with different digit images.
const REPEATS: usize = 2;

/// All voices and all digit images in `count` parts, for a stream that drifts.
///
/// Voices come in the order of their sound, from low to high frequencies, digit images in the order of the file, as
/// their writers came. Every fourth voice and every third image of a part are for testing. These are the voices and
/// images of [`train`] and [`test()`] together, divided otherwise.
///
/// # Errors
/// A number outside [`ARRIVALS`].
pub fn arrivals(seed: u64, count: usize) -> Result<Vec<Arrival>> {
    if !ARRIVALS.contains(&count) {
        let (least, most) = (ARRIVALS.start(), ARRIVALS.end());
        let problem = format!("{count} arrivals: {least} to {most} expected");
        return Err(Error::input(PLACE, problem));
    }
    let data = Builtin::load()?;
    let patch = NUMBERS * AUDIO_DIM;
    let voices = [data.audio_train, data.audio_test];
    let mut voices: Vec<&[u8]> = voices.iter().flat_map(|all| all.chunks(patch)).collect();
    voices.sort_by_key(|voice| height(voice));
    let part = |all: usize, g: usize| g * all / count..(g + 1) * all / count;
    (0..count)
        .map(|g| {
            let own = voices.get(part(voices.len(), g)).unwrap_or_default();
            let images = part(data.digits(), g);
            let side = |is_test: bool| {
                let chosen = |i: usize, of: usize| (i % of == of - 1) == is_test;
                let chosen_voices = own.iter().enumerate();
                let chosen_voices: Vec<&[u8]> = chosen_voices
                    .filter_map(|(i, voice)| chosen(i, TEST_VOICE).then_some(*voice))
                    .collect();
                let pools = data.pools(images.clone().filter(|&i| chosen(i, TEST_DIGIT)));
                let index = Part::HeldOut as u64 + 1 + 2 * g as u64 + u64::from(is_test);
                let repeats = if is_test { 1 } else { REPEATS };
                let random = stream(seed, Purpose::Image, index);
                items(&chosen_voices.repeat(repeats), &pools, random)
            };
            Ok(Arrival {
                train: side(false)?,
                test: side(true)?,
            })
        })
        .collect()
}

/// How high a voice sounds: the mean band of its clips, up to a factor.
fn height(voice: &[u8]) -> i64 {
    const BANDS: usize = 20;
    let bands = (0..BANDS as i64).cycle();
    bands.zip(voice).map(|(band, &z)| band * i64::from(z)).sum()
}

/// The text rows of the numbers 0 to 99 in order: the gallery for telling a number from its image and sound.
pub fn texts() -> Modality {
    Modality {
        name: "text".to_owned(),
        dim: TEXT_DIM,
        rows: (0..NUMBERS)
            .flat_map(|n| text_features(&spell(n)))
            .collect(),
    }
}

/// A number below 100 in English, such as "forty-two".
pub fn spell(number: usize) -> String {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] = [
        "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let tens = TENS[number / 10 % 10];
    match (ONES.get(number), number % 10) {
        (Some(word), _) => (*word).to_owned(),
        (None, 0) => tens.to_owned(),
        (None, ones) => format!("{tens}-{}", ONES[ones]),
    }
}

/// The 2- to 4-grams of `^word$`, hashed with sign into 256 numbers and scaled to norm 1.
///
/// The hash is FNV-1a of 32 bits over the bytes: its remainder by 256 is the place, its top bit means plus.
pub fn text_features(word: &str) -> [f32; TEXT_DIM] {
    let marked = format!("^{word}$");
    let mut features = [0.0_f32; TEXT_DIM];
    for length in 2..=4 {
        for gram in marked.as_bytes().windows(length) {
            let hash = fnv1a(gram);
            let sign = if hash >> 31 == 1 { 1.0 } else { -1.0 };
            features[hash as usize % TEXT_DIM] += sign;
        }
    }
    let norm = features.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        features.iter_mut().for_each(|x| *x /= norm);
    }
    features
}

fn fnv1a(bytes: &[u8]) -> u32 {
    let mix = |hash: u32, &byte: &u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    bytes.iter().fold(2_166_136_261, mix)
}

/// Which random stream draws the digit images.
#[derive(Clone, Copy)]
enum Part {
    Train,
    Test,
    HeldOut,
}

/// The embedded file, checked.
pub(crate) struct Builtin {
    /// Digit images, `DIGIT_DIM` bytes each: training first, then test.
    pub(crate) images: &'static [u8],
    /// The digit on each image.
    pub(crate) classes: &'static [u8],
    /// How many of the images are for training.
    pub(crate) train_digits: usize,
    audio_train: &'static [u8],
    audio_test: &'static [u8],
}

impl Builtin {
    pub(crate) fn load() -> Result<Self> {
        let tensors = safetensors::parse(Path::new(PLACE), FILE)?;
        let data = Self {
            images: bytes(&tensors, "digits", DIGIT_DIM)?,
            classes: bytes(&tensors, "digit_labels", 1)?,
            train_digits: train_digits()?,
            audio_train: bytes(&tensors, "audio_train", AUDIO_DIM)?,
            audio_test: bytes(&tensors, "audio_test", AUDIO_DIM)?,
        };
        let sound = data.images.len() == data.digits() * DIGIT_DIM
            && data.train_digits < data.digits()
            && data.classes.iter().all(|&class| class < 10)
            && [data.audio_train, data.audio_test]
                .iter()
                .all(|audio| !audio.is_empty() && audio.len().is_multiple_of(NUMBERS * AUDIO_DIM));
        match sound {
            true => Ok(data),
            false => Err(Error::input(PLACE, "its tensors do not fit together")),
        }
    }

    /// How many digit images there are.
    pub(crate) fn digits(&self) -> usize {
        self.classes.len()
    }

    fn train_voices(&self) -> usize {
        self.audio_train.len() / (NUMBERS * AUDIO_DIM)
    }

    /// The pixels of image `i` as stored, 0 to 16.
    pub(crate) fn image(&self, i: usize) -> &'static [u8] {
        let start = i * DIGIT_DIM;
        self.images.get(start..start + DIGIT_DIM).unwrap_or(&[])
    }

    /// Some images by class.
    fn pools(&self, images: impl Iterator<Item = usize>) -> [Vec<&'static [u8]>; 10] {
        let mut pools: [Vec<&[u8]>; 10] = Default::default();
        for i in images {
            let class = self.classes.get(i).copied().unwrap_or(0);
            if let Some(pool) = pools.get_mut(usize::from(class)) {
                pool.push(self.image(i));
            }
        }
        pools
    }

    fn build(
        &self,
        part: Part,
        voices: Range<usize>,
        digits: Range<usize>,
        seed: u64,
    ) -> Result<Dataset> {
        let audio = match part {
            Part::Train | Part::HeldOut => self.audio_train,
            Part::Test => self.audio_test,
        };
        let audio = audio.chunks_exact(NUMBERS * AUDIO_DIM);
        let voices: Vec<&[u8]> = audio.skip(voices.start).take(voices.len()).collect();
        let random = stream(seed, Purpose::Image, part as u64);
        items(&voices, &self.pools(digits), random)
    }
}

/// One item per voice and number, with the voice's clips and digit images from the pools.
fn items(voices: &[&[u8]], pools: &[Vec<&[u8]>; 10], mut random: Random) -> Result<Dataset> {
    let mut images = Vec::with_capacity(voices.len() * NUMBERS * IMAGE_DIM);
    for number in voices.iter().flat_map(|_| 0..NUMBERS) {
        let tens = random.pick(&pools[number / 10]);
        let ones = random.pick(&pools[number % 10]);
        let (Some(tens), Some(ones)) = (tens, ones) else {
            return Err(Error::input(PLACE, "a digit has no image"));
        };
        push_side_by_side(&mut images, tens, ones);
    }
    let audio = voices.iter().copied().flatten();
    let sounds = audio.map(|&z| (f32::from(z) - 128.0) / 32.0).collect();
    let texts: Vec<f32> = voices.iter().flat_map(|_| texts().rows).collect();
    let labels = voices.iter().flat_map(|_| 0..NUMBERS as i64).collect();
    let modalities = vec![
        Modality::new(PLACE, "image", IMAGE_DIM, images)?,
        Modality::new(PLACE, "audio", AUDIO_DIM, sounds)?,
        Modality::new(PLACE, "text", TEXT_DIM, texts)?,
    ];
    Dataset::new(PLACE, modalities, Some(labels))
}

/// Appends an image of 8 lines of 16 pixels in [0, 1].
fn push_side_by_side(rows: &mut Vec<f32>, left: &[u8], right: &[u8]) {
    for (left, right) in left.chunks(8).zip(right.chunks(8)) {
        rows.extend(left.iter().chain(right).map(|&p| f32::from(p) / DIGIT_MAX));
    }
}

fn bytes(tensors: &SafeTensors<'static>, name: &str, dim: usize) -> Result<&'static [u8]> {
    let file = Path::new(PLACE);
    let tensor = tensors.tensor(name).map_err(|e| Error::file(file, e))?;
    let data = tensor.data();
    match tensor.dtype() == Dtype::U8 && data.len().is_multiple_of(dim) {
        true => Ok(data),
        false => Err(Error::tensor(
            file,
            name,
            format!("bytes in rows of {dim} expected"),
        )),
    }
}

/// The header says how many digit images are for training.
fn train_digits() -> Result<usize> {
    let file = Path::new(PLACE);
    let (_, header) = SafeTensors::read_metadata(FILE).map_err(|e| Error::file(file, e))?;
    let entry = header
        .metadata()
        .as_ref()
        .and_then(|map| map.get("digit_train"));
    let count = entry.and_then(|text| text.parse().ok());
    count.ok_or_else(|| Error::file(file, "no number \"digit_train\" in its metadata"))
}
