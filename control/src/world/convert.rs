//! From manifests to what the planner takes: names resolved, ports filled in, what is not permitted left out.

use std::{collections::BTreeSet, net::IpAddr};

use bellhop_api::{
    Destination, DnsLabel, Endpoint, Fallback, GroupSpec, Host, Kind, Manifest, Metadata, Override, Protocol,
    RoutingKey, SandboxRef, Service, ServiceRef, ServiceSpec, routing_key,
    watch::{self, ServicePort, ServiceUnit},
};
use bellhop_route::plan::{self, EndpointAddress, FullName, InlineService, Object, ObjectName};
use jiff::Timestamp;

use super::{Held, World};

/// What stands in the way of some routes of a sandbox; its status says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// The service is another namespace's, and does not permit this one.
    Foreign(String),
    /// The name has no addresses.
    Unresolved(String),
    /// The address may not be an endpoint.
    Address(String),
}

impl World {
    fn service_object(&self, name: &FullName) -> Option<&ServiceSpec> {
        let name = ObjectName { kind: Kind::Service, name: name.clone() };
        match &self.objects.get(&name)?.stored.object {
            Manifest::Service(service) => Some(&service.spec),
            Manifest::Sandbox(_) | Manifest::SandboxGroup(_) => None,
        }
    }

    /// Whether a sandbox of `theirs` may override a service. One that nobody describes belongs to its own namespace.
    pub(crate) fn permits(&self, service: &FullName, theirs: &DnsLabel) -> bool {
        service.namespace == *theirs
            || self
                .service_object(service)
                .is_some_and(|spec| spec.permits(service.namespace.as_str(), theirs.as_str()))
    }

    fn service_unit(&self, FullName { namespace, name }: &FullName, service: &Service) -> ServiceUnit {
        let ports = service.spec.ports.iter();
        ServiceUnit {
            namespace: namespace.clone(),
            name: name.clone(),
            ports: ports.map(|port| ServicePort { port: port.port, target_port: port.target() }).collect(),
            addresses: self.resolve_all(&service.spec.addresses),
            names: names(&service.spec.addresses),
            workloads: self.resolve_all(&service.spec.workloads),
        }
    }

    /// Addresses of hosts, sorted, each once. What is denied everywhere is left out.
    fn resolve_all(&self, hosts: &[String]) -> Vec<IpAddr> {
        let all: BTreeSet<_> = hosts
            .iter()
            .filter_map(|text| text.parse().ok())
            .flat_map(|host| self.resolve(&host))
            .filter(|address| bellhop_api::denied(*address).is_ok())
            .collect();
        all.into_iter().collect()
    }

    fn resolve(&self, host: &Host) -> Vec<IpAddr> {
        match host {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => self.names.get(&**name).cloned().unwrap_or_default(),
        }
    }

    /// An object as the planner takes it, and what stood in the way.
    pub(super) fn plan_object(&self, name: &ObjectName, now: Timestamp) -> Option<(Object, Vec<Note>)> {
        let held = self.objects.get(name)?;
        let gone = held.stored.is_gone(now);
        let mut notes = Vec::new();
        let object = match &held.stored.object {
            Manifest::Service(service) => Object::Service(self.service_unit(&name.name, service)),
            Manifest::Sandbox(sandbox) => {
                let overrides = sandbox.spec.overrides.iter();
                Object::Sandbox(plan::Sandbox {
                    name: name.name.clone(),
                    created_ms: created_ms(&sandbox.metadata),
                    key: held.key.clone()?,
                    labels: sandbox.metadata.labels.clone(),
                    // exactly as many as there are: they are kept as long as the object
                    overrides: overrides
                        .filter_map(|each| self.plan_override(each, name, &mut notes))
                        .collect::<Box<[_]>>()
                        .into_vec(),
                    lost: lost(held, now),
                    gone,
                })
            }
            Manifest::SandboxGroup(group) => Object::Group(plan::Group {
                name: name.name.clone(),
                created_ms: created_ms(&group.metadata),
                key: held.key.clone()?,
                members: members(&group.spec, &name.name.namespace),
                selector: group.spec.selector.clone(),
                namespaces: namespaces(&group.spec, &name.name.namespace),
                lost: lost(held, now),
                gone,
            }),
        };
        Some((object, notes))
    }

    fn plan_override(
        &self,
        each: &Override,
        by: &ObjectName,
        notes: &mut Vec<Note>,
    ) -> Option<plan::Override> {
        let service = service_of(each, &by.name.namespace)?;
        let own = service.namespace == by.name.namespace;
        if !self.permits(&service, &by.name.namespace) {
            note(notes, Note::Foreign(format!("{}.{}", service.name, service.namespace)));
            return None;
        }
        // an override that names a port says enough for a service that nobody describes: its name and that port
        let inline = (own && each.port.is_some()).then(|| InlineService {
            addresses: self.resolve_all(&each.addresses),
            names: names(&each.addresses),
            workloads: self.resolve_all(&each.workloads),
            target_port: each.target_port,
        });
        Some(plan::Override {
            service,
            port: each.port,
            endpoints: self.endpoints(&each.endpoints, notes),
            fallback: match each.fallback {
                Fallback::None => watch::Fallback::None,
                Fallback::Baseline => watch::Fallback::Baseline,
            },
            protocol: match each.protocol {
                Protocol::Same => watch::EndpointProtocol::Same,
                Protocol::Http1 => watch::EndpointProtocol::Http1,
                Protocol::Http2 => watch::EndpointProtocol::Http2,
            },
            requires: Vec::new(),
            inline,
        })
    }

