//! HTTP/1 clients whose sandbox speaks HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    control::{DESTINATION, route, routed},
    peer::{Call, address, backend, counts, listener, metric, read, within},
};

const HTTP2: &str = r#","protocol":"http2""#;
const KEY: &str = "Baggage: routing-key=k\r\n";

/// A baseline for HTTP/1 and, for the wait until the routes are there, HTTP/2.
pub(crate) async fn baseline() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(serve_baseline(listener));
    address
}

async fn serve_baseline(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut start = [0; 3];
            if !matches!(socket.peek(&mut start).await, Ok(1..)) {
                return;
            }
            if start.starts_with(b"PRI") {
                let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                while let Some(Ok((_, respond))) = connection.accept().await {
                    crate::peer::answer(respond, "baseline");
                }
                return;
            }
            let mut seen = Vec::new();
            while matches!(socket.read_buf(&mut seen).await, Ok(1..)) {
                if seen.ends_with(b"\r\n\r\n") {
                    seen.clear();
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbaseline").await;
                }
            }
        });
    }
}

/// Says what it got: method, path, authority, fields that must not come, and the body.
async fn mirror((request, mut respond): Call) {
    let (head, mut body) = request.into_parts();
    assert_eq!(head.headers["bellhop-decided"], DESTINATION);
    for name in ["host", "connection", "x-hop", "transfer-encoding", "upgrade", "te", "keep-alive"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
    let (body, trailers) = read(&mut body).await.unwrap();
    let sum = trailers.and_then(|t| t.get("x-sum").cloned());
    let text = format!(
        "{} {} {} [{}]",
        head.method,
        head.uri.path(),
        head.uri.authority().unwrap(),
        body.escape_ascii()
    );
    let mut response = Response::builder();
    if head.uri.path() == "/sized" {
        response = response.header("content-length", text.len());
    }
    let mut to = respond.send_response(response.body(()).unwrap(), false).unwrap();
    to.send_data(Bytes::from(text), false).unwrap();
    match sum {
        Some(sum) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", sum);
            to.send_trailers(trailers).unwrap();
        }
        None => to.send_data(Bytes::new(), true).unwrap(),
    }
}

