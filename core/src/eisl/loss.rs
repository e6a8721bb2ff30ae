//! The loss of a batch, row by row, and its gradient in place or in a buffer of its own (arXiv 2106.15078).

use super::checked::{Checked, check_len};
use super::config::{Batch, Config, Shape};
use super::row::RowLoss;
use super::work::Work;
use crate::error::{EislBuffer, EislError};
use crate::lanes::{Isa, Kernel, One, Real};
use crate::ops::Walk;

/// The loss of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Losses<T> {
    /// `ngram_factor` · eisl + `ce_factor` · ce.
    pub total: T,
    /// Σ wₙ·Lₙ, where Lₙ is the mean over all rows; or what [`Reduction`](super::Reduction) says.
    pub eisl: T,
    /// The mean over tokens; 0 where there is no token. With derivatives for cross-entropy Σ g\[b\]·c_b.
    pub ce: T,
}

/// Buffers for the parts of the loss, if they are wanted: its values under each reduction.
///
/// | reduction | value | gradient |
/// |---|---|---|
/// | mean | [`Losses::eisl`] | [`Reduction::Mean`](super::Reduction::Mean) |
/// | per order | `per_order` | [`Reduction::PerOrder`](super::Reduction::PerOrder) |
/// | per row | `rows` | [`Reduction::PerRow`](super::Reduction::PerRow) |
/// | none | `per_row` | [`Reduction::None`](super::Reduction::None) |
///
/// None of them depends on which reduction the gradient is of.
#[derive(Debug)]
pub struct Parts<'a, T> {
    /// \[orders\]: Lₙ of each order, the mean over rows.
    pub per_order: Option<&'a mut [T]>,
    /// \[B\]\[orders\]: the loss of each row and order, of its references together.
    pub per_row: Option<&'a mut [T]>,
    /// \[B\]: Σ wₙ·lossₙ of each row.
    pub rows: Option<&'a mut [T]>,
    /// \[B\]: the sum over each row's tokens of the cross-entropy.
    pub ce_per_row: Option<&'a mut [T]>,
    /// \[B\]: the reference that [`Combine::Best`](super::Combine::Best) took.
    pub chosen: Option<&'a mut [usize]>,
}

impl<T> Parts<'_, T> {
    /// No parts.
    ///
    /// ```
    /// use rivergram_core::eisl::Parts;
    ///
    /// let mut per_order = [0.0f32; 2];
    /// let parts = Parts { per_order: Some(&mut per_order), ..Parts::none() };
    /// assert!(parts.per_row.is_none());
    /// ```
    pub fn none() -> Self {
        Parts {
            per_order: None,
            per_row: None,
            rows: None,
            ce_per_row: None,
            chosen: None,
        }
    }
}

/// The loss of a batch: `x` is \[B\]\[T\]\[V\], `workspace` has [`workspace_len`](super::workspace_len)
/// numbers, with several references [`Batch::workspace_len`].
///
/// Errors: see [`EislError`]. Cost: two reading passes over x and B·T·V exponentials; per order and reference
/// B·T·U additions and exponentials. Source: arXiv 2106.15078, section 3; bags: arXiv 1911.09320.
///
/// ```
/// use rivergram_core::eisl::{self, Batch, Config, Parts, Shape};
/// use rivergram_core::lanes::One;
///
/// // Even odds of two tokens at each of two positions, whichever n-gram is asked for.
/// let shape = Shape { batch: 1, positions: 2, targets: 2, vocabulary: 2 };
/// let (orders, mut per_order) = ([(1, 0.5f32), (2, 0.5)], [0.0; 2]);
/// let parts = Parts { per_order: Some(&mut per_order), ..Parts::none() };
/// let (config, batch) = (Config::new(&orders), Batch::new(shape, &[0, 1]));
/// let losses = eisl::loss(One::<f32>::new(), &config, &batch, &[0.0; 4], parts, &mut [0.0; 64])?;
/// assert!((losses.total - 2.0f32.ln()).abs() < 1e-6);
/// assert!((per_order[1] - 2.0f32.ln()).abs() < 1e-6);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
    let rows = x.pieces(checked.row_len());
    for (b, x) in (0..batch.shape.batch).zip(rows) {
        let row = checked.forward(isa, b, x, false, &mut work)?;
        tally.add(&checked, b, row, work.losses, work.chosen);
    }
    Ok(tally.finish(&checked))
}

