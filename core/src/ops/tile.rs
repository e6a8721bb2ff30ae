//! Products of large matrices in tiles of six rows by two vectors, one operand packed.
//!
//! The packed operand lies in panels: as many columns as two vectors have lanes, one depth after the other, so that
//! the inner loop reads it in one stream. A tile of C is twelve vectors, which with two of the panel and one number of
//! A fill sixteen registers; each step of the depth is twelve multiply-adds on two loads and six broadcasts. Sums run
//! over at most [`DEPTH`] products before they are added to C, which keeps a panel in the nearest cache and the
//! rounding of long sums small.
//!
//! Source: the order of loops of K. Goto, R. A. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM
//! Transactions on Mathematical Software 34, 2008; the tile, and operands that are read where they lie, as in
//! F. G. Van Zee, D. N. Parikh, R. A. van de Geijn, "Supporting mixed-domain mixed-precision matrix multiplication",
//! and other work on BLIS.

use super::walk::{Walk, split, take};
use crate::lanes::{Isa, Lanes, Real};

/// Rows of a tile.
const ROWS: usize = 6;

/// The longest sum.
pub(crate) const DEPTH: usize = 256;

/// What the widths of packed operands are rounded up to: a multiple of every tile's.
pub(crate) const COLUMNS: usize = 16;

/// What a product finds where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) enum To {
    /// A sum, to which it is added.
    Sum,
    /// Numbers that do not count.
    Anything,
}

/// `n` rounded up to a multiple of [`COLUMNS`].
pub(crate) const fn padded(n: usize) -> usize {
    n.div_ceil(COLUMNS).saturating_mul(COLUMNS)
}

/// Columns of a panel.
#[inline(always)]
const fn panel_width<I: Isa>() -> usize {
    I::WIDTH.saturating_mul(2)
}

/// Rows of `depth` numbers as columns of panels: P = Bᵀ, of as many columns as `panels` has room for. Those that no
/// row is for, or an empty one, are 0.
#[inline(always)]
pub(crate) fn pack_rows<'a, I: Isa>(
    _: I,
    depth: usize,
    mut rows: impl Iterator<Item = &'a [I::Scalar]>,
    panels: &mut [I::Scalar],
) {
    let width = panel_width::<I>();
    for panel in panels.rows_mut(depth.saturating_mul(width)) {
        // Some rows at a time, so that what is stored is contiguous.
        if I::WIDTH > 1 {
            for column in (0..width).step_by(4) {
                pack_some::<_, 4>(panel, width, column, &mut rows);
            }
        } else {
            pack_some::<_, 2>(panel, width, 0, &mut rows);
        }
    }
}

/// The next R rows as columns of a panel.
#[inline(always)]
fn pack_some<'a, T: Real, const R: usize>(
    panel: &mut [T],
    width: usize,
    column: usize,
    rows: &mut impl Iterator<Item = &'a [T]>,
) {
    let rows: [&[T]; R] = core::array::from_fn(|_| rows.next().unwrap_or(&[]));
    let length = rows
        .iter()
        .fold(usize::MAX, |least, row| least.min(row.len()));
    let steps = panel.rows_mut(width).map(|step| step.get_mut(column..));
    let steps = steps.filter_map(|step| step?.first_chunk_mut::<R>());
    if length > 0 {
        let rows = rows.map(|row| row.get(..length).unwrap_or(row));
        for (k, to) in (0..length).zip(steps) {
            *to = rows.map(|row| row.get(k).copied().unwrap_or_default());
        }
    } else {
        for (k, to) in (0..usize::MAX).zip(steps) {
            *to = rows.map(|row| row.get(k).copied().unwrap_or_default());
        }
    }
}

/// `depth` rows of B as panels, from their number `start` on: P = B, of as many columns as `panels` has room for. Beyond
/// the ends of the rows P is 0, and below their last.
#[inline(always)]
pub(crate) fn pack_columns<'a, I: Isa>(
    isa: I,
    depth: usize,
    start: usize,
    mut rows: impl Iterator<Item = &'a [I::Scalar]>,
    panels: &mut [I::Scalar],
) {
    let width = panel_width::<I>();
    for at in (0..depth).map(|k| k.saturating_mul(width)) {
        let row = rows.next().unwrap_or(&[]);
        let mut row = row.get(start..).unwrap_or(&[]);
        for panel in panels.rows_mut(depth.saturating_mul(width)) {
            let to = panel.get_mut(at..).unwrap_or_default();
            let (low, high) = take(to, I::WIDTH);
            let (first, rest) = row.split_at_checked(I::WIDTH).unwrap_or((row, &[]));
            isa.store(isa.load(first), low);
            let (second, rest) = rest.split_at_checked(I::WIDTH).unwrap_or((rest, &[]));
            isa.store(isa.load(second), high);
            row = rest;
        }
    }
}

