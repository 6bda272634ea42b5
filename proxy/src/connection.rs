//! A client's connection, from the listener to the engine that serves it.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bellhop_api::Destination;
use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::{
    detect::{self, Protocol},
    http1, http2,
    listen::Place,
    tunnel,
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
}

/// The baseline's connection, dialled while the first client bytes were awaited.
#[derive(Debug)]
pub(crate) enum Baseline {
    /// It stands.
    Connected(TcpStream),
    /// It could not be had; keyed requests may still reach their sandbox.
    Failed(std::io::Error),
    /// Nobody dialled: explicit mode, where each request names its own.
    NotDialled,
}

/// What detection hands to an engine.
#[derive(Debug)]
pub(crate) struct Detected {
    /// The client's socket.
    pub(crate) client: TcpStream,
    /// Bytes read from the client so far, in order.
    pub(crate) first: BytesMut,
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
    pub(crate) place: Place,
}

/// Serves a connection to its end: finds out what is spoken, then hands it to the engine for that.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, arrival, peer, place: _place } = accepted;
    let Ok(socket) = TcpStream::from_std(socket) else { return };
    let client = Rc::new(Client { arrival, peer, worker });
    let Some((protocol, detected)) = detect::detect(&client, socket).await else { return };
    match protocol {
        Protocol::Http1 => http1::serve(client, detected).await,
        // Boxed: an HTTP/1 connection shall not carry the size of an HTTP/2 one.
        Protocol::Http2 => Box::pin(http2::serve(client, detected)).await,
        Protocol::Opaque => tunnel::opaque(&client, detected).await,
    }
}
