//! An anchor against an item: the distance of the anchor to the span of the item's vectors.
//!
//! ```text
//! y = Q·a          d = sqrt(max(|a|² − |y|², 0))          V = vol · d
//! ```
//!
//! with the item's basis Q and volume vol ([`crate::gram::basis`]). For a batch, y is one matrix product;
//! the rest is m multiply-adds, a square root and a multiplication per pair. |a|² − |y|² cancels where
//! the anchor is near the span, which is what training makes of matching pairs: below a quarter of |a|²
//! the residual is computed explicitly. These pairs are few.
//!
//! d itself ranks without the hubs that items of small volume are ("conditional ranking").
//!
//! Source: the volume of arXiv 2412.11959, eq. 4, as base times height: det G = vol²·d².

use crate::crew::{Alone, Crew, Work};
use crate::error::GramError;
use crate::gram::basis::{self, Item, OfRows, Rows};
use crate::gram::contrastive::ZeroRows;
use crate::gram::retrieval::Order;
use crate::gram::strip;
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{self, Walk, take};

/// Below this part of |a|², d² is computed from the residual itself.
const NEAR: f64 = 0.25;

/// d² = max(|a|² − |y|², 0) from |a|² and |y|², before the root: the pair epilogue, in every lane. Source:
/// Pythagoras, since y = Q·a is orthogonal to what is left of a. Cost: a subtraction and a maximum per lane.
///
/// ```
/// use rivergram_core::gram::pair::distance_square;
/// assert_eq!([distance_square(5.0_f32, 3.0), distance_square(1.0, 1.5)], [2.0, 0.0]);
/// ```
#[inline(always)]
pub fn distance_square<V: Lanes>(anchor_square: V, projection_square: V) -> V {
    let zero = anchor_square.isa().splat(V::Scalar::ZERO);
    (anchor_square - projection_square).max(zero)
}

/// Where d² has cancelled so far that the residual must be computed: below a quarter of |a|². Cost: a multiplication
/// and a comparison per lane.
///
/// ```
/// use rivergram_core::gram::pair::is_near;
/// assert!(is_near(1.0_f32, 0.2) && !is_near(1.0_f32, 0.3));
/// ```
#[inline(always)]
pub fn is_near<V: Lanes>(anchor_square: V, distance_square: V) -> V::Mask {
    let keep = anchor_square.isa().splat(V::Scalar::constant(NEAR));
    distance_square.less(keep * anchor_square)
}

/// V = vol · d, in every lane. Cost: a multiplication per lane.
///
/// ```
/// assert_eq!(rivergram_core::gram::pair::volume(2.0_f32, 3.0), 6.0);
/// ```
#[inline(always)]
pub fn volume<V: Lanes>(distance: V, item_volume: V) -> V {
    distance * item_volume
}

/// C = W·vol/d of W = dL/dV, the factor of a pair's residual in every gradient, in every lane; 0 where d is 0. Cost: a
/// product and a quotient per lane. Source: dV/da = vol · r/d.
///
/// ```
/// use rivergram_core::gram::pair::coefficient;
/// assert_eq!([coefficient(2.0_f32, 4.0, 3.0), coefficient(2.0, 0.0, 3.0)], [1.5, 0.0]);
/// ```
#[inline(always)]
pub fn coefficient<V: Lanes>(w: V, distance: V, item_volume: V) -> V {
    let zero = distance.isa().splat(V::Scalar::ZERO);
    let one = distance.isa().splat(V::Scalar::ONE);
    let positive = zero.less(distance);
    let divisor = V::select(positive, distance, one);
    V::select(positive, w * item_volume / divisor, zero)
}

/// The bases of a batch of items, as planes: what anchors are measured against.
#[derive(Clone, Copy, Debug)]
pub struct Bases<'a, T> {
    /// Q, \[m, items, d\].
    pub q: &'a [T],
    /// R, \[items, m, m\].
    pub r: &'a [T],
    /// Π R_pp, \[items\].
    pub volume: &'a [T],
    /// The vectors themselves: planes \[.., items, d\], of which `skip` is not the items'.
    pub vectors: &'a [T],
    /// Which of them are there: \[.., items\], 0 = absent.
    pub present: &'a [T],
    /// The plane that is no vector of the items; `usize::MAX` for none.
    pub skip: usize,
    /// Vectors per item.
    pub m: usize,
    /// Items.
    pub items: usize,
    /// Dimensions.
    pub d: usize,
}

/// Storage for [`Bases`].
#[derive(Debug)]
pub struct BasesMut<'a, T> {
    /// Q, \[m, items, d\].
    pub q: &'a mut [T],
    /// R, \[items, m, m\].
    pub r: &'a mut [T],
    /// Π R_pp, \[items\].
    pub volume: &'a mut [T],
}