/// C += A·P, or C = A·P, whatever was there. A \[n, depth\] and C \[n, width\], row-major; P \[depth, width\] in
/// panels.
#[inline(always)]
pub(crate) fn add_product<I: Isa>(
    isa: I,
    to: To,
    [depth, width]: [usize; 2],
    a: &[I::Scalar],
    panels: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    let panel_len = depth.saturating_mul(panel_width::<I>());
    for start in (0..depth).step_by(DEPTH) {
        let sixes = a.pieces(depth.saturating_mul(ROWS));
        for (a, c) in sixes.zip(c.pieces_mut(width.saturating_mul(ROWS))) {
            let rows = padded_rows(a, depth).map(|row| {
                let (_, row) = split(row, start);
                row.get(..DEPTH).unwrap_or(row)
            });
            let mut column = 0_usize;
            for panel in panels.rows(panel_len) {
                let panel = panel.get(start.saturating_mul(panel_width::<I>())..);
                let sums = of_rows(isa, rows, panel.unwrap_or(&[]));
                if start == 0 && to == To::Anything {
                    set_tile(isa, sums, c, width, column);
                } else {
                    add_tile(isa, sums, c, width, column);
                }
                column = column.saturating_add(panel_width::<I>());
            }
        }
    }
}

/// C += Aᵀ·P. A \[depth, stride\], of which the columns from `start` on count, as many as C has rows; C \[.., width\]; P
/// \[depth, width\] in panels, with a depth of at most [`DEPTH`].
#[inline(always)]
pub(crate) fn add_transposed<I: Isa>(
    isa: I,
    [depth, width]: [usize; 2],
    a: &[I::Scalar],
    [stride, start]: [usize; 2],
    panels: &[I::Scalar],
    c: &mut [I::Scalar],
) {
    let mut columns = [[I::Scalar::ZERO; ROWS]; DEPTH];
    let mut first = start;
    for c in c.pieces_mut(width.saturating_mul(ROWS)) {
        for (column, row) in columns.iter_mut().zip(a.rows(stride)) {
            let from = row.get(first..).unwrap_or(&[]);
            if let Some(six) = from.first_chunk::<ROWS>() {
                *column = *six;
            } else {
                for (to, x) in column.iter_mut().zip(from) {
                    *to = *x;
                }
            }
        }
        first = first.saturating_add(ROWS);
        let mut column = 0_usize;
        for panel in panels.rows(depth.saturating_mul(panel_width::<I>())) {
            let (panel, _) = isa.blocks(panel);
            let (panel, _) = panel.as_chunks::<2>();
            let mut sums = [[isa.splat(I::Scalar::ZERO); 2]; ROWS];
            for (a, b) in columns.iter().zip(panel) {
                add_step(isa, *a, b, &mut sums);
            }
            add_tile(isa, sums, c, width, column);
            column = column.saturating_add(panel_width::<I>());
        }
    }
}

/// Up to six rows, the first in place of those that are not there.
#[inline(always)]
fn padded_rows<T>(block: &[T], length: usize) -> [&[T]; ROWS] {
    let mut rows = block.rows(length);
    let first = rows.next().unwrap_or(&[]);
    let mut row = || rows.next().unwrap_or(first);
    [first, row(), row(), row(), row(), row()]
}

/// A tile of A·P from rows of A.
#[inline(always)]
fn of_rows<I: Isa>(isa: I, a: [&[I::Scalar]; ROWS], panel: &[I::Scalar]) -> [[I::Lanes; 2]; ROWS] {
    let (panel, _) = isa.blocks(panel);
    let (panel, _) = panel.as_chunks::<2>();
    let mut sums = [[isa.splat(I::Scalar::ZERO); 2]; ROWS];
    let [a0, a1, a2, a3, a4, a5] = a;
    let rows = a0.iter().zip(a1).zip(a2).zip(a3).zip(a4).zip(a5);
    for ((((((a0, a1), a2), a3), a4), a5), b) in rows.zip(panel) {
        add_step(isa, [*a0, *a1, *a2, *a3, *a4, *a5], b, &mut sums);
    }
    sums
}

/// One step of the depth.
#[inline(always)]
fn add_step<I: Isa>(
    isa: I,
    a: [I::Scalar; ROWS],
    [low, high]: &[I::Block; 2],
    sums: &mut [[I::Lanes; 2]; ROWS],
) {
    let (low, high) = (isa.load(low.as_ref()), isa.load(high.as_ref()));
    for (a, sums) in a.into_iter().zip(sums) {
        let a = isa.splat(a);
        sums[0] = a.mul_add(low, sums[0]);
        sums[1] = a.mul_add(high, sums[1]);
    }
}

/// Puts a tile into six rows of C, or into as many as there are.
#[inline(always)]
fn set_tile<I: Isa>(
    isa: I,
    sums: [[I::Lanes; 2]; ROWS],
    c: &mut [I::Scalar],
    width: usize,
    column: usize,
) {
    for (c, [low, high]) in c.rows_mut(width).zip(sums) {
        let c = c.get_mut(column..).unwrap_or_default();
        let (c0, c1) = take(c, I::WIDTH.min(c.len()));
        isa.store(low, c0);
        isa.store(high, c1);
    }
}

/// Adds a tile to six rows of C, or to as many as there are.
#[inline(always)]
fn add_tile<I: Isa>(
    isa: I,
    sums: [[I::Lanes; 2]; ROWS],
    c: &mut [I::Scalar],
    width: usize,
    column: usize,
) {
    for (c, [low, high]) in c.rows_mut(width).zip(sums) {
        let c = c.get_mut(column..).unwrap_or_default();
        let whole = I::WIDTH.min(c.len());
        let (c0, c1) = take(c, whole);
        isa.store(isa.load(c0) + low, c0);
        isa.store(isa.load(c1) + high, c1);
    }
}
