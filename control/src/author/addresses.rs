//! Whose a place is: that of the service which described it first.
//!
//! A proxy recognises a service by its addresses. Who could name another team's as those of a service of its own would
//! route that team's calls without being asked, around its `overrideFrom`. What stood there before is left: an apply is
//! refused for what it adds alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bellhop_api::{Host, Kind, Manifest, Problem, ProblemType};
use bellhop_route::plan::ObjectName;

use crate::{
    record::describe,
    world::{Held, World, service_of},
};

/// Where a service is recognised: an address, or the name by which it is called, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Ip(IpAddr, u16),
    Name(String, u16),
}

/// Places that one entry of a manifest names.
struct Claim<'a> {
    field: String,
    text: &'a str,
    ports: Vec<u16>,
}

/// Refuses what names a place of a service of another namespace that does not permit this one.
pub(super) fn owned(
    world: &World,
    name: &ObjectName,
    object: &Manifest,
    held: Option<&Held>,
    resolved: &[(String, Vec<IpAddr>)],
) -> Result<(), Problem> {
    let places = |claim: &Claim<'_>| places(claim, world, resolved);
    let claims = claims(object, name);
    let before = held.map(|held| self::claims(&held.stored.object, name)).unwrap_or_default();
    let before: BTreeSet<_> = before.iter().flat_map(places).collect();
    let mut wanted = BTreeMap::new();
    for claim in &claims {
        for place in places(claim).into_iter().filter(|place| !before.contains(place)) {
            wanted.entry(place).or_insert(claim);
        }
    }
    let mut problem = Problem::new(ProblemType::Conflict, "an address is a service's of another namespace");
    if wanted.is_empty() {
        return Ok(());
    }
    // services stand first
    for (theirs, held) in world.all().take_while(|(theirs, _)| theirs.kind == Kind::Service) {
        if held.stored.deleted_until.is_some() || world.permits(&theirs.name, &name.name.namespace) {
            continue;
        }
        let taken = self::claims(&held.stored.object, theirs);
        let taken = taken.iter().flat_map(places).find_map(|place| wanted.get(&place));
        if let Some(claim) = taken {
            let rule = format!(
                "{} is there; it must name namespace {:?} in spec.overrideFrom",
                describe(theirs),
                name.name.namespace.as_str()
            );
            problem = problem.at(claim.field.clone(), Some(claim.text), rule);
        }
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}

/// What an object says of where services of its own namespace are.
fn claims<'a>(object: &'a Manifest, name: &ObjectName) -> Vec<Claim<'a>> {
    let mut all = Vec::new();
    let mut add = |field: &str, hosts: &'a [String], ports: &[u16]| {
        all.extend(hosts.iter().enumerate().map(|(n, text)| Claim {
            field: format!("{field}[{n}]"),
            text,
            ports: ports.to_vec(),
        }));
    };
    match object {
        Manifest::Service(service) => {
            let ports = &service.spec.ports;
            let (dialled, targets): (Vec<_>, Vec<_>) =
                ports.iter().map(|port| (port.port, port.target())).unzip();
            add("spec.addresses", &service.spec.addresses, &dialled);
            add("spec.workloads", &service.spec.workloads, &targets);
        }
        Manifest::Sandbox(sandbox) => {
            for (n, each) in sandbox.spec.overrides.iter().enumerate() {
                let own = service_of(each, &name.name.namespace)
                    .is_some_and(|service| service.namespace == name.name.namespace);
                // what an override says of another's service counts nothing
                let Some(port) = each.port.filter(|_| own) else { continue };
                add(&format!("spec.overrides[{n}].addresses"), &each.addresses, &[port]);
                let target = each.target_port.unwrap_or(port);
                add(&format!("spec.overrides[{n}].workloads"), &each.workloads, &[target]);
            }
        }
        Manifest::SandboxGroup(_) => {}
    }
    all
}

fn places(claim: &Claim<'_>, world: &World, resolved: &[(String, Vec<IpAddr>)]) -> Vec<Place> {
    let (addresses, name) = match claim.text.parse() {
        Ok(Host::Ip(address)) => (vec![address], None),
        Ok(Host::Name(host)) => {
            let found = match resolved.iter().find(|(of, _)| *of == host) {
                Some((_, found)) => found.clone(),
                None => world.addresses(&host).unwrap_or_default().to_vec(),
            };
            (found, Some(host))
        }
        Err(_) => return Vec::new(),
    };
    let at = |port: &u16| {
        let port = *port;
        let addresses = addresses.iter().map(move |address| Place::Ip(address.to_canonical(), port));
        addresses.chain(name.clone().map(|name| Place::Name(name, port))).collect::<Vec<_>>()
    };
    claim.ports.iter().flat_map(at).collect()
}
