//! `classified` rates the rows of a dataset with lenses.
//!
//! This file is the plan and the law: one room a line, in order, and a room may name only rooms on lines above its
//! own. `tests/floors.rs` reads it and fails on an arrow that points up.

pub mod stats;
pub mod record;
pub mod chunk;
pub mod model;
pub mod lens;
pub mod rating;
pub mod http;
pub mod hub;
pub mod llama;
pub mod dataset;
pub mod store;
pub mod meter;
pub mod heuristic;
pub mod endpoint;
pub mod rate;
pub mod batch;
pub mod filter;
pub mod export;
pub mod report;
pub mod console;
pub mod cli;
