//! Tunnels: bytes, ends and resets pass as they are.

use std::{io::Write as _, net::Shutdown, thread};

use super::*;

/// F16.
#[test]
fn an_end_from_either_side_is_passed_on_and_the_other_direction_goes_on() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let (mut client, mut server) = tunnel(&proxy, &listener);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    passes(&mut server, &mut client, b"still here");
    drop(server);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);

    let (mut client, mut server) = tunnel(&proxy, &listener);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    passes(&mut client, &mut server, b"still here");
    drop(client);
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    no_connections_are_left(&proxy);
}

/// F16.
#[test]
fn a_silent_client_that_half_closes_gets_what_the_server_says() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    passes(&mut server, &mut client, b"goodbye");
    drop((client, server));
    no_connections_are_left(&proxy);
}

/// F16.
#[test]
fn a_reset_from_either_side_is_passed_on_as_a_reset() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let (client, mut server) = tunnel(&proxy, &listener);
    resets(&client);
    drop(client);
    assert!(is_reset(&mut server));

    let (mut client, server) = tunnel(&proxy, &listener);
    resets(&server);
    drop(server);
    assert!(is_reset(&mut client));
    no_connections_are_left(&proxy);
}

/// F16: the direction in which the reset comes is not being read any more.
#[test]
fn a_reset_after_an_end_is_passed_on_too() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let (client, mut server) = tunnel(&proxy, &listener);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    resets(&client);
    drop(client);
    until("the server's end is reset", || server.write(b"x").is_err());
    no_connections_are_left(&proxy);
}

/// F16: a client that resets before it said anything.
#[test]
fn a_reset_before_the_first_byte_is_passed_on() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let client = dial(&proxy);
    let mut server = accept(&listener);
    resets(&client);
    drop(client);
    assert!(is_reset(&mut server));
    no_connections_are_left(&proxy);
}

/// Whether the other end has taken what `client` sent: proc(5), `/proc/net/tcp`, whose fifth column ends in what is unread.
fn is_read(client: &TcpStream) -> bool {
    let spelt = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => panic!("{address} stands in another table"),
    };
    let ends = format!("{} {}", spelt(client.peer_addr().unwrap()), spelt(client.local_addr().unwrap()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends)).unwrap();
    line.split_whitespace().nth(4).unwrap().ends_with(":00000000")
}

/// F16: the baseline's host swallows packets, and the kernel would try for minutes.
#[test]
fn a_reset_while_the_baseline_is_dialled_is_noticed_whatever_is_spoken() {
    // A listener whose queue is full: the kernel drops what else wants to connect.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = |_: usize| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let _waiting: Vec<_> = (0..4).map_while(fill).collect();
    let proxy = proxy(address, &[]);
    for first in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x01binary", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = dial(&proxy);
        client.write_all(first.as_bytes()).unwrap();
        until("it is served", || proxy.shared.places.held() == 1);
        until("its first bytes are read", || is_read(&client));
        resets(&client);
        drop(client);
        no_connections_are_left(&proxy);
    }
}

#[test]
fn a_slow_reader_holds_its_sender_back_and_loses_nothing() {
    // More than the kernel's buffers on the way ever hold.
    const BYTES: usize = 251 * 400 * 1024;
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let (mut client, mut server) = tunnel(&proxy, &listener);
    let pattern = (0..=250).collect::<Vec<u8>>().repeat(BYTES / 251);
    let expected = pattern.clone();
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    // Nobody reads: the sender is held back long before all is sent.
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(300) && sent < BYTES {
        match client.write(&pattern[sent..]) {
            Ok(written) => (sent, quiet_since) = (sent + written, Instant::now()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        thread::yield_now();
    }
    assert!(sent < BYTES, "all was taken though nobody read");
    client.set_nonblocking(false).unwrap();
    let sender = thread::spawn(move || {
        client.write_all(&pattern[sent..]).unwrap();
        client
    });
    assert!(read(&mut server, BYTES) == expected);
    drop(sender.join().unwrap());
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop(server);
    no_connections_are_left(&proxy);
    let carried = proxy.shared.counters.tunnelled_up.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(carried, BYTES as u64 + 1);
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_reset_after_the_idle_time_out() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--idle-timeout", "200ms"]);
    let (mut client, mut server) = tunnel(&proxy, &listener);
    assert!(is_reset(&mut client));
    assert!(is_reset(&mut server));
    counted(&proxy, Event::IdleTimeout, 1);
}

/// F11: what is open at the deadline is cut.
#[test]
fn an_open_tunnel_ends_at_the_drain_deadline() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--drain-timeout", "300ms"]);
    let (mut client, mut server) = tunnel(&proxy, &listener);
    proxy.drain();
    passes(&mut client, &mut server, b"still served");
    let began = Instant::now();
    let counters = std::sync::Arc::clone(&proxy.shared);
    proxy.join();
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(counters.counters.of(Event::DrainCut), 1);
    assert!(is_reset(&mut client), "a stream that was cut looks whole");
    assert!(is_reset(&mut server), "a stream that was cut looks whole");
}

/// F11: a draining proxy still accepts while a connection is left, and ends with the last one.
#[test]
fn a_draining_proxy_accepts_until_its_last_connection_is_gone() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let (client, server) = tunnel(&proxy, &listener);
    proxy.drain();
    let (mut late_client, mut late_server) = tunnel(&proxy, &listener);
    drop((client, server));
    passes(&mut late_client, &mut late_server, b"late");
    drop((late_client, late_server));
    proxy.join();
}

/// F11: a client that rests is let go five seconds after the drain began, long before the deadline.
#[test]
fn a_connection_that_rests_is_closed_soon_while_the_proxy_drains() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let _server = accept(&listener);
    let began = Instant::now();
    proxy.drain();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert!(began.elapsed() > Duration::from_secs(4), "no time for a request that was on its way");
    counted(&proxy, Event::DrainedIdle, 1);
    proxy.join();
}

/// F11: an answer that ends with its connection must not look whole when the deadline cuts it.
#[test]
fn an_answer_that_the_drain_deadline_cuts_does_not_look_whole() {
    let (listener, address) = listener();
    let proxy = proxy(address, &["--drain-timeout", "300ms"]);
    let mut client = dial(&proxy);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(request).unwrap();
    let mut server = accept(&listener);
    // Without this the answer could come before the request: then it is none.
    assert_eq!(read(&mut server, request.len()), request);
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf";
    passes(&mut server, &mut client, answer);
    proxy.drain();
    proxy.join();
    assert!(is_reset(&mut client));
}
