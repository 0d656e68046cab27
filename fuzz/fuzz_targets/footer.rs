//! The walk through a parquet footer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| classified::dataset::fuzzing::footer(bytes));
