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
    wire::{Observed, Wire, is_flood},
};
use crate::{counters::Event, patrol::Watched};

/// What others may ask of the client's connection, and what they may ask about it.
#[derive(Debug, Default)]
pub(crate) struct Door {
    goodbye: Cell<bool>,
    cut: Cell<bool>,
    shut: Cell<bool>,
    keeper: RefCell<Option<Waker>>,
    waiting: RefCell<Vec<Waker>>,
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

    /// Ends the connection at once: nobody is behind it any more.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
        if let Some(keeper) = &*self.keeper.borrow() {
            keeper.wake_by_ref();
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Waits for the connection's end.
    pub(crate) async fn shut(&self) {
        std::future::poll_fn(|cx| {
            if self.is_shut() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn close(&self) {
        self.shut.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
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
    /// The head that is waited for. Its time is its own: those of a busy client follow each other without a pause.
    awaited: Option<u32>,
}

impl Patience {
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        let open = self.observed.open_head();
        if open == self.awaited {
            return open.is_some() && self.watched.is_over();
        }
        self.awaited = open;
        if open.is_some() {
            self.watched.allow(self.time);
            self.watched.register(cx.waker());
        } else {
            self.watched.allow_ever();
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
    let mut patience = Patience { watched: worker.patrol.watch(), observed, time, awaited: None };
    std::future::poll_fn(|cx| {
        remember(&engine.door.keeper, cx);
        if engine.door.goodbye.get() && !said_goodbye {
            said_goodbye = true;
            connection.graceful_shutdown();
        }
        loop {
            let accepted = connection.poll_accept(cx);
            let Poll::Ready(accepted) = accepted else {
                return if engine.door.cut.get() || patience.is_over(cx) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                };
            };
            match accepted {
                Some(Ok((request, respond))) => {
                    engine.cradle.add(stream::serve(Rc::clone(&engine), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a client's HTTP/2 connection failed");
                    if is_flood(&error, &patience.observed) {
                        worker.shared.counters.count(Event::Flooded);
                    }
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
