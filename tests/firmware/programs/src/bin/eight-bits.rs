//! The golden vectors in 8 bits: volumes beside whole numbers, and the nearest items of a gallery beside the volumes of
//! all pairs. One that is too far off fails the program.
#![no_std]
#![no_main]

use defmt_semihosting as _;
use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_firmware::golden;

static MEMORY: Memory<golden::Memory> = Memory::new(golden::Memory::new());

#[board::entry]
fn main() -> ! {
    board::exit(if MEMORY.take().is_some_and(run) { 0 } else { 1 })
}

fn run(memory: &mut golden::Memory) -> bool {
    golden::report(&[
        ("volume in 8 bits", golden::volumes_i8(memory)),
        ("nearest in 8 bits", golden::nearest_i8(memory)),
    ])
}
