//! Of HTTP/2 clients, to sandboxes that speak HTTP/1.

use bytes::Bytes;
use h2::{Reason, ext::Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::peer::{counts, within};

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_http1_sandbox_as_an_upgrade() {
    let (listener, sandbox) = listener().await;
    let (proxy, client) = routed(baseline().await, route(&[sandbox], HTTP1)).await;
    let serving = tokio::spawn(async move {
        let (mut socket, accept) = handshake(&listener).await;
        // What the client sends early waits until the switch.
        let early = tokio::time::timeout(std::time::Duration::from_millis(100), socket.read_u8()).await;
        assert!(early.is_err(), "{early:?}");
        grant(&mut socket, &accept).await;
        let mut seen = [0; 5];
        socket.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"early");
        socket.write_all(b"first").await.unwrap();
        let (mut from, mut to) = socket.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.write_all(b"last").await.unwrap();
    });
    let (response, mut to) = client.clone().send_request(keyed(websocket(), "k"), false).unwrap();
    to.send_data(Bytes::from_static(b"early"), false).unwrap();
    let (head, mut from) = within(response).await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["sec-websocket-protocol"], "chat");
    assert!(head.headers["proxy-status"].to_str().unwrap().contains("decision=sandbox"));
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!head.headers.contains_key(gone), "{gone}");
    }
    let first = within(from.data()).await.unwrap().unwrap();
    assert_eq!(first, "first");
    echoes(&mut from, &mut to, b"echo").await;
    // An end is passed on as an end, and the other direction goes on.
    to.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read(&mut from).await.unwrap().0, "last");
    within(serving).await.unwrap();
    counts(&proxy, TUNNELS, &[("kind", "upgrade")], 1.0).await;
    counts(&proxy, BYTES, &[("way", "sent")], 9.0).await;
    counts(&proxy, BYTES, &[("way", "received")], 13.0).await;
}

#[tokio::test]
async fn an_http1_sandbox_that_takes_no_upgrade_is_passed_on_or_503_and_gets_no_byte_of_the_tunnel() {
    let (listener, sandbox) = listener().await;
    let (_proxy, client) = routed(baseline().await, route(&[sandbox], HTTP1)).await;
    let wrong = ACCEPT;
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), 503),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), 503),
        (
            format!(
                "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: {wrong}\r\n\r\n"
            ),
            503,
        ),
        (
            format!(
                "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {wrong}\r\n\r\n"
            ),
            503,
        ),
        ("HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(), 503),
    ];
    for (text, status) in cases {
        let said = text.clone();
        let answering = async {
            let (mut socket, _) = handshake(&listener).await;
            socket.write_all(said.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = within(socket.read_to_end(&mut rest)).await;
            assert!(rest.is_empty(), "{rest:?}");
        };
        let asking = async {
            let (response, mut to) = client.clone().send_request(keyed(websocket(), "k"), false).unwrap();
            to.send_data(Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"), false).unwrap();
            let response = within(response).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{text}");
            if status == 403 {
                assert_eq!(read(&mut response.into_body()).await.unwrap().0, "no");
            }
        };
        tokio::join!(answering, asking);
    }
}

#[tokio::test]
async fn a_protocol_that_http1_has_no_word_for_is_503() {
    let (_proxy, client) = routed(baseline().await, route(&[listener().await.1], HTTP1)).await;
    let mut request = keyed(websocket(), "k");
    request.extensions_mut().insert(Protocol::from_static("connect-udp"));
    let (head, _, _) = open(&client, request).await;
    assert_eq!(head.status, 503);
    assert!(head.headers["proxy-status"].to_str().unwrap().contains("unsupported"));
}

#[tokio::test]
async fn resets_of_a_tunnel_pass_as_resets_between_the_versions() {
    let (listener, sandbox) = listener().await;
    let (_proxy, client) = routed(baseline().await, route(&[sandbox], HTTP1)).await;
    for by_client in [true, false] {
        let granting = async {
            let (mut socket, accept) = handshake(&listener).await;
            grant(&mut socket, &accept).await;
            socket
        };
        let (socket, (head, mut from, mut to)) =
            tokio::join!(granting, open(&client, keyed(websocket(), "k")));
        let mut socket = socket;
        assert_eq!(head.status, 200);
        if by_client {
            to.send_reset(Reason::CANCEL);
            let end = within(socket.read_u8()).await;
            assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            socket.set_zero_linger().unwrap();
            drop(socket);
            let error = within(from.data()).await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(Reason::CANCEL));
        }
    }
}
