//! HTTP/2 on `h2`: headers in, canned answer out; gRPC messages are echoed one by one.

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream, server::SendResponse};
use tokio::net::TcpStream;

use super::{GRPC, Version, body};

/// Flags and length stand before each gRPC message.
const PREFIX_BYTES: usize = 5;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, version: Rc<Version>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1024).initial_connection_window_size(1 << 20).initial_window_size(1 << 16);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let body = Bytes::from(body(version.name));
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path().starts_with(GRPC) {
            tokio::task::spawn_local(echo(request.into_body(), respond, Rc::clone(&version)));
            continue;
        }
        version.count();
        let response = response(&version, "text/plain").header("content-length", body.len()).body(());
        let Ok(response) = response else { return };
        let whole = request.body().is_end_stream();
        if whole {
            small(respond, response, &body);
        } else {
            tokio::task::spawn_local(drain(request.into_body(), respond, response, body.clone()));
        }
    }
}

fn response(version: &Version, content_type: &str) -> http::response::Builder {
    http::Response::builder()
        .header("server", "bench-backend")
        .header("content-type", content_type)
        .header("cache-control", "no-store")
        .header("x-version", version.name)
}

/// A stream that the peer has reset meanwhile is not the connection's end.
fn small(mut respond: SendResponse<Bytes>, response: http::Response<()>, body: &Bytes) {
    if let Ok(mut send) = respond.send_response(response, false) {
        let _ = send.send_data(body.clone(), true);
    }
}

async fn drain(
    mut request: RecvStream,
    respond: SendResponse<Bytes>,
    response: http::Response<()>,
    body: Bytes,
) {
    while let Some(Ok(data)) = request.data().await {
        if request.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
    }
    small(respond, response, &body);
}

async fn echo(mut request: RecvStream, mut respond: SendResponse<Bytes>, version: Rc<Version>) {
    let Ok(response) = response(&version, "application/grpc").body(()) else { return };
    let Ok(mut send) = respond.send_response(response, false) else { return };
    let mut input = BytesMut::new();
    while let Some(data) = request.data().await {
        // A reset is the end of that stream alone.
        let Ok(data) = data else { return };
        if request.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
        input.extend_from_slice(&data);
        while let Some(message) = message(&mut input) {
            version.count();
            if !send_whole(&mut send, message).await {
                return;
            }
        }
    }
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let _ = send.send_trailers(trailers);
}

/// Waits for the window: a slow reader is not to fill this process's memory.
async fn send_whole(send: &mut SendStream<Bytes>, mut data: Bytes) -> bool {
    while data.has_remaining() {
        send.reserve_capacity(data.len());
        let granted = match send.capacity() {
            0 => std::future::poll_fn(|context| send.poll_capacity(context)).await,
            granted => Some(Ok(granted)),
        };
        let Some(Ok(granted)) = granted else { return false };
        let piece = data.split_to(granted.min(data.len()));
        if send.send_data(piece, false).is_err() {
            return false;
        }
    }
    true
}

/// The next whole message with its prefix, if it is there.
fn message(input: &mut BytesMut) -> Option<Bytes> {
    let length = input.get(1..PREFIX_BYTES)?.try_into().ok().map(u32::from_be_bytes)?;
    let whole = PREFIX_BYTES + usize::try_from(length).ok()?;
    (input.len() >= whole).then(|| input.split_to(whole).freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_and_one_by_one() {
        let mut input = BytesMut::from(&b"\0\0\0\0\x02ab\0\0\0\0\x01c\0\0"[..]);
        assert_eq!(message(&mut input).unwrap(), &b"\0\0\0\0\x02ab"[..]);
        assert_eq!(message(&mut input).unwrap(), &b"\0\0\0\0\x01c"[..]);
        assert_eq!(message(&mut input), None);
        assert_eq!(input.len(), 2);
    }
}
