//! `classified` rates the rows of a dataset with lenses.

pub mod stats;

pub mod chunk;
