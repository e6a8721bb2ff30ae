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

use crate::error::GramError;
use crate::gram::basis::{self, Item, Residual, Rows};
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::ops::{self, take};

/// Below this part of |a|², d² is computed from the residual itself.
const NEAR: f64 = 0.25;

/// d² from |a|² and |y|², before the root: the pair epilogue, in every lane.
#[inline(always)]
pub fn distance_square<V: Lanes>(anchor_square: V, projection_square: V) -> V {
    let zero = anchor_square.isa().splat(V::Scalar::ZERO);
    (anchor_square - projection_square).max(zero)
}

/// Where d² has cancelled so far that the residual must be computed.
#[inline(always)]
pub fn is_near<V: Lanes>(anchor_square: V, distance_square: V) -> V::Mask {
    let keep = anchor_square.isa().splat(V::Scalar::constant(NEAR));
    distance_square.less(keep * anchor_square)
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
pub const fn bases_len(m: usize, items: usize, d: usize) -> usize {
    let per_item = m.saturating_mul(d.saturating_add(m)).saturating_add(1);
    items.saturating_mul(per_item)
}

impl<'a, T: Real> BasesMut<'a, T> {
    /// Splits [`bases_len`] floats.
    #[inline(always)]
    pub fn split(storage: &'a mut [T], m: usize, items: usize, d: usize) -> Self {
        let (q, storage) = take(storage, m.saturating_mul(items).saturating_mul(d));
        let (r, storage) = take(storage, m.saturating_mul(items).saturating_mul(m));
        let (volume, _) = take(storage, items);
        BasesMut { q, r, volume }
    }

    /// The bases of all items. A vector marked absent in `present` \[planes, items\] (0 = absent) is left out:
    /// its basis row is 0 and its part of the volume 1. Returns the number of items whose present vectors
    /// are dependent: their volume is 0 for every anchor.
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
        let rows = self.r.chunks_exact_mut(m.saturating_mul(m).max(1));
        for (j, (r, volume)) in (0..items).zip(rows.zip(self.volume.iter_mut())) {
            let rows = Rows::of_item(vectors, items, d, j, skip);
            *volume = basis::orthonormalise(isa, rows, presence(present, items, j, skip), scratch);
            for (to, from) in r.iter_mut().zip(scratch.r.iter()) {
                *to = *from;
            }
            for (plane, q) in self
                .q
                .chunks_exact_mut(items.saturating_mul(d).max(1))
                .zip(scratch.q.chunks_exact(d.max(1)))
            {
                for (to, from) in plane.iter_mut().skip(j.saturating_mul(d)).zip(q) {
                    *to = *from;
                }
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
    /// `y` \[m\]; returns its length, the distance. Exact where [`distance_square`] cancels.
    #[inline(always)]
    pub fn residual<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        j: usize,
        mut rest: &mut [T],
        y: &mut [T],
    ) -> T {
        let found = basis::residual(
            isa,
            anchor,
            basis::present_rows(
                Rows::of_item(self.vectors, self.items, self.d, j, self.skip),
                presence(self.present, self.items, j, self.skip),
            ),
            self.q_of(j).iter(),
            &mut rest,
            y,
        );
        let Residual {
            distance,
            nearest,
            step,
        } = found;
        for (y, row) in y.iter_mut().zip(self.r_of(j).chunks_exact(self.m.max(1))) {
            *y += step * row.get(nearest).copied().unwrap_or_default();
        }
        distance
    }

    /// R of item j, \[m, m\].
    #[inline(always)]
    pub fn r_of(&self, j: usize) -> &[T] {
        let square = self.m.saturating_mul(self.m);
        self.r.chunks_exact(square.max(1)).nth(j).unwrap_or(&[])
    }

    /// Q of item j.
    #[inline(always)]
    pub fn q_of(&self, j: usize) -> Rows<'_, T> {
        Rows::of_item(self.q, self.items, self.d, j, usize::MAX)
    }

    /// The distance of every anchor to every item into `distance` \[anchors, items\], row-major, and the
    /// coordinates Q·a into `y` \[m, anchors, items\]. `scratch` holds d + m numbers. Cost: one product of
    /// anchors × d × (items · m), and a residual per near pair.
    #[inline(always)]
    pub fn distances<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchors: &[T],
        distance: &mut [T],
        y: &mut [T],
        scratch: &mut [T],
    ) {
        let (d, items) = (self.d.max(1), self.items.max(1));
        y.fill(T::ZERO);
        let plane = distance.len().max(1);
        for (q, y) in self
            .q
            .chunks_exact(items.saturating_mul(d).max(1))
            .zip(y.chunks_exact_mut(plane))
        {
            ops::matmul_nt(isa, items, d, anchors, q, y);
        }
        let rows = anchors
            .chunks_exact(d)
            .zip(distance.chunks_exact_mut(items));
        for (i, (anchor, distance)) in (0..usize::MAX).zip(rows) {
            let square = ops::dot(isa, anchor, anchor);
            let start = i.saturating_mul(items);
            projection_squares(isa, y, plane, start, distance);
            self.finish_row(isa, anchor, square, distance, scratch);
        }
    }

    /// |y|² → d for the items of one anchor.
    #[inline(always)]
    fn finish_row<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        anchor: &[T],
        square: T,
        distance: &mut [T],
        scratch: &mut [T],
    ) {
        let (rest, y) = take(scratch, self.d);
        let (y, _) = take(y, self.m);
        for (chunk, values) in (0..self.items).zip(distance.chunks_mut(I::WIDTH)) {
            let anchor_square = isa.splat(square);
            let d_square = distance_square(anchor_square, isa.load(values));
            isa.store(d_square.sqrt(), values);
            if !I::Lanes::any(is_near(anchor_square, d_square)) {
                continue;
            }
            for (lane, value) in (0..I::WIDTH).zip(values.iter_mut()) {
                if is_near(square, *value * *value) {
                    let j = chunk.saturating_mul(I::WIDTH).saturating_add(lane);
                    *value = self.residual(isa, anchor, j, rest, y);
                }
            }
        }
    }
}

