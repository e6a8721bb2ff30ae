//! The loss of a batch, row by row, and its gradient in place or in a buffer of its own.

use super::checked::{Checked, check_len};
use super::config::{Batch, Config, Shape};
use super::row::RowLoss;
use super::work::Work;
use crate::error::{EislBuffer, EislError};
use crate::lanes::{Isa, Kernel, One, Real};

/// The loss of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses<T> {
    /// `ngram_factor` · eisl + `ce_factor` · ce.
    pub total: T,
    /// Σ wₙ·Lₙ, where Lₙ is the mean over all rows.
    pub eisl: T,
    /// The mean over tokens; 0 where there is no token.
    pub ce: T,
}

/// Buffers for the parts of the n-gram loss, if they are wanted.
#[derive(Debug)]
pub struct Parts<'a, T> {
    /// Lₙ of each order.
    pub per_order: Option<&'a mut [T]>,
    /// \[B\]\[orders\]: the loss of each row and order.
    pub per_row: Option<&'a mut [T]>,
}

impl<T> Parts<'_, T> {
    /// No parts.
    pub fn none() -> Self {
        Parts {
            per_order: None,
            per_row: None,
        }
    }
}

/// The loss of a batch: `x` is \[B\]\[T\]\[V\], `workspace` has [`workspace_len`](super::workspace_len)
/// numbers.
///
/// Errors: see [`EislError`]. Cost: two reading passes over x and B·T·V exponentials; per order B·T·U
/// additions and exponentials.
#[inline(always)]
pub fn loss<I: Isa>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    x: &[I::Scalar],
    parts: Parts<'_, I::Scalar>,
    workspace: &mut [I::Scalar],
) -> Result<Losses<I::Scalar>, EislError> {
    let (checked, mut work, mut tally) = start(config, batch, x.len(), parts, workspace)?;
    let rows = x.chunks(checked.row_len().max(1));
    for (b, x) in (0..batch.shape.batch).zip(rows) {
        let row = checked.forward(isa, b, x, false, &mut work)?;
        tally.add(b, row, work.losses);
    }
    Ok(tally.finish(&checked))
}

/// The loss of a batch, and its gradient with respect to `x` in a buffer of the same length.
///
/// Errors: see [`EislError`]; after one the gradient is unspecified. Cost: that of [`loss`], and a
/// second pass over x with B·T·V exponentials.
#[inline(always)]
pub fn loss_and_gradient<I: Isa>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    x: &[I::Scalar],
    gradient: &mut [I::Scalar],
    parts: Parts<'_, I::Scalar>,
    workspace: &mut [I::Scalar],
) -> Result<Losses<I::Scalar>, EislError> {
    check_len(EislBuffer::Gradient, x.len(), gradient.len())?;
    let (checked, mut work, mut tally) = start(config, batch, x.len(), parts, workspace)?;
    let len = checked.row_len().max(1);
    let rows = x.chunks(len).zip(gradient.chunks_mut(len));
    for (b, (x, gradient)) in (0..batch.shape.batch).zip(rows) {
        let row = checked.forward(isa, b, x, true, &mut work)?;
        tally.add(b, row, work.losses);
        for (g, x) in gradient.iter_mut().zip(x) {
            *g = *x;
        }
        checked.gradient(isa, b, gradient, &mut work);
    }
    Ok(tally.finish(&checked))
}

/// The loss of a batch; `x` is replaced by the gradient with respect to it.
///
/// Errors: see [`EislError`]. Sizes, labels and numbers of the configuration are checked before x is
/// touched; an error in x itself is found row by row, and rows before it are already replaced. Cost: as
/// [`loss_and_gradient`], whose gradient this is bit for bit, without the second buffer.
#[inline(always)]
pub fn loss_and_gradient_in_place<I: Isa>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    x: &mut [I::Scalar],
    parts: Parts<'_, I::Scalar>,
    workspace: &mut [I::Scalar],
) -> Result<Losses<I::Scalar>, EislError> {
    isa.enter(InPlace {
        config,
        batch,
        x,
        parts,
        workspace,
    })
}

