//! A step whose options are constants of the program: what they do not ask for is not in the image.
//!
//! A [`Trainer`](super::Trainer) takes its options at run time, and so holds the code of all of them: hidden layers,
//! three optimizers, shards and cosines of the loss, selections and references of sequences, the shapes of a schedule. A
//! [`Recipe`] or a [`Transcription`] names them when the program is compiled, down to the sizes. The numbers are the
//! same, bit for bit, and so is the memory, but that there is no buffer for the gradient. What is kept between steps is
//! plain data of the caller: parameters, moments, and a count of updates, of which
//! [`rate_at`](crate::schedule::rate_at) makes the rate.
//!
//! ```
//! use rivergram_core::features::Int8Rows;
//! use rivergram_core::gram::contrastive::{Anchor, GramLoss, Term, ZeroRows};
//! use rivergram_core::head::Head;
//! use rivergram_core::lanes::One;
//! use rivergram_core::optim::Optimizer;
//! use rivergram_core::schedule::{Settings, rate_at};
//! use rivergram_core::trainer::fixed::{self, Memory, Recipe, Update};
//!
//! struct Alignment;
//!
//! impl Recipe<f32> for Alignment {
//!     const HEADS: &[Head] = &[Head { input: 2, hidden: 0, output: 2, normalise: true }; 2];
//!     const ROWS: usize = 2;
//!     const OPTIMIZER: Optimizer<f32> = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
//!     const LOSS: GramLoss<f32> = GramLoss {
//!         term: Term::Volume(Anchor::One(0)),
//!         pairs: 0.0,
//!         temperature: 0.07,
//!         label_smoothing: 0.1,
//!         normalise: false, // The heads do.
//!         zero_rows: ZeroRows::Missing,
//!     };
//! }
//!
//! let mut parameters = [1.0, 0.2, 0.1, 1.0, 0.0, 0.0, 0.7, -0.7, 0.7, 0.7, 0.0, 0.0];
//! let mut workspace = [0.0; fixed::workspace_len::<Alignment, f32>()];
//! let features = [[100, 0, 5, 90], [90, 10, 20, 80]];
//! let inputs = features.each_ref().map(|table| Int8Rows { table, rows: &[0, 1], scale: 0.01 });
//! let mut losses = [0.0; 2];
//! for (before, to) in (0..).zip(&mut losses) {
//!     let memory = Memory { parameters: &mut parameters, moments: &mut [], workspace: &mut workspace };
//!     let rate = rate_at(Settings::constant(0.001), &[], before);
//!     let update = Update { before, rate };
//!     let (step, _) = fixed::align::<Alignment, _, _>(One::new(), memory, &inputs, None, update)?;
//!     *to = step.loss;
//! }
//! assert!(losses[1] < losses[0]);
//! # Ok::<(), rivergram_core::error::TrainError>(())
//! ```

mod align;
mod transcribe;

pub use align::{Done, Recipe, align, workspace_len};
pub use transcribe::{Labels, Transcribed, Transcription, transcribe, transcribe_workspace_len};

use super::learn::Rates;
use crate::error::{TrainBuffer, TrainError};
use crate::lanes::Real;

/// The memory of a training.
#[derive(Debug)]
pub struct Memory<'a, T> {
    /// [`parameters_len`](super::parameters_len) floats: the heads one after the other.
    pub parameters: &'a mut [T],
    /// [`Optimizer::state_len`](crate::optim::Optimizer::state_len) floats, zeros at the start. A step does not
    /// look whether they are finite.
    pub moments: &'a mut [T],
    /// [`workspace_len`] or [`transcribe_workspace_len`] floats of anything.
    pub workspace: &'a mut [T],
}

/// Which update is made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Update<T> {
    /// How many were made before it.
    pub before: u64,
    /// Its rate.
    pub rate: T,
}

impl<T: Real> Rates<T> for T {
    #[inline(always)]
    fn next_rate(&mut self) -> T {
        *self
    }
}

/// The first numbers of a buffer, of a length that the compiler knows.
#[inline(always)]
fn first<T>(buffer: TrainBuffer, from: &mut [T], need: usize) -> Result<&mut [T], TrainError> {
    let have = from.len();
    let enough = from.get_mut(..need);
    enough.ok_or(TrainError::Storage { buffer, need, have })
}
