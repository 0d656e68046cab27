//! Files for runners of one's own, which take what the Batch API takes (vLLM's `run-batch`): questions are written to one, and what
//! the runner wrote is read. The store knows which questions are out, so that nobody else asks them.

mod lines;
mod read;
mod write;

pub use read::{Of, Read, Rest, Wanted, read};
pub use write::{Existing, Sink, Written, forget_unfinished, write};