/// Floats that [`BasesMut::split`] takes.
///
/// ```
/// assert_eq!(rivergram_core::gram::pair::bases_len(2, 10, 8), 10 * (2 * (8 + 2) + 1));
/// ```
pub const fn bases_len(m: usize, items: usize, d: usize) -> usize {
    let per_item = m.saturating_mul(d.saturating_add(m)).saturating_add(1);
    items.saturating_mul(per_item)
}

impl<'a, T: Real> BasesMut<'a, T> {
    /// Splits [`bases_len`] floats; of fewer the parts that do not fit are empty. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::pair::{BasesMut, bases_len};
    ///
    /// let mut storage = [0.0_f32; bases_len(2, 3, 4)];
    /// let bases = BasesMut::split(&mut storage, 2, 3, 4);
    /// assert_eq!((bases.q.len(), bases.r.len(), bases.volume.len()), (24, 12, 3));
    /// ```
    #[inline(always)]
    pub fn split(storage: &'a mut [T], m: usize, items: usize, d: usize) -> Self {
        let (q, storage) = take(storage, m.saturating_mul(items).saturating_mul(d));
        let (r, storage) = take(storage, m.saturating_mul(items).saturating_mul(m));
        let (volume, _) = take(storage, items);
        BasesMut { q, r, volume }
    }

    /// The bases of all items. A vector marked absent in `present` \[planes, items\] (0 = absent) is left out:
    /// its basis row is 0 and its part of the volume 1. Returns the number of items whose present vectors
    /// are dependent: their volume is 0 for every anchor. `vectors` \[planes, items, d\]; `scratch` is an
    /// [`Item`] of m vectors. Cost: at least 2·items·m²·d multiply-adds.
    ///
    /// ```
    /// use rivergram_core::gram::basis::{Item, item_len};
    /// use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// use rivergram_core::lanes::One;
    ///
    /// let (vectors, isa) = ([0.0_f32, 2.0, /**/ 3.0, 0.0], One::new());
    /// let (mut storage, mut scratch) = ([0.0; bases_len(1, 2, 2)], [0.0; item_len(1, 2)]);
    /// let mut scratch = Item::split(&mut scratch, 1, 2);
    /// let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// let (bases, degenerate) = storage.build(isa, &vectors, &[1.0; 2], usize::MAX, [1, 2, 2], &mut scratch);
    ///
    /// assert_eq!(bases.volume, [2.0, 3.0]);
    /// assert_eq!(bases.q, [0.0, 1.0, /**/ 1.0, 0.0]);
    /// assert_eq!(degenerate, 0);
    /// ```
    #[inline(always)]
    pub fn build<I: Isa<Scalar = T>>(
        self,
        isa: I,
        vectors: &'a [T],
        present: &'a [T],
        skip: usize,
        [m, items, d]: [usize; 3],
        scratch: &mut Item<'_, T>,
    ) -> (Bases<'a, T>, usize) {
        let mut degenerate = 0_usize;
        let rows = self.r.rows_mut(m.saturating_mul(m));
        for (j, (r, volume)) in (0..items).zip(rows.zip(self.volume.iter_mut())) {
            let rows = Rows::of_item(vectors, items, d, j, skip);
            let flags = Rows::of_item(present, items, 1, j, skip);
            *volume = basis::orthonormalise_flagged(isa, rows, flags, scratch);
            copy(scratch.r, r);
            let planes = self.q.rows_mut(items.saturating_mul(d));
            for (plane, q) in planes.zip(scratch.q.rows(d)) {
                copy(q, plane.get_mut(j.saturating_mul(d)..).unwrap_or_default());
            }
            if *volume <= T::ZERO {
                degenerate = degenerate.saturating_add(1);
            }
        }
        let BasesMut { q, r, volume } = self;
        (
            Bases {
                q,
                r,
                volume,
                vectors,
                present,
                skip,
                m,
                items,
                d,
            },
            degenerate,
        )
    }
}

