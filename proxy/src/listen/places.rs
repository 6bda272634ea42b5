//! Places for connections: how many are held, the limit, and the bell that wakes the acceptor.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// All places of one proxy.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    held: AtomicUsize,
    /// Whether the acceptor wants to hear of a place that is given back.
    listening: AtomicBool,
    bell: OwnedFd,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    /// # Errors
    /// When there is no descriptor left for the bell.
    pub(crate) fn new(limit: usize) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { limit, held: AtomicUsize::new(0), listening: AtomicBool::new(false), bell })
    }

    /// Connections held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Whether no place is free.
    pub(crate) fn full(&self) -> bool {
        self.held() >= self.limit
    }

    /// Takes a place; the acceptor alone takes, after it saw that one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Place {
        self.held.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(self))
    }

    /// From here on the bell rings, or does not, for each place given back. To be said before [`held`](Self::held) is
    /// read, so that none is missed.
    pub(crate) fn listen(&self, listening: bool) {
        self.listening.store(listening, Ordering::SeqCst);
    }

    /// Wakes the acceptor.
    pub(crate) fn ring(&self) {
        // It fails only where the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Stops the bell.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    /// The bell, readable while it rings.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
        if self.0.listening.load(Ordering::SeqCst) {
            self.0.ring();
        }
    }
}
