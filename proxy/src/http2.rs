//! The HTTP/2 engine: a client's connection, its streams, and the upstream connections that they open.
//!
//! It stands on the crate `h2` and adds what a proxy needs beneath and above it: the [`wire`] that replays what
//! detection read and counts frames, the [`pool`] of upstream connections, and the [`exchange`] that mirrors two
//! streams. Which upstream a request gets, and what its caller is told when there is none, is the business of the
//! request's steps, which both engines share.
//!
//! It fails by stream wherever it can: a stream is reset, or answered with what went wrong. The connection ends by
//! itself only for a peer that breaks the protocol or floods it (MATRICES B5, B11).

mod attempt;
mod dial;
mod door;
mod exchange;
mod frames;
pub(crate) mod from_http1;
mod keep_alive;
mod kept;
mod nursery;
mod pack;
mod pool;
mod settings;
mod stream;
pub(crate) mod to_http1;
mod transfer;
mod unpack;
mod upstream;
mod websocket;
mod wire;

use std::{cell::Cell, rc::Rc, task::Poll, time::Duration};

use bytes::Bytes;

#[cfg(any(test, fuzzing))]
pub(crate) use self::stream::View;
use crate::{
    connection::{Baseline, Client, Detected},
    counters::Event,
    drain::Phase,
    endpoints::Choices,
    http1,
    http2::{
        door::Door,
        nursery::{Cradle, Nursery},
        pool::Pool,
        to_http1::Links,
        wire::{Role, Wire},
    },
};

/// How long the upstreams' connections may take to say goodbye once the client is gone.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all futures of one client's connection share.
#[derive(Debug)]
pub(crate) struct Engine {
    client: Rc<Client>,
    /// Which endpoint each key's requests go to.
    choices: Choices,
    pool: Pool,
    cradle: Cradle,
    /// Idle connections to endpoints that speak HTTP/1.
    links: Links,
    door: Door,
    /// Streams in flight.
    streams: Cell<usize>,
}

/// A stream in flight; counted until dropped.
struct Busy(Rc<Engine>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.pool.trim();
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.client.activity.rest();
        }
    }
}

/// Futures of the engine hold the engine: whatever ends the connection has to let go of them.
struct Household(Rc<Engine>);

impl Drop for Household {
    fn drop(&mut self) {
        self.0.pool.clear();
        self.0.cradle.clear();
    }
}

/// Serves a client's connection to its end.
pub(crate) async fn serve(client: Rc<Client>, from: Detected) {
    let limits = client.worker.shared.config.limits.clone();
    let wire = Wire::new(from.client, from.first.freeze(), Role::Server);
    let wire = wire.counted(&client.worker.telemetry, from.counted);
    let (socket, observed) = (wire.socket(), wire.observed());
    let accepting = tokio::time::timeout(limits.header_timeout, settings::accept(wire, &limits));
    let Ok(Ok(mut connection)) = accepting.await else { return };
    let rhythm = client.worker.shared.config.http2.client_rhythm();
    let silence = rhythm
        .zip(connection.ping_pong())
        .map(|(rhythm, pings)| keep_alive::silence(rhythm, pings, Rc::clone(&observed), || true));
    let (pool, links) = (Pool::new(limits.max_idle_upstreams), Links::new(limits.max_idle_upstreams));
    let choices = Choices::new(&client.worker.endpoints);
    let (cradle, door) = (Cradle::default(), Door::default());
    let household =
        Household(Rc::new(Engine { client, choices, pool, cradle, links, door, streams: Cell::new(0) }));
    let engine = &household.0;
    engine.client.activity.rest();
    engine.take_over(from.baseline, from.server_first);
    engine.cradle.add(door::open(Rc::clone(engine), connection, observed));
    engine.cradle.add({
        let engine = Rc::clone(engine);
        async move { engine.drained().await }
    });
    if let Some(silence) = silence {
        let engine = Rc::clone(engine);
        engine.cradle.add({
            let engine = Rc::clone(&engine);
            async move { engine.silent(silence).await }
        });
    }
    live(engine).await;
    drop(household);
    // What the engine wrote last would be lost, if the close met bytes that the client still sends.
    if let Some(socket) = Rc::into_inner(socket) {
        http1::linger(socket.into_inner()).await;
    }
}

/// Polls everything until the client's connection has ended and its upstreams know.
async fn live(engine: &Rc<Engine>) {
    let mut nursery = Nursery::default();
    std::future::poll_fn(|cx| match nursery.poll(cx, &engine.cradle) {
        Poll::Pending if !engine.door.is_shut() => Poll::Pending,
        Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
    })
    .await;
    // The streams see that their client is gone and tell their upstreams; then these may close.
    engine.pool.clear();
    engine.links.clear();
    let ending = std::future::poll_fn(|cx| nursery.poll(cx, &engine.cradle));
    let _ = tokio::time::timeout(FAREWELL, ending).await;
}

impl Engine {
    /// Says that a stream is in flight.
    fn busy(self: &Rc<Self>) -> Busy {
        self.streams.set(self.streams.get() + 1);
        self.client.activity.begin();
        Busy(Rc::clone(self))
    }

    /// Begins with what detection did about the baseline.
    fn take_over(self: &Rc<Self>, baseline: Baseline, first: Bytes) {
        match baseline {
            Baseline::Connected(socket) => self.adopt(async move { Ok((socket, first)) }),
            Baseline::Dialling(dial) => self.adopt(async move { Ok((dial.await?, first)) }),
            Baseline::Failed(error) => self.pool.note_failed_dial(&error),
            Baseline::NotDialled => {}
        }
    }

    /// Tells the client to open no more streams, once the proxy drains.
    async fn drained(&self) {
        let drain = &self.client.worker.shared.drain;
        tokio::select! {
            () = drain.reached(Phase::Draining) => self.door.say_goodbye(),
            () = self.door.shut() => {}
        }
    }
    /// Ends the connection of a client that is gone.
    async fn silent(&self, silence: impl Future<Output = ()>) {
        tokio::select! {
            () = silence => {
                self.client.worker.shared.counters.count(Event::Silent);
                self.door.cut();
            }
            () = self.door.shut() => {}
        }
    }
}
