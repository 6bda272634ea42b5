//! A caller's trace: `cargo fuzz run trace_context`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bellhop_proxy::fuzzing::trace_context(bytes));
