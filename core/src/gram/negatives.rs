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

use crate::error::GramError;
use crate::lanes::{Isa, Kernel, Lanes, Real};
use crate::lse::LogSum;
use crate::ops::{self, take};
use crate::softmax;

/// What is added to each probability: no candidate but the own is impossible.
pub const FLOOR: f64 = 1e-4;

/// Volumes \[rows, columns\], row-major, to weights in place: each row is a query.
///
/// Errors: the size; τ; an own candidate that is not there, with its query; a volume that is not finite or
/// leaves the range over τ. All are found before anything is written. Cost: two exponentials per volume.
///
/// ```
/// use rivergram_core::gram::negatives::row_weights;
/// use rivergram_core::lanes::One;
///
/// let mut weights = [0.0_f64, 0.5, 0.5, /**/ 0.5, 0.0, 0.5];
/// row_weights(One::new(), 0.5, 0, 3, &mut weights)?;
/// let p = 1.0 / (1.0_f64.exp() + 2.0);
/// assert_eq!([weights[0], weights[4]], [0.0, 0.0]);
/// assert!((weights[1] - (p + 1e-4)).abs() < 1e-15);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn row_weights<I: Isa>(
    isa: I,
    temperature: I::Scalar,
    offset: usize,
    columns: usize,
    scores: &mut [I::Scalar],
) -> Result<(), GramError> {
    isa.enter(Rows(Weights {
        temperature,
        offset,
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
/// candidate is row j + `offset`. Errors and cost: those of [`row_weights`], and the workspace.
///
/// ```
/// use rivergram_core::gram::negatives::{column_weights, column_workspace_len};
/// use rivergram_core::lanes::One;
///
/// let mut weights = [0.0_f64, 0.5, /**/ 0.5, 0.0, /**/ 0.5, 0.5];
/// let mut workspace = [0.0; column_workspace_len(2)];
/// column_weights(One::new(), 0.5, 1, 2, &mut weights, &mut workspace)?;
/// assert_eq!([weights[2], weights[5]], [0.0, 0.0]);
/// assert!(weights[0] > weights[4]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
#[inline(always)]
pub fn column_weights<I: Isa>(
    isa: I,
    temperature: I::Scalar,
    offset: usize,
    columns: usize,
    scores: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<(), GramError> {
    let weights = Weights {
        temperature,
        offset,
        columns,
        scores,
    };
    isa.enter(Columns { weights, workspace })
}

struct Weights<'a, T> {
    temperature: T,
    offset: usize,
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
        let scale = -(T::ONE / self.temperature);
        if !(scale < T::ZERO && scale.is_finite()) {
            return Err(GramError::Temperature);
        }
        for (row, scores) in (0..rows).zip(self.scores.chunks_exact(columns)) {
            for (column, score) in (0..columns).zip(scores) {
                if !(*score * scale).is_finite() {
                    return Err(GramError::Score { row, column });
                }
            }
        }
        Ok((scale, rows))
    }
}

/// That each of some queries has its own among the candidates.
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
        let (columns, offset) = (self.0.columns, self.0.offset);
        check_own(rows, columns, offset)?;
        for (i, row) in (0..rows).zip(self.0.scores.chunks_exact_mut(columns.max(1))) {
            ops::scale(isa, scale, row);
            let lse = LogSum::of(isa, row);
            softmax::gradient(isa, &lse, T::constant(FLOOR), -T::ONE, row);
            if let Some(own) = row.get_mut(i.saturating_add(offset)) {
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
        let (columns, offset) = (self.weights.columns, self.weights.offset);
        check_own(columns, rows, offset)?;
        let (need, have) = (column_workspace_len(columns), self.workspace.len());
        if have < need {
            return Err(GramError::Workspace { need, have });
        }
        let (max, workspace) = take(self.workspace, columns);
        let (sum, _) = take(workspace, columns);
        max.fill(-T::MAX);
        sum.fill(T::ZERO);
        let scores = self.weights.scores;
        for row in scores.chunks_exact_mut(columns.max(1)) {
            ops::scale(isa, scale, row);
            for (l, max) in row.chunks(I::WIDTH).zip(max.chunks_mut(I::WIDTH)) {
                isa.store(isa.load(max).max(isa.load(l)), max);
            }
        }
        for row in scores.chunks_exact(columns.max(1)) {
            let stats = max.chunks(I::WIDTH).zip(sum.chunks_mut(I::WIDTH));
            for (l, (max, sum)) in row.chunks(I::WIDTH).zip(stats) {
                let p = (isa.load(l) - isa.load(max)).exp();
                isa.store(isa.load(sum) + p, sum);
            }
        }
        for sum in sum.iter_mut() {
            *sum = sum.ln();
        }
        let floor = isa.splat(T::constant(FLOOR));
        for row in scores.chunks_exact_mut(columns.max(1)) {
            let stats = max.chunks(I::WIDTH).zip(sum.chunks(I::WIDTH));
            for (l, (max, ln_sum)) in row.chunks_mut(I::WIDTH).zip(stats) {
                let p = (isa.load(l) - isa.load(max) - isa.load(ln_sum)).exp();
                isa.store(p + floor, l);
            }
        }
        let own_rows = scores.chunks_exact_mut(columns.max(1)).skip(offset);
        for (j, row) in (0..columns).zip(own_rows) {
            if let Some(own) = row.get_mut(j) {
                *own = T::ZERO;
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
    let mut total = Running::default();
    for (_, weight) in candidates() {
        total.add(weight);
    }
    let unit = T::from_u32(random >> 8) * T::constant(1.0 / 16_777_216.0);
    let aim = unit * total.value();
    let (mut running, mut last) = (Running::default(), None);
    for (index, weight) in candidates() {
        running.add(weight);
        last = Some(index);
        if aim < running.value() {
            return last;
        }
    }
    // u·Σ was rounded up to Σ.
    last
}

/// A sum that keeps its rounding error.
#[derive(Clone, Copy, Default)]
struct Running<T> {
    sum: T,
    error: T,
}

impl<T: Real> Running<T> {
    #[inline(always)]
    fn add(&mut self, x: T) {
        let (sum, error) = self.sum.two_sum(x);
        self.sum = sum;
        self.error += error;
    }

    #[inline(always)]
    fn value(self) -> T {
        self.sum + self.error
    }
}

/// One [`draw`] per row of weights \[rows, columns\] into `drawn` \[rows\], from one `random()` each, in order.
///
/// Errors: sizes; a row without a weight above 0, with its index: what `drawn` holds then is unspecified.
/// Cost: two passes over the weights.
///
/// ```
/// use rivergram_core::gram::negatives::draw_rows;
///
/// let mut random = [0, u32::MAX].into_iter();
/// let mut drawn = [0; 2];
/// let weights = [0.0_f32, 0.5, 0.5, /**/ 0.5, 0.0, 0.5];
/// draw_rows(&weights, 3, || random.next().unwrap_or(0), &mut drawn)?;
/// assert_eq!(drawn, [1, 2]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn draw_rows<T: Real>(
    weights: &[T],
    columns: usize,
    mut random: impl FnMut() -> u32,
    drawn: &mut [usize],
) -> Result<(), GramError> {
    check_draws(weights.len(), drawn.len(), columns)?;
    let rows = weights.chunks_exact(columns.max(1));
    for ((row, drawn), weights) in (0..usize::MAX).zip(drawn).zip(rows) {
        *drawn = draw(weights, random()).ok_or(GramError::NoCandidate { row })?;
    }
    Ok(())
}

/// One [`draw`] per column of weights \[rows, columns\] into `drawn` \[columns\]: the indices of rows. Errors and
/// cost: those of [`draw_rows`].
///
/// ```
/// use rivergram_core::gram::negatives::draw_columns;
///
/// let mut drawn = [0; 2];
/// let weights = [0.0_f32, 0.5, /**/ 0.5, 0.0, /**/ 0.5, 0.5];
/// draw_columns(&weights, 2, || u32::MAX, &mut drawn)?;
/// assert_eq!(drawn, [2, 2]);
/// # Ok::<(), rivergram_core::error::GramError>(())
/// ```
pub fn draw_columns<T: Real>(
    weights: &[T],
    columns: usize,
    mut random: impl FnMut() -> u32,
    drawn: &mut [usize],
) -> Result<(), GramError> {
    let rows = weights.len().checked_div(columns).unwrap_or_default();
    check_draws(weights.len(), rows, columns)?;
    let (need, have) = (columns, drawn.len());
    if need != have {
        return Err(GramError::BufferSize { need, have });
    }
    for (row, drawn) in (0..columns).zip(drawn) {
        let rows = weights.chunks_exact(columns);
        let column = rows.filter_map(|weights| weights.get(row).copied());
        *drawn = draw_of(column, random()).ok_or(GramError::NoCandidate { row })?;
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
