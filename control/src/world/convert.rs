//! From manifests to what the planner takes: names resolved, ports filled in, what is not permitted left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bellhop_api::{
    Destination, DnsLabel, Endpoint, Fallback, GroupSpec, Host, Manifest, Metadata, Override, Protocol, RoutingKey,
    SandboxRef, ServiceRef, ServiceSpec, routing_key,
    watch::{self, ServicePort, ServiceUnit},
};
use bellhop_route::plan::{self, Kind, MemberRef, Object, ObjectName, Operator, Requirement};
use jiff::Timestamp;

use super::{Described, Held, ServiceName, World};
use crate::record::Stored;

/// What stands in the way of some routes of a sandbox; its status says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// `service` has no object and the override names no port, so that there is no destination.
    ServiceMissing(String),
    /// No object describes `service`: only its name and the dialled port are known.
    ServiceImplied(String),
    /// The service has no such port.
    PortMissing(String),
    /// The service is another namespace's, and does not permit this one.
    Foreign(String),
    /// The name has no addresses.
    Unresolved(String),
    /// The address may not be an endpoint.
    Address(String),
}

impl World {
    /// The `Service` object of a service.
    pub(super) fn service_object(&self, (namespace, name): &ServiceName) -> Option<&ServiceSpec> {
        let name = ObjectName { kind: Kind::Service, namespace: namespace.clone(), name: name.clone() };
        match &self.objects.get(&name)?.stored.object {
            Manifest::Service(service) => Some(&service.spec),
            Manifest::Sandbox(_) | Manifest::SandboxGroup(_) => None,
        }
    }

    /// What a service is: what its object says, or else what the overrides of its own namespace say together.
    pub(super) fn describe(&self, service: &ServiceName) -> Option<Described> {
        if let Some(spec) = self.service_object(service) {
            let ports = spec.ports.iter().map(|port| (port.port, port.target())).collect();
            let unit = self.service_unit(service, ports, &spec.addresses, &spec.workloads);
            return Some(Described { unit, by_object: true });
        }
        let (mut ports, mut addresses, mut workloads) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for user in self.users.get(service).into_iter().flatten() {
            let Some(held) = self.objects.get(user).filter(|_| user.namespace == service.0) else { continue };
            let Manifest::Sandbox(sandbox) = &held.stored.object else { continue };
            let ours = sandbox.spec.overrides.iter().filter(|o| service_of(o, &user.namespace).as_ref() == Some(service));
            for each in ours {
                let Some(port) = each.port else { continue };
                let target = each.target_port.unwrap_or(port);
                ports.entry(port).and_modify(|held| if *held == port { *held = target }).or_insert(target);
                addresses.extend(each.addresses.iter().cloned());
                workloads.extend(each.workloads.iter().cloned());
            }
        }
        let (addresses, workloads): (Vec<_>, Vec<_>) =
            (addresses.into_iter().collect(), workloads.into_iter().collect());
        (!ports.is_empty()).then(|| Described {
            unit: self.service_unit(service, ports, &addresses, &workloads),
            by_object: false,
        })
    }

