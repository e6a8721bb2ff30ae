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

mod clock;
mod data;
mod measure;
mod plain;
mod schedule;
mod training;
mod tuple;

use rivergram_board as board;

/// Measures everything.
#[board::entry]
fn main() -> ! {
    tuple::costs();
    training::costs();
    schedule::costs();
    board::exit(0)
}
