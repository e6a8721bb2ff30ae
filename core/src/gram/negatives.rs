//! Hard negatives: for each query a wrong candidate, the likelier the more it looks like a match.
//!
//! ```text
//! p_ij = exp(−V_ij/τ) / Σ_c exp(−V_ic/τ)          w_ij = p_ij + 1e-4,  w_i,own = 0
//! ```
//! (The paper's code beside arXiv 2412.11959; the candidates for data-anchor matching.) The own candidate is
//! in the sum over c, so a query that has found its match gets weights near the floor, which is what keeps
//! every other candidate possible. Query i's own candidate is i + `offset`: with 0 the diagonal, else the
//! place of the local rows among the gathered ones.
//!
//! Queries are the rows of the volumes ([`row_weights`], [`draw_rows`]) or their columns
//! ([`column_weights`], [`draw_columns`]); either way the weights replace the volumes in place.
//!
//! **What is absent** takes no part, as in the loss ([`Own`]): an absent candidate has weight 0 and is not in the
//! sum over c; a query counts only if it and its own candidate are there, else all its weights are 0 and nothing
//! is drawn for it. A zero vector would have volume 0, the best: [`present_vectors`](super::pair::present_vectors)
//! marks it as absent, for the volumes as for the weights.

use crate::error::GramError;
use crate::gram::inverse_temperature;
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::lse::LogSum;
use crate::ops::{self, Sum, Walk, take};
use crate::softmax;

/// What is added to each probability: no candidate but the own is impossible.
pub const FLOOR: f64 = 1e-4;

/// Which rows and columns of a matrix of volumes belong together, and which are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Own<'a> {
    /// Query i's own candidate is number i + `offset`.
    pub offset: usize,
    /// \[rows\]: `false` where an anchor is absent.
    pub anchors: Option<&'a [bool]>,
    /// \[m, columns\], as for [`volume_matrix`](super::pair::volume_matrix): `false` where a vector of an item is
    /// absent. An item of which nothing is there is absent.
    pub items: Option<&'a [bool]>,
}

impl Own<'_> {
    /// Everything is there. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::gram::negatives::Own;
    ///
    /// assert_eq!(Own::at(4), Own { offset: 4, anchors: None, items: None });
    /// ```
    pub const fn at(offset: usize) -> Self {
        Own {
            offset,
            anchors: None,
            items: None,
        }
    }

    /// Whether row i is there.
    #[inline(always)]
    fn has_row(&self, i: usize) -> bool {
        self.anchors.is_none_or(|there| there.get(i) == Some(&true))
    }

    /// Whether column j of so many is there.
    #[inline(always)]
    fn has_column(&self, j: usize, columns: usize) -> bool {
        self.items.is_none_or(|there| {
            let mut planes = there.rows(columns);
            planes.any(|plane| plane.get(j) == Some(&true))
        })
    }

    /// This value in place of the numbers of absent columns.
    #[inline(always)]
    fn fill_absent<T: Real>(&self, row: &mut [T], value: T) {
        if self.items.is_none() {
            return;
        }
        let columns = row.len();
        for (j, number) in (0..columns).zip(row) {
            if !self.has_column(j, columns) {
                *number = value;
            }
        }
    }

    fn check(&self, rows: usize, columns: usize) -> Result<(), GramError> {
        let (need, have) = (rows, self.anchors.map_or(rows, <[bool]>::len));
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        let have = self.items.map_or(columns, <[bool]>::len);
        let planes = have.checked_div(columns).unwrap_or_default();
        let need = planes.max(1).saturating_mul(columns);
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        Ok(())
    }
}

