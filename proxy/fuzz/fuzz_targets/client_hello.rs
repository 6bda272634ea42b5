//! TLS ClientHellos: `cargo fuzz run client_hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::client_hello(bytes));
