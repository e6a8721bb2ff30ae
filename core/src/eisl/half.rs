//! The loss of logits that are stored in 16 bits: they are widened one position at a time, every sum is in `f32`, and the
//! gradient is rounded to nearest where it takes their place.
//!
//! So the loss is that of the widened logits, and the gradient that of them, rounded. In [`Half::F16`] a probability
//! below 3e-8 divided by the number of tokens is no more: scale the loss by its factors, as mixed precision does
//! (arXiv 1710.03740, section 3.2).

use super::checked::Checked;
use super::config::{Batch, Config, Shape};
use super::loss::{Losses, Parts, start};
use super::row::RowLoss;
use super::work::{Work, workspace_len};
use crate::error::{EislBuffer, EislError};
use crate::lanes::{Isa, Kernel};
use crate::ops::Walk;
use crate::optim::rounding::{Half, Widen};

/// The workspace of [`half_loss_and_gradient_in_place`] with one reference: [`workspace_len`] and V numbers. With
/// several it is [`Batch::workspace_len`] and V numbers. Cost: O(1).
///
/// ```
/// use rivergram_core::eisl::{Shape, half_workspace_len, workspace_len};
///
/// let shape = Shape { batch: 2, positions: 8, targets: 6, vocabulary: 1000 };
/// assert_eq!(half_workspace_len(shape, 2), workspace_len(shape, 2) + 1000);
/// ```
pub const fn half_workspace_len(shape: Shape, orders: usize) -> usize {
    workspace_len(shape, orders).saturating_add(shape.vocabulary)
}

/// [`loss_and_gradient_in_place`](super::loss_and_gradient_in_place) of \[B\]\[T\]\[V\] numbers in 16 bits, given as
/// their bits; the gradient takes their place, rounded to nearest.
///
/// Errors: see [`EislError`]. Cost: that of it, and two conversions of each number to `f32` and one back. Source: the
/// loss is that of arXiv 2106.15078.
///
/// ```
/// use rivergram_core::eisl::{Batch, Config, Parts, Shape, half_loss_and_gradient_in_place};
/// use rivergram_core::lanes::One;
/// use rivergram_core::optim::rounding::Half;
///
/// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 2 };
/// let (mut x, mut workspace) = ([0; 2], [0.0; 32]);
/// let (config, batch) = (Config::new(&[(1, 1.0)]), Batch::new(shape, &[0]));
/// let losses = half_loss_and_gradient_in_place(
///     One::<f32>::new(), &config, &batch, Half::Bf16, &mut x, Parts::none(), &mut workspace,
/// )?;
/// assert!((losses.total - 2.0f32.ln()).abs() < 1e-6);
/// assert_eq!(x.map(|x| Half::Bf16.widen(x)), [-0.5, 0.5]);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
#[inline(always)]
pub fn half_loss_and_gradient_in_place<I: Isa<Scalar = f32>>(
    isa: I,
    config: &Config<'_, f32>,
    batch: &Batch<'_, f32>,
    format: Half,
    x: &mut [u16],
    parts: Parts<'_, f32>,
    workspace: &mut [f32],
) -> Result<Losses<f32>, EislError> {
    isa.enter(HalfInPlace {
        config,
        batch,
        format,
        x,
        parts,
        workspace,
    })
}

struct HalfInPlace<'a, 'c, 'p> {
    config: &'a Config<'c, f32>,
    batch: &'a Batch<'c, f32>,
    format: Half,
    x: &'a mut [u16],
    parts: Parts<'p, f32>,
    workspace: &'a mut [f32],
}

impl Kernel<f32> for HalfInPlace<'_, '_, '_> {
    type Output = Result<Losses<f32>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, isa: I) -> Self::Output {
        let HalfInPlace {
            config,
            batch,
            format,
            x,
            parts,
            workspace,
        } = self;
        let vocabulary = batch.shape.vocabulary;
        let (expected, got) = (
            batch.workspace_len(config).saturating_add(vocabulary),
            workspace.len(),
        );
        let parts_of = workspace.split_at_mut_checked(vocabulary);
        let Some((wide, workspace)) = parts_of.filter(|_| got >= expected) else {
            return Err(EislError::Length {
                buffer: EislBuffer::Workspace,
                expected,
                got,
            });
        };
        let (checked, mut work, mut tally) = start(config, batch, x.len(), parts, workspace)?;
        let rows = x.pieces_mut(checked.row_len());
        for (b, x) in (0..batch.shape.batch).zip(rows) {
            let row = checked.forward_half(isa, b, format, x, wide, &mut work)?;
            tally.add(&checked, b, row, work.losses, work.chosen);
            checked.gradient_half(isa, b, format, x, wide, &mut work);
        }
        Ok(tally.finish(&checked))
    }
}

impl Checked<'_, f32> {
    /// [`Checked::forward`], with `wide` for one position.
    #[inline(always)]
    fn forward_half<I: Isa<Scalar = f32>>(
        &self,
        isa: I,
        index: usize,
        format: Half,
        x: &[u16],
        wide: &mut [f32],
        work: &mut Work<'_, f32>,
    ) -> Result<RowLoss<f32>, EislError> {
        let row = self.row(index);
        let mut ce = 0.0;
        let positions = x.pieces(wide.len());
        for (j, x) in (0..self.batch.shape.positions).zip(positions) {
            if row.uses(j) {
                isa.enter(Widen { format, x, wide });
                ce += self.read_position(isa, &row, j, wide, work)?;
            }
        }
        let eisl = self.ngrams(isa, &row, true, work);
        Ok(RowLoss { eisl, ce })
    }

    /// [`Checked::gradient`], with `wide` for one position.
    #[inline(always)]
    fn gradient_half<I: Isa<Scalar = f32>>(
        &self,
        isa: I,
        index: usize,
        format: Half,
        x: &mut [u16],
        wide: &mut [f32],
        work: &mut Work<'_, f32>,
    ) {
        let row = self.row(index);
        let positions = x.pieces_mut(wide.len());
        for (j, x) in (0..self.batch.shape.positions).zip(positions) {
            if row.uses(j) {
                isa.enter(Widen { format, x, wide });
                self.differentiate_position(isa, &row, j, wide, work);
                isa.enter(Narrow { format, wide, x });
            } else {
                x.fill(0);
            }
        }
    }
}

/// [`Half::nearest`] of each number, as [`Widen`].
struct Narrow<'a> {
    format: Half,
    wide: &'a [f32],
    x: &'a mut [u16],
}

impl Kernel<f32> for Narrow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = f32>>(self, _: I) {
        let numbers = self.x.iter_mut().zip(self.wide);
        match self.format {
            Half::F16 => numbers.for_each(|(x, wide)| *x = Half::F16.nearest(*wide)),
            Half::Bf16 => numbers.for_each(|(x, wide)| *x = Half::Bf16.nearest(*wide)),
        }
    }
}