impl<T: Real> Bases<'_, T> {
    /// The residual of an anchor against item j into `rest`, and its coordinates over the basis rows into
    /// `y` \[m\]; returns its length, the distance. Exact where [`distance_square`] cancels. Cost: at least
    /// 4·m·d multiply-adds.
    ///
    /// ```
    /// # use rivergram_core::gram::basis::{Item, item_len};
    /// # use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// # use rivergram_core::lanes::One;
    /// #
    /// # let (vectors, isa) = ([0.0_f32, 2.0, /**/ 3.0, 0.0], One::new());
    /// # let (mut storage, mut scratch) = ([0.0; bases_len(1, 2, 2)], [0.0; item_len(1, 2)]);
    /// # let mut scratch = Item::split(&mut scratch, 1, 2);
    /// # let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// # let (bases, degenerate) = storage.build(isa, &vectors, &[1.0; 2], usize::MAX, [1, 2, 2], &mut scratch);
    /// let (mut rest, mut y) = ([0.0; 2], [0.0]);
    /// assert_eq!(bases.residual(isa, &[4.0, 5.0], 0, &mut rest, &mut y), 4.0);
    /// assert_eq!((rest, y), ([4.0, 0.0], [5.0]));
    /// ```
    #[inline(always)]
    pub fn residual<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        j: usize,
        rest: &mut [T],
        y: &mut [T],
    ) -> T {
        let found = isa.share(OfRows {
            x: anchor,
            vectors: Rows::of_item(self.vectors, self.items, self.d, j, self.skip),
            flags: Rows::of_item(self.present, self.items, 1, j, self.skip),
            count: self.m,
            q: self.q_of(j),
            r: rest,
            y: &mut *y,
        });
        for (y, row) in y.iter_mut().zip(self.r_of(j).rows(self.m)) {
            let near = row.get(found.nearest).copied().unwrap_or_default();
            *y = basis::coordinate(found, near, *y);
        }
        found.distance
    }

    /// R of item j, \[m, m\]; empty where there is no such item. Cost: O(1).
    ///
    /// ```
    /// # use rivergram_core::gram::basis::{Item, item_len};
    /// # use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// # use rivergram_core::lanes::One;
    /// #
    /// # let (vectors, isa) = ([0.0_f32, 2.0, /**/ 3.0, 0.0], One::new());
    /// # let (mut storage, mut scratch) = ([0.0; bases_len(1, 2, 2)], [0.0; item_len(1, 2)]);
    /// # let mut scratch = Item::split(&mut scratch, 1, 2);
    /// # let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// # let (bases, degenerate) = storage.build(isa, &vectors, &[1.0; 2], usize::MAX, [1, 2, 2], &mut scratch);
    /// assert_eq!(bases.r_of(1), [3.0]);
    /// ```
    #[inline(always)]
    pub fn r_of(&self, j: usize) -> &[T] {
        let square = self.m.saturating_mul(self.m);
        self.r.rows(square).nth(j).unwrap_or(&[])
    }

    /// Q of item j, m rows. Cost: O(1).
    ///
    /// ```
    /// # use rivergram_core::gram::basis::{Item, item_len};
    /// # use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// # use rivergram_core::lanes::One;
    /// #
    /// # let (vectors, isa) = ([0.0_f32, 2.0, /**/ 3.0, 0.0], One::new());
    /// # let (mut storage, mut scratch) = ([0.0; bases_len(1, 2, 2)], [0.0; item_len(1, 2)]);
    /// # let mut scratch = Item::split(&mut scratch, 1, 2);
    /// # let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// # let (bases, degenerate) = storage.build(isa, &vectors, &[1.0; 2], usize::MAX, [1, 2, 2], &mut scratch);
    /// assert!(bases.q_of(0).iter().eq([[0.0, 1.0]]));
    /// ```
    #[inline(always)]
    pub fn q_of(&self, j: usize) -> Rows<'_, T> {
        Rows::of_item(self.q, self.items, self.d, j, usize::MAX)
    }

    /// The distance of every anchor to every item into `distance` \[anchors, items\], row-major, and the
    /// coordinates Q·a into `y` \[m, anchors, items\]. `scratch` holds d + m numbers. Cost: one product of
    /// anchors × d × (items · m), and a residual per near pair.
    ///
    /// ```
    /// # use rivergram_core::gram::basis::{Item, item_len};
    /// # use rivergram_core::gram::pair::{BasesMut, bases_len};
    /// # use rivergram_core::lanes::One;
    /// #
    /// # let (vectors, isa) = ([0.0_f32, 2.0, /**/ 3.0, 0.0], One::new());
    /// # let (mut storage, mut scratch) = ([0.0; bases_len(1, 2, 2)], [0.0; item_len(1, 2)]);
    /// # let mut scratch = Item::split(&mut scratch, 1, 2);
    /// # let storage = BasesMut::split(&mut storage, 1, 2, 2);
    /// # let (bases, degenerate) = storage.build(isa, &vectors, &[1.0; 2], usize::MAX, [1, 2, 2], &mut scratch);
    /// let (mut distance, mut y, mut scratch) = ([0.0; 2], [0.0; 2], [0.0; 3]);
    /// bases.distances(isa, &[3.0, 4.0], &mut distance, &mut y, &mut scratch);
    /// assert_eq!(distance, [3.0, 4.0]);
    /// assert_eq!(y, [4.0, 3.0]);
    /// ```
    #[inline(always)]
    pub fn distances<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchors: &[T],
        distance: &mut [T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        self.distances_of(isa, anchors, [0, self.items], distance, y, scratch);
    }

    /// [`Bases::distances`] of some items: the first, and how many.
    #[inline(always)]
    pub(super) fn distances_of<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchors: &[T],
        [first, items]: [usize; 2],
        distance: &mut [T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        let (d, items) = (self.d.max(1), items.max(1));
        y.fill(T::ZERO);
        let plane = distance.len().max(1);
        let planes = self.q.rows(self.items.max(1).saturating_mul(d));
        for (q, y) in planes.zip(y.rows_mut(plane)) {
            let q = ops::part(q, first.saturating_mul(d), items.saturating_mul(d));
            ops::matmul_nt(isa, items, d, anchors, q, y);
        }
        let rows = anchors.rows(d).zip(distance.rows_mut(items));
        for (i, (anchor, distance)) in (0..usize::MAX).zip(rows) {
            let square = ops::dot(isa, anchor, anchor);
            let start = i.saturating_mul(items);
            projection_squares(isa, y, plane, start, distance);
            self.finish_row(isa, anchor, square, first, distance, scratch);
        }
    }

    /// |y|² → d of one anchor for the items from number `first` on.
    #[inline(always)]
    pub(super) fn finish_row<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        square: T,
        first: usize,
        distance: &mut [T],
        scratch: &mut [T],
    ) {
        let (rest, y) = take(scratch, self.d);
        let (y, _) = take(y, self.m);
        let starts = (first..usize::MAX).step_by(I::WIDTH.max(1));
        for (start, values) in starts.zip(isa.pieces_mut(distance)) {
            let anchor_square = isa.splat(square);
            let d_square = distance_square(anchor_square, isa.load(values));
            isa.store(d_square.sqrt(), values);
            if !I::Lanes::any(is_near(anchor_square, d_square)) {
                continue;
            }
            for (j, value) in (start..self.items).zip(values.iter_mut()) {
                if is_near(square, *value * *value) {
                    *value = self.residual(isa, anchor, j, rest, y);
                }
            }
        }
    }
}

