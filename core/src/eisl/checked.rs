//! A configuration and a batch that belong together: every size, label and number is checked here, once,
//! so that the rows can be computed one by one, in any order and by any thread.

use super::config::{
    Batch, Combine, Config, IGNORE, Objective, Padding, Reduction, References, Shape, grams,
    is_pad, noise_grams,
};
use crate::error::{EislBuffer, EislError};
use crate::lanes::Real;

/// A configuration and a batch that were found to be valid.
///
/// It is `Copy` and shares nothing: rows may be computed by any thread, each with its own
/// [`Work`](super::Work). `KNOWN`: its options are known where it is compiled, and the code of all others is left out.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a, T, const KNOWN: bool = false> {
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
    /// References of the n-gram part.
    pub(super) references: usize,
    /// Labels of cross-entropy; a −100 among them is left out.
    pub(super) ce_labels: &'a [i32],
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
}

/// One reference of a row, as the n-gram part sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) labels: &'a [i32],
    /// Whether n-grams that contain a −100 are left out.
    pub(super) has_gaps: bool,
}

impl Target<'_> {
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
    /// Checks everything but the logits, which are checked as they are read.
    ///
    /// Errors: see [`EislError`]. Cost: O(B·R·U + noise).
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, Shape};
    /// use rivergram_core::error::EislError;
    ///
    /// let shape = Shape { batch: 2, positions: 4, targets: 3, vocabulary: 9 };
    /// let config = Config::new(&[(1, 1.0f32)]);
    /// assert!(Checked::new(&config, &Batch::new(shape, &[1, 2, 3, 4, 5, 6])).is_ok());
    /// let error = Checked::new(&config, &Batch::new(shape, &[1, 2, 3, 4, 9, 6])).unwrap_err();
    /// assert_eq!(error, EislError::Token { row: 1, column: 1, id: 9 });
    /// ```
    pub fn new(config: &Config<'a, T>, batch: &Batch<'a, T>) -> Result<Self, EislError> {
        Self::in_place(config, batch)
    }

    /// [`Checked::new`] where it is called, which may know the shape and that options are not asked for.
    #[inline(always)]
    pub(super) fn in_place(
        config: &Config<'a, T>,
        batch: &Batch<'a, T>,
    ) -> Result<Self, EislError> {
        check_config(config)?;
        check_sizes(config, batch)?;
        check_upstream(config, batch)?;
        let mut checked = Checked {
            config: *config,
            batch: *batch,
            tokens: 0,
        };
        for index in 0..rows_with_something(batch) {
            checked.check_references(index)?;
            let row = checked.row(index);
            for reference in 0..checked.references(index) {
                checked.check_len(index, reference)?;
                checked.check_target(&row, reference)?;
            }
            checked.check_output_len(index)?;
            let offset = checked.ce_column(index);
            for (column, &id) in (0..row.ce_labels.len()).zip(row.ce_labels) {
                checked.check_token(index, offset.wrapping_add(column), id, id == IGNORE)?;
                if id != IGNORE {
                    checked.tokens = checked.tokens.wrapping_add(1);
                }
            }
        }
        Ok(checked)
    }

    /// The same of a configuration and a batch of which the compiler sees the options.
    #[inline(always)]
    pub(super) fn known(
        self,
        config: &Config<'a, T>,
        batch: &Batch<'a, T>,
    ) -> Checked<'a, T, true> {
        Checked {
            config: *config,
            batch: *batch,
            tokens: self.tokens,
        }
    }
}

