//! A static that is lent out once.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// All state of a program, in one place whose size the linker knows.
pub struct Memory<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `take` alone, which lends it once.
unsafe impl<T: Send> Sync for Memory<T> {}

impl<T> Memory<T> {
    /// Memory with its first value; one of zeros takes no flash.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The value, the first time.
    // Two references that each may write are not made: the second call gets none.
    #[allow(clippy::mut_from_ref)]
    pub fn take(&self) -> Option<&mut T> {
        // Two operations, since a Cortex-M0 has no exchange; nothing comes between, see the crate.
        if self.taken.load(Ordering::Relaxed) {
            return None;
        }
        self.taken.store(true, Ordering::Relaxed);
        // SAFETY: nobody else got here.
        Some(unsafe { &mut *self.value.get() })
    }
}
