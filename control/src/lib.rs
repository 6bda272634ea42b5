//! Bellhop's control plane: control API, stores, expiry.

pub mod store;
