//! One row of the batch: its loss, then its gradient over its input.
//!
//! Forward: lse of each position, gathered scores of each reference, then for each reference and order diagonal
//! sums → selection or bags → loss, and the derivative back along the diagonals into G = ∂loss/∂s. Backward,
//! for each position j with R\[j\] = Σ_i G\[j, i\] over what the clamp left alone, i over the targets of all
//! references:
//!
//! dx\[j, v\] = Σ_{i: y_i = v} G\[j, i\] − p\[j, v\]·R\[j\]
//!
//! and cross-entropy adds its own token to G and its share to R. So the passes over the vocabulary do not grow
//! with the number of references.
//!
//! The sums along diagonals do not tell outputs from targets. So the selection over targets is that over
//! positions of the transposed scores.

use core::ops::Range;

use super::bag;
use super::checked::{Checked, Row, Target, target_grams};
use super::config::{Axis, Combine, Input, Objective, Select};
use super::diagonal::{extend, spread};
use super::gather::{clip, gather, scatter, token};
use super::select::{Matrix, MatrixMut, Selection, select};
use super::work::{Block, Work, part_mut};
use crate::error::EislError;
use crate::lanes::{Isa, Kernel, Real};
use crate::lse::LogSum;
use crate::ops::Walk;
use crate::softmax::{self, Invalid};

/// What one row adds to the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RowLoss<T> {
    /// Σ_n c·loss\[b, n\], where c is wₙ or what [`Reduction`](super::Reduction) makes of it.
    pub eisl: T,
    /// Σ over the row's tokens of the smoothed −ln p.
    pub ce: T,
}

/// One order of one reference.
#[derive(Clone, Copy)]
struct Order<'a, T> {
    n: usize,
    /// K and M.
    grams: (usize, usize),
    /// The n-grams that take part.
    counted: usize,
    /// The derivative of the total loss by this order's loss, times `divisor`.
    upstream: T,
    /// What sums over rows and references are divided by.
    divisor: T,
    noise: Option<(&'a [T], (usize, usize))>,
}

