//! What is remembered beside the table: keys that control was not yet told of, and units as they came, for the snapshot.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
};

use bellhop_api::{
    RoutingKey,
    watch::{Unit, UnitName},
};
use tokio::sync::Notify;

/// Units as JSON text, by name. Services are written before keys, as a list does.
#[derive(Debug, Default)]
pub(super) struct Kept {
    services: HashMap<UnitName, Box<[u8]>>,
    keys: HashMap<RoutingKey, Box<[u8]>>,
}

impl Kept {
    /// Keeps a unit in the place of the one of its name.
    pub(super) fn put(&mut self, unit: &Unit) {
        // Wire types of plain strings and numbers always have a text.
        let Ok(text) = serde_json::to_vec(unit) else { return };
        let text = text.into_boxed_slice();
        match unit {
            Unit::Service(service) => {
                let (namespace, name) = (service.namespace.clone(), service.name.clone());
                self.services.insert(UnitName::Service { namespace, name }, text);
            }
            Unit::Key(key) => {
                self.keys.insert(key.key.clone(), text);
            }
        }
    }

    /// Keeps it no longer.
    pub(super) fn delete(&mut self, name: &UnitName) {
        match name {
            UnitName::Service { .. } => self.services.remove(name),
            UnitName::Key(key) => self.keys.remove(key),
        };
    }

    /// All texts, services first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.services.values().chain(self.keys.values()).map(AsRef::as_ref)
    }

    /// How many keys there are.
    #[cfg(any(test, fuzzing))]
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many units there are.
    pub(super) fn len(&self) -> usize {
        self.services.len() + self.keys.len()
    }
}

/// Shared by the tasks of this room, which run on one thread; no borrow crosses an `.await`.
#[derive(Debug)]
pub(super) struct Held {
    /// None where no snapshot is kept.
    pub(super) kept: RefCell<Option<Kept>>,
    unreported: RefCell<BTreeSet<RoutingKey>>,
    report: Notify,
    snapshot: Notify,
    end: Notify,
    ended: Cell<bool>,
}

impl Held {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            kept: RefCell::new(keep.then(Kept::default)),
            unreported: RefCell::default(),
            report: Notify::new(),
            snapshot: Notify::new(),
            end: Notify::new(),
            ended: Cell::new(false),
        }
    }

    /// The table changed: control and the disk are to know. `key` is what changed, where it is one key.
    pub(super) fn changed(&self, key: Option<&RoutingKey>) {
        self.unreported.borrow_mut().extend(key.cloned());
        self.report.notify_one();
        self.snapshot.notify_one();
    }

    /// A whole list came: what was to be said of single keys is answered by the table's digest.
    pub(super) fn replaced(&self) {
        self.unreported.borrow_mut().clear();
        self.changed(None);
    }

    /// Control wants a report, with the digests of `keys`.
    pub(super) fn asked(&self, keys: Vec<RoutingKey>) {
        self.unreported.borrow_mut().extend(keys);
        self.report.notify_one();
    }

    /// At most `most` keys that control is to be told of; they are taken out.
    pub(super) fn take_unreported(&self, most: usize) -> BTreeSet<RoutingKey> {
        let mut all = self.unreported.borrow_mut();
        let rest = all.iter().nth(most).cloned().map_or_else(BTreeSet::new, |first| all.split_off(&first));
        if !rest.is_empty() {
            self.report.notify_one();
        }
        std::mem::replace(&mut *all, rest)
    }

    /// Control was not told after all.
    pub(super) fn untaken(&self, keys: BTreeSet<RoutingKey>) {
        self.unreported.borrow_mut().extend(keys);
    }

    /// Waits until a report is due.
    pub(super) async fn report_due(&self) {
        self.report.notified().await;
    }

    /// Waits until the snapshot is due, or the end.
    pub(super) async fn snapshot_due(&self) {
        self.snapshot.notified().await;
    }

    /// The watch has ended; who keeps the snapshot does so a last time.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.snapshot.notify_one();
        self.end.notify_waiters();
    }

    /// Waits for the end; returns at once where it has come.
    pub(super) async fn ending(&self) {
        if !self.has_ended() {
            self.end.notified().await;
        }
    }

    /// Whether it has.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }
}
