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
use crate::gram::contrastive::ZeroRows;
use crate::gram::pair::{self, Measure, Scores, check_finite};
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
fn any_there<T: Real>(flags: &[T], items: usize, j: usize) -> bool {
    let mut planes = flags.rows(items);
    planes.any(|flags| flags.get(j).is_some_and(|flag| *flag != T::ZERO))
}

fn check_top<T: Real, const K: usize>(
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
