//! What is refused, and what running out of something does.

use std::io::Write as _;

use super::*;

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

/// F12.
#[test]
fn a_panic_loses_its_connection_alone_and_is_counted() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--workers", "1"]);
    let (mut client, mut server) = (dial(&proxy), accept(&listener));
    passes(&mut client, &mut server, b"\x01before");
    let mut unlucky = dial(&proxy);
    unlucky.write_all(crate::connection::PANIC).unwrap();
    assert_ne!(unlucky.read(&mut [0; 1]).unwrap_or(0), 1);
    counted(&proxy, Event::Panicked, 1);
    passes(&mut client, &mut server, b"after");
    drop((client, server));
    no_connections_are_left(&proxy);
}
