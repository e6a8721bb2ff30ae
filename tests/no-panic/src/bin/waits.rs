//! Every function of core that waits. It links although it can panic: `build.rs` defines the missing function, and
//! `cargo xtask test no-panic` reads where.
#![no_std]
#![no_main]

/// Where the linker begins.
#[unsafe(no_mangle)]
pub extern "C" fn _start() {
    rivergram_no_panic::flash::waiting::<f32>();
}
