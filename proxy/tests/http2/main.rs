//! The HTTP/2 engine over loopback, between real peers: `h2` on both sides, or raw bytes where a peer misbehaves.
//! Row numbers are those of the project's tables of faults (F) and bad input (B).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs,
    reason = "the helpers of a test are the test"
)]

mod bodies;
mod connections;
mod control;
mod floods;
mod goaway;
mod heads;
mod http1_clients;
mod http1_leaving;
mod idle_upstreams;
mod interim;
mod keep_alive;
mod limits;
mod malformed;
mod messages;
mod names;
mod peer;
mod process;
mod request_timeout;
mod resets;
mod routing;
mod stalled;
mod websocket;
