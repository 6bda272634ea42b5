//! The baseline's dial, begun while the first client bytes are awaited. As long as the kernel tries; a name is resolved
//! now, and its addresses are tried in order. A listener of this proxy is never dialled.

use std::{io, net::SocketAddr, rc::Rc};

use tokio::net::{TcpStream, lookup_host};

use crate::{
    connection::{Arrival, Client},
    counters::Event,
};

/// Dials the baseline of a connection.
///
/// # Errors
/// Refused, unreachable, timed out, no such name; [`io::ErrorKind::InvalidInput`] where it is this proxy itself.
pub(crate) async fn baseline(client: Rc<Client>) -> io::Result<TcpStream> {
    let authority = match &client.arrival {
        Arrival::Outbound { original } | Arrival::Inbound { original } => {
            return connect(&client, *original).await;
        }
        Arrival::Fixed(fixed) => &fixed.upstream,
        Arrival::Connected { authority } => authority,
        Arrival::Explicit => return Err(io::ErrorKind::Unsupported.into()),
    };
    if let Ok(address) = authority.parse() {
        return connect(&client, address).await;
    }
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(&**authority).await? {
        match connect(&client, address).await {
            Ok(server) => return Ok(server),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect(client: &Client, address: SocketAddr) -> io::Result<TcpStream> {
    let shared = &client.worker.shared;
    if shared.own.contains(address) {
        shared.counters.count(Event::RefusedLoop);
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the destination is a listener of this proxy",
        ));
    }
    let server = TcpStream::connect(address).await?;
    if server.local_addr()? == server.peer_addr()? {
        // TCP's simultaneous open: an ephemeral port that nobody listens on can connect to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    server.set_nodelay(true)?;
    Ok(server)
}