#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The bases of some items from number `first` on: their rows in each plane of Q, R and the volumes, with storage for
/// an item.
pub(super) struct SomeBases<'a, T> {
    pub(super) first: usize,
    pub(super) planes: [&'a mut [T]; M_MAX],
    pub(super) r: &'a mut [T],
    pub(super) volume: &'a mut [T],
    pub(super) item: &'a mut [T],
}

/// The most vectors of an item whose bases are made in pieces.
pub(super) const M_MAX: usize = 7;

/// Items of a piece.
const PIECE: usize = 32;

/// Floats of scratch for the pieces of [`BasesMut::pieces`].
pub(super) const fn pieces_len(m: usize, items: usize, d: usize) -> usize {
    items.div_ceil(PIECE).saturating_mul(basis::item_len(m, d))
}

impl<'a, T: Real> BasesMut<'a, T> {
    /// The storage in pieces that are independent, for up to [`M_MAX`] vectors per item.
    pub(super) fn pieces(
        self,
        [m, items, d]: [usize; 3],
        scratch: &'a mut [T],
    ) -> impl Iterator<Item = SomeBases<'a, T>> {
        let mut all = self.q.rows_mut(items.saturating_mul(d));
        let mut planes: [&mut [T]; M_MAX] =
            core::array::from_fn(|_| all.next().unwrap_or_default());
        let r = self.r.pieces_mut(m.saturating_mul(m).saturating_mul(PIECE));
        let volume = self.volume.pieces_mut(PIECE);
        let scratch = scratch.rows_mut(basis::item_len(m, d));
        let starts = (0..items).step_by(PIECE);
        let parts = starts.zip(r.zip(volume).zip(scratch));
        parts.map(move |(first, ((r, volume), item))| SomeBases {
            first,
            planes: planes.each_mut().map(|plane| {
                let all = core::mem::take(plane);
                let (piece, rest) = take(all, PIECE.saturating_mul(d).min(all.len()));
                *plane = rest;
                piece
            }),
            r,
            volume,
            item,
        })
    }
}

/// What the bases are of.
pub(super) struct MakeBases<'a, T> {
    pub(super) vectors: &'a [T],
    pub(super) present: &'a [T],
    pub(super) skip: usize,
    pub(super) sizes: [usize; 3],
}