struct InPlace<'a, 'c, 'p, T> {
    config: &'a Config<'c, T>,
    batch: &'a Batch<'c, T>,
    x: &'a mut [T],
    parts: Parts<'p, T>,
    workspace: &'a mut [T],
}

impl<T: Real> Kernel<T> for InPlace<'_, '_, '_, T> {
    type Output = Result<Losses<T>, EislError>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        let InPlace {
            config,
            batch,
            x,
            parts,
            workspace,
        } = self;
        let (checked, mut work, mut tally) = start(config, batch, x.len(), parts, workspace)?;
        let rows = x.chunks_mut(checked.row_len().max(1));
        for (b, x) in (0..batch.shape.batch).zip(rows) {
            let row = checked.forward(isa, b, x, true, &mut work)?;
            tally.add(b, row, work.losses);
            checked.gradient(isa, b, x, &mut work);
        }
        Ok(tally.finish(&checked))
    }
}

/// One row of fixed size with its workspace (4·T·U + 2·T + U numbers) on the stack; `x` is replaced by
/// the gradient. `lens` are the output positions and the targets in use; without it all positions and
/// the labels up to the last that is no pad. The losses of the orders go to `per_order`.
///
/// Errors and cost: as [`loss_and_gradient_in_place`], whose result this is.
#[inline(always)]
pub fn loss_and_gradient_fixed<
    I: Isa,
    const T: usize,
    const U: usize,
    const V: usize,
    const N: usize,
>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    x: &mut [[I::Scalar; V]; T],
    targets: &[i32; U],
    lens: Option<(usize, usize)>,
    per_order: &mut [I::Scalar; N],
) -> Result<Losses<I::Scalar>, EislError> {
    fixed::<_, T, U, V, N>(isa, config, Row::Replaced(x), targets, lens, per_order)
}

/// [`loss_and_gradient_fixed`] in `f32`, one number at a time: what firmware calls, a function of its own.
#[inline(never)]
pub fn loss_and_gradient_f32<const T: usize, const U: usize, const V: usize, const N: usize>(
    config: &Config<'_, f32>,
    x: &mut [[f32; V]; T],
    targets: &[i32; U],
    lens: Option<(usize, usize)>,
    per_order: &mut [f32; N],
) -> Result<Losses<f32>, EislError> {
    loss_and_gradient_fixed(One::new(), config, x, targets, lens, per_order)
}

/// The loss of [`loss_and_gradient_fixed`] alone, of a row that is left as it is.
///
/// Errors and cost: as [`loss`], whose result this is.
#[inline(always)]
pub fn loss_fixed<I: Isa, const T: usize, const U: usize, const V: usize, const N: usize>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    x: &[[I::Scalar; V]; T],
    targets: &[i32; U],
    lens: Option<(usize, usize)>,
    per_order: &mut [I::Scalar; N],
) -> Result<Losses<I::Scalar>, EislError> {
    fixed::<_, T, U, V, N>(isa, config, Row::Kept(x), targets, lens, per_order)
}

/// A row of which the loss is wanted, or that becomes its gradient.
enum Row<'a, R> {
    Kept(&'a R),
    Replaced(&'a mut R),
}

#[inline(always)]
fn fixed<I: Isa, const T: usize, const U: usize, const V: usize, const N: usize>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    x: Row<'_, [[I::Scalar; V]; T]>,
    targets: &[i32; U],
    lens: Option<(usize, usize)>,
    per_order: &mut [I::Scalar; N],
) -> Result<Losses<I::Scalar>, EislError> {
    let zero = I::Scalar::ZERO;
    let shape = Shape {
        batch: 1,
        positions: T,
        targets: U,
        vocabulary: V,
    };
    let lens = lens.map(|(outputs, targets)| ([outputs], [targets]));
    let batch = Batch {
        output_lens: lens.as_ref().map(|(outputs, _)| outputs.as_slice()),
        target_lens: lens.as_ref().map(|(_, targets)| targets.as_slice()),
        ..Batch::new(shape, targets)
    };
    check_len(EislBuffer::PerOrder, config.orders.len(), N)?;
    let checked = Checked::new(config, &batch)?;
    let [scores, sums, weights, gradient] = &mut [[[zero; U]; T]; 4];
    let mut work = Work {
        scores: scores.as_flattened_mut(),
        sums: sums.as_flattened_mut(),
        weights: weights.as_flattened_mut(),
        gradient: gradient.as_flattened_mut(),
        max: &mut [zero; T],
        ln_sum: &mut [zero; T],
        values: &mut [zero; U],
        losses: per_order,
    };
    let row = match x {
        Row::Kept(x) => checked.forward(isa, 0, x.as_flattened(), false, &mut work)?,
        Row::Replaced(x) => {
            let x = x.as_flattened_mut();
            let row = checked.forward(isa, 0, x, true, &mut work)?;
            checked.gradient(isa, 0, x, &mut work);
            row
        }
    };
    Ok(losses(&checked, row))
}

