//! The determinant of a Gram matrix of integers, exactly, and its square root in `f32`.

use crate::lanes::Lanes;

/// sqrt(det G) of the Gram matrix of up to eight int8 vectors, G \[K, K\]: exact but for the last bit or two of an
/// `f32`, and 0 exactly where the vectors are dependent.
#[inline(always)]
pub(super) fn root_of_determinant<const K: usize>(gram: &[[i32; K]; K]) -> f32 {
    // The sets of K columns are 2^K, which the language does not take as a size yet.
    match K {
        1 => root(&determinant::<K, 2>(gram)),
        2 => root(&determinant::<K, 4>(gram)),
        3 => root(&determinant::<K, 8>(gram)),
        4 => root(&determinant::<K, 16>(gram)),
        5 => root(&determinant::<K, 32>(gram)),
        6 => root(&determinant::<K, 64>(gram)),
        7 => root(&determinant::<K, 128>(gram)),
        _ => root(&determinant::<K, 256>(gram)),
    }
}

/// det G, by Laplace's expansion along the last row, each minor computed once:
///
/// ```text
/// minor(S) = Σ_{c in S} ± G_{|S|−1, c} · minor(S without c)          det G = minor(all columns)
/// ```
///
/// minor(S) is that of the first |S| rows and the columns S, a bit mask. No minor of order p leaves p words, with
/// its sign: by Hadamard's inequality it is at most the product of p diagonals, of 31 bits each. Words are in two's
/// complement, the lowest first.
#[inline(always)]
fn determinant<const K: usize, const SETS: usize>(gram: &[[i32; K]; K]) -> [u32; K] {
    let mut minors = [[0_u32; K]; SETS];
    let mut minor = [0; K];
    for set in 1..SETS {
        let order = set.count_ones() as usize;
        let Some(row) = gram.get(order.wrapping_sub(1)) else {
            continue;
        };
        minor = [0; K];
        // The sign of the first column; that of the last is +.
        let mut is_negative = order & 1 == 0;
        for (column, entry) in (0..u32::MAX).zip(row) {
            let others = set & !1_usize.wrapping_shl(column);
            if others == set {
                continue;
            }
            if others == 0 {
                minor[0] = *entry as u32;
            } else if let Some(of_others) = minors.get(others) {
                add_product(
                    &mut minor,
                    *entry,
                    of_others,
                    order.saturating_sub(1),
                    is_negative,
                );
            }
            is_negative = !is_negative;
        }
        if let Some(place) = minors.get_mut(set) {
            *place = minor;
        }
    }
    minor
}

/// sum ± entry · minor: a minor of so many words, into a sum of one more.
#[inline(always)]
fn add_product<const K: usize>(
    sum: &mut [u32; K],
    entry: i32,
    minor: &[u32; K],
    words: usize,
    is_negative: bool,
) {
    let factor = entry.unsigned_abs();
    // −x = !x + 1, so −factor·x = factor·!x + factor.
    let flip = if is_negative != (entry < 0) {
        u32::MAX
    } else {
        0
    };
    let mut carry = factor & flip;
    let mut highest = 0;
    for (to, word) in sum.iter_mut().zip(minor).take(words) {
        highest = word ^ flip;
        let product = u64::from(factor).wrapping_mul(u64::from(highest));
        let next = product
            .wrapping_add(u64::from(*to))
            .wrapping_add(u64::from(carry));
        *to = next as u32;
        carry = (next >> 32) as u32;
    }
    // A negative number of w words was read as itself + 2^(32·w).
    let excess = if highest >> 31 == 1 { factor } else { 0 };
    if let Some(to) = sum.get_mut(words) {
        *to = to.wrapping_add(carry.wrapping_sub(excess));
    }
}

/// The square root of an integer of K words.
#[inline(always)]
fn root<const K: usize>(words: &[u32; K]) -> f32 {
    // The highest word that is not 0, and the one below it.
    let (mut high, mut low, mut place) = (0_u32, 0_u32, 0_u32);
    let mut below = 0;
    for (index, word) in (0..u32::MAX).zip(words) {
        if *word != 0 {
            (high, low, place) = (*word, below, index);
        }
        below = *word;
    }
    if high == 0 {
        return 0.0;
    }
    // By an even number of bits: the number is top · 2^(32·place − shift).
    let shift = high.leading_zeros() & !1;
    let both = (u64::from(high) << 32) | u64::from(low);
    let top = ((both << shift) >> 32) as u32;
    let root = Lanes::sqrt(top as f32);
    let exponent = place.wrapping_mul(16).wrapping_sub(shift / 2);
    f32::from_bits(root.to_bits().wrapping_add(exponent << 23))
}
