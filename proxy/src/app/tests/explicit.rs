//! Applications that know their proxy: absolute-form, and CONNECT with detection inside.

use std::io::Write as _;

use super::*;

fn explicit() -> Running {
    run(&["--explicit", "127.0.0.1:0", "--admin", "off"])
}

/// The bytes up to an empty line.
fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read(socket, 1));
    }
    String::from_utf8(head).unwrap()
}

fn connect(proxy: &Running, to: SocketAddr) -> TcpStream {
    let mut client = dial(proxy);
    write!(client, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    let answer = head(&mut client);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && !answer.to_lowercase().contains("content-length"),
        "{answer}"
    );
    client
}

#[test]
fn a_request_in_absolute_form_goes_to_its_authority() {
    let (listener, address) = listener();
    let proxy = explicit();
    let mut client = dial(&proxy);
    write!(client, "GET http://{address}/a?b HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut server = accept(&listener);
    let request = head(&mut server);
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 204 "));
}

#[test]
fn http_inside_a_connect_is_served_as_if_it_had_been_intercepted() {
    let (listener, address) = listener();
    let proxy = explicit();
    let mut client = connect(&proxy, address);
    let mut server = accept(&listener);
    for _ in 0..2 {
        client.write_all(b"GET /inside HTTP/1.1\r\nHost: other\r\n\r\n").unwrap();
        let request = head(&mut server);
        assert!(request.starts_with("GET /inside HTTP/1.1\r\n") && request.contains("other"), "{request}");
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert!(head(&mut client).starts_with("HTTP/1.1 204 "));
    }
    counted(&proxy, Event::Http1, 2);
}

#[test]
fn what_goes_to_a_port_that_was_declared_opaque_is_passed_on_without_a_look_inside() {
    let (listener, address) = listener();
    let port = address.port().to_string();
    let proxy = run(&["--explicit", "127.0.0.1:0", "--admin", "off", "--opaque-ports", &format!("9,{port}")]);
    // HTTP without a Host, a line that could still become HTTP, a preface with garbage behind it: none would pass a look
    let bytes = [&b"GET / HTTP/1.1\r\n\r\n"[..], b"GET", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage"];
    for (bytes, times) in bytes.into_iter().zip(1..) {
        let mut client = connect(&proxy, address);
        let mut server = accept(&listener);
        passes(&mut client, &mut server, bytes);
        passes(&mut server, &mut client, b"\0answer");
        counted(&proxy, Event::Opaque, times);
    }
    assert_eq!(proxy.shared.counters.of(Event::Http2), 0);

    let looking = explicit();
    let mut client = connect(&looking, address);
    client.write_all(bytes[0]).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 400 "));
}

#[test]
fn bytes_that_came_with_the_connect_are_served_too() {
    let (listener, address) = listener();
    let proxy = explicit();
    let mut client = dial(&proxy);
    write!(client, "CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut server = accept(&listener);
    assert!(head(&mut server).starts_with("GET / HTTP/1.1\r\n"));
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
}

#[test]
fn anything_else_inside_a_connect_is_a_tunnel_whoever_speaks_first() {
    let (listener, address) = listener();
    let proxy = explicit();
    let mut client = connect(&proxy, address);
    let mut server = accept(&listener);
    passes(&mut server, &mut client, b"220 mail ESMTP\r\n");
    passes(&mut client, &mut server, b"EHLO there\r\n");
    let mut client = connect(&proxy, address);
    let mut server = accept(&listener);
    passes(&mut client, &mut server, b"\x16\x03\x01\0\x05\x01\0\0\x01\0");
    passes(&mut server, &mut client, b"\x16\x03\x03");
    drop((client, server));
    counted(&proxy, Event::ServerFirst, 1);
}

#[test]
fn a_connect_that_cannot_be_dialled_is_answered_with_502_and_why() {
    let (listener, address) = listener();
    drop(listener);
    let proxy = explicit();
    let mut client = dial(&proxy);
    write!(client, "CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let answer = head(&mut client);
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.to_lowercase().contains("proxy-status: "),
        "{answer}"
    );
    no_connections_are_left(&proxy);
}

/// F17.
#[test]
fn a_connect_to_the_proxy_itself_is_refused() {
    let proxy = explicit();
    let mut client = dial(&proxy);
    let own = proxy.addresses()[0];
    write!(client, "CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n").unwrap();
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    assert!(answer.contains("loop"), "{answer}");
    counted(&proxy, Event::RefusedLoop, 1);
    assert_eq!(proxy.shared.counters.of(Event::Accepted), 1);
}

/// An application that knows its proxy speaks HTTP; anything else is told so.
#[test]
fn what_is_no_request_is_answered_and_not_tunnelled() {
    let proxy = explicit();
    let mut client = dial(&proxy);
    client.write_all(b"\x16\x03\x01\0\x05\x01\0\0\x01\0\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 400 "));
    let mut client = dial(&proxy);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 400 "));
}
