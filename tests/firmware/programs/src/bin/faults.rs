//! Executes what is no instruction, and must be found out: what it exits with says so.
#![no_std]
#![no_main]

#[rivergram_board::entry]
fn main() -> ! {
    #[cfg(target_arch = "arm")]
    // SAFETY: the processor faults here, and the handler of the fault ends the program.
    unsafe {
        core::arch::asm!("udf #0");
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("unimp");
    }
    rivergram_board::exit(0)
}
