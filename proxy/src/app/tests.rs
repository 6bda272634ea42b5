//! A whole proxy on loopback, between real sockets.

mod detection;
mod ends;
mod explicit;
mod long;
mod refusals;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use super::{Running, start};
use crate::{Config, counters::Event};

/// Longer than anything here takes; whoever waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(10);

/// A proxy in front of `upstream`, with more `flags`.
fn proxy(upstream: SocketAddr, flags: &[&str]) -> Running {
    let upstream = upstream.to_string();
    let fixed = ["--listen", "127.0.0.1:0", "--upstream", &upstream, "--admin", "off"];
    run(&[&fixed, flags].concat())
}

fn run(flags: &[&str]) -> Running {
    start(Config::from_args(flags).unwrap()).unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn dial(proxy: &Running) -> TcpStream {
    with_deadline(TcpStream::connect(proxy.addresses()[0]).unwrap())
}

fn accept(listener: &TcpListener) -> TcpStream {
    with_deadline(listener.accept().unwrap().0)
}

/// A tunnel through a proxy: the client's and the server's end, between which the first byte has passed.
fn tunnel(proxy: &Running, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = dial(proxy);
    client.write_all(b"\x01").unwrap();
    let mut server = accept(listener);
    assert_eq!(read(&mut server, 1), b"\x01");
    (client, server)
}

fn with_deadline(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn read(socket: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    socket.read_exact(&mut read).unwrap();
    read
}

/// Writes `sent` in pieces and expects them all at the other end.
fn passes(from: &mut TcpStream, to: &mut TcpStream, sent: &[u8]) {
    from.write_all(sent).unwrap();
    assert_eq!(read(to, sent.len()), sent);
}

fn resets(socket: &TcpStream) {
    let linger = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    linger.unwrap();
}

fn is_reset(socket: &mut TcpStream) -> bool {
    let error = socket.read(&mut [0; 64]).map(|read| panic!("{read} bytes instead of a reset")).unwrap_err();
    error.kind() == std::io::ErrorKind::ConnectionReset
}

/// Polls until `done`.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn counted(proxy: &Running, event: Event, times: u64) {
    until(&format!("{} {times} times", event.as_str()), || proxy.shared.counters.of(event) == times);
}

/// What the status listener tells of one series.
fn metric(proxy: &Running, series: &str) -> u64 {
    let mut socket = with_deadline(TcpStream::connect(proxy.status().unwrap()).unwrap());
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    socket.read_to_string(&mut metrics).unwrap();
    let line = metrics.lines().find(|line| line.starts_with(series)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[track_caller]
fn no_connections_are_left(proxy: &Running) {
    until("no connections are left", || proxy.shared.places.held() == 0);
}
