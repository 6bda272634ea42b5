//! Connections: accepted, served by hyper, ended gently.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::{
    access::{Identity, Peer},
    tls::Tls,
};

/// Connections at once: proxies hold one or two each.
const CONNECTIONS: usize = 25_000;
/// A head must be there within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// So must TLS.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A watcher that takes nothing for this long is cut by the kernel.
const TAKES_NOTHING: Duration = Duration::from_secs(30);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// All is served.
    Serving,
    /// Watchers leave, new ones are sent away, and a connection serves what it has and no more. Others are accepted, as
    /// whoever sends them may not know yet.
    Leaving,
    /// Nothing is accepted any more.
    Closed,
}

/// Serves until `phase` says so, then until the last connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    mut phase: watch::Receiver<Phase>,
) {
    let mut graceful = GracefulShutdown::new();
    let mut leaving = false;
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // dropped with this task, and all connections with it
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            now = phase.wait_for(|phase| *phase == Phase::Closed || (!leaving && *phase == Phase::Leaving)) => match now.as_deref() {
                Ok(Phase::Leaving) => {
                    leaving = true;
                    // whoever comes again takes a new connection, and with it another replica
                    connections.spawn(std::mem::replace(&mut graceful, GracefulShutdown::new()).shutdown());
                    continue;
                }
                _ => break,
            },
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // out of descriptors, most likely: others must end before it can go on
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        prepare(&stream);
        let serving = Serving { router: router.clone(), address, watcher: graceful.watcher() };
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        connections.spawn(async move {
            match acceptor {
                None => serving.http(stream, None).await,
                Some(acceptor) => serving.https(acceptor, stream).await,
            }
            drop(slot);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}

/// What a connection needs.
struct Serving {
    router: Router,
    address: SocketAddr,
    watcher: Watcher,
}

impl Serving {
    async fn https(self, acceptor: TlsAcceptor, stream: TcpStream) {
        let stream = match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(peer = %self.address, %error, "no TLS"),
            Err(_) => return tracing::debug!(peer = %self.address, "no TLS in time"),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let identity = certificate.map(|certificate| Identity::of(certificate));
        match identity {
            None => self.http(stream, None).await,
            Some(Some(identity)) => self.http(stream, Some(Arc::new(identity))).await,
            // TLS knows it and we do not: better nobody than anybody
            Some(None) => tracing::warn!(peer = %self.address, "a client certificate that cannot be read"),
        }
    }

    async fn http<S>(self, stream: S, identity: Option<Arc<Identity>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, peer) = (self.router, Peer { address: self.address, identity });
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(
                    router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}),
                )
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100).max_header_list_size(64 << 10);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = pin!(self.watcher.watch(connection.into_owned()));
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    }
}

fn prepare(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(TAKES_NOTHING).with_interval(Duration::from_secs(10));
    // each is a help, and none a need
    stream.set_nodelay(true).ok();
    socket.set_tcp_keepalive(&keepalive).ok();
    socket.set_tcp_user_timeout(Some(TAKES_NOTHING)).ok();
}
