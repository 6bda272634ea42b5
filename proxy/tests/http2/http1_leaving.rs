//! HTTP/1 clients that leave while their sandbox, which speaks HTTP/2, takes nothing from them.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{ext::Protocol, server};
use http::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    control::{route, routed},
    http1_clients::baseline,
    peer::{Call, address, listener, within},
};

const HTTP2: &str = r#","protocol":"http2""#;
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nBaggage: routing-key=k\r\n\r\n";

/// What a sandbox saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Connection,
    Request,
    StreamGone,
    ConnectionGone,
}

/// A sandbox that lets no byte of a body come, and at most so many streams; WebSockets are granted, and all
/// requests are kept.
pub(crate) async fn takes_nothing(streams: u32) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let (listener, address) = listener().await;
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tell = tell.clone();
            let mut builder = server::Builder::new();
            builder.initial_window_size(0).max_concurrent_streams(streams).enable_connect_protocol();
            tokio::spawn(async move {
                let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
                tell.send(Seen::Connection).unwrap();
                while let Some(Ok(call)) = connection.accept().await {
                    tell.send(Seen::Request).unwrap();
                    tokio::spawn(keep(call, tell.clone()));
                }
                let _ = tell.send(Seen::ConnectionGone);
            });
        }
    });
    (address, seen)
}

async fn keep((request, mut respond): Call, tell: mpsc::UnboundedSender<Seen>) {
    // Anything else is not answered: what went to a client that is gone would tell the proxy so.
    let granted = request.extensions().get::<Protocol>().map(|_| Response::new(()));
    let _to = granted.map(|granted| respond.send_response(granted, false).unwrap());
    let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    let _ = tell.send(Seen::StreamGone);
}

#[tokio::test]
async fn a_websocket_whose_bytes_wait_for_room_is_cancelled_when_its_client_is_reset() {
    let (sandbox, mut seen) = takes_nothing(100).await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    // In one breath, so that the proxy has bytes to wait with as soon as the tunnel begins.
    socket.write_all(format!("{UPGRADE}early").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(socket.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    assert_eq!(within(seen.recv()).await, Some(Seen::Connection));
    assert_eq!(within(seen.recv()).await, Some(Seen::Request));
    socket.set_zero_linger().unwrap();
    drop(socket);
    assert!(matches!(within(seen.recv()).await, Some(Seen::StreamGone | Seen::ConnectionGone)));
}

#[tokio::test]
async fn a_request_whose_body_waits_for_room_is_cancelled_when_its_client_is_reset() {
    let (sandbox, mut seen) = takes_nothing(100).await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nBaggage: routing-key=k\r\n\r\nsome";
    socket.write_all(post.as_bytes()).await.unwrap();
    assert_eq!(within(seen.recv()).await, Some(Seen::Connection));
    assert_eq!(within(seen.recv()).await, Some(Seen::Request));
    socket.set_zero_linger().unwrap();
    drop(socket);
    assert!(matches!(within(seen.recv()).await, Some(Seen::StreamGone | Seen::ConnectionGone)));
}

#[tokio::test]
async fn a_websocket_that_waits_for_a_stream_is_given_up_when_its_client_leaves_in_whatever_way() {
    for reset in [false, true] {
        let (sandbox, mut seen) = takes_nothing(0).await;
        let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
        let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
        socket.write_all(UPGRADE.as_bytes()).await.unwrap();
        assert_eq!(within(seen.recv()).await, Some(Seen::Connection));
        if reset {
            socket.set_zero_linger().unwrap();
        }
        drop(socket);
        assert_eq!(within(seen.recv()).await, Some(Seen::ConnectionGone), "{reset}");
    }
}
