//! Bytes of clients' connections.

use std::time::Instant;

use crate::{
    harness::{Conn, DEADLINE, echo},
    peer,
    program::Program,
};

/// Waits until so many were counted: that happens after they went.
fn until_carried(proxy: &Program, way: &str, bytes: usize) {
    let end = Instant::now() + DEADLINE;
    while carried(proxy, "http1", way) != bytes {
        assert!(Instant::now() < end, "{way}: {} of {bytes}", carried(proxy, "http1", way));
    }
}

fn carried(proxy: &Program, protocol: &str, way: &str) -> usize {
    let series = format!("bellhop_proxy_http_bytes_total{{protocol=\"{protocol}\",way=\"{way}\"}} ");
    let metrics = proxy.metrics();
    metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[test]
fn bytes_of_http1_connections_are_counted_to_the_last_one() {
    let upstream = echo("baseline");
    let proxy = Program::before(upstream.address, &[]);
    let mut client = Conn::connect(proxy.address);
    let (mut sent, mut received) = (0, 0);
    for body in ["", "body", &"x".repeat(100_000)] {
        let request = format!("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.send(&request);
        let answer = client.message().unwrap();
        sent += request.len();
        received += answer.head.len() + answer.body.len();
    }
    until_carried(&proxy, "sent", sent);
    until_carried(&proxy, "received", received);
    // An answer of the proxy's own counts as well.
    client.send("GET / HTTP/9.9\r\n\r\n");
    let (rest, _) = client.rest();
    until_carried(&proxy, "received", received + rest.len());
    assert_eq!(carried(&proxy, "http2", "sent"), 0);
}

#[tokio::test]
async fn bytes_of_http2_connections_are_counted_with_their_frames() {
    const BODY: &[u8] = &[7; 50_000];
    let baseline = peer::backend(|(request, respond)| async move {
        peer::read(&mut request.into_body()).await.unwrap();
        peer::answer(respond, "short");
    })
    .await;
    let proxy = Program::before(baseline, &[]);
    let send = peer::connect(proxy.address).await;
    peer::call(&send, peer::post("/b"), &[BODY]).await.unwrap();
    let counted =
        tokio::task::spawn_blocking(move || ["sent", "received"].map(|way| carried(&proxy, "http2", way)));
    let [sent, received] = counted.await.unwrap();
    assert!((BODY.len()..BODY.len() + 1000).contains(&sent), "{sent}");
    assert!((5..1000).contains(&received), "{received}");
}
