//! How long one request waits for the head of its answer (`--request-timeout`).
//!
//! The request's steps look here between polls; the engines say when the head has come, from where on nothing limits the
//! answer. Without a limit it is a branch, and no timer is armed.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// The wait of one request. It begins with the first wait, and covers all tries.
#[derive(Debug)]
pub(crate) struct AnswerWait {
    limit: Option<Duration>,
    /// The answer's head has come, or something is under way that no other answer may interrupt.
    held: Cell<bool>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl AnswerWait {
    /// With this limit, or none.
    #[inline]
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, held: Cell::new(false), timer: RefCell::new(None) }
    }

    /// Says whether the time may not end the request now: its answer has begun, or an interim one is being written.
    #[inline]
    pub(crate) fn hold(&self, held: bool) {
        self.held.set(held);
    }

    /// Waits for `work`; `None` where the time is over first.
    ///
    /// # Cancel safety
    /// As `work`: it is left in the midst of what it does, for its owner to drop.
    #[inline]
    pub(crate) fn bound<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Option<T>> {
        poll_fn(move |cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => match self.limit {
                None => Poll::Pending,
                Some(limit) => self.poll_over(limit, cx).map(|()| None),
            },
        })
    }

    #[cold]
    fn poll_over(&self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.get() {
            return Poll::Pending;
        }
        // Where it ends while it is held, whoever lets go of it is polled then, and this with it.
        self.timer.borrow_mut().get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_limit_and_without_one_never() {
        let began = tokio::time::Instant::now();
        let wait = AnswerWait::new(Some(LIMIT));
        assert_eq!(wait.bound(pin!(std::future::pending::<()>())).await, None);
        assert!(began.elapsed() >= LIMIT && began.elapsed() < 2 * LIMIT, "{:?}", began.elapsed());
        let patient = AnswerWait::new(None);
        assert_eq!(patient.bound(pin!(sleep(1000 * LIMIT))).await, Some(()));
        assert!(patient.timer.borrow().is_none(), "no timer without a limit");
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_covers_all_tries_together() {
        let wait = AnswerWait::new(Some(LIMIT));
        assert_eq!(wait.bound(pin!(sleep(LIMIT / 2))).await, Some(()));
        assert_eq!(wait.bound(pin!(sleep(LIMIT))).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_not_ended_until_it_is_let_go_of() {
        let wait = AnswerWait::new(Some(LIMIT));
        let held = async {
            sleep(LIMIT / 2).await;
            wait.hold(true);
            sleep(3 * LIMIT).await;
        };
        assert_eq!(wait.bound(pin!(held)).await, Some(()));
        wait.hold(false);
        let never = pin!(std::future::pending::<()>());
        let waiting = pin!(wait.bound(never));
        assert!(waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
