//! The nearest items of many anchors, without the matrix of their scores.
//!
//! ```text
//! nearest(a_i) = the K best j by V_ij, d_ij or Σ_p cos(a_i, x_jp)
//! ```
//!
//! The items go by in tiles. Each tile is scored as [`pair::volume_matrix`] scores a whole gallery, and its
//! rows go to one bounded [`TopK`] per anchor. Memory: the tile's, whatever the gallery holds. A gallery that
//! comes in parts, say from a file, is searched part by part with an offset.
//!
//! Source: retrieval by volume as in arXiv 2412.11959; the other two measures: [`pair::Measure`].

use crate::error::GramError;
use crate::gram::basis::Rows;
use crate::gram::contrastive::ZeroRows;
use crate::gram::pair::{self, Bases, Measure, Scores, check_finite};
use crate::gram::retrieval::TopK;
use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{self, Walk, take};

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Search {
    /// What ranks the items.
    pub measure: Measure,
    /// What a zero vector means: under [`ZeroRows::Missing`] it is absent, and such an anchor finds nothing.
    pub zero_rows: ZeroRows,
    /// Items per tile: any number gives the same scores.
    pub tile: usize,
    /// The index of the first item: of a gallery that comes in parts, what came before.
    pub offset: usize,
}

impl Search {
    /// By this measure, zeros as absent, 64 items per tile, from index 0.
    ///
    /// ```
    /// use rivergram_core::gram::{pair::Measure, search::Search};
    /// assert_eq!(Search::by(Measure::Distance).tile, 64);
    /// ```
    pub const fn by(measure: Measure) -> Self {
        Search {
            measure,
            zero_rows: ZeroRows::Missing,
            tile: 64,
            offset: 0,
        }
    }
}

/// Floats of workspace for [`nearest`] with tiles of `tile` items of m vectors; the gallery does not count.
///
/// ```
/// use rivergram_core::gram::search::nearest_workspace_len;
/// assert!(nearest_workspace_len(8, 2, 64, 512) < 3 * 2 * 64 * 512);
/// ```
pub const fn nearest_workspace_len(anchors: usize, m: usize, tile: usize, d: usize) -> usize {
    let flags = m.saturating_mul(tile);
    pair::scores_workspace_len(anchors, m, tile, d)
        .saturating_add(flags)
        .saturating_add(flags.saturating_mul(d))
        .saturating_add(anchors.saturating_mul(tile))
}

/// Offers every item to the best matches of every anchor; returns the number of items whose vectors are
/// dependent: their volume is 0, the best, for every anchor, a reason to rank by the distance.
///
/// `anchors` \[B1, d\], `items` \[m, B2, d\], `present` \[m, B2\], `sizes` \[B1, m, B2, d\] and `top` \[B1\]. What
/// `top` holds already stays in the race. An absent vector may hold anything; an item of which nothing is
/// present is no candidate. Cost: 2·B1·d·B2·m operations (of cosines 2·B1·d·B2), and for each pair a
/// comparison. Errors: sizes, a tile of 0 items, a vector that is not finite, a vector of zeros under
/// [`ZeroRows::Error`], a `top` of the other order than the measure's; then `top` is as it was.
///
/// ```
/// use rivergram_core::gram::pair::Measure;
/// use rivergram_core::gram::retrieval::TopK;
/// use rivergram_core::gram::search::{Search, nearest, nearest_workspace_len};
/// use rivergram_core::lanes::One;
///
/// let items = [0.0_f32, 1.0, /**/ 1.0, 0.1, /**/ 1.0, 2.0];
/// let search = Search { tile: 2, ..Search::by(Measure::Volume) };
/// let mut top = [TopK::<f32, 2>::new(search.measure.order())];
/// let mut workspace = [0.0; nearest_workspace_len(1, 1, 2, 2)];
/// let (isa, sizes) = (One::new(), [1, 1, 3, 2]);
/// nearest(isa, search, &[1.0, 0.0], &items, None, sizes, &mut top, &mut workspace)?;
/// assert_eq!(top[0].best().iter().map(|best| best.1).collect::<Vec<_>>(), [1, 0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn nearest<I: Isa, const K: usize>(
    isa: I,
    search: Search,
    anchors: &[I::Scalar],
    items: &[I::Scalar],
    present: Option<&[bool]>,
    sizes: [usize; 4],
    top: &mut [TopK<I::Scalar, K>],
    workspace: &mut [I::Scalar],
) -> Result<usize, GramError> {
    isa.enter(Nearest {
        gallery: Gallery {
            search,
            anchors,
            items,
            present,
            sizes,
        },
        top,
        workspace,
    })
}

