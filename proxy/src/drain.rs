//! The end of a proxy, in phases that every connection can ask for or wait for.
//!
//! Draining is a promise to peers: the proxy is unready, still accepts, and lets each connection come to its own end
//! (HTTP/1 `Connection: close`, HTTP/2 GOAWAY) before the deadline cuts the rest. What each protocol does about it is
//! left to its engine.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

/// An HTTP/1 connection that is idle while the proxy drains is closed after this long: time for a request already on
/// its way to arrive.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(5);

/// How far the end has come. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Business as usual.
    Serving = 0,
    /// Connections shall come to their end; listeners still accept.
    Draining = 1,
    /// Whatever is left is cut.
    Ended = 2,
}

/// The drain signal of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: AtomicU8,
    moved: Notify,
}

impl Drain {
    /// Whether answers shall say that this connection ends. One relaxed load: asked for each answer.
    pub(crate) fn draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != Phase::Serving as u8
    }

    /// Whether the proxy has ended.
    pub(crate) fn ended(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Ended as u8
    }

    /// Waits until `phase` or a later one has come.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            // Registered before the phase is read, so that no move between the two is missed.
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.phase.load(Ordering::Acquire) >= phase as u8 {
                return;
            }
            moved.await;
        }
    }

    /// Moves on to `phase`, never back. Says whether that was news.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        let news = self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8;
        self.moved.notify_waiters();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_that_was_passed_counts_as_reached_and_never_comes_back() {
        let drain = Drain::default();
        assert!(!drain.draining());
        assert!(drain.advance(Phase::Ended));
        assert!(!drain.advance(Phase::Draining));
        drain.reached(Phase::Draining).await;
        drain.reached(Phase::Ended).await;
        assert!(drain.draining());
    }

    #[tokio::test]
    async fn those_who_wait_are_woken() {
        let drain = Drain::default();
        tokio::join!(drain.reached(Phase::Draining), async { assert!(drain.advance(Phase::Draining)) });
    }
}
