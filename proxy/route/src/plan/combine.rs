//! From the sandboxes under one key to its unit. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bellhop_api::{
    Destination, RoutingKey,
    watch::{Fallback, KeyUnit, RouteState, RouteUnit},
};

use super::{
    Disagreement, FullName, Override, Sandbox, Status,
    catalog::{Catalog, Door},
    model::destination,
};
use crate::{compile::tidy, digest};

/// What stands under one key.
pub(super) struct Parts<'a> {
    /// Sandboxes whose overrides count, sorted by name.
    pub(super) live: Vec<&'a Sandbox>,
    /// Sandboxes whose overrides counted once.
    pub(super) gone: Vec<&'a Sandbox>,
    /// Destinations that were routed once.
    pub(super) lost: BTreeSet<Destination>,
}

/// What comes out.
pub(super) struct Combined {
    pub(super) unit: KeyUnit,
    /// Who has the key finds this in its status.
    pub(super) status: Status,
    /// Services that the unit depends on.
    pub(super) services: BTreeSet<FullName>,
}

/// The unit of a key that is gone.
pub(super) fn gone(key: &RoutingKey) -> Combined {
    let unit = finish(KeyUnit { key: key.clone(), gone: true, routes: Vec::new(), digest: String::new() });
    Combined { unit, status: Status::default(), services: BTreeSet::new() }
}

/// The unit of a key that lives.
pub(super) fn combine(catalog: &Catalog, key: &RoutingKey, parts: &Parts<'_>) -> Combined {
    let mut status = Status::default();
    let mut services = BTreeSet::new();
    let mut routes: BTreeMap<Destination, Claimed<'_>> = BTreeMap::new();
    for sandbox in &parts.live {
        let label: Arc<str> = sandbox.name.to_string().into();
        for each in &sandbox.overrides {
            services.insert(each.service.clone());
            if !catalog.is_described(&each.service) {
                status.missing_services.insert(each.service.clone());
            }
            for route in expand(catalog, each, Some(&label)) {
                let name = &sandbox.name;
                claim(&mut routes, Claimed { route, by: name }, &mut status.disagreements);
            }
        }
    }
    status.routed = routes
        .iter()
        .filter(|(_, claimed)| claimed.route.state == RouteState::Active)
        .map(|(destination, _)| destination.clone())
        .collect();
    share_addresses(catalog, &routes, &mut status.disagreements);
    let mut routes: BTreeMap<_, _> = routes.into_iter().map(|(at, claimed)| (at, claimed.route)).collect();
    // Which ports they had follows from the service as it is now.
    services.extend(parts.gone.iter().flat_map(|gone| &gone.overrides).map(|each| each.service.clone()));
    for destination in once_routed(catalog, parts) {
        services.insert(service_of(&destination));
        routes.entry(destination.clone()).or_insert_with(|| inactive(destination, RouteState::Gone));
    }
    let routes = routes.into_values().collect();
    let unit = finish(KeyUnit { key: key.clone(), gone: false, routes, digest: String::new() });
    Combined { unit, status, services }
}

/// A route and the sandbox that it comes from.
struct Claimed<'a> {
    route: RouteUnit,
    by: &'a FullName,
}

/// Adds a route; one that differs from the first for its destination makes both a conflict.
fn claim<'a>(
    routes: &mut BTreeMap<Destination, Claimed<'a>>,
    new: Claimed<'a>,
    disagreements: &mut BTreeSet<Disagreement>,
) {
    let Some(first) = routes.get_mut(&new.route.destination) else {
        routes.insert(new.route.destination.clone(), new);
        return;
    };
    if alike(&first.route, &new.route) {
        return;
    }
    let destination = new.route.destination.clone();
    first.route = inactive(destination.clone(), RouteState::Conflict);
    let mut between = [first.by.clone(), new.by.clone()];
    between.sort_unstable();
    disagreements.insert(Disagreement::Destination { destination, between });
}

/// Notes routes that lead elsewhere although one address stands for their destinations. The routes stay: a proxy refuses
/// what goes to that address, and nothing else.
fn share_addresses(
    catalog: &Catalog,
    routes: &BTreeMap<Destination, Claimed<'_>>,
    disagreements: &mut BTreeSet<Disagreement>,
) {
    let active: Vec<_> =
        routes.values().filter(|claimed| claimed.route.state == RouteState::Active).collect();
    if active.len() < 2 {
        return;
    }
    let mut behind: BTreeMap<Door, &Claimed<'_>> = BTreeMap::new();
    for claimed in active {
        let own = &claimed.route.destination;
        for door in catalog.doors(&service_of(own), own.port) {
            let first = *behind.entry(door).or_insert(claimed);
            if !alike(&first.route, &claimed.route) {
                let (Door::Front(address) | Door::Back(address)) = door;
                disagreements.insert(Disagreement::Address {
                    address,
                    destinations: [first.route.destination.clone(), own.clone()],
                    between: [first.by.clone(), claimed.by.clone()],
                });
            }
        }
    }
}

/// Destinations that have no route any more, or have one from elsewhere.
fn once_routed(catalog: &Catalog, parts: &Parts<'_>) -> BTreeSet<Destination> {
    let mut all = parts.lost.clone();
    for sandbox in parts.live.iter().chain(&parts.gone) {
        all.extend(sandbox.lost.iter().cloned());
    }
    for each in parts.gone.iter().flat_map(|sandbox| &sandbox.overrides) {
        all.extend(expand(catalog, each, None).map(|route| route.destination));
    }
    all
}

/// The routes that an override makes, one for each port.
fn expand<'a>(
    catalog: &'a Catalog,
    each: &'a Override,
    label: Option<&'a Arc<str>>,
) -> impl Iterator<Item = RouteUnit> + 'a {
    let ports = each.port.map_or_else(|| catalog.ports(&each.service), |port| BTreeSet::from([port]));
    ports.into_iter().map(move |port| RouteUnit {
        destination: destination(&each.service, port),
        state: RouteState::Active,
        endpoints: endpoints(catalog, each, port),
        fallback: each.fallback,
        protocol: each.protocol,
        requires: each.requires.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        sandbox: label.cloned(),
    })
}

fn endpoints(catalog: &Catalog, each: &Override, port: u16) -> Vec<SocketAddr> {
    let mut all = Vec::with_capacity(each.endpoints.len());
    for endpoint in &each.endpoints {
        let at = |port| SocketAddr::new(endpoint.ip, port);
        match endpoint.port {
            Some(own) => all.push(at(own)),
            None => all.extend(catalog.targets(&each.service, port).into_iter().map(at)),
        }
    }
    tidy(&all)
}

/// Whether requests fare the same on either route.
fn alike(a: &RouteUnit, b: &RouteUnit) -> bool {
    (&a.endpoints, a.fallback, a.protocol, &a.requires) == (&b.endpoints, b.fallback, b.protocol, &b.requires)
        && a.state == b.state
}

fn inactive(destination: Destination, state: RouteState) -> RouteUnit {
    RouteUnit {
        destination,
        state,
        endpoints: Vec::new(),
        fallback: Fallback::None,
        protocol: bellhop_api::watch::EndpointProtocol::Same,
        requires: Vec::new(),
        sandbox: None,
    }
}

fn service_of(destination: &Destination) -> FullName {
    FullName { namespace: destination.namespace.clone(), name: destination.service.clone() }
}

fn finish(mut unit: KeyUnit) -> KeyUnit {
    unit.digest = digest(&unit).to_string();
    unit
}
