//! The nearest items of anchors among bases that are stored in fewer bits.
//!
//! ```text
//! y = Q·a      d = sqrt(max(|a|² − |y|², 0))      V = vol · d      Σ_p cos(a, x_p) = Σ_q c_q·y_q / |a|
//! ```
//!
//! Q is kept in `f32`, in 16 bits or in 8 with a scale per row, the volume and the weights c of the cosines
//! ([`cosine_weights`](crate::gram::basis::cosine_weights)) in `f32`. It is one pass over Q, which takes as long as its
//! bytes take to read. What rounding Q loses is in y, and there is no residual to find it again: a scan finds
//! candidates. Their vectors are scored once more by who has them, with
//! [`volume_matrix`](crate::gram::pair::volume_matrix).
//!
//! | Q in | a number of a unit row of D moves by at most | a coordinate y of a unit vector, typically |
//! |---|---|---|
//! | [`Half::F16`] | 2⁻¹¹ of itself (2⁻²⁵ near 0) | 2e-4/√D |
//! | [`Half::Bf16`] | 2⁻⁸ of itself | 1e-3/√D |
//! | int8 | half its scale, max\|q\|/254 | 0.007/√D |
//!
//! Where Q is in 8 bits, anchors are integers too: of up to 16 bits, as many as keep every sum of products in 32 bits,
//! so that the products are exact and what they lose is the rounding of Q.
//!
//! Source: arXiv 2412.11959, eq. 4, with det G = |item|² · d².

use crate::error::GramError;
use crate::gram::pair::{self, Measure, distance_square, projection_squares};
use crate::gram::retrieval::TopK;
use crate::gram::search::{Search, any_there, check_anchors, check_part, check_top, offer};
use crate::lanes::{Isa, Kernel, Lanes};
use crate::ops::{self, Walk, part, take};
use crate::optim::rounding::{Half, Widen};

/// Rows of bases, as they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// In 16 bits.
    Half(Half, &'a [u16]),
    /// Integers n and a scale s for each row: q = s·n.
    Int8(&'a [i8], &'a [f32]),
}

/// The bases of items, as planes.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Q, \[m, items, d\]; scales are \[m, items\].
    pub q: Numbers<'a>,
    /// The volume of each item, \[items\].
    pub volume: &'a [f32],
    /// The weights of the cosines, \[m, items\].
    pub cosines: &'a [f32],
    /// Which vectors are there, \[m, items\]: 0 = absent.
    pub present: &'a [f32],
    /// Vectors per item.
    pub m: usize,
    /// Items.
    pub items: usize,
    /// Dimensions.
    pub d: usize,
}

/// Anchors of a scan.
#[derive(Clone, Copy, Debug)]
pub struct Anchors<'a> {
    /// The anchors, \[B1, d\].
    pub vectors: &'a [f32],
    /// The same in integers, \[B1, d\], by [`quantise_anchor`]; needed, as the scales are, for bases in 8 bits.
    pub numbers: &'a [i16],
    /// The scales of the integers, \[B1\].
    pub scales: &'a [f32],
}

