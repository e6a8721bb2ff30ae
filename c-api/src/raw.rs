//! From C's pointers to slices: the checks, and the contract of every function of this crate.
//!
//! A pointer comes with the number of its elements. What can be seen is checked: NULL, alignment, a length that
//! no object can have, and memory that is written and overlaps with other memory of the call. What cannot be
//! seen is the caller's promise: behind a pointer lie as many elements as its length says, nobody else writes
//! to them during the call, and they stay as long as a state holds on to them.

use core::ffi::CStr;

use crate::status::{Failure, check_len, rivergram_error, rivergram_status};

/// Memory that is read.
#[derive(Clone, Copy)]
pub(crate) struct In<T> {
    name: &'static CStr,
    pointer: *const T,
    len: usize,
}

/// Memory that is written.
#[derive(Clone, Copy)]
pub(crate) struct Out<T> {
    name: &'static CStr,
    pointer: *mut T,
    len: usize,
}

/// The addresses of an argument.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    name: &'static CStr,
    start: usize,
    end: usize,
    written: bool,
}

impl<T> In<T> {
    /// The argument's name.
    pub(crate) fn name(&self) -> &'static CStr {
        self.name
    }

    /// An array; NULL only where it has no elements.
    pub(crate) fn array(name: &'static CStr, pointer: *const T, len: usize) -> Self {
        In { name, pointer, len }
    }

    /// One value.
    pub(crate) fn one(name: &'static CStr, pointer: *const T) -> Self {
        In::array(name, pointer, 1)
    }

    /// An array that need not be there: NULL is none, whatever the length.
    pub(crate) fn optional(name: &'static CStr, pointer: *const T, len: usize) -> Self {
        In::array(name, pointer, if pointer.is_null() { 0 } else { len })
    }

    /// Where it is, and how long.
    pub(crate) fn parts(&self) -> (*const T, usize) {
        (self.pointer, self.len)
    }

    /// The same place, taken for another type.
    pub(crate) fn cast<U>(&self) -> In<U> {
        In::array(self.name, self.pointer.cast(), self.len)
    }

    pub(crate) fn span(&self) -> Result<Span, Failure> {
        Span::of(self.name, self.pointer, self.len, false)
    }

    /// The elements.
    ///
    /// # Safety
    /// [`In::span`] succeeded, and the contract of this module holds.
    pub(crate) unsafe fn slice<'a>(&self) -> &'a [T] {
        if self.pointer.is_null() {
            return &[];
        }
        // SAFETY: not NULL, aligned and of a possible length, which `span` saw; the rest is promised.
        unsafe { core::slice::from_raw_parts(self.pointer, self.len) }
    }

    /// The elements, where the pointer is not NULL.
    ///
    /// # Safety
    /// As [`In::slice`].
    pub(crate) unsafe fn some<'a>(&self) -> Option<&'a [T]> {
        // SAFETY: as promised to this function.
        (!self.pointer.is_null()).then(|| unsafe { self.slice() })
    }

    /// The one value.
    ///
    /// # Safety
    /// As [`In::slice`].
    pub(crate) unsafe fn get<'a>(&self) -> Result<&'a T, Failure> {
        // SAFETY: as promised to this function.
        let slice = unsafe { self.slice() };
        slice.first().ok_or(Failure::null(self.name))
    }
}

impl In<u8> {
    /// One flag for each of `len` elements, 0 or 1, where the pointer is not NULL.
    ///
    /// # Safety
    /// As [`In::slice`].
    pub(crate) unsafe fn flags<'a>(&self, len: usize) -> Result<Option<&'a [bool]>, Failure> {
        // SAFETY: as promised to this function.
        let Some(bytes) = (unsafe { self.some() }) else {
            return Ok(None);
        };
        check_len(self.name, len, bytes.len())?;
        let mut places = (0..bytes.len()).zip(bytes);
        if let Some((index, _)) = places.find(|(_, byte)| **byte > 1) {
            return Err(Failure::option(self.name).at([index]));
        }
        // SAFETY: a `bool` has the size and the alignment of a `u8`, and each byte is 0 or 1.
        let flags = unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) };
        Ok(Some(flags))
    }
}

