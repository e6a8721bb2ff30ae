//! What the proof forbids: this must be found out.
#![no_std]
#![no_main]

use rivergram_no_panic::{keep, size, slice};

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    keep(slice::<f32>()[size()]);
}
