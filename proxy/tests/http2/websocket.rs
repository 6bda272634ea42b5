//! WebSocket over HTTP/2 (RFC 8441), and between the versions.

mod again;
mod from_http1;
mod idle;
mod to_http1;

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client::SendRequest, ext::Protocol, server};
use http::{Request, Response, response::Parts};
use sha1::{Digest as _, Sha1};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    control::{DESTINATION, keyed, route, routed, routed_with},
    http1_clients::baseline,
    peer::{
        Call, accept, address, answer, call, connect, counts, get, listener, metric, proxy_with, read, send,
        within,
    },
};

const HTTP1: &str = r#","protocol":"http1""#;
const HTTP2: &str = r#","protocol":"http2""#;
/// Key and answer of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const TUNNELS: &str = "bellhop_proxy_tunnels_total";
const BYTES: &str = "bellhop_proxy_tunnel_bytes_total";

fn websocket() -> Request<()> {
    let mut request = Request::connect("http://service.test/chat").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    headers.insert("sec-websocket-protocol", "chat".parse().unwrap());
    // Not asked for here (RFC 8441 §5), and so not passed on.
    headers.insert("sec-websocket-key", "bm90IHRoaXMgb25lIQ==".parse().unwrap());
    request
}

/// Opens a stream, as soon as the proxy's SETTINGS have allowed it.
async fn open(client: &SendRequest<Bytes>, request: Request<()>) -> (Parts, RecvStream, SendStream<Bytes>) {
    let mut client = client.clone();
    within(async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    let (response, to) = client.send_request(request, false).unwrap();
    let (head, from) = within(response).await.unwrap().into_parts();
    (head, from, to)
}

/// Sends a word and waits for it to come back.
async fn echoes(from: &mut RecvStream, to: &mut SendStream<Bytes>, word: &'static [u8]) {
    send(to, Bytes::from_static(word), false).await.unwrap();
    let mut seen = BytesMut::new();
    while seen.len() < word.len() {
        let data = within(from.data()).await.unwrap().unwrap();
        from.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
    assert_eq!(&seen[..], word);
}

/// An HTTP/2 backend; those that offer extended CONNECT say so in their SETTINGS.
async fn http2<F, T>(offers: bool, handle: F) -> SocketAddr
where
    F: Fn(Call) -> T + Clone + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut builder = server::Builder::new();
                if offers {
                    builder.enable_connect_protocol();
                }
                let Ok(mut connection) = builder.handshake(socket).await else { return };
                while let Some(Ok(call)) = connection.accept().await {
                    tokio::spawn(handle(call));
                }
            });
        }
    });
    address
}

/// Grants each WebSocket and sends back what comes, to the end.
async fn echo((request, mut respond): Call) {
    if request.extensions().get::<Protocol>().is_none() {
        return answer(respond, "plain");
    }
    assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
    assert_eq!(request.uri().path(), "/chat");
    assert_eq!(request.headers()["sec-websocket-version"], "13");
    let granted = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
    let mut to = respond.send_response(granted, false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        if send(&mut to, data, false).await.is_err() {
            return;
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}

fn accept_of(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// Reads a head of HTTP/1, and nothing behind it.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = within(socket.read_u8()).await.unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&head));
        });
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Takes a WebSocket's handshake on a new connection of an HTTP/1 endpoint; the answer is up to the test.
async fn handshake(listener: &tokio::net::TcpListener) -> (TcpStream, String) {
    let mut socket = accept(listener).await;
    let head = head(&mut socket).await;
    assert!(head.starts_with("GET /chat HTTP/1.1\r\nhost: service.test\r\n"), "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "connection"), Some("Upgrade"));
    assert_eq!(field(&head, "sec-websocket-version"), Some("13"));
    assert_eq!(head.matches("sec-websocket-key").count(), 1);
    assert!(field(&head, "content-length").is_none() && field(&head, "transfer-encoding").is_none());
    let key = field(&head, "sec-websocket-key").unwrap();
    assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
    (socket, accept_of(key))
}

async fn grant(socket: &mut TcpStream, accept: &str) {
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    socket.write_all(text.as_bytes()).await.unwrap();
}

/// A head of HTTP/1 that asks a sandbox for a WebSocket.
fn upgrade() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: service.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nBaggage: routing-key=k\r\n\r\n"
    )
}

#[tokio::test]
async fn a_websocket_passes_from_http2_to_http2_and_is_counted_as_a_tunnel() {
    let flags = ["--status-listen", "127.0.0.1:0"];
    let proxy = proxy_with(http2(true, echo).await, &flags);
    let client = connect(address(&proxy)).await;
    let (head, mut from, mut to) = open(&client, websocket()).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers["sec-websocket-protocol"]),
        (200, &"chat".parse().unwrap())
    );
    echoes(&mut from, &mut to, b"hello").await;
    // Seen while it is open.
    counts(&proxy, BYTES, &[("way", "sent")], 5.0).await;
    counts(&proxy, BYTES, &[("way", "received")], 5.0).await;
    assert_eq!(metric(&proxy, "bellhop_proxy_tunnels_open", &[("kind", "upgrade")]).await, 1.0);
    to.send_data(Bytes::new(), true).unwrap();
    assert!(read(&mut from).await.unwrap().0.is_empty());
    counts(&proxy, TUNNELS, &[("kind", "upgrade")], 1.0).await;
    // The connection goes on.
    assert_eq!(call(&client, get("/"), &[]).await.unwrap().1, "plain");
}

#[tokio::test]
async fn an_http2_upstream_that_offers_no_websockets_is_502_for_the_baseline_and_503_for_a_sandbox() {
    let refuses = |(request, respond): Call| async move {
        assert!(request.extensions().get::<Protocol>().is_none(), "not offered, and yet asked");
        answer(respond, "plain");
    };
    let routes = route(&[http2(false, refuses).await], "");
    let (_proxy, client) = routed(http2(false, refuses).await, routes).await;
    for (request, status) in [(websocket(), 502), (keyed(websocket(), "k"), 503)] {
        let (head, _, _) = open(&client, request).await;
        assert_eq!(head.status.as_u16(), status);
        let said = head.headers["proxy-status"].to_str().unwrap();
        assert!(said.contains("error=http_upgrade_failed") && said.contains("reason=unsupported"), "{said}");
    }
    // Its endpoint is as good as before.
    assert_eq!(call(&client, keyed(get("/"), "k"), &[]).await.unwrap().1, "plain");
}

/// MATRICES F11: a tunnel is served while the proxy drains, and ends at the deadline.
#[tokio::test]
async fn f11_websockets_over_http2_end_at_the_drain_deadline() {
    let (listener, sandbox) = listener().await;
    let flags = ["--drain-timeout", "1s"];
    let (proxy, client) = routed_with(http2(true, echo).await, route(&[sandbox], HTTP1), &flags).await;
    let granting = async {
        let (mut socket, accept) = handshake(&listener).await;
        grant(&mut socket, &accept).await;
        socket
    };
    let (socket, (_, mut from, mut to)) = tokio::join!(granting, open(&client, keyed(websocket(), "k")));
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(socket);
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let (_, mut from_baseline, mut to_baseline) = open(&client, websocket()).await;
    proxy.drain();
    echoes(&mut from, &mut to, b"still").await;
    echoes(&mut from_baseline, &mut to_baseline, b"here").await;
    for from in [&mut from, &mut from_baseline] {
        // The connection is gone, and with it what it carried: nothing looks like an end.
        assert!(within(from.data()).await.unwrap().is_err());
    }
    tokio::task::spawn_blocking(move || proxy.join()).await.unwrap();
}