/// Sends bytes on a new connection, and gives what comes until `end`.
async fn ask(to: SocketAddr, request: &str, end: &str) -> String {
    let mut socket = within(TcpStream::connect(to)).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) || end.is_empty() {
        match within(socket.read_buf(&mut seen)).await {
            Ok(1..) => {}
            Ok(0) if end.is_empty() => break,
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn requests_with_and_without_bodies_reach_an_http2_endpoint_and_pipelined_ones_wait_their_turn() {
    let sandbox = backend(mirror).await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let to = address(&proxy);
    let get = format!(
        "GET /sized HTTP/1.1\r\nHost: a.test\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n{KEY}\r\n"
    );
    let answer = ask(to, &get, "GET /sized a.test []").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("content-length: 20\r\n"),
        "{answer}"
    );
    assert!(answer.contains("decision=sandbox"), "{answer}");
    let chunks = format!(
        "POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n{KEY}\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n\
         GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"
    );
    let answer = ask(to, &chunks, "\r\n\r\nbaseline").await;
    assert!(answer.contains("\r\ntransfer-encoding: chunked\r\n\r\n17\r\nPOST /c a.test [hello!]\r\n0\r\nx-sum: 6\r\n\r\nHTTP/1.1"), "{answer}");
    let sized = format!(
        "POST /s HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n{KEY}\r\nabcHEAD /h HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{KEY}\r\n"
    );
    let answer = ask(to, &sized, "").await;
    assert!(answer.contains("POST /s a.test [abc]\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("connection: close\r\n\r\n"), "{answer}");
}

/// What an absolute target leaves out must be said in HTTP/2: the endpoint would refuse a path that begins with `?`.
#[tokio::test]
async fn b4_an_absolute_target_without_a_path_reaches_an_http2_endpoint_as_its_root() {
    let sandbox = backend(mirror).await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    for (target, path) in [("http://a.test?b=c", "GET / "), ("http://a.test", "GET / ")] {
        let get = format!("GET {target} HTTP/1.0\r\nHost: other\r\n{KEY}\r\n");
        let answer = ask(address(&proxy), &get, "").await;
        assert!(answer.ends_with(&format!("\r\n\r\n{path}a.test []")), "{answer}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let sandbox = backend(mirror).await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let answer = ask(address(&proxy), &format!("GET /c HTTP/1.0\r\nHost: a.test\r\n{KEY}\r\n"), "").await;
    assert!(answer.ends_with("connection: close\r\n\r\nGET /c a.test []"), "{answer}");
}

#[tokio::test]
async fn interim_answers_reach_an_http1_client() {
    let sandbox = backend(|(request, mut respond)| async move {
        respond.send_informational(Response::builder().status(100).body(()).unwrap()).unwrap();
        let (body, _) = read(&mut request.into_body()).await.unwrap();
        let response = Response::builder().header("x-body", HeaderValue::from_bytes(&body).unwrap());
        respond.send_response(response.body(()).unwrap(), true).unwrap();
    })
    .await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let head =
        format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n{KEY}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    assert!(seen.starts_with(b"HTTP/1.1 100 Continue\r\n"));
    socket.write_all(b"ok").await.unwrap();
    seen.clear();
    while !seen.ends_with(b"\r\n\r\n") {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    let text = String::from_utf8(seen).unwrap();
    assert!(text.contains("x-body: ok\r\n") && text.contains("content-length: 0\r\n"), "{text}");
}

#[tokio::test]
async fn a_request_is_not_sent_again_once_an_interim_answer_went_on_to_an_http1_client() {
    let (listener, sandbox) = listener().await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    tokio::spawn(async move {
        let mut old = h2::server::handshake(crate::peer::accept(&listener).await).await.unwrap();
        let (_, respond) = old.accept().await.unwrap().unwrap();
        crate::peer::answer(respond, "first");
        let (_, mut respond) = old.accept().await.unwrap().unwrap();
        respond.send_informational(Response::builder().status(103).body(()).unwrap()).unwrap();
        // Written while the next request is awaited, which never comes.
        let none = tokio::time::timeout(std::time::Duration::from_millis(200), old.accept()).await;
        assert!(none.is_err());
        drop((old, respond));
        let mut new = h2::server::handshake(crate::peer::accept(&listener).await).await.unwrap();
        while let Some(Ok((_, respond))) = new.accept().await {
            crate::peer::answer(respond, "again");
        }
    });
    let one = format!("GET / HTTP/1.1\r\nHost: a\r\n{KEY}\r\n");
    let last = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{KEY}\r\n");
    let answers = ask(address(&proxy), &format!("{one}{last}"), "").await;
    assert!(answers.contains("first") && answers.contains("HTTP/1.1 103 "), "{answers}");
    assert!(answers.contains("HTTP/1.1 503 ") && !answers.contains("again"), "{answers}");
}

#[tokio::test]
async fn every_byte_of_an_http1_client_is_counted_once() {
    const HTTP: &str = "bellhop_proxy_http_bytes_total";
    let carried = |way: &'static str| [("protocol", "http1"), ("way", way)];
    let sandbox = backend(mirror).await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let body = "x".repeat(100_000);
    let post = format!("POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{KEY}\r\n{body}", body.len());
    let last = format!("GET /sized HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{KEY}\r\n");
    let asked = format!("{post}{last}");
    let answers = ask(address(&proxy), &asked, "").await;
    counts(&proxy, HTTP, &carried("sent"), asked.len() as f64).await;
    counts(&proxy, HTTP, &carried("received"), answers.len() as f64).await;
    assert_eq!(metric(&proxy, HTTP, &carried("sent")).await, asked.len() as f64);
    assert_eq!(metric(&proxy, HTTP, &carried("received")).await, answers.len() as f64);
}

/// MATRICES F1, F3.
#[tokio::test]
async fn f3_a_cut_answer_aborts_the_http1_connection_and_one_that_never_began_is_503() {
    let sandbox = backend(|(request, mut respond)| async move {
        if request.uri().path() == "/refused" {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        to.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let refused = format!("GET /refused HTTP/1.1\r\nHost: a\r\n{KEY}\r\n");
    let answer = ask(address(&proxy), &refused, "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(format!("GET /cut HTTP/1.1\r\nHost: a\r\n{KEY}\r\n").as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let end = loop {
        match within(socket.read_buf(&mut seen)).await {
            Ok(1..) => {}
            end => break end,
        }
    };
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(!seen.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_stream() {
    let (seen, mut reasons) = mpsc::unbounded_channel();
    let sandbox = backend(move |(_request, mut respond)| {
        let seen = seen.clone();
        async move {
            seen.send(None).unwrap();
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.send(reason.ok()).unwrap();
        }
    })
    .await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{KEY}\r\n").as_bytes()).await.unwrap();
    assert_eq!(within(reasons.recv()).await, Some(None));
    drop(socket);
    // As a reset of the stream, or with its whole connection.
    let end = within(reasons.recv()).await.unwrap();
    assert!(matches!(end, None | Some(Reason::CANCEL)), "{end:?}");
}

/// MATRICES F5.
#[tokio::test]
async fn f5_the_baseline_never_answers_what_a_sandbox_was_sent_and_what_waits_behind_is_not_lost() {
    let sandbox = crate::peer::answers_once().await;
    let more = format!(r#"{HTTP2},"fallback":"baseline""#);
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], &more)).await;
    let one = format!("GET / HTTP/1.1\r\nHost: a\r\n{KEY}\r\n");
    let answers = ask(address(&proxy), &one.repeat(3), "").await;
    assert!(answers.contains("sandbox") && answers.contains("HTTP/1.1 503 "), "{answers}");
    assert!(!answers.contains("baseline"), "{answers}");
}

/// MATRICES B2.
#[tokio::test]
async fn b2_a_broken_chunk_in_the_midst_of_the_answer_cuts_it_and_no_400_goes_between() {
    let sandbox = backend(|(request, mut respond)| async move {
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"half"), false).unwrap();
        assert!(read(&mut request.into_body()).await.is_err());
    })
    .await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{KEY}\r\n3\r\nabc\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"half\r\n") {
        assert_ne!(within(socket.read_buf(&mut seen)).await.unwrap(), 0);
    }
    socket.write_all(b"x\r\n").await.unwrap();
    seen.clear();
    let end = loop {
        match within(socket.read_buf(&mut seen)).await {
            Ok(1..) => {}
            end => break end,
        }
    };
    assert!(seen.is_empty(), "{}", String::from_utf8_lossy(&seen));
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// MATRICES B2.
#[tokio::test]
async fn b2_a_broken_chunk_is_400_and_the_stream_is_cancelled() {
    let sandbox = backend(|(request, respond)| async move {
        assert!(read(&mut request.into_body()).await.is_err());
        drop(respond);
    })
    .await;
    let (proxy, _send) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let bad =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{KEY}\r\n3\r\nabc\r\nx\r\n");
    let answer = ask(address(&proxy), &bad, "").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