/// An anchor in integers: n = x/s to the nearest, into `numbers`; returns the scale s = max|x|/L. L is 32767, or less
/// for more than 512 dimensions: 128·L·d < 2³¹, so that the product with a row of int8 is exact in 32 bits, whatever its
/// numbers. An anchor whose scale would be below the smallest normal number becomes 0, and the scale is 0; so it is
/// where there is no number. Cost: two passes, a product per number. Errors: lengths that differ; more dimensions than
/// [`MOST_DIMENSIONS`](crate::gram::int8::MOST_DIMENSIONS); a number that is not finite, with its index as the row.
///
/// ```
/// use rivergram_core::gram::stored::quantise_anchor;
///
/// let mut numbers = [0; 3];
/// let scale = quantise_anchor(&[0.5, -1.0, 0.0], &mut numbers)?;
/// assert_eq!((scale, numbers), (1.0 / 32767.0, [16384, -32767, 0]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn quantise_anchor(x: &[f32], numbers: &mut [i16]) -> Result<f32, GramError> {
    let (need, have) = (x.len(), numbers.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    let most = crate::gram::int8::MOST_DIMENSIONS;
    if need > most {
        return Err(GramError::Dimensions { d: need, most });
    }
    let mut largest = 0.0_f32;
    for (row, x) in (0..need).zip(x) {
        if !x.is_finite() {
            return Err(GramError::NotFinite { modality: 0, row });
        }
        largest = Lanes::max(largest, x.abs());
    }
    let levels = i32::MAX.checked_div(128_i32.saturating_mul(need.max(1) as i32));
    let levels = levels.unwrap_or_default().min(i32::from(i16::MAX)) as f32;
    let scale = largest / levels;
    if scale < f32::MIN_POSITIVE {
        numbers.fill(0);
        return Ok(0.0);
    }
    let inverse = levels / largest;
    for (n, x) in numbers.iter_mut().zip(x) {
        *n = Lanes::round(*x * inverse) as i16;
    }
    Ok(scale)
}

/// Floats of workspace for [`nearest_stored`] over so many items of m vectors.
///
/// ```
/// use rivergram_core::gram::stored::nearest_stored_workspace_len;
/// assert_eq!(nearest_stored_workspace_len(8, 2, 64, 512), 3 * 8 * 64 + 64 * 512);
/// ```
pub const fn nearest_stored_workspace_len(
    anchors: usize,
    m: usize,
    items: usize,
    d: usize,
) -> usize {
    let scores = anchors.saturating_mul(items);
    scores
        .saturating_mul(m.saturating_add(1))
        .saturating_add(items.saturating_mul(d))
}

/// Offers some items, `items` \[the first, how many\], to the best matches of every anchor, by what the stored bases
/// say: candidates, for bases of fewer bits than `f32`. What is found keeps its index among all items, with
/// [`Search::offset`] before it; [`Search::tile`] is not looked at.
///
/// `top` \[B1\]; `workspace` has [`nearest_stored_workspace_len`] floats for so many items. An item of which nothing is
/// present is no candidate. Cost: 2·B1·d·items·m operations, of integers for bases in 8 bits, and a comparison for each
/// pair; for one anchor one pass over Q. Bases in 16 bits are widened once for all anchors. Errors: sizes, items that are
/// not there, an anchor that is not finite, or zero under
/// [`ZeroRows::Error`](crate::gram::contrastive::ZeroRows::Error), a `top` of the other order than the measure's; then
/// `top` is as it was. Source: arXiv 2412.11959, eq. 4.
///
/// ```
/// use rivergram_core::gram::pair::Measure;
/// use rivergram_core::gram::retrieval::TopK;
/// use rivergram_core::gram::search::Search;
/// use rivergram_core::gram::stored::{Anchors, Numbers, Stored, nearest_stored, quantise_anchor};
/// use rivergram_core::lanes::One;
///
/// let (rows, scales) = ([127, 0, /**/ 0, 127, /**/ 76, 102], [1.0 / 127.0; 3]);
/// let q = Numbers::Int8(&rows, &scales);
/// let stored = Stored { q, volume: &[1.0; 3], cosines: &[1.0; 3], present: &[1.0; 3], m: 1, items: 3, d: 2 };
/// let (vectors, mut numbers) = ([0.6, 0.8], [0; 2]);
/// let scale = quantise_anchor(&vectors, &mut numbers)?;
/// let anchors = Anchors { vectors: &vectors, numbers: &numbers, scales: &[scale] };
/// let search = Search::by(Measure::Volume);
/// let mut top = [TopK::<f32, 1>::new(search.measure.order())];
/// nearest_stored(One::new(), search, anchors, &stored, [0, 3], &mut top, &mut [0.0; 12])?;
/// assert_eq!(top[0].best()[0].1, 2);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn nearest_stored<I: Isa<Scalar = f32>, const K: usize>(
    isa: I,
    search: Search,
    anchors: Anchors<'_>,
    stored: &Stored<'_>,
    items: [usize; 2],
    top: &mut [TopK<f32, K>],
    workspace: &mut [f32],
) -> Result<(), GramError> {
    isa.enter(Scan {
        search,
        anchors,
        stored,
        items,
        top,
        workspace,
    })
}

