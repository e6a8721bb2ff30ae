//! What the tests share: the golden files, the naive oracle and the precision table.

pub mod disassembly;
pub mod golden;
pub mod precision;
