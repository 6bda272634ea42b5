//! What a proxy tells control: `POST /v1/proxies/ID`, at once after a change (at most five times a second), else every
//! 10 s, and when an `ask` line comes. An ID is 1 to 253 of `[A-Za-z0-9._-]`, the same in the watch's `proxy=ID`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{RoutingKey, watch::Position};

/// One report of one proxy. Fields that are not known are skipped: proxy and control may be of different versions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// The workload that the proxy stands beside, as its operator named it; empty where nobody did.
    #[serde(default)]
    pub workload: String,
    /// Version of the proxy.
    pub version: String,
    /// Position of the last applied line of the watch; absent before the first list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Digest of the whole table: the exclusive or of the digests of all its keys, 16 hex digits.
    pub table_digest: String,
    /// How many keys the table holds.
    pub keys: u64,
    /// Digests of keys that changed since the last accepted report, and of those asked for. `null`: not held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<RoutingKey, Option<String>>,
    /// The proxy is leaving and is not waited for any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goodbye: bool,
}
