//! What can be wrong with an input: small enums that name the index or the size that broke the rule.

mod eisl;
#[cfg(feature = "flash")]
mod flash;
mod gram;
mod optim;
mod replay;
mod schedule;
mod trainer;

pub use eisl::{EislBuffer, EislError};
#[cfg(feature = "flash")]
pub use flash::{FlashAction, FlashError, FlashFault};
pub use gram::GramError;
pub use optim::OptimError;
pub use replay::ReplayError;
pub use schedule::{DecodeError, EncodeError, PlanError, PlanPart, RateName, StateError};
pub use trainer::{TrainBuffer, TrainError};