/// Floats of workspace for [`nearest_prepared`] over so many items of m vectors.
///
/// ```
/// use rivergram_core::gram::search::nearest_prepared_workspace_len;
/// assert_eq!(nearest_prepared_workspace_len(8, 2, 64, 512), 3 * 8 * 64 + 512 + 2);
/// ```
pub const fn nearest_prepared_workspace_len(
    anchors: usize,
    m: usize,
    items: usize,
    d: usize,
) -> usize {
    let scores = anchors.saturating_mul(items);
    scores
        .saturating_mul(m.saturating_add(1))
        .saturating_add(d)
        .saturating_add(m)
}

/// [`nearest`] among items whose bases were built before, by [`BasesMut::build`](pair::BasesMut::build): what an item
/// costs whatever the anchors are is then paid once, not in every search. All items are one tile, and
/// [`Search::tile`] is not looked at: a large gallery is kept as many bases of, say, 256 items, each a call with its
/// [`Search::offset`]. So the memory of a search does not grow with the gallery.
///
/// `anchors` \[B1, d\], `top` \[B1\]; `workspace` has [`nearest_prepared_workspace_len`] floats for all items of the
/// bases. An item of which nothing is present is no candidate. Cost: 2·B1·d·items·m operations, and for each pair a
/// comparison; for one anchor it is one pass over Q. Errors: sizes, an anchor that is not finite, or zero under
/// [`ZeroRows::Error`], a `top` of the other order than the measure's; then `top` is as it was. The vectors of the items
/// are not checked again. Source: arXiv 2412.11959, eq. 4, with det G = |item|² · d².
///
/// ```
/// use rivergram_core::gram::basis::{Item, item_len};
/// use rivergram_core::gram::pair::{BasesMut, Measure, bases_len};
/// use rivergram_core::gram::retrieval::TopK;
/// use rivergram_core::gram::search::{Search, nearest_prepared, nearest_prepared_workspace_len};
/// use rivergram_core::lanes::One;
///
/// let (items, isa) = ([0.0_f32, 1.0, /**/ 1.0, 0.1, /**/ 1.0, 2.0], One::new());
/// let (mut storage, mut scratch) = ([0.0; bases_len(1, 3, 2)], [0.0; item_len(1, 2)]);
/// let mut scratch = Item::split(&mut scratch, 1, 2);
/// let storage = BasesMut::split(&mut storage, 1, 3, 2);
/// let (bases, _) = storage.build(isa, &items, &[1.0; 3], usize::MAX, [1, 3, 2], &mut scratch);
///
/// let search = Search::by(Measure::Volume);
/// let mut top = [TopK::<f32, 2>::new(search.measure.order())];
/// let mut workspace = [0.0; nearest_prepared_workspace_len(1, 1, 3, 2)];
/// nearest_prepared(isa, search, &[1.0, 0.0], &bases, &mut top, &mut workspace)?;
/// assert_eq!(top[0].best().iter().map(|best| best.1).collect::<Vec<_>>(), [1, 0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn nearest_prepared<I: Isa, const K: usize>(
    isa: I,
    search: Search,
    anchors: &[I::Scalar],
    bases: &Bases<'_, I::Scalar>,
    top: &mut [TopK<I::Scalar, K>],
    workspace: &mut [I::Scalar],
) -> Result<(), GramError> {
    let items = [0, bases.items];
    nearest_prepared_part(isa, search, anchors, bases, items, top, workspace)
}