impl<T: Real> Work<T, SomeBases<'_, T>> for MakeBases<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, mut piece: SomeBases<'_, T>) {
        let MakeBases {
            vectors,
            present,
            skip,
            sizes: [m, items, d],
        } = *self;
        let mut item = Item::split(piece.item, m, d);
        let rows = piece.r.rows_mut(m.saturating_mul(m));
        let parts = rows.zip(piece.volume.iter_mut());
        for (index, (r, volume)) in (0..usize::MAX).zip(parts) {
            let j = piece.first.saturating_add(index);
            let rows = Rows::of_item(vectors, items, d, j, skip);
            let flags = Rows::of_item(present, items, 1, j, skip);
            *volume = basis::orthonormalise_flagged(isa, rows, flags, &mut item);
            copy(item.r, r);
            for (plane, q) in piece.planes.iter_mut().zip(item.q.rows(d)) {
                copy(q, plane.rows_mut(d).nth(index).unwrap_or_default());
            }
        }
    }
}

/// Σ_p y_p² of one anchor's row in each plane.
#[inline(always)]
pub(super) fn projection_squares<I: Isa>(
    isa: I,
    y: &[I::Scalar],
    plane: usize,
    start: usize,
    squares: &mut [I::Scalar],
) {
    squares.fill(I::Scalar::ZERO);
    for y in y.rows(plane) {
        let y = y.get(start..).unwrap_or(&[]);
        for (y, square) in isa.pieces(y).zip(isa.pieces_mut(squares)) {
            let value = isa.load(y);
            isa.store(value.mul_add(value, isa.load(square)), square);
        }
    }
}

/// Which number of a pair [`volume_matrix`] and [`crate::gram::search::nearest`] give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Measure {
    /// V = vol · d.
    Volume,
    /// d = V/vol, the distance of the anchor to the span: conditional ranking, without the hubs that items of
    /// small volume are.
    Distance,
    /// Σ_p cos(a, x_p) over the vectors of the item that are there: the baseline. A zero vector
    /// ([`ops::is_zero`]) has cosine 0 with everything. In `f32` its error is about 1e-7 per vector.
    Cosine,
}

impl Measure {
    /// Which scores of this measure are better. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::{pair::Measure, retrieval::Order};
    /// assert_eq!(Measure::Volume.order(), Order::Ascending);
    /// assert_eq!(Measure::Cosine.order(), Order::Descending);
    /// ```
    pub const fn order(self) -> Order {
        match self {
            Measure::Volume | Measure::Distance => Order::Ascending,
            Measure::Cosine => Order::Descending,
        }
    }
}

/// Floats of workspace for [`volume_matrix`], of any measure.
///
/// ```
/// use rivergram_core::gram::pair::volume_matrix_workspace_len;
/// assert_eq!(volume_matrix_workspace_len(2, 1, 2, 3), 10 + 8 + 4 + 3 + 1 + 2);
/// ```
pub const fn volume_matrix_workspace_len(
    anchors: usize,
    m: usize,
    items: usize,
    d: usize,
) -> usize {
    scores_workspace_len(anchors, m, items, d).saturating_add(m.saturating_mul(items))
}

/// Floats of workspace for [`Scores`].
pub(super) const fn scores_workspace_len(
    anchors: usize,
    m: usize,
    items: usize,
    d: usize,
) -> usize {
    bases_len(m, items, d)
        .saturating_add(basis::item_len(m, d))
        .saturating_add(m.saturating_mul(anchors).saturating_mul(items))
        .saturating_add(d)
        .saturating_add(m)
}

/// The volume, the distance or the sum of cosines of every anchor with every item.
///
/// `anchors` \[B1, d\], `items` \[m, B2, d\] and `out` \[B1, B2\], row-major; `sizes` are \[B1, m, B2, d\]. A
/// vector of an item that is `false` in `present` \[m, B2\] is left out, so that items may have different
/// arities; an item of which nothing is present has V = d = |anchor|, and 0 as its sum of cosines. Zero
/// vectors give V = 0, as defined. Cost: 2·B1·d·B2·m operations, of cosines 2·B1·d·B2. Errors: sizes, a
/// vector that is not finite. Source: arXiv 2412.11959, eq. 4, for all pairs of a batch.
///
/// ```
/// use rivergram_core::gram::pair::{Measure, volume_matrix, volume_matrix_workspace_len};
/// use rivergram_core::lanes::One;
///
/// let (anchors, items) = ([3.0_f32, 4.0], [1.0, 0.0, 0.0, 2.0]);
/// let (mut out, sizes) = ([0.0; 2], [1, 1, 2, 2]);
/// let mut workspace = [0.0; volume_matrix_workspace_len(1, 1, 2, 2)];
/// let mut matrix = |measure| {
///     let (isa, none) = (One::new(), None);
///     volume_matrix(isa, measure, &anchors, &items, none, sizes, &mut out, &mut workspace)?;
///     Ok(out)
/// };
/// assert_eq!(matrix(Measure::Volume)?, [4.0, 6.0]);
/// assert_eq!(matrix(Measure::Distance)?, [4.0, 3.0]);
/// assert_eq!(matrix(Measure::Cosine)?, [0.6, 0.8]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn volume_matrix<I: Isa>(
    isa: I,
    measure: Measure,
    anchors: &[I::Scalar],
    items: &[I::Scalar],
    present: Option<&[bool]>,
    sizes: [usize; 4],
    out: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<(), GramError> {
    isa.enter(VolumeMatrix {
        measure,
        anchors,
        items,
        present,
        sizes,
        out,
        workspace,
    })
}

