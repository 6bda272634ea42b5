//! Writes: what an author wants, checked against everything else there is, then committed.

use std::{net::IpAddr, sync::Arc};

use bellhop_api::{
    Endpoint, Host, Manifest, Phase, Problem, ProblemType, Status, Ttl,
    manifest::Manifest::{Sandbox, SandboxGroup, Service},
};
use bellhop_route::plan::ObjectName;
use jiff::{SignedDuration, Timestamp};

use crate::{
    control::Control,
    names::{self, Resolver},
    record::{Edit, Stored, describe, name_of, object_record, object_value},
    store::{Expect, StoreError, Write},
    world::{Held, Preview, World, disagreement, hosts_of, service_of},
};

/// A deleted or expired object, and a lost route, are remembered this long.
pub(crate) const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// Times that a write is tried again when another replica was quicker.
const TRIES: usize = 4;

/// What must be true of the stored object for a write to happen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Precondition {
    /// `If-Match`: one of these versions; `*` for any.
    pub(crate) matches: Option<Vec<String>>,
    /// `If-None-Match: *`, and `POST`: there is none yet.
    pub(crate) absent: bool,
}

/// How an object is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    pub(crate) when: Precondition,
    /// Everything but the commit.
    pub(crate) dry_run: bool,
    /// Its time begins again even where `spec` is unchanged.
    pub(crate) renew: bool,
}

/// What a write did.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Manifest,
    pub(crate) created: bool,
}

/// Makes the object to be written from the stored one.
pub(crate) type Make<'a> = dyn Fn(Option<&Held>) -> Result<Manifest, Problem> + Send + Sync + 'a;

/// See the module.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) control: Arc<Control>,
    pub(crate) resolver: Arc<Resolver>,
}

impl Author {
    /// Writes one object.
    ///
    /// # Errors
    /// A problem that names what is wrong; nothing was stored then.
    ///
    /// # Cancel safety
    /// A write whose future is dropped may have happened or not.
    pub(crate) async fn write(
        &self,
        name: &ObjectName,
        make: &Make<'_>,
        how: &How,
    ) -> Result<Written, Problem> {
        let mut tries = 0;
        loop {
            tries += 1;
            let resolved = self.resolve(name, make).await?;
            let _one_at_a_time = self.control.writing.lock().await;
            let (stored, writes, preview, created) = self.prepare(name, make, how, &resolved)?;
            if how.dry_run {
                let object = preview.held.map_or(stored.object, |held| held.manifest());
                return Ok(Written { object, created });
            }
            // nothing to write where nothing would change
            if !writes.is_empty() {
                match self.commit(writes).await {
                    Ok(()) => {}
                    Err(StoreError::Changed(_)) if tries < TRIES => continue,
                    Err(error) => return Err(store_problem(&error)),
                }
            }
            let object = self.control.world().get(name).map_or(stored.object, |held| held.manifest());
            return Ok(Written { object, created });
        }
    }

    /// Deletes one object. Sandboxes and groups stay known as gone for a day.
    ///
    /// # Errors
    /// As [`Author::write`].
    pub(crate) async fn delete(&self, name: &ObjectName, how: &How) -> Result<Manifest, Problem> {
        let mut tries = 0;
        loop {
            tries += 1;
            let _one_at_a_time = self.control.writing.lock().await;
            let now = self.control.clock.now();
            let held = self.control.world().get(name).cloned().ok_or_else(|| not_found(name))?;
            precondition(name, Some(&held), &how.when)?;
            if how.dry_run {
                return Ok(held.manifest());
            }
            let stored = match &held.stored.object {
                Service(_) => None,
                Sandbox(_) | SandboxGroup(_) => Some(Stored {
                    object: held.stored.object.clone(),
                    deleted_until: Some(now.saturating_add(REMEMBERED).unwrap_or(Timestamp::MAX)),
                    lost: held.stored.lost.clone(),
                }),
            };
            let mut writes = vec![Write {
                name: object_record(name),
                expect: expect(Some(&held)),
                value: stored.as_ref().map(object_value),
            }];
            let preview = self.control.world_mut().preview(
                vec![Edit::Object(name.clone(), stored.map(Box::new))],
                name,
                now,
            );
            writes.extend(self.lost(&preview, name, None, now));
            match self.commit(writes).await {
                Ok(()) => return Ok(held.manifest()),
                Err(StoreError::Changed(_)) if tries < TRIES => {}
                Err(error) => return Err(store_problem(&error)),
            }
        }
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let revision = self.control.store.commit(writes).await?;
        self.control.applied(revision).await
    }

