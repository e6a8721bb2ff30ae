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

use std::ops::Range;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};

use super::{Dataset, Modality, safetensors};
use crate::error::{Error, Result};
use crate::random::{Purpose, stream};

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

    /// The images of `range` by class.
    fn pools(&self, range: Range<usize>) -> [Vec<usize>; 10] {
        let mut pools: [Vec<usize>; 10] = Default::default();
        for i in range {
            let class = self.classes.get(i).copied().unwrap_or(0);
            if let Some(pool) = pools.get_mut(usize::from(class)) {
                pool.push(i);
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
        let pools = self.pools(digits);
        let mut random = stream(seed, Purpose::Image, part as u64);
        let mut images = Vec::with_capacity(voices.len() * NUMBERS * IMAGE_DIM);
        for number in voices.clone().flat_map(|_| 0..NUMBERS) {
            let tens = random.pick(&pools[number / 10]);
            let ones = random.pick(&pools[number % 10]);
            let (Some(&tens), Some(&ones)) = (tens, ones) else {
                return Err(Error::input(PLACE, "a digit has no image"));
            };
            push_side_by_side(&mut images, self.image(tens), self.image(ones));
        }
        let patch = NUMBERS * AUDIO_DIM;
        let audio = audio
            .get(voices.start * patch..voices.end * patch)
            .unwrap_or(&[]);
        let sounds = audio
            .iter()
            .map(|&z| (f32::from(z) - 128.0) / 32.0)
            .collect();
        let texts: Vec<f32> = voices.clone().flat_map(|_| texts().rows).collect();
        let labels = voices.flat_map(|_| 0..NUMBERS as i64).collect();
        let modalities = vec![
            Modality::new(PLACE, "image", IMAGE_DIM, images)?,
            Modality::new(PLACE, "audio", AUDIO_DIM, sounds)?,
            Modality::new(PLACE, "text", TEXT_DIM, texts)?,
        ];
        Dataset::new(PLACE, modalities, Some(labels))
    }
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
