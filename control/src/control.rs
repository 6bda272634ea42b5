//! What the rooms of the control plane share: store, world, feed, registry.
//!
//! Every change, whoever made it, comes back from the store's watch and takes one path: into the world, into the feed.
//! A write waits until its own commit has come through, so that its answer shows what it did.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use bellhop_api::{
    DnsLabel,
    watch::{Unit, UnitName},
};
use bellhop_route::{
    RouteTable, TableBuilder,
    plan::{Effects, ObjectName},
};
use futures_util::StreamExt;
use tokio::sync::{Mutex, watch};

use crate::{
    access::Tokens,
    clock::Clock,
    feed::Feed,
    names::Lookup,
    networks::Networks,
    record::Edit,
    registry::Registry,
    store::{Commit, Listing, Revision, Store, StoreError},
    world::World,
};

/// See the module.
pub(crate) struct Control {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) feed: Arc<Feed>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tokens: Tokens,
    pub(crate) lookup: Box<dyn Lookup>,
    /// For `explain`: the table that a proxy would have.
    pub(crate) table: RouteTable,
    /// One write at a time: what was checked must still be true when it is committed.
    pub(crate) writing: Mutex<()>,
    world: RwLock<World>,
    applied: watch::Sender<Revision>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Reads the store, and is ready to answer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        networks: Networks,
        lookup: Box<dyn Lookup>,
    ) -> Result<Self, StoreError> {
        let listing = store.list().await?;
        let replica: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        let control = Self {
            store,
            clock,
            feed: Arc::new(Feed::new(&listing.epoch, &replica)),
            registry: Arc::default(),
            tokens: Tokens::default(),
            lookup,
            table: TableBuilder::new(DnsLabel::default_namespace()).finish(),
            writing: Mutex::new(()),
            world: RwLock::new(World::new(networks)),
            applied: watch::Sender::new(0),
        };
        control.tokens.take_listing(&listing);
        let edits = listing.records.iter().filter_map(Edit::from_record).collect();
        control.take_in(edits, listing.revision);
        if !control.table.is_empty() {
            control.registry.await_return();
        }
        Ok(control)
    }

    /// The world, to read. Never held across an `.await`.
    pub(crate) fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world, to preview something.
    pub(crate) fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision that the world shows.
    pub(crate) fn revision(&self) -> Revision {
        *self.applied.borrow()
    }

    /// Waits until the world shows a revision.
    ///
    /// # Errors
    /// When it does not within 10 s: the store's watch hangs.
    pub(crate) async fn applied(&self, revision: Revision) -> Result<(), StoreError> {
        let mut applied = self.applied.subscribe();
        let wait = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout(Duration::from_secs(10), wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Behind),
        }
    }

    /// Wakes when the world has changed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    fn take_in(&self, edits: Vec<Edit>, revision: Revision) {
        let now = self.clock.now();
        let mut world = self.world_mut();
        let effects = world.apply(edits, now).effects;
        // while the world is still locked: whoever sees the object also sees its key
        self.publish(&effects, revision);
        drop(world);
        self.applied.send_replace(revision);
    }

    fn publish(&self, effects: &Effects, revision: Revision) {
        for unit in &effects.put {
            if let Err(error) = self.table.put(unit) {
                tracing::error!(%error, "a unit does not compile and is not shown by explain");
            }
        }
        for name in &effects.delete {
            self.table.delete(name);
        }
        let (put, delete) = (effects.put.iter().filter(|unit| is_key(unit)).count(), effects.delete.len());
        tracing::debug!(revision, keys_put = put, units_deleted = delete, "published");
        self.feed.publish(effects, revision);
        if effects.delete.iter().any(|name| matches!(name, UnitName::Key(_))) {
            self.registry.retain(|key| self.feed.key(key.as_str()).is_some());
        }
    }

    /// Makes objects that have expired in the meantime lose their routes at once, before the store knows.
    pub(crate) fn expire(&self, names: &[ObjectName]) {
        let now = self.clock.now();
        let mut world = self.world_mut();
        let again = |name: &ObjectName| {
            Some(Edit::Object(name.clone(), Some(Box::new(world.any(name)?.stored.clone()))))
        };
        let edits = names.iter().filter_map(again).collect();
        let effects = world.apply(edits, now).effects;
        self.publish(&effects, self.revision());
    }

    /// Follows the store until it is closed.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let mut commits = self.store.watch(self.revision());
            while let Some(commit) = commits.next().await {
                match commit {
                    Ok(commit) => self.take_commit(&commit),
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "the store's watch ended; listing again");
                        break;
                    }
                }
            }
            match self.store.list().await {
                Ok(listing) => self.take_listing(&listing),
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "the store cannot be listed");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn take_commit(&self, commit: &Commit) {
        let read = |(name, value): &(Arc<str>, Option<_>)| {
            let token = self.tokens.take_in(name, value.as_ref(), commit.revision);
            if token { None } else { Edit::read(name, value.as_ref(), commit.revision) }
        };
        self.take_in(commit.changes.iter().filter_map(read).collect(), commit.revision);
    }

    fn take_listing(&self, listing: &Listing) {
        self.tokens.take_listing(listing);
        let mut edits: Vec<_> = listing.records.iter().filter_map(Edit::from_record).collect();
        let listed: BTreeSet<_> = edits.iter().filter_map(object_of).cloned().collect();
        let world = self.world();
        let gone = world.all().map(|(name, _)| name).filter(|name| !listed.contains(name));
        edits.extend(gone.map(|name| Edit::Object(name.clone(), None)));
        drop(world);
        self.take_in(edits, listing.revision);
    }
}

fn object_of(edit: &Edit) -> Option<&ObjectName> {
    match edit {
        Edit::Object(name, _) => Some(name),
        Edit::Name(..) => None,
    }
}

fn is_key(unit: &Unit) -> bool {
    matches!(unit, Unit::Key(_))
}
