//! What the rooms of the control plane share: store, world, feed, registry.
//!
//! Every change, whoever made it, comes back from the store's watch and takes one path: into the world, into the feed.
//! A write waits until its own commit has come through, so that its answer shows what it did.

use std::{
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
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

use crate::{
    access::Tokens,
    clock::Clock,
    feed::Feed,
    names::Lookup,
    networks::Networks,
    record::Edit,
    registry::Registry,
    replicas::{Fleet, Replica, Replicas},
    store::{Revision, Store, StoreError, Write},
    telemetry::{StoreFault, Telemetry},
    world::World,
};

mod follow;
#[cfg(test)]
pub(crate) mod plane;
#[cfg(test)]
mod tests;

/// See the module.
pub(crate) struct Control {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) feed: Arc<Feed>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) telemetry: Telemetry,
    pub(crate) tokens: Tokens,
    pub(crate) lookup: Box<dyn Lookup>,
    pub(crate) fleet: Fleet,
    /// For `explain`: the table that a proxy would have.
    pub(crate) table: RouteTable,
    /// One write at a time: what was checked must still be true when it is committed.
    pub(crate) writing: Mutex<()>,
    world: RwLock<World>,
    /// The epoch of what the world shows. It is set behind the world.
    basis: std::sync::Mutex<Basis>,
    applied: watch::Sender<Revision>,
    /// Why the last write failed.
    write_fault: std::sync::Mutex<Option<String>>,
    started: Instant,
    /// Until then nobody asks a store that did not answer what is newest.
    blind_until: std::sync::Mutex<Option<Instant>>,
    /// When somebody's word last made a new epoch begin.
    epoch_forced: std::sync::Mutex<Option<Instant>>,
}

/// The life of the store against which a write was checked: a backup that was put back meanwhile is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Basis(Arc<str>);

