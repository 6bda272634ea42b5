//! The proof, before anything is measured, that a peer routes by the very header that the load carries.

pub mod exchange;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::{peers::Peer, workload::Workload};

/// How long routes may take to arrive at a peer.
const ROUTES_DEADLINE: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// WebSocket.
    WebSocket,
}

/// Proves `peer`'s routing in each protocol that `workloads` use, with and without the key.
///
/// # Errors
/// Where an answer comes from the wrong version, or none comes.
pub async fn verify(peer: &Peer, workloads: &[Workload]) -> anyhow::Result<()> {
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::WebSocket] {
        if !workloads.iter().any(|w| w.protocol() == Some(protocol) && peer.kind.cannot(*w).is_none()) {
            continue;
        }
        for keyed in [true, false] {
            let expected = if keyed || !peer.kind.routes() { "sandbox" } else { "baseline" };
            until_version(peer, protocol, keyed, expected).await.with_context(|| {
                format!("{} over {protocol:?} {}", peer.kind.name(), if keyed { "keyed" } else { "unkeyed" })
            })?;
        }
    }
    Ok(())
}

async fn until_version(peer: &Peer, protocol: Protocol, keyed: bool, expected: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let why = match version(peer, protocol, keyed).await {
            Ok(version) if version == expected => return Ok(()),
            Ok(version) => format!("answered by {version}, not by {expected}"),
            Err(error) => format!("{error:#}"),
        };
        if begin.elapsed() > ROUTES_DEADLINE {
            bail!("{why}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Which version answers one request through `peer`.
///
/// # Errors
/// Where no whole answer comes.
pub async fn version(peer: &Peer, protocol: Protocol, keyed: bool) -> anyhow::Result<String> {
    let address = match protocol {
        Protocol::Http1 | Protocol::WebSocket => peer.http1,
        Protocol::Http2 | Protocol::Grpc => peer.http2,
    };
    let exchange = async {
        let stream = peer.ground.place.connect(address).await?;
        stream.set_nodelay(true)?;
        match protocol {
            Protocol::Http1 => exchange::http1(stream, address, keyed).await,
            Protocol::Http2 => exchange::http2(stream, address, keyed).await,
            Protocol::Grpc => exchange::grpc(stream, address, keyed).await,
            Protocol::WebSocket => exchange::websocket(stream, address, keyed).await,
        }
    };
    tokio::time::timeout(ANSWER_DEADLINE, exchange).await.context("no answer")?
}
