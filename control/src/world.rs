//! The world: all objects as control knows them, what the planner makes of them, and a status for each.
//!
//! It changes by edits alone, and an edit recomputes only what it touches. It does no I/O and reads no clock, so that a
//! preview of an apply is the apply itself, undone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use bellhop_api::{
    Kind, Manifest, RoutingKey, Status,
    watch::{KeyUnit, Unit},
};
use bellhop_route::plan::{self, Change, Effects, FullName, ObjectName, Planner};
use jiff::Timestamp;

use crate::{
    expiry,
    networks::Networks,
    record::{Edit, Stored},
};

mod convert;
mod status;

pub(crate) use convert::{Note, hosts_of, key_of as key_of_object, service_of};
pub(crate) use status::disagreement;

/// An object and everything that is known of it. Never changed: a newer one takes its place.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// As it is stored.
    pub(crate) stored: Stored,
    /// Its routing key; none for services.
    pub(crate) key: Option<RoutingKey>,
    /// What stands in the way of some of its routes.
    pub(crate) notes: Vec<Note>,
    /// Its whole status.
    pub(crate) status: Status,
}

impl Held {
    /// The object as users see it.
    pub(crate) fn manifest(&self) -> Manifest {
        let mut manifest = self.stored.object.clone();
        *manifest.status_mut() = Some(self.status.clone());
        manifest
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    objects: BTreeMap<ObjectName, Arc<Held>>,
    names: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// Who names what, to find what an edit touches.
    users: BTreeMap<FullName, BTreeSet<ObjectName>>,
    hosts: BTreeMap<String, BTreeSet<ObjectName>>,
    /// Sorted. Nearly always there is one, for which a tree would take ten times the room.
    claims: BTreeMap<RoutingKey, Vec<ObjectName>>,
    /// When something happens to an object by time alone, and since when it is only remembered.
    due: BTreeSet<(Timestamp, ObjectName)>,
    remembered: BTreeSet<(Timestamp, ObjectName)>,
    planner: Planner,
    networks: Networks,
}

/// What some edits did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Units that changed.
    pub(crate) effects: Effects,
    /// Objects whose status, or whose self, may have changed, as they were before.
    before: BTreeMap<ObjectName, Option<Arc<Held>>>,
    undo: Vec<Edit>,
}

/// What an apply would do.
#[derive(Debug)]
pub(crate) struct Preview {
    /// The object as it would be.
    pub(crate) held: Option<Arc<Held>>,
    /// What the planner would say of it.
    pub(crate) plan: plan::Status,
    /// Objects that would lose routes, and those routes.
    pub(crate) lost: Vec<(ObjectName, Vec<bellhop_api::Destination>)>,
}

impl World {
    pub(crate) fn new(networks: Networks) -> Self {
        Self {
            objects: BTreeMap::new(),
            names: BTreeMap::new(),
            users: BTreeMap::new(),
            hosts: BTreeMap::new(),
            claims: BTreeMap::new(),
            due: BTreeSet::new(),
            remembered: BTreeSet::new(),
            planner: Planner::default(),
            networks,
        }
    }

