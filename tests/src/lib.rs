//! What the tests share: the golden files, the naive oracle and the precision table.

pub mod eisl;
pub mod golden;
pub mod oracle;
pub mod precision;
pub mod random;
