//! What is in the flash: features of the built-in numbers, and strips of its digits. `tests/tests/firmware_data.rs`
//! makes them.

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

type Features = [[u8; FEATURES]; NUMBERS];

/// Text, which all voices share; images and sounds of each voice.
static TEXTS_AND_VOICES: &[u8; (1 + 2 * VOICES) * NUMBERS * FEATURES] =
    include_bytes!("../data/numbers.bin");

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

    /// Copies the features of a number in a voice; nothing where there is no such one.
    pub fn read(self, voice: usize, number: usize, to: &mut [i8]) {
        let (blocks, _) = TEXTS_AND_VOICES.as_chunks::<{ size_of::<Features>() }>();
        let block = match self {
            Modality::Text => 0,
            Modality::Image => 1 + voice,
            Modality::Audio => 1 + VOICES + voice,
        };
        let rows = blocks.get(block).map_or(&[][..], |block| block);
        let (rows, _) = rows.as_chunks::<FEATURES>();
        let row = rows.get(number).into_iter().flatten();
        for (to, byte) in to.iter_mut().zip(row) {
            *to = *byte as i8;
        }
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

const STRIP: usize = 1 + 2 * LONGEST + LONGEST * PIXELS;

static STRIPS: &[u8; (TRAIN_STRIPS + TEST_STRIPS) * STRIP] = include_bytes!("../data/strips.bin");

/// A sequence of handwritten digits.
#[derive(Clone, Copy, Debug)]
pub struct Strip {
    bytes: &'static [u8; STRIP],
}

impl Strip {
    /// Strip `index`; nothing beyond the last.
    pub fn get(index: usize) -> Option<Self> {
        let (strips, _) = STRIPS.as_chunks::<STRIP>();
        strips.get(index).map(|bytes| Self { bytes })
    }

    /// How many digits there are.
    pub fn len(&self) -> usize {
        usize::from(self.bytes[0])
    }

    /// Whether there is none; never true of a stored strip.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is written.
    pub fn digits(&self) -> &[u8] {
        self.bytes.get(1..1 + self.len()).unwrap_or_default()
    }

    /// What the label says, in which neighbours may have changed places; of a test strip the digits.
    pub fn label(&self) -> &[u8] {
        let start = 1 + LONGEST;
        let end = start + self.len();
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Copies the pixels, digit by digit, and zeros after the last.
    pub fn read(&self, to: &mut [i8]) {
        let pixels = self.bytes.iter().skip(1 + 2 * LONGEST);
        for (to, byte) in to.iter_mut().zip(pixels) {
            *to = *byte as i8;
        }
    }
}
