//! Which groups a sandbox is in, and which sandboxes a group has, without asking each of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use super::{FullName, Group, Sandbox};

type Label = (String, String);

/// Sandboxes, groups, and who names or may select whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Memberships {
    sandboxes: BTreeMap<FullName, Sandbox>,
    groups: BTreeMap<FullName, Group>,
    /// Groups that name a sandbox, which need not be there.
    naming: Index<FullName>,
    /// Groups whose selector wants a label, each under one of those.
    wanting: Index<Label>,
    /// Groups whose selector wants no label to be equal to a value.
    choosy: BTreeSet<FullName>,
    /// Sandboxes that have a label.
    labelled: Index<Label>,
}

#[derive(Debug, Clone)]
struct Index<K>(HashMap<K, BTreeSet<FullName>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Index<K> {
    fn add(&mut self, key: K, name: &FullName) {
        self.0.entry(key).or_default().insert(name.clone());
    }

    fn remove(&mut self, key: &K, name: &FullName) {
        if let Some(names) = self.0.get_mut(key) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn at(&self, key: &K) -> impl Iterator<Item = &FullName> {
        self.0.get(key).into_iter().flatten()
    }
}

impl Memberships {
    pub(super) fn sandbox(&self, name: &FullName) -> Option<&Sandbox> {
        self.sandboxes.get(name)
    }

    pub(super) fn group(&self, name: &FullName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Replaces a sandbox, or takes it out, and returns what was there.
    pub(super) fn replace_sandbox(&mut self, name: &FullName, new: Option<Sandbox>) -> Option<Sandbox> {
        let old = match new {
            Some(new) => {
                let pairs: Vec<_> = pairs(&new).collect();
                let old = self.sandboxes.insert(name.clone(), new);
                self.unlabel(name, old.as_ref());
                pairs.into_iter().for_each(|pair| self.labelled.add(pair, name));
                return old;
            }
            None => self.sandboxes.remove(name),
        };
        self.unlabel(name, old.as_ref());
        old
    }

    fn unlabel(&mut self, name: &FullName, old: Option<&Sandbox>) {
        old.into_iter().flat_map(pairs).for_each(|pair| self.labelled.remove(&pair, name));
    }

    /// Replaces a group, or takes it out, and returns what was there.
    pub(super) fn replace_group(&mut self, name: &FullName, new: Option<Group>) -> Option<Group> {
        let old = self.groups.remove(name);
        if let Some(old) = &old {
            old.members.iter().for_each(|member| self.naming.remove(member, name));
            self.choosy.remove(name);
            if let Some(label) = wanted(old) {
                self.wanting.remove(&label, name);
            }
        }
        if let Some(new) = new {
            new.members.iter().for_each(|member| self.naming.add(member.clone(), name));
            match wanted(&new) {
                Some(label) => self.wanting.add(label, name),
                None if new.selector.is_some() => drop(self.choosy.insert(name.clone())),
                None => {}
            }
            self.groups.insert(name.clone(), new);
        }
        old
    }

    /// The groups that name or select `sandbox`, which need not be the form of it that is held.
    pub(super) fn groups_of(&self, sandbox: &Sandbox) -> BTreeSet<FullName> {
        let mut groups: BTreeSet<_> = self.naming.at(&sandbox.name).cloned().collect();
        let wanting: Vec<_> = pairs(sandbox).collect();
        let may = wanting.iter().flat_map(|pair| self.wanting.at(pair)).chain(&self.choosy);
        groups
            .extend(may.filter(|name| self.group(name).is_some_and(|group| group.selects(sandbox))).cloned());
        groups
    }

    /// The sandboxes that the group's selector takes in, gone ones too.
    pub(super) fn selected_by(&self, group: &Group) -> BTreeSet<FullName> {
        let selects = |sandbox: &&Sandbox| group.selects(sandbox);
        let selected: Vec<_> = match wanted(group) {
            _ if group.selector.is_none() => Vec::new(),
            Some(label) => {
                self.labelled.at(&label).filter_map(|name| self.sandbox(name)).filter(selects).collect()
            }
            None => self.sandboxes.values().filter(selects).collect(),
        };
        selected.into_iter().map(|sandbox| sandbox.name.clone()).collect()
    }
}

fn pairs(sandbox: &Sandbox) -> impl Iterator<Item = Label> {
    sandbox.labels.iter().map(|(label, value)| (label.clone(), value.clone()))
}

/// A label that every sandbox of the group's selector has.
fn wanted(group: &Group) -> Option<Label> {
    let (label, value) = group.selector.as_ref()?.match_labels.first_key_value()?;
    Some((label.clone(), value.clone()))
}
