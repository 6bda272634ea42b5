//! `--request-timeout`: the time from a request's head until the head of its answer, and no longer.

use std::{sync::mpsc, thread, time::Duration};

use bellhop_api::watch::Unit;

use crate::{
    faults::swallowing,
    harness::{Conn, DEADLINE, End, Proxy, Upstream, echo, keyed, route, serve},
};

/// Where nothing but silence is expected.
const SHORT: &[&str] = &["--request-timeout", "200ms"];
/// Where some answers have to be in time, on a busy machine as well.
const FLAGS: &[&str] = &["--request-timeout", "500ms"];
/// Longer than both.
const LONGER: Duration = Duration::from_millis(1200);

/// Answers every request but those for `/hang`, and says how a connection ended that was left with one.
fn hanging(name: &'static str) -> (Upstream, mpsc::Receiver<End>) {
    let (ended, ends) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        loop {
            let head = conn.head();
            if head.contains(" /hang ") {
                let _ = ended.send(conn.rest().1);
                return;
            }
            if head.is_empty() {
                return;
            }
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
        }
    });
    (upstream, ends)
}

/// Reads the answer that a request without one gets, and the connection's end behind it.
fn is_timed_out(client: &mut Conn, decision: &str) {
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 504, "{answer:?}");
    assert!(answer.head.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer:?}");
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.text(), "bellhop: request-timeout\n");
    let said = answer.field("proxy-status").unwrap();
    let wanted = format!("error=http_response_timeout; decision={decision}; reason=request-timeout");
    assert!(said.contains(&wanted), "{said}");
    client.end();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[test]
fn a_request_without_an_answer_is_504_its_upstream_is_reset_and_nobody_is_asked_again() {
    let (upstream, ends) = hanging("base");
    let proxy = Proxy::start(upstream.address, FLAGS);
    let mut client = proxy.client();
    // The connection has served before: a GET whose connection had died there would be sent again.
    client.send("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "base");
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    is_timed_out(&mut client, "baseline");
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), End::Reset);
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn a_request_that_is_not_whole_by_then_is_504_and_its_upstream_is_reset() {
    let (upstream, ends) = hanging("base");
    let proxy = Proxy::start(upstream.address, SHORT);
    let mut client = proxy.client();
    client.send("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    is_timed_out(&mut client, "baseline");
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), End::Reset);
}

#[test]
fn an_answer_whose_head_has_come_may_take_as_long_as_it_does() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl");
        thread::sleep(LONGER);
        conn.send("ow");
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
    });
    let proxy = Proxy::start(upstream.address, FLAGS);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "slow");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "next");
}

#[test]
fn interim_answers_and_half_a_head_do_not_end_the_wait() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n");
        conn.rest();
    });
    let proxy = Proxy::start(upstream.address, SHORT);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 103 "));
    is_timed_out(&mut client, "baseline");
}

#[test]
fn an_upgrade_that_was_granted_may_be_silent() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        let said = conn.exactly(4);
        conn.send_bytes(&said);
    });
    let proxy = Proxy::start(upstream.address, FLAGS);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    thread::sleep(LONGER);
    client.send("ping");
    assert_eq!(client.exactly(4), b"ping");
}

#[test]
fn a_sandbox_without_an_answer_is_504_and_the_baseline_is_not_asked_in_its_place() {
    let (base, (sandbox, ends)) = (echo("base"), hanging("sandbox"));
    let routes: Vec<Unit> = vec![route("k", &[sandbox.address], true)];
    let proxy = Proxy::with_routes(base.address, routes, FLAGS);
    let mut client = proxy.client();
    client.send(&keyed("k").replace("/k", "/hang"));
    is_timed_out(&mut client, "sandbox");
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), End::Reset);
    // It is not set aside for one slow answer.
    let mut client = proxy.client();
    client.send(&keyed("k"));
    assert_eq!(client.message().unwrap().text(), "sandbox");
}

#[test]
fn the_time_covers_the_dial_and_that_of_a_connect() {
    let (_listener, _waiting, nobody) = swallowing();
    let proxy = Proxy::start(nobody, SHORT);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    is_timed_out(&mut client, "baseline");
    let mut client = Conn::connect(proxy.explicit);
    client.send(&format!("CONNECT {nobody} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.field("proxy-status").unwrap().contains("reason=request-timeout"), "{answer:?}");
}
