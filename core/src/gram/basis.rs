//! An orthonormal basis for the vectors of an item, so that many anchors can be measured against it.
//!
//! ```text
//! O = Rᵀ·Q          Q: m orthonormal rows in R^D; R upper triangular, R_pp ≥ 0          vol = Π_p R_pp
//! ```
//!
//! Each vector first subtracts the right multiple of its nearest predecessor, the product as if exact:
//! for vectors in a narrow cone that leaves all digits of what differs. Only then are the basis rows
//! projected out, again and again until a pass takes away less than half ("twice is enough", W. Kahan in
//! B. N. Parlett, The Symmetric Eigenvalue Problem, 1980). A vector of which every pass leaves less is
//! dependent: R_pp = 0 and its basis row is zero.
//!
//! Source: the volume of arXiv 2412.11959, eq. 4, by the QR factorisation: det G = (Π_p R_pp)².

use crate::lanes::{Isa, Kernel, Real};
use crate::ops::{self, RowOps, Walk, split, take};

/// Passes over the basis before a vector that keeps shrinking counts as dependent.
const PASSES: usize = 4;

/// Some rows of length d, `stride` apart, one of them left out: the vectors of an item, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    data: &'a [T],
    stride: usize,
    d: usize,
    skip: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Rows that follow each other: `data` \[rows, d\]. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::basis::Rows;
    /// assert_eq!(Rows::contiguous(&[1.0, 2.0, 3.0, 4.0], 2).iter().nth(1), Some([3.0, 4.0].as_slice()));
    /// ```
    #[inline(always)]
    pub fn contiguous(data: &'a [T], d: usize) -> Self {
        Rows {
            data,
            stride: d,
            d,
            skip: usize::MAX,
        }
    }

    /// Row `index` of each plane of `rows` rows, but for plane `skip`: item `index` of a batch
    /// \[planes, rows, d\] without its anchor. No plane is left out for `usize::MAX`. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::basis::Rows;
    ///
    /// let planes = [1, 2, /**/ 3, 4, /**/ 5, 6]; // three planes of two rows of one number
    /// assert!(Rows::of_item(&planes, 2, 1, 1, 0).iter().eq([[4], [6]]));
    /// ```
    #[inline(always)]
    pub fn of_item(planes: &'a [T], rows: usize, d: usize, index: usize, skip: usize) -> Self {
        let start = index.saturating_mul(d);
        Rows {
            data: planes.get(start..).unwrap_or(&[]),
            stride: rows.saturating_mul(d),
            d,
            skip,
        }
    }

    /// The rows in order. Cost: none until they are read.
    ///
    /// ```
    /// use rivergram_core::gram::basis::Rows;
    /// assert!(Rows::contiguous(&[1, 2, 3, 4], 2).iter().eq([[1, 2], [3, 4]]));
    /// ```
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = &'a [T]> + Clone {
        let Rows {
            data,
            stride,
            d,
            skip,
        } = self;
        (0..usize::MAX)
            .zip(data.pieces(stride).map_while(move |chunk| chunk.get(..d)))
            .filter(move |(plane, _)| *plane != skip)
            .map(|(_, row)| row)
    }
}

/// What [`residual`] found.
#[derive(Clone, Copy, Debug)]
pub struct Residual<T> {
    /// The length of the residual: the distance of x to the span. 0 where x is in it.
    pub distance: T,
    /// The vector that was subtracted first.
    pub nearest: usize,
    /// How often it was subtracted.
    pub step: T,
}

/// r = x − step · (its nearest vector) − Σ_p y_p q_p, orthogonal to the span of the vectors, of which `q`
/// is the basis. x = r + step · nearest + Σ_p y_p q_p. Cost: at least 4·m·D multiply-adds.
///
/// ```
/// use rivergram_core::gram::basis::residual;
/// use rivergram_core::lanes::One;
///
/// let (x, vectors, q) = ([2.0_f32, 3.0], [[4.0_f32, 0.0]], [[1.0_f32, 0.0]]);
/// let (mut r, mut y) = ([0.0; 2], [0.0]);
/// let (vectors, q) = (vectors.iter().map(|x| x.as_slice()), q.iter().map(|q| q.as_slice()));
/// let found = residual(One::<f32>::new(), &x, vectors, q, &mut r.as_mut_slice(), &mut y);
/// assert_eq!((found.distance, found.nearest, found.step), (3.0, 0, 0.5));
/// assert_eq!((r, y), ([0.0, 3.0], [0.0]));
/// ```
#[inline(always)]
pub fn residual<'a, 'b, O: RowOps + 'a + 'b>(
    ops: O,
    x: O::Row<'_>,
    vectors: impl Iterator<Item = O::Row<'a>>,
    q: impl Iterator<Item = O::Row<'b>> + Clone,
    r: &mut O::RowMut<'_>,
    y: &mut [O::Scalar],
) -> Residual<O::Scalar> {
    y.fill(O::Scalar::ZERO);
    project(ops, x, vectors, q.take(y.len()), r, |p, product| {
        if let Some(y) = y.get_mut(p) {
            *y += product;
        }
    })
}

