//! The access log of a process.

use http::HeaderValue;
use rustix::process::Signal;

use crate::{
    harness::{Conn, echo, keyed, serve},
    peer,
    program::Program,
};

#[test]
fn a_request_that_is_cancelled_is_written_by_either_engine() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.rest();
    });
    let proxy = Program::before(upstream.address, &[]);
    let mut client = Conn::connect(proxy.address);
    client.send(&keyed("k"));
    while upstream.accepted() == 0 {
        std::thread::yield_now();
    }
    client.reset();
    let line = proxy.line("/k");
    assert_eq!((&line["protocol"], &line["status"]), (&"http1".into(), &0.into()), "{line}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let proxy = runtime.block_on(async {
        let (listener, upstream) = peer::listener().await;
        let proxy = Program::before(upstream, &[]);
        let mut send = peer::connect(proxy.address).await.ready().await.unwrap();
        let mut request = peer::get("/h2");
        request.headers_mut().insert("baggage", HeaderValue::from_static("routing-key=k"));
        let (answer, _) = send.send_request(request, true).unwrap();
        let mut server = h2::server::handshake(peer::accept(&listener).await).await.unwrap();
        let call = peer::within(server.accept()).await.unwrap().unwrap();
        // The client resets the stream.
        drop(answer);
        tokio::select! {
            _ = server.accept() => {}
            line = tokio::task::spawn_blocking(move || (proxy.line("/h2"), proxy)) => {
                let (line, proxy) = line.unwrap();
                assert_eq!((&line["protocol"], &line["status"]), (&"http2".into(), &0.into()), "{line}");
                drop(call);
                return Some(proxy);
            }
        }
        None
    });
    assert!(proxy.is_some(), "the upstream's connection ended");
}

#[test]
fn every_line_is_written_before_the_process_ends() {
    let upstream = echo("baseline");
    let mut proxy = Program::before(upstream.address, &[]);
    let mut client = Conn::connect(proxy.address);
    for _ in 0..100 {
        client.send(&keyed("k"));
        assert_eq!(client.message().unwrap().status(), 200);
    }
    drop(client);
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.ends().success());
    assert_eq!(proxy.lines().len(), 100);
}

#[test]
fn a_request_that_the_end_of_the_drain_cuts_is_written() {
    let upstream = serve(|mut conn, _| {
        conn.head();
        conn.rest();
    });
    let mut proxy = Program::before(upstream.address, &["--drain-timeout", "200ms"]);
    let mut client = Conn::connect(proxy.address);
    client.send(&keyed("k"));
    while upstream.accepted() == 0 {
        std::thread::yield_now();
    }
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.ends().success());
    assert_eq!(proxy.lines().len(), 1);
    assert_eq!(proxy.line("/k")["status"], 0);
}
