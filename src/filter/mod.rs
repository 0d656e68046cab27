//! Which rows are kept: cuts on scores, conditions on rows, the best so many; and what became of every row.

pub mod scores;
