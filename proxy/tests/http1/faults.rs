//! Rows F of the matrix.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::harness::{DEADLINE, End, Proxy, echo, keyed, refusing, route, serve};

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
pub(crate) fn swallowing() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
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
