//! Every quantity as plainly as its definition, in `f64`, to compare with.

pub mod eisl;
pub mod gram;
pub mod head;
pub mod integers;
pub mod optim;
pub mod related;
pub mod schedule;
