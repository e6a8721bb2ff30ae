//! What counts instructions. How a machine starts, ends and has its stack measured is in `rivergram-board`.

/// Counts instructions in steps of [`STEP`]; wraps around at [`WRAP`].
#[cfg(target_arch = "arm")]
pub(crate) fn counter() -> u32 {
    const SYST_CSR: *mut u32 = 0xe000_e010 as *mut u32;
    const SYST_RVR: *mut u32 = 0xe000_e014 as *mut u32;
    const SYST_CVR: *const u32 = 0xe000_e018 as *const u32;
    // SAFETY: the registers of SysTick, which every one of these machines has and nothing else here uses
    // (Armv6-M and Armv7-M Architecture Reference Manuals, B3.3).
    unsafe {
        SYST_RVR.write_volatile(WRAP);
        SYST_CSR.write_volatile(0b101); // Counting down, with the clock of the core.
        WRAP - SYST_CVR.read_volatile()
    }
}

/// Counts instructions in steps of [`STEP`]; wraps around at [`WRAP`].
#[cfg(target_arch = "riscv32")]
pub(crate) fn counter() -> u32 {
    let count: u32;
    // SAFETY: reads a counter.
    unsafe { core::arch::asm!("csrr {}, minstret", out(reg) count, options(nomem, nostack)) };
    count
}

/// The clock of QEMU's mps2 boards ticks with 25 MHz, and QEMU lets an instruction take a nanosecond.
#[cfg(target_arch = "arm")]
pub(crate) const STEP: u32 = 40;
#[cfg(target_arch = "riscv32")]
pub(crate) const STEP: u32 = 1;

/// The largest count.
#[cfg(target_arch = "arm")]
pub(crate) const WRAP: u32 = 0x00ff_ffff;
#[cfg(target_arch = "riscv32")]
pub(crate) const WRAP: u32 = u32::MAX;
