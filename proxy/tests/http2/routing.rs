//! Requests with a key: to sandboxes that speak either version, and what their callers learn where there is none.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    control::{DESTINATION, keyed, route, routed},
    peer::{accept, answer, backend, call, get, listener, post, read, within},
};

const HTTP1: &str = r#","protocol":"http1""#;

async fn named(name: &'static str) -> SocketAddr {
    backend(move |(request, respond)| async move {
        read(&mut request.into_body()).await.unwrap();
        answer(respond, name);
    })
    .await
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    listener().await.1
}

fn grpc(request: Request<()>) -> Request<()> {
    let mut request = request;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc+proto"));
    request
}

fn said(head: &http::response::Parts) -> &str {
    head.headers["proxy-status"].to_str().unwrap()
}

#[tokio::test]
async fn a_key_decides_for_each_stream_of_one_connection() {
    let sandbox = backend(|(request, respond)| async move {
        assert_eq!(request.headers()["bellhop-decided"], DESTINATION);
        assert_eq!(request.headers()["baggage"], "a=b,routing-key=k");
        answer(respond, "sandbox");
    })
    .await;
    let (_proxy, send) = routed(named("baseline").await, route(&[sandbox], "")).await;
    for _ in 0..3 {
        let (head, body, _) = call(&send, keyed(get("/"), "k"), &[]).await.unwrap();
        assert_eq!(body, "sandbox");
        assert!(said(&head).contains("decision=sandbox"), "{}", said(&head));
        let (head, body, _) = call(&send, get("/"), &[]).await.unwrap();
        assert_eq!(body, "baseline");
        assert!(!head.headers.contains_key("proxy-status"));
    }
}

/// MATRICES F1.
#[tokio::test]
async fn f1_a_sandbox_that_refuses_is_503_and_for_grpc_a_status_of_unavailable() {
    let (_proxy, send) = routed(named("baseline").await, route(&[nobody().await], "")).await;
    let (head, _, _) = call(&send, keyed(get("/"), "k"), &[]).await.unwrap();
    assert_eq!(head.status, 503);
    assert!(said(&head).contains("connect-refused"), "{}", said(&head));
    let (head, body, _) = call(&send, grpc(keyed(post("/s/m"), "k")), &[b"\0\0\0\0\0"]).await.unwrap();
    assert_eq!((head.status.as_u16(), &head.headers["grpc-status"]), (200, &HeaderValue::from_static("14")));
    assert!(head.headers["grpc-message"].to_str().unwrap().contains("connect-refused"));
    assert!(said(&head).contains("connect-refused") && body.is_empty());
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "baseline");
}

/// MATRICES F1.
#[tokio::test]
async fn f1_with_fallback_the_baseline_answers_with_the_whole_body() {
    let baseline = backend(|(request, respond)| async move {
        let (body, _) = read(&mut request.into_body()).await.unwrap();
        answer(respond, if body == "abc" { "baseline" } else { "wrong" });
    })
    .await;
    let routes = route(&[nobody().await], r#","fallback":"baseline""#);
    let (_proxy, send) = routed(baseline, routes).await;
    let (head, body, _) = call(&send, keyed(post("/"), "k"), &[b"a", b"bc"]).await.unwrap();
    assert_eq!(body, "baseline");
    assert!(said(&head).contains("fallback"), "{}", said(&head));
}

/// MATRICES F5.
#[tokio::test]
async fn f5_the_baseline_never_answers_what_an_http2_sandbox_was_sent() {
    let sandbox = crate::peer::answers_once().await;
    let routes = route(&[sandbox], r#","fallback":"baseline""#);
    let (_proxy, send) = routed(named("baseline").await, routes).await;
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().1, "sandbox");
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().0.status, 503);
}

/// MATRICES F5.
#[tokio::test]
async fn f5_the_baseline_never_answers_what_an_http1_sandbox_was_sent() {
    let (listener, sandbox) = listener().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        drop(listener);
        let mut bytes = BytesMut::new();
        head(&mut socket, &mut bytes).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsandbox").await.unwrap();
        head(&mut socket, &mut bytes).await.unwrap();
    });
    let routes = route(&[sandbox], r#","protocol":"http1","fallback":"baseline""#);
    let (_proxy, send) = routed(named("baseline").await, routes).await;
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().1, "sandbox");
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().0.status, 503);
}