    /// Services that an object's overrides name and that are known by that name alone, `service.namespace`.
    pub(super) fn implied_services(&self, object: &Manifest, by: &ObjectName) -> BTreeSet<String> {
        let Manifest::Sandbox(sandbox) = object else { return BTreeSet::new() };
        let bare = sandbox.spec.overrides.iter().filter(|o| o.addresses.is_empty() && o.workloads.is_empty());
        let services = bare.filter_map(|each| service_of(each, &by.name.namespace));
        let implied = services.filter(|service| self.service_object(service).is_none());
        implied.map(|service| format!("{}.{}", service.name, service.namespace)).collect()
    }

    fn endpoints(&self, texts: &[String], notes: &mut Vec<Note>) -> Vec<EndpointAddress> {
        let mut all = BTreeSet::new();
        for endpoint in texts.iter().filter_map(|text| text.parse::<Endpoint>().ok()) {
            let addresses = self.resolve(&endpoint.host);
            if addresses.is_empty() {
                note(notes, Note::Unresolved(endpoint.host.to_string()));
            }
            for address in addresses {
                match self.networks.check(address) {
                    Ok(()) => drop(all.insert(EndpointAddress { ip: address, port: endpoint.port })),
                    Err(error) => note(notes, Note::Address(format!("{endpoint} ({address}): {error}"))),
                }
            }
        }
        all.into_iter().collect()
    }
}

fn note(notes: &mut Vec<Note>, new: Note) {
    if !notes.contains(&new) {
        notes.push(new);
    }
}

/// The key of a sandbox or group.
pub(crate) fn key_of(object: &Manifest) -> Option<RoutingKey> {
    let metadata = object.metadata();
    match object {
        Manifest::Service(_) => None,
        Manifest::Sandbox(_) | Manifest::SandboxGroup(_) => {
            routing_key(object.given_key(), &metadata.namespace, &metadata.name).ok()
        }
    }
}

/// The service that an override in `namespace` means.
pub(crate) fn service_of(each: &Override, namespace: &DnsLabel) -> Option<FullName> {
    let service: ServiceRef = each.service.parse().ok()?;
    Some(FullName { namespace: service.namespace.unwrap_or_else(|| namespace.clone()), name: service.name })
}

/// The services that an object overrides.
pub(super) fn services_of(object: &Manifest) -> impl Iterator<Item = FullName> {
    let (overrides, namespace) = match object {
        Manifest::Sandbox(sandbox) => (&*sandbox.spec.overrides, sandbox.metadata.namespace.parse().ok()),
        Manifest::Service(_) | Manifest::SandboxGroup(_) => (&[][..], None),
    };
    overrides.iter().filter_map(move |each| service_of(each, namespace.as_ref()?))
}

/// The DNS names that an object uses, in lower case.
pub(crate) fn hosts_of(object: &Manifest) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut add = |host: Option<Host>| {
        if let Some(Host::Name(name)) = host {
            all.insert(name);
        }
    };
    match object {
        Manifest::Service(service) => {
            service
                .spec
                .addresses
                .iter()
                .chain(&service.spec.workloads)
                .for_each(|text| add(text.parse().ok()));
        }
        Manifest::Sandbox(sandbox) => {
            for each in &sandbox.spec.overrides {
                each.addresses.iter().chain(&each.workloads).for_each(|text| add(text.parse().ok()));
                each.endpoints
                    .iter()
                    .for_each(|text| add(text.parse().ok().map(|endpoint: Endpoint| endpoint.host)));
            }
        }
        Manifest::SandboxGroup(_) => {}
    }
    all
}

fn created_ms(metadata: &Metadata) -> i64 {
    metadata.creation_timestamp.map_or(0, Timestamp::as_millisecond)
}

fn lost(held: &Held, now: Timestamp) -> BTreeSet<Destination> {
    held.stored
        .lost
        .iter()
        .filter(|(_, until)| **until > now)
        .map(|(destination, _)| destination.clone())
        .collect()
}

fn members(spec: &GroupSpec, namespace: &DnsLabel) -> BTreeSet<FullName> {
    let refs = spec.sandboxes.iter().filter_map(|text| text.parse::<SandboxRef>().ok());
    refs.map(|member| FullName {
        namespace: member.namespace.unwrap_or_else(|| namespace.clone()),
        name: member.name,
    })
    .collect()
}

fn namespaces(spec: &GroupSpec, own: &DnsLabel) -> Option<BTreeSet<DnsLabel>> {
    if spec.namespaces.iter().any(|each| each == "*") {
        None
    } else if spec.namespaces.is_empty() {
        Some(BTreeSet::from([own.clone()]))
    } else {
        Some(spec.namespaces.iter().filter_map(|each| each.parse().ok()).collect())
    }
}

/// The DNS names among hosts, in lower case, sorted, each once.
fn names(hosts: &[String]) -> Vec<String> {
    let names: BTreeSet<_> = hosts
        .iter()
        .filter_map(|text| match text.parse() {
            Ok(Host::Name(name)) => Some(name),
            Ok(Host::Ip(_)) | Err(_) => None,
        })
        .collect();
    names.into_iter().collect()
}