impl<'a, T: Real, const KNOWN: bool> Checked<'a, T, KNOWN> {
    /// The tokens that cross-entropy is the mean over, of all rows; 0 where `ce_factor` is 0.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, Shape};
    ///
    /// let shape = Shape { batch: 2, positions: 3, targets: 3, vocabulary: 9 };
    /// let batch = Batch::new(shape, &[1, 2, 3, 4, -100, -100]);
    /// assert_eq!(Checked::new(&Config::cross_entropy(0.0f32), &batch)?.tokens(), 4);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The numbers of one row of the input, T·V.
    ///
    /// ```
    /// use rivergram_core::eisl::{Batch, Checked, Config, Shape};
    ///
    /// let shape = Shape { batch: 1, positions: 4, targets: 3, vocabulary: 9 };
    /// let batch = Batch::new(shape, &[1, 2, 3]);
    /// assert_eq!(Checked::new(&Config::new(&[(1, 1.0f32)]), &batch)?.row_len(), 36);
    /// # Ok::<(), rivergram_core::error::EislError>(())
    /// ```
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
        let positions = self.batch.shape.positions;
        let masked = self.config.padding == Padding::Mask;
        let outputs = len_of(self.batch.output_lens, index).filter(|_| masked);
        let outputs = outputs.unwrap_or(positions).min(positions);
        let has_grams = self.config.ngram_factor != T::ZERO;
        let of_ce = self.ce_reference(index);
        let has_ce = self.config.ce_factor != T::ZERO && of_ce < self.references(index);
        let (_, own) = self.labels(index, of_ce);
        Row {
            index,
            positions: if has_grams { outputs } else { 0 },
            references: if has_grams { self.references(index) } else { 0 },
            ce_labels: if has_ce {
                own.get(..outputs).unwrap_or(own)
            } else {
                &[]
            },
        }
    }

    /// One reference of a row.
    #[inline(always)]
    pub(super) fn target(&self, row: &Row<'_>, reference: usize) -> Target<'a> {
        let labels = self.target_labels(row, reference);
        let masked = self.config.padding == Padding::Mask;
        Target {
            labels,
            has_gaps: masked && labels.contains(&IGNORE),
        }
    }

    /// The labels of a reference that the n-gram part uses.
    #[inline(always)]
    pub(super) fn target_labels(&self, row: &Row<'_>, reference: usize) -> &'a [i32] {
        let (labels, own) = self.labels(row.index, reference);
        match self.config.padding {
            Padding::Mask => own,
            Padding::Zero | Padding::None => labels,
        }
    }

    /// The references of a row; none where there is no room for a label.
    #[inline(always)]
    pub(super) fn references(&self, row: usize) -> usize {
        if self.batch.shape.targets == 0 {
            return 0;
        }
        let places = self.batch.places();
        let counts = self.batch.references.and_then(|several| several.counts);
        len_of(counts, row).unwrap_or(places).min(places)
    }

    #[inline(always)]
    pub(super) fn combine(&self) -> Combine {
        let references = self.batch.references;
        references.map_or(Combine::Mean, |several| several.combine)
    }

    /// c of loss\[b, n\] in eisl = (1/rows) Σ c·loss\[b, n\]; see [`Checked::divisor`].
    #[inline(always)]
    pub(super) fn coefficient(&self, row: usize, order: usize, weight: T) -> T {
        let of = |g: &[T], index: usize| g.get(index).copied().unwrap_or_default();
        match self.batch.reduction {
            Reduction::Mean => weight,
            Reduction::PerOrder(g) => of(g, order),
            Reduction::PerRow(g) => of(g, row) * weight,
            Reduction::None(g) => {
                let start = row.wrapping_mul(self.config.order_count());
                of(g, start.wrapping_add(order))
            }
        }
    }

    /// What the sum over rows is divided by.
    #[inline(always)]
    pub(super) fn divisor(&self) -> usize {
        match self.batch.reduction {
            Reduction::Mean | Reduction::PerOrder(_) => self.batch.shape.batch,
            Reduction::PerRow(_) | Reduction::None(_) => 1,
        }
    }

    /// Labels of a reference: all places, and those in use.
    #[inline(always)]
    fn labels(&self, row: usize, reference: usize) -> (&'a [i32], &'a [i32]) {
        let targets = self.batch.shape.targets;
        let slot = self.slot(row, reference);
        let start = slot.wrapping_mul(targets);
        let labels = self.batch.targets.get(start..start.wrapping_add(targets));
        let labels = labels.unwrap_or(&[]);
        let own = match len_of(self.batch.target_lens, slot) {
            Some(len) => labels.get(..len).unwrap_or(labels),
            None => trimmed(labels, self.config.pad_id),
        };
        (labels, own)
    }

    #[inline(always)]
    fn slot(&self, row: usize, reference: usize) -> usize {
        row.wrapping_mul(self.batch.places())
            .wrapping_add(reference)
    }

    /// The reference that cross-entropy is measured against.
    #[inline(always)]
    fn ce_reference(&self, row: usize) -> usize {
        let references = self.batch.references;
        let of_ce = references.and_then(|several| several.cross_entropy);
        len_of(of_ce, row).unwrap_or(0)
    }

    /// Where the labels of cross-entropy begin among those of the row.
    fn ce_column(&self, row: usize) -> usize {
        self.ce_reference(row)
            .wrapping_mul(self.batch.shape.targets)
    }

    /// The noise of one reference and order, and its numbers per position, (K, M); `offset` is where that of
    /// the order begins, and moves on.
    #[inline(always)]
    pub(super) fn noise(
        &self,
        row: usize,
        reference: usize,
        order: usize,
        offset: &mut usize,
    ) -> Option<(&'a [T], (usize, usize))> {
        let noise = self.batch.noise?;
        let (k, m) = noise_grams(&self.config, self.batch.shape, order);
        let len = k.wrapping_mul(m);
        let slots = self.slot(self.batch.shape.batch, 0);
        let start = offset.wrapping_add(self.slot(row, reference).wrapping_mul(len));
        *offset = offset.wrapping_add(slots.wrapping_mul(len));
        let noise = noise.get(start..start.wrapping_add(len))?;
        Some((noise, (k, m)))
    }

    fn check_references(&self, row: usize) -> Result<(), EislError> {
        let Some(several) = self.batch.references else {
            return Ok(());
        };
        if let Some(count) = len_of(several.counts, row).filter(|&count| count > several.places) {
            return Err(EislError::References { row, count });
        }
        let index = self.ce_reference(row);
        let references = self.references(row);
        if index >= references && references > 0 {
            return Err(EislError::CeReference { row, index });
        }
        Ok(())
    }

    fn check_len(&self, row: usize, reference: usize) -> Result<(), EislError> {
        let len = len_of(self.batch.target_lens, self.slot(row, reference));
        match len.filter(|&len| len > self.batch.shape.targets) {
            Some(len) => Err(EislError::TargetLen { row, len }),
            None => Ok(()),
        }
    }

    fn check_output_len(&self, row: usize) -> Result<(), EislError> {
        let len = len_of(self.batch.output_lens, row);
        match len.filter(|&len| len > self.batch.shape.positions) {
            Some(len) => Err(EislError::OutputLen { row, len }),
            None => Ok(()),
        }
    }

    /// The labels of the n-gram part.
    fn check_target(&self, row: &Row<'_>, reference: usize) -> Result<(), EislError> {
        if self.config.ngram_factor == T::ZERO {
            return Ok(());
        }
        let labels = self.target_labels(row, reference);
        let offset = reference.wrapping_mul(self.batch.shape.targets);
        let padding = self.config.padding;
        for (column, &id) in (0..labels.len()).zip(labels) {
            let exempt = match padding {
                Padding::Mask => id == IGNORE,
                Padding::Zero => self.config.is_pad(id),
                Padding::None => false,
            };
            self.check_token(row.index, offset.wrapping_add(column), id, exempt)?;
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

/// The labels up to the last that is no pad. A function of its own in all places, and of numbers only: what the compiler
/// knows of the options it would not know any more of what a call could see.
fn trimmed(labels: &[i32], pad_id: Option<i32>) -> &[i32] {
    let mut rest = labels;
    while let Some((&last, before)) = rest.split_last() {
        if !is_pad(last, pad_id) {
            break;
        }
        rest = before;
    }
    rest
}

fn len_of(lens: Option<&[usize]>, row: usize) -> Option<usize> {
    lens?.get(row).copied()
}

/// The rows that hold anything to check. Where a row has no label and nothing of each row is given, no length of a buffer
/// bounds how many there are, and they are not walked through.
#[inline(always)]
fn rows_with_something<T>(batch: &Batch<'_, T>) -> usize {
    let counts = batch.references.and_then(|several| several.counts);
    let is_empty = batch.targets.is_empty() && batch.output_lens.is_none() && counts.is_none();
    if is_empty { 0 } else { batch.shape.batch }
}

fn check_config<T: Real>(config: &Config<'_, T>) -> Result<(), EislError> {
    if config.order_count() == 0 && config.ngram_factor != T::ZERO {
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
    for (index, (_, weight)) in (0..config.from_length.len()).zip(config.from_length) {
        let index = index.saturating_add(config.orders.len());
        if !weight.is_finite() {
            return Err(EislError::Weight { index });
        }
    }
    if config.objective == Objective::BagOfNgrams && config.padding == Padding::Zero {
        return Err(EislError::BagPadding);
    }
    if !config.temperature.is_finite() || config.temperature < T::MIN_POSITIVE {
        return Err(EislError::Temperature);
    }
    if config
        .clamp
        .is_some_and(|c| !(-T::INFINITY..T::ZERO).contains(&c))
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
    let slots = product(&[shape.batch, batch.places()])?;
    let labels = product(&[slots, shape.targets])?;
    product(&[shape.batch, shape.positions, shape.vocabulary])?;
    check_len(EislBuffer::Targets, labels, batch.targets.len())?;
    if let Some(lens) = batch.target_lens {
        check_len(EislBuffer::TargetLens, slots, lens.len())?;
    }
    if let Some(lens) = batch.output_lens {
        check_len(EislBuffer::OutputLens, shape.batch, lens.len())?;
    }
    if let Some(noise) = batch.noise {
        check_len(EislBuffer::Noise, batch.noise_len(config), noise.len())?;
        if let Some(index) = not_finite(noise) {
            return Err(EislError::Noise { index });
        }
    }
    if let Some(References {
        counts,
        cross_entropy,
        ..
    }) = batch.references
    {
        let counts = counts.map_or(shape.batch, <[usize]>::len);
        check_len(EislBuffer::References, shape.batch, counts)?;
        let of_ce = cross_entropy.map_or(shape.batch, <[usize]>::len);
        check_len(EislBuffer::CeReferences, shape.batch, of_ce)?;
    }
    Ok(())
}

/// The derivatives that come from the caller.
fn check_upstream<T: Real>(config: &Config<'_, T>, batch: &Batch<'_, T>) -> Result<(), EislError> {
    let (rows, orders) = (batch.shape.batch, config.order_count());
    let (expected, g) = match batch.reduction {
        Reduction::Mean => (0, &[] as &[T]),
        Reduction::PerOrder(g) => (orders, g),
        Reduction::PerRow(g) => (rows, g),
        Reduction::None(g) => (rows.saturating_mul(orders), g),
    };
    check_len(EislBuffer::Upstream, expected, g.len())?;
    if let Some(index) = not_finite(g) {
        return Err(EislError::Upstream { index });
    }
    if let Some(g) = batch.ce_upstream {
        check_len(EislBuffer::CeUpstream, rows, g.len())?;
        if let Some(index) = not_finite(g) {
            return Err(EislError::CeUpstream { index });
        }
    }
    Ok(())
}

/// The first number that is infinite or NaN.
fn not_finite<T: Real>(numbers: &[T]) -> Option<usize> {
    let mut indexed = (0..numbers.len()).zip(numbers);
    let found = indexed.find(|(_, x)| !x.is_finite());
    found.map(|(index, _)| index)
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

/// (K, M) of one reference; an order of 0 has none.
#[inline(always)]
pub(super) fn target_grams(row: &Row<'_>, target: &Target<'_>, n: usize) -> (usize, usize) {
    if n == 0 {
        return (0, 0);
    }
    grams(row.positions, target.labels.len(), n)
}