/// Which vectors are there, as the loss and a search see it, and how many are not: those that are not `false` in
/// `present` and, under [`ZeroRows::Missing`], not zero. `vectors` \[planes, rows, d\] with `sizes`
/// \[planes, rows, d\]; `present` and `there` \[planes, rows\]. An absent vector may hold anything.
///
/// With these flags [`volume_matrix`] and [`crate::gram::negatives`] leave out what the loss leaves out.
///
/// Errors: sizes; a vector that is not finite, or zero under [`ZeroRows::Error`], with its place, where plane 0 is
/// called `first`. Cost: 2·planes·rows·d operations.
///
/// ```
/// use rivergram_core::gram::contrastive::ZeroRows;
/// use rivergram_core::gram::pair::present_vectors;
/// use rivergram_core::lanes::One;
///
/// let (x, mut there) = ([1.0_f32, 2.0, /**/ 0.0, 0.0, /**/ 3.0, 0.0], [false; 3]);
/// let (isa, present, policy) = (One::new(), [true, true, false], ZeroRows::Missing);
/// let missing = present_vectors(isa, policy, &x, Some(&present), [1, 3, 2], 0, &mut there)?;
/// assert_eq!((missing, there), (2, [true, false, false]));
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn present_vectors<I: Isa>(
    isa: I,
    zero_rows: ZeroRows,
    vectors: &[I::Scalar],
    present: Option<&[bool]>,
    [planes, rows, d]: [usize; 3],
    first: usize,
    there: &mut [bool],
) -> Result<usize, GramError> {
    if planes == 0 || rows == 0 || d == 0 {
        return Err(GramError::Empty { k: planes, rows, d });
    }
    let flags = planes.saturating_mul(rows);
    for (need, have) in [
        (flags.saturating_mul(d), vectors.len()),
        (flags, present.map_or(flags, <[bool]>::len)),
        (flags, there.len()),
    ] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    let mut missing = 0_usize;
    let places = (first..usize::MAX).flat_map(|modality| (0..rows).map(move |row| (modality, row)));
    let vectors = vectors.rows(d).zip(there.iter_mut());
    for ((index, (x, there)), (modality, row)) in (0..usize::MAX).zip(vectors).zip(places) {
        *there = present.is_none_or(|present| present.get(index) == Some(&true));
        if *there {
            check_finite(isa, x, None, 1, d, 0)
                .map_err(|_| GramError::NotFinite { modality, row })?;
            let square = ops::dot(isa, x, x);
            zero_rows.check(square, modality, row)?;
            *there = zero_rows.keeps(square);
        }
        missing = missing.saturating_add(usize::from(!*there));
    }
    Ok(missing)
}

struct VolumeMatrix<'a, T> {
    measure: Measure,
    anchors: &'a [T],
    items: &'a [T],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
    out: &'a mut [T],
    workspace: &'a mut [T],
}

/// That the inputs of B1 anchors against B2 items of m vectors have their sizes, and none is 0.
pub(super) fn check_sizes<T>(
    anchors: &[T],
    items: &[T],
    present: Option<&[bool]>,
    [b1, m, b2, d]: [usize; 4],
) -> Result<(), GramError> {
    if b1 == 0 || m == 0 || b2 == 0 || d == 0 {
        return Err(GramError::Empty {
            k: m.saturating_add(1),
            rows: b1.min(b2),
            d,
        });
    }
    let flags = m.saturating_mul(b2);
    for (need, have) in [
        (b1.saturating_mul(d), anchors.len()),
        (flags.saturating_mul(d), items.len()),
        (flags, present.map_or(flags, <[bool]>::len)),
    ] {
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
    }
    Ok(())
}

impl<T: Real> Kernel<T> for VolumeMatrix<'_, T> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let sizes = self.sizes;
        let [b1, m, b2, d] = sizes;
        self.check(isa, volume_matrix_workspace_len(b1, m, b2, d))?;
        let (flags, workspace) = take(self.workspace, m.saturating_mul(b2));
        fill_flags(self.present, flags);
        isa.enter(Scores {
            measure: self.measure,
            anchors: self.anchors,
            items: self.items,
            flags,
            sizes,
            out: self.out,
            workspace,
        });
        Ok(())
    }
}

