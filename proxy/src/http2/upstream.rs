//! One HTTP/2 connection to an upstream, owned by one client's connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;

use super::{
    exchange::Outgoing,
    settings,
    wire::{Observed, Role, Wire},
};
use crate::config::Limits;

/// What became of a connection that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The upstream said goodbye first: its later requests go elsewhere, and nobody else needs to know (F6).
    GoAway,
    /// The upstream closed, or broke a rule, and requests were in flight: those know.
    Busy,
    /// The upstream closed while nothing was in flight.
    Idle,
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
        limits: &Limits,
    ) -> std::io::Result<(Self, impl Future<Output = Ending> + 'static)> {
        let wire = Wire::new(socket, first, Role::Client);
        let life =
            Rc::new(Life { in_flight: Cell::new(0), ended: Cell::new(false), observed: wire.observed() });
        let (send, connection) = settings::connect(wire, limits).await?;
        let driven = Rc::clone(&life);
        let driver = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream's HTTP/2 connection failed");
            }
            driven.ended.set(true);
            match (driven.observed.go_away(), driven.in_flight.get()) {
                (true, _) => Ending::GoAway,
                (false, 0) => Ending::Idle,
                (false, _) => Ending::Busy,
            }
        };
        Ok((Self { send: RefCell::new(send), life }, driver))
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
