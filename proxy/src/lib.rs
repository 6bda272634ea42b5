//! Bellhop's data plane: a header-aware routing sidecar.
//!
//! A call walks through the rooms in this order, and only `handler` knows that of its requests:
//! `listen → detect → http1 | http2 → validate → handler (context → decide → forward → respond) → telemetry`, with
//! `tunnel` for everything that is not HTTP.

mod admin;
mod allocator;
mod answer_wait;
pub mod app;
mod buffer;
mod check;
pub mod config;
mod connection;
mod context;
#[cfg(test)]
mod corpus;
mod counters;
mod decide;
mod detect;
mod dial;
mod dialling;
mod drain;
mod endpoints;
mod error;
mod explicit;
mod forward;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
pub(crate) mod handover;
mod http1;
mod http2;
mod intercept;
mod listen;
mod overload;
mod patrol;
mod program;
mod respond;
mod retries;
mod routes;
mod shared;
mod status;
mod telemetry;
mod tunnel;
mod upstream;
mod validate;
mod worker;

pub use config::Config;
