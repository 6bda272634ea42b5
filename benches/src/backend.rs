//! The backend: one thread, two ports, `baseline` and `sandbox`, each for HTTP/1 and HTTP/2 with prior knowledge.
//!
//! It exists so as not to be the bottleneck: a canned answer, one read and one write a request. The answer's body and
//! its `x-version` field say which version answered; a third port tells how many requests and messages each version
//! served, so that a measured window counts them without trusting any load tool.

mod http1;
mod http2;
mod websocket;

use std::{
    cell::Cell,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::Context;
use bytes::Bytes;
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
    /// The large bodies, in the order of [`BULK`].
    bulk: [Bytes; 2],
}

impl Version {
    fn new(name: &'static str) -> Self {
        Self { name, served: Cell::new(0), bulk: BULK.map(|(_, bytes)| body_of(name, bytes).into()) }
    }

    fn count(&self) {
        self.served.set(self.served.get() + 1);
    }
}

/// Where answers are large: 64 KiB, and 10 MiB. Request bodies of any size are taken everywhere.
pub const BULK: [(&str, usize); 2] = [("/bulk/64k", 64 << 10), ("/bulk/10m", 10 << 20)];
/// Where WebSockets are echoed.
pub const WEBSOCKET: &str = "/socket";
/// Where gRPC messages are echoed, by whatever method of this service.
pub const GRPC: &str = "/bellhop.bench.Echo";

/// Size of each other answer's body.
pub const BODY_BYTES: usize = 128;

/// The body that `version` answers with.
#[must_use]
pub fn body(version: &str) -> Vec<u8> {
    body_of(version, BODY_BYTES)
}

/// The body of `bytes` that `version` answers with.
#[must_use]
pub fn body_of(version: &str, bytes: usize) -> Vec<u8> {
    let mut body = version.as_bytes().to_vec();
    body.resize(bytes, b'.');
    body
}

/// The first bytes of an HTTP/2 connection; no HTTP/1 request begins so.
const PREFACE_START: &[u8] = b"PRI";

/// Serves until killed, on its one argument: an address, 127.0.0.1 by default. Prints `baseline sandbox counts` (three ports) once it listens.
///
/// # Errors
/// Where it cannot listen.
pub fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = match std::env::args().nth(1) {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(text) => text.parse().with_context(|| format!("{text} is no address"))?,
    };
    LocalSet::new().block_on(&runtime, serve(address))
}

async fn serve(address: IpAddr) -> anyhow::Result<()> {
    let versions = ["baseline", "sandbox"].map(|name| Rc::new(Version::new(name)));
    let mut ports = Vec::new();
    for version in &versions {
        let listener = listen(address).await?;
        ports.push(listener.local_addr()?.port().to_string());
        tokio::task::spawn_local(accept(listener, Rc::clone(version)));
    }
    let counts = listen(address).await?;
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

async fn listen(address: IpAddr) -> anyhow::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((address, 0)))?;
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