/// Volumes \[rows, columns\], row-major, to weights in place: each row is a query. What belongs to an absent
/// row or column may hold anything.
///
/// Errors: sizes; τ; an own candidate beyond the columns, with its query; a volume that is not finite or
/// leaves the range over τ. All are found before anything is written. Cost: two exponentials per volume.
/// Source: the paper's code (see the [module](self)).
///
/// ```
/// use rivergram_core::gram::negatives::{Own, row_weights};
/// use rivergram_core::lanes::One;
///
/// let mut weights = [0.0_f64, 0.5, 0.5, /**/ 0.5, 0.0, 0.5];
/// row_weights(One::new(), 0.5, Own::at(0), 3, &mut weights)?;
/// let p = 1.0 / (1.0_f64.exp() + 2.0);
/// assert_eq!([weights[0], weights[4]], [0.0, 0.0]);
/// assert!((weights[1] - (p + 1e-4)).abs() < 1e-15);
///
/// // The last item is absent: its volumes may hold anything.
/// let own = Own { items: Some(&[true, true, false]), ..Own::at(0) };
/// let mut weights = [0.0_f64, 0.5, f64::NAN, /**/ 0.5, 0.0, f64::NAN];
/// row_weights(One::new(), 0.5, own, 3, &mut weights)?;
/// assert_eq!([weights[0], weights[2]], [0.0, 0.0]);
/// assert!((weights[1] - (1.0 / (1.0_f64.exp() + 1.0) + 1e-4)).abs() < 1e-15);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn row_weights<I: Isa>(
    isa: I,
    temperature: I::Scalar,
    own: Own<'_>,
    columns: usize,
    scores: &mut [I::Scalar],
) -> Result<(), GramError> {
    isa.enter(Rows(Weights {
        temperature,
        own,
        columns,
        scores,
    }))
}

/// Floats of workspace for [`column_weights`].
///
/// ```
/// use rivergram_core::gram::negatives::column_workspace_len;
/// assert_eq!(column_workspace_len(5), 10);
/// ```
pub const fn column_workspace_len(columns: usize) -> usize {
    columns.saturating_mul(2)
}

/// Volumes \[rows, columns\], row-major, to weights in place: each column is a query, and column j's own
/// candidate is row j + `offset`. Errors, cost and source: those of [`row_weights`], and the workspace.
///
/// ```
/// use rivergram_core::gram::negatives::{Own, column_weights, column_workspace_len};
/// use rivergram_core::lanes::One;
///
/// let mut weights = [0.0_f64, 0.5, /**/ 0.5, 0.0, /**/ 0.5, 0.5];
/// let mut workspace = [0.0; column_workspace_len(2)];
/// column_weights(One::new(), 0.5, Own::at(1), 2, &mut weights, &mut workspace)?;
/// assert_eq!([weights[2], weights[5]], [0.0, 0.0]);
/// assert!(weights[0] > weights[4]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn column_weights<I: Isa>(
    isa: I,
    temperature: I::Scalar,
    own: Own<'_>,
    columns: usize,
    scores: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<(), GramError> {
    let weights = Weights {
        temperature,
        own,
        columns,
        scores,
    };
    isa.enter(Columns { weights, workspace })
}

struct Weights<'a, T> {
    temperature: T,
    own: Own<'a>,
    columns: usize,
    scores: &'a mut [T],
}

impl<T: Real> Weights<'_, T> {
    /// −1/τ and the number of rows.
    fn check(&self) -> Result<(T, usize), GramError> {
        let (columns, have) = (self.columns, self.scores.len());
        let rows = have.checked_div(columns).unwrap_or_default();
        if rows == 0 {
            let (k, d) = (2, columns);
            return Err(GramError::Empty { k, rows, d });
        }
        let need = rows.saturating_mul(columns);
        if need != have {
            return Err(GramError::BufferSize { need, have });
        }
        self.own.check(rows, columns)?;
        let scale = -inverse_temperature(self.temperature)?;
        for (row, scores) in (0..rows).zip(self.scores.rows(columns)) {
            if !self.own.has_row(row) {
                continue;
            }
            for (column, score) in (0..columns).zip(scores) {
                if !(*score * scale).is_finite() && self.own.has_column(column, columns) {
                    return Err(GramError::Score { row, column });
                }
            }
        }
        Ok((scale, rows))
    }
}

