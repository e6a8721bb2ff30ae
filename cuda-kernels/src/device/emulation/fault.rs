//! What a thread may do wrong, and where it did.

use core::fmt::{Display, Formatter, Result as FmtResult};
use std::panic::Location;

/// Where a thread went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kernel.
    pub kernel: &'static str,
    /// The block, across and down.
    pub block: [u32; 2],
    /// The thread in it.
    pub thread: u32,
    /// What it did.
    pub kind: FaultKind,
    /// The line of the kernel, or of what it called.
    pub place: &'static Location<'static>,
}

/// What went wrong. Addresses of global memory are the emulation's; those of shared memory are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An index beyond the view, or an address beyond the memory that was given out.
    OutOfBounds {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// Sixteen bytes at an address that is no multiple of sixteen, or a number at one that is none of its size.
    Misaligned {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// A number that was never written.
    Uninitialised {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
    },
    /// A word of shared memory into which a copy is on its way: who started it has not waited for it.
    Pending {
        /// Where.
        address: u64,
    },
    /// Another thread was at this word since the last barrier, and one of the two writes.
    Race {
        /// In shared memory.
        shared: bool,
        /// Where.
        address: u64,
        /// The other thread, counted through all blocks; one of several.
        other: u32,
    },
    /// A barrier that not all threads of the block reach, or not at the same line.
    Barrier,
    /// A shuffle, a vote or a product that not all lanes of the warp reach, or not at the same line.
    Shuffle,
    /// A launch without threads, or with a warp that is not whole.
    Launch,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let [x, y] = self.block;
        let Fault { kernel, thread, .. } = self;
        write!(f, "{kernel}: block ({x}, {y}), thread {thread}: ")?;
        let memory = |shared| if shared { "shared word" } else { "address" };
        match self.kind {
            FaultKind::OutOfBounds { shared, address } => {
                write!(f, "{} {address:#x} is out of bounds", memory(shared))
            }
            FaultKind::Misaligned { shared, address } => {
                write!(f, "{} {address:#x} is misaligned", memory(shared))
            }
            FaultKind::Uninitialised { shared, address } => {
                write!(f, "{} {address:#x} was never written", memory(shared))
            }
            FaultKind::Pending { address } => {
                write!(f, "shared word {address:#x}: nobody waited for its copy")
            }
            FaultKind::Race {
                shared,
                address,
                other,
            } => {
                let memory = memory(shared);
                write!(
                    f,
                    "{memory} {address:#x}: a race with thread {other} of all"
                )
            }
            FaultKind::Barrier => f.write_str("a barrier that not all threads reach"),
            FaultKind::Shuffle => f.write_str("a shuffle that not all lanes reach"),
            FaultKind::Launch => f.write_str("no whole warps to launch"),
        }?;
        write!(f, " (at {})", self.place)
    }
}

impl core::error::Error for Fault {}
