//! Walks along a slice in steps of one length, and pieces of one, without a way to panic.
//!
//! The library's `chunks` divide by that length, and where the compiler keeps such an iterator's function as one,
//! the division may panic for all that it knows. A walk only cuts off the next piece.

/// Slices that are walked along.
pub(crate) trait Walk<T> {
    /// Rows of `length` numbers; what is too short for another row is left.
    fn rows(&self, length: usize) -> Rows<'_, T>;
    /// [`Walk::rows`] to write to.
    fn rows_mut(&mut self, length: usize) -> RowsMut<'_, T>;
    /// Pieces of `length` numbers; the last may be shorter.
    fn pieces(&self, length: usize) -> Pieces<'_, T>;
    /// [`Walk::pieces`] to write to.
    fn pieces_mut(&mut self, length: usize) -> PiecesMut<'_, T>;
}

impl<T> Walk<T> for [T] {
    #[inline(always)]
    fn rows(&self, length: usize) -> Rows<'_, T> {
        Rows {
            rest: self,
            length: length.max(1),
        }
    }
    #[inline(always)]
    fn rows_mut(&mut self, length: usize) -> RowsMut<'_, T> {
        RowsMut {
            rest: self,
            length: length.max(1),
        }
    }
    #[inline(always)]
    fn pieces(&self, length: usize) -> Pieces<'_, T> {
        Pieces {
            rest: self,
            length: length.max(1),
        }
    }
    #[inline(always)]
    fn pieces_mut(&mut self, length: usize) -> PiecesMut<'_, T> {
        PiecesMut {
            rest: self,
            length: length.max(1),
        }
    }
}

/// Rows to read. As one that no numbers would be endless, a length of 0 counts as 1, here and below.
#[derive(Debug)]
pub(crate) struct Rows<'a, T> {
    /// What was not walked along yet.
    pub(crate) rest: &'a [T],
    length: usize,
}

impl<T> Clone for Rows<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Rows { ..*self }
    }
}

impl<'a, T> Iterator for Rows<'a, T> {
    type Item = &'a [T];
    #[inline(always)]
    fn next(&mut self) -> Option<&'a [T]> {
        let (row, rest) = self.rest.split_at_checked(self.length)?;
        self.rest = rest;
        Some(row)
    }
    #[inline(always)]
    fn nth(&mut self, n: usize) -> Option<&'a [T]> {
        self.rest = self.rest.get(n.checked_mul(self.length)?..)?;
        self.next()
    }
}

/// Rows to write to.
#[derive(Debug)]
pub(crate) struct RowsMut<'a, T> {
    /// What was not walked along yet.
    pub(crate) rest: &'a mut [T],
    length: usize,
}

impl<'a, T> Iterator for RowsMut<'a, T> {
    type Item = &'a mut [T];
    #[inline(always)]
    fn next(&mut self) -> Option<&'a mut [T]> {
        if self.rest.len() < self.length {
            return None;
        }
        let (row, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(self.length)?;
        self.rest = rest;
        Some(row)
    }
    #[inline(always)]
    fn nth(&mut self, n: usize) -> Option<&'a mut [T]> {
        let skipped = n.checked_mul(self.length)?;
        self.rest = core::mem::take(&mut self.rest).get_mut(skipped..)?;
        self.next()
    }
}

/// Pieces to read.
#[derive(Debug)]
pub(crate) struct Pieces<'a, T> {
    rest: &'a [T],
    length: usize,
}

impl<T> Clone for Pieces<'_, T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Pieces { ..*self }
    }
}

impl<'a, T> Iterator for Pieces<'a, T> {
    type Item = &'a [T];
    #[inline(always)]
    fn next(&mut self) -> Option<&'a [T]> {
        if self.rest.is_empty() {
            return None;
        }
        let (piece, rest) = self
            .rest
            .split_at_checked(self.length)
            .unwrap_or((self.rest, &[]));
        self.rest = rest;
        Some(piece)
    }
}

/// Pieces to write to.
#[derive(Debug)]
pub(crate) struct PiecesMut<'a, T> {
    rest: &'a mut [T],
    length: usize,
}

impl<'a, T> Iterator for PiecesMut<'a, T> {
    type Item = &'a mut [T];
    #[inline(always)]
    fn next(&mut self) -> Option<&'a mut [T]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.length.min(self.rest.len());
        let (piece, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(length)?;
        self.rest = rest;
        Some(piece)
    }
}

/// The first `n` numbers and the others; nothing where there are fewer.
#[inline(always)]
pub(crate) fn split<T>(values: &[T], n: usize) -> (&[T], &[T]) {
    values.split_at_checked(n).unwrap_or_default()
}

/// `n` numbers from `start` on; nothing where there are fewer.
#[inline(always)]
pub(crate) fn part<T>(values: &[T], start: usize, n: usize) -> &[T] {
    let end = start.saturating_add(n);
    values.get(start..end).unwrap_or(&[])
}

/// [`split`] to write to.
#[inline(always)]
pub(crate) fn take<T>(storage: &mut [T], n: usize) -> (&mut [T], &mut [T]) {
    storage.split_at_mut_checked(n).unwrap_or_default()
}