struct Scan<'a, 'b, const K: usize> {
    search: Search,
    anchors: Anchors<'a>,
    stored: &'a Stored<'b>,
    items: [usize; 2],
    top: &'a mut [TopK<f32, K>],
    workspace: &'a mut [f32],
}

impl<const K: usize> Kernel<f32> for Scan<'_, '_, K> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        self.check(isa)?;
        let Scan {
            search,
            anchors,
            stored,
            items,
            top,
            workspace,
        } = self;
        let [first, n] = items;
        let len = top.len().saturating_mul(n);
        let (scores, workspace) = take(workspace, len);
        let (y, wide) = take(workspace, len.saturating_mul(stored.m));
        coordinates(isa, anchors, stored, items, y, wide);
        let rows = scores.rows_mut(n).zip(top.iter_mut());
        let rows = rows.zip(anchors.vectors.rows(stored.d));
        for (start, ((scores, top), anchor)) in (0..usize::MAX).step_by(n.max(1)).zip(rows) {
            let square = ops::dot(isa, anchor, anchor);
            if !search.zero_rows.keeps(square) {
                continue;
            }
            match search.measure {
                Measure::Cosine => stored.cosines(isa, items, square, &*y, [len, start], scores),
                _ => {
                    projection_squares(isa, y, len, start, scores);
                    let volume = part(stored.volume, first, n);
                    let volume = (search.measure == Measure::Volume).then_some(volume);
                    from_squares(isa, square, volume, scores);
                }
            }
            let flags = stored.present;
            let is_candidate = |j| any_there(flags, stored.items, j);
            offer(search, first, scores, top, is_candidate);
        }
        Ok(())
    }
}

impl<const K: usize> Scan<'_, '_, K> {
    /// Everything that can be wrong, before anything is written.
    #[inline(always)]
    fn check<I: Isa<Scalar = f32>>(&self, isa: I) -> Result<(), GramError> {
        let Stored { m, items, d, .. } = *self.stored;
        let b1 = self.top.len();
        let [_, n] = self.items;
        let (anchors, vectors) = (b1.saturating_mul(d), m.saturating_mul(items));
        let numbers = vectors.saturating_mul(d);
        let (q, scales, of_anchors) = match self.stored.q {
            Numbers::F32(q) => (q.len(), vectors, None),
            Numbers::Half(_, q) => (q.len(), vectors, None),
            Numbers::Int8(q, scales) => (q.len(), scales.len(), Some(self.anchors)),
        };
        let sizes = [
            (anchors, self.anchors.vectors.len()),
            (numbers, q),
            (vectors, scales),
            (anchors, of_anchors.map_or(anchors, |a| a.numbers.len())),
            (b1, of_anchors.map_or(b1, |a| a.scales.len())),
            (items, self.stored.volume.len()),
            (vectors, self.stored.cosines.len()),
            (vectors, self.stored.present.len()),
        ];
        for (need, have) in sizes {
            if need != have {
                return Err(GramError::BufferSize { need, have });
            }
        }
        if anchors == 0 || numbers == 0 || n == 0 {
            return Err(GramError::Empty {
                k: m.saturating_add(1),
                rows: b1.min(items).min(n),
                d,
            });
        }
        check_part(self.items, items)?;
        let need = nearest_stored_workspace_len(b1, m, n, d);
        let have = self.workspace.len();
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        check_top(self.search, self.top, b1)?;
        check_anchors(isa, self.search, self.anchors.vectors, b1, d)
    }
}