/// [`nearest_prepared`] among some items of the bases, `part` \[the first, how many\]: those of a mapped file a few at a
/// time, where they lie. What is found keeps its index in the bases, and `workspace` has [`nearest_prepared_workspace_len`] floats for so many items. Cost and source are those of it. Errors:
/// those of it, and [`GramError::Shard`] where not all of these items are there.
///
/// ```
/// use rivergram_core::gram::pair::{Bases, Measure};
/// use rivergram_core::gram::retrieval::TopK;
/// use rivergram_core::gram::search::{Search, nearest_prepared_part};
/// use rivergram_core::lanes::One;
///
/// let (q, volume, present) = ([0.0_f32, 1.0, /**/ 1.0, 0.0, /**/ 0.6, 0.8], [1.0; 3], [1.0; 3]);
/// let (r, skip) = (&[][..], usize::MAX);
/// let bases = Bases { q: &q, r, volume: &volume, vectors: &q, present: &present, skip, m: 1, items: 3, d: 2 };
/// let search = Search::by(Measure::Distance);
/// let mut top = [TopK::<f32, 1>::new(search.measure.order())];
/// nearest_prepared_part(One::new(), search, &[0.0, 1.0], &bases, [1, 2], &mut top, &mut [0.0; 7])?;
/// assert_eq!(top[0].best()[0].1, 2);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn nearest_prepared_part<I: Isa, const K: usize>(
    isa: I,
    search: Search,
    anchors: &[I::Scalar],
    bases: &Bases<'_, I::Scalar>,
    part: [usize; 2],
    top: &mut [TopK<I::Scalar, K>],
    workspace: &mut [I::Scalar],
) -> Result<(), GramError> {
    isa.enter(Prepared {
        search,
        anchors,
        bases,
        part,
        top,
        workspace,
    })
}

struct Prepared<'a, 'b, T, const K: usize> {
    search: Search,
    anchors: &'a [T],
    bases: &'a Bases<'b, T>,
    part: [usize; 2],
    top: &'a mut [TopK<T, K>],
    workspace: &'a mut [T],
}

impl<T: Real, const K: usize> Kernel<T> for Prepared<'_, '_, T, K> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let Prepared {
            search,
            anchors,
            bases,
            part,
            top,
            workspace,
        } = self;
        let [first, items] = part;
        let (b1, d) = (top.len(), bases.d);
        check_prepared(isa, search, anchors, bases, part, top, workspace.len())?;
        let len = b1.saturating_mul(items);
        let (scores, workspace) = take(workspace, len);
        let (y, scratch) = take(workspace, len.saturating_mul(bases.m));
        match search.measure {
            Measure::Volume | Measure::Distance => {
                bases.distances_of(isa, anchors, part, scores, y, scratch);
            }
            Measure::Cosine => cosines(isa, anchors, bases, part, scores, y),
        }
        let volumes = ops::part(bases.volume, first, items);
        let rows = scores.rows_mut(items).zip(top.iter_mut());
        for ((scores, top), anchor) in rows.zip(anchors.rows(d)) {
            if !search.zero_rows.keeps(ops::dot(isa, anchor, anchor)) {
                continue;
            }
            if search.measure == Measure::Volume {
                for (score, volume) in scores.iter_mut().zip(volumes) {
                    *score = pair::volume(*score, *volume);
                }
            }
            offer(search, first, scores, top, |j| has_any(bases, j));
        }
        Ok(())
    }
}

/// The scores of the items from `first` on to the best of an anchor, but for items that are no candidates.
#[inline(always)]
pub(super) fn offer<T: Real, const K: usize>(
    search: Search,
    first: usize,
    scores: &[T],
    top: &mut TopK<T, K>,
    is_candidate: impl Fn(usize) -> bool,
) {
    for (j, score) in (first..usize::MAX).zip(scores) {
        let index = search.offset.saturating_add(j);
        if top.takes(*score, index) && is_candidate(j) {
            top.push(*score, index);
        }
    }
}

/// Σ_p cos(a, x_p), from one product for each p.
#[inline(always)]
fn cosines<I: Isa>(
    isa: I,
    anchors: &[I::Scalar],
    bases: &Bases<'_, I::Scalar>,
    [first, items]: [usize; 2],
    scores: &mut [I::Scalar],
    y: &mut [I::Scalar],
) {
    let d = bases.d;
    scores.fill(I::Scalar::ZERO);
    y.fill(I::Scalar::ZERO);
    let vectors = (0..usize::MAX).zip(bases.vectors.rows(bases.items.saturating_mul(d)));
    let flags = bases.present.rows(bases.items);
    let planes = vectors
        .zip(flags)
        .filter(|((p, _), _)| *p != bases.skip)
        .zip(y.rows_mut(scores.len()));
    for (((_, vectors), flags), y) in planes {
        let vectors = ops::part(vectors, first.saturating_mul(d), items.saturating_mul(d));
        let flags = ops::part(flags, first, items);
        ops::matmul_nt(isa, items, d, anchors, vectors, y);
        for (j, (x, flag)) in (0..items).zip(vectors.rows(d).zip(flags)) {
            let inverse = match *flag == I::Scalar::ZERO {
                true => I::Scalar::ZERO,
                false => ops::inverse_norm(ops::dot(isa, x, x)),
            };
            for (score, y) in scores.rows_mut(items).zip(y.rows(items)) {
                if let (Some(score), Some(y)) = (score.get_mut(j), y.get(j)) {
                    *score += inverse * *y;
                }
            }
        }
    }
    for (anchor, row) in anchors.rows(d).zip(scores.rows_mut(items)) {
        ops::scale(isa, ops::inverse_norm(ops::dot(isa, anchor, anchor)), row);
    }
}