/// The loss of a batch, and its gradient with respect to `x` in a buffer of the same length.
///
/// Errors: see [`EislError`]; after one the gradient is unspecified. Cost: that of [`loss`], and a
/// second pass over x with B·T·V exponentials.
///
/// ```
/// use rivergram_core::eisl::{self, Batch, Config, Parts, Reduction, Shape};
/// use rivergram_core::lanes::One;
///
/// // A vector-Jacobian product: what a framework hands back for each row's loss goes in, dL/dx comes out.
/// let shape = Shape { batch: 2, positions: 1, targets: 1, vocabulary: 2 };
/// let batch = Batch { reduction: Reduction::PerRow(&[3.0f32, 0.0]), ..Batch::new(shape, &[0, 1]) };
/// let (mut gradient, mut rows) = ([0.0; 4], [0.0; 2]);
/// let parts = Parts { rows: Some(&mut rows), ..Parts::none() };
/// let (isa, config) = (One::<f32>::new(), Config::new(&[(1, 1.0f32)]));
/// eisl::loss_and_gradient(isa, &config, &batch, &[0.0; 4], &mut gradient, parts, &mut [0.0; 32])?;
/// assert!((rows[1] - 2.0f32.ln()).abs() < 1e-6);
/// assert!((gradient[0] + 1.5).abs() < 1e-6 && gradient[2] == 0.0);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
    let rows = x.pieces(len).zip(gradient.pieces_mut(len));
    for (b, (x, gradient)) in (0..batch.shape.batch).zip(rows) {
        let row = checked.forward(isa, b, x, true, &mut work)?;
        tally.add(&checked, b, row, work.losses, work.chosen);
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
///
/// ```
/// use rivergram_core::eisl::{self, Batch, Combine, Config, Parts, References, Shape};
/// use rivergram_core::lanes::One;
///
/// // The output says 2; of the two references, 0 and 2, the second is the nearer.
/// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 3 };
/// let several = References { places: 2, counts: None, combine: Combine::Best, cross_entropy: None };
/// let batch = Batch { references: Some(several), ..Batch::new(shape, &[0, 2]) };
/// let (mut x, mut chosen) = ([0.0f32, 0.0, 9.0], [0]);
/// let parts = Parts { chosen: Some(&mut chosen), ..Parts::none() };
/// let (isa, config) = (One::<f32>::new(), Config::new(&[(1, 1.0f32)]));
/// let losses = eisl::loss_and_gradient_in_place(isa, &config, &batch, &mut x, parts, &mut [0.0; 32])?;
/// assert!(losses.total < 0.01 && chosen == [1]);
/// assert!(x[2] < 0.0 && x[0] > 0.0);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
        let (checked, work, tally) = start(config, batch, x.len(), parts, workspace)?;
        in_place(isa, &checked, work, tally, x)
    }
}

#[inline(always)]
fn in_place<I: Isa, const KNOWN: bool>(
    isa: I,
    checked: &Checked<'_, I::Scalar, KNOWN>,
    mut work: Work<'_, I::Scalar>,
    mut tally: Tally<'_, I::Scalar>,
    x: &mut [I::Scalar],
) -> Result<Losses<I::Scalar>, EislError> {
    let rows = x.pieces_mut(checked.row_len());
    for (b, x) in (0..checked.batch.shape.batch).zip(rows) {
        let row = checked.forward(isa, b, x, true, &mut work)?;
        tally.add(checked, b, row, work.losses, work.chosen);
        checked.gradient(isa, b, x, &mut work);
    }
    Ok(tally.finish(checked))
}

/// [`loss_and_gradient_in_place`] without parts and without an entry of its own: what the compiler sees of the options
/// leaves out the code of all others.
#[inline(always)]
pub(crate) fn known_loss_in_place<I: Isa>(
    isa: I,
    config: &Config<'_, I::Scalar>,
    batch: &Batch<'_, I::Scalar>,
    x: &mut [I::Scalar],
    workspace: &mut [I::Scalar],
) -> Result<Losses<I::Scalar>, EislError> {
    let (checked, work, tally) = start(config, batch, x.len(), Parts::none(), workspace)?;
    let checked = checked.known(config, batch);
    in_place(isa, &checked, work, tally, x)
}

