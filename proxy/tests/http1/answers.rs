//! Row B20 of the matrix: what is no answer, or more than one. And what answers say.

use std::sync::mpsc;

use crate::harness::{Conn, DEADLINE, End, Proxy, echo, keyed, route, serve};

/// An upstream that answers with `answer`; the client gets 502 and both connections end.
fn is_bad(answer: &'static str) {
    let (said, ended) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        conn.send(answer);
        conn.rest();
        said.send(()).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let said = client.message().unwrap();
    assert_eq!(said.status(), 502, "{answer:?}");
    assert!(said.field("proxy-status").unwrap().contains("error=http_protocol_error"), "{answer:?}");
    assert_eq!(client.rest(), (Vec::new(), End::Closed), "{answer:?}");
    assert_eq!(ended.recv_timeout(DEADLINE), Ok(()), "the upstream's connection goes on: {answer:?}");
}

#[test]
fn b20_answers_with_two_readings_an_unwanted_101_and_bytes_behind_the_end_are_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
        "garbage\r\n\r\n",
    ] {
        is_bad(answer);
    }
}

#[test]
fn b20_an_answer_without_a_request_is_never_the_answer_to_the_next_one() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, _) = client.rest();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains("evil"), "{text}");
}

#[test]
fn b20_bytes_behind_an_answer_are_not_the_answer_to_a_request_that_waits_already() {
    // The first answer is as long as the proxy's buffer, so that what is behind it is read apart from it.
    let upstream = serve(|mut conn, number| {
        conn.head();
        let head = |length| format!("HTTP/1.1 200 OK\r\nContent-Length: {length:05}\r\n\r\n");
        let length = 16 * 1024 - head(0).len();
        if number == 0 {
            conn.send(&format!("{}{}{}evil", head(length), "a".repeat(length), head(4)));
        } else {
            conn.send(&format!("{}good", head(4)));
        }
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(client.message().unwrap().text(), "good");
    assert_eq!(upstream.accepted(), 2);
}

#[test]
fn b20_a_broken_chunk_in_an_answer_resets_the_client() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        conn.head();
        conn.send("zz\r\n");
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert_eq!(client.exactly(8), b"3\r\nabc\r\n");
    // The next request waits in the proxy: the upstream goes on when the client's end has been passed on.
    client.end();
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn a_keyed_request_reaches_its_sandbox_and_its_answer_says_so() {
    let (base, sandbox) = (echo("base"), echo("sandbox"));
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[sandbox.address], false)], &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(&keyed("k"));
        let answer = client.message().unwrap();
        assert_eq!(answer.text(), "sandbox /k ");
        let status = answer.field("proxy-status").unwrap();
        let whole = format!("bellhop; decision=sandbox; key=\"k\"; next-hop=\"{}\"", sandbox.address);
        assert_eq!(status, whole);
        client.send("GET /u HTTP/1.1\r\nHost: app\r\n\r\n");
        let answer = client.message().unwrap();
        assert_eq!((answer.text().as_str(), answer.field("proxy-status")), ("base /u ", None));
    }
    assert_eq!(sandbox.accepted(), 1);
}

#[test]
fn what_a_route_decided_is_told_to_the_next_proxy() {
    let base = echo("base");
    let sandbox = serve(|mut conn, _| {
        let head = conn.head();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        conn.rest();
    });
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[sandbox.address], false)], &[]);
    let mut client = proxy.client();
    client.send(&keyed("k"));
    let head = client.message().unwrap().text();
    assert!(head.contains("\r\nbellhop-decided: app.default:80\r\n"), "{head}");
}

#[test]
fn evidence_is_as_much_as_was_asked_for() {
    let (base, sandbox) = (echo("base"), echo("sandbox"));
    for (level, expected) in [("reason", Some("bellhop; decision=sandbox")), ("errors", None)] {
        let units = vec![route("k", &[sandbox.address], false)];
        // Readiness is asked for by a reason, which `errors` does not tell: there the list is taken to be in force once
        // the sandbox answers.
        let proxy = Proxy::with_routes(base.address, units, &["--proxy-status", level]);
        let mut client = proxy.client();
        let answer = loop {
            client.send(&keyed("k"));
            let answer = client.message().unwrap();
            if answer.text().starts_with("sandbox") {
                break answer;
            }
        };
        assert_eq!(answer.field("proxy-status"), expected);
    }
}

#[test]
fn while_draining_a_client_that_stays_silent_behind_its_connect_keeps_nobody_waiting() {
    let base = echo("base");
    let proxy = Proxy::start(base.address, &[]);
    let mut client = Conn::connect(proxy.explicit);
    client.send(&format!("CONNECT {} HTTP/1.1\r\nHost: x:1\r\n\r\n", base.address));
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    proxy.running.drain();
    // Long before the drain's deadline.
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[test]
fn while_draining_each_answer_closes() {
    let base = echo("base");
    let proxy = Proxy::start(base.address, &[]);
    let mut client = proxy.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().field("connection"), None);
    proxy.running.drain();
    client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.message().unwrap();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("base /2 ", Some("close")));
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}
