//! The machines: how they start, and how they count. All of `unsafe` is here and in `measure`.

use core::arch::{asm, global_asm};

// The vector table of a Cortex-M, and its start: the floating-point unit is switched on where there is one.
#[cfg(target_arch = "arm")]
global_asm!(
    ".section .start, \"ax\", %progbits",
    ".global start",
    ".word stack_top, start",
    ".rept 14",
    ".word fault",
    ".endr",
    ".thumb_func",
    "start:",
    "ldr r0, =0xe000ed88",
    "ldr r1, =0x00f00000",
    "str r1, [r0]",
    "bl measure_all",
    ".thumb_func",
    "fault:",
    "bl fail",
    ".pool",
);

#[cfg(target_arch = "riscv32")]
global_asm!(
    ".section .start, \"ax\", @progbits",
    ".global start",
    "start:",
    "la sp, stack_top",
    "la t0, 1f",
    "csrw mtvec, t0",
    "call measure_all",
    ".balign 4",
    "1: call fail",
);

/// What the machine does with an instruction or an address that it does not have.
#[unsafe(no_mangle)]
extern "C" fn fail() -> ! {
    exit(102)
}

/// Ends the run of QEMU.
pub(crate) fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

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
    unsafe { asm!("csrr {}, minstret", out(reg) count, options(nomem, nostack)) };
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

/// Where the stack ends at present.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "arm")]
        asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack));
        #[cfg(target_arch = "riscv32")]
        asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack));
    }
    pointer
}
