//! Every function of core in single precision.
#![no_std]
#![no_main]

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    rivergram_no_panic::every_room::<f32>();
    rivergram_no_panic::single_precision();
}