/// One row of fixed size with its workspace (4·T·U + 3·T + U numbers) on the stack; `x` is replaced by
/// the gradient. `lens` are the output positions and the targets in use; without it all positions and
/// the labels up to the last that is no pad. The losses of the orders go to `per_order`.
///
/// Errors and cost: as [`loss_and_gradient_in_place`], whose result this is.
///
/// ```
/// use rivergram_core::eisl::{Config, loss_and_gradient_fixed};
/// use rivergram_core::lanes::One;
///
/// let config = Config::new(&[(1, 1.0f32)]);
/// let (mut x, mut per_order) = ([[0.0; 2]; 3], [0.0]);
/// let isa = One::<f32>::new();
/// let losses = loss_and_gradient_fixed(isa, &config, &mut x, &[1, 0], None, &mut per_order)?;
/// assert_eq!([losses.eisl], per_order);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
/// Errors, cost and source: its.
///
/// ```
/// use rivergram_core::eisl::{Config, loss_and_gradient_f32};
///
/// let config = Config::new(&[(1, 1.0)]);
/// let mut x = [[0.0; 2]];
/// loss_and_gradient_f32(&config, &mut x, &[0], None, &mut [0.0])?;
/// assert!((x[0][0] + 0.5).abs() < 1e-6);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
///
/// ```
/// use rivergram_core::eisl::{Config, loss_fixed};
/// use rivergram_core::lanes::One;
///
/// let (config, x) = (Config::new(&[(1, 1.0f32)]), [[0.0; 2]]);
/// let losses = loss_fixed(One::<f32>::new(), &config, &x, &[0], None, &mut [0.0])?;
/// assert!((losses.total - 2.0f32.ln()).abs() < 1e-6);
/// # Ok::<(), rivergram_core::error::EislError>(())
/// ```
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
    check_len(EislBuffer::PerOrder, config.order_count(), N)?;
    let checked = Checked::in_place(config, &batch)?;
    let [scores, sums, weights, gradient] = &mut [[[zero; U]; T]; 4];
    let (by_position, by_target) = (&mut [zero; T], &mut [zero; U]);
    let mut work = Work {
        scores: scores.as_flattened_mut(),
        sums: sums.as_flattened_mut(),
        weights: weights.as_flattened_mut(),
        gradient: gradient.as_flattened_mut(),
        max: &mut [zero; T],
        ln_sum: &mut [zero; T],
        values: if T > U { by_position } else { by_target },
        losses: per_order,
        chosen: 0,
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
    Ok(checked.losses(row))
}

/// The sums over rows, in the order of the rows.
pub(super) struct Tally<'a, T> {
    sum: RowLoss<T>,
    pub(super) parts: Parts<'a, T>,
}

pub(super) type Started<'a, 'w, 'p, T> = (Checked<'a, T>, Work<'w, T>, Tally<'p, T>);

/// Checks all sizes.
#[inline(always)]
pub(super) fn start<'a, 'w, 'p, T: Real>(
    config: &Config<'a, T>,
    batch: &Batch<'a, T>,
    input_len: usize,
    parts: Parts<'p, T>,
    workspace: &'w mut [T],
) -> Result<Started<'a, 'w, 'p, T>, EislError> {
    let checked = check(config, batch, input_len)?;
    let work = Work::split_for(workspace, config, batch)?;
    let tally = Tally::new(&checked, parts)?;
    Ok((checked, work, tally))
}

/// Checks everything but the workspace and the parts.
#[inline(always)]
pub(super) fn check<'a, T: Real>(
    config: &Config<'a, T>,
    batch: &Batch<'a, T>,
    input_len: usize,
) -> Result<Checked<'a, T>, EislError> {
    let Shape {
        batch: rows,
        positions,
        vocabulary,
        ..
    } = batch.shape;
    // First, so that a batch size that does not fit is not walked through. Without a vocabulary no length is right.
    let row_len = positions.checked_mul(vocabulary).filter(|_| vocabulary > 0);
    if let Some(expected) = row_len.and_then(|len| len.checked_mul(rows)) {
        check_len(EislBuffer::Input, expected, input_len)?;
    }
    Checked::new(config, batch)
}

