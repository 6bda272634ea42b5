use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::*;
use crate::{
    app::{Running, start},
    config::Config,
};

/// Whatever is waited for comes within this time, or the test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// What a peer may take in these tests.
const SHORT: Duration = Duration::from_millis(200);
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn control(args: &[&str], limits: Limits) -> Running {
    let args = ["--listen=127.0.0.1:0", "--store=memory"].iter().chain(args).copied();
    let mut config = Config::from_args(args).unwrap();
    config.limits = limits;
    start(config).await.unwrap()
}

async fn connect(to: &Running, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to.addr()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// All that comes until control closes the connection.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // a reset is an end too
    timeout(DEADLINE, stream.read_to_end(&mut all)).await.expect("control closes the connection").ok();
    all
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4_096];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer").unwrap_or(0);
    answer.truncate(read);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_tls_handshake_that_is_not_finished_in_time_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let certs = format!("--dev-certs={}", directory.path().display());
    let data = format!("--data-dir={}", directory.path().display());
    let limits = Limits { handshake: SHORT, ..Limits::default() };
    let running = control(&[&certs, &data, "--audit-log=off"], limits).await;
    // nothing, and a record of TLS that announces 512 bytes and has two
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        assert_eq!(rest(&mut connect(&running, begun).await).await, b"");
    }
}

#[tokio::test]
async fn a_head_that_is_not_there_in_time_ends_the_connection_also_before_its_first_byte() {
    let running = control(&[], Limits { head: SHORT, ..Limits::default() }).await;
    for begun in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nS", b"GET /livez HTTP/1.1\r\nHost: lo"] {
        let told = rest(&mut connect(&running, begun).await).await;
        let told = String::from_utf8_lossy(&told);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{begun:?}: {told}");
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // settings, and an acknowledgement of ours: no answer
    assert!(rest(&mut connect(&running, preface).await).await.len() < 200);
}

#[tokio::test]
async fn a_connection_waits_longer_for_a_further_request_than_for_the_first_but_not_for_ever() {
    let running = control(&[], Limits { head: SHORT, ..Limits::default() }).await;
    let mut reporter = connect(&running, REQUEST).await;
    assert!(answer(&mut reporter).await.starts_with("HTTP/1.1 200"));
    let end = timeout(SHORT * 3, reporter.read_u8()).await;
    assert!(end.is_err(), "it stands between two reports: {end:?}");
    reporter.write_all(REQUEST).await.unwrap();
    assert!(answer(&mut reporter).await.starts_with("HTTP/1.1 200"));

    let running = control(&[], Limits { idle: SHORT, ..Limits::default() }).await;
    for begun in [&b""[..], b"GET /livez HTTP/1.1\r\nHost: lo"] {
        let mut held = connect(&running, REQUEST).await;
        assert!(answer(&mut held).await.starts_with("HTTP/1.1 200"));
        held.write_all(begun).await.unwrap();
        let told = String::from_utf8(rest(&mut held).await).unwrap();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{begun:?}: {told}");
    }
}

#[tokio::test]
async fn a_request_that_takes_longer_than_a_head_may_is_not_ended() {
    let running = control(&[], Limits { head: SHORT, ..Limits::default() }).await;
    let mut watch = connect(&running, b"GET /v1/routes?watch=true&timeout_seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let told = String::from_utf8(rest(&mut watch).await).unwrap();
    assert!(told.contains("synced") && told.ends_with("\r\n0\r\n\r\n"), "a clean end: {told:?}");
}

#[tokio::test]
async fn a_body_that_is_not_there_in_time_is_answered_408() {
    let running = control(&[], Limits { body: SHORT, ..Limits::default() }).await;
    let head = b"PUT /v1/namespaces/default/services/a HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let told = String::from_utf8(rest(&mut connect(&running, head).await).await).unwrap();
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("application/problem+json"), "{told}");
}

