//! MATRICES F5: what is sent again, and what never is.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::harness::{Conn, Proxy, echo, keyed, route, serve};

#[test]
fn f5_a_get_is_sent_again_where_the_upstream_closed_just_then_and_a_post_never() {
    // Each connection answers once and closes when the second request has come: always in the worst moment.
    let upstream = serve(|mut conn, _| {
        let first = conn.message().unwrap();
        let target = first.head.split(' ').nth(1).unwrap().to_owned();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        conn.head();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    for number in 0..50 {
        client.send(&format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.message().unwrap().text(), format!("/{number}"));
    }
    let before = upstream.accepted();
    client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.message().unwrap().status(), 502);
    assert_eq!(upstream.accepted(), before);
}

/// F5, in the amount that the matrix asks for: each request but the first meets a connection that closes just then.
#[test]
fn f5_of_ten_thousand_gets_none_fails_and_no_post_is_sent_twice() {
    const GETS: usize = 10_000;
    let posts = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&posts);
    let upstream = serve(move |mut conn, _| {
        let Some(request) = conn.message() else { return };
        seen.fetch_add(usize::from(request.head.starts_with("POST")), Ordering::SeqCst);
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // The second is read, and not answered.
        let request = conn.message();
        let is_post = request.is_some_and(|request| request.head.starts_with("POST"));
        seen.fetch_add(usize::from(is_post), Ordering::SeqCst);
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    for number in 0..GETS {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), 200, "request {number}: {answer:?}");
    }
    let retried = metric(&proxy, "bellhop_proxy_retries_total{side=\"baseline\"}");
    assert_eq!(retried, GETS as u64 - 1);
    assert_eq!(metric(&proxy, "bellhop_proxy_retries_refused_total{side=\"baseline\"}"), 0);
    let (mut sent, mut failed) = (0, 0);
    for _ in 0..200 {
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
            sent += 1;
            if client.message().is_none_or(|answer| answer.status() != 200) {
                failed += 1;
                break;
            }
        }
    }
    assert_eq!(posts.load(Ordering::SeqCst), sent, "each POST was seen once");
    assert_eq!(failed, 200, "the second on each connection has to fail");
}

/// What is sent again is bounded, also where every single request meets the fault; what nobody saw is free.
#[test]
fn f5_the_retry_budget_bounds_what_is_sent_again() {
    let upstream = serve(|mut conn, _| {
        conn.message();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conn.message();
    });
    let proxy = Proxy::start(upstream.address, &["--retry-budget", "0"]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 200);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 502);
    assert!(answer.field("proxy-status").unwrap().contains("reason=closed"), "{answer:?}");
    assert_eq!(metric(&proxy, "bellhop_proxy_retries_total{side=\"baseline\"}"), 0);
    assert_eq!(metric(&proxy, "bellhop_proxy_retries_refused_total{side=\"baseline\"}"), 1);

    let proxy = Proxy::start(upstream.address, &["--retry-budget", "1"]);
    let mut refused = 0;
    for _ in 0..400 {
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            refused += usize::from(client.message().unwrap().status() == 502);
        }
    }
    let granted = metric(&proxy, "bellhop_proxy_retries_total{side=\"baseline\"}");
    assert!(granted >= 100, "what is saved up is used: {granted}");
    assert!(refused > 0, "400 in a row are more than what is saved up and a hundredth of them");
    let counted = metric(&proxy, "bellhop_proxy_retries_refused_total{side=\"baseline\"}");
    assert_eq!(counted, refused as u64);
}

fn metric(proxy: &Proxy, series: &str) -> u64 {
    let mut conn = Conn::connect(proxy.running.admin().unwrap());
    conn.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = conn.message().unwrap().text();
    let line =
        text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn f5_the_baseline_never_answers_what_a_sandbox_was_sent() {
    let base = echo("base");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Takes one connection, answers once, refuses all others, and closes when the second request has come.
    thread::spawn(move || {
        let mut conn = Conn::new(listener.accept().unwrap().0);
        drop(listener);
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsandbox");
        conn.head();
    });
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[address], true)], &[]);
    let mut client = proxy.client();
    client.send(&keyed("k"));
    assert_eq!(client.message().unwrap().text(), "sandbox");
    client.send(&keyed("k"));
    assert_eq!(client.message().unwrap().status(), 503);
}