/// MATRICES F4.
#[tokio::test]
async fn f4_without_a_baseline_keyed_requests_reach_their_sandbox_and_others_get_502() {
    // Alive until the routes are there.
    let (listener, baseline) = listener().await;
    let serving = tokio::spawn(async move {
        loop {
            let socket = accept(&listener).await;
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    answer(respond, "baseline");
                }
            });
        }
    });
    let (proxy, send) = routed(baseline, route(&[named("sandbox").await], "")).await;
    drop(send);
    serving.abort();
    let _ = serving.await;
    let send = crate::peer::connect(crate::peer::address(&proxy)).await;
    let (head, _, _) = call(&send, get("/"), &[]).await.unwrap();
    assert_eq!(head.status, 502);
    assert!(said(&head).contains("connect-refused"), "{}", said(&head));
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().1, "sandbox");
}

/// An HTTP/1 endpoint that gives each request to `serve` as bytes: a head, and a body as long as `length` bytes.
async fn http1(
    reply: impl Fn(&str) -> (&'static str, Vec<&'static str>) + Clone + Send + 'static,
) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let mut socket = accept(&listener).await;
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut bytes = BytesMut::new();
                while let Some(head) = head(&mut socket, &mut bytes).await {
                    let (until, parts) = reply(&head);
                    if !until.is_empty() {
                        body(&mut socket, &mut bytes, until.as_bytes()).await;
                    }
                    for part in parts {
                        socket.write_all(part.as_bytes()).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
    });
    address
}

async fn head(socket: &mut TcpStream, bytes: &mut BytesMut) -> Option<String> {
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            return Some(String::from_utf8(bytes.split_to(at + 4).to_vec()).unwrap());
        }
        if socket.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

