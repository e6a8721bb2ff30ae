//! What functions of core cost on microcontrollers, beside what else one would use.
//!
//! This is an archive with one function for each line of the table, under the line's name. `cargo xtask size`
//! links each of them alone, which tells its flash, and all of them into one program, which runs in QEMU and
//! prints for each line:
//!
//! ```text
//! name <tab> bytes of memory <tab> bytes of stack <tab> instructions of one call
//! ```
//!
//! A name is `who: what`, or `who: what; with which input`: the lines of one function.
//!
//! **Adding a line**: a [`cost!`] in the file of its subject.
#![no_std]

mod data;
mod machine;
mod measure;
mod plain;
mod schedule;
mod training;
mod tuple;

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    machine::exit(101)
}

/// Measures everything. The start of the machine jumps here.
#[unsafe(no_mangle)]
extern "C" fn measure_all() -> ! {
    tuple::costs();
    training::costs();
    schedule::costs();
    machine::exit(0)
}