impl<T: Real, const KNOWN: bool> Checked<'_, T, KNOWN> {
    /// The loss of row `index`, whose input is `x` (T·V numbers). The losses of the orders are left in
    /// `work.losses`, the reference that [`Combine::Best`] took in `work.chosen`, and with `differentiate`
    /// what [`Checked::gradient`] needs in the other parts.
    ///
    /// Errors: NaN, +∞ or a position of only −∞ in what the row uses. Lengths are not checked again:
    /// with others than those of the batch the result is unspecified. Cost: two reading passes over x with T·V
    /// exponentials, and T·U additions and exponentials for each order and reference.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, Shape, Work};
    /// use rivergram_core::lanes::One;
    ///
    /// let shape = Shape { batch: 1, positions: 2, targets: 1, vocabulary: 2 };
    /// let checked = Checked::new(&Config::new(&[(1, 1.0f32)]), &Batch::new(shape, &[0]))?;
    /// let mut buffer = [0.0; 32];
    /// let mut work = Work::split(&mut buffer, shape, 1)?;
    /// let row = checked.forward(One::<f32>::new(), 0, &[0.0; 4], false, &mut work)?;
    /// assert!((row.eisl - 2.0f32.ln()).abs() < 1e-6);
    /// assert_eq!(work.losses[0], row.eisl);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    #[inline(always)]
    pub fn forward<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        index: usize,
        x: &[T],
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> Result<RowLoss<T>, EislError> {
        let row = self.row(index);
        let ce = self.read(isa, &row, x, work)?;
        let eisl = self.ngrams(isa, &row, differentiate, work);
        Ok(RowLoss { eisl, ce })
    }

    /// Replaces the row's input by the gradient of the total loss with respect to it, after
    /// [`Checked::forward`] of the same row with the same `work`, which is used up.
    ///
    /// Cost: one pass over x with T·V exponentials, and T·U additions for each reference.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, Shape, Work};
    /// use rivergram_core::lanes::One;
    ///
    /// let shape = Shape { batch: 1, positions: 1, targets: 1, vocabulary: 2 };
    /// let checked = Checked::new(&Config::new(&[(1, 1.0f32)]), &Batch::new(shape, &[0]))?;
    /// let (mut x, mut buffer) = ([0.0; 2], [0.0; 32]);
    /// let mut work = Work::split(&mut buffer, shape, 1)?;
    /// checked.forward(One::<f32>::new(), 0, &x, true, &mut work)?;
    /// checked.gradient(One::<f32>::new(), 0, &mut x, &mut work);
    /// assert!((x[0] + 0.5).abs() < 1e-6 && (x[1] - 0.5).abs() < 1e-6);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    #[inline(always)]
    pub fn gradient<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        index: usize,
        x: &mut [T],
        work: &mut Work<'_, T>,
    ) {
        let row = self.row(index);
        let positions = x.pieces_mut(self.batch.shape.vocabulary);
        for (j, x) in (0..self.batch.shape.positions).zip(positions) {
            if row.uses(j) {
                self.differentiate_position(isa, &row, j, x, work);
            } else {
                x.fill(T::ZERO);
            }
        }
    }

    /// The one pass over the vocabulary: lse and scores of each position. Returns the sum of the
    /// cross-entropies.
    #[inline(always)]
    fn read<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        x: &[T],
        work: &mut Work<'_, T>,
    ) -> Result<T, EislError> {
        let mut ce = T::ZERO;
        let positions = x.pieces(self.batch.shape.vocabulary);
        for (j, x) in (0..self.batch.shape.positions).zip(positions) {
            if row.uses(j) {
                ce += self.read_position(isa, row, j, x, work)?;
            }
        }
        Ok(ce)
    }

    /// One position of [`Checked::read`], which the row uses.
    #[inline(always)]
    pub(super) fn read_position<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        j: usize,
        x: &[T],
        work: &mut Work<'_, T>,
    ) -> Result<T, EislError> {
        let config = &self.config;
        let lse = match self.log_sum(isa, x) {
            Ok(lse) => lse,
            Err(invalid) => return Err(located(invalid, row.index, j)),
        };
        if let (Some(max), Some(ln_sum)) = (work.max.get_mut(j), work.ln_sum.get_mut(j)) {
            *max = lse.max;
            *ln_sum = lse.ln_sum;
        }
        for r in 0..if j < row.positions { row.references } else { 0 } {
            let labels = self.target_labels(row, r);
            let scores = part_mut(work.block(r).0.scores, labels.len(), j);
            gather(x, &lse, labels, config.zeroed(), config.clamp, scores);
        }
        Ok(match row.ce_label(j) {
            Some(label) => self.token_loss(isa, x, &lse, label),
            None => T::ZERO,
        })
    }

    #[inline(always)]
    fn log_sum<I: Isa<Scalar = T>>(&self, isa: I, x: &[T]) -> Result<LogSum<T>, Invalid> {
        match self.config.input {
            Input::Logits => isa.enter(ReadLogits { x }),
            Input::LogProbs => softmax::check(isa, x).map(|()| LogSum {
                max: T::ZERO,
                ln_sum: T::ZERO,
            }),
        }
    }

    /// −(1−ε)·ln p_y − (ε/V)·Σ_v ln p_v.
    #[inline(always)]
    fn token_loss<I: Isa<Scalar = T>>(&self, isa: I, x: &[T], lse: &LogSum<T>, label: i32) -> T {
        let epsilon = self.config.label_smoothing;
        let target = token(label, None).and_then(|v| x.get(v));
        let nll = target.map_or(T::ZERO, |&x| -lse.ln_p(x));
        if epsilon == T::ZERO {
            return nll;
        }
        let mean = softmax::sum_ln_p(isa, lse, x) / T::from_usize(x.len());
        softmax::smoothed(epsilon, T::ZERO, -nll, mean)
    }

    /// All references over their gathered scores: the row's losses and, if wanted, G. Returns Σ c·lossₙ.
    #[inline(always)]
    pub(super) fn ngrams<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> T {
        let several = row.references > 1 && self.combine() == Combine::Best;
        let trials = if several { row.references } else { 0 };
        let shares = if several { 1 } else { row.references };
        let runs = if several {
            trials.saturating_add(1)
        } else {
            row.references
        };
        work.chosen = 0;
        work.losses.fill(T::ZERO);
        let mut least: Option<(usize, T)> = None;
        for run in 0..runs {
            // First all without their gradients, then the best of them once more. One call: it is long.
            let trial = run < trials;
            let r = if several && !trial { work.chosen } else { run };
            if several {
                work.losses.fill(T::ZERO);
            }
            let missing = self.reference(isa, row, (r, shares), differentiate && !trial, work);
            if trial {
                let loss = self.weighted(row.positions, work.losses);
                if least.is_none_or(|least| is_better((missing, loss), least)) {
                    least = Some((missing, loss));
                    work.chosen = r;
                }
            }
        }
        let mut eisl = T::ZERO;
        for (o, &loss) in (0..work.losses.len()).zip(work.losses.iter()) {
            if let Some((_, weight)) = self.config.order(o, row.positions) {
                eisl += self.coefficient(row.index, o, weight) * loss;
            }
        }
        eisl
    }

    /// Σ wₙ·lossₙ.
    #[inline(always)]
    pub(super) fn weighted(&self, outputs: usize, losses: &[T]) -> T {
        let mut sum = T::ZERO;
        for (o, &loss) in (0..losses.len()).zip(losses) {
            if let Some((_, weight)) = self.config.order(o, outputs) {
                sum += weight * loss;
            }
        }
        sum
    }

    /// Adds 1/`shares` of the losses of one reference to `work.losses`; if wanted, makes its G. Returns how
    /// many orders have no n-gram in it.
    #[inline(always)]
    fn reference<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        (reference, shares): (usize, usize),
        differentiate: bool,
        work: &mut Work<'_, T>,
    ) -> usize {
        let target = self.target(row, reference);
        let mirrored = self.is_mirrored();
        let (mut block, losses) = work.block(reference);
        let (outputs, labels) = (row.positions, target.labels.len());
        if differentiate {
            block.gradient.fill(T::ZERO);
        }
        if mirrored {
            transpose(block.scores, (outputs, labels), block.weights);
        }
        let shares = T::from_usize(shares);
        let mut missing = 0usize;
        let mut summed = 0;
        let mut noise_offset = 0;
        for (o, slot) in (0..self.config.order_count()).zip(losses) {
            let noise = self.noise(row.index, reference, o, &mut noise_offset);
            let Some((n, weight)) = self.config.order(o, row.positions) else {
                continue;
            };
            let grams = target_grams(row, &target, n);
            let order = Order {
                n,
                grams,
                counted: target.count_grams(grams.1, n),
                upstream: self.coefficient(row.index, o, weight) * self.config.ngram_factor,
                divisor: T::from_usize(self.divisor()) * shares,
                noise,
            };
            if grams.0 == 0 || order.counted == 0 {
                missing = missing.wrapping_add(1);
                continue;
            }
            let stride = if mirrored { outputs } else { labels };
            sum_up_to(isa, n, stride, &mut summed, &mut block);
            let loss = match self.config.objective {
                Objective::BagOfNgrams => {
                    bag_order(isa, &target, order, stride, differentiate, &mut block)
                }
                Objective::EditInvariant => {
                    self.selected(isa, &target, order, stride, differentiate, &mut block)
                }
            };
            if mirrored && target.has_gaps {
                // The sums were written to.
                summed = 0;
            }
            if shares == T::ONE {
                *slot = loss;
            } else {
                *slot += loss / shares;
            }
        }
        if mirrored {
            transpose(block.scores, (labels, outputs), block.weights);
            if differentiate {
                transpose(block.gradient, (labels, outputs), block.weights);
            }
        }
        missing
    }

    /// Whether the scores are transposed for the selection.
    #[inline(always)]
    fn is_mirrored(&self) -> bool {
        self.config.objective == Objective::EditInvariant && self.config.axis == Axis::Targets
    }

    /// The edit-invariant loss of one order: −(1/M) Σ_i E\[i\], or −(1/K) Σ_j E\[j\] over targets.
    #[inline(always)]
    fn selected<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        target: &Target<'_>,
        order: Order<'_, T>,
        stride: usize,
        differentiate: bool,
        block: &mut Block<'_, T>,
    ) -> T {
        let mirrored = self.is_mirrored();
        let (k, m) = order.grams;
        let (rows, columns, terms) = if mirrored {
            (m, k, k)
        } else {
            (k, m, order.counted)
        };
        let terms = T::from_usize(terms);
        let selection = Selection {
            select: self.config.select,
            temperature: self.config.temperature,
            order: order.n,
        };
        let mut factor = -order.upstream / (order.divisor * terms);
        // The mean is over all rows, but gaps are no n-grams.
        let mut correction = T::ONE;
        if mirrored && target.has_gaps {
            let is_mean = selection.select == Select::Mean;
            let nothing = if is_mean { T::ZERO } else { -T::INFINITY };
            fill_gap_rows(target, order.n, m, nothing, stride, block.sums);
            if is_mean {
                correction = T::from_usize(m) / T::from_usize(order.counted);
                factor = factor * correction;
            }
        }
        let values = block.values.get_mut(..columns).unwrap_or(&mut []);
        let sums = Matrix {
            data: &*block.sums,
            stride,
        };
        let noise = order.noise.map(|(data, (k, m))| Matrix {
            data,
            stride: if mirrored { k } else { m },
        });
        let weights = MatrixMut {
            data: &mut *block.weights,
            stride,
        };
        let reduce = Reduce {
            selection,
            rows,
            sums,
            noise,
            values: &mut *values,
            weights: differentiate.then_some((weights, factor)),
        };
        if KNOWN {
            reduce.run(isa);
        } else {
            isa.enter(reduce);
        }
        if differentiate {
            if !mirrored {
                leave_out_gaps(target, order.n, m, block.weights);
            } else if target.has_gaps {
                fill_gap_rows(target, order.n, m, T::ZERO, stride, block.weights);
            }
            let window = (order.n, rows, columns);
            spread(isa, block.weights, stride, window, block.gradient);
        }
        let mut sum = T::ZERO;
        for (i, &e) in (0..columns).zip(values.iter()) {
            if mirrored || target.has_gram(i, order.n) {
                sum += e;
            }
        }
        -(sum * correction) / terms
    }

    /// One position of [`Checked::gradient`].
    #[inline(always)]
    pub(super) fn differentiate_position<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        row: &Row<'_>,
        j: usize,
        x: &mut [T],
        work: &mut Work<'_, T>,
    ) {
        let config = &self.config;
        let zeroed = config.zeroed();
        let references = self.differentiated(row, j, work);
        let mut r = T::ZERO;
        for reference in references.clone() {
            let labels = self.target_labels(row, reference);
            let (block, _) = work.block(reference);
            let scores = part_mut(block.scores, labels.len(), j);
            let gradient = part_mut(block.gradient, labels.len(), j);
            r += clip(isa, scores, labels, zeroed, config.clamp, gradient);
        }

        let ce = row.ce_label(j);
        let share = match ce {
            Some(_) => self.token_share(row),
            None => T::ZERO,
        };
        let smooth = share * config.label_smoothing;
        let uniform = -smooth / T::from_usize(x.len());
        r -= share;
        match config.input {
            Input::Logits => {
                let max = work.max.get(j).copied().unwrap_or_default();
                let ln_sum = work.ln_sum.get(j).copied().unwrap_or_default();
                let lse = LogSum { max, ln_sum };
                isa.enter(ReplaceLogits { lse, uniform, r, x });
            }
            Input::LogProbs => x.fill(uniform),
        }
        for reference in references {
            let labels = self.target_labels(row, reference);
            let (block, _) = work.block(reference);
            let gradient = part_mut(block.gradient, labels.len(), j);
            scatter(gradient, labels, zeroed, x);
        }
        if let Some(label) = ce {
            scatter(&[smooth - share], &[label], None, x);
        }
    }

    /// The references that the n-gram part of a position has a gradient against.
    #[inline(always)]
    fn differentiated(&self, row: &Row<'_>, j: usize, work: &Work<'_, T>) -> Range<usize> {
        if j >= row.positions {
            0..0
        } else if self.combine() == Combine::Best && row.references > 0 {
            work.chosen..work.chosen.saturating_add(1)
        } else {
            0..row.references
        }
    }

    /// The derivative of the total loss by the cross-entropy of one token.
    #[inline(always)]
    fn token_share(&self, row: &Row<'_>) -> T {
        match self.batch.ce_upstream {
            None => self.config.ce_factor / T::from_usize(self.tokens),
            Some(g) => self.config.ce_factor * g.get(row.index).copied().unwrap_or_default(),
        }
    }
}

