//! The planner: objects in, changed units and statuses out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bellhop_api::{
    RoutingKey,
    watch::{KeyUnit, ServiceUnit, Unit, UnitName},
};

use super::{
    Change, FullName, Group, Kind, Object, ObjectName, Sandbox, Status,
    catalog::{Catalog, Shift},
    claims::{Claim, Claims},
    combine::{Combined, Parts, combine, gone},
    memberships::Memberships,
    model::service_name,
};

/// What a set of changes did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// Units that are new or differ from before: services first, then keys, each sorted by name.
    pub put: Vec<Unit>,
    /// Units that are no more: keys first, then services, each sorted by name.
    pub delete: Vec<UnitName>,
    /// Sandboxes and groups whose status is new or differs from before, sorted by name.
    pub statuses: Vec<(ObjectName, Status)>,
}

/// All objects, indexed, and the units that they make.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    catalog: Catalog,
    claims: Claims,
    memberships: Memberships,
    /// Keys that depend on a service. One that no key depends on is not sent.
    users: HashMap<FullName, BTreeSet<RoutingKey>>,
    keys: BTreeMap<RoutingKey, Compiled>,
    services: BTreeMap<FullName, Arc<ServiceUnit>>,
    statuses: HashMap<ObjectName, Status>,
}

#[derive(Debug, Clone)]
struct Compiled {
    unit: Arc<KeyUnit>,
    services: Box<[FullName]>,
}

/// What must be made anew.
#[derive(Debug, Default)]
struct Work {
    /// Keys, each with who had it before where its claims changed.
    keys: BTreeMap<RoutingKey, Option<Option<ObjectName>>>,
    services: BTreeSet<FullName>,
    effects: Effects,
    statuses: BTreeMap<ObjectName, Status>,
}