/// Whether any vector of item j is there.
#[inline(always)]
fn has_any<T: Real>(bases: &Bases<'_, T>, j: usize) -> bool {
    let flags = Rows::of_item(bases.present, bases.items, 1, j, bases.skip);
    flags.iter().any(|flag| flag.first() != Some(&T::ZERO))
}

/// Everything that can be wrong, before anything is written.
#[inline(always)]
fn check_prepared<I: Isa, const K: usize>(
    isa: I,
    search: Search,
    anchors: &[I::Scalar],
    bases: &Bases<'_, I::Scalar>,
    [first, count]: [usize; 2],
    top: &[TopK<I::Scalar, K>],
    have: usize,
) -> Result<(), GramError> {
    let (b1, m, items, d) = (top.len(), bases.m, bases.items, bases.d);
    let plane = items.saturating_mul(d);
    let sizes = [
        (b1.saturating_mul(d), anchors.len()),
        (m.saturating_mul(plane), bases.q.len()),
        (items, bases.volume.len()),
    ];
    for (need, have) in sizes {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    if b1 == 0 || m == 0 || plane == 0 || count == 0 {
        return Err(GramError::Empty {
            k: m.saturating_add(1),
            rows: b1.min(items).min(count),
            d,
        });
    }
    check_part([first, count], items)?;
    let need = nearest_prepared_workspace_len(b1, m, count, d);
    if have < need {
        return Err(GramError::Workspace { need, have });
    }
    check_top(search, top, b1)?;
    check_anchors(isa, search, anchors, b1, d)
}

/// That some items are among all.
pub(super) fn check_part([first, count]: [usize; 2], items: usize) -> Result<(), GramError> {
    match first.checked_add(count) {
        Some(end) if end <= items => Ok(()),
        _ => Err(GramError::Shard {
            offset: first,
            rows: count,
            all: items,
        }),
    }
}

/// That anchors are finite, and no zeros that the policy refuses.
#[inline(always)]
pub(super) fn check_anchors<I: Isa>(
    isa: I,
    search: Search,
    anchors: &[I::Scalar],
    b1: usize,
    d: usize,
) -> Result<(), GramError> {
    for (row, x) in (0..b1).zip(anchors.rows(d)) {
        check_finite(isa, x, None, 1, d, 0).map_err(|_| not_finite(0, row))?;
        search.zero_rows.check(ops::dot(isa, x, x), 0, row)?;
    }
    Ok(())
}

struct Nearest<'a, T, const K: usize> {
    gallery: Gallery<'a, T>,
    top: &'a mut [TopK<T, K>],
    workspace: &'a mut [T],
}

#[derive(Clone, Copy)]
struct Gallery<'a, T> {
    search: Search,
    anchors: &'a [T],
    items: &'a [T],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
}

