//! `classified` rates the rows of a dataset with lenses.

pub mod dataset;
pub mod record;
