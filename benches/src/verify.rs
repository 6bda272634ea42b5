//! The proof, before anything is measured, that a peer routes by the very header that the load carries.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{peers::Peer, workload::fields};

/// How long routes may take to arrive at a peer.
const ROUTES_DEADLINE: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Proves `peer`'s routing, for HTTP/1 and HTTP/2, with and without the key.
///
/// # Errors
/// Where an answer comes from the wrong version, or none comes.
pub async fn verify(peer: &Peer) -> anyhow::Result<()> {
    for (http2, address) in [(false, peer.http1), (true, peer.http2)] {
        for keyed in [true, false] {
            let expected = if keyed || !peer.kind.routes() { "sandbox" } else { "baseline" };
            until_version(address, http2, keyed, expected).await.with_context(|| {
                let protocol = if http2 { "HTTP/2" } else { "HTTP/1" };
                format!("{} over {protocol} {}", peer.kind.name(), if keyed { "keyed" } else { "unkeyed" })
            })?;
        }
    }
    Ok(())
}

async fn until_version(address: SocketAddr, http2: bool, keyed: bool, expected: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let answer = tokio::time::timeout(ANSWER_DEADLINE, version(address, http2, keyed)).await;
        let why = match answer {
            Ok(Ok(version)) if version == expected => return Ok(()),
            Ok(Ok(version)) => format!("answered by {version}, not by {expected}"),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        if begin.elapsed() > ROUTES_DEADLINE {
            bail!("{why}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Which version answers one request at `address`.
///
/// # Errors
/// Where no whole 200 comes.
pub async fn version(address: SocketAddr, http2: bool, keyed: bool) -> anyhow::Result<String> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let mut request = http::Request::get(format!("http://{address}/api/v1/items?page=3"));
    for (name, value) in fields(keyed) {
        request = request.header(name, value);
    }
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        sender.send_request(request.body(Empty::<Bytes>::new())?).await?
    } else {
        let request = request.header("host", address.to_string()).uri("/api/v1/items?page=3");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        sender.send_request(request.body(Empty::<Bytes>::new())?).await?
    };
    let status = response.status();
    let version = response.headers().get("x-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == http::StatusCode::OK, "answered {status}");
    let version = version.context("the answer names no version")?;
    ensure!(body == crate::backend::body(&version), "the answer's body is not {version}'s");
    Ok(version)
}