/// That each of some queries has a place for its own among the candidates.
fn check_own(queries: usize, candidates: usize, offset: usize) -> Result<(), GramError> {
    let with_own = candidates.saturating_sub(offset);
    if with_own < queries {
        return Err(GramError::NoMatch { row: with_own });
    }
    Ok(())
}

struct Rows<'a, T>(Weights<'a, T>);

impl<T: Real> Kernel<T> for Rows<'_, T> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let (scale, rows) = self.0.check()?;
        let (columns, own) = (self.0.columns, self.0.own);
        check_own(rows, columns, own.offset)?;
        for (i, row) in (0..rows).zip(self.0.scores.rows_mut(columns)) {
            let of_own = i.saturating_add(own.offset);
            if !(own.has_row(i) && own.has_column(of_own, columns)) {
                row.fill(T::ZERO);
                continue;
            }
            ops::scale(isa, scale, row);
            own.fill_absent(row, -T::INFINITY);
            let lse = LogSum::of(isa, row);
            softmax::gradient(isa, &lse, T::constant(FLOOR), -T::ONE, row);
            own.fill_absent(row, T::ZERO);
            if let Some(own) = row.get_mut(of_own) {
                *own = T::ZERO;
            }
        }
        Ok(())
    }
}

struct Columns<'a, T> {
    weights: Weights<'a, T>,
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for Columns<'_, T> {
    type Output = Result<(), GramError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let (scale, rows) = self.weights.check()?;
        let (columns, own) = (self.weights.columns, self.weights.own);
        check_own(columns, rows, own.offset)?;
        let (need, have) = (column_workspace_len(columns), self.workspace.len());
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        let (max, workspace) = take(self.workspace, columns);
        let (sum, _) = take(workspace, columns);
        max.fill(-T::MAX);
        sum.fill(T::ZERO);
        let scores = self.weights.scores;
        for (i, row) in (0..rows).zip(scores.rows_mut(columns)) {
            if !own.has_row(i) {
                row.fill(-T::INFINITY);
                continue;
            }
            ops::scale(isa, scale, row);
            for (l, max) in isa.pieces(row).zip(isa.pieces_mut(max)) {
                isa.store(isa.load(max).max(isa.load(l)), max);
            }
        }
        for row in scores.rows(columns) {
            let stats = isa.pieces(max).zip(isa.pieces_mut(sum));
            for (l, (max, sum)) in isa.pieces(row).zip(stats) {
                let p = (isa.load(l) - isa.load(max)).exp();
                isa.store(isa.load(sum) + p, sum);
            }
        }
        for sum in sum.iter_mut() {
            *sum = sum.ln();
        }
        let floor = isa.splat(T::constant(FLOOR));
        for (i, row) in (0..rows).zip(scores.rows_mut(columns)) {
            if !own.has_row(i) {
                row.fill(T::ZERO);
                continue;
            }
            let stats = isa.pieces(max).zip(isa.pieces(sum));
            for (l, (max, ln_sum)) in isa.pieces_mut(row).zip(stats) {
                let p = (isa.load(l) - isa.load(max) - isa.load(ln_sum)).exp();
                isa.store(p + floor, l);
            }
        }
        let own_rows = scores.rows_mut(columns).skip(own.offset);
        for (j, row) in (0..columns).zip(own_rows) {
            if let Some(own) = row.get_mut(j) {
                *own = T::ZERO;
            }
        }
        for j in 0..columns {
            let counts = own.has_column(j, columns) && own.has_row(j.saturating_add(own.offset));
            if !counts {
                let column = scores.iter_mut().skip(j).step_by(columns.max(1));
                column.for_each(|weight| *weight = T::ZERO);
            }
        }
        Ok(())
    }
}

