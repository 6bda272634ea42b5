//! Bellhop's data plane: a header-aware routing sidecar.
//!
//! A call walks through the rooms in this order, and only `handler` knows that of its requests:
//! `listen → detect → http1 | http2 → handler (context → decide → forward → respond) → telemetry`, with `tunnel` for
//! everything that is not HTTP.

pub mod app;
pub mod config;
mod connection;
mod counters;
mod detect;
mod dialling;
mod drain;
mod http1;
mod http2;
mod listen;
mod routes;
mod shared;
mod telemetry;
mod tunnel;
mod worker;

pub use config::Config;
pub use shared::Shared;
