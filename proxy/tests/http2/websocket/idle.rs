//! Tunnels on which nothing moves.

use super::*;

const FLAGS: [&str; 2] = ["--idle-timeout", "1s"];

/// A tunnel was cut for being idle, and nobody is blamed for it.
async fn nobody_is_blamed(proxy: &bellhop_proxy::app::Running) {
    counts(proxy, "bellhop_proxy_connection_events_total", &[("event", "idle-timeout")], 1.0).await;
    counts(proxy, "bellhop_proxy_requests_total", &[("decision", "sandbox")], 1.0).await;
    assert_eq!(metric(proxy, "bellhop_proxy_requests_total", &[("decision", "refused")]).await, 0.0);
    assert_eq!(metric(proxy, "bellhop_proxy_endpoints_set_aside_total", &[]).await, 0.0);
}

#[tokio::test]
async fn an_idle_websocket_between_http2_peers_is_cancelled_and_its_endpoint_is_as_good_as_before() {
    let sandbox = http2(true, echo).await;
    let (proxy, client) = routed_with(http2(true, echo).await, route(&[sandbox], HTTP2), &FLAGS).await;
    let (_, mut from, _to) = open(&client, keyed(websocket(), "k")).await;
    let cut = within(from.data()).await.unwrap().unwrap_err();
    assert_eq!(cut.reason(), Some(Reason::CANCEL));
    nobody_is_blamed(&proxy).await;
}

#[tokio::test]
async fn an_idle_websocket_to_an_http1_sandbox_is_cancelled_and_its_endpoint_is_as_good_as_before() {
    let (listener, sandbox) = listener().await;
    let (proxy, client) = routed_with(baseline().await, route(&[sandbox], HTTP1), &FLAGS).await;
    let granting = async {
        let (mut socket, accept) = handshake(&listener).await;
        grant(&mut socket, &accept).await;
        socket
    };
    let (mut socket, (_, mut from, _to)) = tokio::join!(granting, open(&client, keyed(websocket(), "k")));
    let cut = within(from.data()).await.unwrap().unwrap_err();
    assert_eq!(cut.reason(), Some(Reason::CANCEL));
    let end = within(socket.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    nobody_is_blamed(&proxy).await;
}

#[tokio::test]
async fn an_idle_websocket_of_an_http1_client_is_reset_and_its_endpoint_is_as_good_as_before() {
    let sandbox = http2(true, echo).await;
    let (proxy, _client) = routed_with(baseline().await, route(&[sandbox], HTTP2), &FLAGS).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(upgrade().as_bytes()).await.unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 101 "));
    let end = within(socket.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    nobody_is_blamed(&proxy).await;
}
