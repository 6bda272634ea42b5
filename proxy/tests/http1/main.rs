//! The HTTP/1 engine between real sockets. Rows of the fault and bad-input matrices carry their number.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "the helpers of a test are the test"
)]

mod answers;
mod faults;
mod harness;
mod input;
mod relaying;
mod request_timeout;
mod resets;
mod retries;
mod stalled;
