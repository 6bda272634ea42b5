//! The watch: `GET /v1/routes?watch=true&since=TOKEN` streams one [`Event`] a line, as JSON. A proxy adds
//! `proxy=ID`, the ID that it reports under, so that an [`Event::Ask`] reaches it on its own watch.
//!
//! A stream is: `reset` (only where `since` cannot be honoured exactly) with all units as `put`, one `synced`, then
//! changes as they come, and a `bookmark` every 5 s. What a `reset` … `synced` list does not name is gone.
//! A `service` unit comes before the first `key` unit that needs it. A reader skips and counts event types and fields
//! that it does not know.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Destination, DnsLabel, RoutingKey};

/// Where a watch stands. `token` is what `since` takes, opaque; `epoch` and `revision` let a reader see that a source
/// has fallen behind: within one epoch a later list never has a smaller revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Opaque; handed back as `since`.
    pub token: String,
    /// Names one life of the store; a restored backup begins a new one.
    pub epoch: String,
    /// The store's revision, growing within an epoch.
    pub revision: u64,
}

/// One line of the watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    /// A whole list follows, up to the next `synced`.
    Reset(Position),
    /// This unit, whole, replaces what was held under the same name.
    Put {
        /// The unit.
        unit: Unit,
        /// The position after this change; absent inside a list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// This unit is no more.
    Delete {
        /// Which unit.
        unit: UnitName,
        /// The position after this change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// The list, or the changes since `since`, are complete.
    Synced(Position),
    /// Nothing but a sign of life and a fresh position.
    Bookmark(Position),
    /// Control wants a report (`POST /v1/proxies/ID`) now; with `keys`, one that names their digests.
    Ask {
        /// Keys whose digests the report must name; empty: the table's digest alone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keys: Vec<RoutingKey>,
    },
    /// A type that this version does not know: skipped and counted.
    #[serde(other)]
    Unknown,
}

/// What the watch carries: one service or one key, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// What a destination is. Sent only where some key overrides it.
    Service(ServiceUnit),
    /// All routes of a key.
    Key(KeyUnit),
}

/// The name of a [`Unit`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnitName {
    /// A service.
    Service {
        /// Namespace of the service.
        namespace: DnsLabel,
        /// Name of the service.
        name: DnsLabel,
    },
    /// A key.
    Key(RoutingKey),
}

/// A service as a proxy needs it: which addresses stand for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceUnit {
    /// Namespace of the service.
    pub namespace: DnsLabel,
    /// Name of the service.
    pub name: DnsLabel,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Addresses that applications dial, resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Names that applications dial, lower case, besides the implied `NAME`, `NAME.NAMESPACE`, `NAME.NAMESPACE.svc` and
    /// `NAME.NAMESPACE.svc.cluster.local`. They count in explicit mode, where an authority is the destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Addresses of its workloads, where `targetPort` listens; they count for the inbound decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<IpAddr>,
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// The port that applications dial.
    pub port: u16,
    /// The port where workloads listen.
    pub target_port: u16,
}

/// All routes of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUnit {
    /// The key.
    pub key: RoutingKey,
    /// The key is known, but was deleted or has expired: `baseline(gone)` everywhere. `routes` is then empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Its routes, at most one for each destination, sorted by destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteUnit>,
    /// Digest of the compiled form (`bellhop_route::digest`), 16 hex digits, equal on every replica.
    pub digest: String,
}

/// What one key does with one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteUnit {
    /// The destination that is overridden.
    pub destination: Destination,
    /// What to do; unknown values are `refused(unsupported)`.
    #[serde(default)]
    pub state: RouteState,
    /// Where to go instead. Empty where `state` is not `active`, or where no name among the endpoints resolves yet:
    /// requests then fail with `no-healthy-endpoint`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// Whether the baseline may answer when no endpoint does.
    #[serde(default)]
    pub fallback: Fallback,
    /// What the endpoints speak.
    #[serde(default)]
    pub protocol: EndpointProtocol,
    /// Abilities that a proxy must have to serve this route; one that it does not know makes it
    /// `refused(unsupported)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// The sandbox that this route comes from, `namespace/name`. For people; not part of the compiled form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Arc<str>>,
}

/// Whether a route routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteState {
    /// It does.
    #[default]
    Active,
    /// A living group has lost it: `baseline(gone)`.
    Gone,
    /// Members differ for this destination or for one of its addresses: `refused(conflict)`.
    Conflict,
    /// A state that this version does not know: `refused(unsupported)`.
    #[serde(other)]
    Unknown,
}

/// What happens when no endpoint of a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// 503 with the reason.
    #[default]
    None,
    /// The baseline answers, counted and visible.
    Baseline,
    /// A value that this version does not know: `refused(unsupported)`.
    #[serde(other)]
    Unknown,
}

/// What a route's endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointProtocol {
    /// What the caller speaks.
    #[default]
    Same,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A value that this version does not know: `refused(unsupported)`.
    #[serde(other)]
    Unknown,
}
