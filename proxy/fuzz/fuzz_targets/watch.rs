//! Streams of the watch: `cargo fuzz run watch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::watch(bytes));
