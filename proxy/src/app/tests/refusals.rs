//! What is refused, and what running out of something does.

use std::io::Write as _;

use super::*;
use crate::handler::PANIC;

/// F4: silence for 200 ms after a failed dial is reset, as is anything that is not HTTP.
#[test]
fn without_a_baseline_a_client_that_sends_no_http_is_reset() {
    let (listener, address) = listener();
    drop(listener);
    let proxy = proxy(address, &[]);
    let mut silent = dial(&proxy);
    let began = Instant::now();
    assert!(is_reset(&mut silent));
    assert!(began.elapsed() >= Duration::from_millis(150), "no time to speak");
    let mut binary = dial(&proxy);
    binary.write_all(b"\x01").unwrap();
    assert!(is_reset(&mut binary));
    counted(&proxy, Event::BaselineFailed, 2);
    no_connections_are_left(&proxy);
}

/// F14: at the limit new connections wait; old ones are served on; a place that is given back is taken.
#[test]
fn at_the_connection_limit_new_connections_wait_until_one_ends() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--max-connections", "2"]);
    let mut pairs: Vec<_> = (0..2).map(|_| (dial(&proxy), accept(&listener))).collect();
    let mut waiting = dial(&proxy);
    waiting.write_all(b"\x01waited").unwrap();
    until("the limit is reached", || proxy.shared.counters.of(Event::LimitReached) > 0);
    for (client, server) in &mut pairs {
        passes(client, server, b"\x01old");
    }
    assert_eq!(proxy.shared.counters.of(Event::Accepted), 2);
    drop(pairs.pop());
    let mut server = accept(&listener);
    assert_eq!(read(&mut server, 7), b"\x01waited");
    passes(&mut server, &mut waiting, b"answer");
}

/// F17: directly, and by way of a second address of the same listener.
#[test]
fn a_proxy_does_not_dial_itself() {
    let (listener, free) = listener();
    drop(listener);
    let port = free.port();
    for upstream in [format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}"), format!("localhost:{port}")] {
        let listen = format!("0.0.0.0:{port}");
        let proxy = run(&["--listen", &listen, "--upstream", &upstream, "--admin", "off"]);
        let mut client = with_deadline(TcpStream::connect(("127.0.0.1", port)).unwrap());
        client.write_all(b"\x01").unwrap();
        assert!(is_reset(&mut client), "{upstream}");
        assert_eq!(proxy.shared.counters.of(Event::Accepted), 1, "{upstream}: a loop");
        assert!(proxy.shared.counters.of(Event::RefusedLoop) >= 1, "{upstream}");
    }
}

/// B21.
#[test]
fn a_redirect_listener_that_is_dialled_directly_refuses() {
    for flag in ["--outbound", "--inbound"] {
        let proxy = run(&[flag, "127.0.0.1:0", "--admin", "off"]);
        let mut client = dial(&proxy);
        assert_ne!(client.read(&mut [0; 1]).unwrap_or(0), 1);
        counted(&proxy, Event::RefusedDirect, 1);
        assert_eq!(proxy.shared.counters.of(Event::Accepted), 0);
    }
}

/// B21: an explicit listener beyond loopback serves whom it was told to serve.
#[test]
fn callers_that_were_not_named_are_refused() {
    let proxy = run(&["--explicit", "0.0.0.0:0", "--allow-from", "198.18.255.0/24", "--admin", "off"]);
    let port = proxy.addresses()[0].port();
    // Loopback callers are this host's own.
    let _own = TcpStream::connect(("127.0.0.1", port)).unwrap();
    counted(&proxy, Event::Accepted, 1);
    let Some(address) = address_beyond_loopback() else {
        eprintln!("skipped in part: this host has no address beyond loopback");
        return;
    };
    let mut other = with_deadline(TcpStream::connect((address, port)).unwrap());
    assert_ne!(other.read(&mut [0; 1]).unwrap_or(0), 1);
    counted(&proxy, Event::RefusedCaller, 1);
}

/// An address of this host by which the rest of the world would be reached.
fn address_beyond_loopback() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// F12: by either version of HTTP, on the one worker that serves the others too.
#[test]
fn f12_a_panic_in_one_request_loses_its_connection_alone_and_the_metrics_count_it() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (listener, address) = listener();
    let proxy = proxy(address, &["--workers", "1", "--status-listen", "127.0.0.1:0"]);
    let panics = || metric(&proxy, "bellhop_proxy_connection_events_total{event=\"panicked\"}");
    assert_eq!(panics(), 0);
    let mut client = dial(&proxy);
    client.write_all(GET).unwrap();
    let mut server = accept(&listener);
    assert_eq!(read(&mut server, GET.len()), GET);

    let mut unlucky = dial(&proxy);
    unlucky.write_all(GET).unwrap();
    let mut its_server = accept(&listener);
    assert_eq!(read(&mut its_server, GET.len()), GET);
    its_server.write_all(OK).unwrap();
    assert_eq!(read(&mut unlucky, OK.len()), OK);
    let panic = std::str::from_utf8(PANIC).unwrap();
    unlucky.write_all(format!("{panic} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    assert!(is_gone(&mut unlucky));
    assert!(is_gone(&mut its_server), "a byte of it went on");
    until("it is counted", || panics() == 1);
    assert!(ask_over_http2(&proxy, panic).is_err());
    until("it is counted", || panics() == 2);

    // A request that was in flight meanwhile has its answer.
    server.write_all(OK).unwrap();
    assert_eq!(read(&mut client, OK.len()), OK);
    drop(client);
    no_connections_are_left(&proxy);
}

fn is_gone(socket: &mut TcpStream) -> bool {
    match socket.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn ask_over_http2(proxy: &Running, method: &str) -> Result<http::StatusCode, h2::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = http::Request::builder().method(method).uri("http://a/").body(()).unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(proxy.addresses()[0]).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(socket).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request, true)?.0;
        Ok(tokio::time::timeout(DEADLINE, answer).await.unwrap()?.status())
    })
}
