//! Detection: who speaks first decides (DESIGN §3.5).

use std::{io, rc::Rc};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::connection::{Arrival, Baseline, Client, Detected};

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

/// Finds out what `client` speaks, while the baseline is dialled. `None` where the connection is at its end.
pub(crate) async fn detect(client: &Rc<Client>, socket: TcpStream) -> Option<(Protocol, Detected)> {
    use tokio::io::AsyncReadExt as _;
    let mut socket = socket;
    let baseline = dial(client).await;
    let mut first = BytesMut::with_capacity(4096);
    loop {
        if socket.read_buf(&mut first).await.ok()? == 0 && first.is_empty() {
            return None;
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let protocol = if first.starts_with(preface) {
            Protocol::Http2
        } else if preface.starts_with(&first) {
            continue;
        } else {
            Protocol::Http1
        };
        return Some((protocol, Detected { client: socket, first, baseline, server_first: Bytes::new() }));
    }
}

async fn dial(client: &Client) -> Baseline {
    let dialled = match &client.arrival {
        Arrival::Outbound { original } | Arrival::Inbound { original } => TcpStream::connect(original).await,
        Arrival::Fixed(fixed) => TcpStream::connect(&*fixed.upstream).await,
        Arrival::Connected { authority } => TcpStream::connect(&**authority).await,
        Arrival::Explicit => return Baseline::NotDialled,
    };
    match dialled.and_then(|socket| socket.set_nodelay(true).map(|()| socket)) {
        Ok(socket) => Baseline::Connected(socket),
        Err(error) => Baseline::Failed(io::Error::new(error.kind(), error)),
    }
}
