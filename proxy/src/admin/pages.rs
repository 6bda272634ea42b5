//! What the admin listener has beside the status: the effective configuration, the routes, and draining.

use std::{net::SocketAddr, sync::Arc};

use bellhop_route::{KeyRoutes, Route, RouteKind};
use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use serde::Serialize;

use super::serve::{Page, text, typed};
use crate::{drain::Phase, shared::SharedRef};

/// Keys on one page of `/routes`, unless the caller asks for another number.
const KEYS: usize = 1000;

const INDEX: &str = "\
Bellhop proxy
GET  /config           the effective configuration
GET  /routes           the routes in force; ?key=KEY for one, ?limit=N for more than 1000
POST /drain            begin to drain, as SIGTERM does
POST /handover         the listening sockets, for a successor (--take-over); on a Unix socket alone
GET  /livez            alive
GET  /readyz           ready for traffic, or why not
GET  /metrics          metrics in Prometheus' text form
";

/// The page at this address, if there is one.
pub(super) fn page<'a>(shared: &'a SharedRef, uri: &'a Uri) -> Option<Page<'a>> {
    match uri.path() {
        "/" => Page::get(|| text(StatusCode::OK, INDEX)),
        "/config" => Page::get(|| json(&shared.config)),
        "/routes" => Page::get(|| json(&Routes::read(shared, uri.query().unwrap_or_default()))),
        "/drain" => Page::post(|| {
            shared.advance(Phase::Draining);
            text(StatusCode::ACCEPTED, "draining\n")
        }),
        _ => None,
    }
}

fn json(of: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(of) {
        Ok(mut body) => {
            body.push(b'\n');
            typed(StatusCode::OK, "application/json", body.into())
        }
        Err(error) => {
            tracing::error!(%error, "an admin page cannot be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be written; see the log\n")
        }
    }
}

/// `/routes`: where they come from, and what each key does.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Routes {
    /// Whether there ever was a table.
    loaded: bool,
    /// What the watch is about.
    watch: &'static str,
    /// Control was not heard for 15 s.
    stale: bool,
    /// How long ago control was heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    heard_seconds_ago: Option<f64>,
    /// The store's revision that the table stands at.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Digest of the whole table.
    digest: String,
    /// How many keys are held, shown or not.
    held: usize,
    /// Not all of them are shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// Sorted by key.
    keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
struct Key {
    key: String,
    digest: String,
    /// Was there, and is no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    routes: Vec<KeyRoute>,
}

#[derive(Debug, Serialize)]
struct KeyRoute {
    destination: String,
    state: &'static str,
    endpoints: Arc<[SocketAddr]>,
    protocol: bellhop_api::watch::EndpointProtocol,
    fallback: &'static str,
    /// The sandbox that the route comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Arc<str>>,
}

impl Routes {
    fn read(shared: &SharedRef, query: &str) -> Self {
        let tables = &shared.tables;
        let table = tables.current();
        let parameter =
            |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let limit = parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(KEYS);
        let mut keys = match parameter("key") {
            Some(key) => table.key(key).into_iter().collect(),
            None => table.keys(),
        };
        keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let truncated = keys.len() > limit;
        Self {
            loaded: tables.loaded(),
            watch: tables.watch_state().as_str(),
            stale: tables.stale(),
            heard_seconds_ago: tables.heard().map(|at| at.elapsed().as_secs_f64()),
            revision: tables.position().map(|position| position.revision),
            digest: table.digest().to_string(),
            held: table.len(),
            truncated,
            keys: keys.iter().take(limit).map(|key| Key::from(&**key)).collect(),
        }
    }
}

impl From<&KeyRoutes> for Key {
    fn from(routes: &KeyRoutes) -> Self {
        Self {
            key: routes.key.to_string(),
            digest: routes.digest.to_string(),
            gone: routes.gone,
            routes: routes.routes.iter().map(|route| KeyRoute::from(&**route)).collect(),
        }
    }
}

impl From<&Route> for KeyRoute {
    fn from(route: &Route) -> Self {
        Self {
            destination: route.destination.to_string(),
            state: match route.kind {
                RouteKind::Active => "active",
                RouteKind::Gone => "gone",
                RouteKind::Conflict => "conflict",
                RouteKind::Unsupported => "unsupported",
            },
            endpoints: Arc::clone(&route.endpoints),
            protocol: route.protocol,
            fallback: if route.fallback { "baseline" } else { "none" },
            from: route.sandbox.clone(),
        }
    }
}
