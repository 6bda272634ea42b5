//! Who speaks first decides, on real sockets.

use std::io::Write as _;

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// F15: MySQL-, SMTP- and Redis-like banners.
#[test]
fn a_server_that_speaks_first_is_passed_on_at_once() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    for (at, banner) in
        [&b"J\0\0\0\n8.0.36\0abcdefgh"[..], b"220 mail ESMTP\r\n", b"+OK\r\n"].iter().enumerate()
    {
        let mut client = dial(&proxy);
        let mut server = accept(&listener);
        passes(&mut server, &mut client, banner);
        passes(&mut client, &mut server, b"HELO there\r\n");
        counted(&proxy, Event::ServerFirst, at as u64 + 1);
    }
    no_connections_are_left(&proxy);
}

/// B13.
#[test]
fn another_protocol_is_passed_on_as_soon_as_it_cannot_be_http() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    for first in [&b"AMQP\0\0\x09\x01"[..], b"\x16\x03\x01\0\x05\x01\0\0\x01\0", b"*1\r\n$4\r\nPING\r\n"] {
        let mut client = dial(&proxy);
        let mut server = accept(&listener);
        let began = Instant::now();
        passes(&mut client, &mut server, first);
        assert!(began.elapsed() < Duration::from_millis(900), "a timer fired");
        passes(&mut server, &mut client, b"answer");
    }
    counted(&proxy, Event::Opaque, 3);
    counted(&proxy, Event::TlsUnknown, 1);
}

/// B13: HTTP-like start, then binary.
#[test]
fn a_start_like_http_that_goes_on_in_binary_is_tunnelled_and_loses_no_byte() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    for byte in b"GET x\x01\x02\xff\0 more" {
        client.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read(&mut server, 14), b"GET x\x01\x02\xff\0 more");
    counted(&proxy, Event::Opaque, 1);
}

/// B13: a client that waits for its answer after a line that could still grow.
#[test]
fn a_line_that_stops_growing_is_passed_on_after_a_moment() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    passes(&mut client, &mut server, b"hello");
    counted(&proxy, Event::Opaque, 1);
}

/// B13.
#[test]
fn a_request_line_that_comes_one_byte_at_a_time_is_http() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    for byte in GET {
        client.write_all(&[*byte]).unwrap();
    }
    assert!(read(&mut server, GET.len()).starts_with(b"GET / HTTP/1.1\r\n"));
    counted(&proxy, Event::Http1, 1);
}

/// B13 and F25: the preface one byte at a time, after the server's SETTINGS.
#[test]
fn a_preface_that_comes_one_byte_at_a_time_after_the_servers_settings_is_http_2() {
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    server.write_all(b"\0\0\0\x04\0\0\0\0\0").unwrap();
    for byte in crate::detect::line::PREFACE {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(b"\0\0\0\x04\0\0\0\0\0").unwrap();
    counted(&proxy, Event::Http2, 1);
    assert_eq!(proxy.shared.counters.of(Event::ServerFirst), 0);
    assert_eq!(read(&mut server, 24), crate::detect::line::PREFACE);
}

/// B14: garbage, 64 KiB and fragmented hellos pass byte for byte.
#[test]
fn tls_passes_byte_for_byte_and_is_counted_by_whether_it_names_a_server() {
    use crate::detect::tests::hello::{NAME, client_hello};
    let (listener, address) = listener();
    let proxy = proxy(address, &[]);
    let named = client_hello(&[(0, NAME)]);
    let huge = client_hello(&[(21, &[0; 65_000]), (0, NAME)]);
    let garbage: Vec<u8> = [22, 3, 1].into_iter().chain((0..=255).cycle().take(5_000)).collect();
    for (hello, event) in [
        (named.clone(), Event::TlsNamed),
        (client_hello(&[]), Event::TlsUnnamed),
        (huge, Event::TlsUnknown),
        (garbage, Event::TlsUnknown),
    ] {
        let before = proxy.shared.counters.of(event);
        let mut client = dial(&proxy);
        let mut server = accept(&listener);
        passes(&mut client, &mut server, &hello);
        passes(&mut server, &mut client, b"\x16\x03\x03\0\x01\x02");
        counted(&proxy, event, before + 1);
    }
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    for piece in named.chunks(3) {
        client.write_all(piece).unwrap();
    }
    assert_eq!(read(&mut server, named.len()), named);
}

#[test]
fn a_name_is_resolved_when_it_is_dialled() {
    let (listener, address) = listener();
    let upstream = format!("localhost:{}", address.port());
    let proxy = run(&["--listen", "127.0.0.1:0", "--upstream", &upstream, "--admin", "off"]);
    let mut client = dial(&proxy);
    let mut server = accept(&listener);
    passes(&mut client, &mut server, b"\x01");
}
