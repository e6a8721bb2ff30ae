//! A GPU on the host, one thread at a time: for tests, not for speed.
//!
//! The threads of a block are coroutines. One runs until it meets others, at a barrier or where lanes exchange numbers;
//! blocks run one after the other. So every run is the same, and so is its result in either [`Order`] unless the kernel
//! depends on who comes first.
//!
//! What a GPU would do silently is a [`Fault`] that names the kernel, the block, the thread and the address: an access
//! outside the view or the allocation, a read of what nobody wrote or of what a copy has not yet brought, two threads at
//! one word without a barrier between them where one writes, a barrier or a shuffle that not all reach.

mod block;
mod fault;
mod memory;
mod tensor;
mod thread;
mod visits;

pub use fault::{Fault, FaultKind};
pub use memory::Memory;
pub use thread::Thread;

/// a·b + c, rounded once.
#[inline(always)]
pub(crate) fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// √x, rounded to nearest.
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

/// In which order blocks and threads run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    #[default]
    Forward,
    /// The last one first.
    Backward,
}

impl Order {
    fn of(self, n: u32) -> Box<dyn Iterator<Item = u32>> {
        match self {
            Order::Forward => Box::new(0..n),
            Order::Backward => Box::new((0..n).rev()),
        }
    }
}
