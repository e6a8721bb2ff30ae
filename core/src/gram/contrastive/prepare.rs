//! The vectors as they are contrasted: checked, normalised if asked for, absent ones as zeros.

use super::{Batch, GramLoss};
use crate::error::GramError;
use crate::lanes::{Isa, Real};
use crate::ops::{self, Walk, take};

/// Some planes of prepared vectors.
pub(super) struct Prepared<'a, T> {
    /// \[planes, rows, d\].
    pub(super) unit: &'a mut [T],
    /// \[planes, rows\], 1 or 0.
    pub(super) present: &'a mut [T],
    /// \[planes, rows\], 0 for a zero row.
    pub(super) inverse_norm: &'a mut [T],
}

/// Floats of some planes of prepared vectors.
pub(super) const fn prepared_len(planes: usize, rows: usize, d: usize) -> usize {
    planes
        .saturating_mul(rows)
        .saturating_mul(d.saturating_add(2))
}

impl<'a, T: Real> Prepared<'a, T> {
    #[inline(always)]
    pub(super) fn split(storage: &'a mut [T], planes: usize, rows: usize, d: usize) -> Self {
        let flags = planes.saturating_mul(rows);
        let (unit, storage) = take(storage, flags.saturating_mul(d));
        let (present, storage) = take(storage, flags);
        let (inverse_norm, _) = take(storage, flags);
        Prepared {
            unit,
            present,
            inverse_norm,
        }
    }

    /// Takes the vectors of a batch, or those in place where it has none, whose first plane is called modality `first`
    /// in errors and whose squares are at most `longest`; returns how many are absent.
    #[inline(always)]
    pub(super) fn fill<I: Isa<Scalar = T>>(
        &mut self,
        isa: I,
        config: &GramLoss<T>,
        batch: &Batch<'_, T>,
        first: usize,
        longest: T,
    ) -> Result<usize, GramError> {
        let mut missing = 0_usize;
        let d = batch.d.max(1);
        let mut vectors = batch.vectors.rows(d);
        let flags = self.present.iter_mut().zip(self.inverse_norm.iter_mut());
        let rows = self.unit.rows_mut(d).zip(flags);
        for (index, (unit, (present, inverse))) in (0..usize::MAX).zip(rows) {
            let (plane, row) = (index.checked_div(batch.rows), index.checked_rem(batch.rows));
            let modality = plane.unwrap_or_default().saturating_add(first);
            let row = row.unwrap_or_default();
            (*present, *inverse) = (T::ZERO, T::ZERO);
            if batch
                .present
                .is_some_and(|present| present.get(index) == Some(&false))
            {
                vectors.next();
                unit.fill(T::ZERO);
                missing = missing.saturating_add(1);
                continue;
            }
            // Those that are prepared in place are there already.
            if let Some(vector) = vectors.next() {
                for (to, from) in unit.iter_mut().zip(vector) {
                    *to = *from;
                }
            }
            let square = ops::dot(isa, unit, unit);
            if !(square.is_finite() && square <= longest) {
                return Err(GramError::NotFinite { modality, row });
            }
            config.zero_rows.check(square, modality, row)?;
            if !config.zero_rows.keeps(square) {
                unit.fill(T::ZERO);
                missing = missing.saturating_add(1);
                continue;
            }
            *present = T::ONE;
            *inverse = if config.normalise || ops::is_zero(square) {
                ops::inverse_norm(square)
            } else {
                T::ONE
            };
            if *inverse != T::ONE {
                ops::scale(isa, *inverse, unit);
            }
        }
        Ok(missing)
    }

    /// Takes as many rows as it has of each plane of `all`, from row `offset` on.
    #[inline(always)]
    pub(super) fn copy_rows(
        &mut self,
        all: &Prepared<'_, T>,
        planes: usize,
        d: usize,
        offset: usize,
    ) {
        copy_rows(all.unit, self.unit, planes, offset.saturating_mul(d));
        copy_rows(all.present, self.present, planes, offset);
        copy_rows(all.inverse_norm, self.inverse_norm, planes, offset);
    }

    /// g ← (g − x̂ (x̂·g)) / |x|, as far as the gradient goes.
    #[inline(always)]
    pub(super) fn through_normalisation<I: Isa<Scalar = T>>(
        &self,
        isa: I,
        d: usize,
        gradient: &mut [T],
    ) {
        let rows = self.unit.rows(d).zip(gradient.rows_mut(d));
        for ((unit, gradient), inverse) in rows.zip(self.inverse_norm.iter()) {
            ops::normalisation_gradient(isa, unit, *inverse, gradient);
        }
    }
}

/// Fills each of the planes of `to` from the plane of `from`, from its number `start` on.
#[inline(never)]
fn copy_rows<T: Real>(from: &[T], to: &mut [T], planes: usize, start: usize) {
    let from_len = from.len().checked_div(planes).unwrap_or_default();
    let to_len = to.len().checked_div(planes).unwrap_or_default();
    let planes = from.rows(from_len).zip(to.rows_mut(to_len));
    for (from, to) in planes {
        for (to, from) in to.iter_mut().zip(from.iter().skip(start)) {
            *to = *from;
        }
    }
}
