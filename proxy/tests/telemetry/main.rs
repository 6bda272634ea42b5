//! What a proxy tells of requests: spans, the access log, metrics and `Proxy-Status`, seen from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "the helpers of a test are the test"
)]

mod bounded;
mod bytes;
#[path = "../http1/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the HTTP/1 engine")]
mod harness;
mod log;
#[path = "../http2/peer.rs"]
#[allow(dead_code, reason = "shared with the tests of the HTTP/2 engine")]
mod peer;
#[path = "../process/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the process")]
mod process;
mod program;
mod prometheus;
mod receiver;
mod spans;
mod status;