// The two passes over the vocabulary and the selection, each an entry of its own: among the rest of a row their
// loops would have to share its registers. A selection that is known is part of its row: it is shorter.

/// [`softmax::log_sum`].
struct ReadLogits<'a, T> {
    x: &'a [T],
}

impl<T: Real> Kernel<T> for ReadLogits<'_, T> {
    type Output = Result<LogSum<T>, Invalid>;
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) -> Self::Output {
        softmax::log_sum(isa, self.x)
    }
}

/// [`softmax::gradient`].
struct ReplaceLogits<'a, T> {
    lse: LogSum<T>,
    uniform: T,
    r: T,
    x: &'a mut [T],
}

impl<T: Real> Kernel<T> for ReplaceLogits<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        softmax::gradient(isa, &self.lse, self.uniform, self.r, self.x);
    }
}

/// [`select`].
struct Reduce<'a, T> {
    selection: Selection<T>,
    rows: usize,
    sums: Matrix<'a, T>,
    noise: Option<Matrix<'a, T>>,
    values: &'a mut [T],
    weights: Option<(MatrixMut<'a, T>, T)>,
}

impl<T: Real> Kernel<T> for Reduce<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa<Scalar = T>>(self, isa: I) {
        let Reduce {
            selection,
            rows,
            sums,
            noise,
            values,
            weights,
        } = self;
        select(isa, selection, rows, sums, noise, values, weights);
    }
}

