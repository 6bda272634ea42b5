//! Bellhop's control plane: control API, stores, expiry.

mod author;
mod clock;
mod control;
mod feed;
mod names;
pub mod networks;
mod record;
mod registry;
pub mod store;
mod world;
