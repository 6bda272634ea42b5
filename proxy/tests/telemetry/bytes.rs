//! Bytes of clients' connections.

use std::time::Instant;

use crate::{
    harness::{Conn, DEADLINE, echo, serve},
    peer,
    program::Program,
};

/// Waits until so many were counted: that happens after they went.
fn until_carried(proxy: &Program, way: &str, bytes: usize) {
    until_counted(proxy, &http("http1", way), bytes);
}

fn until_counted(proxy: &Program, series: &str, bytes: usize) {
    let end = Instant::now() + DEADLINE;
    while counted(proxy, series) != bytes {
        assert!(Instant::now() < end, "{series}: {} of {bytes}", counted(proxy, series));
    }
}

fn http(protocol: &str, way: &str) -> String {
    format!("bellhop_proxy_http_bytes_total{{protocol=\"{protocol}\",way=\"{way}\"}} ")
}

fn carried(proxy: &Program, protocol: &str, way: &str) -> usize {
    counted(proxy, &http(protocol, way))
}

fn counted(proxy: &Program, series: &str) -> usize {
    let metrics = proxy.metrics();
    metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap().parse().unwrap()
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

const TUNNELLED: &str = "bellhop_proxy_tunnel_bytes_total{way=\"sent\"} ";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn bytes_ahead_of_a_tunnel_are_counted_once() {
    let upstream = serve(|mut conn, _| {
        let head = conn.head();
        conn.send(if head.starts_with("CONNECT ") {
            "HTTP/1.1 200 OK\r\n\r\n"
        } else {
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        });
        let said = conn.exactly(9);
        conn.send_bytes(&said);
        conn.rest();
    });
    let proxy = Program::before(upstream.address, &[]);
    let (mut sent, mut tunnelled) = (0, 0);
    for head in ["CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", UPGRADE] {
        let mut client = Conn::connect(proxy.address);
        client.send(&format!("{head}early"));
        client.head();
        client.send("late");
        assert_eq!(client.exactly(9), b"earlylate");
        sent += head.len() + "early".len();
        tunnelled += "late".len();
        until_carried(&proxy, "sent", sent);
        until_counted(&proxy, TUNNELLED, tunnelled);
    }
}

#[test]
fn bytes_ahead_of_what_follows_a_connect_to_the_proxy_are_counted_once() {
    let upstream = serve(|mut conn, _| {
        conn.rest();
    });
    let proxy = Program::before(upstream.address, &["--explicit", "127.0.0.1:0"]);
    let explicit = proxy.process.addresses[1];
    let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", upstream.address);
    let (mut http1, mut http2, mut tunnelled) = (0, 0, 0);
    let settings = "\0\0\0\u{4}\0\0\0\0\0";
    for early in
        ["GET / HTTP/1.1\r\nHost: a\r\n", &format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{settings}"), "\0\0"]
    {
        let mut client = Conn::connect(explicit);
        client.send(&format!("{connect}{early}"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        http1 += connect.len() + early.len();
        let (late, of) = match early.as_bytes()[0] {
            b'G' => ("\r\n", &mut http1),
            b'P' => (settings, &mut http2),
            _ => ("late", &mut tunnelled),
        };
        *of += late.len();
        client.send(late);
        until_carried(&proxy, "sent", http1);
        until_counted(&proxy, &http("http2", "sent"), http2);
        until_counted(&proxy, TUNNELLED, tunnelled);
    }
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
