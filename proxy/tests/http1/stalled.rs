//! `--idle-timeout` where an exchange is under way: peers that vanished say nothing more, and hold a connection for ever
//! unless somebody looks.

use std::{thread, time::Duration};

use crate::harness::{Conn, End, Proxy, Upstream, serve};

const FLAGS: &[&str] = &["--idle-timeout", "1s"];
/// Well over the time-out as the proxy tells it: to a quarter of its length, in whole seconds.
const LONG: Duration = Duration::from_secs(8);
const ASKED: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An upstream that says this in answer to a head and then nothing; it reads on.
fn silent_after(words: &'static str) -> Upstream {
    serve(move |mut conn, _| {
        conn.head();
        conn.send(words);
        conn.rest();
    })
}

/// Sends this and waits for what comes; the connection has to end by a reset.
fn is_reset(upstream: &Upstream, request: &str) {
    let proxy = Proxy::start(upstream.address, FLAGS);
    let mut client = proxy.client();
    client.send(request);
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn a_client_that_stops_in_the_midst_of_its_body_is_reset() {
    is_reset(&silent_after(""), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
}

#[test]
fn an_upstream_that_never_answers_costs_its_client_the_connection() {
    is_reset(&silent_after(""), ASKED);
}

#[test]
fn an_upstream_that_stops_in_the_midst_of_its_answer_costs_its_client_the_connection() {
    is_reset(&silent_after("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ASKED);
}

#[test]
fn an_answer_that_moves_lasts_however_long_it_takes() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..LONG.as_millis() / 200 {
            conn.send("1\r\na\r\n");
            thread::sleep(Duration::from_millis(200));
        }
        conn.send("0\r\n\r\n");
    });
    let proxy = Proxy::start(upstream.address, FLAGS);
    let mut client: Conn = proxy.client();
    client.send(ASKED);
    assert_eq!(client.message().unwrap().body.len(), 40);
}
