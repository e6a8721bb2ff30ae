//! What logits are stored as, and how the threads of a block go through those of a position.

use super::{THREADS, for_own};
use crate::device::{Element, Global, Thread};
use crate::lanes::{Bf16, F32};

/// What logits are stored as. A thread takes sixteen bytes at a time; the exponentials of four share one change of the
/// maximum.
pub trait Logit: Element {
    /// The numbers of sixteen bytes.
    type Piece: AsRef<[[F32; 4]]> + AsMut<[[F32; 4]]>;
    /// The same number.
    fn widen(self) -> F32;
    /// The nearest one.
    fn nearest(x: F32) -> Self;
    /// The numbers of four words.
    fn unpack(words: [u32; 4]) -> Self::Piece;
    /// The nearest numbers, in four words.
    fn pack(piece: Self::Piece) -> [u32; 4];
}

impl Logit for F32 {
    type Piece = [[F32; 4]; 1];
    #[inline(always)]
    fn widen(self) -> F32 {
        self
    }
    #[inline(always)]
    fn nearest(x: F32) -> Self {
        x
    }
    #[inline(always)]
    fn unpack(words: [u32; 4]) -> Self::Piece {
        [words.map(F32::from_word)]
    }
    #[inline(always)]
    fn pack([four]: Self::Piece) -> [u32; 4] {
        four.map(F32::to_word)
    }
}

impl Logit for Bf16 {
    type Piece = [[F32; 4]; 2];
    #[inline(always)]
    fn widen(self) -> F32 {
        Bf16::widen(self)
    }
    #[inline(always)]
    fn nearest(x: F32) -> Self {
        Bf16::nearest(x)
    }
    #[inline(always)]
    fn unpack([a, b, c, d]: [u32; 4]) -> Self::Piece {
        [[a, b], [c, d]]
            .map(|[a, b]| [a, a >> 16, b, b >> 16].map(|bits| Bf16(bits as u16).widen()))
    }
    #[inline(always)]
    fn pack(piece: Self::Piece) -> [u32; 4] {
        let [[a, b], [c, d]] = piece.map(|four| {
            let [a, b, c, d] = four.map(|x| Bf16::nearest(x).to_word());
            [a | b << 16, c | d << 16]
        });
        [a, b, c, d]
    }
}

/// Logits of a row that a thread takes: one, or those of sixteen bytes.
#[derive(Clone, Copy)]
pub(super) enum At {
    One(usize),
    Piece(usize),
}

/// Numbers of sixteen bytes.
#[inline(always)]
const fn each<T: Logit>() -> usize {
    (16 / T::BYTES) as usize
}

/// How many numbers after a multiple of sixteen bytes a row begins: whole sixteen bytes lie on such multiples.
#[inline(always)]
pub(super) fn behind_address<T: Logit>(x: Global<T>) -> usize {
    (x.at(0) % 16 / T::BYTES) as usize
}

/// The same of position `j` where its row begins at a multiple of sixteen bytes. So which numbers are added up together
/// depends on the position alone, and not on where its row lies, in which part of a batch.
#[inline(always)]
pub(super) fn behind_position<T: Logit>(x: Global<T>, j: usize) -> usize {
    j * x.len() % each::<T>()
}

/// Calls with the logits of a row that the thread of a block has; alone go those before and after the whole sixteen bytes,
/// of a row that begins so many numbers `behind` their start.
#[inline(always)]
pub(super) fn for_own_logits<T: Logit>(
    thread: Thread<'_>,
    x: Global<T>,
    behind: usize,
    mut call: impl FnMut(At),
) {
    let (own, threads) = (thread.index() as usize, THREADS as usize);
    let each = each::<T>();
    let first = ((each - behind) % each).min(x.len());
    let pieces = (x.len() - first) / each;
    let end = first + pieces * each;
    for_own(own, threads, first, |v| call(At::One(v)));
    for_own(own, threads, pieces, |i| call(At::Piece(first + i * each)));
    for_own(own, threads, x.len() - end, |i| call(At::One(end + i)));
}

/// The numbers of sixteen bytes, wherever they lie.
#[inline(always)]
pub(super) fn read_piece<T: Logit>(thread: Thread<'_>, x: Global<T>, v: usize) -> T::Piece {
    if x.at(v).is_multiple_of(16) {
        return T::unpack(thread.read_16_bytes(x, v));
    }
    let word = |w: usize| {
        if T::BYTES == 4 {
            return thread.read(x, v + w).to_word();
        }
        let [low, high] = [0, 1].map(|half| thread.read(x, v + 2 * w + half).to_word());
        low | high << 16
    };
    T::unpack([0, 1, 2, 3].map(word))
}