impl<'p, T: Real> Tally<'p, T> {
    /// Sums of nothing, if the parts have their lengths.
    #[inline(always)]
    pub(super) fn new(
        checked: &Checked<'_, T>,
        mut parts: Parts<'p, T>,
    ) -> Result<Self, EislError> {
        let rows = checked.batch.shape.batch;
        let orders = checked.config.order_count();
        let lens = [
            (EislBuffer::PerOrder, orders, &mut parts.per_order),
            (
                EislBuffer::PerRow,
                rows.saturating_mul(orders),
                &mut parts.per_row,
            ),
            (EislBuffer::Rows, rows, &mut parts.rows),
            (EislBuffer::CePerRow, rows, &mut parts.ce_per_row),
        ];
        for (name, expected, buffer) in lens {
            if let Some(buffer) = buffer {
                check_len(name, expected, buffer.len())?;
                buffer.fill(T::ZERO);
            }
        }
        if let Some(buffer) = &mut parts.chosen {
            check_len(EislBuffer::Chosen, rows, buffer.len())?;
            buffer.fill(0);
        }
        let sum = RowLoss {
            eisl: T::ZERO,
            ce: T::ZERO,
        };
        Ok(Tally { sum, parts })
    }

    /// The losses of row `b`, those of its orders, and the reference that it chose.
    #[inline(always)]
    pub(super) fn add<const KNOWN: bool>(
        &mut self,
        checked: &Checked<'_, T, KNOWN>,
        b: usize,
        row: RowLoss<T>,
        of_orders: &[T],
        chosen: usize,
    ) {
        self.sum.eisl += row.eisl;
        self.sum.ce += checked.weighed_ce(b, row.ce);
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
        if let Some(slot) = slot(&mut self.parts.rows, b) {
            *slot = checked.weighted(checked.row(b).positions, of_orders);
        }
        if let Some(slot) = slot(&mut self.parts.ce_per_row, b) {
            *slot = row.ce;
        }
        if let Some(slot) = slot(&mut self.parts.chosen, b) {
            *slot = chosen;
        }
    }

    #[inline(always)]
    pub(super) fn finish<const KNOWN: bool>(self, checked: &Checked<'_, T, KNOWN>) -> Losses<T> {
        if let Some(buffer) = self.parts.per_order {
            for sum in buffer {
                *sum = mean(*sum, checked.batch.shape.batch);
            }
        }
        checked.losses(self.sum)
    }
}

#[inline(always)]
fn slot<'a, N>(buffer: &'a mut Option<&mut [N]>, index: usize) -> Option<&'a mut N> {
    buffer.as_mut().and_then(|buffer| buffer.get_mut(index))
}

impl<T: Real, const KNOWN: bool> Checked<'_, T, KNOWN> {
    /// The loss of the batch from the sums over its rows of what [`Checked::forward`] returns: divides by B and
    /// by the tokens, unless a reduction or derivatives for cross-entropy say otherwise. (With derivatives for
    /// cross-entropy the caller sums g\[b\]·ce.) Cost: O(1): two divisions.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, RowLoss, Shape};
    ///
    /// let shape = Shape { batch: 2, positions: 1, targets: 1, vocabulary: 2 };
    /// let config = Config { ce_factor: 0.5, ..Config::new(&[(1, 1.0f32)]) };
    /// let checked = Checked::new(&config, &Batch::new(shape, &[0, 1]))?;
    /// let losses = checked.losses(RowLoss { eisl: 3.0, ce: 5.0 });
    /// assert_eq!((losses.eisl, losses.ce, losses.total), (1.5, 2.5, 1.5 + 0.5 * 2.5));
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    #[inline(always)]
    pub fn losses(&self, sum: RowLoss<T>) -> Losses<T> {
        let eisl = mean(sum.eisl, self.divisor());
        let ce = match self.batch.ce_upstream {
            None => mean(sum.ce, self.tokens),
            Some(_) => sum.ce,
        };
        let config = &self.config;
        Losses {
            total: config.ngram_factor * eisl + config.ce_factor * ce,
            eisl,
            ce,
        }
    }

    /// What a row adds to the sum of cross-entropies.
    #[inline(always)]
    fn weighed_ce(&self, row: usize, ce: T) -> T {
        match self.batch.ce_upstream.and_then(|g| g.get(row)) {
            None => ce,
            Some(g) => *g * ce,
        }
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
