//! Whether the others still count on this replica.
//!
//! One that could not renew its lease in time knows by its own clock that the others will soon go on without it, and serves
//! no watch from then on: what its proxies hold would be known to nobody who says what is in force.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Standing {
    until: Mutex<Until>,
    /// Those who are woken at the end look here, and are not woken whenever it is put off.
    stands: watch::Sender<bool>,
    moved: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Ever,
    Never,
    At(Instant),
}

impl Standing {
    /// Of one that has no others.
    pub(super) fn for_ever() -> Self {
        Self {
            until: Mutex::new(Until::Ever),
            stands: watch::Sender::new(true),
            moved: watch::Sender::new(()),
        }
    }

    /// Of one that the others do not know yet.
    pub(crate) fn none() -> Self {
        Self {
            until: Mutex::new(Until::Never),
            stands: watch::Sender::new(false),
            moved: watch::Sender::new(()),
        }
    }

    fn until(&self) -> MutexGuard<'_, Until> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands, now.
    pub(crate) fn holds(&self) -> bool {
        match *self.until() {
            Until::Ever => true,
            Until::Never => false,
            Until::At(at) => Instant::now() < at,
        }
    }

    /// It stands until then.
    pub(crate) fn last_until(&self, at: Instant) {
        let mut until = self.until();
        *until = Until::At(at);
        self.stands.send_if_modified(|stands| !std::mem::replace(stands, Instant::now() < at));
        drop(until);
        self.moved.send_replace(());
    }

    /// It stands no longer.
    pub(crate) fn fall(&self) {
        let mut until = self.until();
        *until = Until::Never;
        self.stands.send_if_modified(|stands| std::mem::replace(stands, false));
    }

    /// Returns as soon as it stands.
    pub(crate) async fn begun(&self) {
        // the sender lives as long as this does
        self.stands.subscribe().wait_for(|stands| *stands).await.ok();
    }

    /// A future that ends as soon as it stands no longer.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stands = self.stands.subscribe();
        async move { drop(stands.wait_for(|stands| !*stands).await) }
    }

    /// Ends it when its time has come; never returns.
    pub(crate) async fn keep_time(&self) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            let until = *self.until();
            tokio::select! {
                _ = moved.changed() => {}
                () = async { match until { Until::At(at) => sleep_until(at).await, _ => std::future::pending().await } } => {
                    self.end_if_over();
                }
            }
        }
    }

    fn end_if_over(&self) {
        let mut until = self.until();
        if matches!(*until, Until::At(at) if at <= Instant::now()) {
            *until = Until::Never;
            self.stands.send_if_modified(|stands| std::mem::replace(stands, false));
            tracing::warn!(
                "this replica has not reached its store for as long as its lease lasts: its watches end"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_its_time_unless_that_was_put_off_and_may_begin_again() {
        let standing = Arc::new(Standing::none());
        let clock = Arc::clone(&standing);
        tokio::spawn(async move { clock.keep_time().await });
        assert!(!standing.holds() && standing.ended().now_or_never().is_some());
        let begun = Instant::now();
        standing.last_until(begun + Duration::from_secs(2));
        standing.begun().await;
        let ended = standing.ended();
        tokio::time::sleep(Duration::from_secs(1)).await;
        standing.last_until(begun + Duration::from_secs(4));
        ended.await;
        assert_eq!(begun.elapsed().as_secs(), 4);
        assert!(!standing.holds());
        standing.last_until(Instant::now() + Duration::from_secs(1));
        assert!(standing.holds() && standing.ended().now_or_never().is_none());
        standing.fall();
        assert!(!standing.holds() && standing.ended().now_or_never().is_some());
        standing.last_until(Instant::now());
        assert!(!standing.holds(), "an end that is past begins nothing");
    }
}
