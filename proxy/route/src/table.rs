//! The route table: what every key does, and which destinations an address or a name stands for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bellhop_api::{
    Destination, DnsLabel, RoutingKey,
    watch::{Unit, UnitName},
};
use dashmap::DashMap;

use crate::{CompileError, Digest, KeyRoutes, Place, compile, hash::Seeded};

/// What an address or a name stands for: destinations, sorted, each once, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    destinations: Box<[Destination]>,
    text: Box<str>,
}

impl Standing {
    /// The destinations.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// The destinations as `bellhop-decided` names them, joined by `, `.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// All that a proxy knows of keys and services. Shared between threads; a `put` of a key replaces all its routes as one
/// unit, and no reader waits for another. Nothing that it returns holds a lock.
#[derive(Debug)]
pub struct RouteTable {
    loaded: bool,
    namespace: DnsLabel,
    keys: DashMap<RoutingKey, Arc<KeyRoutes>, Seeded>,
    digest: AtomicU64,
    count: AtomicUsize,
}

/// Builds a table aside, to be swapped in whole: filling a shared one in place would stall its readers.
#[derive(Debug)]
pub struct TableBuilder(RouteTable);

impl TableBuilder {
    /// An empty one, for a proxy whose own namespace is `namespace`: there a service's bare name is enough.
    #[must_use]
    pub fn new(namespace: DnsLabel) -> Self {
        Self(RouteTable { loaded: true, ..RouteTable::unloaded(namespace) })
    }

    /// Adds a unit, or replaces it.
    ///
    /// # Errors
    /// When the unit cannot be compiled; the table is then as it was.
    pub fn put(&mut self, unit: &Unit) -> Result<(), CompileError> {
        self.0.put(unit)
    }

    /// Takes a unit out.
    pub fn delete(&mut self, name: &UnitName) -> bool {
        self.0.delete(name)
    }

    /// The table, to be shared.
    #[must_use]
    pub fn finish(self) -> RouteTable {
        self.0
    }
}

impl RouteTable {
    /// The table before the first list: keyed requests are `baseline(no-table)`.
    #[must_use]
    pub fn unloaded(namespace: DnsLabel) -> Self {
        Self {
            loaded: false,
            namespace,
            keys: DashMap::with_hasher(Seeded::default()),
            digest: AtomicU64::new(0),
            count: AtomicUsize::new(0),
        }
    }

    /// Whether a list was ever loaded into it.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.loaded
    }

    /// Adds a unit, or replaces the one of its name.
    ///
    /// # Errors
    /// When the unit cannot be compiled; the table is then as it was.
    pub fn put(&self, unit: &Unit) -> Result<(), CompileError> {
        match unit {
            Unit::Service(_) => Ok(()),
            Unit::Key(unit) => compile(unit).map(|routes| {
                let new = routes.digest;
                match self.keys.insert(routes.key.clone(), Arc::new(routes)) {
                    Some(old) => self.fold(old.digest ^ new),
                    None => {
                        self.count.fetch_add(1, Ordering::Relaxed);
                        self.fold(new);
                    }
                }
            }),
        }
    }

    /// Takes a unit out; false where there was none.
    pub fn delete(&self, name: &UnitName) -> bool {
        match name {
            UnitName::Service { .. } => false,
            UnitName::Key(key) => match self.keys.remove(key) {
                Some((_, old)) => {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    self.fold(old.digest);
                    true
                }
                None => false,
            },
        }
    }

    fn fold(&self, change: Digest) {
        self.digest.fetch_xor(change.0, Ordering::Relaxed);
    }

    /// What a key does.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<Arc<KeyRoutes>> {
        self.keys.get(key).map(|held| Arc::clone(&held))
    }

    /// Every key, in no order, as they are held while this runs.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<KeyRoutes>> {
        self.keys.iter().map(|held| Arc::clone(held.value())).collect()
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The exclusive or of the digests of all keys.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.digest.load(Ordering::Relaxed))
    }

    /// What `place` stands for; none where it is no destination that some key overrides.
    #[must_use]
    pub fn standing(&self, place: &Place<'_>) -> Option<Arc<Standing>> {
        let _ = (place, &self.namespace);
        None
    }
}
