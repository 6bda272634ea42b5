//! What a proxy knows of the one that comes after it, and of its own beginning.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

/// A listening socket that a successor may have.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Which listener it is for.
    pub(crate) name: &'static str,
    /// The socket.
    pub(crate) socket: OwnedFd,
}

impl Offer {
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn new(name: &'static str, socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { name, socket: socket.as_fd().try_clone_to_owned()? })
    }
}

/// Beginning and end of a proxy among others that have the same sockets.
#[derive(Debug)]
pub(crate) struct Succession {
    /// Empty where nothing is handed out.
    offers: Mutex<Arc<[Offer]>>,
    under_way: AtomicBool,
    over: watch::Sender<bool>,
    open: watch::Sender<bool>,
    /// Whether the file of the admin socket is for others to remove: the one before until this proxy serves, or the one
    /// after.
    file_is_left: Arc<AtomicBool>,
}

/// A handover under way; there is one at a time.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Succession);

impl Succession {
    /// A proxy that may accept from its beginning on, or has to wait for [`open`](Self::open).
    pub(crate) fn new(open: bool) -> Self {
        Self {
            offers: Mutex::new(Arc::new([])),
            under_way: AtomicBool::new(false),
            over: watch::Sender::new(false),
            open: watch::Sender::new(open),
            file_is_left: Arc::new(AtomicBool::new(!open)),
        }
    }

    /// What a successor may have.
    pub(crate) fn offer(&self, offers: Vec<Offer>) {
        *self.offers.lock().unwrap_or_else(PoisonError::into_inner) = offers.into();
    }

    pub(super) fn offers(&self) -> Arc<[Offer]> {
        Arc::clone(&self.offers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Set while the file of the admin socket is not this proxy's to remove.
    pub(crate) fn file_is_left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.file_is_left)
    }

    /// Begins a handover, unless one is under way or done.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let free = !self.under_way.swap(true, Ordering::AcqRel);
        free.then(|| {
            // A successor that serves there already must not lose it when this proxy ends on its own.
            self.file_is_left.store(true, Ordering::Release);
            Turn(self)
        })
    }

    /// Whether a successor serves the sockets, and this proxy listens no more.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits for [`is_over`](Self::is_over).
    pub(crate) async fn over(&self) {
        // It fails where the sender is gone, which is part of `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// Whether this proxy may accept yet.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// From here on it accepts.
    pub(crate) fn open(&self) {
        self.file_is_left.store(false, Ordering::Release);
        self.open.send_replace(true);
    }

    /// Waits for [`open`](Self::open).
    pub(crate) async fn opened(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

impl Turn<'_> {
    /// The successor serves. `file` says whether the admin socket's file is its own now.
    pub(super) fn complete(self, file: bool) {
        let succession = self.0;
        std::mem::forget(self);
        succession.file_is_left.store(file, Ordering::Release);
        succession.offer(Vec::new());
        succession.over.send_replace(true);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.file_is_left.store(false, Ordering::Release);
        self.0.under_way.store(false, Ordering::Release);
    }
}