impl Planner {
    /// Takes changes in, together, and tells what they did. The sum of all effects depends on the objects alone, not on
    /// the order in which they came.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Effects {
        let mut work = Work::default();
        for change in changes {
            self.take_in(change, &mut work);
        }
        self.settle_services(&mut work);
        self.settle_holders(&mut work);
        for key in std::mem::take(&mut work.keys).into_keys() {
            self.compile(&key, &mut work);
        }
        self.send_services(&mut work);
        work.effects.statuses.extend(work.statuses);
        work.effects
    }

    /// What [`Planner::apply`] would do; nothing is changed in the end.
    pub fn preview(&mut self, changes: impl IntoIterator<Item = Change>) -> Effects {
        let changes: Vec<_> = changes.into_iter().collect();
        let names: BTreeSet<_> = changes.iter().map(Change::object_name).collect();
        let back: Vec<_> = names.into_iter().map(|name| self.restoring(name)).collect();
        let effects = self.apply(changes);
        self.apply(back);
        effects
    }

    /// All units as they stand: services first, then keys, each sorted by name.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        let services = self.services.values().map(|unit| Unit::Service(ServiceUnit::clone(unit)));
        services.chain(self.keys.values().map(|held| Unit::Key(KeyUnit::clone(&held.unit)))).collect()
    }

    /// The unit of a key.
    #[must_use]
    pub fn key(&self, key: &RoutingKey) -> Option<&Arc<KeyUnit>> {
        self.keys.get(key).map(|held| &held.unit)
    }

    /// Who has a key.
    #[must_use]
    pub fn holder(&self, key: &RoutingKey) -> Option<ObjectName> {
        self.claims.holder(key)
    }

    /// What is known of a service, sent or not; none where it is not even known which ports it has.
    #[must_use]
    pub fn service(&self, name: &FullName) -> Option<&Arc<ServiceUnit>> {
        self.catalog.unit(name)
    }

    /// The status of a sandbox or group.
    #[must_use]
    pub fn status(&self, name: &ObjectName) -> Option<&Status> {
        self.statuses.get(name)
    }

    /// The change that brings `name` back to what it is now.
    fn restoring(&self, name: ObjectName) -> Change {
        let held = match name.kind {
            Kind::Service => self.catalog.object(&name.name).cloned().map(Object::Service),
            Kind::Sandbox => self.memberships.sandbox(&name.name).cloned().map(Object::Sandbox),
            Kind::SandboxGroup => self.memberships.group(&name.name).cloned().map(Object::Group),
        };
        held.map_or(Change::Delete(name), Change::Put)
    }

    fn take_in(&mut self, change: Change, work: &mut Work) {
        match change {
            Change::Put(Object::Service(unit)) => self.replace_service(service_name(&unit), Some(unit), work),
            Change::Put(Object::Sandbox(it)) => self.replace_sandbox(&it.name.clone(), Some(it), work),
            Change::Put(Object::Group(it)) => self.replace_group(&it.name.clone(), Some(it), work),
            Change::Delete(ObjectName { kind, name }) => match kind {
                Kind::Service => self.replace_service(name, None, work),
                Kind::Sandbox => self.replace_sandbox(&name, None, work),
                Kind::SandboxGroup => self.replace_group(&name, None, work),
            },
        }
    }

    fn replace_service(&mut self, name: FullName, unit: Option<ServiceUnit>, work: &mut Work) {
        self.catalog.set_object(&name, unit);
        work.services.insert(name);
    }

    fn replace_sandbox(&mut self, name: &FullName, new: Option<Sandbox>, work: &mut Work) {
        let claim = new.as_ref().map(|new| (new.key.clone(), Claim::of_sandbox(new)));
        for each in new.iter().flat_map(|new| &new.overrides) {
            self.mention(each, true, work);
        }
        let old = self.memberships.replace_sandbox(name, new);
        for each in old.iter().flat_map(|old| &old.overrides) {
            self.mention(each, false, work);
        }
        let old_claim = old.as_ref().map(|old| (old.key.clone(), Claim::of_sandbox(old)));
        self.reclaim(old_claim, claim, work);
        let object = ObjectName { kind: Kind::Sandbox, name: name.clone() };
        match self.memberships.sandbox(name) {
            Some(new) => self.touch_groups_of(new, work),
            None => drop(self.statuses.remove(&object)),
        }
        if let Some(old) = &old {
            self.touch_groups_of(old, work);
        }
    }

    fn replace_group(&mut self, name: &FullName, new: Option<Group>, work: &mut Work) {
        if new.is_none() {
            self.statuses.remove(&ObjectName { kind: Kind::SandboxGroup, name: name.clone() });
        }
        let claim = new.as_ref().map(|new| (new.key.clone(), Claim::of_group(new)));
        let old = self.memberships.replace_group(name, new);
        self.reclaim(old.map(|old| (old.key.clone(), Claim::of_group(&old))), claim, work);
    }

    fn mention(&mut self, each: &super::Override, there: bool, work: &mut Work) {
        self.catalog.mention(each, there);
        // What an object describes, mentions do not change.
        if self.catalog.object(&each.service).is_none() {
            work.services.insert(each.service.clone());
        }
    }

    fn reclaim(
        &mut self,
        old: Option<(RoutingKey, Claim)>,
        new: Option<(RoutingKey, Claim)>,
        work: &mut Work,
    ) {
        for (key, _) in old.iter().chain(&new) {
            let before = self.claims.holder(key);
            work.keys.entry(key.clone()).or_default().get_or_insert(before);
        }
        if let Some((key, claim)) = old {
            self.claims.remove(&key, &claim);
        }
        if let Some((key, claim)) = new {
            self.claims.add(&key, claim);
        }
    }

    fn touch_groups_of(&self, sandbox: &Sandbox, work: &mut Work) {
        for group in self.memberships.groups_of(sandbox) {
            if let Some(group) = self.memberships.group(&group) {
                work.keys.entry(group.key.clone()).or_default();
            }
        }
    }

    fn settle_services(&mut self, work: &mut Work) {
        for service in &work.services {
            let shift = self.catalog.settle(service);
            let Some(users) = self.users.get(service) else { continue };
            let shifted: Vec<_> = match shift {
                Shift::All => users.iter().cloned().collect(),
                Shift::With(partners) => {
                    let theirs = partners.iter().filter_map(|partner| self.users.get(partner));
                    theirs.flat_map(|theirs| theirs.intersection(users)).cloned().collect()
                }
            };
            for key in shifted {
                work.keys.entry(key).or_default();
            }
        }
    }

    /// A sandbox that got its key, or lost it, matters to its groups.
    fn settle_holders(&self, work: &mut Work) {
        let mut moved = BTreeSet::new();
        for (key, before) in &work.keys {
            let after = self.claims.holder(key);
            if let Some(before) = before
                && *before != after
            {
                moved.extend(before.iter().cloned().chain(after));
            }
        }
        for object in moved.into_iter().filter(|object| object.kind == Kind::Sandbox) {
            if let Some(sandbox) = self.memberships.sandbox(&object.name) {
                self.touch_groups_of(sandbox, work);
            }
        }
    }

    /// Makes a key's unit anew, and the statuses of all that claim it.
    fn compile(&mut self, key: &RoutingKey, work: &mut Work) {
        let mut claims = self.claims.to(key);
        let holder = claims.next().map(Claim::by);
        let without: Vec<_> = claims.map(|claim| (claim.by(), claim.gone)).collect();
        let combined = holder.as_ref().and_then(|holder| self.combine(key, holder));
        self.keep(key, combined.as_ref(), work);
        for (object, gone) in without {
            let key_holder = holder.clone().filter(|_| !gone);
            self.tell(object, Status { key_holder, ..Status::default() }, work);
        }
        if let (Some(holder), Some(Combined { status, .. })) = (holder, combined) {
            self.tell(holder, status, work);
        }
    }

    fn combine(&self, key: &RoutingKey, holder: &ObjectName) -> Option<Combined> {
        match holder.kind {
            Kind::Sandbox => {
                let sandbox = self.memberships.sandbox(&holder.name)?;
                if sandbox.gone {
                    return Some(gone(key));
                }
                let parts = Parts { live: vec![sandbox], gone: Vec::new(), lost: BTreeSet::new() };
                Some(combine(&self.catalog, key, &parts))
            }
            Kind::SandboxGroup => {
                let group = self.memberships.group(&holder.name)?;
                if group.gone { Some(gone(key)) } else { Some(self.combine_group(group)) }
            }
            Kind::Service => None,
        }
    }

    fn combine_group(&self, group: &Group) -> Combined {
        let mut parts = Parts { live: Vec::new(), gone: Vec::new(), lost: group.lost.clone() };
        let (mut members, mut missing) = (BTreeSet::new(), BTreeSet::new());
        let mut all = self.memberships.selected_by(group);
        all.extend(group.members.iter().cloned());
        for name in all {
            let sandbox = self.memberships.sandbox(&name);
            match sandbox {
                Some(sandbox) if self.claims.has_its_key(sandbox) => parts.live.push(sandbox),
                Some(sandbox) => parts.gone.push(sandbox),
                None => {}
            }
            let contributes = sandbox.is_some_and(|sandbox| self.claims.has_its_key(sandbox));
            if contributes {
                members.insert(name);
            } else if group.members.contains(&name) || sandbox.is_some_and(|sandbox| !sandbox.gone) {
                missing.insert(name);
            }
        }
        let mut combined = combine(&self.catalog, &group.key, &parts);
        (combined.status.members, combined.status.missing_members) = (members, missing);
        combined
    }

    /// Keeps a key's unit, and notes what the watch must say of it.
    fn keep(&mut self, key: &RoutingKey, combined: Option<&Combined>, work: &mut Work) {
        let old = self.keys.remove(key);
        for service in old.iter().flat_map(|old| &old.services) {
            if let Some(users) = self.users.get_mut(service) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(service);
                }
            }
            work.services.insert(service.clone());
        }
        let Some(combined) = combined else {
            if old.is_some() {
                work.effects.delete.push(UnitName::Key(key.clone()));
            }
            return;
        };
        for service in &combined.services {
            self.users.entry(service.clone()).or_default().insert(key.clone());
            work.services.insert(service.clone());
        }
        let unit = match old {
            Some(old) if *old.unit == combined.unit => old.unit,
            _ => {
                work.effects.put.push(Unit::Key(combined.unit.clone()));
                Arc::new(combined.unit.clone())
            }
        };
        self.keys
            .insert(key.clone(), Compiled { unit, services: combined.services.iter().cloned().collect() });
    }

    fn tell(&mut self, object: ObjectName, status: Status, work: &mut Work) {
        if self.statuses.get(&object) != Some(&status) {
            self.statuses.insert(object.clone(), status.clone());
            work.statuses.insert(object, status);
        }
    }

    fn send_services(&mut self, work: &mut Work) {
        let mut put = Vec::new();
        for name in &work.services {
            let unit = self.catalog.unit(name).filter(|_| self.users.contains_key(name)).cloned();
            match unit {
                Some(unit) if self.services.get(name) == Some(&unit) => {}
                Some(unit) => {
                    put.push(Unit::Service(ServiceUnit::clone(&unit)));
                    self.services.insert(name.clone(), unit);
                }
                None if self.services.remove(name).is_some() => {
                    let FullName { namespace, name } = name.clone();
                    work.effects.delete.push(UnitName::Service { namespace, name });
                }
                None => {}
            }
        }
        work.effects.put.splice(..0, put);
    }
}