/// [`residual`] whose coordinates go to `add`, a term at a time: y_p is the sum of what is added for p. So they may lie
/// where no slice does, such as in the lanes of a warp. Cost: that of [`residual`].
///
/// ```
/// use rivergram_core::gram::basis::project;
/// use rivergram_core::lanes::One;
///
/// let (x, q) = ([2.0_f32, 3.0], [[1.0_f32, 0.0]]);
/// let (mut r, mut y) = ([0.0; 2], 0.0);
/// let q = q.iter().map(|q| q.as_slice());
/// let none = std::iter::empty();
/// let found = project(One::<f32>::new(), &x, none, q, &mut r.as_mut_slice(), |_, product| y += product);
/// assert_eq!((found.distance, r, y), (3.0, [0.0, 3.0], 2.0));
/// ```
#[inline(always)]
pub fn project<'a, 'b, O: RowOps + 'a + 'b>(
    ops: O,
    x: O::Row<'_>,
    vectors: impl Iterator<Item = O::Row<'a>>,
    q: impl Iterator<Item = O::Row<'b>> + Clone,
    r: &mut O::RowMut<'_>,
    mut add: impl FnMut(usize, O::Scalar),
) -> Residual<O::Scalar> {
    let zero = O::Scalar::ZERO;
    let (mut nearest, mut step, mut best) = (0, zero, zero);
    ops.sub_product(x, zero, x, r);
    for (index, vector) in (0..usize::MAX).zip(vectors) {
        let (product, square) = (ops.dot(x, vector), ops.dot(vector, vector));
        if zero < square && best < product * (product / square) {
            best = product * (product / square);
            nearest = index;
            step = product / square;
            ops.sub_product(x, step, vector, r);
        }
    }
    let mut before = crate::lanes::Lanes::sqrt(ops.dot(ops.read(r), ops.read(r)));
    for _ in 0..PASSES {
        for (p, q) in (0..usize::MAX).zip(q.clone()) {
            let product = ops.dot(q, ops.read(r));
            ops.axpy(-product, q, r);
            add(p, product);
        }
        let now = crate::lanes::Lanes::sqrt(ops.dot(ops.read(r), ops.read(r)));
        if before < now + now {
            return Residual {
                distance: now,
                nearest,
                step,
            };
        }
        before = now;
    }
    Residual {
        distance: zero,
        nearest,
        step,
    }
}

/// Floats that an [`Item`] of m vectors of length d takes.
///
/// ```
/// assert_eq!(rivergram_core::gram::basis::item_len(2, 8), 3 * 8 + 3 * 2);
/// ```
pub const fn item_len(m: usize, d: usize) -> usize {
    m.saturating_add(1)
        .saturating_mul(d)
        .saturating_add(m.saturating_add(1).saturating_mul(m))
}

/// Storage for the basis of one item, and for making it.
#[derive(Debug)]
pub struct Item<'a, T> {
    /// Q, \[m, d\].
    pub q: &'a mut [T],
    /// R, \[m, m\], row-major.
    pub r: &'a mut [T],
    rest: &'a mut [T],
    y: &'a mut [T],
    m: usize,
    d: usize,
}

impl<'a, T: Real> Item<'a, T> {
    /// Splits [`item_len`]`(m, d)` floats; of fewer the parts that do not fit are empty. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::basis::{Item, item_len};
    ///
    /// let mut storage = [0.0_f32; item_len(2, 8)];
    /// let item = Item::split(&mut storage, 2, 8);
    /// assert_eq!((item.q.len(), item.r.len()), (16, 4));
    /// ```
    #[inline(always)]
    pub fn split(storage: &'a mut [T], m: usize, d: usize) -> Self {
        let (q, storage) = take(storage, m.saturating_mul(d));
        let (r, storage) = take(storage, m.saturating_mul(m));
        let (rest, storage) = take(storage, d);
        let (y, _) = take(storage, m);
        Item {
            q,
            r,
            rest,
            y,
            m,
            d,
        }
    }

