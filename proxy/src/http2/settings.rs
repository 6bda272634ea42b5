//! What the engine promises its peers, on both sides (DESIGN §3.3, §5).

use std::io;

use bytes::Bytes;
use h2::{client, server};

use super::wire::Wire;
use crate::config::Limits;

/// Overhead of small DATA frames that may be buffered. The default ends honest connections with three slow gRPC
/// streams of 50-byte messages (MATRICES B12).
const DATA_FRAME_BUDGET: usize = 8 * 1024 * 1024;
/// What HTTP/2 counts for a field besides its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Streams that a client may reset before they were seen; the default of `h2`, written down because it is what ends a
/// rapid reset (MATRICES B11).
const PENDING_RESETS: usize = 20;

/// Begins the server side: reads the preface and answers with SETTINGS.
///
/// # Errors
/// The client closed, or what it sent is no preface.
pub(crate) async fn accept(
    wire: Wire,
    limits: &Limits,
) -> Result<server::Connection<Wire, Bytes>, h2::Error> {
    server::Builder::new()
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(header_list(limits))
        .max_send_buffer_size(limits.stream_window as usize)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .data_frame_budget(DATA_FRAME_BUDGET)
        // RFC 8441 §3; whether an upstream offers it too is seen when one is asked.
        .enable_connect_protocol()
        .handshake(wire)
        .await
}

/// The two halves of an upstream's connection.
pub(crate) type Connected = (client::SendRequest<Bytes>, client::Connection<Wire, Bytes>);

/// Begins the client side: writes preface and SETTINGS.
///
/// # Errors
/// The upstream closed.
pub(crate) async fn connect(wire: Wire, limits: &Limits) -> io::Result<Connected> {
    client::Builder::new()
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_header_list_size(header_list(limits))
        .max_send_buffer_size(limits.stream_window as usize)
        .enable_push(false)
        .data_frame_budget(DATA_FRAME_BUDGET)
        .handshake(wire)
        .await
        .map_err(|error| error.into_io().unwrap_or_else(|| io::ErrorKind::InvalidData.into()))
}

/// Room for the largest head that is allowed and a little more, so that one just beyond is answered in the proxy's own
/// words; above it `h2` answers 431, and far above it ends the connection.
fn header_list(limits: &Limits) -> u32 {
    let size = limits.max_header_bytes + limits.max_uri_bytes + (limits.max_headers + 20) * FIELD_OVERHEAD;
    u32::try_from(size).unwrap_or(u32::MAX)
}
