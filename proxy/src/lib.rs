//! Bellhop's data plane: a header-aware routing sidecar.
//!
//! A call walks through the rooms in this order, and only [`handler`] knows it:
//! `listen → detect → http1 | http2 → handler (context → decide → forward → respond) → telemetry`, with `tunnel` for
//! everything that is not HTTP.

mod connection;
mod shared;
mod worker;

pub use shared::Shared;