/// Whether a reference that lacks so many orders and has such a loss goes before another. A NaN, such as 0·∞, is
/// worse than any number.
#[inline(always)]
fn is_better<T: Real>((lacks, loss): (usize, T), (lacked, least): (usize, T)) -> bool {
    let is_less = loss < least || least.partial_cmp(&least).is_none();
    lacks < lacked || (lacks == lacked && is_less)
}

/// The distance of bags of one order.
#[inline(always)]
fn bag_order<I: Isa>(
    isa: I,
    target: &Target<'_>,
    order: Order<'_, I::Scalar>,
    stride: usize,
    differentiate: bool,
    block: &mut Block<'_, I::Scalar>,
) -> I::Scalar {
    let (k, m) = order.grams;
    let sums = Matrix {
        data: &*block.sums,
        stride,
    };
    let counts = block.values.get_mut(..m).unwrap_or(&mut []);
    bag::counts(isa, k, sums, counts);
    let loss = bag::distance(target.labels, order.n, k, counts);
    if differentiate {
        let weights = MatrixMut {
            data: &mut *block.weights,
            stride,
        };
        let factor = order.upstream / order.divisor;
        bag::weigh(isa, k, sums, counts, factor, weights);
        spread(isa, block.weights, stride, (order.n, k, m), block.gradient);
    }
    loss
}

