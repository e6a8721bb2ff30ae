//! The square root as the instruction of a floating-point unit, where neither the library `core` nor `libm` reaches
//! it: the one file of this crate with `unsafe`.

#![allow(unsafe_code)]

/// √x on a Cortex-M with an FPU, or any Arm that passes numbers in its registers.
#[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    let root: u32;
    // By way of a register for integers: the compiler gives no other to a stable `asm!` on these targets.
    // SAFETY: the instruction is in every unit that this ABI needs; the register that it overwrites is named, and flags,
    // of which it sets those of floating-point exceptions, are not promised to be kept.
    unsafe {
        core::arch::asm!(
            "vmov s0, {x}",
            "vsqrt.f32 s0, s0",
            "vmov {x}, s0",
            x = inout(reg) x.to_bits() => root,
            out("s0") _,
            options(pure, nomem, nostack),
        );
    }
    f32::from_bits(root)
}

/// √x on a RISC-V with F.
#[cfg(riscv_f)]
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    let root;
    // SAFETY: the build script found F; the instruction reads one register and writes another, and flags, of which it
    // sets those of floating-point exceptions, are not promised to be kept.
    unsafe {
        core::arch::asm!(
            "fsqrt.s {}, {}",
            out(freg) root,
            in(freg) x,
            options(pure, nomem, nostack),
        );
    }
    root
}

/// √x: the instruction on x86-64, AArch64 and wasm, and integer arithmetic where there is none.
#[cfg(not(any(all(target_arch = "arm", target_abi = "eabihf"), riscv_f)))]
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}