impl<T: Real, const K: usize> Kernel<T> for Nearest<'_, T, K> {
    type Output = Result<usize, GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let Nearest {
            gallery,
            top,
            workspace,
        } = self;
        let [b1, m, b2, d] = gallery.sizes;
        gallery.check(isa, workspace.len())?;
        check_top(gallery.search, top, b1)?;
        let tile = gallery.search.tile.min(b2);
        let mut degenerate = 0_usize;
        for start in (0..b2).step_by(tile.max(1)) {
            let n = tile.min(b2.saturating_sub(start));
            let (flags, workspace) = take(workspace, m.saturating_mul(n));
            let (vectors, workspace) = take(workspace, m.saturating_mul(n).saturating_mul(d));
            let (scores, workspace) = take(workspace, b1.saturating_mul(n));
            gallery.copy_tile(isa, start, n, vectors, flags);
            let of_tile = isa.enter(Scores {
                measure: gallery.search.measure,
                anchors: gallery.anchors,
                items: vectors,
                flags,
                sizes: [b1, m, n, d],
                out: scores,
                workspace,
            });
            degenerate = degenerate.saturating_add(of_tile);
            let first = gallery.search.offset.saturating_add(start);
            let rows = scores.rows(n).zip(top.iter_mut());
            for ((scores, top), anchor) in rows.zip(gallery.anchors.rows(d)) {
                if !gallery
                    .search
                    .zero_rows
                    .keeps(ops::dot(isa, anchor, anchor))
                {
                    continue;
                }
                for (j, score) in (0..n).zip(scores.iter()) {
                    if any_there(flags, n, j) {
                        top.push(*score, first.saturating_add(j));
                    }
                }
            }
        }
        Ok(degenerate)
    }
}

/// Whether any vector of item j is there.
#[inline(always)]
pub(super) fn any_there<T: Real>(flags: &[T], items: usize, j: usize) -> bool {
    let mut planes = flags.rows(items);
    planes.any(|flags| flags.get(j).is_some_and(|flag| *flag != T::ZERO))
}

pub(super) fn check_top<T: Real, const K: usize>(
    search: Search,
    top: &[TopK<T, K>],
    need: usize,
) -> Result<(), GramError> {
    let have = top.len();
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    for (row, top) in (0..need).zip(top) {
        if top.order() != search.measure.order() {
            return Err(GramError::Order { row });
        }
    }
    Ok(())
}

impl<T: Real> Gallery<'_, T> {
    /// Everything that can be wrong, before anything is written.
    #[inline(always)]
    fn check<I: Isa<Scalar = T>>(&self, isa: I, have: usize) -> Result<(), GramError> {
        let [b1, m, b2, d] = self.sizes;
        pair::check_sizes(self.anchors, self.items, self.present, self.sizes)?;
        if self.search.tile == 0 {
            return Err(GramError::Empty {
                k: m.saturating_add(1),
                rows: 0,
                d,
            });
        }
        let need = nearest_workspace_len(b1, m, self.search.tile.min(b2), d);
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        let policy = self.search.zero_rows;
        for (row, x) in (0..b1).zip(self.anchors.rows(d)) {
            check_finite(isa, x, None, 1, d, 0).map_err(|_| not_finite(0, row))?;
            policy.check(ops::dot(isa, x, x), 0, row)?;
        }
        let vectors = self.items.rows(d);
        let places = (1..=m).flat_map(|modality| (0..b2).map(move |row| (modality, row)));
        for ((index, x), (modality, row)) in (0..usize::MAX).zip(vectors).zip(places) {
            if !self.is_present(index) {
                continue;
            }
            check_finite(isa, x, None, 1, d, 0).map_err(|_| not_finite(modality, row))?;
            policy.check(ops::dot(isa, x, x), modality, row)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn is_present(&self, index: usize) -> bool {
        let flag = self.present.and_then(|present| present.get(index));
        flag.copied().unwrap_or(true)
    }

    /// The vectors of n items from `start` on as planes \[m, n, d\], and which of them are there.
    #[inline(always)]
    fn copy_tile<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        start: usize,
        n: usize,
        vectors: &mut [T],
        flags: &mut [T],
    ) {
        let [_, m, b2, d] = self.sizes;
        let planes = vectors.rows_mut(n.saturating_mul(d)).zip(flags.rows_mut(n));
        for (p, (vectors, flags)) in (0..m).zip(planes) {
            let first = p.saturating_mul(b2).saturating_add(start);
            let from = self.items.get(first.saturating_mul(d)..).unwrap_or(&[]);
            let rows = vectors.rows_mut(d).zip(from.rows(d));
            for ((index, flag), (to, from)) in (first..usize::MAX).zip(flags).zip(rows) {
                let is_there = self.is_present(index)
                    && self.search.zero_rows.keeps(ops::dot(isa, from, from));
                *flag = if is_there { T::ONE } else { T::ZERO };
                for (to, from) in to.iter_mut().zip(from) {
                    *to = if is_there { *from } else { T::ZERO };
                }
            }
        }
    }
}

fn not_finite(modality: usize, row: usize) -> GramError {
    GramError::NotFinite { modality, row }
}