/// Makes `block.sums` D_n; orders that come in rising order build on each other.
#[inline(always)]
fn sum_up_to<I: Isa>(
    isa: I,
    n: usize,
    stride: usize,
    summed: &mut usize,
    block: &mut Block<'_, I::Scalar>,
) {
    if *summed == 0 || n < *summed {
        for (d, s) in block.sums.iter_mut().zip(block.scores.iter()) {
            *d = *s;
        }
        *summed = 1;
    }
    for order in summed.wrapping_add(1)..n.wrapping_add(1) {
        extend(isa, block.scores, stride, order, block.sums);
    }
    *summed = n;
}

/// Clears the weights of the n-grams that do not take part.
#[inline(always)]
fn leave_out_gaps<T: Real>(target: &Target<'_>, n: usize, m: usize, weights: &mut [T]) {
    if !target.has_gaps {
        return;
    }
    for line in weights.pieces_mut(target.labels.len()) {
        for (i, w) in (0..m).zip(line) {
            if !target.has_gram(i, n) {
                *w = T::ZERO;
            }
        }
    }
}

/// Fills the rows of the n-grams that do not take part, in a matrix with a row per n-gram.
#[inline(always)]
fn fill_gap_rows<T: Real>(
    target: &Target<'_>,
    n: usize,
    m: usize,
    value: T,
    stride: usize,
    matrix: &mut [T],
) {
    for (i, line) in (0..m).zip(matrix.pieces_mut(stride)) {
        if !target.has_gram(i, n) {
            line.fill(value);
        }
    }
}

/// The matrix of rows × columns becomes one of columns × rows, through a buffer at least as large.
#[inline(always)]
fn transpose<T: Real>(matrix: &mut [T], (rows, columns): (usize, usize), buffer: &mut [T]) {
    let lines = matrix.pieces(columns);
    for (r, line) in (0..rows).zip(lines) {
        let column = buffer.iter_mut().skip(r).step_by(rows.max(1));
        for (slot, x) in column.zip(line) {
            *slot = *x;
        }
    }
    let len = rows.wrapping_mul(columns);
    for (slot, x) in matrix.iter_mut().zip(buffer.iter()).take(len) {
        *slot = *x;
    }
}

#[cold]
fn located(invalid: Invalid, row: usize, position: usize) -> EislError {
    match invalid {
        Invalid::Nan(column) => EislError::Nan {
            row,
            position,
            column,
        },
        Invalid::Infinite(column) => EislError::Infinite {
            row,
            position,
            column,
        },
        Invalid::NoProbability => EislError::NoProbability { row, position },
    }
}
