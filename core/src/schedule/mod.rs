//! Learning rates for training that goes on: WSD, WSD-S and their relatives.
//!
//! A schedule is a warmup to the peak P, a stable phase there, and before each budget a decay to the
//! floor F. Sources: WSD, MiniCPM (arXiv 2404.06395); WSD-S and the inverse-proportional decay,
//! "Understanding Warmup-Stable-Decay Learning Rates" (arXiv 2410.05192).
//!
//! | schedule | how |
//! |---|---|
//! | WSD, one budget | [`Settings::wsd_s`] with one budget |
//! | WSD-S: each decay is kept, training goes straight back to the peak | [`Settings::wsd_s`] with several |
//! | WSD: each decay is a branch that is thrown away | [`Branches`] |
//! | cosine, linear; cyclic with several budgets | [`Settings::cosine`], [`Settings::linear`] |
//! | constant, inverse square root | [`Settings::constant`], [`Settings::inverse_sqrt`] |
//! | no known budget: decays on demand | no budgets, [`State::request_decay`] |
//! | what another implementation does, to the step | [`presets`] |
//!
//! [`Plan::lr_at`]`(t)` is the rate of the (t+1)-th update, a pure function; [`State`] gives the same
//! numbers one update at a time, bit for bit, and can be saved and loaded at every step. Steps are
//! `u64`: an `f32` counter stops at 2²⁴. A plan counts in any unit, steps, samples or tokens:
//! [`State::advance_by`] takes ragged batches. [`Area`] says what rates amount to.
//!
//! With the decay start s, its length D, k = t − s and p = k/D, see [`Shape`] for the rates; the
//! differences k and D − k are formed in integers, since 1 − p would lose its digits at the end.

mod area;
mod branches;
mod plan;
pub mod presets;
mod segment;
mod settings;
mod shape;
mod state;

pub use area::Area;
pub use branches::Branches;
pub use plan::{DecaySpan, Phase, Plan, Position, rate_at};
pub use settings::{After, Decay, DecayEdge, Settings, Stable, WarmupEdge, WarmupShape};
pub use shape::Shape;
pub use state::{Progress, State};
