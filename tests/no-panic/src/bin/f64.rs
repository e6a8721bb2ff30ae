//! Every function of core in double precision.
#![no_std]
#![no_main]

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    rivergram_no_panic::every_room::<f64>();
    rivergram_no_panic::lanes::double_precision();
    rivergram_no_panic::schedule::double_precision();
}
