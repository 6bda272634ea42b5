//! Connections: accepted, served by hyper, ended gently.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{
    Request,
    body::{Body as _, Incoming},
};
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
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use self::{
    activity::Activity,
    addresses::{Addresses, Place},
    timely::Timely,
};
use crate::{
    access::{Identity, Peer},
    answering,
    config::Limits,
    telemetry::Connections,
    tls::Tls,
};

mod activity;
mod addresses;
mod timely;

pub(crate) use timely::Late;

/// A watcher that takes nothing for this long is cut by the kernel.
const TAKES_NOTHING: Duration = Duration::from_secs(30);
/// Accepting pauses for so long where there is no descriptor: others must end before it can go on.
const PAUSE: Duration = Duration::from_millis(100);

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

/// What serves.
pub(crate) struct Server {
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    /// As it is after it was raised.
    pub(crate) descriptors: Option<u64>,
    pub(crate) count: Connections,
}

impl Server {
    /// Serves until `phase` says so, then until the last connection has ended.
    pub(crate) async fn serve(self, listener: TcpListener, mut phase: watch::Receiver<Phase>) {
        let mut graceful = GracefulShutdown::new();
        let mut leaving = false;
        let (all, of_one) = self.limits.counts(self.descriptors);
        let (slots, addresses) = (Arc::new(Semaphore::new(all)), Addresses::new(of_one));
        // dropped with this task, and all connections with it
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = accept(&listener, &slots) => accepted,
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
            let (slot, stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(place) = addresses.enter(address.ip()) else {
                tracing::debug!(peer = %address, "closed: this address has too many connections");
                self.count.refused.inc();
                continue;
            };
            connections.spawn(self.connection(stream, address, graceful.watcher(), (slot, place)));
        }
        drop(listener);
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    }

    /// One connection, and what it holds until it ends.
    fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        watcher: Watcher,
        held: (OwnedSemaphorePermit, Place),
    ) -> impl Future<Output = ()> + Send + use<> {
        prepare(&stream);
        let serving = Serving { router: self.router.clone(), limits: self.limits.clone(), address, watcher };
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor());
        let open = self.count.open();
        async move {
            match acceptor {
                None => serving.http(stream, None).await,
                Some(acceptor) => serving.https(acceptor, stream).await,
            }
            drop((held, open));
        }
    }
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((slot, stream, address))
}

/// What a connection needs.
struct Serving {
    router: Router,
    limits: Limits,
    address: SocketAddr,
    watcher: Watcher,
}

impl Serving {
    async fn https(self, acceptor: TlsAcceptor, stream: TcpStream) {
        let stream = match timeout(self.limits.handshake, acceptor.accept(stream)).await {
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
        let Self { router, limits, address, watcher } = self;
        let activity = Activity::none();
        let lacking = activity.lacking(limits.head, limits.unused);
        let (peer, within) = (Peer { address, identity }, limits.body);
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            let open = activity.begin();
            request.extensions_mut().insert(peer.clone());
            let timely = |body: Incoming| {
                if body.is_end_stream() { Body::empty() } else { Body::new(Timely::new(body, within)) }
            };
            let request = request.map(timely);
            let router = router.clone();
            async move {
                let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(response.map(|body| answering::until_its_end(body, open)))
            }
        });
        let builder = builder(&limits);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = pin!(watcher.watch(connection.into_owned()));
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %address, %error, "connection ended");
                }
            }
            // the engine counts from the first byte, and only of HTTP/1
            why = lacking => tracing::debug!(peer = %address, why, "connection ended"),
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // the engine counts from the answer before: it must be longer than proxies are silent between reports
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(64 << 10);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(100).max_header_list_size(64 << 10);
    // the kernel's probes end a connection whose peer's host has gone; these also one whose program hangs
    http2.keep_alive_interval(limits.silence).keep_alive_timeout(limits.silence);
    builder
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

#[cfg(test)]
mod tests;
