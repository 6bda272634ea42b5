//! Rows F of the matrix.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Conn, DEADLINE, End, Proxy, echo, keyed, refusing, route, serve};

#[test]
fn f1_a_sandbox_that_refuses_is_503_that_says_why_and_the_connection_goes_on() {
    let base = echo("base");
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[refusing()], false)], &[]);
    let mut client = proxy.client();
    client.send(&keyed("k"));
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 503);
    let status = answer.field("proxy-status").unwrap();
    assert!(
        status.contains("error=connection_refused") && status.contains("reason=connect-refused"),
        "{status}"
    );
    client.send("GET /u HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().text(), "base /u ");
}

#[test]
fn f1_with_fallback_the_baseline_answers_and_says_so() {
    let base = echo("base");
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[refusing()], true)], &[]);
    let mut client = proxy.client();
    client.send(&keyed("k"));
    let answer = client.message().unwrap();
    assert_eq!(answer.text(), "base /k ");
    let status = answer.field("proxy-status").unwrap();
    assert!(status.contains("decision=baseline; reason=fallback"), "{status}");
}

#[test]
fn f1_where_the_fallback_fails_too_the_evidence_names_the_baseline() {
    let proxy = Proxy::with_routes(refusing(), vec![route("k", &[refusing()], true)], &[]);
    let end = Instant::now() + DEADLINE;
    // Until the routes are in force the request was meant for the baseline.
    loop {
        let mut client = proxy.client();
        client.send(&keyed("k"));
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), 502);
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("decision=baseline;"), "{status}");
        if status.contains("decision=baseline; fallback; reason=connect-refused") {
            return;
        }
        assert!(Instant::now() < end, "{status}");
    }
}

#[test]
fn f1_a_healthy_endpoint_answers_where_another_one_refuses() {
    let (base, sandbox) = (echo("base"), echo("sandbox"));
    let endpoints = [refusing(), sandbox.address];
    let proxy = Proxy::with_routes(base.address, vec![route("k", &endpoints, false)], &[]);
    for _ in 0..8 {
        let mut client = proxy.client();
        client.send(&keyed("k"));
        assert_eq!(client.message().unwrap().text(), "sandbox /k ");
    }
}

/// A listener whose queue is full: the kernel drops what else wants to connect.
fn swallowing() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let fills = |_: &usize| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let waiting = (0..4).map_while(|at| fills(&at)).collect();
    (listener, waiting, address)
}

#[test]
fn f2_a_sandbox_that_swallows_packets_is_503_after_twice_the_connect_time_out() {
    let base = echo("base");
    let (_listener, _waiting, address) = swallowing();
    let more = ["--connect-timeout", "200ms"];
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[address], false)], &more);
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send(&keyed("k"));
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.field("proxy-status").unwrap().contains("reason=connect-timeout"));
    assert!(begun.elapsed().as_millis() >= 400, "{:?}", begun.elapsed());
}

