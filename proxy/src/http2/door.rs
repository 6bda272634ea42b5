//! The client's connection: takes requests in until it, or the client, says goodbye.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::server::Connection;

use super::{
    Engine, stream,
    wire::{Observed, Wire},
};
use crate::patrol::Watched;

/// What others may ask of the client's connection, and what they may ask about it.
#[derive(Debug, Default)]
pub(crate) struct Door {
    goodbye: Cell<bool>,
    shut: Cell<bool>,
    keeper: RefCell<Option<Waker>>,
    waiting: RefCell<Option<Waker>>,
}

impl Door {
    /// Sends GOAWAY: what is open is served to its end, then the connection closes.
    ///
    /// `h2` does so in two steps: it lets a round trip pass before it names the last stream, so that no request that
    /// is already on its way is lost.
    pub(crate) fn say_goodbye(&self) {
        self.goodbye.set(true);
        if let Some(keeper) = &*self.keeper.borrow() {
            keeper.wake_by_ref();
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Waits for the connection's end. One waiter at a time.
    pub(crate) async fn shut(&self) {
        std::future::poll_fn(|cx| {
            if self.is_shut() {
                return Poll::Ready(());
            }
            remember(&self.waiting, cx);
            Poll::Pending
        })
        .await;
    }

    fn close(&self) {
        self.shut.set(true);
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }
}

fn remember(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut place = place.borrow_mut();
    match &mut *place {
        Some(waker) => waker.clone_from(cx.waker()),
        empty @ None => *empty = Some(cx.waker().clone()),
    }
}

/// Cuts a client whose head does not get on (MATRICES B10).
struct Patience {
    watched: Watched,
    observed: Rc<Observed>,
    time: Duration,
    running: bool,
}

impl Patience {
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        match (self.observed.in_head(), self.running) {
            (true, false) => {
                self.running = true;
                self.watched.allow(self.time);
                self.watched.register(cx.waker());
            }
            (false, true) => {
                self.running = false;
                self.watched.allow_ever();
            }
            (true, true) => return self.watched.is_over(),
            (false, false) => {}
        }
        false
    }
}

/// Serves the client's connection, and gives each of its streams a future of its own.
pub(crate) async fn open(
    engine: Rc<Engine>,
    mut connection: Connection<Wire, Bytes>,
    observed: Rc<Observed>,
) {
    let mut said_goodbye = false;
    let worker = &engine.client.worker;
    let time = worker.shared.config.limits.header_timeout;
    let mut patience = Patience { watched: worker.patrol.watch(), observed, time, running: false };
    std::future::poll_fn(|cx| {
        remember(&engine.door.keeper, cx);
        if engine.door.goodbye.get() && !said_goodbye {
            said_goodbye = true;
            connection.graceful_shutdown();
        }
        loop {
            let accepted = connection.poll_accept(cx);
            let Poll::Ready(accepted) = accepted else {
                return if patience.is_over(cx) { Poll::Ready(()) } else { Poll::Pending };
            };
            match accepted {
                Some(Ok((request, respond))) => {
                    engine.cradle.add(stream::serve(Rc::clone(&engine), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a client's HTTP/2 connection failed");
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
    })
    .await;
    // Dropped first, so that every stream learns of it.
    drop(connection);
    engine.door.close();
}
