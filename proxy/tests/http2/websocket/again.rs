//! A second try at an endpoint that offers no WebSockets any more.

use super::*;

/// Refuses the first WebSocket on a connection that it then ends; from the next one on it offers none.
async fn offers_once() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let mut builder = server::Builder::new();
        builder.enable_connect_protocol();
        let mut first = builder.handshake::<_, Bytes>(accept(&listener).await).await.unwrap();
        let (request, mut respond) = first.accept().await.unwrap().unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        first.graceful_shutdown();
        drop((request, respond));
        while let Some(Ok(_)) = first.accept().await {}
        drop(first);
        while let Ok((socket, _)) = listener.accept().await {
            let mut next = server::handshake(socket).await.unwrap();
            while let Some(Ok((request, respond))) = next.accept().await {
                assert!(request.extensions().get::<Protocol>().is_none(), "not offered, and yet asked");
                answer(respond, "next");
            }
        }
    });
    address
}

#[tokio::test]
async fn the_baseline_does_not_answer_an_http1_clients_websocket_that_a_sandbox_was_sent() {
    let more = format!(r#"{HTTP2},"fallback":"baseline""#);
    let (proxy, _client) = routed(baseline().await, route(&[offers_once().await], &more)).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    socket.write_all(upgrade().as_bytes()).await.unwrap();
    let mut seen = vec![0; 4096];
    let count = within(socket.read(&mut seen)).await.unwrap();
    let seen = String::from_utf8_lossy(&seen[..count]);
    assert!(seen.starts_with("HTTP/1.1 503 ") && !seen.contains("baseline"), "{seen}");
}

#[tokio::test]
async fn the_baseline_does_not_answer_an_http2_clients_websocket_that_a_sandbox_was_sent() {
    let more = format!(r#"{HTTP2},"fallback":"baseline""#);
    let (_proxy, client) = routed(http2(true, echo).await, route(&[offers_once().await], &more)).await;
    let mut client = client.clone();
    let (response, _to) = client.send_request(keyed(websocket(), "k"), false).unwrap();
    assert_eq!(within(response).await.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
}
