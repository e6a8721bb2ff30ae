//! A thread of a GPU: the one file with its instructions.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm, nvptx};
use core::marker::PhantomData;

use super::{ALL_LANES, Element, Format, Global, Shared, WARP};
use crate::lanes::F32;

// The block's shared memory; the launch gives its size.
global_asm!(".extern .shared .align 16 .b8 rivergram_shared[];");

// Intrinsics, not assembly: the compiler knows of them that all lanes meet there.
#[allow(improper_ctypes)]
unsafe extern "C" {
    #[link_name = "llvm.nvvm.shfl.sync.bfly.i32"]
    fn shuffle_butterfly(lanes: u32, word: u32, mask: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.shfl.sync.idx.i32"]
    fn shuffle_index(lanes: u32, word: u32, lane: u32, clamp: u32) -> u32;
    #[link_name = "llvm.nvvm.vote.ballot.sync"]
    fn vote(lanes: u32, yes: bool) -> u32;
}

/// What a thread is and can do.
#[derive(Clone, Copy, Debug)]
pub struct Thread<'a>(PhantomData<&'a ()>);

/// a·b + c, rounded once.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    core::f32::math::mul_add(a, b, c)
}

/// √x, rounded to nearest.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    core::f32::math::sqrt(x)
}

impl Thread<'_> {
    /// The thread that runs.
    ///
    /// # Safety
    /// Every view that this thread reads or writes is one of device memory that lives as long as the kernel runs, and
    /// two threads touch one of its words, one of them writing, only with a barrier between. The emulation checks
    /// both for each kernel.
    #[inline(always)]
    pub unsafe fn current() -> Self {
        Thread(PhantomData)
    }

    /// The index of the thread in its block.
    #[inline(always)]
    pub fn index(self) -> u32 {
        // SAFETY: a special register, read.
        unsafe { nvptx::_thread_idx_x() as u32 }
    }

    /// Threads per block.
    #[inline(always)]
    pub fn threads(self) -> u32 {
        // SAFETY: a special register, read.
        unsafe { nvptx::_block_dim_x() as u32 }
    }

    /// The index of the block, across.
    #[inline(always)]
    pub fn block(self) -> u32 {
        // SAFETY: a special register, read.
        unsafe { nvptx::_block_idx_x() as u32 }
    }

    /// The index of the block, down.
    #[inline(always)]
    pub fn block_y(self) -> u32 {
        // SAFETY: a special register, read.
        unsafe { nvptx::_block_idx_y() as u32 }
    }

    /// Blocks across.
    #[inline(always)]
    pub fn blocks(self) -> u32 {
        // SAFETY: a special register, read.
        unsafe { nvptx::_grid_dim_x() as u32 }
    }

    /// The index of the thread in its warp.
    #[inline(always)]
    pub fn lane(self) -> u32 {
        self.index() % WARP
    }

    /// The same number, as if it were not known before: so that what follows from it is computed where it is used, and takes no
    /// register earlier.
    #[inline(always)]
    pub fn here(self, x: u32) -> u32 {
        let same: u32;
        // SAFETY: a copy. It is not `pure`, so it stays where it stands.
        unsafe { asm!("mov.b32 {}, {};", out(reg32) same, in(reg32) x, options(nomem, nostack)) }
        same
    }

    /// Waits for all threads of the block; what they wrote before is seen after.
    #[inline(always)]
    pub fn sync_threads(self) {
        // SAFETY: every thread of the block comes here, which the emulation checks for each kernel.
        unsafe { nvptx::_syncthreads() }
    }

    /// The number that the lane `lane` xor `mask` gives.
    #[inline(always)]
    pub fn shuffle_xor<T: Element>(self, x: T, mask: u32) -> T {
        // SAFETY: all lanes come here, which the emulation checks for each kernel.
        let word = unsafe { shuffle_butterfly(ALL_LANES, x.to_word(), mask, WARP - 1) };
        T::from_word(word)
    }

    /// The number that lane `lane` gives.
    #[inline(always)]
    pub fn shuffle<T: Element>(self, x: T, lane: u32) -> T {
        // SAFETY: as of `shuffle_xor`.
        let word = unsafe { shuffle_index(ALL_LANES, x.to_word(), lane, WARP - 1) };
        T::from_word(word)
    }

    /// Which lanes say yes: a bit for each.
    #[inline(always)]
    pub fn ballot(self, yes: bool) -> u32 {
        // SAFETY: as of `shuffle_xor`.
        unsafe { vote(ALL_LANES, yes) }
    }

    /// A number of global memory.
    #[inline(always)]
    pub fn read<T: Element>(self, from: Global<T>, index: usize) -> T {
        let word: u32;
        if T::BYTES == 2 {
            let half: u16;
            // SAFETY: the contract of `current`.
            unsafe {
                asm!(
                    "ld.global.b16 {}, [{}];",
                    out(reg16) half,
                    in(reg64) from.at(index),
                    options(pure, readonly, nostack),
                );
            }
            return T::from_word(u32::from(half));
        }
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "ld.global.b32 {}, [{}];",
                out(reg32) word,
                in(reg64) from.at(index),
                options(pure, readonly, nostack),
            );
        }
        T::from_word(word)
    }

    /// Writes a number to global memory.
    #[inline(always)]
    pub fn write<T: Element>(self, to: Global<T>, index: usize, x: T) {
        if T::BYTES == 2 {
            // SAFETY: the contract of `current`.
            unsafe {
                asm!(
                    "st.global.b16 [{}], {};",
                    in(reg64) to.at(index),
                    in(reg16) x.to_word() as u16,
                    options(nostack),
                );
            }
            return;
        }
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "st.global.b32 [{}], {};",
                in(reg64) to.at(index),
                in(reg32) x.to_word(),
                options(nostack),
            );
        }
    }

    /// Sixteen bytes of global memory, from an index on whose address is a multiple of 16.
    #[inline(always)]
    pub fn read_16_bytes<T: Element>(self, from: Global<T>, index: usize) -> [u32; 4] {
        let (a, b, c, d): (u32, u32, u32, u32);
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "ld.global.v4.b32 {{{}, {}, {}, {}}}, [{}];",
                out(reg32) a,
                out(reg32) b,
                out(reg32) c,
                out(reg32) d,
                in(reg64) from.at(index),
                options(pure, readonly, nostack),
            );
        }
        [a, b, c, d]
    }

    /// Writes sixteen bytes of global memory, from an index on whose address is a multiple of 16.
    #[inline(always)]
    pub fn write_16_bytes<T: Element>(self, to: Global<T>, index: usize, words: [u32; 4]) {
        let [a, b, c, d] = words;
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "st.global.v4.b32 [{}], {{{}, {}, {}, {}}};",
                in(reg64) to.at(index),
                in(reg32) a,
                in(reg32) b,
                in(reg32) c,
                in(reg32) d,
                options(nostack),
            );
        }
    }

    /// A number of shared memory.
    #[inline(always)]
    pub fn read_shared<T: Element>(self, from: Shared<T>, index: u32) -> T {
        let word: u32;
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "ld.shared.b32 {}, [{}];",
                out(reg32) word,
                in(reg32) address(from, index),
                options(pure, readonly, nostack),
            );
        }
        T::from_word(word)
    }

    /// Four numbers of shared memory, from an index that is a multiple of 4 on.
    #[inline(always)]
    pub fn read_shared_four(self, from: Shared<F32>, index: u32) -> [F32; 4] {
        let (a, b, c, d): (f32, f32, f32, f32);
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "ld.shared.v4.f32 {{{}, {}, {}, {}}}, [{}];",
                out(reg32) a,
                out(reg32) b,
                out(reg32) c,
                out(reg32) d,
                in(reg32) address(from, index),
                options(pure, readonly, nostack),
            );
        }
        [F32(a), F32(b), F32(c), F32(d)]
    }

    /// Writes a number to shared memory.
    #[inline(always)]
    pub fn write_shared<T: Element>(self, to: Shared<T>, index: u32, x: T) {
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "st.shared.b32 [{}], {};",
                in(reg32) address(to, index),
                in(reg32) x.to_word(),
                options(nostack),
            );
        }
    }
}

