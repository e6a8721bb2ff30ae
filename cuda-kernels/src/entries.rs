//! What a driver finds in the PTX: one function per kernel, each with one parameter by value.
#![allow(unsafe_code)]

use crate::device::Thread;
use crate::kernels::prepare::{self, Normalise};

/// [`prepare::normalise`].
///
/// # Safety
/// The contract of [`Thread::current`].
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn normalise(p: Normalise) {
    // SAFETY: the contract of this function.
    let thread = unsafe { Thread::current() };
    prepare::normalise(thread, p);
}
