//! One head in its HTTP/1 and HTTP/2 forms, which have one reading: `cargo fuzz run validation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::validation(bytes));
