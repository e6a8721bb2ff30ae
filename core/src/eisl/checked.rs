//! A configuration and a batch that belong together: every size, label and number is checked here, once,
//! so that the rows can be computed one by one, in any order and by any thread.

use super::config::{Batch, Config, IGNORE, Padding, Shape, grams, noise_len};
use super::select::Matrix;
use crate::error::{EislBuffer, EislError};
use crate::lanes::Real;

/// A configuration and a batch that were found to be valid.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a, T> {
    pub(super) config: Config<'a, T>,
    pub(super) batch: Batch<'a, T>,
    pub(super) tokens: usize,
}

/// What is counted in one row of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) index: usize,
    /// Output positions of the n-gram part.
    pub(super) positions: usize,
    /// Labels of the n-gram part.
    pub(super) labels: &'a [i32],
    /// Labels of cross-entropy; a −100 among them is left out.
    pub(super) ce_labels: &'a [i32],
    /// Whether n-grams that contain a −100 are left out.
    pub(super) has_gaps: bool,
}

impl Row<'_> {
    /// The label that cross-entropy wants at a position, if any.
    #[inline(always)]
    pub(super) fn ce_label(&self, position: usize) -> Option<i32> {
        let label = self.ce_labels.get(position).copied();
        label.filter(|&label| label != IGNORE)
    }

    /// Whether anything depends on the input at a position.
    #[inline(always)]
    pub(super) fn uses(&self, position: usize) -> bool {
        position < self.positions || self.ce_label(position).is_some()
    }

    /// How many of m n-grams of order n take part.
    #[inline(always)]
    pub(super) fn count_grams(&self, m: usize, n: usize) -> usize {
        let mut count = m;
        if self.has_gaps {
            for i in 0..m {
                if !self.has_gram(i, n) {
                    count = count.wrapping_sub(1);
                }
            }
        }
        count
    }

    /// Whether the n-gram of order n at column i takes part.
    #[inline(always)]
    pub(super) fn has_gram(&self, i: usize, n: usize) -> bool {
        let gram = self.labels.get(i..i.saturating_add(n));
        !self.has_gaps || gram.is_some_and(|gram| !gram.contains(&IGNORE))
    }
}

impl<'a, T: Real> Checked<'a, T> {
    /// Checks everything but the logits, which are checked as they are read. Cost: O(B·U + noise).
    pub fn new(config: &Config<'a, T>, batch: &Batch<'a, T>) -> Result<Self, EislError> {
        check_config(config)?;
        check_sizes(config, batch)?;
        let mut checked = Checked {
            config: *config,
            batch: *batch,
            tokens: 0,
        };
        for index in 0..batch.shape.batch {
            let row = checked.row(index);
            checked.check_lens(index)?;
            checked.check_labels(&row)?;
            for &label in row.ce_labels {
                if label != IGNORE {
                    checked.tokens = checked.tokens.wrapping_add(1);
                }
            }
        }
        Ok(checked)
    }

    /// The tokens that cross-entropy is the mean over.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The numbers of one row of the input, T·V.
    pub fn row_len(&self) -> usize {
        let Shape {
            positions,
            vocabulary,
            ..
        } = self.batch.shape;
        positions.wrapping_mul(vocabulary)
    }

    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> Row<'a> {
        let Shape {
            positions, targets, ..
        } = self.batch.shape;
        let start = index.wrapping_mul(targets);
        let labels = self.batch.targets.get(start..start.wrapping_add(targets));
        let labels = labels.unwrap_or(&[]);
        let own = match len_of(self.batch.target_lens, index) {
            Some(len) => labels.get(..len).unwrap_or(labels),
            None => self.trimmed(labels),
        };
        let masked = self.config.padding == Padding::Mask;
        let outputs = len_of(self.batch.output_lens, index).filter(|_| masked);
        let outputs = outputs.unwrap_or(positions).min(positions);
        let has_grams = self.config.ngram_factor != T::ZERO;
        let ce_labels = own.get(..outputs).unwrap_or(own);
        let labels = if masked { own } else { labels };
        Row {
            index,
            positions: if has_grams { outputs } else { 0 },
            labels: if has_grams { labels } else { &[] },
            ce_labels: if self.config.ce_factor != T::ZERO {
                ce_labels
            } else {
                &[]
            },
            has_gaps: masked && labels.contains(&IGNORE),
        }
    }

    /// The labels up to the last that is no pad.
    fn trimmed(&self, labels: &'a [i32]) -> &'a [i32] {
        let mut rest = labels;
        while let Some((&last, before)) = rest.split_last() {
            if !self.config.is_pad(last) {
                break;
            }
            rest = before;
        }
        rest
    }

    /// The noise of one row and order; `offset` is where that of the order begins, and moves on.
    #[inline(always)]
    pub(super) fn noise(&self, row: usize, n: usize, offset: &mut usize) -> Option<Matrix<'a, T>> {
        let (k, m) = self.batch.shape.grams(n);
        let len = k.wrapping_mul(m);
        let start = offset.wrapping_add(row.wrapping_mul(len));
        *offset = offset.wrapping_add(self.batch.shape.batch.wrapping_mul(len));
        let data = self.batch.noise?.get(start..start.wrapping_add(len))?;
        Some(Matrix { data, stride: m })
    }

    fn check_lens(&self, row: usize) -> Result<(), EislError> {
        let shape = self.batch.shape;
        if let Some(len) = len_of(self.batch.target_lens, row).filter(|&l| l > shape.targets) {
            return Err(EislError::TargetLen { row, len });
        }
        if let Some(len) = len_of(self.batch.output_lens, row).filter(|&l| l > shape.positions) {
            return Err(EislError::OutputLen { row, len });
        }
        Ok(())
    }

    fn check_labels(&self, row: &Row<'_>) -> Result<(), EislError> {
        let padding = self.config.padding;
        for (column, &id) in (0..row.labels.len()).zip(row.labels) {
            let exempt = match padding {
                Padding::Mask => id == IGNORE,
                Padding::Zero => self.config.is_pad(id),
                Padding::None => false,
            };
            self.check_token(row.index, column, id, exempt)?;
        }
        for (column, &id) in (0..row.ce_labels.len()).zip(row.ce_labels) {
            self.check_token(row.index, column, id, id == IGNORE)?;
        }
        Ok(())
    }

    fn check_token(
        &self,
        row: usize,
        column: usize,
        id: i32,
        exempt: bool,
    ) -> Result<(), EislError> {
        let vocabulary = self.batch.shape.vocabulary;
        if exempt || usize::try_from(id).is_ok_and(|id| id < vocabulary) {
            Ok(())
        } else {
            Err(EislError::Token { row, column, id })
        }
    }
}

