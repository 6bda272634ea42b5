//! The floor: what a relay on bare hyper costs with Bellhop's worker shape and none of its features.
//!
//! One current-thread runtime, one upstream connection for each client connection, one fixed target, no routing, no
//! detection, no metrics. HTTP/1 and HTTP/2 have a port each.

use std::{
    cell::Cell,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::Context;
use http::{Request, Response, Uri, Version, uri};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

type Body = Either<Incoming, Empty<bytes::Bytes>>;

/// Serves until killed; its one argument is the target. Prints `http1 http2` (two ports) once it listens.
///
/// # Errors
/// Where the argument is no address or it cannot listen.
pub fn main() -> anyhow::Result<()> {
    let target = std::env::args().nth(1).context("usage: bench-relay ADDRESS:PORT")?;
    let target: SocketAddr = target.parse().with_context(|| format!("{target} is no ADDRESS:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(target))
}

async fn serve(target: SocketAddr) -> anyhow::Result<()> {
    let http1 = listen().await?;
    let http2 = listen().await?;
    let mut out = std::io::stdout();
    writeln!(out, "{} {}", http1.local_addr()?.port(), http2.local_addr()?.port())
        .and_then(|()| out.flush())
        .context("cannot tell the ports")?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = http2.accept().await {
            // An error is the end of that connection alone.
            tokio::task::spawn_local(async move { relay_http2(stream, target).await.ok() });
        }
    });
    loop {
        let (stream, _) = http1.accept().await?;
        tokio::task::spawn_local(async move { relay_http1(stream, target).await.ok() });
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.listen(16_384)?)
}

async fn dial(client: &TcpStream, target: SocketAddr) -> anyhow::Result<TcpStream> {
    client.set_nodelay(true)?;
    let upstream = TcpStream::connect(target).await?;
    upstream.set_nodelay(true)?;
    Ok(upstream)
}

async fn relay_http1(client: TcpStream, target: SocketAddr) -> anyhow::Result<()> {
    let upstream = TokioIo::new(dial(&client, target).await?);
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Incoming>(upstream)
        .await?;
    tokio::task::spawn_local(connection);
    // One request is in flight at a time: whoever finds the cell empty came after a failure.
    let sender = Rc::new(Cell::new(Some(sender)));
    let service = service_fn(move |request: Request<Incoming>| {
        let cell = Rc::clone(&sender);
        async move {
            let Some(mut sender) = cell.take() else { return Ok(unreachable_upstream()) };
            if sender.ready().await.is_err() {
                return Ok(unreachable_upstream());
            }
            match sender.send_request(request).await {
                Ok(response) => {
                    cell.set(Some(sender));
                    Ok::<_, hyper::Error>(response.map(Either::Left))
                }
                Err(_) => Ok(unreachable_upstream()),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(client), service)
        .await?;
    Ok(())
}

async fn relay_http2(client: TcpStream, target: SocketAddr) -> anyhow::Result<()> {
    let upstream = TokioIo::new(dial(&client, target).await?);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(LocalExecutor)
        .initial_connection_window_size(1 << 20)
        .initial_stream_window_size(1 << 16)
        .handshake::<_, Incoming>(upstream)
        .await?;
    tokio::task::spawn_local(connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut sender = sender.clone();
        async move {
            *request.version_mut() = Version::HTTP_2;
            complete(request.uri_mut());
            match sender.send_request(request).await {
                Ok(response) => Ok::<_, hyper::Error>(response.map(Either::Left)),
                Err(_) => Ok(unreachable_upstream()),
            }
        }
    });
    hyper::server::conn::http2::Builder::new(LocalExecutor)
        .initial_connection_window_size(1 << 20)
        .initial_stream_window_size(1 << 16)
        .max_concurrent_streams(128)
        .serve_connection(TokioIo::new(client), service)
        .await?;
    Ok(())
}

/// HTTP/2 clients need an absolute URI to make the pseudo fields from.
fn complete(uri: &mut Uri) {
    if uri.scheme().is_some() && uri.authority().is_some() {
        return;
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.scheme.get_or_insert(uri::Scheme::HTTP);
    parts.authority.get_or_insert(uri::Authority::from_static("localhost"));
    if let Ok(whole) = Uri::from_parts(parts) {
        *uri = whole;
    }
}

fn unreachable_upstream() -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
    response
}

/// Spawns onto the one thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
