//! The route table: what every key does, and which destinations an address or a name stands for.
//!
//! It stands on `dashmap`, so that readers never wait for one another and a writer holds up one shard for the time of one
//! insertion. No guard of a map leaves this module; what is handed out is a clone of an `Arc`.

mod services;
mod standing;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bellhop_api::{
    DnsLabel, RoutingKey,
    watch::{ServiceUnit, Unit, UnitName},
};
use dashmap::DashMap;

use self::services::Services;
pub use self::standing::Standing;
use crate::{CompileError, Digest, KeyRoutes, Place, compile, hash::Seeded};

/// Shards of the keys. A shard that grows holds its readers up while it moves its entries; with so many, a million keys
/// are moved 16,000 at a time. An empty shard is a cache line.
const KEY_SHARDS: usize = 64;

/// All that a proxy knows of keys and services. Shared between threads; a `put` of a key replaces all its routes as one
/// unit, and no reader waits for another. Nothing that it returns holds a lock.
#[derive(Debug)]
pub struct RouteTable {
    loaded: bool,
    services: Services,
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

    /// Takes a unit out; false where there was none.
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
            services: Services::new(namespace),
            keys: DashMap::with_hasher_and_shard_amount(Seeded::default(), KEY_SHARDS),
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
            Unit::Service(unit) => {
                self.services.replace((unit.namespace.clone(), unit.name.clone()), Some(unit));
            }
            Unit::Key(unit) => {
                let routes = self.intern(compile(unit)?);
                let new = routes.digest;
                match self.keys.insert(routes.key.clone(), Arc::new(routes)) {
                    Some(old) => self.fold(old.digest ^ new),
                    None => {
                        self.count.fetch_add(1, Ordering::Relaxed);
                        self.fold(new);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a unit out; false where there was none.
    pub fn delete(&self, name: &UnitName) -> bool {
        match name {
            UnitName::Service { namespace, name } => {
                self.services.replace((namespace.clone(), name.clone()), None)
            }
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

    fn intern(&self, mut routes: KeyRoutes) -> KeyRoutes {
        // Just compiled: nobody else holds them yet.
        for route in routes.routes.iter_mut().filter_map(Arc::get_mut) {
            route.destination = self.services.intern(&route.destination);
        }
        routes
    }

    /// What a key does.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<Arc<KeyRoutes>> {
        self.keys.get(key).map(|held| Arc::clone(&held))
    }

    /// Looks at a key without taking a share of it. `look` runs under the lock of a shard and must not ask the table.
    pub(crate) fn look_at<T>(&self, key: &str, look: impl FnOnce(&KeyRoutes) -> T) -> Option<T> {
        self.keys.get(key).map(|held| look(&held))
    }

    /// Every key, in no order, each as it is held when this comes to it.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<KeyRoutes>> {
        self.keys.iter().map(|held| Arc::clone(held.value())).collect()
    }

    /// Every service, sorted by namespace and name.
    #[must_use]
    pub fn services(&self) -> Vec<Arc<ServiceUnit>> {
        self.services.units()
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

    /// What `place` stands for; none where it is no destination that some key overrides. A [`Place::Named`] always stands
    /// for its destination.
    #[must_use]
    pub fn standing(&self, place: &Place<'_>) -> Option<Arc<Standing>> {
        self.services.standing(place)
    }
}