// What a warp does as one, from sm_80 on. None of these blocks is `pure`: the compiler would be free to move it to where
// its result is used, which not all lanes may reach.
impl Thread<'_> {
    /// Starts to copy four words of global to shared memory, from indices that are multiples of 4 on; zeros where they
    /// are not `there`. Who reads them waits for the copy and meets who started it.
    #[inline(always)]
    pub fn copy_async(
        self,
        to: Shared<u32>,
        index: u32,
        from: Global<u32>,
        at: usize,
        there: bool,
    ) {
        // SAFETY: the contract of `current`.
        unsafe {
            asm!(
                "cp.async.cg.shared.global [{}], [{}], 16, {};",
                in(reg32) address(to, index),
                in(reg64) from.at(at),
                in(reg32) if there { 16_u32 } else { 0 },
                options(nostack),
            );
        }
    }

    /// The copies so far are a group.
    #[inline(always)]
    pub fn commit_copies(self) {
        // SAFETY: it orders copies.
        unsafe { asm!("cp.async.commit_group;", options(nostack)) }
    }

    /// Waits for all groups of copies of this thread but the latest `N`.
    #[inline(always)]
    pub fn wait_copies<const N: usize>(self) {
        // SAFETY: it waits for copies.
        unsafe { asm!("cp.async.wait_group {};", const N, options(nostack)) }
    }

    /// Four matrices of 8 rows of 4 words: lane l gives where row l % 8 of matrix l / 8 starts, a multiple of 4, and gets
    /// word l % 4 of row l / 4 of each.
    #[inline(always)]
    pub fn load_matrices(self, from: Shared<u32>, index: u32) -> [u32; 4] {
        let (a, b, c, d): (u32, u32, u32, u32);
        // SAFETY: the contract of `current`; all lanes come here, which the emulation checks for each kernel.
        unsafe {
            asm!(
                "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{{}, {}, {}, {}}}, [{}];",
                out(reg32) a,
                out(reg32) b,
                out(reg32) c,
                out(reg32) d,
                in(reg32) address(from, index),
                options(readonly, nostack),
            );
        }
        [a, b, c, d]
    }

    /// A·B + C of a warp: 16 rows and 8 columns of 8 words, as the lanes hold them.
    #[inline(always)]
    pub fn product(self, format: Format, a: [u32; 4], b: [u32; 2], c: [u32; 4]) -> [u32; 4] {
        macro_rules! mma {
            ($instruction:literal) => {{
                let [mut c0, mut c1, mut c2, mut c3] = c;
                // SAFETY: arithmetic; all lanes come here, which the emulation checks for each kernel.
                unsafe {
                    asm!(
                        concat!(
                            "mma.sync.aligned.",
                            $instruction,
                            " {{{c0}, {c1}, {c2}, {c3}}}, {{{a0}, {a1}, {a2}, {a3}}}, {{{b0}, {b1}}}, ",
                            "{{{c0}, {c1}, {c2}, {c3}}};"
                        ),
                        c0 = inout(reg32) c0,
                        c1 = inout(reg32) c1,
                        c2 = inout(reg32) c2,
                        c3 = inout(reg32) c3,
                        a0 = in(reg32) a[0],
                        a1 = in(reg32) a[1],
                        a2 = in(reg32) a[2],
                        a3 = in(reg32) a[3],
                        b0 = in(reg32) b[0],
                        b1 = in(reg32) b[1],
                        options(nomem, nostack),
                    );
                }
                [c0, c1, c2, c3]
            }};
        }
        // The instruction is a literal, so each is an `asm!` of its own.
        match format {
            Format::Tf32 => mma!("m16n8k8.row.col.f32.tf32.tf32.f32"),
            Format::F16 => mma!("m16n8k16.row.col.f32.f16.f16.f32"),
            Format::Bf16 => mma!("m16n8k16.row.col.f32.bf16.bf16.f32"),
            Format::I8 => mma!("m16n8k32.row.col.s32.s8.s8.s32"),
        }
    }

    /// The nearest number of TF32, of two the one away from zero.
    #[inline(always)]
    pub fn to_tf32(self, x: F32) -> u32 {
        let word: u32;
        // SAFETY: arithmetic.
        unsafe {
            asm!(
                "cvt.rna.tf32.f32 {}, {};",
                out(reg32) word,
                in(reg32) x.0,
                options(pure, nomem, nostack),
            );
        }
        word
    }
}

/// Where a number lies in the shared window.
#[inline(always)]
fn address<T>(view: Shared<T>, index: u32) -> u32 {
    let start: u32;
    // SAFETY: the address of a variable, into a register.
    unsafe {
        asm!(
            "mov.u32 {}, rivergram_shared;",
            out(reg32) start,
            options(pure, nomem, nostack),
        );
    }
    start.wrapping_add(view.first.wrapping_add(index).wrapping_mul(4))
}

/// No kernel can panic; one that did would stop with a trap, which the driver reports.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the kernel.
    unsafe { nvptx::trap() }
}