/// A candidate drawn with probability w/Σw; `None` where no weight is above 0.
///
/// `random` is 32 uniform bits, of which the upper 24 count: the draw is where u·Σw, u = ⌊random/2⁸⌋/2²⁴,
/// falls among the running sums, which keep their rounding error. So it is the same on every machine, and a
/// candidate of weight 0 (or NaN) is never drawn, whatever the bits. Cost: two passes over the weights.
///
/// ```
/// use rivergram_core::gram::negatives::draw;
///
/// let weights = [0.0_f32, 1.0, 0.0, 3.0, 0.0];
/// assert_eq!([0, 0x3fff_ffff, 0x4000_0000, u32::MAX].map(|u| draw(&weights, u)), [1, 1, 3, 3].map(Some));
/// assert_eq!(draw(&[0.0_f32], 7), None);
/// ```
pub fn draw<T: Real>(weights: &[T], random: u32) -> Option<usize> {
    draw_of(weights.iter().copied(), random)
}

#[inline(always)]
fn draw_of<T: Real>(weights: impl Iterator<Item = T> + Clone, random: u32) -> Option<usize> {
    let candidates = || {
        let all = (0..usize::MAX).zip(weights.clone());
        all.filter(|(_, weight)| *weight > T::ZERO)
    };
    let total: Sum<T> = candidates().map(|(_, weight)| weight).collect();
    let unit = T::from_u32(random >> 8) * T::constant(1.0 / 16_777_216.0);
    let aim = unit * total.high;
    let (mut running, mut last) = (Sum::default(), None);
    for (index, weight) in candidates() {
        running = running.plus(weight);
        last = Some(index);
        if aim < running.high {
            return last;
        }
    }
    // u·Σ was rounded up to Σ.
    last
}

/// One [`draw`] per row of weights \[rows, columns\] into `drawn` \[rows\], from one `random()` each, in order.
/// A row without a weight above 0 takes its random bits too, and draws nothing.
///
/// Errors: sizes. Cost: two passes over the weights.
///
/// ```
/// use rivergram_core::gram::negatives::draw_rows;
///
/// let mut random = [0, 7, u32::MAX].into_iter();
/// let mut drawn = [None; 3];
/// let weights = [0.0_f32, 0.5, 0.5, /**/ 0.0, 0.0, 0.0, /**/ 0.5, 0.5, 0.0];
/// draw_rows(&weights, 3, || random.next().unwrap_or(0), &mut drawn)?;
/// assert_eq!(drawn, [Some(1), None, Some(1)]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn draw_rows<T: Real>(
    weights: &[T],
    columns: usize,
    mut random: impl FnMut() -> u32,
    drawn: &mut [Option<usize>],
) -> Result<(), GramError> {
    check_draws(weights.len(), drawn.len(), columns)?;
    let rows = weights.rows(columns);
    for (drawn, weights) in drawn.iter_mut().zip(rows) {
        *drawn = draw(weights, random());
    }
    Ok(())
}

/// One [`draw`] per column of weights \[rows, columns\] into `drawn` \[columns\]: the indices of rows. Errors and
/// cost: those of [`draw_rows`].
///
/// ```
/// use rivergram_core::gram::negatives::draw_columns;
///
/// let mut drawn = [None; 2];
/// let weights = [0.0_f32, 0.5, /**/ 0.5, 0.0, /**/ 0.5, 0.5];
/// draw_columns(&weights, 2, || u32::MAX, &mut drawn)?;
/// assert_eq!(drawn, [Some(2), Some(2)]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn draw_columns<T: Real>(
    weights: &[T],
    columns: usize,
    mut random: impl FnMut() -> u32,
    drawn: &mut [Option<usize>],
) -> Result<(), GramError> {
    let rows = weights.len().checked_div(columns).unwrap_or_default();
    check_draws(weights.len(), rows, columns)?;
    let (need, have) = (columns, drawn.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    for (column, drawn) in (0..columns).zip(drawn) {
        let rows = weights.rows(columns);
        let column = rows.filter_map(|weights| weights.get(column).copied());
        *drawn = draw_of(column, random());
    }
    Ok(())
}

/// That `rows` rows make up the weights.
fn check_draws(have: usize, rows: usize, columns: usize) -> Result<(), GramError> {
    let need = rows.saturating_mul(columns);
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    Ok(())
}
