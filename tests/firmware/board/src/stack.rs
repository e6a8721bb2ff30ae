//! How much stack a call takes: what lies below is painted, and later one looks how far the paint has gone.

use core::arch::asm;

const PAINT: u32 = 0x5A5A_A5A5;

unsafe extern "C" {
    /// The end of the static data, by the linker scripts of both runtimes.
    static __sheap: u32;
}

/// Painted stack.
pub struct Painted {
    /// The first word above the painted ones.
    top: *mut u32,
    words: usize,
}

/// Paints `bytes` below the caller's stack pointer, or as many as there are down to the static data.
#[inline(always)]
pub fn paint(bytes: usize) -> Painted {
    let top = pointer();
    let room = top.addr().saturating_sub((&raw const __sheap).addr());
    let words = bytes.min(room) / size_of::<u32>();
    for i in 1..=words {
        // SAFETY: below the stack pointer and above the static data lies memory that nobody owns. No interrupt is
        // enabled, and the loop calls nothing.
        unsafe { top.sub(i).write_volatile(PAINT) };
    }
    Painted { top, words }
}

impl Painted {
    /// Bytes that were written to since, counted from the stack pointer at the time of painting. All of the paint
    /// means that there may have been more.
    pub fn used(&self) -> usize {
        let is_painted = |i: &usize| {
            // SAFETY: as for the writes; a call may have written here, and words are read as they are.
            unsafe { self.top.sub(*i).read_volatile() == PAINT }
        };
        let untouched = (1..=self.words).rev().take_while(is_painted).count();
        (self.words - untouched) * size_of::<u32>()
    }
}

#[inline(always)]
fn pointer() -> *mut u32 {
    let sp: *mut u32;
    #[cfg(target_arch = "arm")]
    // SAFETY: reads a register.
    unsafe {
        asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: reads a register.
    unsafe {
        asm!("mv {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags));
    }
    sp
}