impl Stored<'_> {
    /// Σ_q c_q·y_q / |a| of some items, from |a|² and the coordinates of the anchor from `start` on in each plane.
    #[inline(always)]
    fn cosines<I: Isa<Scalar = f32>>(
        &self,
        isa: I,
        [first, n]: [usize; 2],
        square: f32,
        y: &[f32],
        [plane, start]: [usize; 2],
        scores: &mut [f32],
    ) {
        scores.fill(0.0);
        for (weights, y) in self.cosines.rows(self.items).zip(y.rows(plane)) {
            let (weights, y) = (part(weights, first, n), part(y, start, n));
            let terms = isa.pieces(weights).zip(isa.pieces(y));
            for (sum, (weight, y)) in isa.pieces_mut(scores).zip(terms) {
                let value = isa.load(weight).mul_add(isa.load(y), isa.load(sum));
                isa.store(value, sum);
            }
        }
        ops::scale(isa, ops::inverse_norm(square), scores);
    }
}

/// |y|² → d, or V where the volumes are given.
#[inline(always)]
fn from_squares<I: Isa<Scalar = f32>>(
    isa: I,
    square: f32,
    volume: Option<&[f32]>,
    scores: &mut [f32],
) {
    let square = isa.splat(square);
    for score in isa.pieces_mut(scores) {
        let distance = distance_square(square, isa.load(score)).sqrt();
        isa.store(distance, score);
    }
    let volume = isa.pieces(volume.unwrap_or(&[]));
    for (score, volume) in isa.pieces_mut(scores).zip(volume) {
        isa.store(pair::volume(isa.load(score), isa.load(volume)), score);
    }
}

/// The coordinates of all anchors over some items, `y` \[m, B1, n\]; `wide` has room for n rows.
#[inline(always)]
fn coordinates<I: Isa<Scalar = f32>>(
    isa: I,
    anchors: Anchors<'_>,
    stored: &Stored<'_>,
    [first, n]: [usize; 2],
    y: &mut [f32],
    wide: &mut [f32],
) {
    let d = stored.d;
    let (plane, start, len) = (
        stored.items.saturating_mul(d),
        first.saturating_mul(d),
        n.saturating_mul(d),
    );
    y.fill(0.0);
    let y = y.rows_mut(n.saturating_mul(anchors.vectors.len().checked_div(d).unwrap_or(1)));
    match stored.q {
        Numbers::F32(q) => {
            for (q, y) in q.rows(plane).zip(y) {
                ops::matmul_nt(isa, n, d, anchors.vectors, part(q, start, len), y);
            }
        }
        Numbers::Half(format, q) => {
            let (wide, _) = take(wide, len);
            for (q, y) in q.rows(plane).zip(y) {
                let x = part(q, start, len);
                isa.enter(Widen { format, x, wide });
                ops::matmul_nt(isa, n, d, anchors.vectors, wide, y);
            }
        }
        Numbers::Int8(q, scales) => {
            for ((q, scales), y) in q.rows(plane).zip(scales.rows(stored.items)).zip(y) {
                let (q, scales) = (part(q, start, len), part(scales, first, n));
                products(isa, anchors, d, q, scales, y);
            }
        }
    }
}

/// Rows of a block of products.
const ROWS: usize = 4;

/// y \[B1, n\] of rows in 8 bits.
#[inline(always)]
fn products<I: Isa<Scalar = f32>>(
    isa: I,
    anchors: Anchors<'_>,
    d: usize,
    q: &[i8],
    scales: &[f32],
    y: &mut [f32],
) {
    let n = scales.len();
    let blocks = q.pieces(d.saturating_mul(ROWS)).zip(scales.pieces(ROWS));
    for (start, (q, scales)) in (0..n).step_by(ROWS).zip(blocks) {
        let mut rows = q.rows(d);
        let first = rows.next().unwrap_or(&[]);
        let rows = [
            first,
            rows.next().unwrap_or(first),
            rows.next().unwrap_or(first),
            rows.next().unwrap_or(first),
        ];
        let of_anchors = anchors.numbers.rows(d).zip(anchors.scales);
        for ((a, scale), y) in of_anchors.zip(y.rows_mut(n)) {
            let y = y.get_mut(start..).unwrap_or_default();
            let dots = isa.dots_i8(a, rows);
            for ((y, dot), own) in y.iter_mut().zip(dots).zip(scales) {
                *y = dot as f32 * (*scale * *own);
            }
        }
    }
}
