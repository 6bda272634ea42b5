//! A tunnel that is not two sockets: one end of it, or both, is a stream of an HTTP/2 connection. Its engine moves the
//! bytes and tells them here.

use std::{cell::Cell, sync::atomic::Ordering::Relaxed};

use tokio::time::Instant;

use crate::{
    counters::Event,
    shared::SharedRef,
    telemetry::{Open, Tunnel},
    worker::Worker,
};

/// A tunnel, counted as open until dropped.
#[derive(Debug)]
pub(crate) struct Carrying {
    shared: SharedRef,
    moved: Cell<Instant>,
    _open: Open<Tunnel>,
}

impl Carrying {
    /// A tunnel begins.
    pub(crate) fn new(worker: &Worker, what: Tunnel) -> Self {
        let (shared, _open) = (SharedRef::clone(&worker.shared), worker.telemetry.tunnel(what));
        Self { shared, moved: Cell::new(Instant::now()), _open }
    }

    /// So many bytes went from the client to the server.
    pub(crate) fn up(&self, bytes: usize) {
        self.shared.counters.tunnelled_up.fetch_add(bytes as u64, Relaxed);
        self.moved.set(Instant::now());
    }

    /// So many bytes went from the server to the client.
    pub(crate) fn down(&self, bytes: usize) {
        self.shared.counters.tunnelled_down.fetch_add(bytes as u64, Relaxed);
        self.moved.set(Instant::now());
    }

    /// Waits until nothing moved for the idle time-out, and counts that.
    pub(crate) async fn idle(&self) {
        super::idle(&self.moved, self.shared.config.limits.idle_timeout).await;
        self.shared.counters.count(Event::IdleTimeout);
    }
}