    /// Every object, deleted ones that are remembered included, by kind, namespace and name.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = (&ObjectName, &Arc<Held>)> {
        self.objects.iter()
    }

    /// An object, even a deleted one that is remembered.
    pub(crate) fn any(&self, name: &ObjectName) -> Option<&Arc<Held>> {
        self.objects.get(name)
    }

    /// An object that users see.
    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Arc<Held>> {
        self.any(name).filter(|held| held.stored.deleted_until.is_none())
    }

    /// Objects of a kind that users see, from a name on.
    pub(crate) fn list(&self, from: &ObjectName) -> impl Iterator<Item = (&ObjectName, &Arc<Held>)> {
        let kind = from.kind;
        self.objects
            .range(from..)
            .take_while(move |(name, _)| name.kind == kind)
            .filter(|(_, held)| held.stored.deleted_until.is_none())
    }

    /// Where endpoints may be.
    pub(crate) fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The names that objects use, each with its addresses where they are known.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&str, Option<&[IpAddr]>)> {
        self.hosts.keys().map(|host| (&**host, self.names.get(&**host).map(Vec::as_slice)))
    }

    /// Names that are resolved, whether or not anybody still uses them.
    pub(crate) fn resolved(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.keys()
    }

    /// The addresses of a name.
    pub(crate) fn addresses(&self, host: &str) -> Option<&[IpAddr]> {
        self.names.get(host).map(Vec::as_slice)
    }

    /// The object that has a key, gone ones last.
    pub(crate) fn owner(&self, key: &str) -> Option<(&ObjectName, &Arc<Held>)> {
        let claims = self.claims.get(key)?;
        let has = |name: &&ObjectName| self.planner.status(name).is_none_or(|s| s.key_holder.is_none());
        let find = |gone: bool| {
            let mut held = claims.iter().filter(has).filter_map(|name| self.objects.get_key_value(name));
            held.find(|(_, held)| {
                (held.status.phase == bellhop_api::Phase::Expired || held.stored.deleted_until.is_some())
                    == gone
            })
        };
        find(false).or_else(|| find(true))
    }

    /// The object that has a key and lives.
    pub(crate) fn living_owner(&self, key: &RoutingKey) -> Option<&ObjectName> {
        let (name, held) = self.owner(key.as_str())?;
        let lives = held.stored.deleted_until.is_none() && held.status.phase != bellhop_api::Phase::Expired;
        lives.then_some(name)
    }

    /// When something is next due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Objects for which something is due.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &ObjectName> {
        self.due.iter().take_while(move |(at, _)| *at <= now).map(|(_, name)| name)
    }

    /// How many objects are only remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.remembered.len()
    }

    /// The oldest of them, beyond `most`.
    pub(crate) fn oldest_remembered(&self, most: usize) -> impl Iterator<Item = (&ObjectName, &Arc<Held>)> {
        let names = self.remembered.iter().take(self.remembered.len().saturating_sub(most));
        names.filter_map(|(_, name)| self.objects.get_key_value(name))
    }

    /// What the planner says of an object.
    pub(crate) fn plan_status(&self, name: &ObjectName) -> Option<&plan::Status> {
        self.planner.status(name)
    }

    /// Takes edits in, together.
    pub(crate) fn apply(&mut self, edits: Vec<Edit>, now: Timestamp) -> Outcome {
        let mut touched = Touched::default();
        let mut undo = Vec::with_capacity(edits.len());
        for edit in edits {
            undo.push(self.take_in(edit, &mut touched));
        }
        undo.reverse();
        let mut changes: Vec<_> = touched.deleted.iter().cloned().map(Change::Delete).collect();
        let mut notes = HashMap::new();
        for name in &touched.objects {
            if let Some((object, found)) = self.plan_object(name, now) {
                changes.push(Change::Put(object));
                notes.insert(name.clone(), found);
            }
        }
        let effects = self.planner.apply(changes);
        touched.objects.extend(effects.statuses.iter().map(|(name, _)| name.clone()));
        for name in &touched.objects {
            if !touched.before.contains_key(name) {
                touched.before.insert(name.clone(), self.objects.get(name).cloned());
            }
            self.refresh_status(name, notes.remove(name), touched.before.get(name), now);
        }
        Outcome { effects, before: touched.before, undo }
    }

    /// What edits would do, for one object above all; nothing is changed in the end.
    pub(crate) fn preview(&mut self, edits: Vec<Edit>, name: &ObjectName, now: Timestamp) -> Preview {
        let units = |world: &Self, keys: &[RoutingKey]| -> Vec<Option<Arc<KeyUnit>>> {
            keys.iter().map(|key| world.planner.key(key).cloned()).collect()
        };
        let outcome = self.apply(edits, now);
        let keys: Vec<_> = outcome.effects.put.iter().filter_map(key_of).collect();
        let after = units(self, &keys);
        let owners: Vec<_> =
            keys.iter().map(|key| self.owner(key.as_str()).map(|(name, _)| name.clone())).collect();
        let held = self.objects.get(name).cloned();
        let plan = self.planner.status(name).cloned().unwrap_or_default();
        self.apply(outcome.undo, now);
        for (name, before) in outcome.before {
            match before {
                Some(before) => drop(self.objects.insert(name, before)),
                None => drop(self.objects.remove(&name)),
            }
        }
        let before = units(self, &keys);
        let lost =
            owners.into_iter().zip(before.into_iter().zip(after)).filter_map(|(owner, (before, after))| {
                let lost = routes_lost(&*before?, &*after?);
                (!lost.is_empty()).then_some((owner?, lost))
            });
        Preview { held, plan, lost: lost.collect() }
    }

    /// Puts one edit into the maps; returns the edit that takes it back.
    fn take_in(&mut self, edit: Edit, touched: &mut Touched) -> Edit {
        match edit {
            Edit::Name(host, addresses) => {
                for user in self.hosts.get(&*host).into_iter().flatten() {
                    touched.objects.insert(user.clone());
                }
                let old = match addresses {
                    Some(addresses) => self.names.insert(Arc::clone(&host), addresses),
                    None => self.names.remove(&*host),
                };
                Edit::Name(host, old)
            }
            Edit::Object(name, stored) => {
                let old = self.objects.get(&name).cloned();
                touched.before.entry(name.clone()).or_insert_with(|| old.clone());
                if let Some(old) = &old {
                    self.index(&name, old, false);
                }
                touched.objects.insert(name.clone());
                if name.kind == Kind::Service {
                    // whom it permits may have changed; its own namespace only cares whether it is there
                    let appears = old.is_none() || stored.is_none();
                    let foreign = |user: &&ObjectName| appears || user.name.namespace != name.name.namespace;
                    let users = self.users.get(&name.name).into_iter().flatten();
                    touched.objects.extend(users.filter(foreign).cloned());
                }
                match stored {
                    Some(stored) => {
                        let key = convert::key_of(&stored.object);
                        let status = old.as_ref().map_or_else(Status::default, |old| old.status.clone());
                        let held = Arc::new(Held { stored: *stored, key, notes: Vec::new(), status });
                        self.index(&name, &held, true);
                        self.objects.insert(name.clone(), held);
                        touched.deleted.remove(&name);
                    }
                    None => {
                        self.objects.remove(&name);
                        touched.deleted.insert(name.clone());
                    }
                }
                Edit::Object(name, old.map(|old| Box::new(old.stored.clone())))
            }
        }
    }

    fn index(&mut self, name: &ObjectName, held: &Held, present: bool) {
        fn set<K: Ord>(
            map: &mut BTreeMap<K, BTreeSet<ObjectName>>,
            key: K,
            name: &ObjectName,
            present: bool,
        ) {
            if present {
                map.entry(key).or_default().insert(name.clone());
            } else if let Some(set) = map.get_mut(&key) {
                set.remove(name);
                if set.is_empty() {
                    map.remove(&key);
                }
            }
        }
        for service in convert::services_of(&held.stored.object) {
            set(&mut self.users, service, name, present);
        }
        if held.stored.deleted_until.is_none() {
            for host in hosts_of(&held.stored.object) {
                set(&mut self.hosts, host, name, present);
            }
        }
        for (times, at) in [
            (&mut self.due, expiry::due(&held.stored)),
            (&mut self.remembered, expiry::remembered_since(&held.stored)),
        ] {
            match at.map(|at| (at, name.clone())) {
                Some(entry) if present => drop(times.insert(entry)),
                Some(entry) => drop(times.remove(&entry)),
                None => {}
            }
        }
        if let Some(key) = &held.key {
            self.claim(key, name, present);
        }
    }

    fn claim(&mut self, key: &RoutingKey, name: &ObjectName, present: bool) {
        let claims = self.claims.entry(key.clone()).or_default();
        match claims.binary_search(name) {
            Err(at) if present => {
                claims.reserve_exact(1);
                claims.insert(at, name.clone());
            }
            Ok(at) if !present => drop(claims.remove(at)),
            _ => {}
        }
        if claims.is_empty() {
            self.claims.remove(key);
        }
    }
}

/// What some edits touch.
#[derive(Debug, Default)]
struct Touched {
    objects: BTreeSet<ObjectName>,
    deleted: BTreeSet<ObjectName>,
    before: BTreeMap<ObjectName, Option<Arc<Held>>>,
}

fn key_of(unit: &Unit) -> Option<RoutingKey> {
    match unit {
        Unit::Key(unit) => Some(unit.key.clone()),
        Unit::Service(_) => None,
    }
}

/// Destinations that a key routed and, alive, does not any more.
fn routes_lost(before: &KeyUnit, after: &KeyUnit) -> Vec<bellhop_api::Destination> {
    if after.gone {
        return Vec::new();
    }
    let kept = |destination: &bellhop_api::Destination| {
        after.routes.iter().any(|route| route.destination == *destination)
    };
    let lost = before.routes.iter().map(|route| &route.destination).filter(|destination| !kept(destination));
    lost.cloned().collect()
}

#[cfg(test)]
mod tests;