/// Which vectors of item j are there.
#[inline(always)]
fn presence<'a, T: Real>(
    present: &'a [T],
    items: usize,
    j: usize,
    skip: usize,
) -> impl Iterator<Item = bool> + Clone + 'a {
    Rows::of_item(present, items, 1, j, skip)
        .iter()
        .map(|flag| flag.first() != Some(&T::ZERO))
}

/// Σ_p y_p² of one anchor's row in each plane.
#[inline(always)]
fn projection_squares<I: Isa>(
    isa: I,
    y: &[I::Scalar],
    plane: usize,
    start: usize,
    squares: &mut [I::Scalar],
) {
    squares.fill(I::Scalar::ZERO);
    for y in y.chunks_exact(plane) {
        let y = y.get(start..).unwrap_or(&[]);
        for (y, square) in y.chunks(I::WIDTH).zip(squares.chunks_mut(I::WIDTH)) {
            let value = isa.load(y);
            isa.store(value.mul_add(value, isa.load(square)), square);
        }
    }
}

/// Which number of a pair [`volume_matrix`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// V = vol · d.
    Volume,
    /// d, the distance of the anchor to the span: conditional ranking.
    Distance,
}

/// Floats of workspace for [`volume_matrix`].
pub const fn volume_matrix_workspace_len(
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
        .saturating_add(m.saturating_mul(items))
}

/// The volume, or the distance, of every anchor with every item.
///
/// `anchors` \[B1, d\], `items` \[m, B2, d\] and `out` \[B1, B2\], row-major. A vector of an item that is
/// `false` in `present` \[m, B2\] is left out, so that items may have different arities; an item of which
/// nothing is present has V = d = |anchor|. Zero vectors give V = 0, as defined.
/// Cost: 2·B1·d·B2·m operations. Errors: sizes, a vector that is not finite.
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

struct VolumeMatrix<'a, T> {
    measure: Measure,
    anchors: &'a [T],
    items: &'a [T],
    present: Option<&'a [bool]>,
    sizes: [usize; 4],
    out: &'a mut [T],
    workspace: &'a mut [T],
}

impl<T: Real> VolumeMatrix<'_, T> {
    fn check_sizes(&self) -> Result<(), GramError> {
        let [b1, m, b2, d] = self.sizes;
        if b1 == 0 || m == 0 || b2 == 0 || d == 0 {
            return Err(GramError::Empty {
                k: m.saturating_add(1),
                rows: b1.min(b2),
                d,
            });
        }
        let flags = m.saturating_mul(b2);
        for (need, have) in [
            (b1.saturating_mul(d), self.anchors.len()),
            (flags.saturating_mul(d), self.items.len()),
            (b1.saturating_mul(b2), self.out.len()),
            (flags, self.present.map_or(flags, <[bool]>::len)),
        ] {
            if need != have {
                return Err(GramError::BufferSize { need, have });
            }
        }
        let (need, have) = (
            volume_matrix_workspace_len(b1, m, b2, d),
            self.workspace.len(),
        );
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        Ok(())
    }
}

impl<T: Real> Kernel<T> for VolumeMatrix<'_, T> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        self.check_sizes()?;
        let [b1, m, b2, d] = self.sizes;
        check_finite(isa, self.anchors, b1, d, 0)?;
        check_finite(isa, self.items, b2, d, 1)?;
        let (bases, workspace) = take(self.workspace, bases_len(m, b2, d));
        let (item, workspace) = take(workspace, basis::item_len(m, d));
        let (flags, workspace) = take(workspace, m.saturating_mul(b2));
        let (y, scratch) = take(workspace, m.saturating_mul(b1).saturating_mul(b2));
        flags.fill(T::ONE);
        for (flag, present) in flags.iter_mut().zip(self.present.unwrap_or(&[])) {
            *flag = if *present { T::ONE } else { T::ZERO };
        }
        let mut item = Item::split(item, m, d);
        let storage = BasesMut::split(bases, m, b2, d);
        let (bases, _) = storage.build(isa, self.items, flags, usize::MAX, [m, b2, d], &mut item);
        bases.distances(isa, self.anchors, self.out, y, scratch);
        if self.measure == Measure::Volume {
            for row in self.out.chunks_exact_mut(b2.max(1)) {
                for (value, volume) in row.iter_mut().zip(bases.volume) {
                    *value = *value * *volume;
                }
            }
        }
        Ok(())
    }
}

/// The first row that holds NaN or an infinity, or of which the square of a difference could leave the
/// range, is an error; `values` are planes \[.., rows, d\].
#[inline(always)]
pub(crate) fn check_finite<I: Isa>(
    isa: I,
    values: &[I::Scalar],
    rows: usize,
    d: usize,
    first: usize,
) -> Result<(), GramError> {
    let four = I::Scalar::constant(4.0);
    let planes = values.chunks_exact(rows.saturating_mul(d).max(1));
    for (plane, values) in (0..usize::MAX).zip(planes) {
        for (row, x) in (0..rows).zip(values.chunks_exact(d.max(1))) {
            if !(four * ops::dot(isa, x, x)).is_finite() {
                return Err(GramError::NotFinite {
                    modality: first.saturating_add(plane),
                    row,
                });
            }
        }
    }
    Ok(())
}
