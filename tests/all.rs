//! The one integration binary: one module per command or room, and the stand-in endpoint they talk to.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails; helpers outside #[test] functions are tests too"
)]

mod bad_input;
mod batch;
mod bill;
mod cache;
mod datasets;
mod dialects;
mod endpoint;
mod faults;
mod filter;
mod floors;
mod heuristic;
mod hub;
mod hub_replay;
mod interrupted;
mod lens;
mod limit;
#[cfg(target_os = "linux")]
mod llama;
mod log;
mod money;
mod report;
mod settings;
mod standin;
mod testhub;
mod world;
