//! Wire types of Bellhop's control API, and their validation.
//!
//! Everything here is pure: no I/O, no clock. The control plane, the proxy and the command line speak to each other in
//! these types alone.

mod destination;
mod key;
pub mod report;
pub mod watch;

pub use destination::{Destination, DestinationError, DnsLabel, DnsLabelError};
pub use key::{RoutingKey, RoutingKeyError};

/// The `apiVersion` of every object.
pub const API_VERSION: &str = "bellhop.dev/v1alpha1";
/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
