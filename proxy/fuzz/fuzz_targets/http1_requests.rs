//! HTTP/1 requests as the relay and as hyper read them: `cargo fuzz run http1_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::http1_requests(bytes));
