//! Of HTTP/1 clients, to sandboxes that speak HTTP/2.

use super::*;

#[tokio::test]
async fn an_http1_websocket_reaches_an_http2_sandbox_as_an_extended_connect() {
    let sandbox = http2(true, |call: Call| async move {
        assert_eq!(call.0.headers()["bellhop-decided"], DESTINATION);
        for gone in ["sec-websocket-key", "connection", "upgrade", "host"] {
            assert!(!call.0.headers().contains_key(gone), "{gone}");
        }
        assert_eq!(call.0.uri().authority().unwrap().as_str(), "service.test");
        echo(call).await;
    })
    .await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    // In the same breath, as clients must not but do.
    socket.write_all(format!("{}early", upgrade()).as_bytes()).await.unwrap();
    let head = head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(field(&head, "upgrade"), Some("websocket"));
    assert_eq!(field(&head, "connection"), Some("Upgrade"));
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
    assert!(field(&head, "proxy-status").unwrap().contains("decision=sandbox"), "{head}");
    let mut seen = [0; 5];
    within(socket.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"early");
    socket.write_all(b"later").await.unwrap();
    within(socket.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"later");
    socket.shutdown().await.unwrap();
    assert!(
        matches!(within(socket.read_u8()).await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
    );
    counts(&proxy, TUNNELS, &[("kind", "upgrade")], 1.0).await;
    assert_eq!(metric(&proxy, BYTES, &[("way", "received")]).await, 10.0);
    // What came ahead of the answer is the request's.
    assert_eq!(metric(&proxy, BYTES, &[("way", "sent")]).await, 5.0);
    // The head is HTTP, what follows is not.
    let http = [("protocol", "http1"), ("way", "received")];
    assert_eq!(metric(&proxy, "bellhop_proxy_http_bytes_total", &http).await, head.len() as f64);
    let answered = [("protocol", "http1"), ("decision", "sandbox"), ("status_class", "1xx")];
    counts(&proxy, "bellhop_proxy_requests_total", &answered, 1.0).await;
}

/// MATRICES B7.
#[tokio::test]
async fn b7_an_http2_sandbox_that_refuses_a_websocket_leaves_the_connection_to_the_next_request() {
    let sandbox = http2(true, |(request, mut respond): Call| async move {
        if request.extensions().get::<Protocol>().is_some() {
            let refused = Response::builder().status(403).header("content-length", "2").body(()).unwrap();
            let mut to = respond.send_response(refused, false).unwrap();
            to.send_data(Bytes::from_static(b"no"), true).unwrap();
        } else {
            answer(respond, "next");
        }
    })
    .await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let next = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nBaggage: routing-key=k\r\n\r\n";
    socket.write_all(format!("{}{next}", upgrade()).as_bytes()).await.unwrap();
    let mut seen = String::new();
    within(socket.read_to_string(&mut seen)).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{seen}");
    assert!(seen.contains("\r\n\r\nnoHTTP/1.1 200 OK\r\n") && seen.contains("next"), "{seen}");
}

#[tokio::test]
async fn an_http2_sandbox_that_offers_no_websockets_is_503_to_an_http1_client_whose_connection_goes_on() {
    let sandbox = http2(false, |(request, respond): Call| async move {
        assert_eq!(request.uri().path(), "/next", "not offered, and yet asked");
        answer(respond, "next");
    })
    .await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\nBaggage: routing-key=k\r\n\r\n";
    socket.write_all(format!("{}{next}", upgrade()).as_bytes()).await.unwrap();
    let mut seen = String::new();
    within(socket.read_to_string(&mut seen)).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 503 ") && seen.contains("reason=unsupported"), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 OK\r\n") && seen.contains("next"), "{seen}");
}

#[tokio::test]
async fn a_reset_of_the_stream_resets_an_http1_websocket_and_the_other_way_round() {
    let sandbox = backend_that_resets_after_a_word().await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    for by_client in [false, true] {
        let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
        socket.write_all(upgrade().as_bytes()).await.unwrap();
        assert!(head(&mut socket).await.starts_with("HTTP/1.1 101 "));
        if by_client {
            // The backend sees its stream end in a reset, and only then lets the next one end well.
            socket.set_zero_linger().unwrap();
            drop(socket);
        } else {
            socket.write_all(b"reset").await.unwrap();
            let end = within(socket.read_u8()).await;
            assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
    counts(&proxy, TUNNELS, &[("kind", "upgrade")], 2.0).await;
    within(async {
        while metric(&proxy, "bellhop_proxy_tunnels_open", &[]).await != 0.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An endpoint that has said all, and wants to hear no more (RFC 9113 §8.1), ends the tunnel for a client that talks on.
#[tokio::test]
async fn a_stream_that_ended_and_was_then_reset_ends_an_http1_websocket_whose_client_writes_on() {
    let (may_reset, reset) = tokio::sync::watch::channel(false);
    let sandbox = http2(true, move |(_request, mut respond): Call| {
        let mut reset = reset.clone();
        async move {
            let mut to = respond.send_response(Response::new(()), false).unwrap();
            to.send_data(Bytes::from_static(b"all"), true).unwrap();
            reset.wait_for(|now| *now).await.unwrap();
            to.send_reset(Reason::NO_ERROR);
        }
    })
    .await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(upgrade().as_bytes()).await.unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 101 "));
    let mut seen = Vec::new();
    within(socket.read_to_end(&mut seen)).await.unwrap();
    assert_eq!(seen, b"all");
    assert_eq!(metric(&proxy, "bellhop_proxy_tunnels_open", &[]).await, 1.0, "the client may talk on");
    may_reset.send(true).unwrap();
    within(async {
        // Until the proxy closes the connection, which the next write runs into.
        while socket.write_all(b"more").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    counts(&proxy, TUNNELS, &[("kind", "upgrade")], 1.0).await;
    assert_eq!(metric(&proxy, "bellhop_proxy_tunnels_open", &[]).await, 0.0);
}

async fn backend_that_resets_after_a_word() -> SocketAddr {
    http2(true, |(request, mut respond): Call| async move {
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        if let Some(Ok(_)) = request.into_body().data().await {
            to.send_reset(Reason::CANCEL);
        }
    })
    .await
}
