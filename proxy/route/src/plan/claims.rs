//! Who claims which key, and who has it.

use std::collections::HashMap;

use bellhop_api::RoutingKey;

use super::{FullName, Group, Kind, ObjectName, Sandbox};

/// One object's claim to a key. The smallest has the key: one that lives, then the oldest, then the first by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) gone: bool,
    created_ms: i64,
    name: FullName,
    kind: Kind,
}

impl Claim {
    pub(super) fn of_sandbox(sandbox: &Sandbox) -> Self {
        let Sandbox { gone, created_ms, .. } = *sandbox;
        Self { gone, created_ms, name: sandbox.name.clone(), kind: Kind::Sandbox }
    }

    pub(super) fn of_group(group: &Group) -> Self {
        let Group { gone, created_ms, .. } = *group;
        Self { gone, created_ms, name: group.name.clone(), kind: Kind::SandboxGroup }
    }

    pub(super) fn by(&self) -> ObjectName {
        ObjectName { kind: self.kind, name: self.name.clone() }
    }
}

/// The claims to all keys, sorted for each: nearly always there is one, and a tree would cost ten times its room.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(HashMap<RoutingKey, Vec<Claim>>);

impl Claims {
    pub(super) fn add(&mut self, key: &RoutingKey, claim: Claim) {
        let claims = self.0.entry(key.clone()).or_default();
        if let Err(at) = claims.binary_search(&claim) {
            claims.reserve_exact(1);
            claims.insert(at, claim);
        }
    }

    pub(super) fn remove(&mut self, key: &RoutingKey, claim: &Claim) {
        if let Some(claims) = self.0.get_mut(key) {
            claims.retain(|held| held != claim);
            if claims.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Claims to `key`, the one that has it first.
    pub(super) fn to(&self, key: &RoutingKey) -> impl Iterator<Item = &Claim> {
        self.0.get(key).into_iter().flatten()
    }

    pub(super) fn holder(&self, key: &RoutingKey) -> Option<ObjectName> {
        self.to(key).next().map(Claim::by)
    }

    /// Whether `sandbox` lives and has its key.
    pub(super) fn has_its_key(&self, sandbox: &Sandbox) -> bool {
        !sandbox.gone
            && self.to(&sandbox.key).next().is_some_and(|first| *first == Claim::of_sandbox(sandbox))
    }
}
