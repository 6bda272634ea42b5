//! What an expert expects of an HTTP/1 proxy: messages go through as they are.

use std::{io::Write as _, thread};

use crate::harness::{Conn, End, Proxy, echo, keyed, route, serve};

#[test]
fn requests_on_one_connection_go_to_one_upstream_connection_in_order() {
    let upstream = echo("base");
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    for number in 0..20 {
        client.send(&format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.message().unwrap().text(), format!("base /{number} "));
    }
    assert_eq!(upstream.accepted(), 1);
}

/// Nothing has to be found out about a connection that a request came with. Behind the connection limit it has come for sure.
#[test]
fn a_request_that_came_with_its_connection_dials_its_sandbox_alone() {
    let (base, sandbox) = (echo("base"), echo("sandbox"));
    let units = vec![route("k", &[sandbox.address], false)];
    let proxy = Proxy::with_routes(base.address, units, &["--max-connections", "1"]);
    let before = base.accepted();
    let holds_the_place = proxy.client();
    base.until_one_more_than(before);
    let dialled = base.accepted();
    let mut client = proxy.client();
    client.send(&keyed("k"));
    drop(holds_the_place);
    assert_eq!(client.message().unwrap().text(), "sandbox /k ");
    assert_eq!(base.accepted(), dialled);
    client.send("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "base /later ");
    assert_eq!(base.accepted(), dialled + 1);
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let upstream = echo("base");
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send(&"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n".repeat(50));
    for _ in 0..50 {
        assert_eq!(client.message().unwrap().text(), "base /p abc");
    }
}

#[test]
fn a_head_and_a_body_that_come_byte_by_byte_arrive_whole_and_unchanged() {
    let upstream = serve(|mut conn, _| {
        let request = conn.message().unwrap();
        let said = format!("{}|{}", request.head, request.text());
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", said.len()));
        said.bytes().for_each(|byte| conn.send_bytes(&[byte]));
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    let head = "PUT /x?y HTTP/1.1\r\nhOsT: a\r\nX-Odd:   two  blanks \r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in format!("{head}3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n").bytes() {
        client.send_bytes(&[byte]);
    }
    assert_eq!(client.message().unwrap().text(), format!("{head}|abc"));
}

#[test]
fn chunks_and_their_trailers_go_through_byte_for_byte() {
    const ANSWER: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n000\r\nX-T: 1\r\n\r\n";
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send(ANSWER);
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert_eq!(client.exactly(ANSWER.len()), ANSWER.as_bytes());
}

#[test]
fn large_bodies_go_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut left = SIZE;
        while left > 0 {
            let some = conn.exactly(left.min(65_536));
            left -= some.len();
            conn.send_bytes(&some);
        }
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    let body: Vec<u8> = (0..SIZE).map(|at| (at / 7 % 251) as u8).collect();
    let (mut writer, sent) = (client.socket.try_clone().unwrap(), body.clone());
    let writing = thread::spawn(move || {
        writer
            .write_all(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())
            .unwrap();
        writer.write_all(&sent).unwrap();
    });
    assert!(client.message().unwrap().body == body);
    writing.join().unwrap();
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = serve(|mut conn, _| {
        for status in ["200 OK", "204 No Content", "304 Not Modified"] {
            conn.head();
            conn.send(&format!("HTTP/1.1 {status}\r\nX: y\r\nContent-Length: 5\r\n\r\n"));
        }
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        client.send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer_to("HEAD").unwrap().status(), status);
    }
}

#[test]
fn interim_answers_go_through_and_the_body_follows_100_continue() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(conn.exactly(3), b"abc");
        conn.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    assert_eq!(client.message().unwrap().status(), 201);
}

#[test]
fn an_answer_that_lasts_until_the_upstream_ends_ends_the_clients_connection() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\n\r\nall of it");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert_eq!(client.rest(), (b"all of it".to_vec(), End::Closed));
}

#[test]
fn http_1_0_ends_unless_both_sides_keep_it_alive() {
    let upstream = serve(|mut conn, _| {
        while conn.head().contains("keep-alive") {
            conn.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
        }
        conn.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.message().unwrap().text(), "ok");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "ok");
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[test]
fn an_answer_before_the_requests_end_arrives_and_ends_both_connections() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun");
    assert_eq!(client.message().unwrap().status(), 413);
    assert_eq!(client.rest().1, End::Closed);
}

#[test]
fn an_upgrade_becomes_a_tunnel_with_the_bytes_that_came_early() {
    let upstream = serve(|mut conn, _| {
        assert!(conn.head().contains("Upgrade: websocket"));
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly",
        );
        assert_eq!(conn.exactly(10), b"clientsaid");
        conn.send("done");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nclient");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    client.send("said");
    assert_eq!(client.exactly(9), b"earlydone");
}

#[test]
fn a_connect_that_is_granted_becomes_a_tunnel_and_one_that_is_not_stays_http() {
    let upstream = serve(|mut conn, _| {
        assert!(conn.head().starts_with("CONNECT x:1 "));
        conn.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhi");
        assert_eq!(conn.exactly(2), b"\x16\x03");
        conn.send("bye");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 407);
    client.send("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n");
    client.head();
    assert_eq!(client.exactly(2), b"hi");
    client.send_bytes(b"\x16\x03");
    assert_eq!(client.exactly(3), b"bye");
}

#[test]
fn what_comes_behind_a_connect_that_is_not_granted_is_no_request() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(conn.rest(), (Vec::new(), End::Closed));
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\nGET /early HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 407);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[test]
fn an_explicit_request_goes_to_the_authority_that_it_names() {
    let (one, two) = (echo("one"), echo("two"));
    let proxy = Proxy::start(one.address, &[]);
    let mut client = Conn::connect(proxy.explicit);
    for (name, upstream) in [("one", &one), ("two", &two), ("one", &one)] {
        client.send(&format!("GET http://{}/x HTTP/1.1\r\nHost: other\r\n\r\n", upstream.address));
        assert_eq!(client.message().unwrap().text(), format!("{name} /x "));
    }
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 400);
}

#[test]
fn what_follows_a_connect_to_the_explicit_listener_is_served_as_if_intercepted() {
    let upstream = echo("base");
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = Conn::connect(proxy.explicit);
    client.send(&format!("CONNECT {} HTTP/1.1\r\nHost: x:1\r\n\r\n", upstream.address));
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.send("GET /in HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "base /in ");
}

#[test]
fn a_clients_end_is_passed_on_and_the_answer_still_comes() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        assert_eq!(conn.rest(), (Vec::new(), End::Closed));
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.end();
    assert_eq!(client.message().unwrap().text(), "ok");
}
