//! A dataset's card.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| classified::dataset::fuzzing::card(bytes));
