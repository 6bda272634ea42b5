//! Wire types of Bellhop's control API, and their validation.
//!
//! Everything here is pure: no I/O, no clock. The control plane, the proxy and the command line speak to each other in
//! these types alone.

pub mod access;
pub mod answers;
mod destination;
mod field;
mod group;
mod host;
mod key;
pub mod manifest;
mod object;
pub mod problem;
pub mod report;
mod sandbox;
mod selector;
mod service;
mod status;
mod ttl;
mod unique;
pub mod watch;

pub use destination::{Destination, DestinationError, DnsLabel, DnsLabelError};
pub use field::{FieldError, Invalid};
pub use group::{GroupSpec, SandboxGroup, SandboxRef};
pub use host::{Denied, Endpoint, Host, HostError, denied};
pub use key::{RoutingKey, RoutingKeyError};
pub use manifest::Manifest;
pub use object::{Kind, Metadata, Object, Spec, SpecFaults};
pub use problem::{Problem, ProblemType};
pub use sandbox::{Fallback, Override, Protocol, Sandbox, SandboxSpec, ServiceRef, routing_key};
pub use selector::{Expression, Labels, Operator, Selector, SelectorError};
pub use service::{Port, Service, ServiceSpec};
pub use status::{Condition, ConditionStatus, Phase, Status};
pub use ttl::{Ttl, TtlError};
pub use unique::Unique;

/// The `apiVersion` of every object.
pub const API_VERSION: &str = "bellhop.dev/v1alpha1";
/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