    /// The basis of the first p vectors, and room for the residual of the next.
    #[inline(always)]
    fn before(&mut self, p: usize) -> (Rows<'_, T>, &mut [T], &mut [T]) {
        let (done, _) = split(self.q, p.saturating_mul(self.d));
        (Rows::contiguous(done, self.d), self.rest, self.y)
    }

    /// Basis row p, and the place of R_pp.
    #[inline(always)]
    fn row_mut(&mut self, p: usize) -> (&mut [T], Option<&mut T>) {
        let diagonal = p.saturating_mul(self.m.saturating_add(1));
        let row = self.q.rows_mut(self.d).nth(p).unwrap_or_default();
        (row, self.r.get_mut(diagonal))
    }

    /// Vector p is absent: its basis row is 0 and its R_pp is 1.
    #[inline(always)]
    fn leave_out(&mut self, p: usize) {
        let (row, diagonal) = self.row_mut(p);
        row.fill(T::ZERO);
        if let Some(diagonal) = diagonal {
            *diagonal = T::ONE;
        }
    }

    /// Vector p by its residual; returns R_pp.
    #[inline(always)]
    fn take_in(&mut self, p: usize, found: Residual<T>) -> T {
        store_column(self.r, self.m, p, found, self.y);
        let inverse = ops::inverse_or_zero(found.distance);
        let row = self.q.rows_mut(self.d).nth(p).unwrap_or_default();
        ops::normalise(self.rest, inverse, row);
        found.distance
    }
}

/// The vectors that are there; an empty row, which is like zero, for each that is not. Cost: O(1) per vector.
///
/// ```
/// use rivergram_core::gram::basis::{Rows, present_rows};
///
/// let rows = Rows::contiguous(&[1.0, 2.0, 3.0, 4.0], 2);
/// let there: Vec<&[f64]> = present_rows(rows, [false, true].into_iter()).collect();
/// assert_eq!(there, [[].as_slice(), &[3.0, 4.0]]);
/// ```
#[inline(always)]
pub fn present_rows<'a, T>(
    vectors: Rows<'a, T>,
    present: impl Iterator<Item = bool> + Clone,
) -> impl Iterator<Item = &'a [T]> + Clone {
    vectors
        .iter()
        .zip(present)
        .map(|(row, present)| if present { row } else { &[] })
}

/// Q and R of the m vectors; returns their volume Π R_pp. A zero vector gives R_pp = 0. A vector that is
/// not present is left out: its basis row is zero and its R_pp is 1. Vectors, basis and R are as the storage
/// was split: \[m, d\], \[m, d\] and \[m, m\]. Cost: at least 2·m²·d multiply-adds.
///
/// ```
/// use rivergram_core::gram::basis::{Item, Rows, item_len, orthonormalise};
/// use rivergram_core::lanes::One;
///
/// let (x, mut storage) = ([2.0_f32, 0.0, /**/ 1.0, 3.0], [0.0; item_len(2, 2)]);
/// let mut item = Item::split(&mut storage, 2, 2);
/// let all = [true; 2].into_iter();
/// let volume = orthonormalise(One::new(), Rows::contiguous(&x, 2), all, &mut item);
/// assert_eq!(volume, 6.0);
/// assert_eq!(item.r, [2.0, 1.0, /**/ 0.0, 3.0]);
/// assert_eq!(item.q, [1.0, 0.0, /**/ 0.0, 1.0]);
/// ```
#[inline(always)]
pub fn orthonormalise<I: Isa>(
    isa: I,
    vectors: Rows<'_, I::Scalar>,
    present: impl Iterator<Item = bool> + Clone,
    item: &mut Item<'_, I::Scalar>,
) -> I::Scalar {
    let mut volume = I::Scalar::ONE;
    item.r.fill(I::Scalar::ZERO);
    let rows = present_rows(vectors, present);
    for (p, x) in (0..item.m).zip(rows.clone()) {
        if x.is_empty() {
            item.leave_out(p);
            continue;
        }
        let (done, rest, y) = item.before(p);
        let vectors = rows.clone().take(p);
        let found = residual(isa, x, vectors, done.iter(), &mut &mut *rest, y);
        volume = volume * item.take_in(p, found);
    }
    volume
}

