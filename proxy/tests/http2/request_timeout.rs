//! `--request-timeout`: the time from a request's head until the head of its answer, and no longer. What is over it ends
//! by itself: the other streams of its connections go on.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::Reason;
use http::{Response, response::Parts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    control::{keyed, route, routed_with},
    http1_clients::baseline,
    peer::{
        accept, address, answer, backend, call, connect, counts, get, listener, metric, post, proxy_with,
        read, within,
    },
};

/// Long enough for the answers that have to be in time, on a busy machine as well.
const FLAGS: &[&str] = &["--request-timeout", "500ms"];
const LONGER: Duration = Duration::from_millis(1200);
const REQUESTS: &str = "bellhop_proxy_requests_total";

/// Never answers `/hang`, and says with which reason its stream was reset; takes its time with the body of `/slow`.
async fn hanging(name: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<Reason>) {
    let (reset, resets) = mpsc::unbounded_channel();
    let address = backend(move |(request, mut respond)| {
        let reset = reset.clone();
        async move {
            match request.uri().path() {
                "/hang" => {
                    let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    let _ = reset.send(reason.unwrap());
                }
                "/slow" => {
                    let mut to = respond.send_response(Response::new(()), false).unwrap();
                    tokio::time::sleep(LONGER).await;
                    to.send_data(Bytes::from_static(b"slow"), true).unwrap();
                }
                _ => answer(respond, name),
            }
        }
    })
    .await;
    (address, resets)
}

fn is_timed_out(head: &Parts, decision: &str) {
    assert_eq!(head.status, 504);
    let said = head.headers["proxy-status"].to_str().unwrap();
    let wanted = format!("error=http_response_timeout; decision={decision}; reason=request-timeout");
    assert!(said.contains(&wanted), "{said}");
}

#[tokio::test]
async fn a_stream_without_an_answer_is_504_and_the_others_of_its_connections_go_on() {
    let (backend, mut resets) = hanging("quick").await;
    let proxy = proxy_with(backend, &[FLAGS, &["--status-listen", "127.0.0.1:0"]].concat());
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/quick"), &[]).await.unwrap().1, "quick");
    let (hung, slow) = tokio::join!(call(&send, get("/hang"), &[]), call(&send, get("/slow"), &[]));
    is_timed_out(&hung.unwrap().0, "baseline");
    assert_eq!(slow.unwrap().1, "slow");
    assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    assert_eq!(call(&send, get("/quick"), &[]).await.unwrap().1, "quick");
    let labels = [("reason", "request-timeout"), ("status_class", "5xx")];
    counts(&proxy, REQUESTS, &labels, 1.0).await;
    let dials = metric(&proxy, "bellhop_proxy_upstream_dials_total", &[("outcome", "connected")]).await;
    assert_eq!(dials, 1.0, "the upstream's connection stays");
    assert!(resets.try_recv().is_err(), "sent again");
}

#[tokio::test]
async fn a_stream_whose_body_is_not_whole_by_then_is_504_as_well() {
    let (backend, mut resets) = hanging("quick").await;
    let proxy = proxy_with(backend, FLAGS);
    let mut send = connect(address(&proxy)).await;
    let (response, mut body) = send.send_request(post("/hang"), false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    is_timed_out(&within(response).await.unwrap().into_parts().0, "baseline");
    assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    assert_eq!(call(&send, get("/quick"), &[]).await.unwrap().1, "quick");
}

#[tokio::test]
async fn for_grpc_it_is_a_status_of_unavailable_in_a_head_alone() {
    let (backend, _resets) = hanging("quick").await;
    let proxy = proxy_with(backend, FLAGS);
    let send = connect(address(&proxy)).await;
    let mut request = post("/hang");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let (head, body, trailers) = call(&send, request, &[b"\0\0\0\0\0"]).await.unwrap();
    assert_eq!((head.status.as_u16(), &head.headers["grpc-status"]), (200, &"14".parse().unwrap()));
    assert_eq!(head.headers["grpc-message"], "request-timeout");
    assert!(body.is_empty() && trailers.is_none());
}

#[tokio::test]
async fn an_http2_sandbox_without_an_answer_is_504_and_the_baseline_is_not_asked_in_its_place() {
    let (sandbox, mut resets) = hanging("sandbox").await;
    let routes = route(&[sandbox], r#","fallback":"baseline""#);
    let (_proxy, send) = routed_with(baseline().await, routes, FLAGS).await;
    is_timed_out(&call(&send, keyed(get("/hang"), "k"), &[]).await.unwrap().0, "sandbox");
    assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    assert_eq!(call(&send, keyed(get("/"), "k"), &[]).await.unwrap().1, "sandbox");
}

#[tokio::test]
async fn an_http1_sandbox_without_an_answer_is_504_and_its_connection_is_reset() {
    let (listener, sandbox) = listener().await;
    let serving = tokio::spawn(async move {
        let mut hung = accept(&listener).await;
        let seen = head(&mut hung).await;
        let end = hung.read_u8().await.unwrap_err();
        // Another one for the next request, whose body takes its time.
        let mut slow = accept(&listener).await;
        head(&mut slow).await;
        slow.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl").await.unwrap();
        tokio::time::sleep(LONGER).await;
        slow.write_all(b"ow").await.unwrap();
        (seen, end.kind(), slow)
    });
    let routes = route(&[sandbox], r#","protocol":"http1","fallback":"baseline""#);
    let (_proxy, send) = routed_with(baseline().await, routes, FLAGS).await;
    is_timed_out(&call(&send, keyed(get("/hang"), "k"), &[]).await.unwrap().0, "sandbox");
    assert_eq!(call(&send, keyed(get("/slow"), "k"), &[]).await.unwrap().1, "slow");
    let (seen, end, _slow) = within(serving).await.unwrap();
    assert!(seen.starts_with("GET /hang "), "{seen}");
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_http1_client_of_an_http2_sandbox_without_an_answer_gets_504_and_the_stream_is_reset() {
    let (sandbox, mut resets) = hanging("sandbox").await;
    let routes = route(&[sandbox], r#","protocol":"http2","fallback":"baseline""#);
    let (proxy, _send) = routed_with(baseline().await, routes, FLAGS).await;
    let asked = "HTTP/1.1\r\nHost: a\r\nBaggage: routing-key=k\r\n";
    for request in
        [format!("GET /hang {asked}\r\n"), format!("POST /hang {asked}Content-Length: 10\r\n\r\nhalf")]
    {
        let mut client = within(TcpStream::connect(address(&proxy))).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert!(answer.contains("decision=sandbox; reason=request-timeout"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(within(resets.recv()).await, Some(Reason::CANCEL));
    }
    let mut client = within(TcpStream::connect(address(&proxy))).await.unwrap();
    client.write_all(format!("GET /slow {asked}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("slow"), "{answer}");
}

#[tokio::test]
async fn a_tunnel_that_was_granted_may_be_silent() {
    let backend = backend(|(request, mut respond)| async move {
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        let (said, _) = read(&mut body).await.unwrap();
        to.send_data(said, true).unwrap();
    })
    .await;
    let proxy = proxy_with(backend, FLAGS);
    let mut send = connect(address(&proxy)).await;
    let request = http::Request::connect("service.test:80").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    let mut answered = within(response).await.unwrap();
    assert_eq!(answered.status(), 200);
    tokio::time::sleep(LONGER).await;
    body.send_data(Bytes::from_static(b"ping"), true).unwrap();
    assert_eq!(read(answered.body_mut()).await.unwrap().0, "ping");
}

/// Reads up to and with the empty line.
async fn head(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(within(socket.read_u8()).await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}
