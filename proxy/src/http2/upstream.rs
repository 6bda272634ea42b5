//! One HTTP/2 connection to an upstream, owned by one client's connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

use super::{
    exchange::Outgoing,
    keep_alive::{self, Rhythm},
    settings,
    wire::{Observed, Role, Wire, is_flood},
};
use crate::{config::Config, telemetry::UpstreamEnd};

type Connection = h2::client::Connection<Wire, Bytes>;

/// What became of a connection that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The upstream said goodbye first: its later requests go elsewhere, and nobody else needs to know (F6).
    GoAway,
    /// The upstream closed, or broke a rule, and requests were in flight: those know.
    Busy,
    /// The upstream closed while nothing was in flight.
    Idle,
    /// The upstream did not answer a ping.
    Silent,
    /// The upstream sent much that means little (MATRICES B11).
    Flooded,
}

impl From<Ending> for UpstreamEnd {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::GoAway => Self::GoAway,
            Ending::Busy => Self::Broken,
            Ending::Idle => Self::Quiet,
            Ending::Silent => Self::Silent,
            Ending::Flooded => Self::Flooded,
        }
    }
}

/// An upstream's connection. It ends when the last reference to it is gone and its last stream is over.
#[derive(Debug)]
pub(crate) struct Upstream {
    send: RefCell<SendRequest<Bytes>>,
    life: Rc<Life>,
}

/// What the connection's driver and its users both know.
#[derive(Debug)]
struct Life {
    in_flight: Cell<usize>,
    ended: Cell<bool>,
    observed: Rc<Observed>,
}

/// A stream in flight; counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Life>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Upstream {
    /// Begins HTTP/2 on a connected socket, of which `first` was read already (a server's SETTINGS held back by the
    /// detection, F25). The second value drives the connection, and has to be polled as long as it is used.
    ///
    /// # Errors
    /// The upstream closed.
    pub(crate) async fn begin(
        socket: TcpStream,
        first: Bytes,
        config: &Config,
    ) -> std::io::Result<(Self, impl Future<Output = Ending> + 'static)> {
        let wire = Wire::new(socket, first, Role::Client);
        let life =
            Rc::new(Life { in_flight: Cell::new(0), ended: Cell::new(false), observed: wire.observed() });
        let (send, connection) = settings::connect(wire, &config.limits).await?;
        let rhythm = config.http2.upstream_rhythm();
        let driver = drive(Rc::clone(&life), connection, rhythm);
        Ok((Self { send: RefCell::new(send), life }, driver))
    }

    /// Whether it takes a CONNECT that names a protocol (RFC 8441 §3). Waits for its SETTINGS, as long as a connection
    /// may take.
    pub(crate) async fn offers_extended_connect(&self, patience: Duration) -> bool {
        // One that says nothing in time offers nothing.
        let _ = tokio::time::timeout(patience, self.life.observed.greeted()).await;
        self.send.borrow().is_extended_connect_protocol_enabled()
    }

    /// Whether it can take a new stream, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        !self.life.ended.get() && !self.life.observed.go_away()
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.life.in_flight.get() == 0
    }

    /// Sends a request's head. At the upstream's stream limit the stream waits its turn within `h2`.
    ///
    /// # Errors
    /// The connection takes no new stream; nothing was sent.
    pub(crate) fn send(&self, head: Request<()>, bodiless: bool) -> Result<(Outgoing, InFlight), h2::Error> {
        // A handle of its own, because a shared one refuses a second stream while the first waits for its turn.
        let mut send = self.send.borrow().clone();
        let (response, body) = send.send_request(head, bodiless)?;
        self.life.in_flight.set(self.life.in_flight.get() + 1);
        Ok((Outgoing { body, response }, InFlight(Rc::clone(&self.life))))
    }
}

/// Drives a connection to its end.
async fn drive(life: Rc<Life>, mut connection: Connection, rhythm: Option<Rhythm>) -> Ending {
    let silence = connection.ping_pong().zip(rhythm).map(|(pings, rhythm)| {
        let in_flight = Rc::clone(&life);
        let is_watched = move || in_flight.in_flight.get() > 0;
        keep_alive::silence(rhythm, pings, Rc::clone(&life.observed), is_watched)
    });
    let ended = tokio::select! {
        biased;
        ended = &mut connection => Some(ended),
        () = or_never(silence) => None,
    };
    life.ended.set(true);
    life.observed.note_greeting();
    let in_flight = life.in_flight.get();
    // Dropped behind the count: it ends what is in flight.
    drop(connection);
    match ended {
        None => return Ending::Silent,
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::debug!(%error, "an upstream's HTTP/2 connection failed");
            if is_flood(&error, &life.observed) {
                return Ending::Flooded;
            }
        }
    }
    match (life.observed.go_away(), in_flight) {
        (true, _) => Ending::GoAway,
        (false, 0) => Ending::Idle,
        (false, _) => Ending::Busy,
    }
}

async fn or_never(silence: Option<impl Future<Output = ()>>) {
    match silence {
        Some(silence) => silence.await,
        None => std::future::pending().await,
    }
}
