//! `--request-timeout`: the time from a request's head until the head of its answer, and no longer.

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use bellhop_api::watch::Unit;

use crate::{
    faults::swallowing,
    harness::{Conn, DEADLINE, End, Message, Proxy, Upstream, echo, keyed, route, serve},
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

/// Reads the answer that a request without one gets.
fn is_timed_out(client: &mut Conn, decision: &str) -> Message {
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 504, "{answer:?}");
    assert!(answer.head.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer:?}");
    assert_eq!(answer.text(), "bellhop: request-timeout\n");
    let said = answer.field("proxy-status").unwrap();
    let wanted = format!("error=http_response_timeout; decision={decision}; reason=request-timeout");
    assert!(said.contains(&wanted), "{said}");
    answer
}

/// Such an answer, and the connection's end behind it.
fn is_timed_out_and_closed(client: &mut Conn, decision: &str) {
    assert_eq!(is_timed_out(client, decision).field("connection"), Some("close"));
    client.end();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

/// Such an answer, behind which the connection goes on: the next request is served, by a connection of its own.
fn is_timed_out_and_goes_on(client: &mut Conn, decision: &str, next: &str) {
    assert_eq!(is_timed_out(client, decision).field("connection"), None);
    client.send("GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), next);
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
    is_timed_out_and_goes_on(&mut client, "baseline", "base");
    assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), End::Reset);
    assert_eq!(upstream.accepted(), 2);
}

/// Whatever of the request, and behind it, the proxy still held or had let go of by then.
#[test]
fn a_connection_whose_request_came_whole_goes_on_behind_its_504() {
    let (late, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = serve(move |mut conn, _| {
        while let Some(request) = conn.message() {
            let name = request.head.split(' ').nth(1).unwrap_or_default();
            if name != "/hang" && name != "/early" {
                let text = format!("{name} {}", request.body.len());
                conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
                continue;
            }
            if name == "/early" {
                conn.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n");
            }
            // Too late, and never to be seen.
            told.lock().unwrap().recv().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
            return;
        }
    });
    let proxy = Proxy::start(upstream.address, FLAGS);
    let long = "x".repeat(100_000);
    let chunks = format!("186a0\r\n{long}\r\n0\r\n\r\n");
    for (request, interim) in [
        ("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), false),
        ("GET /early HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), true),
        ("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), false),
        (format!("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{long}"), false),
        (format!("POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"), true),
    ] {
        let mut client = proxy.client();
        client.send(&format!("{request}POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
        if interim {
            assert!(client.head().starts_with("HTTP/1.1 103 "));
        }
        assert_eq!(is_timed_out(&mut client, "baseline").field("connection"), None);
        late.send(()).unwrap();
        assert_eq!(client.message().unwrap().text(), "/next 2");
        client.send("GET /again HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.message().unwrap().text(), "/again 0");
        assert_eq!(client.rest(), (Vec::new(), End::Closed));
    }
}

#[test]
fn a_connection_whose_client_wants_no_more_closes_behind_its_504() {
    let (upstream, _ends) = hanging("base");
    let proxy = Proxy::start(upstream.address, SHORT);
    let mut client = proxy.client();
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    is_timed_out_and_closed(&mut client, "baseline");
}

#[test]
fn a_request_that_is_not_whole_by_then_is_504_and_its_upstream_is_reset() {
    let (upstream, ends) = hanging("base");
    let proxy = Proxy::start(upstream.address, SHORT);
    let mut client = proxy.client();
    client.send("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    is_timed_out_and_closed(&mut client, "baseline");
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
    is_timed_out_and_goes_on(&mut client, "sandbox", "base /quick ");
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
    assert_eq!(is_timed_out(&mut client, "baseline").field("connection"), None);
    let mut client = Conn::connect(proxy.explicit);
    client.send(&format!("CONNECT {nobody} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.field("proxy-status").unwrap().contains("reason=request-timeout"), "{answer:?}");
}