impl<T: Real> VolumeMatrix<'_, T> {
    /// Everything that can be wrong, of a workspace of at least `need` numbers.
    #[inline(always)]
    fn check<I: Isa<Scalar = T>>(&self, isa: I, need: usize) -> Result<(), GramError> {
        let [b1, _, b2, d] = self.sizes;
        check_sizes(self.anchors, self.items, self.present, self.sizes)?;
        let (size, have) = (b1.saturating_mul(b2), self.out.len());
        if size != have {
            return Err(GramError::BufferSize { need: size, have });
        }
        let have = self.workspace.len();
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        check_finite(isa, self.anchors, None, b1, d, 0)?;
        check_finite(isa, self.items, self.present, b2, d, 1)
    }
}

/// 1 for each vector that is there.
#[inline(always)]
fn fill_flags<T: Real>(present: Option<&[bool]>, flags: &mut [T]) {
    flags.fill(T::ONE);
    for (flag, present) in flags.iter_mut().zip(present.unwrap_or(&[])) {
        *flag = if *present { T::ONE } else { T::ZERO };
    }
}

/// Floats of workspace for [`volume_matrix_by`], of any measure: no matrix of pairs. Cost: O(1).
///
/// ```
/// use rivergram_core::gram::pair::volume_matrix_room_len;
/// assert!(volume_matrix_room_len(4096, 2, 4096, 512) < 4096 * 4096 / 2);
/// ```
pub const fn volume_matrix_room_len(anchors: usize, m: usize, items: usize, d: usize) -> usize {
    bases_len(m, items, d)
        .saturating_add(m.saturating_mul(items))
        .saturating_add(basis::item_len(m, d))
        .saturating_add(strip::matrix_len(anchors, m, items, d))
}

/// [`volume_matrix`] in strips of items, by a crew: the result does not depend on its hands, and differs from that of
/// [`volume_matrix`] on the same lanes by rounding at most. Cost and errors are its, but for the size of the workspace.
///
/// ```
/// use rivergram_core::crew::Alone;
/// use rivergram_core::gram::pair::{Measure, volume_matrix_by, volume_matrix_room_len};
/// use rivergram_core::lanes::One;
///
/// let (anchors, items) = ([3.0_f32, 4.0], [1.0, 0.0, 0.0, 2.0]);
/// let (mut out, sizes, crew) = ([0.0; 2], [1, 1, 2, 2], Alone(One::new()));
/// let mut workspace = vec![0.0; volume_matrix_room_len(1, 1, 2, 2)];
/// let measure = Measure::Volume;
/// volume_matrix_by(&crew, measure, &anchors, &items, None, sizes, &mut out, &mut workspace)?;
/// assert_eq!(out, [4.0, 6.0]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn volume_matrix_by<T: Real, C: Crew<T> + Sync>(
    crew: &C,
    measure: Measure,
    anchors: &[T],
    items: &[T],
    present: Option<&[bool]>,
    sizes: [usize; 4],
    out: &mut [T],
    workspace: &mut [T],
) -> Result<(), GramError> {
    let [_, m, b2, d] = sizes;
    let mut found = Ok(());
    let call = VolumeMatrix {
        measure,
        anchors,
        items,
        present,
        sizes,
        out: &mut *out,
        workspace: &mut *workspace,
    };
    crew.each(core::iter::once((call, &mut found)), &FirstPart);
    found?;
    if measure == Measure::Cosine {
        return Ok(());
    }
    let (flags, workspace) = take(workspace, m.saturating_mul(b2));
    let (bases, workspace) = take(workspace, bases_len(m, b2, d));
    let (_, workspace) = take(workspace, basis::item_len(m, d));
    let BasesMut { q, r, volume } = BasesMut::split(bases, m, b2, d);
    let bases = Bases {
        q,
        r,
        volume,
        vectors: items,
        present: flags,
        skip: usize::MAX,
        m,
        items: b2,
        d,
    };
    crew.whole(|| strip::volume_matrix(crew, measure, &bases, anchors, out, workspace));
    Ok(())
}

/// The checks, and the bases; of cosines everything.
struct FirstPart;

impl<T: Real> Work<T, (VolumeMatrix<'_, T>, &mut Result<(), GramError>)> for FirstPart {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        (call, found): (VolumeMatrix<'_, T>, &mut Result<(), GramError>),
    ) {
        let [b1, m, b2, d] = call.sizes;
        *found = call.check(isa, volume_matrix_room_len(b1, m, b2, d));
        if found.is_err() {
            return;
        }
        let (flags, workspace) = take(call.workspace, m.saturating_mul(b2));
        fill_flags(call.present, flags);
        let scores = Scores {
            measure: call.measure,
            anchors: call.anchors,
            items: call.items,
            flags,
            sizes: call.sizes,
            out: call.out,
            workspace,
        };
        if scores.measure == Measure::Cosine {
            scores.cosines(isa);
            return;
        }
        let (bases, workspace) = take(scores.workspace, bases_len(m, b2, d));
        let (item, _) = take(workspace, basis::item_len(m, d));
        let mut item = Item::split(item, m, d);
        let storage = BasesMut::split(bases, m, b2, d);
        let _ = storage.build(
            isa,
            scores.items,
            scores.flags,
            usize::MAX,
            [m, b2, d],
            &mut item,
        );
    }
}

