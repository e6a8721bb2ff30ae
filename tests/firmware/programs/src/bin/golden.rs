//! Golden values in single precision: of each kind of result the row that is the furthest off. One that is too far
//! off fails the program.
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
    let kinds = [
        ("volume", golden::volumes(memory)),
        ("gradient of a volume", golden::volume_gradients(memory)),
        ("GRAM loss", golden::losses(memory)),
        ("gradient of a GRAM loss", golden::loss_gradients(memory)),
        ("EISL loss", golden::sequences(memory)),
        (
            "gradient of an EISL loss",
            golden::sequence_gradients(memory),
        ),
        ("learning rate", golden::rates()),
    ];
    golden::report(&kinds)
}