/// The sums over rows, in the order of the rows.
struct Tally<'a, T> {
    sum: RowLoss<T>,
    parts: Parts<'a, T>,
}

type Started<'a, 'w, 'p, T> = (Checked<'a, T>, Work<'w, T>, Tally<'p, T>);

/// Checks all sizes.
#[inline(always)]
fn start<'a, 'w, 'p, T: Real>(
    config: &Config<'a, T>,
    batch: &Batch<'a, T>,
    input_len: usize,
    mut parts: Parts<'p, T>,
    workspace: &'w mut [T],
) -> Result<Started<'a, 'w, 'p, T>, EislError> {
    let Shape {
        batch: rows,
        positions,
        vocabulary,
        ..
    } = batch.shape;
    // First, so that a batch size that does not fit is not walked through.
    let row_len = positions.checked_mul(vocabulary).filter(|len| *len > 0);
    if let Some(expected) = row_len.and_then(|len| len.checked_mul(rows)) {
        check_len(EislBuffer::Input, expected, input_len)?;
    }
    let checked = Checked::new(config, batch)?;
    let orders = config.orders.len();
    let work = Work::split(workspace, batch.shape, orders)?;
    if let Some(buffer) = &mut parts.per_order {
        check_len(EislBuffer::PerOrder, orders, buffer.len())?;
        buffer.fill(T::ZERO);
    }
    if let Some(buffer) = &mut parts.per_row {
        let expected = rows.saturating_mul(orders);
        check_len(EislBuffer::PerRow, expected, buffer.len())?;
        buffer.fill(T::ZERO);
    }
    let sum = RowLoss {
        eisl: T::ZERO,
        ce: T::ZERO,
    };
    Ok((checked, work, Tally { sum, parts }))
}

impl<T: Real> Tally<'_, T> {
    #[inline(always)]
    fn add(&mut self, b: usize, row: RowLoss<T>, of_orders: &[T]) {
        self.sum.eisl += row.eisl;
        self.sum.ce += row.ce;
        if let Some(buffer) = &mut self.parts.per_order {
            for (sum, loss) in buffer.iter_mut().zip(of_orders) {
                *sum += *loss;
            }
        }
        if let Some(buffer) = &mut self.parts.per_row {
            let start = b.wrapping_mul(of_orders.len());
            for (slot, loss) in buffer.iter_mut().skip(start).zip(of_orders) {
                *slot = *loss;
            }
        }
    }

    #[inline(always)]
    fn finish(self, checked: &Checked<'_, T>) -> Losses<T> {
        if let Some(buffer) = self.parts.per_order {
            for sum in buffer {
                *sum = mean(*sum, checked.batch.shape.batch);
            }
        }
        losses(checked, self.sum)
    }
}

/// The loss of the batch from the sums over its rows.
#[inline(always)]
fn losses<T: Real>(checked: &Checked<'_, T>, sum: RowLoss<T>) -> Losses<T> {
    let eisl = mean(sum.eisl, checked.batch.shape.batch);
    let ce = mean(sum.ce, checked.tokens);
    let config = &checked.config;
    Losses {
        total: config.ngram_factor * eisl + config.ce_factor * ce,
        eisl,
        ce,
    }
}

/// Sum ÷ count; 0 of nothing.
#[inline(always)]
fn mean<T: Real>(sum: T, count: usize) -> T {
    if count == 0 {
        T::ZERO
    } else {
        sum / T::from_usize(count)
    }
}
