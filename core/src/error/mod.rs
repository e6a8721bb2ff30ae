//! What can be wrong with an input: small enums that name the index or the size that broke the rule.

mod gram;
mod schedule;

pub use gram::GramError;
pub use schedule::{DecodeError, EncodeError, PlanError, PlanPart, RateName, StateError};
