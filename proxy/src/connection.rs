//! A client's connection, from the listener to the engine that serves it.

mod rest;

use std::{net::SocketAddr, pin::pin, rc::Rc, sync::Arc};

use bellhop_api::Destination;
use bellhop_route::Place;
use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

pub(crate) use self::rest::Activity;
use crate::{
    counters::Event,
    detect::{self, Dialling, Protocol},
    http1, http2, listen, tunnel,
    upstream::reset,
    worker::Worker,
};

/// By which listener a connection came, and what its address says about where it was meant to go.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    /// Redirected on its way out of the workload; the original destination is what was dialled.
    Outbound {
        /// The address that the application dialled.
        original: SocketAddr,
    },
    /// Redirected on its way into the workload; the original destination is an address of this host.
    Inbound {
        /// The address that the caller dialled.
        original: SocketAddr,
    },
    /// The application knows the proxy (`HTTP_PROXY`): each request's authority is its destination.
    Explicit,
    /// A CONNECT to the explicit listener was answered; what follows is served as if it had been intercepted on its
    /// way to this authority.
    Connected {
        /// `host:port` of the CONNECT.
        authority: Arc<str>,
    },
    /// A listener with one upstream.
    Fixed(Arc<FixedUpstream>),
    /// This proxy's own dial, which packet filters led back to it: it goes nowhere.
    Loop,
}

impl Arrival {
    /// Where the connection's requests are going; `None` in explicit mode, where each says so itself,
    /// and for what goes nowhere.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match self {
            Self::Outbound { original } => Some(Place::Dialled(*original)),
            Self::Inbound { original } => Some(Place::Workload(*original)),
            Self::Explicit | Self::Loop => None,
            Self::Connected { authority } => place_of(authority),
            Self::Fixed(fixed) => match &fixed.destination {
                Some(destination) => Some(Place::Named(destination)),
                None => place_of(&fixed.upstream),
            },
        }
    }
}

/// The place that an authority, `host:port`, names.
pub(crate) fn place_of(authority: &str) -> Option<Place<'_>> {
    if let Ok(address) = authority.parse() {
        return Some(Place::Dialled(address));
    }
    let (host, port) = authority.rsplit_once(':')?;
    Some(Place::Authority { host, port: port.parse().ok()? })
}

/// One pair of `--listen` and `--upstream`.
#[derive(Debug)]
pub(crate) struct FixedUpstream {
    /// `host:port` of the baseline; a name is resolved at each dial.
    pub(crate) upstream: Arc<str>,
    /// What it stands for; where absent, the upstream's address or name finds the destination.
    pub(crate) destination: Option<Destination>,
}

/// What is known of a client's connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Client {
    /// By which listener it came.
    pub(crate) arrival: Arrival,
    /// The caller's address.
    pub(crate) peer: SocketAddr,
    /// The worker that the connection lives and dies on.
    pub(crate) worker: Rc<Worker>,
    /// How busy it is.
    pub(crate) activity: Rc<Activity>,
}

/// The baseline's connection, dialled while the first client bytes were awaited.
pub(crate) enum Baseline {
    /// The client's bytes came before the dial was done; [`ready`](Self::ready) waits for it. A request that goes to a
    /// sandbox need not.
    Dialling(Dialling),
    /// It stands.
    Connected(TcpStream),
    /// It could not be had; keyed requests may still reach their sandbox.
    Failed(std::io::Error),
    /// Nobody dialled: a request came with the connection, and may be going elsewhere; or explicit mode, where each names
    /// its own.
    NotDialled,
}

impl Baseline {
    /// The baseline once its dial is done: never [`Dialling`](Self::Dialling).
    pub(crate) async fn ready(self) -> Self {
        match self {
            Self::Dialling(dial) => match dial.await {
                Ok(server) => Self::Connected(server),
                Err(error) => Self::Failed(error),
            },
            done => done,
        }
    }
}

impl std::fmt::Debug for Baseline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dialling(_) => f.write_str("Dialling"),
            Self::Connected(server) => f.debug_tuple("Connected").field(server).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::NotDialled => f.write_str("NotDialled"),
        }
    }
}

/// What detection hands to an engine.
#[derive(Debug)]
pub(crate) struct Detected {
    /// The client's socket.
    pub(crate) client: TcpStream,
    /// Bytes read from the client so far, in order.
    pub(crate) first: BytesMut,
    /// How many of them came with a CONNECT, and were counted with it.
    pub(crate) counted: usize,
    /// The baseline's connection.
    pub(crate) baseline: Baseline,
    /// Bytes read from the baseline so far: a held-back HTTP/2 SETTINGS frame, or a server's banner.
    pub(crate) server_first: Bytes,
}

/// A connection on its way from the acceptor to its worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The client's socket, non-blocking.
    pub(crate) socket: std::net::TcpStream,
    /// By which listener it came.
    pub(crate) arrival: Arrival,
    /// The caller's address.
    pub(crate) peer: SocketAddr,
    /// Its place under the connection limit.
    pub(crate) place: listen::Place,
}

/// Serves a connection to its end: finds out what is spoken, then hands it to the engine for that.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, arrival, peer, place: _place } = accepted;
    // Where a request is here already nothing has to be found out, and its destination alone is dialled.
    let Ok(first) = worker.buffers.read_what_is_there(&socket) else { return };
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    let client = Rc::new(Client { arrival, peer, worker, activity: Rc::default() });
    let conversation = pin!(converse(&client, socket, first, Baseline::NotDialled));
    if let Some(why) = rest::or_rested_out(&client, conversation).await {
        client.worker.shared.counters.count(why);
    }
}

/// Detection, then the engine. Also for what follows a CONNECT that was answered; then its first bytes may be here.
pub(crate) async fn converse(client: &Rc<Client>, socket: TcpStream, first: BytesMut, baseline: Baseline) {
    // Boxed, as are the rarer engines: what lives as long as an HTTP/1 connection shall carry that alone.
    let detection = Box::pin(detect::detect(client, socket, first, baseline));
    let Some((protocol, detected)) = detection.await else { return };
    client.activity.begin();
    match protocol {
        Protocol::Http1 => http1::serve(Rc::clone(client), detected).await,
        Protocol::Http2 => Box::pin(http2::serve(Rc::clone(client), detected)).await,
        Protocol::Opaque if client.worker.shared.overload.sheds() => {
            client.worker.shared.counters.count(Event::RefusedOverload);
            reset(detected.client);
        }
        Protocol::Opaque => Box::pin(tunnel::opaque(client, detected)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F: Future<Output = ()>>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection's memory is this future, the client's state, and what sockets register with the runtime.
    #[test]
    fn a_connection_stays_small() {
        let (serve, http1) = (size(serve), size(http1::serve));
        println!("serve {serve} http1 {http1} http2 {} client {}", size(http2::serve), size_of::<Client>());
        assert!(serve < 3_000, "{serve} bytes, of them HTTP/1 {http1}");
    }
}
