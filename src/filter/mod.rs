//! Which rows are kept: cuts on scores, conditions on rows, the best so many; and what became of every row.

pub mod condition;
mod error;
pub mod judge;
pub mod merge;
pub mod names;
pub mod read;
pub mod scores;
pub mod tally;
pub mod top;
mod values;

pub use error::Error;
