//! MATRICES B5 and B6: requests that are malformed behind a good head. Their client did not leave.

use std::net::SocketAddr;

use bellhop_proxy::app;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    control::{route, routed},
    floods::frame,
    heads::{block, open, refusal},
    http1_leaving::{Seen, takes_nothing},
    peer::{Call, accept, address, answer, backend, counts, listener, metric, read, within},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const REQUESTS: &str = "bellhop_proxy_requests_total";

/// What stands behind a head that says three bytes, and behind these.
fn cases() -> [(&'static str, Vec<u8>); 7] {
    let trailers = |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    [
        ("a name that is no token", trailers(&[("x-good", "1"), ("x\"y", "2")])),
        ("a field of the connection", trailers(&[("x-good", "1"), ("connection", "close")])),
        ("a coding", trailers(&[("transfer-encoding", "chunked")])),
        ("a pseudo-header field behind others", trailers(&[("x", "y"), (":path", "/bad")])),
        ("trailers that do not end the stream", frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))),
        ("more than the length", frame(DATA, END_STREAM, 1, b"d")),
        ("an upper-case name, for which the connection ends", trailers(&[("X-Bad", "y")])),
    ]
}

/// A baseline that says of each request that it has begun, and whether it came whole.
async fn reader() -> (SocketAddr, mpsc::UnboundedReceiver<bool>) {
    let (told, reads) = mpsc::unbounded_channel();
    let address = backend(move |(request, respond): Call| {
        let told = told.clone();
        async move {
            if request.uri().path() == "/ready" {
                return answer(respond, "ready");
            }
            let mut body = request.into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "abc");
            told.send(true).unwrap();
            told.send(read(&mut body).await.is_ok()).unwrap();
        }
    })
    .await;
    (address, reads)
}

/// Begins a request of this key.
async fn begin(to: SocketAddr, key: &str) -> TcpStream {
    let head = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "service.test"),
        (":path", "/"),
        ("content-length", "3"),
        ("baggage", &format!("routing-key={key}")),
    ]);
    open(to, &frame(HEADERS, END_HEADERS, 1, &head)).await
}

/// An HTTP/1 endpoint's connection, which has got the head and the three bytes.
async fn accept_body(listener: &TcpListener) -> TcpStream {
    let mut socket = accept(listener).await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nabc") {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    socket
}

/// Waits until so many requests are counted as bad ones.
async fn are_bad(proxy: &app::Running, requests: f64) {
    let labels = [("protocol", "http2"), ("decision", "refused"), ("reason", "bad-request")];
    counts(proxy, REQUESTS, &labels, requests).await;
}

/// MATRICES B5 and B6.
#[tokio::test]
async fn b5_b6_what_is_malformed_behind_its_head_is_reset_and_counted_as_a_bad_request() {
    let (baseline, mut reads) = reader().await;
    let (listener, http1) = listener().await;
    let (proxy, _client) = routed(baseline, route(&[http1], r#","protocol":"http1""#)).await;
    let mut bad = 0.0;
    for (what, frames) in cases() {
        for key in ["none", "k"] {
            let mut client = begin(address(&proxy), key).await;
            client.write_all(&frame(DATA, 0, 1, b"abc")).await.unwrap();
            let mut endpoint = None;
            match key {
                "none" => assert_eq!(within(reads.recv()).await, Some(true)),
                _ => endpoint = Some(accept_body(&listener).await),
            }
            client.write_all(&frames).await.unwrap();
            let refused = refusal(&mut client).await;
            let ends = what.contains("connection ends");
            assert_eq!(refused, if ends { None } else { Some(PROTOCOL_ERROR) }, "{what}, {key}");
            if let Some(mut endpoint) = endpoint {
                let mut more = Vec::new();
                let end = within(endpoint.read_to_end(&mut more)).await;
                assert!(more.is_empty(), "{what}: {}", more.escape_ascii());
                assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{what}");
            } else {
                assert_eq!(within(reads.recv()).await, Some(false), "{what}");
            }
            bad += 1.0;
            are_bad(&proxy, bad).await;
        }
    }
    assert_eq!(metric(&proxy, REQUESTS, &[("reason", "closed")]).await, 0.0);
}

/// What `h2` finds wrong is not read where the request's body waits for room: its stream's end is seen first.
#[tokio::test]
async fn b5_trailers_are_found_malformed_and_counted_so_while_the_endpoint_takes_nothing() {
    let (sandbox, mut seen) = takes_nothing(100).await;
    let (proxy, _client) = routed(reader().await.0, route(&[sandbox], r#","protocol":"http2""#)).await;
    let mut client = begin(address(&proxy), "k").await;
    while within(seen.recv()).await != Some(Seen::Request) {}
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("connection", "close")]));
    client.write_all(&[frame(DATA, 0, 1, b"abc"), trailers].concat()).await.unwrap();
    assert_eq!(refusal(&mut client).await, Some(PROTOCOL_ERROR));
    are_bad(&proxy, 1.0).await;
}
