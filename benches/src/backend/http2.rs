//! HTTP/2 on `h2`: headers in, canned answer out.

use std::rc::Rc;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{Version, body};

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, version: Rc<Version>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1024).initial_connection_window_size(1 << 20).initial_window_size(1 << 16);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let body = Bytes::from(body(version.name));
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        version.served.set(version.served.get() + 1);
        let response = http::Response::builder()
            .header("server", "bench-backend")
            .header("content-type", "text/plain")
            .header("cache-control", "no-store")
            .header("x-version", version.name)
            .header("content-length", body.len())
            .body(());
        let Ok(response) = response else { return };
        let whole = request.body().is_end_stream();
        // A stream that the peer has reset meanwhile is not the connection's end.
        if let Ok(mut send) = respond.send_response(response, false) {
            let _ = send.send_data(body.clone(), true);
        }
        if !whole {
            tokio::task::spawn_local(drain(request.into_body()));
        }
    }
}

async fn drain(mut body: h2::RecvStream) {
    while let Some(Ok(data)) = body.data().await {
        if body.flow_control().release_capacity(data.len()).is_err() {
            return;
        }
    }
}
