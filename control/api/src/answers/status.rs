//! How the whole stands: `GET /v1/status`.

use serde::{Deserialize, Serialize};

use super::ProxyInfo;

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemStatus {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is wrong, for people.
    pub problems: Vec<String>,
    /// Where objects are kept.
    pub store: StoreStatus,
    /// The control replicas, the one that answers first.
    pub replicas: Vec<ReplicaStatus>,
    /// How many objects there are.
    pub objects: ObjectCounts,
    /// How many proxies there are.
    pub proxies: ProxyCounts,
    /// The proxies, by id.
    pub items: Vec<ProxyInfo>,
}

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// `embedded`, `memory` or `etcd`.
    pub kind: String,
    /// Names one life of the store.
    pub epoch: String,
    /// The revision that routes stand at here.
    pub revision: u64,
    /// The store's newest revision; absent where it did not say within a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
    /// Whether it answers, and took the last write.
    pub healthy: bool,
}

/// A control replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Its name, in this life.
    pub id: String,
    /// Where the others reach it; absent where there are no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether it answered within a second. What follows is absent where it did not.
    pub answers: bool,
    /// Whether it does what one alone may do: write down what expires, resolve names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_lease: Option<bool>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long it has lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<u64>,
    /// The revision that routes stand at there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// How many objects there are, expired ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCounts {
    /// Services.
    pub services: u64,
    /// Sandboxes.
    pub sandboxes: u64,
    /// Groups.
    pub groups: u64,
}

/// How many proxies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyCounts {
    /// Heard within 30 s.
    pub connected: u64,
    /// Silent for longer, without a goodbye.
    pub lost: u64,
    /// Connected, and hold the newest table.
    pub current: u64,
    /// Connected, and do not.
    pub behind: u64,
}