/// B18.
#[tokio::test]
async fn a_client_that_sends_a_body_far_too_large_to_its_end_reads_413() {
    let running = control(&[], Limits::default()).await;
    let mut stream = connect(&running, b"PUT /v1/namespaces/default/services/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // more than the kernel holds for both sides, so that nobody can write it to its end who is not read
    let chunk = [&b"100000\r\n"[..], &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..24 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_what_is_refused_is_counted() {
    let limits = Limits { connections_per_address: Some(2), ..Limits::default() };
    let running = control(&[], limits).await;
    let (mut one, mut two) = (connect(&running, REQUEST).await, connect(&running, REQUEST).await);
    for held in [&mut one, &mut two] {
        assert!(answer(held).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = TcpStream::connect(running.addr()).await.unwrap();
    assert_eq!(rest(&mut third).await, b"");
    drop(one);
    let begun = Instant::now();
    while !answer(&mut connect(&running, REQUEST).await).await.starts_with("HTTP/1.1 200") {
        assert!(begun.elapsed() < DEADLINE, "a place comes free");
    }
    two.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let told = String::from_utf8(rest(&mut two).await).unwrap();
    let refused =
        told.lines().find_map(|line| line.strip_prefix("bellhop_control_connections_refused_total "));
    assert!(refused.is_some_and(|count| count.parse::<f64>().unwrap() >= 1.0), "{told}");
    assert!(told.contains("\nbellhop_control_connections "), "{told}");
}

#[tokio::test]
async fn control_that_has_no_slot_left_ends_when_told_and_cuts_nobody() {
    let running = control(&[], Limits { connections: Some(1), ..Limits::default() }).await;
    let mut held = connect(&running, REQUEST).await;
    assert!(answer(&mut held).await.starts_with("HTTP/1.1 200"));
    let mut waiting = connect(&running, REQUEST).await;
    let begun = Instant::now();
    running.shutdown().await;
    assert!(begun.elapsed() < crate::app::GRACE, "the idle connection is told, not cut");
    assert_eq!(rest(&mut held).await, b"");
    assert_eq!(rest(&mut waiting).await, b"");
}

/// A connection of HTTP/2 with one request.
fn http2(path: &str) -> Vec<u8> {
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS of stream 1, which ends: GET, http, an :authority, and a :path that is not indexed (RFC 7541 appendix A)
    let length = u8::try_from(15 + path.len()).unwrap();
    request.extend([&[0, 0, length][..], b"\x01\x05\0\0\0\x01\x82\x86\x41\x09localhost\x04"].concat());
    request.push(u8::try_from(path.len()).unwrap());
    request.extend(path.as_bytes());
    request
}

#[tokio::test]
async fn an_http2_connection_without_a_stream_ends_after_a_while_and_one_with_a_watch_does_not() {
    let running = control(&[], Limits { unused: SHORT, ..Limits::default() }).await;
    let told = rest(&mut connect(&running, &http2("/livez")).await).await;
    assert!(told.windows(3).any(|bytes| bytes == b"ok\n"), "{told:?}");

    let mut watch = connect(&running, &http2("/v1/routes?watch=true")).await;
    let mut told = Vec::new();
    let end = timeout(SHORT * 3, watch.read_to_end(&mut told)).await;
    assert!(end.is_err(), "{end:?} {told:?}");
    assert!(told.windows(6).any(|bytes| bytes == b"synced"), "{told:?}");
    // RST_STREAM: the watch is given up
    watch.write_all(b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08").await.unwrap();
    rest(&mut watch).await;
}

#[tokio::test]
async fn an_http2_peer_that_answers_no_ping_is_gone() {
    let running = control(&[], Limits { silence: SHORT, ..Limits::default() }).await;
    let told = rest(&mut connect(&running, &http2("/livez")).await).await;
    let ping = b"\0\0\x08\x06\0\0\0\0\0";
    assert!(told.windows(ping.len()).any(|frame| frame == ping), "{told:?}");
}