    /// Looks up the names that the object uses and nobody has looked up yet, so that it works at once.
    async fn resolve(
        &self,
        name: &ObjectName,
        make: &Make<'_>,
    ) -> Result<Vec<(String, Vec<IpAddr>)>, Problem> {
        let unknown: Vec<_> = {
            let world = self.control.world();
            let wanted = make(world.get(name).map(|held| &**held))?;
            hosts_of(&wanted).into_iter().filter(|host| world.addresses(host).is_none()).collect()
        };
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.resolver.resolve(&self.control, unknown).await)
    }

    fn prepare(
        &self,
        name: &ObjectName,
        make: &Make<'_>,
        how: &How,
        resolved: &[(String, Vec<IpAddr>)],
    ) -> Result<(Stored, Vec<Write>, Preview, bool), Problem> {
        let now = self.control.clock.now();
        let mut world = self.control.world_mut();
        let any = world.any(name).cloned();
        let held = any.clone().filter(|held| held.stored.deleted_until.is_none());
        precondition(name, held.as_deref(), &how.when)?;
        let wanted = make(held.as_deref())?;
        version(name, held.as_deref(), &wanted)?;
        let stored = compose(wanted, any.as_deref(), how.renew, now)?;
        permitted(&world, name, &stored.object, resolved)?;
        let mut edits: Vec<_> =
            resolved.iter().map(|(host, now)| Edit::Name(host.as_str().into(), Some(now.clone()))).collect();
        edits.push(Edit::Object(name.clone(), Some(Box::new(stored.clone()))));
        let mut writes: Vec<_> = resolved.iter().map(|(host, now)| names::write(host, now)).collect();
        let tombstone = any.as_deref().filter(|any| any.stored.deleted_until.is_some());
        if let Some((aside, stored)) = tombstone.and_then(|gone| set_aside(gone, &stored.object)) {
            writes.push(Write {
                name: object_record(&aside),
                expect: Expect::Any,
                value: Some(object_value(&stored)),
            });
            edits.push(Edit::Object(aside, Some(Box::new(stored))));
        }
        let preview = world.preview(edits, name, now);
        conflicts(&stored.object, held.as_deref(), &preview, &world, name)?;
        drop(world);
        let mut stored = stored;
        for (owner, lost) in &preview.lost {
            if owner == name {
                stored.lost.extend(lost.iter().map(|each| (each.clone(), remembered_until(now))));
            }
        }
        let same = held.as_ref().is_some_and(|held| same(&held.stored, &stored));
        if !same {
            let value = Some(object_value(&stored));
            writes.push(Write { name: object_record(name), expect: expect(any.as_deref()), value });
            writes.extend(self.lost(&preview, name, Some(&stored), now));
        }
        Ok((stored, writes, preview, held.is_none()))
    }

    /// Remembers the routes that other objects lose by a write.
    fn lost(
        &self,
        preview: &Preview,
        but: &ObjectName,
        _written: Option<&Stored>,
        now: Timestamp,
    ) -> Vec<Write> {
        let world = self.control.world();
        let others = preview.lost.iter().filter(|(owner, _)| owner != but);
        let remember = others.filter_map(|(owner, lost)| {
            let held = world.any(owner)?;
            let mut stored = held.stored.clone();
            stored.lost.extend(lost.iter().map(|each| (each.clone(), remembered_until(now))));
            Some(Write {
                name: object_record(owner),
                expect: expect(Some(held)),
                value: Some(object_value(&stored)),
            })
        });
        remember.collect()
    }
}

fn remembered_until(now: Timestamp) -> Timestamp {
    now.saturating_add(REMEMBERED).unwrap_or(Timestamp::MAX)
}

/// Whether a write would change nothing.
fn same(a: &Stored, b: &Stored) -> bool {
    let plain = |stored: &Stored| {
        let mut stored = stored.clone();
        stored.object.metadata_mut().resource_version = None;
        stored
    };
    plain(a) == plain(b)
}

/// The version of the record that a write replaces.
fn expect(any: Option<&Held>) -> Expect {
    let version =
        any.and_then(|held| held.stored.object.metadata().resource_version.as_deref()?.parse().ok());
    version.map_or(Expect::Absent, Expect::At)
}

/// The object as it will be stored: the author's part from `wanted`, the server's part from before.
fn compose(mut wanted: Manifest, any: Option<&Held>, renew: bool, now: Timestamp) -> Result<Stored, Problem> {
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
fn set_aside(gone: &Held, wanted: &Manifest) -> Option<(ObjectName, Stored)> {
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

fn precondition(name: &ObjectName, held: Option<&Held>, when: &Precondition) -> Result<(), Problem> {
    let version = held.and_then(|held| held.stored.object.metadata().resource_version.as_deref());
    if when.absent && held.is_some() {
        return Err(Problem::new(ProblemType::Conflict, format!("{} exists already", describe(name))));
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
fn version(name: &ObjectName, held: Option<&Held>, wanted: &Manifest) -> Result<(), Problem> {
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
                Some(stored) => format!("{} has changed: this is {stored:?} now", describe(name)),
                None => format!("there is no {} yet; leave this out", describe(name)),
            };
            return Err(Problem::new(ProblemType::Conflict, rule.clone()).at(field, Some(given), rule));
        }
    }
    Ok(())
}

/// Endpoints must be where endpoints may be, and services of other namespaces must permit it.
fn permitted(
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
        (false, _) => Err(foreign),
        (true, false) => Err(invalid),
        (true, true) => Ok(()),
    }
}

/// An apply that itself creates a conflict is refused; one that meets somebody else's is not.
fn conflicts(
    object: &Manifest,
    held: Option<&Held>,
    preview: &Preview,
    world: &World,
    name: &ObjectName,
) -> Result<(), Problem> {
    let before = held.and_then(|_| world.plan_status(name));
    if let Some(holder) = &preview.plan.key_holder
        && before.is_none_or(|before| before.key_holder.is_none())
    {
        let rule = format!("{} has this routing key; choose another in spec.routingKey", describe(holder));
        let key = preview.held.as_ref().and_then(|held| held.key.clone());
        let key = key.as_ref().map(bellhop_api::RoutingKey::as_str);
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

/// There is no such object.
pub(crate) fn not_found(name: &ObjectName) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no {}", describe(name)))
}

/// What a failing store means to an author.
pub(crate) fn store_problem(error: &StoreError) -> Problem {
    let kind = match error {
        StoreError::Changed(_) => ProblemType::Conflict,
        StoreError::Behind | StoreError::Failed(_) | StoreError::Closed => ProblemType::Unavailable,
    };
    Problem::new(kind, format!("nothing was promised: {error}"))
}