/// [`volume_matrix`] without its checks; `flags` \[m, B2\] are 0 where a vector is absent. Returns the number
/// of items whose vectors are dependent; of cosines 0.
pub(super) struct Scores<'a, T> {
    pub(super) measure: Measure,
    pub(super) anchors: &'a [T],
    pub(super) items: &'a [T],
    pub(super) flags: &'a [T],
    pub(super) sizes: [usize; 4],
    pub(super) out: &'a mut [T],
    pub(super) workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for Scores<'_, T> {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> usize {
        match self.measure {
            Measure::Volume | Measure::Distance => self.distances(isa),
            Measure::Cosine => {
                self.cosines(isa);
                0
            }
        }
    }
}

impl<T: Real> Scores<'_, T> {
    #[inline(always)]
    fn distances<I: Isa<Scalar = T>>(self, isa: I) -> usize {
        let [b1, m, b2, d] = self.sizes;
        let (bases, workspace) = take(self.workspace, bases_len(m, b2, d));
        let (item, workspace) = take(workspace, basis::item_len(m, d));
        let (y, scratch) = take(workspace, m.saturating_mul(b1).saturating_mul(b2));
        let mut item = Item::split(item, m, d);
        let storage = BasesMut::split(bases, m, b2, d);
        let sizes = [m, b2, d];
        let (bases, degenerate) =
            storage.build(isa, self.items, self.flags, usize::MAX, sizes, &mut item);
        // Not on one lane, where bytes of code count, nor where the packed items do not fit.
        if I::WIDTH > 1 && strip::matrix_len(b1, m, b2, d) <= y.len() {
            let crew = Alone(isa);
            strip::volume_matrix(&crew, self.measure, &bases, self.anchors, self.out, y);
            return degenerate;
        }
        bases.distances(isa, self.anchors, self.out, y, scratch);
        if self.measure == Measure::Volume {
            for row in self.out.rows_mut(b2) {
                for (value, volume) in row.iter_mut().zip(bases.volume) {
                    *value = self::volume(*value, *volume);
                }
            }
        }
        degenerate
    }

    /// cos(a, x_1) + cos(a, x_2) + … = (a/|a|) · (x_1/|x_1| + x_2/|x_2| + …): one product for any m.
    #[inline(always)]
    fn cosines<I: Isa<Scalar = T>>(self, isa: I) {
        let [_, _, b2, d] = self.sizes;
        let (sums, _) = take(self.workspace, b2.saturating_mul(d));
        sums.fill(T::ZERO);
        for (j, sum) in (0..b2).zip(sums.rows_mut(d)) {
            let rows = Rows::of_item(self.items, b2, d, j, usize::MAX);
            let flags = Rows::of_item(self.flags, b2, 1, j, usize::MAX);
            let present = flags.iter().map(basis::is_there);
            for row in basis::present_rows(rows, present) {
                ops::axpy(isa, ops::inverse_norm(ops::dot(isa, row, row)), row, sum);
            }
        }
        self.out.fill(T::ZERO);
        ops::matmul_nt(isa, b2, d, self.anchors, sums, self.out);
        let anchors = self.anchors.rows(d);
        for (anchor, row) in anchors.zip(self.out.rows_mut(b2)) {
            ops::scale(isa, ops::inverse_norm(ops::dot(isa, anchor, anchor)), row);
        }
    }
}

/// The first row that holds NaN or an infinity, or of which the square of a difference could leave the
/// range, is an error; `values` are planes \[.., rows, d\]. An absent row may hold anything.
#[inline(always)]
pub(crate) fn check_finite<I: Isa>(
    isa: I,
    values: &[I::Scalar],
    present: Option<&[bool]>,
    rows: usize,
    d: usize,
    first: usize,
) -> Result<(), GramError> {
    let four = I::Scalar::constant(4.0);
    let mut flags = present.unwrap_or(&[]).iter();
    let planes = values.rows(rows.saturating_mul(d));
    for (plane, values) in (0..usize::MAX).zip(planes) {
        for (row, x) in (0..rows).zip(values.rows(d)) {
            let there = flags.next() != Some(&false);
            if there && !(four * ops::dot(isa, x, x)).is_finite() {
                return Err(GramError::NotFinite {
                    modality: first.saturating_add(plane),
                    row,
                });
            }
        }
    }
    Ok(())
}