/// [`orthonormalise`] of vectors with flags, 0 where one is absent, by [`OfRows`].
#[inline(always)]
pub(crate) fn orthonormalise_flagged<I: Isa>(
    isa: I,
    vectors: Rows<'_, I::Scalar>,
    flags: Rows<'_, I::Scalar>,
    item: &mut Item<'_, I::Scalar>,
) -> I::Scalar {
    let mut volume = I::Scalar::ONE;
    item.r.fill(I::Scalar::ZERO);
    for (p, (x, flag)) in (0..item.m).zip(vectors.iter().zip(flags.iter())) {
        if !is_there(flag) {
            item.leave_out(p);
            continue;
        }
        let (q, r, y) = item.before(p);
        let found = isa.share(OfRows {
            x,
            vectors,
            flags,
            count: p,
            q,
            r,
            y,
        });
        volume = volume * item.take_in(p, found);
    }
    volume
}

/// [`residual`] of x against the first vectors of an item, those that are there.
pub(crate) struct OfRows<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) vectors: Rows<'a, T>,
    /// 0 where a vector is absent.
    pub(crate) flags: Rows<'a, T>,
    /// How many vectors.
    pub(crate) count: usize,
    /// Their basis.
    pub(crate) q: Rows<'a, T>,
    pub(crate) r: &'a mut [T],
    pub(crate) y: &'a mut [T],
}

impl<T: Real> Kernel<T> for OfRows<'_, T> {
    type Output = Residual<T>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Residual<T> {
        let OfRows { mut r, .. } = self;
        let present = self.flags.iter().map(is_there);
        let vectors = present_rows(self.vectors, present).take(self.count);
        residual(isa, self.x, vectors, self.q.iter(), &mut r, self.y)
    }
}

/// What a row of one flag says.
#[inline(always)]
pub(super) fn is_there<T: Real>(flag: &[T]) -> bool {
    flag.first() != Some(&T::ZERO)
}

/// Column p of R: step · (column of the nearest vector) + y above the diagonal, the distance on it.
#[inline(always)]
pub(crate) fn store_column<T: Real>(r: &mut [T], m: usize, p: usize, found: Residual<T>, y: &[T]) {
    for (q, (row, y)) in (0..m).zip(r.rows_mut(m).zip(y)) {
        let near = row.get(found.nearest).copied().unwrap_or_default();
        if let Some(entry) = row.get_mut(p) {
            *entry = column_entry(q, p, found, near, *y);
        }
    }
}

/// The coordinate of x over basis row q, given what [`residual`] found of it, R_q,nearest and y_q: the vector that was
/// subtracted first has coordinates too. Cost: a multiply-add.
///
/// ```
/// use rivergram_core::gram::basis::{Residual, coordinate};
///
/// let found = Residual { distance: 3.0, nearest: 0, step: 0.5 };
/// assert_eq!(coordinate(found, 4.0_f32, 1.0), 3.0);
/// ```
#[inline(always)]
pub fn coordinate<T: Real>(found: Residual<T>, near: T, y: T) -> T {
    y + found.step * near
}

/// R_qp of vector p, given what [`residual`] found of it, R_q,nearest and y_q: step · R_q,nearest + y_q above the
/// diagonal, the distance on it, 0 below. Cost: a multiply-add.
///
/// ```
/// use rivergram_core::gram::basis::{Residual, column_entry};
///
/// let found = Residual { distance: 3.0, nearest: 0, step: 0.5 };
/// assert_eq!([0, 1, 2].map(|q| column_entry(q, 1, found, 4.0_f32, 1.0)), [3.0, 3.0, 0.0]);
/// ```
#[inline(always)]
pub fn column_entry<T: Real>(q: usize, p: usize, found: Residual<T>, near: T, y: T) -> T {
    match q {
        q if q < p => coordinate(found, near, y),
        q if q == p => found.distance,
        _ => T::ZERO,
    }
}

