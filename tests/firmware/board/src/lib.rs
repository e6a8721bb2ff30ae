//! The machines of the firmware tests and of the costs, one per target, all run by QEMU:
//!
//! | target | machine | flash | RAM |
//! |---|---|---|---|
//! | thumbv6m-none-eabi | microbit (Cortex-M0) | 256 KB | 16 KB |
//! | thumbv7m-none-eabi | mps2-an385 (Cortex-M3) | 4 MB | 4 MB |
//! | thumbv7em-none-eabihf | mps2-an386 (Cortex-M4F) | 4 MB | 4 MB |
//! | thumbv8m.main-none-eabihf | mps2-an505 (Cortex-M33) | 4 MB | 4 MB |
//! | riscv32imac-unknown-none-elf, riscv32imafc-unknown-none-elf | virt | 4 MB | 4 MB |
//!
//! The runtimes are those of the ecosystem, cortex-m-rt and riscv-rt; this crate gives them the memory of the
//! machine. A program links with `-Tlink.x` and begins at the function that [`entry`] marks. It ends with
//! [`exit`], whose code becomes that of QEMU. A panic and a fault end it with [`PANIC`] and [`FAULT`].
//! With the feature `mps2` a program for thumbv6m-none-eabi has the memory of an mps2 machine.
#![no_std]

pub mod memory;
pub mod stack;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;

use critical_section::RawRestoreState;

/// The exit code after a panic.
pub const PANIC: i32 = 101;

/// The exit code after a fault of the processor, such as one of memory.
pub const FAULT: i32 = 102;

/// Ends the program, and QEMU with it.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

// Where the program was about to panic is not said: the text would be most of a small image.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(PANIC)
}

/// No interrupt is enabled and there is one core: nothing can come between.
struct Alone;

critical_section::set_impl!(Alone);

// SAFETY: as said, every section is critical as it is.
unsafe impl critical_section::Impl for Alone {
    unsafe fn acquire() -> RawRestoreState {}

    unsafe fn release(_: RawRestoreState) {}
}

#[cfg(target_arch = "arm")]
mod vectors {
    use cortex_m_rt::{ExceptionFrame, exception};

    // SAFETY: the processor calls it, with the frame that it has stored; it only ends the program.
    #[exception]
    unsafe fn HardFault(_: &ExceptionFrame) -> ! {
        crate::exit(crate::FAULT)
    }

    unsafe extern "C" {
        fn DefaultHandler();
    }

    /// No interrupt is enabled, so the table of their handlers is as short as it may be.
    #[unsafe(no_mangle)]
    #[unsafe(link_section = ".vector_table.interrupts")]
    static __INTERRUPTS: [unsafe extern "C" fn(); 1] = [DefaultHandler];
}

#[cfg(target_arch = "riscv32")]
#[unsafe(no_mangle)]
extern "C" fn ExceptionHandler(_: &riscv_rt::TrapFrame) -> ! {
    exit(FAULT)
}
