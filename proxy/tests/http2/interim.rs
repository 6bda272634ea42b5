//! Interim answers: one that would switch protocols, which HTTP/2 cannot (MATRICES B20), and more of them than are borne.

use std::net::SocketAddr;

use h2::Reason;
use http::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, tcp::OwnedReadHalf},
    sync::{mpsc, oneshot},
};

use crate::{
    control::{keyed, route, routed},
    floods::frame,
    http1_clients::baseline,
    peer::{Call, accept, address, answer, backend, call, get, listener, within},
};

const HTTP2: &str = r#","protocol":"http2""#;

/// Says 101 on `/switch`, and tells with which reason that stream was reset.
async fn switch((request, mut respond): Call, told: mpsc::UnboundedSender<Reason>) {
    if request.uri().path() != "/switch" {
        return answer(respond, "ready");
    }
    respond.send_informational(Response::builder().status(101).body(()).unwrap()).unwrap();
    let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    let _ = told.send(reset.unwrap_or(Reason::CANCEL));
}

/// MATRICES B20.
#[tokio::test]
async fn b20_a_101_that_nobody_asked_for_is_refused_between_http2_peers() {
    let (told, mut resets) = mpsc::unbounded_channel();
    let switch = move |call| switch(call, told.clone());
    let sandbox = backend(switch.clone()).await;
    let (_proxy, client) = routed(backend(switch).await, route(&[sandbox], HTTP2)).await;
    for (key, status) in [("none", 502), ("k", 503)] {
        let (head, ..) = call(&client, keyed(get("/switch"), key), &[]).await.unwrap();
        assert_eq!(head.status, status);
        let said = head.headers["proxy-status"].to_str().unwrap();
        assert!(said.contains("reason=bad-response"), "{said}");
        assert_eq!(within(resets.recv()).await, Some(Reason::PROTOCOL_ERROR));
    }
}

/// MATRICES B20.
#[tokio::test]
async fn b20_a_101_that_nobody_asked_for_is_503_to_an_http1_client() {
    let (told, _resets) = mpsc::unbounded_channel();
    let sandbox = backend(move |call| switch(call, told.clone())).await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let head = "GET /switch HTTP/1.1\r\nHost: a\r\nConnection: close\r\nBaggage: routing-key=k\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    within(socket.read_to_string(&mut seen)).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 503 ") && seen.contains("reason=bad-response"), "{seen}");
}

/// Says as many interim answers as the path tells, then 200.
async fn many((request, mut respond): Call) {
    let count = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    for _ in 0..count {
        respond.send_informational(Response::builder().status(102).body(()).unwrap()).unwrap();
    }
    answer(respond, "done");
}

/// The same in HTTP/1.
async fn many_over_http1() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(socket.read_u8().await.unwrap()));
            }
            let count = head.split(['/', ' ']).nth(2).and_then(|count| count.parse().ok()).unwrap_or(0);
            let answers = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count);
            let answers = answers + "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
            // It may be too much for the proxy, which then resets the connection.
            let _ = socket.write_all(answers.as_bytes()).await;
        }
    });
    address
}

/// HTTP/2 holds each of them for a client, however little that reads.
#[tokio::test]
async fn a_hundred_interim_answers_are_passed_on_and_one_more_is_a_bad_response() {
    for (sandbox, more) in [(backend(many).await, HTTP2), (many_over_http1().await, r#","protocol":"http1""#)]
    {
        let (_proxy, client) = routed(backend(many).await, route(&[sandbox], more)).await;
        let (head, body, _) = call(&client, keyed(get("/100"), "k"), &[]).await.unwrap();
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"done"[..]));
        let (head, ..) = call(&client, keyed(get("/101"), "k"), &[]).await.unwrap();
        assert_eq!(head.status, 503);
        assert!(head.headers["proxy-status"].to_str().unwrap().contains("reason=bad-response"), "{head:?}");
    }
}

#[tokio::test]
async fn an_http1_client_gets_a_hundred_interim_answers_and_not_one_more() {
    let (proxy, _client) = routed(baseline().await, route(&[backend(many).await], HTTP2)).await;
    for (count, status) in [(100, "HTTP/1.1 200 "), (101, "HTTP/1.1 503 ")] {
        let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
        let head = format!(
            "GET /{count} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nBaggage: routing-key=k\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut seen = String::new();
        within(socket.read_to_string(&mut seen)).await.unwrap();
        assert_eq!(seen.matches("HTTP/1.1 102 ").count(), 100, "{seen}");
        assert!(seen.contains(status), "{seen}");
    }
}

/// What an endless row of interim answers is offered.
const OFFERED: usize = 256 * 1024 * 1024;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Reads frames until one of this type.
async fn until(kind: u8, from: &mut OwnedReadHalf) {
    let mut head = [0; 9];
    while head[3] != kind {
        from.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        from.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
}

/// Answers the first request with interim answers of 60 KiB until it is reset; says how many bytes that took.
async fn endless() -> (SocketAddr, oneshot::Receiver<usize>) {
    let (listener, address) = listener().await;
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut read, mut write) = accept(&listener).await.into_split();
        write.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        read.read_exact(&mut [0; 24]).await.unwrap();
        until(HEADERS, &mut read).await;
        let mut reset = tokio::spawn(async move { until(RST_STREAM, &mut read).await });
        // `:status: 102` and `x: v…`, as literals (RFC 7541 §6.2.2).
        let field = [b"\x00\x01x\x7f\x81\x77".to_vec(), vec![b'v'; 15 * 1024]].concat();
        let head = frame(HEADERS, 0, 1, b"\x08\x03102");
        let more = frame(CONTINUATION, 0, 1, &field);
        let last = frame(CONTINUATION, END_HEADERS, 1, &field);
        let interim = [head, more.clone(), more.clone(), more, last].concat();
        let mut sent = 0;
        while sent < OFFERED && !reset.is_finished() {
            write.write_all(&interim).await.unwrap();
            sent += interim.len();
        }
        tell.send(sent).unwrap();
        let _ = (&mut reset).await;
    });
    (address, told)
}

/// On more than one thread: whoever writes without an end must not keep another from reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_row_of_interim_answers_is_ended_though_its_http1_client_reads_nothing() {
    let (sandbox, told) = endless().await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(address(&proxy)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nBaggage: routing-key=k\r\n\r\n").await.unwrap();
    let sent = within(told).await.unwrap();
    assert!(sent < OFFERED, "all {sent} bytes were taken");
}
