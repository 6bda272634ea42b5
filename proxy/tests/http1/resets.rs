//! MATRICES F16: clients that reset their connection in the midst of an exchange.

use std::{
    io::Write as _,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Conn, DEADLINE, End, Proxy, Upstream, serve};

/// An upstream that answers nothing, and tells how a connection ended.
fn tells_its_end() -> (Upstream, mpsc::Receiver<End>) {
    let (said, ended) = mpsc::channel();
    let upstream = serve(move |mut conn, _| {
        conn.head();
        said.send(conn.rest().1).unwrap();
    });
    (upstream, ended)
}

#[test]
fn a_clients_reset_in_the_midst_is_passed_on_as_a_reset() {
    let (upstream, ended) = tells_its_end();
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
    let (upstream, ended) = tells_its_end();
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
