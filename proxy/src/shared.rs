//! What all threads of one proxy share.

use std::sync::Arc;

/// Everything that outlives a connection. Requests read from it and never wait for it.
#[derive(Debug)]
pub struct Shared {}

/// A handle on [`Shared`]; a worker holds one, and lends it to its connections.
pub type SharedRef = Arc<Shared>;