async fn body(socket: &mut TcpStream, bytes: &mut BytesMut, until: &[u8]) {
    loop {
        if let Some(at) = bytes.windows(until.len()).position(|end| end == until) {
            drop(bytes.split_to(at + until.len()));
            return;
        }
        assert_ne!(socket.read_buf(bytes).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_http1_endpoint_answers_an_http2_client_with_lengths_chunks_trailers_and_interim_answers() {
    let endpoint = http1(|head| {
        assert!(head.contains("\r\nhost: service.test\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n") && !head.contains("connection") && !head.contains("\r\nte:"), "{head}");
        match head.split(' ').nth(1).unwrap() {
            "/length" => ("", vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhel", "lo"]),
            "/chunks" => (
                "6\r\n world\r\n0\r\n\r\n",
                vec!["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "lo\r\n0\r\nX-Sum: 1\r\n\r\n"],
            ),
            "/sized" => ("hello world", vec!["HTTP/1.1 204 No Content\r\n\r\n"]),
            other => panic!("{other}"),
        }
    })
    .await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    let mut request = keyed(get("/length"), "k");
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let (head, body, _) = call(&send, request, &[]).await.unwrap();
    assert_eq!((head.headers["content-length"].to_str().unwrap(), &body[..]), ("5", &b"hello"[..]));
    assert!(!head.headers.contains_key("connection"));
    assert!(said(&head).contains("decision=sandbox"));
    let (_, body, trailers) = call(&send, keyed(post("/chunks"), "k"), &[b"hello", b" world"]).await.unwrap();
    assert_eq!((&body[..], &trailers.unwrap()["x-sum"]), (&b"hello"[..], &HeaderValue::from_static("1")));
    let mut request = keyed(post("/sized"), "k");
    request.headers_mut().insert("content-length", 11.into());
    let (head, body, _) = call(&send, request, &[b"hello world"]).await.unwrap();
    assert!(head.status == 204 && body.is_empty());
}

#[tokio::test]
async fn trailers_of_a_request_reach_an_http1_endpoint() {
    let endpoint =
        http1(|_| ("0\r\nx-sum: 7\r\n\r\n", vec!["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])).await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    let (response, mut body) = send.clone().send_request(keyed(post("/"), "k"), false).unwrap();
    body.send_data(Bytes::from_static(b"data"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers.insert("content-length", HeaderValue::from_static("3"));
    body.send_trailers(trailers).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn streams_in_flight_to_an_http1_endpoint_have_connections_of_their_own() {
    let endpoint = http1(|head| {
        let answer = if head.starts_with("GET /a ") { "a" } else { "b" };
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{answer}");
        ("", vec![Box::leak(text.into_boxed_str())])
    })
    .await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    let calls = (0..40).map(|n| {
        let send = send.clone();
        async move {
            let path = if n % 2 == 0 { "/a" } else { "/b" };
            assert_eq!(call(&send, keyed(get(path), "k"), &[]).await.unwrap().1, path[1..]);
        }
    });
    futures_util::future::join_all(calls).await;
}

/// MATRICES B20, F3.
#[tokio::test]
async fn b20_http1_answers_with_two_readings_are_502_and_cut_ones_are_reset() {
    let endpoint = http1(|head| {
        let answer = match head.split(' ').nth(1).unwrap() {
            "/both" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "/switch" => "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "/bad-chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
            "/past-end" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
        };
        ("", vec![answer])
    })
    .await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    for path in ["/both", "/switch"] {
        let (head, _, _) = call(&send, keyed(get(path), "k"), &[]).await.unwrap();
        assert_eq!(head.status, 503, "{path}");
        assert!(said(&head).contains("bad-response"), "{}", said(&head));
    }
    let error = call(&send, keyed(get("/bad-chunk"), "k"), &[]).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(call(&send, keyed(get("/past-end"), "k"), &[]).await.unwrap().1, "ok");
    assert_eq!(call(&send, keyed(get("/after"), "k"), &[]).await.unwrap().1, "good");
}

/// MATRICES F3.
#[tokio::test]
async fn f3_an_http1_endpoint_that_resets_while_it_is_still_written_to_never_gave_a_whole_answer() {
    let (listener, endpoint) = listener().await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    let (response, mut request_body) = send.clone().send_request(keyed(post("/"), "k"), false).unwrap();
    let mut socket = accept(&listener).await;
    head(&mut socket, &mut BytesMut::new()).await.unwrap();
    // It lasts until the connection ends, and nothing of the request's body is read.
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").await.unwrap();
    let mut answer = within(response).await.unwrap().into_body();
    assert_eq!(within(answer.data()).await.unwrap().unwrap(), "half");
    // More than anybody takes in this time, so that the proxy waits to write.
    let body = crate::peer::send(&mut request_body, vec![0; 256 << 20].into(), true);
    let stalled = tokio::time::timeout(std::time::Duration::from_secs(1), body).await;
    assert!(stalled.is_err());
    socket.set_zero_linger().unwrap();
    drop(socket);
    assert!(read(&mut answer).await.is_err());
}

/// MATRICES B6.
#[tokio::test]
async fn b6_a_body_other_than_its_length_is_reset_and_never_whole_for_an_http1_endpoint() {
    let (listener, endpoint) = listener().await;
    let (_proxy, send) = routed(named("baseline").await, route(&[endpoint], HTTP1)).await;
    let mut request = keyed(post("/"), "k");
    request.headers_mut().insert("content-length", 10.into());
    let (response, mut body) = send.clone().send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"short"), true).unwrap();
    let mut socket = accept(&listener).await;
    let mut seen = BytesMut::new();
    while matches!(within(socket.read_buf(&mut seen)).await, Ok(1..)) {}
    assert!(!seen.windows(5).any(|part| part == b"short") || seen.ends_with(b"short"), "{seen:?}");
    assert_eq!(within(response).await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
}

/// MATRICES F25: the server's SETTINGS come before the client's preface.
#[tokio::test]
async fn f25_a_server_that_sends_its_settings_on_accept_is_served_as_http2() {
    let (listener, baseline) = listener().await;
    tokio::spawn(async move {
        loop {
            let socket = accept(&listener).await;
            tokio::spawn(async move {
                // `h2` writes SETTINGS before it reads the preface.
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    answer(respond, "baseline");
                }
            });
        }
    });
    let (proxy, _send) = routed(baseline, route(&[named("sandbox").await], "")).await;
    let socket = TcpStream::connect(crate::peer::address(&proxy)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (send, connection) = within(h2::client::handshake(socket)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().1, "sandbox");
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "baseline");
}