/// The weights c \[m\] of an item's basis rows in the sum of its cosines: Σ_p cos(a, x_p) = Σ_q c_q·(q_q·a)/|a|, since
/// x_p = Σ_q R_qp q_q; c_q = Σ_p R_qp/|x_p|, |x_p|² = Σ_q R_qp². So the cosines need no more of an item than its basis
/// and m numbers. `r` \[m, m\] is R. A zero vector has cosine 0; a vector that is absent has a basis row of zeros, and any
/// weight. Cost: 2·m² operations and m roots.
///
/// ```
/// use rivergram_core::gram::basis::cosine_weights;
///
/// let mut weights = [0.0_f32; 2];
/// cosine_weights(&[2.0, 3.0, /**/ 0.0, 4.0], &mut weights); // x_1 = 2·q_1, x_2 = 3·q_1 + 4·q_2
/// assert!((weights[0] - 1.6).abs() < 1e-6 && (weights[1] - 0.8).abs() < 1e-6);
/// ```
pub fn cosine_weights<T: Real>(r: &[T], weights: &mut [T]) {
    let m = weights.len();
    weights.fill(T::ZERO);
    for p in 0..m {
        let column = r.rows(m).map(|row| row.get(p).copied().unwrap_or_default());
        let square = column.clone().fold(T::ZERO, |sum, x| sum + x * x);
        let inverse = ops::inverse_norm(square);
        for (weight, x) in weights.iter_mut().zip(column) {
            *weight += x * inverse;
        }
    }
}

/// G ← R⁻¹·G for rows G \[m, d\] and R \[m, m\]; all zero where an R_pp is 0. Cost: m²/2 · d multiply-adds.
///
/// ```
/// use rivergram_core::{gram::basis::solve, lanes::One};
///
/// let (r, mut g) = ([2.0_f32, 1.0, /**/ 0.0, 4.0], [4.0, 8.0]);
/// solve(One::new(), &r, 2, 1, &mut g);
/// assert_eq!(g, [1.0, 2.0]);
/// ```
#[inline(always)]
pub fn solve<I: Isa>(isa: I, r: &[I::Scalar], m: usize, d: usize, g: &mut [I::Scalar]) {
    for p in (0..m).rev() {
        let after = p.saturating_add(1);
        let (head, done) = g
            .split_at_mut_checked(after.saturating_mul(d))
            .unwrap_or_default();
        let row = head.get_mut(p.saturating_mul(d)..).unwrap_or_default();
        let Some(coefficients) = r.rows(m).nth(p) else {
            return;
        };
        let others = coefficients.iter().copied().skip(after).zip(done.rows(d));
        let pivot = coefficients.get(p).copied().unwrap_or_default();
        solve_row(isa, pivot, others, &mut &mut *row);
    }
}

/// Row p of [`solve`], given R_pp and the rows after it, that are solved already, each with its R_pq. Cost: m − p
/// additions of rows.
///
/// ```
/// use rivergram_core::{gram::basis::solve_row, lanes::One};
///
/// let (done, mut row) = ([2.0_f32], [4.0]);
/// solve_row(One::<f32>::new(), 2.0, [(1.0, &done[..])].into_iter(), &mut &mut row[..]);
/// assert_eq!(row, [1.0]);
/// ```
#[inline(always)]
pub fn solve_row<'a, O: RowOps + 'a>(
    ops: O,
    pivot: O::Scalar,
    done: impl Iterator<Item = (O::Scalar, O::Row<'a>)>,
    row: &mut O::RowMut<'_>,
) {
    for (c, other) in done {
        ops.axpy(-c, other, row);
    }
    ops.scale(ops::inverse_or_zero(pivot), row);
}

/// x ← x − Σ_p (q_p·x) q_p: what is orthogonal to the rows of a basis. Cost: 4·m·D operations. Source: one step of
/// Gram and Schmidt.
///
/// ```
/// use rivergram_core::{gram::basis::reject, lanes::One};
///
/// let (q, mut x) = ([1.0_f32, 0.0], [5.0, 3.0]);
/// reject(One::<f32>::new(), [&q[..]].into_iter(), &mut &mut x[..]);
/// assert_eq!(x, [0.0, 3.0]);
/// ```
#[inline(always)]
pub fn reject<'a, O: RowOps + 'a>(
    ops: O,
    q: impl Iterator<Item = O::Row<'a>>,
    x: &mut O::RowMut<'_>,
) {
    for q in q {
        let product = ops.dot(q, ops.read(x));
        ops.axpy(-product, q, x);
    }
}
