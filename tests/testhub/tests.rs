//! The test hub as a client sees it.
