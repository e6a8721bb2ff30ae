//! The edit-invariant sequence loss (EISL): a target n-gram may appear at any output position.
//!
//! With log-probabilities ln p\[j, v\] at T output positions and U target tokens y, for n-grams of
//! order n at K = T−n+1 positions and M = U−n+1 target places:
//!
//! - s\[j, i\] = max(ln p\[j, y_i\], clamp)
//! - t\[j, i\] = (1/n) Σ_{k<n} s\[j+k, i+k\]
//! - row loss = −(1/M) Σ_i Σ_j q\[j, i\]·t\[j, i\], q = softmax over j of (t + noise)/τ, or another
//!   [`Select`]
//! - Lₙ = mean of the row losses over all rows (0 for a row with K or M below 1); eisl = Σ wₙ·Lₙ
//! - total = `ngram_factor` · eisl + `ce_factor` · cross-entropy, the mean over unpadded tokens of
//!   (1−ε)·nll − ε·mean_v ln p
//!
//! Source: "Don't Take It Literally: An Edit-Invariant Sequence Loss for Text Generation"
//! (arXiv 2106.15078, NAACL 2022). The paper convolves log-probabilities with the target; here
//! the scores of the target tokens are gathered and summed along diagonals, so that the work over the
//! vocabulary is that of cross-entropy, and no tensor of log-probabilities exists.
//!
//! [`gather`], [`diagonal`] and [`select`] are pieces of their own: other losses over the same scores
//! can be built from them. [`bag`] is the first, with all that follows here: [`Config::bag_of_ngrams`]. A row of
//! the batch is independent of all others: [`Checked::forward`] and [`Checked::gradient`] compute one.
//!
//! Options: the other axis of the selection, [`Axis`]; orders relative to each row's output length,
//! [`Config::from_length`]; several references per row, [`References`]; any reduction over rows and orders, with
//! derivatives from outside, [`Reduction`] and [`Parts`].
//!
//! Lengths: a row ends where `target_lens` says, otherwise after its last label that is no pad; inside
//! that length the pad id is an ordinary token. Cross-entropy pairs position t with target t, so where
//! T ≠ U the targets are cut or padded to T; under [`Padding::Mask`] the row's output length cuts too.
//!
//! ```
//! use rivergram_core::eisl::{self, Batch, Config, Parts, Select, Shape};
//! use rivergram_core::lanes::One;
//!
//! // "a b", written one position too late: cross-entropy punishes it, EISL does not.
//! let shape = Shape { batch: 1, positions: 3, targets: 2, vocabulary: 3 };
//! let mut x = [0.0f32, 0.0, 9.0, 9.0, 0.0, 0.0, 0.0, 9.0, 0.0];
//! let orders = [(1, 0.8), (2, 0.2)];
//! let config = Config { select: Select::Detached, ..Config::new(&orders) };
//! let batch = Batch::new(shape, &[0, 1]);
//! let mut workspace = [0.0; 64];
//! assert!(eisl::workspace_len(shape, orders.len()) <= workspace.len());
//! let losses = eisl::loss_and_gradient_in_place(
//!     One::<f32>::new(), &config, &batch, &mut x, Parts::none(), &mut workspace,
//! )?;
//! assert!(losses.total < 0.01);
//! # Ok::<(), rivergram_core::error::EislError>(())
//! ```

// Ranges zipped to iterators count here, not `enumerate`: its counter may overflow and then panic.

pub mod bag;
mod checked;
mod config;
mod crewed;
pub mod diagonal;
pub mod gather;
mod half;
mod loss;
mod row;
pub mod select;
mod work;

pub use checked::Checked;
pub use config::{
    Axis, Batch, Combine, Config, IGNORE, Input, Objective, Padding, Reduction, References, Select,
    Shape, noise_len,
};
pub use crewed::loss_and_gradient_in_place_by;
pub use half::{half_loss_and_gradient_in_place, half_workspace_len};
pub(crate) use loss::known_loss_in_place;
pub use loss::{
    Losses, Parts, loss, loss_and_gradient, loss_and_gradient_f32, loss_and_gradient_fixed,
    loss_and_gradient_in_place, loss_fixed,
};
pub use row::RowLoss;
pub use work::{Work, workspace_len};
