//! Detection: who speaks first decides (DESIGN §3.5).
//!
//! While the first client bytes are awaited, the baseline is dialled; where they were there before and are HTTP, nobody
//! is. A server that speaks first makes the connection opaque at once, except that an HTTP/2 SETTINGS frame is held back.
//! What the bytes mean is decided by the pure functions of [`mod@line`], [`settings`] and [`hello`]; this file knows
//! sockets and time.

pub(crate) mod hello;
pub(crate) mod line;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
pub(crate) mod settings;

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

use self::settings::ServerFirst;
use crate::{
    connection::{Arrival, Baseline, Client, Detected},
    counters::Event,
    dialling, tunnel,
};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.0 or 1.1, or what claims to be.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else: passed byte for byte.
    Opaque,
}

/// A first line that stopped growing for this long is judged as it is: its sender may wait for an answer.
const QUIET: Duration = Duration::from_secs(1);
/// After a failed dial a client of any protocol may still send a request's head for this long.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// The same where the destination has a route: a keyed request may be on its way.
const AFTER_FAILURE_ROUTED: Duration = Duration::from_secs(10);
/// Read at once; a request's head rarely is longer.
const READ_BYTES: usize = 4096;
/// Of a server's first bytes so many are read to judge them; the rest waits in the socket.
const SERVER_READ_BYTES: usize = 512;

/// Finds out what a client speaks. `None` where the connection came to its end meanwhile.
///
/// # Cancel safety
/// None: dropping it closes the connection.
pub(crate) async fn detect(
    client: &Rc<Client>,
    socket: TcpStream,
    first: BytesMut,
    start: Baseline,
) -> Option<(Protocol, Detected)> {
    let mut watch = Watch::new(client, socket, first, start);
    let protocol = match watch.begin().await {
        Some(protocol) => protocol,
        None => match watch.run().await {
            Some(protocol) => protocol,
            None => {
                watch.give_up().await;
                return None;
            }
        },
    };
    watch.count(protocol);
    Some((protocol, watch.detected()))
}

/// Both ends of a connection whose protocol is not known yet.
struct Watch<'a> {
    client: &'a Rc<Client>,
    socket: TcpStream,
    first: BytesMut,
    counted: usize,
    baseline: Baseline,
    server_first: BytesMut,
    /// Whether the server's bytes were judged to be SETTINGS: it is not read from any more.
    held_back: bool,
    /// When the client's line is judged as it is.
    judged_at: Option<Instant>,
    /// When a client that sent nothing whole since the dial failed is reset.
    reset_at: Option<Instant>,
    /// When the client's first byte came.
    began: Option<Instant>,
}