impl<T> Out<T> {
    /// The argument's name.
    pub(crate) fn name(&self) -> &'static CStr {
        self.name
    }

    /// An array; NULL only where it has no elements.
    pub(crate) fn array(name: &'static CStr, pointer: *mut T, len: usize) -> Self {
        Out { name, pointer, len }
    }

    /// One value.
    pub(crate) fn one(name: &'static CStr, pointer: *mut T) -> Self {
        Out::array(name, pointer, 1)
    }

    /// One value that is not wanted where the pointer is NULL.
    pub(crate) fn optional(name: &'static CStr, pointer: *mut T) -> Self {
        Out::optional_array(name, pointer, 1)
    }

    /// An array that is not wanted where the pointer is NULL, whatever the length.
    pub(crate) fn optional_array(name: &'static CStr, pointer: *mut T, len: usize) -> Self {
        Out::array(name, pointer, if pointer.is_null() { 0 } else { len })
    }

    /// The same place, to be read.
    pub(crate) fn read(&self) -> In<T> {
        In::array(self.name, self.pointer, self.len)
    }

    /// The same place, taken for another type.
    pub(crate) fn cast<U>(&self) -> Out<U> {
        Out::array(self.name, self.pointer.cast(), self.len)
    }

    pub(crate) fn span(&self) -> Result<Span, Failure> {
        Span::of(self.name, self.pointer, self.len, true)
    }

    /// The elements.
    ///
    /// # Safety
    /// [`Out::span`] succeeded and overlaps no other span of the call, and the contract of this module holds.
    pub(crate) unsafe fn slice<'a>(&self) -> &'a mut [T] {
        if self.pointer.is_null() {
            return &mut [];
        }
        // SAFETY: not NULL, aligned and of a possible length, which `span` saw; the rest is promised.
        unsafe { core::slice::from_raw_parts_mut(self.pointer, self.len) }
    }

    /// The elements, where the pointer is not NULL.
    ///
    /// # Safety
    /// As [`Out::slice`].
    pub(crate) unsafe fn some<'a>(&self) -> Option<&'a mut [T]> {
        // SAFETY: as promised to this function.
        (!self.pointer.is_null()).then(|| unsafe { self.slice() })
    }

    /// The one value.
    ///
    /// # Safety
    /// As [`Out::slice`], and it has been written before.
    pub(crate) unsafe fn get<'a>(&self) -> Result<&'a mut T, Failure> {
        // SAFETY: as promised to this function.
        let slice = unsafe { self.slice() };
        slice.first_mut().ok_or(Failure::null(self.name))
    }

    /// Writes the one value, unless the pointer is NULL. What lay there before is not looked at.
    ///
    /// # Safety
    /// As [`Out::slice`].
    pub(crate) unsafe fn write(&self, value: T) {
        if !self.pointer.is_null() {
            // SAFETY: not NULL and aligned, which `span` saw; the rest is promised.
            unsafe { self.pointer.write(value) }
        }
    }
}

impl Span {
    /// No memory, for a place in a list that is not used.
    pub(crate) const NONE: Span = Span {
        name: c"",
        start: 0,
        end: 0,
        written: false,
    };

    fn of<T>(
        name: &'static CStr,
        pointer: *const T,
        len: usize,
        written: bool,
    ) -> Result<Self, Failure> {
        if pointer.is_null() {
            return if len == 0 {
                Ok(Span::NONE)
            } else {
                Err(Failure::null(name))
            };
        }
        if !pointer.is_aligned() {
            return Err(Failure::new(rivergram_status::Misaligned, name));
        }
        let start = pointer.addr();
        let bytes = len
            .checked_mul(size_of::<T>())
            .filter(|bytes| *bytes <= isize::MAX as usize);
        let Some(end) = bytes.and_then(|bytes| start.checked_add(bytes)) else {
            let most = isize::MAX as usize / size_of::<T>().max(1);
            return Err(Failure::length(name, most, len));
        };
        Ok(Span {
            name,
            start,
            end,
            written,
        })
    }

    fn overlaps(&self, other: &Span) -> bool {
        let both = self.start < self.end && other.start < other.end;
        both && (self.written || other.written) && self.start < other.end && other.start < self.end
    }
}

/// Whether nothing that is written overlaps with anything else.
pub(crate) fn apart(spans: &[Span]) -> Result<(), Failure> {
    let mut rest = spans;
    while let [first, others @ ..] = rest {
        apart_from(first, others)?;
        rest = others;
    }
    Ok(())
}

/// Whether the first does not overlap with any of the others, where one of the two is written.
pub(crate) fn apart_from(first: &Span, others: &[Span]) -> Result<(), Failure> {
    let Some(other) = others.iter().find(|other| first.overlaps(other)) else {
        return Ok(());
    };
    let written = if first.written { first } else { other };
    Err(Failure::new(rivergram_status::Overlap, written.name))
}

/// The name of the last argument of every function.
static ERROR: &CStr = c"error";

/// Where `error` lies: an argument like others, to be [`apart`] from them, of which it is the first. What was wrong
/// would overwrite them.
pub(crate) fn reported(error: *mut rivergram_error) -> Out<rivergram_error> {
    Out::optional(ERROR, error)
}

/// The end of a call: what was wrong goes to `error`, unless that is NULL or overlaps with another argument, and its
/// status is returned.
///
/// # Safety
/// `error` is NULL or points to a `rivergram_error` that nobody else uses.
pub(crate) unsafe fn answer(
    error: *mut rivergram_error,
    call: impl FnOnce() -> Result<(), Failure>,
) -> rivergram_status {
    let error = reported(error);
    let Err(failure) = error.span().and_then(|_| call()) else {
        return rivergram_status::Ok;
    };
    let status = failure.0.status;
    let overlaps = status == rivergram_status::Overlap && failure.0.name == ERROR.as_ptr();
    if error.span().is_ok() && !overlaps {
        // SAFETY: aligned and no other argument, as was just seen; the rest is promised.
        unsafe { error.write(failure.0) }
    }
    status
}
