//! MATRICES B5 and B6: heads and lengths that only a peer of its own making sends, byte for byte.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    control::{keyed, route, routed},
    floods::frame,
    keep_alive::next_frame,
    peer::{accept, address, answer, backend, call, connect, get, listener, post, proxy, read, within},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
/// Ends the head, and the stream with it.
const WHOLE: u8 = 5;

/// A block of literal fields (RFC 7541 §6.2.2), as they stand.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A request for `/bad`, then `more`.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "service.test"), (":path", "/bad")];
    block(&[&base[..], more].concat())
}

pub(crate) async fn open(to: std::net::SocketAddr, frames: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[]), frames].concat()).await.unwrap();
    socket
}

/// What the proxy says to stream 1: its reset's reason, or nothing where the whole connection ended.
pub(crate) async fn refusal(socket: &mut TcpStream) -> Option<u32> {
    loop {
        match next_frame(socket).await {
            Some((RST_STREAM, _, payload)) => {
                return Some(u32::from_be_bytes(payload[..].try_into().unwrap()));
            }
            Some((GOAWAY, _, payload)) => {
                let reason = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                assert_ne!(reason, 0, "an end without a fault");
                return None;
            }
            Some((HEADERS, ..)) => panic!("answered"),
            Some(_) => {}
            None => return None,
        }
    }
}