fn len_of(lens: Option<&[usize]>, row: usize) -> Option<usize> {
    lens?.get(row).copied()
}

fn check_config<T: Real>(config: &Config<'_, T>) -> Result<(), EislError> {
    if config.orders.is_empty() && config.ngram_factor != T::ZERO {
        return Err(EislError::NoOrders);
    }
    for (index, (n, weight)) in (0..config.orders.len()).zip(config.orders) {
        if *n == 0 {
            return Err(EislError::ZeroOrder { index });
        }
        if !weight.is_finite() {
            return Err(EislError::Weight { index });
        }
    }
    if !config.temperature.is_finite() || config.temperature < T::MIN_POSITIVE {
        return Err(EislError::Temperature);
    }
    if config
        .clamp
        .is_some_and(|c| !(-T::INFINITY..T::INFINITY).contains(&c))
    {
        return Err(EislError::Clamp);
    }
    if !config.ngram_factor.is_finite() || !config.ce_factor.is_finite() {
        return Err(EislError::Factor);
    }
    if !(T::ZERO..=T::ONE).contains(&config.label_smoothing) {
        return Err(EislError::LabelSmoothing);
    }
    Ok(())
}

fn check_sizes<T: Real>(config: &Config<'_, T>, batch: &Batch<'_, T>) -> Result<(), EislError> {
    let shape = batch.shape;
    if shape.vocabulary == 0 {
        return Err(EislError::EmptyVocabulary);
    }
    let labels = product(&[shape.batch, shape.targets])?;
    product(&[shape.batch, shape.positions, shape.vocabulary])?;
    check_len(EislBuffer::Targets, labels, batch.targets.len())?;
    if let Some(lens) = batch.target_lens {
        check_len(EislBuffer::TargetLens, shape.batch, lens.len())?;
    }
    if let Some(lens) = batch.output_lens {
        check_len(EislBuffer::OutputLens, shape.batch, lens.len())?;
    }
    if let Some(noise) = batch.noise {
        let expected = noise_len(shape, config.orders);
        check_len(EislBuffer::Noise, expected, noise.len())?;
        for (index, g) in (0..noise.len()).zip(noise) {
            if !g.is_finite() {
                return Err(EislError::Noise { index });
            }
        }
    }
    Ok(())
}

fn product(sizes: &[usize]) -> Result<usize, EislError> {
    let mut product = 1usize;
    for &size in sizes {
        product = product.checked_mul(size).ok_or(EislError::TooLarge)?;
    }
    Ok(product)
}

pub(super) fn check_len(buffer: EislBuffer, expected: usize, got: usize) -> Result<(), EislError> {
    if expected == got {
        Ok(())
    } else {
        Err(EislError::Length {
            buffer,
            expected,
            got,
        })
    }
}

/// (K, M) of one row.
#[inline(always)]
pub(super) fn row_grams(row: &Row<'_>, n: usize) -> (usize, usize) {
    grams(row.positions, row.labels.len(), n)
}
