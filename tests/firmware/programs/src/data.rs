//! What is in the flash: features of the built-in numbers, and strips of its digits. `tests/tests/firmware_data.rs`
//! makes them.

use core::ops::Range;

/// Features of a modality.
pub const FEATURES: usize = 32;

/// How many numbers there are, 0 to 99.
pub const NUMBERS: usize = 100;

/// Voices to train on, then those to test on.
pub const TRAIN_VOICES: usize = 6;
/// See [`TRAIN_VOICES`].
pub const TEST_VOICES: usize = 2;

const VOICES: usize = TRAIN_VOICES + TEST_VOICES;

/// What a stored integer of a feature stands for, in standard deviations.
pub const FEATURE_SCALE: f32 = 1.0 / 32.0;

const ROWS: usize = (1 + 2 * VOICES) * NUMBERS;

static TEXTS_AND_VOICES: [i8; ROWS * FEATURES] = signed(include_bytes!("../data/numbers.bin"));

/// Text, which all voices share, then images and sounds of each voice: \[rows, [`FEATURES`]\], see [`Modality::row`].
pub static NUMBER_FEATURES: &[i8] = &TEXTS_AND_VOICES;

/// Bytes as signed integers.
const fn signed<const BYTES: usize>(bytes: &[u8; BYTES]) -> [i8; BYTES] {
    let mut numbers = [0; BYTES];
    let mut at = 0;
    while at < BYTES {
        numbers[at] = bytes[at].cast_signed();
        at += 1;
    }
    numbers
}

/// A modality of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Their names.
    Text,
    /// Handwriting, drawn anew for each voice.
    Image,
    /// Speech.
    Audio,
}

impl Modality {
    /// In the order of the heads.
    pub const ALL: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Audio];

    /// Where the features of a number in a voice lie in [`NUMBER_FEATURES`].
    pub const fn row(self, voice: usize, number: usize) -> u32 {
        let block = match self {
            Modality::Text => 0,
            Modality::Image => 1 + voice,
            Modality::Audio => 1 + VOICES + voice,
        };
        (block * NUMBERS + number) as u32
    }

    /// The features of a number in a voice; nothing where there is no such one.
    pub fn read(self, voice: usize, number: usize) -> &'static [i8] {
        let (rows, _) = NUMBER_FEATURES.as_chunks::<FEATURES>();
        let row = rows.get(self.row(voice, number) as usize);
        row.map_or(&[], |row| row)
    }
}

/// Pixels of a digit.
pub const PIXELS: usize = 64;

/// What a stored integer of a pixel stands for, where ink is 1 and paper 0, less the mean.
pub const PIXEL_SCALE: f32 = 1.0 / 127.0;

/// Digits of the longest strip.
pub const LONGEST: usize = 12;

/// Strips to train on, then those to test on.
pub const TRAIN_STRIPS: usize = 48;
/// See [`TRAIN_STRIPS`].
pub const TEST_STRIPS: usize = 24;

/// Length, digits and label.
const HEADER: usize = 1 + 2 * LONGEST;
const STRIPS: usize = TRAIN_STRIPS + TEST_STRIPS;
const STRIP: usize = HEADER + LONGEST * PIXELS;

static HEADERS: [[i8; HEADER]; STRIPS] = parts(include_bytes!("../data/strips.bin"), 0);
static PIXELS_OF_STRIPS: [[i8; LONGEST * PIXELS]; STRIPS] =
    parts(include_bytes!("../data/strips.bin"), HEADER);

/// The pixels of all strips, \[rows, [`PIXELS`]\]: [`LONGEST`] digits each, zeros after the last, see [`Strip::rows`].
pub static STRIP_FEATURES: &[i8] = PIXELS_OF_STRIPS.as_flattened();

/// Of each strip so many bytes from `start` on.
const fn parts<const LENGTH: usize>(
    bytes: &[u8; STRIPS * STRIP],
    start: usize,
) -> [[i8; LENGTH]; STRIPS] {
    let mut parts = [[0; LENGTH]; STRIPS];
    let mut strip = 0;
    while strip < STRIPS {
        let mut at = 0;
        while at < LENGTH {
            parts[strip][at] = bytes[strip * STRIP + start + at].cast_signed();
            at += 1;
        }
        strip += 1;
    }
    parts
}

/// A sequence of handwritten digits.
#[derive(Clone, Copy, Debug)]
pub struct Strip {
    index: u32,
    header: &'static [i8; HEADER],
}

impl Strip {
    /// Strip `index`; nothing beyond the last.
    pub fn get(index: usize) -> Option<Self> {
        let header = HEADERS.get(index)?;
        let index = index as u32;
        Some(Self { index, header })
    }

    /// How many digits there are.
    pub fn len(&self) -> usize {
        usize::from(self.header[0].cast_unsigned())
    }

    /// Whether there is none; never true of a stored strip.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is written.
    pub fn digits(&self) -> &'static [i8] {
        self.header.get(1..1 + self.len()).unwrap_or_default()
    }

    /// What the label says, in which neighbours may have changed places; of a test strip the digits.
    pub fn label(&self) -> &'static [i8] {
        let start = 1 + LONGEST;
        let end = start + self.len();
        self.header.get(start..end).unwrap_or_default()
    }

    /// Where the pixels of its digits lie in [`STRIP_FEATURES`].
    pub fn rows(&self) -> Range<u32> {
        let first = self.index * LONGEST as u32;
        first..first + LONGEST as u32
    }
}
