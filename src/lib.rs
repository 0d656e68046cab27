//! `classified` rates the rows of a dataset with lenses.

pub mod record;

pub mod dataset;
