//! First bytes of clients and servers: `cargo fuzz run detection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::detection(bytes));
