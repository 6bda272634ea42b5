//! The backend: one thread, two ports, `baseline` and `sandbox`, each for HTTP/1 and HTTP/2 with prior knowledge.
//!
//! It exists so as not to be the bottleneck: a canned answer, one read and one write a request. The answer's body and
//! its `x-version` field say which version answered; a third port tells how many requests each version served, so that
//! a measured window counts requests without trusting any load tool.

mod http1;
mod http2;

use std::{
    cell::Cell,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::Context;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

/// One of the two versions that a peer chooses between.
#[derive(Debug)]
pub(crate) struct Version {
    /// What an answer says.
    pub(crate) name: &'static str,
    /// Requests served.
    pub(crate) served: Cell<u64>,
}

/// Size of each answer's body.
pub const BODY_BYTES: usize = 128;

/// The body that `version` answers with.
#[must_use]
pub fn body(version: &str) -> Vec<u8> {
    let mut body = version.as_bytes().to_vec();
    body.resize(BODY_BYTES, b'.');
    body
}

/// The first bytes of an HTTP/2 connection; no HTTP/1 request begins so.
const PREFACE_START: &[u8] = b"PRI";

/// Serves until killed. Prints `baseline sandbox counts` (three ports) once it listens.
///
/// # Errors
/// Where it cannot listen.
pub fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> anyhow::Result<()> {
    let versions = ["baseline", "sandbox"].map(|name| Rc::new(Version { name, served: Cell::new(0) }));
    let mut ports = Vec::new();
    for version in &versions {
        let listener = listen().await?;
        ports.push(listener.local_addr()?.port().to_string());
        tokio::task::spawn_local(accept(listener, Rc::clone(version)));
    }
    let counts = listen().await?;
    ports.push(counts.local_addr()?.port().to_string());
    let mut out = std::io::stdout();
    writeln!(out, "{}", ports.join(" ")).and_then(|()| out.flush()).context("cannot tell the ports")?;
    loop {
        let (mut stream, _) = counts.accept().await?;
        let line = versions.iter().map(|v| v.served.get().to_string()).collect::<Vec<_>>().join(" ");
        // Who asked may be gone; the next one is served all the same.
        let _ = stream.write_all(line.as_bytes()).await;
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    // A burst of 5,000 connections must not meet a full queue: a lost SYN costs a second.
    Ok(socket.listen(16_384)?)
}

async fn accept(listener: TcpListener, version: Rc<Version>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, Rc::clone(&version)));
            }
            // Out of descriptors: those in use come back.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, version: Rc<Version>) {
    // Neither matters to the run: a peer that goes away is what ends most connections.
    let _ = stream.set_nodelay(true);
    let mut start = [0; 3];
    match stream.peek(&mut start).await {
        Ok(n) if n > 0 && start.iter().zip(PREFACE_START).take(n).all(|(a, b)| a == b) => {
            http2::serve(stream, version).await;
        }
        Ok(_) => http1::serve(stream, version).await,
        Err(_) => {}
    }
}
