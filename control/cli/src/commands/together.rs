//! What is wrong with the objects of some files together. Control judges one object at a time, against what it holds
//! already; what they would do to one another is found here, before the first of them is written.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_api::{
    Endpoint, Manifest, Metadata, Override, Sandbox, SandboxGroup, SandboxRef, ServiceRef, ServiceSpec,
    routing_key,
};

use super::objects::called;

/// The services of some files, by namespace and name.
pub(super) struct Services<'a>(BTreeMap<(&'a str, &'a str), &'a ServiceSpec>);

impl<'a> Services<'a> {
    pub(super) fn of(objects: &'a [Manifest]) -> Self {
        let services = objects.iter().filter_map(|object| match object {
            Manifest::Service(service) => {
                Some(((&*service.metadata.namespace, &*service.metadata.name), &service.spec))
            }
            Manifest::Sandbox(_) | Manifest::SandboxGroup(_) => None,
        });
        Self(services.collect())
    }

    /// The service that an override of a sandbox in `namespace` means, where it is one of the files'.
    pub(super) fn of_override(&self, each: &Override, namespace: &str) -> Option<&'a ServiceSpec> {
        let (ours, name) = full_name(each, namespace)?;
        self.0.get(&(ours.as_str(), name.as_str())).copied()
    }
}

/// Every fault, in words.
pub(super) fn faults(objects: &[Manifest]) -> Vec<String> {
    let services = Services::of(objects);
    let mut faults = twice(objects);
    if !faults.is_empty() {
        return faults;
    }
    let mut keys = BTreeMap::new();
    for object in objects {
        let Metadata { namespace, name, .. } = object.metadata();
        let here = called(object.kind(), namespace, name);
        match object {
            Manifest::Service(_) => continue,
            Manifest::Sandbox(sandbox) => faults.extend(not_permitted(sandbox, &here, &services)),
            Manifest::SandboxGroup(group) => faults.extend(differing(group, &here, objects)),
        }
        let Ok(key) = routing_key(object.given_key(), namespace, name) else { continue };
        if let Some(first) = keys.get(&key) {
            faults.push(format!(
                "{here}: its routing key {key} is that of {first} already; give one of them another"
            ));
        } else {
            keys.insert(key, here);
        }
    }
    faults
}

/// Objects that stand more than once in the files.
pub(super) fn twice(objects: &[Manifest]) -> Vec<String> {
    let mut names = BTreeSet::new();
    let again = objects.iter().filter(|object| {
        let Metadata { namespace, name, .. } = object.metadata();
        !names.insert((object.kind(), namespace, name))
    });
    let again = again.map(|object| {
        let Metadata { namespace, name, .. } = object.metadata();
        format!("{} stands twice in these files", called(object.kind(), namespace, name))
    });
    again.collect()
}

/// Services of the files that would not permit what a sandbox of the files does.
fn not_permitted<'a>(
    sandbox: &'a Sandbox,
    here: &'a str,
    services: &'a Services<'_>,
) -> impl Iterator<Item = String> + 'a {
    let theirs = &sandbox.metadata.namespace;
    sandbox.spec.overrides.iter().enumerate().filter_map(move |(n, each)| {
        let spec = services.of_override(each, theirs)?;
        let (ours, name) = full_name(each, theirs)?;
        (!spec.permits(&ours, theirs)).then(|| {
            format!(
                "{here}: spec.overrides[{n}].service: service/{name} in {ours} does not permit namespace {theirs} in spec.overrideFrom"
            )
        })
    })
}

/// Members of a group that stand in the files and override one destination differently.
fn differing(group: &SandboxGroup, here: &str, objects: &[Manifest]) -> Vec<String> {
    let mut first: BTreeMap<_, (String, &Override)> = BTreeMap::new();
    let mut faults = Vec::new();
    let sandboxes = objects.iter().filter_map(|object| match object {
        Manifest::Sandbox(sandbox) if takes_in(group, sandbox) => Some(sandbox),
        _ => None,
    });
    for sandbox in sandboxes {
        let Metadata { namespace, name, .. } = &sandbox.metadata;
        let member = called(bellhop_api::Kind::Sandbox, namespace, name);
        for each in &sandbox.spec.overrides {
            let Some(service) = full_name(each, namespace) else { continue };
            // which ports a service has is not known here: an override of all of them is compared with its like alone
            let destination = (service, each.port);
            match first.get(&destination) {
                Some((other, before)) if !alike(before, each) => faults.push(format!(
                    "{here}: its members {other} and {member} override {} differently",
                    written(&destination.0, each.port)
                )),
                Some(_) => {}
                None => drop(first.insert(destination, (member.clone(), each))),
            }
        }
    }
    faults
}

fn takes_in(group: &SandboxGroup, sandbox: &Sandbox) -> bool {
    let own = &group.metadata.namespace;
    let Metadata { namespace, name, labels, .. } = &sandbox.metadata;
    let named =
        group.spec.sandboxes.iter().filter_map(|text| text.parse::<SandboxRef>().ok()).any(|member| {
            member.name.as_str() == name
                && member.namespace.as_ref().map_or(own.as_str(), |given| given.as_str()) == namespace
        });
    let looks_there = match group.spec.namespaces.as_slice() {
        [] => own == namespace,
        given => given.iter().any(|each| each == "*" || each == namespace),
    };
    named || looks_there && group.spec.selector.as_ref().is_some_and(|selector| selector.matches(labels))
}

fn alike(a: &Override, b: &Override) -> bool {
    let endpoints = |each: &Override| -> BTreeSet<Option<Endpoint>> {
        each.endpoints.iter().map(|text| text.parse().ok()).collect()
    };
    (a.fallback, a.protocol) == (b.fallback, b.protocol) && endpoints(a) == endpoints(b)
}

fn full_name(each: &Override, namespace: &str) -> Option<(String, String)> {
    let service: ServiceRef = each.service.parse().ok()?;
    let ours = service.namespace.map_or_else(|| namespace.to_owned(), |given| given.to_string());
    Some((ours, service.name.to_string()))
}

fn written((namespace, name): &(String, String), port: Option<u16>) -> String {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{name}.{namespace}{port}")
}
