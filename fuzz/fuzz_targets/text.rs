//! Plain text.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| classified::dataset::fuzzing::text(bytes));
