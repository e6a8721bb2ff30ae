//! The nearest items of an anchor in a gallery of int8 vectors.
//!
//! ```text
//! d = s_a · sqrt(det G(a, x_1, …, x_m) / det G(x_1, …, x_m))          V = vol · d          Σ_p cos(a, x_p)
//! ```
//!
//! Both determinants are exact, so no pair is nearer than it should be, and an item's vectors are dependent only where
//! they are exactly. What does not depend on the anchor is an [`Item`], which may be prepared once.

use super::{check_dimensions, determinant::root_of_determinant, dot, is_scale};
use crate::error::GramError;
use crate::gram::contrastive::ZeroRows;
use crate::gram::pair::Measure;
use crate::gram::retrieval::TopK;
use crate::gram::search::Search;
use crate::ops::{self, Walk};

/// Items of M int8 vectors each, every modality in a table of its own: row j of each belongs to item j.
#[derive(Clone, Copy, Debug)]
pub struct Gallery<'a, const M: usize> {
    /// The integers, M tables \[items, d\], row-major.
    pub numbers: [&'a [i8]; M],
    /// Their scales, M tables \[items\].
    pub scales: [&'a [f32]; M],
    /// Which vectors are there, M tables \[items\]; all of them for `None`. An absent one may hold anything.
    pub present: Option<[&'a [bool]; M]>,
}

/// What a search needs to know of an item besides its vectors: M² + M + 2 words.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Item<const M: usize> {
    /// The Gram matrix of the integers; a vector that is absent, or depends on those before it, has zeros.
    pub gram: [[i32; M]; M],
    /// The volume of the vectors that are there: 0 where they are dependent.
    pub volume: f32,
    /// 1/sqrt(det) of the Gram matrix without the rows of zeros; 0 where nothing is there.
    pub inverse_root: f32,
    /// 1/|n| of each vector's integers; 0 of one that is absent or zero.
    pub inverse_norms: [f32; M],
}

impl<const M: usize> Item<M> {
    /// An item of which nothing is there, to fill storage with.
    pub const ABSENT: Self = Item {
        gram: [[0; M]; M],
        volume: 0.0,
        inverse_root: 0.0,
        inverse_norms: [0.0; M],
    };
}

impl<'a, const M: usize> Gallery<'a, M> {
    /// What [`nearest_i8`] needs of each item, into `items`: then a search takes M·D multiply-adds per item and a
    /// determinant of M + 1 vectors. Returns the number of items whose vectors are dependent. Cost: per item
    /// M·(M + 1)/2 · d multiply-adds, a determinant, M + 1 square roots and quotients. Errors: sizes, a scale that is
    /// negative or not finite, a vector of zeros under [`ZeroRows::Error`].
    ///
    /// ```
    /// use rivergram_core::gram::contrastive::ZeroRows;
    /// use rivergram_core::gram::int8::{Gallery, Item};
    ///
    /// let gallery = Gallery { numbers: [&[3, 4, /**/ 0, 5]], scales: [&[0.5, 1.0]], present: None };
    /// let mut items = [Item::ABSENT; 2];
    /// assert_eq!(gallery.prepare(ZeroRows::Missing, 2, &mut items), Ok(0));
    /// assert_eq!((items[0].gram, items[0].volume, items[1].volume), ([[25]], 2.5, 5.0));
    /// ```
    pub fn prepare(
        &self,
        zero_rows: ZeroRows,
        d: usize,
        items: &mut [Item<M>],
    ) -> Result<usize, GramError> {
        check_dimensions(d)?;
        self.check(zero_rows, d)?;
        let (need, have) = (self.len(), items.len());
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        let mut dependent = 0_usize;
        for (j, item) in (0..need).zip(items) {
            *item = self.item(zero_rows, d, j, None);
            dependent = dependent.saturating_add(usize::from(item.is_dependent()));
        }
        Ok(dependent)
    }

    /// Items.
    #[inline(always)]
    fn len(&self) -> usize {
        self.scales.first().map_or(0, |scales| scales.len())
    }

    /// Everything that can be wrong.
    fn check(&self, zero_rows: ZeroRows, d: usize) -> Result<(), GramError> {
        let rows = self.len();
        if M == 0 || rows == 0 || d == 0 {
            let k = M.saturating_add(1);
            return Err(GramError::Empty { k, rows, d });
        }
        for p in 0..M {
            let flags = self.present.map_or(rows, |present| present[p].len());
            let (numbers, scales) = (self.numbers[p], self.scales[p]);
            let sizes = [
                (rows.saturating_mul(d), numbers.len()),
                (rows, scales.len()),
                (rows, flags),
            ];
            for (need, have) in sizes {
                if need != have {
                    return Err(GramError::BufferSize { need, have });
                }
            }
            let modality = p.saturating_add(1);
            let vectors = numbers.rows(d).zip(scales);
            for (row, (numbers, scale)) in (0..rows).zip(vectors) {
                if !self.is_present(p, row) {
                    continue;
                }
                if !is_scale(*scale) {
                    return Err(GramError::Scale { modality, row });
                }
                if zero_rows == ZeroRows::Error {
                    zero_rows.check(square_of(dot(numbers, numbers), *scale), modality, row)?;
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn is_present(&self, p: usize, j: usize) -> bool {
        let flag = self.present.and_then(|present| present[p].get(j));
        flag.copied().unwrap_or(true)
    }

    #[inline(always)]
    fn rows(&self, d: usize, j: usize) -> [&'a [i8]; M] {
        let start = j.saturating_mul(d);
        self.numbers.map(|numbers| {
            let from = numbers.get(start..).unwrap_or(&[]);
            from.get(..d).unwrap_or(&[])
        })
    }

    /// What this measure needs of item j; without one, what any does.
    #[inline(always)]
    fn item(&self, zero_rows: ZeroRows, d: usize, j: usize, measure: Option<Measure>) -> Item<M> {
        let mut item = Item::ABSENT;
        let rows = self.rows(d, j);
        let mut is_there = [false; M];
        let mut scale = 1.0;
        for p in 0..M {
            let own = self.scales[p].get(j).copied().unwrap_or_default();
            let integers = dot(rows[p], rows[p]);
            let square = square_of(integers, own);
            if !self.is_present(p, j) || !zero_rows.keeps(square) {
                continue;
            }
            is_there[p] = true;
            scale *= own;
            if ops::is_zero(square) {
                continue;
            }
            item.gram[p][p] = integers;
            if measure.is_none_or(|measure| measure == Measure::Cosine) {
                item.inverse_norms[p] = ops::inverse_norm(integers as f32);
            }
        }
        if is_there == [false; M] {
            return item;
        }
        item.inverse_root = 1.0;
        if measure == Some(Measure::Cosine) {
            return item;
        }
        for p in 0..M {
            for q in 0..p {
                if item.gram[p][p] != 0 && item.gram[q][q] != 0 {
                    let product = dot(rows[p], rows[q]);
                    item.gram[p][q] = product;
                    item.gram[q][p] = product;
                }
            }
        }
        let is_any_zero = (0..M).any(|p| is_there[p] && item.gram[p][p] == 0);
        let mut root = root_with_ones(&item.gram);
        let is_dependent = is_any_zero || root == 0.0;
        if is_dependent {
            root = keep_independent(&mut item.gram);
        }
        item.inverse_root = 1.0 / root;
        item.volume = if is_dependent { 0.0 } else { root * scale };
        item
    }
}

impl<const M: usize> Item<M> {
    #[inline(always)]
    fn is_dependent(&self) -> bool {
        self.inverse_root > 0.0 && self.volume <= 0.0
    }
}

/// |s·n|² from |n|²; the scale's own square would leave the range first.
#[inline(always)]
fn square_of(integers: i32, scale: f32) -> f32 {
    scale * integers as f32 * scale
}

/// sqrt(det) where a row of zeros is one of the identity: the vector does not count.
#[inline(always)]
fn root_with_ones<const M: usize>(gram: &[[i32; M]; M]) -> f32 {
    let mut gram = *gram;
    for (p, row) in (0..M).zip(gram.iter_mut()) {
        if row[p] == 0 {
            row[p] = 1;
        }
    }
    root_of_determinant(&gram)
}

/// Zeros in the row and column of each vector that depends on those before it; sqrt(det) of the others.
#[inline(never)]
fn keep_independent<const M: usize>(gram: &mut [[i32; M]; M]) -> f32 {
    let all = *gram;
    *gram = [[0; M]; M];
    let mut root = 1.0;
    for p in 0..M {
        let before = *gram;
        for q in 0..=p {
            if q == p || gram[q][q] != 0 {
                gram[p][q] = all[p][q];
                gram[q][p] = all[q][p];
            }
        }
        let with = root_with_ones(gram);
        if with > 0.0 {
            root = with;
        } else {
            *gram = before;
        }
    }
    root
}

/// Offers every item to the best matches of an anchor s·n; returns the number of items whose vectors are dependent:
/// their volume is 0, the best, for every anchor (of cosines it is not counted).
///
/// `anchor` \[d\] and `prepared` \[items\], or `None` to compute an item when its turn comes. What `top` holds already
/// stays in the race; memory does not grow with the gallery. Of `search` the tile is not used: one item is one. Under
/// [`ZeroRows::Missing`] a zero vector ([`ops::is_zero`]) is absent; an anchor that is one finds nothing, and an item
/// of which nothing is there is no candidate. M is at most 7, or it does not compile. Relative error of volume and
/// distance: 1e-6 of those of the vectors s·n; of a cosine: 4e-7. Cost per item: M·d multiply-adds of integers, the
/// determinant of M + 1 vectors, one square root; unless `prepared`, besides that what [`Gallery::prepare`] says.
/// Errors: sizes, a scale that is negative or not finite, a vector of zeros under [`ZeroRows::Error`], a `top` of the
/// other order than the measure's; then `top` is as it was.
///
/// ```
/// use rivergram_core::gram::int8::{Gallery, nearest_i8};
/// use rivergram_core::gram::pair::Measure;
/// use rivergram_core::gram::retrieval::TopK;
/// use rivergram_core::gram::search::Search;
///
/// let (texts, images) = ([100, 0, /**/ 90, 80, /**/ 0, 100], [0, 50, /**/ 100, 90, /**/ 50, 0]);
/// let scales: &[f32] = &[0.01; 3];
/// let gallery = Gallery { numbers: [&texts, &images], scales: [scales, scales], present: None };
///
/// let search = Search::by(Measure::Cosine);
/// let mut top = TopK::<f32, 2>::new(search.measure.order());
/// nearest_i8(search, &[70, 60], 0.01, gallery, None, &mut top)?;
/// assert_eq!(top.best()[0].1, 1);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(never)]
pub fn nearest_i8<const M: usize, const N: usize>(
    search: Search,
    anchor: &[i8],
    scale: f32,
    gallery: Gallery<'_, M>,
    prepared: Option<&[Item<M>]>,
    top: &mut TopK<f32, N>,
) -> Result<usize, GramError> {
    const {
        assert!(M <= 7, "the determinant of more vectors has no code");
    }
    let anchor = Anchor::new(search.zero_rows, anchor, scale)?;
    gallery.check(search.zero_rows, anchor.numbers.len())?;
    let (need, have) = (gallery.len(), prepared.map_or(gallery.len(), <[_]>::len));
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    if top.order() != search.measure.order() {
        return Err(GramError::Order { row: 0 });
    }
    // M + 1 is no expression of M that the language takes as a size.
    Ok(match M {
        1 => offer::<M, 2, N>(search, anchor, gallery, prepared, top),
        2 => offer::<M, 3, N>(search, anchor, gallery, prepared, top),
        3 => offer::<M, 4, N>(search, anchor, gallery, prepared, top),
        4 => offer::<M, 5, N>(search, anchor, gallery, prepared, top),
        5 => offer::<M, 6, N>(search, anchor, gallery, prepared, top),
        6 => offer::<M, 7, N>(search, anchor, gallery, prepared, top),
        _ => offer::<M, 8, N>(search, anchor, gallery, prepared, top),
    })
}

#[derive(Clone, Copy)]
struct Anchor<'a> {
    numbers: &'a [i8],
    scale: f32,
    /// |n|²; 0 of a zero vector.
    square: i32,
    inverse_norm: f32,
    is_there: bool,
}

impl<'a> Anchor<'a> {
    fn new(zero_rows: ZeroRows, numbers: &'a [i8], scale: f32) -> Result<Self, GramError> {
        let (modality, row) = (0, 0);
        check_dimensions(numbers.len())?;
        if !is_scale(scale) {
            return Err(GramError::Scale { modality, row });
        }
        let integers = dot(numbers, numbers);
        let square = square_of(integers, scale);
        zero_rows.check(square, modality, row)?;
        let integers = if ops::is_zero(square) { 0 } else { integers };
        Ok(Anchor {
            numbers,
            scale,
            square: integers,
            inverse_norm: ops::inverse_norm(integers as f32),
            is_there: zero_rows.keeps(square),
        })
    }

    /// The score of an item; `K` = M + 1.
    #[inline(always)]
    fn score<const M: usize, const K: usize>(
        &self,
        measure: Measure,
        item: &Item<M>,
        rows: [&[i8]; M],
    ) -> f32 {
        match measure {
            Measure::Cosine => self.cosines(item, rows),
            Measure::Distance => self.distance::<M, K>(item, rows),
            Measure::Volume if item.volume <= 0.0 => 0.0,
            Measure::Volume => self.distance::<M, K>(item, rows) * item.volume,
        }
    }

    #[inline(always)]
    fn cosines<const M: usize>(&self, item: &Item<M>, rows: [&[i8]; M]) -> f32 {
        let mut sum = 0.0;
        for (row, inverse) in rows.iter().zip(item.inverse_norms) {
            if inverse > 0.0 {
                sum += dot(self.numbers, row) as f32 * inverse;
            }
        }
        sum * self.inverse_norm
    }

    #[inline(always)]
    fn distance<const M: usize, const K: usize>(&self, item: &Item<M>, rows: [&[i8]; M]) -> f32 {
        let mut gram = [[0; K]; K];
        for (p, (x, from)) in (0..K).zip(rows.iter().zip(&item.gram)) {
            for (to, from) in gram[p].iter_mut().zip(from) {
                *to = *from;
            }
            if gram[p][p] == 0 {
                gram[p][p] = 1;
                continue;
            }
            let product = dot(self.numbers, x);
            gram[p][K - 1] = product;
            gram[K - 1][p] = product;
        }
        gram[K - 1][K - 1] = self.square;
        root_of_determinant(&gram) * item.inverse_root * self.scale
    }
}

#[inline(never)]
fn offer<const M: usize, const K: usize, const N: usize>(
    search: Search,
    anchor: Anchor<'_>,
    gallery: Gallery<'_, M>,
    prepared: Option<&[Item<M>]>,
    top: &mut TopK<f32, N>,
) -> usize {
    let Search {
        measure,
        zero_rows,
        offset,
        ..
    } = search;
    let d = anchor.numbers.len();
    let mut dependent = 0_usize;
    for j in 0..gallery.len() {
        let item = match prepared {
            Some(items) => items.get(j).copied().unwrap_or(Item::ABSENT),
            None => gallery.item(zero_rows, d, j, Some(measure)),
        };
        if measure != Measure::Cosine && item.is_dependent() {
            dependent = dependent.saturating_add(1);
        }
        if !anchor.is_there || item.inverse_root <= 0.0 {
            continue;
        }
        let score = anchor.score::<M, K>(measure, &item, gallery.rows(d, j));
        top.push(score, offset.saturating_add(j));
    }
    dependent
}
