//! All futures of one client's connection, polled by one task: the connection's own, its upstreams' and its streams'.
//!
//! Each is polled only when it was woken, in the order of waking. So the requests that one read brought are all handed
//! to the upstream's connection before that one is polled, and leave with one write. Dropping the nursery ends them all.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{
    future::LocalBoxFuture,
    stream::{FuturesUnordered, Stream},
};

/// Where futures are handed to the nursery, also from within it.
#[derive(Default)]
pub(crate) struct Cradle {
    fresh: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
}

impl Cradle {
    /// Adds a future. To be called from within the nursery's task alone: nobody else is woken.
    pub(crate) fn add(&self, future: impl Future<Output = ()> + 'static) {
        self.fresh.borrow_mut().push(Box::pin(future));
    }

    /// Drops what was handed over and not yet taken.
    pub(crate) fn clear(&self) {
        let fresh = std::mem::take(&mut *self.fresh.borrow_mut());
        drop(fresh);
    }
}

impl std::fmt::Debug for Cradle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cradle").finish_non_exhaustive()
    }
}

/// The futures that live.
#[derive(Debug, Default)]
pub(crate) struct Nursery {
    living: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

impl Nursery {
    /// Polls what was woken; ready when nothing is left.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, cradle: &Cradle) -> Poll<()> {
        loop {
            self.living.extend(cradle.fresh.borrow_mut().drain(..));
            match Pin::new(&mut self.living).poll_next(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Pending if cradle.fresh.borrow().is_empty() => return Poll::Pending,
                Poll::Ready(None) if cradle.fresh.borrow().is_empty() => return Poll::Ready(()),
                Poll::Pending | Poll::Ready(None) => {}
            }
        }
    }
}
