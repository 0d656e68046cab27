//! Batches, from the store outwards.

mod rate;
