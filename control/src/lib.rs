//! Bellhop's control plane: control API, stores, expiry.
//!
//! A write goes `api → author → store`; what the store has taken comes back by its watch, `control → world → feed`, and
//! from there to every watcher. `app::start` puts it together.

pub mod access;
mod answering;
mod api;
pub mod app;
mod author;
pub mod backup;
mod clock;
mod command;
pub mod config;
mod control;
mod descriptors;
mod expiry;
mod feed;
mod names;
pub mod networks;
mod private;
mod record;
mod registry;
mod replicas;
mod server;
pub mod store;
mod telemetry;
pub mod tls;
pub mod trial;
mod world;
