//! The table in force, and how far it can be trusted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use arc_swap::{ArcSwap, Guard};
use bellhop_api::DnsLabel;
use bellhop_route::RouteTable;

/// The table that requests read. Reading takes no lock; a list is swapped in whole.
#[derive(Debug)]
pub(crate) struct Tables {
    current: ArcSwap<RouteTable>,
    stale: AtomicBool,
}

impl Tables {
    /// No table yet; `namespace` is the proxy's own.
    pub(crate) fn new(namespace: DnsLabel) -> Self {
        Self {
            current: ArcSwap::from_pointee(RouteTable::unloaded(namespace)),
            stale: AtomicBool::new(false),
        }
    }

    /// The table in force. Hold it for one decision, not longer.
    #[inline]
    pub(crate) fn current(&self) -> Guard<Arc<RouteTable>> {
        self.current.load()
    }

    /// Whether there ever was a table, from control or from a snapshot. Without one the reason is `no-table`.
    #[inline]
    pub(crate) fn loaded(&self) -> bool {
        self.current.load().loaded()
    }

    /// Whether control has not been heard for 15 s; a proxy that has no control is never stale.
    #[inline]
    pub(crate) fn stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// Puts a whole table in force.
    pub(super) fn replace(&self, table: RouteTable) {
        self.current.store(Arc::new(table));
    }

    /// Notes whether control is heard. Says whether that is news.
    pub(super) fn set_stale(&self, stale: bool) -> bool {
        self.stale.swap(stale, Relaxed) != stale
    }
}
