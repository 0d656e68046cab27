//! An Arrow IPC stream or file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| classified::dataset::fuzzing::arrow(bytes));
