//! MATRICES B20: an interim answer of HTTP/2 that would switch protocols, which HTTP/2 cannot.

use h2::Reason;
use http::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    control::{keyed, route, routed},
    http1_clients::baseline,
    peer::{Call, address, answer, backend, call, get, within},
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
