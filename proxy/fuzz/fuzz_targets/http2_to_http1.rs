//! HTTP/2 requests written as HTTP/1, and HTTP/1 answers read back: `cargo fuzz run http2_to_http1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::http2_to_http1(bytes));