/// MATRICES B5.
#[tokio::test]
async fn b5_heads_that_break_a_rule_reset_the_stream_or_end_the_connection_and_reach_nobody() {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let seen = arrived.clone();
    let backend = backend(move |(request, respond)| {
        seen.lock().unwrap().push(request.uri().path().to_owned());
        async move {
            if read(&mut request.into_body()).await.is_ok() {
                answer(respond, "ok");
            }
        }
    })
    .await;
    let proxy = proxy(backend);
    let method = (":method", "GET");
    let (scheme, authority, path) = ((":scheme", "http"), (":authority", "service.test"), (":path", "/bad"));
    let cases = [
        ("another authority in host", with(&[("host", "other.test")])),
        ("two hosts", with(&[("host", "service.test"), ("host", "service.test")])),
        ("user information", block(&[method, scheme, (":authority", "user@service.test"), path])),
        ("no authority at all", block(&[method, scheme, path])),
        ("two methods", block(&[method, method, scheme, authority, path])),
        ("two schemes", block(&[method, scheme, scheme, authority, path])),
        ("two authorities", block(&[method, scheme, authority, authority, path])),
        ("two paths", block(&[method, scheme, authority, path, path])),
        ("an unknown pseudo-header field", block(&[method, scheme, authority, path, (":bad", "x")])),
        ("a response's pseudo-header field", block(&[method, scheme, authority, path, (":status", "200")])),
        ("a pseudo-header field behind others", block(&[method, scheme, authority, ("x", "y"), path])),
        ("a protocol without CONNECT", block(&[method, scheme, authority, path, (":protocol", "websocket")])),
        ("CONNECT with a path", block(&[(":method", "CONNECT"), authority, path])),
        ("no method", block(&[scheme, authority, path])),
        ("no scheme", block(&[method, authority, path])),
        ("no path", block(&[method, scheme, authority])),
        ("an empty path", block(&[method, scheme, authority, (":path", "")])),
        ("a path that is none", block(&[method, scheme, authority, (":path", "bad")])),
        ("a path with a space", block(&[method, scheme, authority, (":path", "/bad bad")])),
        ("an upper-case name", with(&[("X-Bad", "y")])),
        ("a name with a space", with(&[("x bad", "y")])),
        ("an empty name", with(&[("", "y")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te other than trailers", with(&[("te", "gzip")])),
        ("CR and LF in a value", with(&[("x", "a\r\nbad: y")])),
        ("LF in a value", with(&[("x", "a\nb")])),
        ("NUL in a value", with(&[("x", "a\0b")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "3")])),
        ("a length that is no number", with(&[("content-length", "+1")])),
    ];
    for (what, block) in cases {
        let mut socket = open(address(&proxy), &frame(HEADERS, WHOLE, 1, &block)).await;
        // PROTOCOL_ERROR, or the connection with it.
        let refused = refusal(&mut socket).await;
        assert!(matches!(refused, None | Some(1)), "{what}: {refused:?}");
    }
    // Behind a good head, which went on before them.
    let head = block(&[method, scheme, authority, (":path", "/head")]);
    let trailers = block(&[("x", "y"), (":path", "/bad")]);
    let frames = [frame(HEADERS, 4, 1, &head), frame(HEADERS, WHOLE, 1, &trailers)].concat();
    let mut socket = open(address(&proxy), &frames).await;
    assert!(matches!(refusal(&mut socket).await, None | Some(1)), "a pseudo-header field in trailers");
    let client = connect(address(&proxy)).await;
    assert_eq!(call(&client, get("/good"), &[]).await.unwrap().1, "ok");
    let arrived = arrived.lock().unwrap();
    assert!(arrived.iter().all(|path| path == "/head" || path == "/good"), "{arrived:?}");
}

/// MATRICES B6.
#[tokio::test]
async fn b6_a_body_longer_or_shorter_than_its_length_is_reset_and_never_whole_upstream() {
    let whole = Arc::new(AtomicUsize::new(0));
    let counted = whole.clone();
    let backend = backend(move |(request, respond)| {
        let counted = counted.clone();
        async move {
            if read(&mut request.into_body()).await.is_ok() {
                counted.fetch_add(1, SeqCst);
                answer(respond, "whole");
            }
        }
    })
    .await;
    let (listener, http1) = listener().await;
    let (proxy, client) = routed(backend, route(&[http1], r#","protocol":"http1""#)).await;
    assert_eq!(call(&client, post("/"), &[b"abc"]).await.unwrap().1, "whole");
    let before = whole.load(SeqCst);
    for key in ["", "routing-key=k"] {
        for body in ["ab", "abcd", ""] {
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "service.test"),
                (":path", "/"),
                ("content-length", "3"),
                ("baggage", key),
            ];
            let frames = match body {
                "" => frame(HEADERS, WHOLE, 1, &block(&fields)),
                body => [frame(HEADERS, 4, 1, &block(&fields)), frame(0, 1, 1, body.as_bytes())].concat(),
            };
            let mut socket = open(address(&proxy), &frames).await;
            assert_eq!(refusal(&mut socket).await, Some(1), "{key} {body:?}");
        }
    }
    assert_eq!(whole.load(SeqCst), before);
    // Of the HTTP/1 endpoint's connections none holds more than the length says, nor all of it and an end.
    while let Ok(Ok((mut socket, _))) =
        tokio::time::timeout(std::time::Duration::from_millis(500), listener.accept()).await
    {
        let mut seen = Vec::new();
        let end = within(socket.read_to_end(&mut seen)).await;
        let body = seen.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| seen.len() - at - 4);
        assert!(body < 3 || (body == 3 && end.is_err()), "{}", String::from_utf8_lossy(&seen));
    }
}

/// MATRICES B6.
#[tokio::test]
async fn b6_cookie_crumbs_are_one_field_for_an_http1_endpoint_and_stay_crumbs_for_an_http2_one() {
    let baseline = backend(|(request, respond)| async move {
        let crumbs: Vec<_> = request.headers().get_all("cookie").iter().collect();
        answer(respond, if crumbs == ["a=1", "b=2; c=3", "d=4"] { "crumbs" } else { "no crumbs" });
    })
    .await;
    let (listener, http1) = listener().await;
    let (_proxy, client) = routed(baseline, route(&[http1], r#","protocol":"http1""#)).await;
    let crumbs = |mut request: http::Request<()>| {
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        request
    };
    assert_eq!(call(&client, crumbs(get("/")), &[]).await.unwrap().1, "crumbs");
    let serving = async {
        let mut socket = accept(&listener).await;
        let mut seen = BytesMut::new();
        while !seen.ends_with(b"\r\n\r\n") {
            assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        String::from_utf8(seen.to_vec()).unwrap()
    };
    let (seen, answered) = tokio::join!(serving, call(&client, keyed(crumbs(get("/")), "k"), &[]));
    assert_eq!(answered.unwrap().1, "ok");
    assert!(seen.contains("\r\ncookie: a=1; b=2; c=3; d=4\r\n"), "{seen}");
    assert_eq!(seen.to_ascii_lowercase().matches("cookie").count(), 1);
}