    fn service_unit(
        &self,
        (namespace, name): &ServiceName,
        ports: BTreeMap<u16, u16>,
        addresses: &[String],
        workloads: &[String],
    ) -> ServiceUnit {
        let names: BTreeSet<_> = addresses
            .iter()
            .filter_map(|text| match text.parse() {
                Ok(Host::Name(name)) => Some(name),
                Ok(Host::Ip(_)) | Err(_) => None,
            })
            .collect();
        ServiceUnit {
            namespace: namespace.clone(),
            name: name.clone(),
            ports: ports.into_iter().map(|(port, target_port)| ServicePort { port, target_port }).collect(),
            addresses: self.resolve_all(addresses),
            names: names.into_iter().collect(),
            workloads: self.resolve_all(workloads),
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

    /// A sandbox or group as the planner takes it, and what stood in the way.
    pub(super) fn plan_object(&self, name: &ObjectName, now: Timestamp) -> Option<(Object, Vec<Note>)> {
        let held = self.objects.get(name)?;
        let (key, gone) = (held.key.clone()?, held.stored.is_gone(now));
        match &held.stored.object {
            Manifest::Service(_) => None,
            Manifest::Sandbox(sandbox) => {
                let mut notes = Vec::new();
                let overrides =
                    sandbox.spec.overrides.iter().flat_map(|each| self.plan_override(each, name, &mut notes)).collect();
                let labels = &sandbox.metadata.labels;
                let planned = plan::Sandbox {
                    namespace: name.namespace.clone(),
                    name: name.name.clone(),
                    created_ms: created_ms(&sandbox.metadata),
                    key,
                    labels: labels.iter().map(|(k, v)| (Arc::from(&**k), Arc::from(&**v))).collect(),
                    overrides,
                    lost: lost(held, now),
                    gone,
                };
                Some((Object::Sandbox(planned), notes))
            }
            Manifest::SandboxGroup(group) => {
                let planned = plan::Group {
                    namespace: name.namespace.clone(),
                    name: name.name.clone(),
                    created_ms: created_ms(&group.metadata),
                    key,
                    members: members(&group.spec, &name.namespace),
                    selector: selector(&group.spec, &name.namespace),
                    lost: lost(held, now),
                    gone,
                };
                Some((Object::Group(planned), Vec::new()))
            }
        }
    }

    fn plan_override(&self, each: &Override, by: &ObjectName, notes: &mut Vec<Note>) -> Vec<plan::Override> {
        let Some(service) = service_of(each, &by.namespace) else { return Vec::new() };
        let full = format!("{}.{}", service.1, service.0);
        let ports: Vec<(u16, u16)> = match (self.service_object(&service), each.port) {
            (Some(spec), _) if !spec.permits(service.0.as_str(), by.namespace.as_str()) => {
                notes.push(Note::Foreign(full));
                return Vec::new();
            }
            (None, _) if service.0 != by.namespace => {
                notes.push(Note::Foreign(full));
                return Vec::new();
            }
            (Some(spec), None) => spec.ports.iter().map(|port| (port.port, port.target())).collect(),
            (Some(spec), Some(wanted)) => match spec.ports.iter().find(|port| port.port == wanted) {
                Some(port) => vec![(wanted, port.target())],
                None => {
                    notes.push(Note::PortMissing(format!("{full}:{wanted}")));
                    vec![(wanted, each.target_port.unwrap_or(wanted))]
                }
            },
            (None, Some(port)) => {
                if each.addresses.is_empty() && each.workloads.is_empty() {
                    notes.push(Note::ServiceImplied(full));
                }
                vec![(port, each.target_port.unwrap_or(port))]
            }
            (None, None) => {
                notes.push(Note::ServiceMissing(full));
                return Vec::new();
            }
        };
        let (namespace, service) = service;
        let planned = ports.into_iter().map(|(port, target)| plan::Override {
            destination: Destination { service: service.clone(), namespace: namespace.clone(), port },
            endpoints: self.endpoints(&each.endpoints, target, notes),
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
        });
        planned.collect()
    }

    fn endpoints(&self, texts: &[String], target: u16, notes: &mut Vec<Note>) -> Vec<SocketAddr> {
        let mut all = BTreeSet::new();
        for endpoint in texts.iter().filter_map(|text| text.parse::<Endpoint>().ok()) {
            let addresses = self.resolve(&endpoint.host);
            if addresses.is_empty() {
                note(notes, Note::Unresolved(endpoint.host.to_string()));
            }
            for address in addresses {
                match self.networks.check(address) {
                    Ok(()) => drop(all.insert(SocketAddr::new(address, endpoint.port.unwrap_or(target)))),
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
pub(super) fn key_of(object: &Manifest) -> Option<RoutingKey> {
    let metadata = object.metadata();
    match object {
        Manifest::Service(_) => None,
        Manifest::Sandbox(_) | Manifest::SandboxGroup(_) => {
            routing_key(object.given_key(), &metadata.namespace, &metadata.name).ok()
        }
    }
}

fn service_of(each: &Override, namespace: &DnsLabel) -> Option<ServiceName> {
    let service: ServiceRef = each.service.parse().ok()?;
    Some((service.namespace.unwrap_or_else(|| namespace.clone()), service.name))
}

/// The services that an object overrides.
pub(super) fn services_of(object: &Manifest) -> impl Iterator<Item = ServiceName> {
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
            service.spec.addresses.iter().chain(&service.spec.workloads).for_each(|text| add(text.parse().ok()));
        }
        Manifest::Sandbox(sandbox) => {
            for each in &sandbox.spec.overrides {
                each.addresses.iter().chain(&each.workloads).for_each(|text| add(text.parse().ok()));
                each.endpoints.iter().for_each(|text| add(text.parse().ok().map(|endpoint: Endpoint| endpoint.host)));
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
    let Stored { lost, .. } = &held.stored;
    lost.iter().filter(|(_, until)| **until > now).map(|(destination, _)| destination.clone()).collect()
}

fn members(spec: &GroupSpec, namespace: &DnsLabel) -> Vec<MemberRef> {
    let refs = spec.sandboxes.iter().filter_map(|text| text.parse::<SandboxRef>().ok());
    refs.map(|member| MemberRef {
        namespace: member.namespace.unwrap_or_else(|| namespace.clone()),
        name: member.name,
    })
    .collect()
}

fn selector(spec: &GroupSpec, namespace: &DnsLabel) -> Option<plan::Selector> {
    let selector = spec.selector.as_ref()?;
    let set = |values: &[String]| values.iter().map(|value| Arc::from(&**value)).collect::<BTreeSet<Arc<str>>>();
    let labels = selector.match_labels.iter().map(|(label, value)| Requirement {
        label: Arc::from(&**label),
        operator: Operator::In(set(std::slice::from_ref(value))),
    });
    let expressions = selector.match_expressions.iter().map(|expression| Requirement {
        label: Arc::from(&*expression.key),
        operator: match expression.operator {
            bellhop_api::Operator::In => Operator::In(set(&expression.values)),
            bellhop_api::Operator::NotIn => Operator::NotIn(set(&expression.values)),
            bellhop_api::Operator::Exists => Operator::Exists,
            bellhop_api::Operator::DoesNotExist => Operator::DoesNotExist,
        },
    });
    let namespaces = if spec.namespaces.iter().any(|each| each == "*") {
        None
    } else if spec.namespaces.is_empty() {
        Some(BTreeSet::from([namespace.clone()]))
    } else {
        Some(spec.namespaces.iter().filter_map(|each| each.parse().ok()).collect())
    };
    Some(plan::Selector { requirements: labels.chain(expressions).collect(), namespaces })
}
