//! Snapshots of routes: `cargo fuzz run snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::snapshot(bytes));
