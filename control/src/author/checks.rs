//! What a write must pass before it is committed.

use std::net::IpAddr;

use bellhop_api::{
    Endpoint, Host, Manifest, Problem, ProblemType,
    manifest::Manifest::{Sandbox, SandboxGroup, Service},
};
use bellhop_route::plan::ObjectName;

use super::Precondition;
use crate::{
    record::describe,
    world::{Held, Preview, World, disagreement, service_of},
};

pub(super) fn precondition(
    name: &ObjectName,
    held: Option<&Held>,
    when: &Precondition,
) -> Result<(), Problem> {
    let version = held.and_then(|held| held.stored.object.metadata().resource_version.as_deref());
    if held.is_some() && (when.creates || when.none_matches) {
        let kind = if when.creates { ProblemType::Conflict } else { ProblemType::PreconditionFailed };
        return Err(Problem::new(kind, format!("{} exists already", describe(name))));
    }
    match (&when.matches, version) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Problem::new(
            ProblemType::PreconditionFailed,
            format!("If-Match: there is no {}", describe(name)),
        )),
        (Some(allowed), Some(version)) if allowed.iter().any(|each| each == "*" || each == version) => Ok(()),
        (Some(_), Some(version)) => Err(Problem::new(
            ProblemType::PreconditionFailed,
            format!("If-Match: {} has changed; its version is {version:?} now", describe(name)),
        )),
    }
}

/// `metadata.resourceVersion` and `metadata.uid`, where an author gives them, must be the stored ones, as in Kubernetes.
pub(super) fn version(name: &ObjectName, held: Option<&Held>, wanted: &Manifest) -> Result<(), Problem> {
    let stored = held.map(|held| held.stored.object.metadata());
    let given = wanted.metadata();
    for (field, given, stored) in [
        (
            "metadata.resourceVersion",
            &given.resource_version,
            stored.and_then(|m| m.resource_version.as_deref()),
        ),
        ("metadata.uid", &given.uid, stored.and_then(|m| m.uid.as_deref())),
    ] {
        if let Some(given) = given.as_deref().filter(|given| Some(*given) != stored) {
            let rule = match stored {
                Some(stored) => format!(
                    "{} has changed: this is {stored:?} now. Get it anew and change that, or leave this out to overwrite",
                    describe(name)
                ),
                None => format!("there is no {} yet; leave this out", describe(name)),
            };
            return Err(Problem::new(ProblemType::Conflict, rule.clone()).at(field, Some(given), rule));
        }
    }
    Ok(())
}

/// Endpoints must be where endpoints may be, and services of other namespaces must permit it.
pub(super) fn permitted(
    world: &World,
    name: &ObjectName,
    object: &Manifest,
    resolved: &[(String, Vec<IpAddr>)],
) -> Result<(), Problem> {
    let Sandbox(sandbox) = object else { return Ok(()) };
    let mut invalid = Problem::new(ProblemType::Invalid, "an endpoint is not where endpoints may be");
    let mut foreign =
        Problem::new(ProblemType::Forbidden, "a service of another namespace does not permit this one");
    for (n, each) in sandbox.spec.overrides.iter().enumerate() {
        for (m, text) in each.endpoints.iter().enumerate() {
            let addresses = match text.parse::<Endpoint>().map(|endpoint| endpoint.host) {
                Ok(Host::Ip(address)) => vec![address],
                Ok(Host::Name(host)) => match resolved.iter().find(|(of, _)| *of == host) {
                    Some((_, found)) => found.clone(),
                    None => world.addresses(&host).unwrap_or_default().to_vec(),
                },
                Err(_) => continue,
            };
            if let Some(error) = addresses.iter().find_map(|address| world.networks().check(*address).err()) {
                invalid =
                    invalid.at(format!("spec.overrides[{n}].endpoints[{m}]"), Some(text), error.to_string());
            }
        }
        let Some(service) = service_of(each, &name.name.namespace) else { continue };
        if !world.permits(&service, &name.name.namespace) {
            let rule = format!(
                "Service {service} must name namespace {:?} in spec.overrideFrom",
                name.name.namespace.as_str()
            );
            foreign = foreign.at(format!("spec.overrides[{n}].service"), Some(&each.service), rule);
        }
    }
    match (foreign.errors.is_empty(), invalid.errors.is_empty()) {
        (false, _) => {
            foreign.errors.extend(invalid.errors);
            Err(foreign)
        }
        (true, false) => Err(invalid),
        (true, true) => Ok(()),
    }
}

/// An apply that itself creates a conflict is refused; one that meets somebody else's is not.
pub(super) fn conflicts(
    object: &Manifest,
    held: Option<&Held>,
    preview: &Preview,
    world: &World,
    name: &ObjectName,
) -> Result<(), Problem> {
    let before = held.and_then(|_| world.plan_status(name));
    let key = preview.held.as_ref().and_then(|held| held.key.as_ref());
    // one that comes back from having expired is older than who took its key meanwhile, and would take it back
    let living = key.and_then(|key| world.living_owner(key)).filter(|owner| *owner != name);
    if let Some(holder) = preview.plan.key_holder.as_ref().or(living)
        && before.is_none_or(|before| before.key_holder.is_none())
    {
        let rule = format!("{} has this routing key; choose another in spec.routingKey", describe(holder));
        let key = key.map(bellhop_api::RoutingKey::as_str);
        return Err(Problem::new(ProblemType::Conflict, rule.clone()).at("spec.routingKey", key, rule));
    }
    let new = preview
        .plan
        .disagreements
        .iter()
        .filter(|each| before.is_none_or(|before| !before.disagreements.contains(each)));
    let mut problem =
        Problem::new(ProblemType::Conflict, "two overrides differ for one destination or one address");
    let field = match object {
        Service(_) => return Ok(()),
        Sandbox(_) => "spec.overrides",
        SandboxGroup(group) if group.spec.sandboxes.is_empty() => "spec.selector",
        SandboxGroup(_) => "spec.sandboxes",
    };
    problem = new.fold(problem, |problem, each| problem.at(field, None, disagreement(each)));
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}
