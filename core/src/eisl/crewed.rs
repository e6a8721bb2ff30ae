//! The loss of a batch in shares of its rows, by whoever does them (arXiv 2106.15078).
//!
//! A row is independent of all others ([`Checked::forward`], [`Checked::gradient`]). What rows add to the loss is
//! written down row by row and added up in their order at the end. So a result has the same bits whatever the number of
//! hands, and they are those of [`loss_and_gradient_in_place`](super::loss_and_gradient_in_place).

use super::checked::Checked;
use super::config::{Batch, Config};
use super::loss::{Losses, Parts, Tally, check};
use super::row::RowLoss;
use super::work::Work;
use crate::crew::{self, Crew};
use crate::error::{EislBuffer, EislError};
use crate::lanes::{Isa, Real};
use crate::ops::{Walk, take};

/// The most shares of a batch.
const SHARES: usize = 64;

/// What is written down of a row besides the losses of its orders.
const OF_ROW: usize = 2;

impl<T: Real> Batch<'_, T> {
    /// The numbers of workspace of [`loss_and_gradient_in_place_by`] with so many hands
    /// ([`Crew::hands`](crate::crew::Crew::hands)): [`Batch::workspace_len`] for each of up to 64, and for each row 2 and
    /// those of its orders. Cost: O(1).
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Config, Shape};
    ///
    /// let shape = Shape { batch: 8, positions: 4, targets: 3, vocabulary: 9 };
    /// let (config, batch) = (Config::new(&[(1, 1.0f32)]), Batch::new(shape, &[1; 24]));
    /// let row = batch.workspace_len(&config);
    /// assert_eq!(batch.crew_workspace_len(&config, 2), 2 * row + 8 * (2 + 1));
    /// ```
    pub const fn crew_workspace_len(&self, config: &Config<'_, T>, hands: usize) -> usize {
        let sums = OF_ROW.saturating_add(config.order_count());
        self.workspace_len(config)
            .saturating_mul(shares(hands, self.shape.batch))
            .saturating_add(sums.saturating_mul(self.shape.batch))
    }
}

/// How many shares there are: as many as hands, but no more than rows.
const fn shares(hands: usize, rows: usize) -> usize {
    let most = if rows < SHARES { rows } else { SHARES };
    match hands {
        0 => 1,
        hands if hands < most => hands,
        _ if most == 0 => 1,
        _ => most,
    }
}

/// [`loss_and_gradient_in_place`](super::loss_and_gradient_in_place), whose result this is bit for bit, with the rows
/// shared out among a crew. The workspace has [`Batch::crew_workspace_len`] numbers.
///
/// Errors: see [`EislError`]; of several bad rows the first is named, and others may be replaced already. Cost: that
/// of it.
///
/// ```
/// use rivergram_core::crew::Alone;
/// use rivergram_core::eisl::{Batch, Config, Parts, Shape, loss_and_gradient_in_place_by};
/// use rivergram_core::lanes::One;
///
/// let shape = Shape { batch: 2, positions: 1, targets: 1, vocabulary: 2 };
/// let (config, batch) = (Config::new(&[(1, 1.0f32)]), Batch::new(shape, &[0, 1]));
/// let (mut x, mut workspace) = ([0.0; 4], [0.0; 32]);
/// let crew = Alone(One::new());
/// let losses =
///     loss_and_gradient_in_place_by(&crew, &config, &batch, &mut x, Parts::none(), &mut workspace)?;
/// assert!((losses.total - 2.0f32.ln()).abs() < 1e-6);
/// assert!((x[0] + 0.25).abs() < 1e-6 && (x[3] + 0.25).abs() < 1e-6);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
pub fn loss_and_gradient_in_place_by<T: Real, C: Crew<T>>(
    crew: &C,
    config: &Config<'_, T>,
    batch: &Batch<'_, T>,
    x: &mut [T],
    parts: Parts<'_, T>,
    workspace: &mut [T],
) -> Result<Losses<T>, EislError> {
    let checked = check(config, batch, x.len())?;
    let (hands, got) = (crew.hands(), workspace.len());
    let expected = batch.crew_workspace_len(config, hands);
    if got < expected {
        let buffer = EislBuffer::Workspace;
        return Err(EislError::Length {
            buffer,
            expected,
            got,
        });
    }
    let mut tally = Tally::new(&checked, parts)?;
    let chosen = tally.parts.chosen.take().unwrap_or_default();

    let rows = batch.shape.batch;
    let shares = shares(hands, rows);
    let of_share = rows.div_ceil(shares.max(1)).max(1);
    let row_len = checked.row_len();
    let of_row = OF_ROW.saturating_add(config.order_count());
    let work_len = batch.workspace_len(config);
    let (works, rest) = take(workspace, work_len.saturating_mul(shares));
    let (sums, _) = take(rest, of_row.saturating_mul(rows));
    let mut errors = [None; SHARES];
    let mut chosen = chosen.pieces_mut(of_share);
    let pieces = (0..usize::MAX)
        .step_by(of_share)
        .zip(x.pieces_mut(row_len.saturating_mul(of_share)))
        .zip(works.rows_mut(work_len))
        .zip(sums.pieces_mut(of_row.saturating_mul(of_share)))
        .zip(&mut errors)
        .map(|((((first, x), work), sums), error)| Share {
            first,
            x,
            work,
            sums,
            chosen: chosen.next().unwrap_or_default(),
            error,
        });
    crew.each(pieces, &OfShare { checked, of_row });
    if let Some(error) = errors.into_iter().flatten().next() {
        return Err(error);
    }
    let of_rows = sums.rows(of_row).zip(x.pieces(row_len));
    for (b, (sums, _)) in (0..rows).zip(of_rows) {
        if let Some(([eisl, ce], of_orders)) = sums.split_first_chunk::<OF_ROW>() {
            let row = RowLoss {
                eisl: *eisl,
                ce: *ce,
            };
            tally.add(&checked, b, row, of_orders, 0);
        }
    }
    Ok(tally.finish(&checked))
}

/// Some rows, and where one hand leaves what it finds.
struct Share<'a, T> {
    first: usize,
    x: &'a mut [T],
    work: &'a mut [T],
    /// \[rows\]\[`of_row`\].
    sums: &'a mut [T],
    /// \[rows\], where it is asked for.
    chosen: &'a mut [usize],
    error: &'a mut Option<EislError>,
}

struct OfShare<'a, T> {
    checked: Checked<'a, T>,
    of_row: usize,
}

impl<T: Real> crew::Work<T, Share<'_, T>> for OfShare<'_, T> {
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(&self, isa: I, share: Share<'_, T>) {
        let OfShare { checked, of_row } = self;
        let work = Work::split_for(share.work, &checked.config, &checked.batch);
        let Ok(mut work) = work else { return };
        let mut chosen = share.chosen.iter_mut();
        let rows = share.x.pieces_mut(checked.row_len());
        let rows = rows.zip(share.sums.rows_mut(*of_row));
        for (b, (x, sums)) in (share.first..usize::MAX).zip(rows) {
            let row = match checked.forward(isa, b, x, true, &mut work) {
                Ok(row) => row,
                Err(error) => {
                    *share.error = Some(error);
                    return;
                }
            };
            checked.gradient(isa, b, x, &mut work);
            let found = [row.eisl, row.ce].into_iter();
            let found = found.chain(work.losses.iter().copied());
            for (slot, x) in sums.iter_mut().zip(found) {
                *slot = x;
            }
            if let Some(slot) = chosen.next() {
                *slot = work.chosen;
            }
        }
    }
}
