//! A request's head and body on their way to an HTTP/1 endpoint.

use std::io;

use bytes::{BufMut as _, BytesMut};
use h2::RecvStream;
use tokio::{io::AsyncWriteExt as _, net::tcp::WriteHalf};

use super::{
    request::{self, Framing},
    switch::Switch,
};
use crate::{
    http2::pack,
    validate::{self, Fault},
};

/// Why a request did not go out whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client broke off, or contradicted the length that it had given (MATRICES B6).
    Client,
    /// The client's trailers have no form in HTTP/1.
    Malformed(Fault),
    /// The endpoint takes no more; it may have answered before.
    Endpoint,
    /// The endpoint reset the connection. That is told once, here: the one who reads would find an end behind it.
    Reset,
}

/// Behind an end a reset is a broken pipe, and the end stays one.
fn cut(error: io::Error) -> Cut {
    if error.kind() == io::ErrorKind::BrokenPipe { Cut::Endpoint } else { Cut::Reset }
}

/// Writes head and body; the client's window is opened again by what was written.
pub(crate) async fn run(
    head: BytesMut,
    framing: Framing,
    body: &mut RecvStream,
    mut to: WriteHalf<'_>,
    switch: &Switch,
) -> Result<(), Cut> {
    let mut out = head;
    to.write_all_buf(&mut out).await.map_err(cut)?;
    match framing {
        Framing::None => return Ok(()),
        Framing::Tunnel => return tunnel(out, body, to, switch).await,
        Framing::Length | Framing::Chunked => {}
    }
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Cut::Client)?;
        let length = data.len();
        if length == 0 {
            continue;
        }
        pack::put(&data, framing == Framing::Chunked, &mut out);
        drop(data);
        to.write_all_buf(&mut out).await.map_err(cut)?;
        // Fails only where more is released than was received.
        let _ = body.flow_control().release_capacity(length);
    }
    let trailers = body.trailers().await.map_err(|_| Cut::Client)?.unwrap_or_default();
    validate::http2::check_fields(&trailers).map_err(Cut::Malformed)?;
    if framing == Framing::Chunked {
        request::write_trailers(&trailers, &mut out);
        to.write_all_buf(&mut out).await.map_err(cut)?;
    }
    Ok(())
}

/// What the client sends of a tunnel goes on once the endpoint has switched: before that it would be a request.
async fn tunnel(
    mut out: BytesMut,
    body: &mut RecvStream,
    mut to: WriteHalf<'_>,
    switch: &Switch,
) -> Result<(), Cut> {
    let carrying = switch.turned().await;
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Cut::Client)?;
        let length = data.len();
        out.put_slice(&data);
        drop(data);
        to.write_all_buf(&mut out).await.map_err(cut)?;
        carrying.up(length);
        // Fails only where more is released than was received.
        let _ = body.flow_control().release_capacity(length);
    }
    body.trailers().await.map_err(|_| Cut::Client)?;
    to.shutdown().await.map_err(cut)
}
