//! Connections that rest: closed when they rest too long, and soon while the proxy drains. A connection on which nothing
//! moves rests too, whatever is in flight on it: its peers may have vanished.
//!
//! Engines say when they are busy, which costs a store; a look is taken on the worker's patrol, so that no timer runs
//! beside a request.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use super::Client;
use crate::{counters::Event, drain, patrol::Watched};

/// How busy a client's connection is, told by its engine.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    busy: Cell<bool>,
    turns: Cell<u32>,
}

impl Activity {
    /// Something is in flight from now on.
    #[inline]
    pub(crate) fn begin(&self) {
        self.busy.set(true);
        self.turns.set(self.turns.get().wrapping_add(1));
    }

    /// Nothing is in flight any more: from here on the connection may be closed.
    #[inline]
    pub(crate) fn rest(&self) {
        self.busy.set(false);
    }
}

/// Looks that make a rest: it is told to a quarter, or while draining a fifth, of its length.
const LOOKS: u32 = 4;
const LOOKS_DRAINING: u32 = 5;

/// Serves `conversation` to its end, or until the connection has rested too long; then answers why it is closed.
pub(super) async fn or_rested_out(
    client: &Client,
    mut conversation: Pin<&mut impl Future<Output = ()>>,
) -> Option<Event> {
    let mut rest = Rest::new(client);
    poll_fn(|cx| {
        if conversation.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        rest.watched.register(cx.waker());
        rest.look().map_or(Poll::Pending, |why| Poll::Ready(Some(why)))
    })
    .await
}

struct Rest<'a> {
    client: &'a Client,
    watched: Watched,
    draining: bool,
    turns: u32,
    /// Whether the connection has made a step since the last look: a socket of it was ready.
    moved: bool,
    quiet: u32,
}

impl<'a> Rest<'a> {
    fn new(client: &'a Client) -> Self {
        let watched = client.worker.patrol.watch();
        let rest = Self { client, watched, draining: false, turns: 0, moved: false, quiet: 0 };
        rest.watched.allow(rest.until_next());
        rest
    }

    /// Polled with every step of a connection: two loads and a store, unless there is something to look at. The patrol's
    /// own call is no step.
    #[inline]
    fn look(&mut self) -> Option<Event> {
        if self.draining != self.client.worker.shared.drain.draining() {
            (self.draining, self.quiet) = (true, 0);
            self.turns = self.client.activity.turns.get();
            self.watched.allow(self.until_next());
        }
        if self.watched.is_over() {
            return self.count();
        }
        self.moved = true;
        None
    }

    #[cold]
    fn count(&mut self) -> Option<Event> {
        let activity = &self.client.activity;
        let moved = std::mem::take(&mut self.moved);
        let stalled = !moved && !self.draining;
        let rested = !activity.busy.get() && activity.turns.get() == self.turns;
        self.quiet = if rested || stalled { self.quiet + 1 } else { 0 };
        self.turns = activity.turns.get();
        self.watched.allow(self.until_next());
        match (self.draining, self.quiet) {
            (true, LOOKS_DRAINING..) => Some(Event::DrainedIdle),
            (false, LOOKS..) => Some(Event::IdleTimeout),
            _ => None,
        }
    }

    fn until_next(&self) -> Duration {
        // The patrol rounds up by one of its rounds.
        if self.draining {
            (drain::IDLE_GRACE / LOOKS_DRAINING).saturating_sub(Duration::from_secs(1))
        } else {
            self.client.worker.shared.config.limits.idle_timeout / LOOKS
        }
    }
}
