//! What a driver finds in the PTX: one function per kernel, each with one parameter, by value.
#![allow(unsafe_code)]

use crate::device::Thread;
use crate::kernels::basis::{self, Items};
use crate::kernels::eisl::{self, Eisl};
use crate::kernels::optim::{self, Update};
use crate::kernels::pairs::{self, Pairs, Volumes};
use crate::kernels::prepare::{self, Normalise};
use crate::kernels::search::{self, Nearest};

/// [`prepare::normalise`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn normalise(p: Normalise) {
    // SAFETY: the contract of this function.
    prepare::normalise(unsafe { Thread::current() }, p);
}

/// [`basis::bases`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn bases(p: Items) {
    // SAFETY: the contract of this function.
    basis::bases(unsafe { Thread::current() }, p);
}

/// [`pairs::squares`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn squares(p: Pairs) {
    // SAFETY: the contract of this function.
    pairs::squares(unsafe { Thread::current() }, p);
}

/// [`pairs::volumes`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn volumes(p: Volumes) {
    // SAFETY: the contract of this function.
    pairs::volumes(unsafe { Thread::current() }, p);
}

/// [`search::nearest`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn nearest(p: Nearest) {
    // SAFETY: the contract of this function.
    search::nearest(unsafe { Thread::current() }, p);
}

/// [`search::merge`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn merge(p: Nearest) {
    // SAFETY: the contract of this function.
    search::merge(unsafe { Thread::current() }, p);
}

/// [`optim::adamw`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn adamw(p: Update) {
    // SAFETY: the contract of this function.
    optim::adamw(unsafe { Thread::current() }, p);
}

/// [`eisl::read`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_read(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::read(unsafe { Thread::current() }, p);
}

/// [`eisl::ngrams`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_ngrams(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::ngrams(unsafe { Thread::current() }, p);
}

/// [`eisl::write`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn eisl_write(p: Eisl) {
    // SAFETY: the contract of this function.
    eisl::write(unsafe { Thread::current() }, p);
}