#[test]
fn f3_a_sandbox_that_dies_in_mid_answer_cuts_it_and_nobody_else_answers() {
    for (framing, dies_by) in
        [("Content-Length: 10", End::Closed), ("X: y", End::Reset), ("Content-Length: 10", End::Reset)]
    {
        let base = echo("base");
        let (said, heard) = mpsc::channel::<()>();
        let heard = std::sync::Mutex::new(heard);
        let sandbox = serve(move |mut conn, _| {
            conn.head();
            conn.send(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\nhalf"));
            heard.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            if dies_by == End::Reset {
                conn.reset();
            }
        });
        let proxy = Proxy::with_routes(base.address, vec![route("k", &[sandbox.address], true)], &[]);
        let loaded = base.accepted();
        let mut client = proxy.client();
        client.send(&keyed("k"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        assert_eq!(client.exactly(4), b"half");
        said.send(()).unwrap();
        assert_eq!(client.rest(), (Vec::new(), dies_by), "{framing}");
        // One connection of each client is dialled to the baseline, and is never asked.
        assert!(base.accepted() <= loaded + 1);
        assert_eq!(sandbox.accepted(), 1);
    }
}

#[test]
fn f3_an_upstream_that_resets_while_it_is_still_written_to_never_gave_a_whole_answer() {
    let (said, heard) = mpsc::channel::<()>();
    let heard = std::sync::Mutex::new(heard);
    // Its answer lasts until the connection ends, and it reads nothing of the request's body.
    let upstream = serve(move |mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        heard.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        conn.reset();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(4), b"half");
    // Until nobody takes any more: from then on the proxy waits to write.
    client.socket.set_nonblocking(true).unwrap();
    let mut full = Instant::now();
    while full.elapsed().as_millis() < 300 {
        if std::io::Write::write(&mut client.socket, &[b'x'; 65_536]).is_ok() {
            full = Instant::now();
        }
    }
    client.socket.set_nonblocking(false).unwrap();
    said.send(()).unwrap();
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
}

#[test]
fn f4_a_baseline_that_refuses_is_502_that_says_why_and_keyed_requests_reach_their_sandbox() {
    let sandbox = echo("sandbox");
    let proxy = Proxy::with_routes(refusing(), vec![route("k", &[sandbox.address], false)], &[]);
    let end = Instant::now() + DEADLINE;
    // Until the routes are in force a keyed request goes to the baseline, too.
    let mut client = loop {
        let mut client = proxy.client();
        client.send(&keyed("k"));
        match client.message().unwrap().text().as_str() {
            "sandbox /k " => break client,
            other => assert!(other.contains("connect-refused") && Instant::now() < end, "{other}"),
        }
    };
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 502);
    assert!(answer.field("proxy-status").unwrap().contains("error=connection_refused"));
    assert_eq!(client.rest().1, End::Closed);
}

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

#[test]
fn a_baseline_that_ended_unused_while_a_sandbox_answered_is_dialled_anew() {
    let sandbox = echo("sandbox");
    let old = Arc::new(AtomicUsize::new(0));
    let (ended, ends) = mpsc::channel();
    let (limit, ended) = (Arc::clone(&old), std::sync::Mutex::new(ended));
    // Connections older than the limit end; the others answer.
    let base = serve(move |mut conn, number| {
        conn.socket.set_nonblocking(true).unwrap();
        while conn.socket.peek(&mut [0]).is_err() {
            if number < limit.load(Ordering::SeqCst) {
                drop(conn);
                return ended.lock().unwrap().send(()).unwrap();
            }
            thread::yield_now();
        }
        conn.socket.set_nonblocking(false).unwrap();
        while conn.message().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbase");
        }
    });
    let proxy = Proxy::with_routes(base.address, vec![route("k", &[sandbox.address], false)], &[]);
    let before = base.accepted();
    let mut client = proxy.client();
    // A silent client's baseline is dialled.
    base.until_one_more_than(before);
    client.send(&keyed("k"));
    assert_eq!(client.message().unwrap().text(), "sandbox /k ");
    while ends.try_recv().is_err() {
        old.store(base.accepted(), Ordering::SeqCst);
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.message().unwrap().text(), "base");
}

#[test]
fn an_upstream_that_ends_while_idle_ends_the_clients_connection_if_it_answered_last() {
    let base = serve(|mut conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let proxy = Proxy::start(base.address, &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

#[test]
fn a_clients_reset_in_the_midst_is_passed_on_as_a_reset() {
    let (said, ended) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        said.send(conn.rest().1).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.reset();
    assert_eq!(ended.recv_timeout(DEADLINE).unwrap(), End::Reset);
}

/// Sends a body until nobody takes more of it; answers how much went.
fn send_until_blocked(client: &mut Conn) -> usize {
    client.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    while let Ok(count) = client.socket.write(&[b'x'; 64 * 1024]) {
        sent += count;
    }
    sent
}

#[test]
fn a_clients_reset_is_passed_on_while_its_upstream_takes_no_more_of_its_upload() {
    let (said, ended) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            // What came before stays unread.
            if let Some(error) = conn.socket.take_error().unwrap() {
                return said.send(error.kind()).unwrap();
            }
            thread::yield_now();
        }
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    send_until_blocked(&mut client);
    client.reset();
    assert_eq!(ended.recv_timeout(DEADLINE).unwrap(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_clients_reset_is_passed_on_while_more_pipelined_requests_wait_than_there_is_room_for() {
    let (said, ended) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        said.send(conn.rest().1).unwrap();
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3_000));
    client.reset();
    assert_eq!(ended.recv_timeout(DEADLINE).unwrap(), End::Reset);
}

/// Nothing of the watch over a blocked client outlives the exchange: the connection could not end.
#[test]
fn an_upload_that_was_blocked_for_a_while_ends_as_any_other() {
    let (go, goes) = mpsc::channel::<usize>();
    let goes = std::sync::Mutex::new(goes);
    let upstream = serve(move |mut conn, _| {
        conn.head();
        let length = goes.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        let chunk = length + "4000000\r\n\r\n0\r\n\r\n".len();
        assert_eq!(conn.exactly(chunk).len(), chunk);
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let proxy = Proxy::start(upstream.address, &[]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4000000\r\n");
    let length = send_until_blocked(&mut client);
    go.send(64 * 1024 * 1024).unwrap();
    client.socket.set_write_timeout(Some(DEADLINE)).unwrap();
    client.send_bytes(&vec![b'x'; 64 * 1024 * 1024 - length]);
    client.send("\r\n0\r\n\r\n");
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}
