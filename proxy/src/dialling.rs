//! The baseline's dial, begun while the first client bytes are awaited. As long as the kernel tries.

use std::{io, rc::Rc};

use tokio::net::TcpStream;

use crate::{
    connection::{Arrival, Client},
    counters::Event,
    dial,
    error::{ErrorKind, RequestError, Side},
};

/// Dials the baseline of a connection.
///
/// # Errors
/// Refused, unreachable, timed out, no such name, this proxy itself; [`ErrorKind::of_connect`] tells them apart.
pub(crate) async fn baseline(client: Rc<Client>) -> io::Result<TcpStream> {
    let shared = &client.worker.shared;
    let dialled = match &client.arrival {
        Arrival::Outbound { original } | Arrival::Inbound { original } => {
            dial::baseline(shared, *original).await
        }
        Arrival::Fixed(fixed) => dial::baseline_by_name(shared, &fixed.upstream).await,
        Arrival::Connected { authority } => dial::baseline_by_name(shared, authority).await,
        Arrival::Loop => Err(RequestError::upstream(Side::Baseline, ErrorKind::Loop, None)),
        Arrival::Explicit => return Err(io::ErrorKind::Unsupported.into()),
    };
    dialled.map_err(|error| {
        if error.kind == ErrorKind::Loop {
            shared.counters.count(Event::RefusedLoop);
        }
        into_io(error)
    })
}

/// The kernel's error where there is one; the proxy's own keeps its kind inside.
fn into_io(error: RequestError) -> io::Error {
    match error {
        RequestError { source: Some(source), kind, .. } if ErrorKind::of_connect(&source) == kind => source,
        own => io::Error::other(own),
    }
}
