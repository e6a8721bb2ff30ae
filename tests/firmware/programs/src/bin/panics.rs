//! Panics, and must be found out: what it exits with says so.
#![no_std]
#![no_main]

use core::hint::black_box;

#[rivergram_board::entry]
fn main() -> ! {
    let numbers = [0; 4];
    rivergram_board::exit(black_box(numbers)[black_box(4)])
}
