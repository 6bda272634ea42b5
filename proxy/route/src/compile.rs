//! From the unit of a key to its compiled form: the one function that control validates with and the proxy compiles with.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use bellhop_api::{
    Destination, RoutingKey,
    watch::{EndpointProtocol, Fallback, KeyUnit, RouteState, RouteUnit},
};

use crate::{Digest, digest};

/// All routes of one key, compiled. Never changed: a newer form takes its place whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRoutes {
    /// The key.
    pub key: RoutingKey,
    /// The key was there and is no more.
    pub gone: bool,
    /// Digest of this form.
    pub digest: Digest,
    /// Its routes, sorted by destination, one for each.
    pub routes: Box<[Arc<Route>]>,
}

/// What one key does with one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination that is overridden.
    pub destination: Destination,
    /// Whether and where it goes.
    pub kind: RouteKind,
    /// Where to go instead: sorted, each once, IPv4-mapped addresses unwrapped. Empty where none of
    /// their names resolves yet: such a route fails its requests, loudly.
    pub endpoints: Arc<[SocketAddr]>,
    /// Whether the baseline may answer when no endpoint does.
    pub fallback: bool,
    /// What the endpoints speak. Never `Unknown` where `kind` is `Active`.
    pub protocol: EndpointProtocol,
    /// The sandbox it comes from, `namespace/name`. For people; no part of the digest.
    pub sandbox: Option<Arc<str>>,
}

/// What a [`Route`] makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// It goes to the endpoints.
    Active,
    /// It was there and is no more: baseline.
    Gone,
    /// Overrides differ: refused.
    Conflict,
    /// It asks for what this version does not know: refused.
    Unsupported,
}

/// Why a unit cannot be compiled. It is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Two routes name one destination.
    #[error("key {key} has two routes for {destination}; one for each destination is allowed")]
    SameDestination {
        /// The key.
        key: RoutingKey,
        /// The destination.
        destination: Destination,
    },
    /// An endpoint that nothing can be sent to.
    #[error("key {key} routes {destination} to {endpoint}, which has no port or stands for no one host")]
    BadEndpoint {
        /// The key.
        key: RoutingKey,
        /// The destination.
        destination: Destination,
        /// The endpoint.
        endpoint: SocketAddr,
    },
    /// A key that is gone still has routes.
    #[error("key {0} is gone and still has routes")]
    GoneWithRoutes(RoutingKey),
}

impl KeyRoutes {
    /// The route for `destination`, whatever its kind.
    #[must_use]
    pub fn route(&self, destination: &Destination) -> Option<&Arc<Route>> {
        let found = self.routes.binary_search_by(|route| route.destination.cmp(destination)).ok()?;
        self.routes.get(found)
    }
}

impl Route {
    /// Whether a request fares the same on either route.
    #[must_use]
    pub fn leads_as(&self, other: &Self) -> bool {
        (&self.endpoints, self.fallback, self.protocol) == (&other.endpoints, other.fallback, other.protocol)
    }
}

/// Abilities that a unit may require and that this version has. None exist yet.
const ABILITIES: &[&str] = &[];

/// Compiles the unit of a key. What it does not know becomes [`RouteKind::Unsupported`]; what is wrong is an error.
///
/// The digest of the result is computed anew: `unit.digest` is what control says, this is what is held.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(unit: &KeyUnit) -> Result<KeyRoutes, CompileError> {
    if unit.gone && !unit.routes.is_empty() {
        return Err(CompileError::GoneWithRoutes(unit.key.clone()));
    }
    let mut routes = Vec::with_capacity(unit.routes.len());
    for route in &unit.routes {
        routes.push(Arc::new(compile_route(&unit.key, route)?));
    }
    routes.sort_by(|a, b| a.destination.cmp(&b.destination));
    let mut seen = HashSet::with_capacity(routes.len());
    if let Some(again) = routes.iter().find(|route| !seen.insert(&route.destination)) {
        let destination = again.destination.clone();
        return Err(CompileError::SameDestination { key: unit.key.clone(), destination });
    }
    Ok(KeyRoutes { key: unit.key.clone(), gone: unit.gone, digest: digest(unit), routes: routes.into() })
}

fn compile_route(key: &RoutingKey, route: &RouteUnit) -> Result<Route, CompileError> {
    let (key, destination) = (key.clone(), route.destination.clone());
    let endpoints = tidy(&route.endpoints);
    if let Some(&endpoint) =
        endpoints.iter().find(|e| e.port() == 0 || e.ip().is_unspecified() || e.ip().is_multicast())
    {
        return Err(CompileError::BadEndpoint { key, destination, endpoint });
    }
    let known = route.requires.iter().all(|ability| ABILITIES.contains(&ability.as_str()))
        && route.fallback != Fallback::Unknown
        && route.protocol != EndpointProtocol::Unknown;
    let kind = match route.state {
        RouteState::Active if !known => RouteKind::Unsupported,
        RouteState::Active => RouteKind::Active,
        RouteState::Gone => RouteKind::Gone,
        RouteState::Conflict => RouteKind::Conflict,
        RouteState::Unknown => RouteKind::Unsupported,
    };
    let fallback = route.fallback == Fallback::Baseline;
    let sandbox = route.sandbox.clone();
    Ok(Route { destination, kind, endpoints: endpoints.into(), fallback, protocol: route.protocol, sandbox })
}

/// Endpoints as they are compared and kept: unwrapped, sorted, each once.
pub(crate) fn tidy(endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut tidied: Vec<_> =
        endpoints.iter().map(|e| SocketAddr::new(e.ip().to_canonical(), e.port())).collect();
    tidied.sort_unstable();
    tidied.dedup();
    tidied
}
