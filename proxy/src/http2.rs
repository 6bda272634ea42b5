//! The HTTP/2 engine: a client's connection, its streams, and the upstream connections that they open.
//!
//! It stands on the crate `h2` and adds what a proxy needs beneath and above it: the [`wire`] that replays what
//! detection read and counts frames, the [`pool`] of upstream connections, and the [`exchange`] that mirrors two
//! streams. Which upstream a request gets, and what its caller is told when there is none, is the business of the
//! request's steps, which both engines share.
//!
//! It fails by stream wherever it can: a stream is reset, or answered with what went wrong. The connection ends by
//! itself only for a peer that breaks the protocol or floods it (MATRICES B5, B11).

mod door;
mod exchange;
mod frames;
mod nursery;
mod pool;
mod settings;
mod stream;
mod transfer;
mod upstream;
mod wire;

use std::{rc::Rc, time::Duration};

use crate::{
    connection::{Baseline, Client, Detected},
    drain::Phase,
    http2::{
        door::Door,
        nursery::{Cradle, Nursery},
        pool::Pool,
        wire::{Role, Wire},
    },
};

/// How long the upstreams' connections may take to say goodbye once the client is gone.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all futures of one client's connection share.
#[derive(Debug)]
struct Engine {
    client: Rc<Client>,
    pool: Pool,
    cradle: Cradle,
    door: Door,
}

/// Serves a client's connection to its end.
pub(crate) async fn serve(client: Rc<Client>, from: Detected) {
    let shared = Rc::clone(&client.worker);
    let limits = &shared.shared.config.limits;
    let wire = Wire::new(from.client, from.first.freeze(), Role::Server);
    let accepting = tokio::time::timeout(limits.header_timeout, settings::accept(wire, limits));
    let Ok(Ok(connection)) = accepting.await else { return };
    let pool = Pool::new(limits.max_idle_upstreams);
    let engine = Rc::new(Engine { client, pool, cradle: Cradle::default(), door: Door::default() });
    let mut nursery = Nursery::default();
    match from.baseline {
        Baseline::Connected(socket) => engine.adopt(socket, from.server_first),
        Baseline::Failed(error) => engine.pool.note_failure(error),
        Baseline::NotDialled => {}
    }
    engine.cradle.add(door::open(Rc::clone(&engine), connection));
    let draining = Rc::clone(&engine);
    engine.cradle.add(async move { draining.drained().await });
    std::future::poll_fn(|cx| {
        if engine.door.is_shut() {
            return std::task::Poll::Ready(());
        }
        nursery.poll(cx, &engine.cradle)
    })
    .await;
    // The streams see that their client is gone and tell their upstreams; then these may close.
    engine.pool.clear();
    let cradle = &engine.cradle;
    let _ = tokio::time::timeout(FAREWELL, std::future::poll_fn(|cx| nursery.poll(cx, cradle))).await;
}

impl Engine {
    /// Tells the client to open no more streams, once the proxy drains.
    async fn drained(&self) {
        let drain = &self.client.worker.shared.drain;
        tokio::select! {
            () = drain.reached(Phase::Draining) => self.door.say_goodbye(),
            () = self.door.shut() => {}
        }
    }
}
