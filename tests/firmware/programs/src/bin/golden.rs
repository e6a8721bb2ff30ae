//! Golden values in single precision: of each kind of result the row that is the furthest off. One that is too far
//! off fails the program.
#![no_std]
#![no_main]

use defmt_semihosting as _;
use rivergram_board as board;
use rivergram_board::memory::Memory;
use rivergram_firmware::golden::{self, Worst};

static MEMORY: Memory<golden::Memory> = Memory::new(golden::Memory::new());

#[board::entry]
fn main() -> ! {
    board::exit(if MEMORY.take().is_some_and(run) { 0 } else { 1 })
}

fn run(memory: &mut golden::Memory) -> bool {
    let kinds: [(&str, Worst); 9] = [
        ("volume", golden::volumes(memory)),
        ("gradient of a volume", golden::volume_gradients(memory)),
        ("volume in 8 bits", golden::volumes_i8(memory)),
        ("nearest in 8 bits", golden::nearest_i8(memory)),
        ("GRAM loss", golden::losses(memory)),
        ("gradient of a GRAM loss", golden::loss_gradients(memory)),
        ("EISL loss", golden::sequences(memory)),
        (
            "gradient of an EISL loss",
            golden::sequence_gradients(memory),
        ),
        ("learning rate", golden::rates()),
    ];
    let mut passed = true;
    for (kind, worst) in &kinds {
        // In units that need no float to be printed.
        let units = |x: f64| (x * 1e9) as u32;
        let Worst {
            name,
            deviation,
            count,
        } = worst;
        defmt::println!(
            "{=str}: {=u32} rows, the worst {=str}: error {=u32}e-9, at most {=u32}e-9",
            kind,
            count,
            name,
            units(deviation.error),
            units(deviation.cap)
        );
        passed &= deviation.is_small();
    }
    passed
}
