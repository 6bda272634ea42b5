//! Writes: what an author wants, checked against everything else there is, then committed.

use std::{net::IpAddr, sync::Arc};

use bellhop_api::{
    Manifest, Problem, ProblemType,
    manifest::Manifest::{Sandbox, SandboxGroup, Service},
};
use bellhop_route::plan::ObjectName;
use jiff::{SignedDuration, Timestamp};

mod addresses;
mod checks;
mod compose;

use checks::{conflicts, permitted, precondition, version};
use compose::{compose, set_aside};

use crate::{
    control::{Basis, Control},
    names::{self, Resolver},
    record::{Edit, Stored, describe, object_record, object_value},
    store::{Expect, StoreError, Write, batches},
    world::{Held, Preview, hosts_of},
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
    /// `If-None-Match: *`: there is none yet.
    pub(crate) none_matches: bool,
    /// `POST`: there is none yet.
    pub(crate) creates: bool,
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
            // another replica's write, or one's own that another took, counts already
            self.control.fresh().await.map_err(|error| store_problem(&error))?;
            let resolved = self.resolve(name, make).await?;
            let _one_at_a_time = self.control.writing.lock().await;
            let basis = self.control.basis();
            let (stored, writes, preview, created) = self.prepare(name, make, how, &resolved)?;
            if how.dry_run {
                let mut object = preview.held.map_or(stored.object, |held| held.manifest());
                let world = self.control.world();
                let version =
                    world.get(name).and_then(|held| held.stored.object.metadata().resource_version.clone());
                object.metadata_mut().resource_version = version;
                return Ok(Written { object, created });
            }
            // nothing to write where nothing would change
            if !writes.is_empty() {
                match self.commit(&basis, writes).await {
                    Ok(()) => {}
                    Err(StoreError::Changed(_)) if tries < TRIES => continue,
                    Err(error) => return Err(store_problem(&error)),
                }
            }
            tracing::info!(object = %describe(name), created, "written");
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
            self.control.fresh().await.map_err(|error| store_problem(&error))?;
            let _one_at_a_time = self.control.writing.lock().await;
            let basis = self.control.basis();
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
            writes.extend(self.lost(&preview, name, now));
            match self.commit(&basis, writes).await {
                Ok(()) => {
                    tracing::info!(object = %describe(name), "deleted");
                    return Ok(held.manifest());
                }
                Err(StoreError::Changed(_)) if tries < TRIES => {}
                Err(error) => return Err(store_problem(&error)),
            }
        }
    }

    /// The object itself is in the first commit. What more there is than that holds are routes that others lose by it,
    /// which are only remembered.
    async fn commit(&self, basis: &Basis, writes: Vec<Write>) -> Result<(), StoreError> {
        for writes in batches(writes) {
            let revision = self.control.commit(basis, writes).await?;
            self.control.applied(revision).await?;
        }
        Ok(())
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
        addresses::owned(&world, name, &stored.object, held.as_deref(), resolved)?;
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
            writes.extend(self.lost(&preview, name, now));
        }
        Ok((stored, writes, preview, held.is_none()))
    }

    /// Remembers the routes that other objects lose by a write.
    fn lost(&self, preview: &Preview, but: &ObjectName, now: Timestamp) -> Vec<Write> {
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