/// What happened next.
enum Next {
    ClientReadable,
    Dialled(io::Result<TcpStream>),
    ServerReadable,
    Time,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Rc<Client>, socket: TcpStream, first: BytesMut, baseline: Baseline) -> Self {
        let counted = if matches!(client.arrival, Arrival::Connected { .. }) { first.len() } else { 0 };
        Self {
            client,
            socket,
            first,
            counted,
            baseline,
            server_first: BytesMut::new(),
            held_back: false,
            judged_at: None,
            reset_at: None,
            began: None,
        }
    }

    /// Looks at what is known before anything moves. Unless the client speaks HTTP already, so that each request finds
    /// its own way, the dial is begun.
    async fn begin(&mut self) -> Option<Protocol> {
        let known =
            self.decided_by_place().or_else(|| if self.first.is_empty() { None } else { self.judge() });
        let is_http = matches!(known, Some(Protocol::Http1 | Protocol::Http2));
        if matches!(self.baseline, Baseline::NotDialled) && !is_http && !self.is_explicit() {
            self.baseline = Baseline::Dialling(Box::pin(dialling::baseline(Rc::clone(self.client))));
        }
        if let Baseline::Dialling(dial) = &mut self.baseline
            && let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx))).await
        {
            self.dialled(done);
        }
        known
    }

    /// A port that was declared opaque needs no look.
    fn decided_by_place(&self) -> Option<Protocol> {
        let port = match &self.client.arrival {
            Arrival::Outbound { original } | Arrival::Inbound { original } => original.port(),
            Arrival::Connected { authority } => authority.rsplit_once(':')?.1.parse().ok()?,
            Arrival::Explicit | Arrival::Fixed(_) | Arrival::Loop => return None,
        };
        let ports = &self.client.worker.shared.config.listeners.opaque_ports;
        ports.contains(&port).then_some(Protocol::Opaque)
    }

    async fn run(&mut self) -> Option<Protocol> {
        loop {
            let decided = match self.next().await {
                Next::ClientReadable => self.read_client()?,
                Next::Dialled(done) => {
                    self.dialled(done);
                    None
                }
                Next::ServerReadable => self.read_server()?,
                Next::Time => self.late()?,
            };
            if decided.is_some() {
                return decided;
            }
        }
    }

    async fn next(&mut self) -> Next {
        let reads_server = !self.held_back;
        let time = match (self.judged_at, self.reset_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let time = async {
            match time {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        let server = server_moves(&mut self.baseline, reads_server);
        tokio::select! {
            biased;
            // An error shows when it is read.
            _ = self.socket.readable() => Next::ClientReadable,
            next = server => next,
            () = time => Next::Time,
        }
    }

    /// Outer `None`: the client is gone.
    fn read_client(&mut self) -> Option<Option<Protocol>> {
        self.first.reserve(READ_BYTES);
        match self.socket.try_read_buf(&mut self.first) {
            // Its end is passed on like anything else it could say.
            Ok(0) => Some(Some(if self.is_explicit() {
                Protocol::Http1
            } else {
                line::classify_late(&self.first)
            })),
            Ok(_) => Some(self.judge()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(None),
            Err(_) => None,
        }
    }

    /// Judges the client's bytes so far.
    fn judge(&mut self) -> Option<Protocol> {
        let now = Instant::now();
        let limit = self.client.worker.shared.config.limits.header_timeout;
        let began = *self.began.get_or_insert(now);
        self.judged_at = Some((now + QUIET).min(began + limit));
        match line::classify(&self.first) {
            // An application that knows its proxy speaks HTTP; faults are told by the engine.
            Some(Protocol::Opaque) if self.is_explicit() => Some(Protocol::Http1),
            decided => decided,
        }
    }

    /// Outer `None`: the server reset the connection, and so is the client's.
    fn read_server(&mut self) -> Option<Option<Protocol>> {
        let Baseline::Connected(server) = &self.baseline else { return Some(None) };
        self.server_first.reserve(SERVER_READ_BYTES);
        match server.try_read_buf(&mut self.server_first) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(None),
            // The tunnel meets the same end, and passes it on.
            Ok(0) => return Some(Some(Protocol::Opaque)),
            // A reset is told once: the tunnel would meet an end.
            Err(_) => {
                tunnel::reset(&self.socket);
                return None;
            }
            Ok(_) => {}
        }
        Some(match settings::classify(&self.server_first) {
            ServerFirst::Undecided => None,
            ServerFirst::Settings => {
                self.held_back = true;
                None
            }
            ServerFirst::Opaque => {
                self.client.worker.shared.counters.count(Event::ServerFirst);
                Some(Protocol::Opaque)
            }
        })
    }

    fn dialled(&mut self, done: io::Result<TcpStream>) {
        self.baseline = match done {
            Ok(server) => Baseline::Connected(server),
            Err(error) => {
                let routed = self.client.worker.shared.has_route(&self.client.arrival);
                let grace = if routed { AFTER_FAILURE_ROUTED } else { AFTER_FAILURE };
                self.reset_at = Some(Instant::now() + grace);
                Baseline::Failed(error)
            }
        };
    }

    /// Outer `None`: nobody is left to wait for.
    fn late(&mut self) -> Option<Option<Protocol>> {
        if self.reset_at.is_some_and(|time| time <= Instant::now()) {
            self.client.worker.shared.counters.count(Event::BaselineFailed);
            tunnel::reset(&self.socket);
            return None;
        }
        if self.is_explicit() {
            return Some(Some(Protocol::Http1));
        }
        Some(Some(line::classify_late(&self.first)))
    }

    /// The client is gone: its server shall see that it did not end well.
    async fn give_up(self) {
        let established = tokio::time::timeout(QUIET, self.baseline.ready()).await;
        if let Ok(Baseline::Connected(server)) = established {
            tunnel::reset(&server);
        }
    }

    fn is_explicit(&self) -> bool {
        matches!(self.client.arrival, Arrival::Explicit)
    }

    fn count(&self, protocol: Protocol) {
        let counters = &self.client.worker.shared.counters;
        counters.count(match protocol {
            Protocol::Http1 => Event::Http1,
            Protocol::Http2 => Event::Http2,
            Protocol::Opaque => Event::Opaque,
        });
        if protocol == Protocol::Opaque {
            match hello::peek(&self.first) {
                hello::Hello::NotTls => {}
                hello::Hello::Named => counters.count(Event::TlsNamed),
                hello::Hello::Unnamed => counters.count(Event::TlsUnnamed),
                hello::Hello::Unknown => counters.count(Event::TlsUnknown),
            }
        }
    }

    fn detected(self) -> Detected {
        Detected {
            client: self.socket,
            first: self.first,
            counted: self.counted,
            baseline: self.baseline,
            server_first: if self.server_first.is_empty() {
                Bytes::new()
            } else {
                self.server_first.freeze()
            },
        }
    }
}

/// The next thing that the server's side does; for ever pending where it can do nothing.
async fn server_moves(baseline: &mut Baseline, reads: bool) -> Next {
    match baseline {
        Baseline::Dialling(dial) => Next::Dialled(dial.as_mut().await),
        Baseline::Connected(server) if reads => {
            let _ = server.readable().await;
            Next::ServerReadable
        }
        Baseline::Connected(_) | Baseline::Failed(_) | Baseline::NotDialled => std::future::pending().await,
    }
}

/// A dial under way.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

#[cfg(test)]
pub(crate) mod tests;
