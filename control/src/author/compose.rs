//! The object as it will be stored.

use bellhop_api::{
    Manifest, Phase, Problem, ProblemType, Status, Ttl,
    manifest::Manifest::{Sandbox, SandboxGroup, Service},
};
use bellhop_route::plan::ObjectName;
use jiff::{SignedDuration, Timestamp};

use crate::{
    record::{Stored, name_of},
    world::Held,
};

/// The object as it will be stored: the author's part from `wanted`, the server's part from before.
pub(super) fn compose(
    mut wanted: Manifest,
    any: Option<&Held>,
    renew: bool,
    now: Timestamp,
) -> Result<Stored, Problem> {
    let held = any.filter(|held| held.stored.deleted_until.is_none());
    let old = held.map(|held| &held.stored.object);
    if let (Some(held), Some(old)) = (held, old)
        && held.key != crate::world::key_of_object(&wanted)
    {
        let key = held.key.as_ref().map(bellhop_api::RoutingKey::as_str).unwrap_or_default();
        let rule = format!("a routing key does not change later; this one's is {key:?}");
        let problem = Problem::new(ProblemType::Invalid, format!("spec.routingKey: {rule}"));
        let given = wanted.given_key().or(old.given_key());
        return Err(problem.at("spec.routingKey", given, rule));
    }
    let changed = old.is_none_or(|old| !old.same_spec(&wanted));
    let metadata = wanted.metadata_mut();
    metadata.resource_version = None;
    let before = old.map(Manifest::metadata);
    metadata.uid = before.and_then(|m| m.uid.clone()).or_else(|| Some(uuid::Uuid::new_v4().to_string()));
    metadata.creation_timestamp = before.and_then(|m| m.creation_timestamp).or(Some(now));
    let generation = before.and_then(|m| m.generation).unwrap_or(0);
    metadata.generation = Some(if changed { generation + 1 } else { generation });
    let ttl = match &wanted {
        Service(_) => None,
        Sandbox(sandbox) => {
            Some(sandbox.spec.ttl.as_deref().and_then(|ttl| ttl.parse().ok()).unwrap_or(Ttl::DEFAULT))
        }
        SandboxGroup(group) => group.spec.ttl.as_deref().and_then(|ttl| ttl.parse().ok()),
    };
    let held_until = old.and_then(|old| old.status()).and_then(|status| status.expires_at);
    let expires_at = match ttl {
        None => None,
        Some(ttl) if changed || renew || held_until.is_none() => {
            now.checked_add(SignedDuration::try_from(ttl.duration()).unwrap_or(SignedDuration::MAX)).ok()
        }
        Some(_) => held_until,
    };
    *wanted.status_mut() = Some(Status { phase: Phase::Active, expires_at, ..Status::default() });
    let lost = held.map(|held| held.stored.lost.clone()).unwrap_or_default();
    Ok(Stored { object: wanted, deleted_until: None, lost })
}

/// A deleted object whose name is taken again under another key: moved aside, so that its key stays known as gone.
pub(super) fn set_aside(gone: &Held, wanted: &Manifest) -> Option<(ObjectName, Stored)> {
    if gone.key == crate::world::key_of_object(wanted) {
        return None;
    }
    let mut stored = gone.stored.clone();
    let key = gone.key.as_ref()?.to_string();
    let metadata = stored.object.metadata_mut();
    metadata.name = metadata.uid.clone()?;
    metadata.labels.clear();
    match &mut stored.object {
        Service(_) => return None,
        Sandbox(sandbox) => sandbox.spec.routing_key = Some(key),
        SandboxGroup(group) => group.spec.routing_key = Some(key),
    }
    Some((name_of(stored.object.kind(), stored.object.metadata())?, stored))
}
