//! Names of datasets at the Hub.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| classified::dataset::fuzzing::name(bytes));
