//! The table in force, and how far it can be trusted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use bellhop_api::{DnsLabel, watch::Position};
use bellhop_route::RouteTable;
use tokio::time::Instant;

/// Control is taken for silent after this long without a line; it sends one every 5 s.
pub(crate) const SILENCE: Duration = Duration::from_secs(15);

/// What the watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchState {
    /// There is no control plane to watch.
    Off,
    /// A connection is being made, or waited for.
    Connecting,
    /// A whole list is on its way.
    Listing,
    /// Everything known was applied; changes are awaited.
    Following,
}

impl WatchState {
    /// All states, in the order of declaration.
    pub(crate) const ALL: [Self; 4] = [Self::Off, Self::Connecting, Self::Listing, Self::Following];

    /// The state as it is written everywhere.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Listing => "listing",
            Self::Following => "following",
        }
    }
}

/// The table that requests read, and what is known of its source. Reading takes no lock; a list is swapped in whole.
#[derive(Debug)]
pub(crate) struct Tables {
    current: ArcSwap<RouteTable>,
    namespace: DnsLabel,
    stale: AtomicBool,
    watch: AtomicU8,
    heard: ArcSwapOption<Instant>,
    position: ArcSwapOption<Position>,
}

impl Tables {
    /// No table yet; `namespace` is the proxy's own.
    pub(crate) fn new(namespace: DnsLabel) -> Self {
        Self {
            current: ArcSwap::from_pointee(RouteTable::unloaded(namespace.clone())),
            namespace,
            stale: AtomicBool::new(false),
            watch: AtomicU8::new(WatchState::Off as u8),
            heard: ArcSwapOption::empty(),
            position: ArcSwapOption::empty(),
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

    /// Whether keyed decisions are to be marked: control was not heard for [`SILENCE`], or not yet since the table came
    /// from a snapshot. A proxy that has no control is never stale.
    #[inline]
    pub(crate) fn stale(&self) -> bool {
        self.stale.load(Relaxed)
    }

    /// What the watch is about.
    pub(crate) fn watch_state(&self) -> WatchState {
        WatchState::ALL.get(usize::from(self.watch.load(Relaxed))).copied().unwrap_or(WatchState::Off)
    }

    /// When control's last line came.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard.load().as_deref().copied()
    }

    /// Where the table stands.
    pub(crate) fn position(&self) -> Option<Arc<Position>> {
        self.position.load_full()
    }

    pub(super) fn namespace(&self) -> DnsLabel {
        self.namespace.clone()
    }

    /// Puts a whole table in force.
    pub(super) fn replace(&self, table: RouteTable, position: Option<Position>) {
        self.current.store(Arc::new(table));
        self.position.store(position.map(Arc::new));
    }

    pub(super) fn set_position(&self, position: Position) {
        self.position.store(Some(Arc::new(position)));
    }

    pub(super) fn set_heard(&self, at: Instant) {
        self.heard.store(Some(Arc::new(at)));
    }

    pub(super) fn set_watch_state(&self, state: WatchState) {
        self.watch.store(state as u8, Relaxed);
    }

    /// Notes whether control is heard. Says whether that is news.
    pub(super) fn set_stale(&self, stale: bool) -> bool {
        self.stale.swap(stale, Relaxed) != stale
    }
}
