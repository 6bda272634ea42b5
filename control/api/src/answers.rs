//! What the control API answers besides objects and the watch.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Destination, Manifest, RoutingKey,
    watch::{EndpointProtocol, Fallback, Position, Unit},
};

mod status;

pub use status::{ObjectCounts, ProxyCounts, ReplicaStatus, StoreStatus, SystemStatus};

/// A page of objects: `GET /v1/{services,sandboxes,groups}` and below a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// `bellhop.dev/v1alpha1`.
    pub api_version: String,
    /// `ServiceList`, `SandboxList` or `SandboxGroupList`.
    pub kind: String,
    /// Where the list stands, and how it goes on.
    pub metadata: ListMetadata,
    /// The objects, by namespace and name.
    pub items: Vec<T>,
}

/// A page of objects of one kind, as the server writes it.
pub type ManifestList = List<Manifest>;

/// See [`List`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    /// The store's revision at the time of the list.
    pub resource_version: String,
    /// Hand back as `continue` for the next page; absent on the last.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// `GET /v1/routes`, when it is not watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteList {
    /// Where the list stands; a watch with its token as `since` goes on from there.
    pub position: Position,
    /// All units, services first.
    pub units: Vec<Unit>,
}

/// `GET /v1/keys/KEY/in-force`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// The key.
    pub key: RoutingKey,
    /// Whether every proxy that control has heard of lately holds this key's newest form. Latches.
    pub in_force: bool,
    /// Digest of the key's newest form.
    pub digest: String,
    /// How many proxies count.
    pub proxies: u64,
    /// Proxies that have not acknowledged it yet.
    pub waiting_for: Vec<String>,
    /// Proxies that went silent without a goodbye while they were waited for.
    pub lost: Vec<String>,
    /// Control replicas that did not say in time what their proxies hold; while there are any, nothing comes in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
}

/// `GET /v1/proxies`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyList {
    /// The proxies, by id.
    pub items: Vec<ProxyInfo>,
    /// Control replicas that did not say in time which proxies they have heard of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
}

/// `GET /internal/v1/proxies`: the proxies that one replica has heard of. For other replicas alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaProxies {
    /// The proxies, by id.
    pub items: Vec<ReplicaProxy>,
}

/// A proxy as one replica knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaProxy {
    /// What is known of it.
    pub info: ProxyInfo,
    /// How long ago it said what it holds, in ms; absent where it never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_ms: Option<u64>,
}

/// `GET /internal/v1/in-force?key=K&digest=D&revision=R`: which proxies of one replica hold a form of a key. For other
/// replicas alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaInForce {
    /// Whether all proxies of earlier runs have had the time to come back to it.
    pub settled: bool,
    /// The form was in force, as far as it knows, on so many proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latched: Option<u64>,
    /// The proxies that it has heard of.
    pub proxies: Vec<ReplicaHolds>,
}

/// Whether a proxy, as one replica knows it, holds a form of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaHolds {
    /// Its id.
    pub id: String,
    /// Whether it does.
    pub holds: bool,
    /// How long ago it was heard, in ms.
    pub heard_ms: u64,
    /// How long ago it said what it holds, in ms; absent where it never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_ms: Option<u64>,
}

/// A proxy as control knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyInfo {
    /// Its id.
    pub id: String,
    /// The workload that it stands beside.
    #[serde(default)]
    pub workload: String,
    /// Its version.
    pub version: String,
    /// When it was last heard.
    pub last_heard: Timestamp,
    /// Whether it has a watch open here.
    pub watching: bool,
    /// How it stands.
    pub state: ProxyState,
    /// How many keys its table holds.
    pub keys: u64,
    /// Digest of its table.
    pub table_digest: String,
    /// Whether that is the digest of the newest table.
    pub current: bool,
    /// How long ago it was last known to hold the newest table, at most; 0 while it does, absent where it never has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_age_seconds: Option<u64>,
}

/// How a proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyState {
    /// Heard within 30 s.
    Live,
    /// Silent for longer, without a goodbye.
    Lost,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// `GET /v1/explain?key=K[&key=…]&to=SERVICE:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The destination that was asked for.
    pub destination: Destination,
    /// `sandbox`, `baseline` or `refused`.
    pub decision: String,
    /// Why, from the closed set of reasons; absent for `sandbox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<RoutingKey>,
    /// The route that won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<ExplainedRoute>,
    /// What each key in the request contributed, in order.
    pub keys: Vec<ExplainedKey>,
    /// The same in sentences, for people.
    pub because: Vec<String>,
}

/// A route, as [`Explanation`] shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedRoute {
    /// Where it goes.
    pub endpoints: Vec<SocketAddr>,
    /// Whether the baseline may answer instead.
    pub fallback: Fallback,
    /// What the endpoints speak.
    pub protocol: EndpointProtocol,
    /// The sandbox that it comes from, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The group that the key belongs to, `namespace/name`; absent where it is the sandbox's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What one key contributed to a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedKey {
    /// The key.
    pub key: String,
    /// Who has the key: `Sandbox namespace/name` or `SandboxGroup namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it says about the destination: `sandbox`, or a reason of the closed set.
    pub outcome: String,
}

/// `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of the control plane.
    pub version: String,
    /// `apiVersion` of its objects.
    pub api_version: String,
}
