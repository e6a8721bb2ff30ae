//! Weak transcriptions: the noise of the edit-invariant loss's experiments (arXiv 2106.15078, section 5.1).
//!
//! | `--noise` | what happens to a transcription |
//! |---|---|
//! | `none` | nothing |
//! | `shuffle:K` | K swaps of consecutive entries of a random permutation of the positions |
//! | `shuffle:all` | all tokens in random order |
//! | `repetition:P` | each token is doubled with probability P |
//! | `blank:B` | each token becomes [`UNK`] with probability B |
//! | `combined:D` | with probability 2D a token is doubled, becomes a random one or [`UNK`] (a third each), then ⌈D·length⌉ swaps |

use std::fmt;

use crate::error::{Error, Result};
use crate::random::{Purpose, Random, stream};

/// The token for "something stands here".
pub const UNK: u8 = 10;
/// How many tokens there are: ten digits and [`UNK`].
pub const TOKENS: usize = 11;

/// A noise operator and its level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseKind {
    /// Tokens stay as they are.
    None,
    /// This many swaps.
    Shuffle(usize),
    /// A full permutation.
    ShuffleAll,
    /// Doubling with this probability.
    Repetition(f64),
    /// [`UNK`] with this probability.
    Blank(f64),
    /// All of it at this level, at most 0.5.
    Combined(f64),
}

impl NoiseKind {
    /// Reads `KIND:LEVEL` as `--noise` takes it; [`Display`](fmt::Display) writes it back.
    ///
    /// # Errors
    /// An unknown kind, with all there are; a level that is no number or out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let (kind, level) = match text.split_once(':') {
            Some((kind, level)) => (kind, Some(level)),
            None => (text, None),
        };
        match (kind, level) {
            ("none", None) => Ok(Self::None),
            ("shuffle", Some("all")) => Ok(Self::ShuffleAll),
            ("shuffle", Some(level)) => match level.parse() {
                Ok(swaps) => Ok(Self::Shuffle(swaps)),
                Err(_) => Err(wrong(
                    text,
                    "a number of swaps or \"all\" expected after shuffle:",
                )),
            },
            ("repetition", Some(level)) => Ok(Self::Repetition(probability(text, level, 1.0)?)),
            ("blank", Some(level)) => Ok(Self::Blank(probability(text, level, 1.0)?)),
            ("combined", Some(level)) => Ok(Self::Combined(probability(text, level, 0.5)?)),
            _ => Err(wrong(
                text,
                "none, shuffle:K, shuffle:all, repetition:P, blank:B or combined:D expected",
            )),
        }
    }

    /// The weak transcription of a sequence of digits.
    pub fn apply(self, digits: &[u8], random: &mut Random) -> Vec<u8> {
        match self {
            Self::None => digits.to_vec(),
            Self::Shuffle(swaps) => swap(digits.to_vec(), swaps, random),
            Self::ShuffleAll => {
                let mut tokens = digits.to_vec();
                random.shuffle(&mut tokens);
                tokens
            }
            Self::Repetition(p) => {
                let twice =
                    |&token: &u8| std::iter::repeat_n(token, 1 + usize::from(random.chance(p)));
                digits.iter().flat_map(twice).collect()
            }
            Self::Blank(p) => {
                let blank = |&token: &u8| if random.chance(p) { UNK } else { token };
                digits.iter().map(blank).collect()
            }
            Self::Combined(level) => combined(digits, level, random),
        }
    }

    /// The weak transcription of sequence `index` of a set: it depends on the seed and the index alone.
    pub fn apply_to(self, digits: &[u8], seed: u64, index: u64) -> Vec<u8> {
        self.apply(digits, &mut stream(seed, Purpose::Noise, index))
    }
}

impl fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Shuffle(swaps) => write!(f, "shuffle:{swaps}"),
            Self::ShuffleAll => write!(f, "shuffle:all"),
            Self::Repetition(p) => write!(f, "repetition:{p}"),
            Self::Blank(p) => write!(f, "blank:{p}"),
            Self::Combined(p) => write!(f, "combined:{p}"),
        }
    }
}

impl std::str::FromStr for NoiseKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn wrong(text: &str, expected: &str) -> Error {
    Error::flag("--noise", format_args!("\"{text}\": {expected}"))
}

fn probability(text: &str, level: &str, most: f64) -> Result<f64> {
    match level.parse::<f64>() {
        Ok(p) if (0.0..=most).contains(&p) => Ok(p.abs()),
        _ => Err(wrong(text, &format!("a level from 0 to {most} expected"))),
    }
}

/// Swaps of consecutive entries of a random permutation, at most one less than there are tokens.
fn swap(mut tokens: Vec<u8>, swaps: usize, random: &mut Random) -> Vec<u8> {
    let order = random.permutation(tokens.len());
    for (&a, &b) in order.iter().zip(order.iter().skip(1)).take(swaps) {
        tokens.swap(a, b);
    }
    tokens
}

fn combined(digits: &[u8], level: f64, random: &mut Random) -> Vec<u8> {
    let mut tokens = Vec::with_capacity(2 * digits.len());
    for &token in digits {
        match random.chance(2.0 * level).then(|| random.below(3)) {
            None => tokens.push(token),
            Some(0) => tokens.extend([token, token]),
            Some(1) => tokens.push(random.below(usize::from(UNK)) as u8),
            Some(_) => tokens.push(UNK),
        }
    }
    let swaps = (level * tokens.len() as f64).ceil() as usize;
    swap(tokens, swaps, random)
}
