//! Rows B1 to B9 of the matrix: what is no request, or more than one.

use std::sync::mpsc;

use crate::harness::{DEADLINE, End, Proxy, echo, serve};

/// Sends `request`; the answer has `status` and ends the connection, and the upstream saw no request.
fn is_refused(request: &str, status: u16) {
    let (said, asked) = mpsc::channel();
    let watching = serve(move |mut conn, _| {
        let head = conn.head();
        if !head.is_empty() {
            said.send(head).unwrap();
        }
    });
    let proxy = Proxy::start(watching.address, &[]);
    let mut client = proxy.client();
    client.send(request);
    let short: String = request.chars().take(80).collect();
    let answer = client.message().unwrap_or_else(|| panic!("no answer to {short:?}"));
    assert_eq!(answer.status(), status, "{short:?}");
    assert!(answer.field("proxy-status").is_some_and(|text| text.contains("error=")), "{answer:?}");
    assert_eq!(client.rest(), (Vec::new(), End::Closed), "{short:?}");
    drop(proxy);
    assert!(asked.try_recv().is_err(), "the upstream was asked: {short:?}");
}

#[test]
fn b1_conflicting_framing_is_400_and_closes() {
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 4",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 18446744073709551619",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        is_refused(
            &format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
        );
    }
    is_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn b2_bytes_with_two_readings_are_400_and_close() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        is_refused(head, 400);
    }
}

#[test]
fn b2_after_a_bad_chunk_nothing_more_is_forwarded_and_400_goes_out_if_no_answer_has_begun() {
    let (said, seen) = mpsc::channel();
    let (begun, began) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        assert_eq!(conn.exactly(8), b"3\r\nabc\r\n");
        begun.send(()).unwrap();
        said.send(conn.rest()).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nabc\r\n");
    began.recv_timeout(DEADLINE).unwrap();
    client.send("zz\r\nevil");
    assert_eq!(client.message().unwrap().status(), 400);
    assert_eq!(seen.recv_timeout(DEADLINE).unwrap(), (Vec::new(), End::Reset));
}

#[test]
fn b2_extensions_of_more_than_16_kib_are_400_and_the_upstream_is_reset() {
    let (said, seen) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        said.send(conn.rest()).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(16 * 1024)));
    assert_eq!(client.message().unwrap().status(), 400);
    let (forwarded, end) = seen.recv_timeout(DEADLINE).unwrap();
    assert!(!forwarded.ends_with(b"0\r\n\r\n"), "the body went on to its end");
    assert_eq!(end, End::Reset);
}

#[test]
fn b2_a_bad_chunk_behind_the_beginning_of_the_answer_cuts_it_and_no_400_follows() {
    let (said, seen) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        said.send(conn.rest()).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(4), b"half");
    client.send("zz\r\nevil");
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
    assert_eq!(seen.recv_timeout(DEADLINE).unwrap(), (Vec::new(), End::Reset));
}

#[test]
fn b3_http_1_1_without_host_with_two_or_with_an_invalid_one_is_400() {
    for host in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n"] {
        is_refused(&format!("GET / HTTP/1.1\r\n{host}\r\n"), 400);
    }
}

#[test]
fn b4_the_targets_authority_replaces_a_host_that_differs() {
    let upstream = serve(|mut conn, _| {
        let head = conn.head();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET http://right/x HTTP/1.1\r\nHost: wrong\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "GET http://right/x HTTP/1.1\r\nHost: right\r\n\r\n");
}

#[test]
fn b7_bytes_behind_an_upgrade_that_is_not_granted_are_the_next_request() {
    let upstream = echo("base");
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    let upgrade = "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(&format!("{upgrade}GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.message().unwrap().text(), "base /1 ");
    assert_eq!(client.message().unwrap().text(), "base /2 ");
}

#[test]
fn b8_hop_by_hop_fields_and_offers_of_h2c_do_not_reach_the_upstream() {
    let upstream = serve(|mut conn, _| {
        let head = conn.head();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nA: b\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n");
    for name in ["Host", "Content-Length", "Transfer-Encoding", "baggage"] {
        is_refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\n\r\n"), 400);
    }
}

#[test]
fn b9_too_many_fields_too_many_bytes_and_too_long_a_target_are_431_431_and_414() {
    let fields = "A: b\r\n".repeat(100);
    is_refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431);
    let long = "b".repeat(64 * 1024 + 1);
    is_refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n"), 431);
    let target = "b".repeat(16 * 1024);
    is_refused(&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n"), 414);
}

#[test]
fn b10_a_head_that_does_not_come_in_time_is_408() {
    let upstream = echo("base");
    let proxy = Proxy::start(upstream.address, &["--header-timeout", "1s"]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 200);
    client.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(client.message().unwrap().status(), 408);
    assert_eq!(client.rest().1, End::Closed);
}
