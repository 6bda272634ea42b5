//! Peers that vanish without a word, where pings are asked for.

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    floods::frame,
    limits::read_frame,
    peer::{
        accept, address, answer, backend, call, connect, counts, get, listener, metric, post, proxy_with,
        read, within,
    },
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PING: u8 = 6;
const EVENTS: &str = "bellhop_proxy_connection_events_total";
const ENDS: &str = "bellhop_proxy_http2_upstream_ends_total";
const CLIENTS: &[&str] =
    &["--client-ping-interval", "200ms", "--ping-timeout", "300ms", "--status-listen", "127.0.0.1:0"];
const UPSTREAMS: &[&str] =
    &["--upstream-ping-interval", "200ms", "--ping-timeout", "300ms", "--status-listen", "127.0.0.1:0"];

/// Reads one frame: its type, flags and payload; nothing where the connection has ended.
pub(crate) async fn next_frame(socket: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    read_frame(socket).await.map(|frame| (frame.kind, frame.flags, frame.payload))
}

/// A client that has opened stream 1 with a POST whose body goes on.
pub(crate) async fn raw_client(to: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(to).await.unwrap();
    let head = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &head].concat()).await.unwrap();
    socket
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_counted_and_its_streams_are_reset() {
    let (seen, mut reasons) = mpsc::unbounded_channel();
    let backend = backend(move |(_request, mut respond)| {
        let seen = seen.clone();
        async move {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.send(reason.ok()).unwrap();
        }
    })
    .await;
    let proxy = proxy_with(backend, CLIENTS);
    let mut socket = raw_client(address(&proxy)).await;
    let mut pings = 0;
    while let Some((kind, flags, _)) = next_frame(&mut socket).await {
        pings += usize::from(kind == PING && flags == 0);
    }
    assert_eq!(pings, 1, "one was not answered, and there is no second");
    assert_eq!(within(reasons.recv()).await.unwrap(), Some(Reason::CANCEL));
    counts(&proxy, EVENTS, &[("event", "silent")], 1.0).await;
}

#[tokio::test]
async fn a_client_that_answers_pings_is_left_alone() {
    let backend = backend(|(request, respond)| async move {
        read(&mut request.into_body()).await.unwrap();
        answer(respond, "ok");
    })
    .await;
    let proxy = proxy_with(backend, CLIENTS);
    let mut socket = raw_client(address(&proxy)).await;
    let mut pings = 0;
    while pings < 4 {
        let (kind, flags, payload) = next_frame(&mut socket).await.expect("it stays open");
        if kind == PING && flags == 0 {
            pings += 1;
            socket.write_all(&frame(PING, 1, 0, &payload)).await.unwrap();
        }
    }
    socket.write_all(&frame(0, 1, 1, b"end")).await.unwrap();
    loop {
        let (kind, _, payload) = next_frame(&mut socket).await.expect("it answers");
        if kind == 0 && payload == b"ok" {
            break;
        }
    }
    assert_eq!(metric(&proxy, EVENTS, &[("event", "silent")]).await, 0.0);
}

#[tokio::test]
async fn an_upstream_that_answers_no_ping_fails_what_is_in_flight_and_is_counted() {
    let (listener, upstream) = listener().await;
    let proxy = proxy_with(upstream, UPSTREAMS);
    let client = connect(address(&proxy)).await;
    let serving = tokio::spawn(async move {
        // The first one begins an answer, as the second one does not; both fall silent.
        let mut first = h2::server::handshake(accept(&listener).await).await.unwrap();
        let (_, mut respond) = first.accept().await.unwrap().unwrap();
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"half"), false).unwrap();
        let moment = tokio::time::timeout(std::time::Duration::from_millis(100), first.accept()).await;
        assert!(moment.is_err());
        let mut second = accept(&listener).await;
        second.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        let mut pings = 0;
        while let Some((kind, flags, _)) = after_preface(&mut second).await {
            pings += usize::from(kind == PING && flags == 0);
        }
        assert_eq!(pings, 1);
        (first, to)
    });
    let (response, _) = client.clone().send_request(get("/"), true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "half");
    let error = within(body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    let (head, _, _) = call(&client, post("/"), &[b"x"]).await.unwrap();
    assert_eq!(head.status, 502);
    counts(&proxy, ENDS, &[("side", "baseline"), ("cause", "silent")], 2.0).await;
    let _silent = within(serving).await.unwrap();
}

/// One frame of a client's connection, whose preface is passed over.
async fn after_preface(socket: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut start = [0; 3];
    let read = within(socket.peek(&mut start)).await.ok()?;
    if read == 3 && &start == b"PRI" {
        let mut preface = [0; 24];
        within(socket.read_exact(&mut preface)).await.ok()?;
    }
    next_frame(socket).await
}

/// gRPC servers end connections that ping them without need.
#[tokio::test]
async fn an_upstream_without_requests_in_flight_is_not_pinged() {
    let (listener, upstream) = listener().await;
    let proxy = proxy_with(upstream, UPSTREAMS);
    let client = connect(address(&proxy)).await;
    // The proxy dials when it knows where to.
    let asking = tokio::spawn(async move {
        let answer = call(&client, get("/"), &[]).await.unwrap();
        (answer, client)
    });
    let mut socket = accept(&listener).await;
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    loop {
        let (kind, ..) = after_preface(&mut socket).await.unwrap();
        if kind == 1 {
            break;
        }
    }
    // 204, whole.
    socket.write_all(&frame(1, 5, 1, &[0x89])).await.unwrap();
    let ((head, ..), _client) = within(asking).await.unwrap();
    assert_eq!(head.status, 204);
    let mut quiet = [0; 64];
    let later = tokio::time::timeout(std::time::Duration::from_millis(1_500), async {
        loop {
            let read = socket.read(&mut quiet).await.unwrap();
            assert_ne!(read, 0, "closed");
            assert!(!quiet[..read].windows(5).any(|bytes| bytes == [0, 8, PING, 0, 0]), "pinged");
        }
    });
    assert!(later.await.is_err());
    assert_eq!(metric(&proxy, ENDS, &[("cause", "silent")]).await, 0.0);
}