/// A replica that is behind catches up within this, or says so.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(2);
/// A reader waits no longer for the store to say what is newest; and such a store is left alone for so long.
const LOOKS_WITHIN: Duration = Duration::from_secs(3);
const BLIND_FOR: Duration = Duration::from_secs(5);
/// A caller's word that the store was put back makes a new epoch begin, and all lists be sent, no more often than this.
const EPOCHS_APART: Duration = Duration::from_secs(60);
/// How often it is looked whether all others are there.
const LOOKS_AROUND: Duration = Duration::from_secs(2);

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
        replicas: Arc<dyn Replicas>,
    ) -> Result<Self, StoreError> {
        let listing = store.list().await?;
        let control = Self {
            store,
            clock,
            feed: Arc::new(Feed::new(&listing.epoch, replicas.id())),
            registry: Arc::default(),
            telemetry: Telemetry::default(),
            tokens: Tokens::default(),
            lookup,
            fleet: Fleet::new(replicas),
            table: TableBuilder::new(DnsLabel::default_namespace()).finish(),
            writing: Mutex::new(()),
            world: RwLock::new(World::new(networks)),
            basis: std::sync::Mutex::new(Basis(listing.epoch.as_str().into())),
            applied: watch::Sender::new(0),
            write_fault: std::sync::Mutex::default(),
            started: Instant::now(),
            blind_until: std::sync::Mutex::default(),
            epoch_forced: std::sync::Mutex::default(),
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

    /// What a write is about to be checked against. Taken before that check, as the world may become another's meanwhile.
    pub(crate) fn basis(&self) -> Basis {
        self.basis.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The world shows what the store held in this epoch.
    fn stand_on(&self, epoch: Arc<str>) {
        *self.basis.lock().unwrap_or_else(PoisonError::into_inner) = Basis(epoch);
    }

    /// Writes to the store, and counts what goes wrong.
    ///
    /// # Errors
    /// As [`Store::commit_in`].
    pub(crate) async fn commit(&self, basis: &Basis, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let outcome = self.store.commit_in(&basis.0, writes).await;
        match &outcome {
            Err(StoreError::Changed(_)) => self.telemetry.fault(StoreFault::Changed),
            Err(_) => self.telemetry.fault(StoreFault::Commit),
            Ok(_) => {}
        }
        // one that comes too late says nothing of the store
        if !matches!(outcome, Err(StoreError::Changed(_))) {
            let fault = outcome.as_ref().err().map(ToString::to_string);
            *self.write_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        }
        outcome
    }

    /// Why the last write failed; none where it did not.
    pub(crate) fn write_fault(&self) -> Option<String> {
        self.write_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long this replica has lived.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until the world shows a revision.
    ///
    /// # Errors
    /// When it does not within 10 s: the store's watch hangs.
    pub(crate) async fn applied(&self, revision: Revision) -> Result<(), StoreError> {
        self.shows(revision, Duration::from_secs(10)).await
    }

    /// The same within another time.
    pub(crate) async fn shows(&self, revision: Revision, within: Duration) -> Result<(), StoreError> {
        let mut applied = self.applied.subscribe();
        let wait = applied.wait_for(|applied| *applied >= revision);
        match timeout(within, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Behind),
        }
    }

    /// Waits until the world shows everything that was acknowledged, by whichever replica, before this was called.
    ///
    /// # Errors
    /// When the store does not say what is newest, or its watch hangs.
    pub(crate) async fn fresh(&self) -> Result<(), StoreError> {
        let newest = self.store.newest().await?;
        self.applied(newest).await
    }

    /// The same for who only reads: where the store does not answer soon, what is known must do.
    pub(crate) async fn look(&self) {
        let blind = || self.blind_until.lock().unwrap_or_else(PoisonError::into_inner);
        if blind().is_some_and(|until| Instant::now() < until) {
            return;
        }
        let seen = matches!(timeout(LOOKS_WITHIN, self.fresh()).await, Ok(Ok(())));
        *blind() = (!seen).then(|| Instant::now() + BLIND_FOR);
    }

    /// Somebody has seen this revision, and here it is not known yet: waits for it. Says whether it came; it cannot, where
    /// the store has none such.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(crate) async fn catch_up(&self, revision: Revision) -> Result<bool, StoreError> {
        if self.doubt_epoch(revision).await {
            return Ok(false);
        }
        self.shows(revision, CATCHES_UP_WITHIN).await.map(|()| true)
    }

    /// Somebody has seen this revision. Where there is none such in the store, it was put back to what it was before:
    /// then a new epoch begins, and everybody gets a list; unless one has just begun so, since a caller may say anything.
    /// Says whether the store has none such.
    pub(crate) async fn doubt_epoch(&self, revision: Revision) -> bool {
        let Ok(newest) = self.store.newest().await else { return false };
        if revision <= newest {
            return false;
        }
        let Some(before) = self.forces_epoch() else { return true };
        let begun = self.begin_epoch(newest).await;
        if let Err(error) = &begun {
            *self.epoch_forced.lock().unwrap_or_else(PoisonError::into_inner) = before;
            tracing::error!(%error, "the store was put back, and a new epoch cannot be stored");
        }
        begun.is_ok()
    }

    /// Takes the one leave there is for a while to force an epoch; gives when it was taken before.
    fn forces_epoch(&self) -> Option<Option<Instant>> {
        let mut forced = self.epoch_forced.lock().unwrap_or_else(PoisonError::into_inner);
        let free = forced.is_none_or(|forced| forced.elapsed() >= EPOCHS_APART);
        free.then(|| forced.replace(Instant::now()))
    }

    async fn begin_epoch(&self, revision: Revision) -> Result<Arc<str>, StoreError> {
        let epoch = self.store.begin_epoch(&self.feed.epoch()).await?;
        self.feed.begin_epoch(&epoch, revision);
        Ok(epoch.into())
    }

    /// All other replicas. The proxies of one that has gone come back elsewhere: they are waited for.
    ///
    /// # Errors
    /// When the store does not say.
    pub(crate) async fn others(&self) -> Result<Vec<Replica>, StoreError> {
        let (others, gone) = self.fleet.others().await?;
        if gone {
            self.registry.await_return();
        }
        Ok(others)
    }

    /// Notices that another replica has gone, for as long as this one lives.
    pub(crate) async fn watch_others(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOKS_AROUND).await;
            if let Err(error) = self.others().await {
                tracing::debug!(%error, "the other replicas are not known");
            }
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
}

fn is_key(unit: &Unit) -> bool {
    matches!(unit, Unit::Key(_))
}
