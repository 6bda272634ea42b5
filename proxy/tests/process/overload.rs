//! More than there is room for: rows F13, F14 and F23, and the memory budget.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    harness::{DEADLINE, PROGRAM, Proxy, listener, pass, until, unused},
    load,
};

const SECOND: Duration = Duration::from_secs(1);
/// User and system time in a second, in ticks of 10 ms, of a proxy that does next to nothing; other work on the machine
/// lengthens each tick that it does get.
const NO_SPIN_TICKS: u64 = 30;

/// A proxy with a status listener: its flags, and where the listener is.
pub(crate) fn watched(upstream: SocketAddr, flags: &str) -> (Proxy, SocketAddr) {
    let status = unused();
    (Proxy::before(upstream, &format!("--status-listen {status} {flags}")), status)
}

/// The value of one series, at the front of a line.
pub(crate) fn metric(status: SocketAddr, series: &str) -> Option<u64> {
    let answer = exchange(status, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let line = answer.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What comes back to one request, to the end of the connection.
fn exchange(to: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = socket.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer);
    answer
}

const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n";

/// A client that asks for much and takes none of it.
pub(crate) fn reads_nothing(proxy: SocketAddr) -> TcpStream {
    let mut socket = reads_little(proxy);
    socket.write_all(LARGE).unwrap();
    socket
}

/// A client for which little stands in the kernel: what it does not take stands in the proxy.
fn reads_little(proxy: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&proxy.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// F13.
#[test]
fn f13_out_of_descriptors_accepting_pauses_and_recovers_without_spinning() {
    let (listener, address) = listener();
    let proxy =
        Proxy::start(&format!("ulimit -n 64 && exec $PROXY --upstream {address} --max-connections 1000"));
    let clients: Vec<_> = (0..60).map(|_| proxy.dial()).collect();
    let mut servers = Vec::new();
    listener.set_nonblocking(true).unwrap();
    let settled = Instant::now() + Duration::from_secs(1);
    while Instant::now() < settled {
        servers.extend(listener.accept().map(|(server, _)| server));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(servers.len() < 60, "descriptors never ran out");
    let (began, ticks) = (Instant::now(), proxy.ticks());
    std::thread::sleep(Duration::from_secs(1));
    let busy = proxy.ticks() - ticks;
    assert!(busy < NO_SPIN_TICKS, "{busy} ticks in {:?}: it spins", began.elapsed());
    // Once others have gone, new connections are served.
    drop((clients, servers));
    let end = Instant::now() + DEADLINE;
    loop {
        let mut client = proxy.dial();
        client.write_all(b"\x01new").unwrap();
        let moment = Instant::now() + Duration::from_secs(1);
        while Instant::now() < moment {
            let Ok((mut server, _)) = listener.accept() else { continue };
            server.set_nonblocking(false).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut read = [0; 4];
            if server.read_exact(&mut read).is_ok() && &read == b"\x01new" {
                return;
            }
        }
        assert!(Instant::now() < end, "it did not recover");
    }
}

/// F13: an error of a listener that never passes by itself. The test holds the same socket, and breaks it.
#[test]
fn f13_a_listener_that_fails_for_good_is_no_reason_to_spin_and_serves_again_once_it_can() {
    let (server, upstream) = listener();
    // A port that was asked for stays with a socket that is shut down; one that the kernel chose does not.
    let address = unused();
    let listen = TcpListener::bind(address).unwrap();
    let arguments = format!("--listen {address} --upstream {upstream} --admin off");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec 3<&0 </dev/null; export LISTEN_PID=$$; exec $PROXY {arguments}")]);
    command.env("PROXY", PROGRAM).env("BELLHOP_LOG_FORMAT", "json").env("LISTEN_FDS", "1");
    command.env("LISTEN_FDNAMES", "listen").stdout(Stdio::null());
    let mut proxy =
        Proxy::from_command(command.stdin(Stdio::from(OwnedFd::from(listen.try_clone().unwrap()))));
    let (mut client, mut served) = (proxy.dial(), server.accept().unwrap().0);
    pass(&mut client, &mut served, b"\x01before");

    SockRef::from(&listen).shutdown(std::net::Shutdown::Both).unwrap();
    std::thread::sleep(SECOND / 5);
    let ticks = proxy.ticks();
    std::thread::sleep(SECOND);
    let busy = proxy.ticks() - ticks;
    assert!(busy < NO_SPIN_TICKS, "{busy} ticks in a second: it spins");
    pass(&mut client, &mut served, b"still here");

    SockRef::from(&listen).listen(16).unwrap();
    let (mut client, mut served) = (proxy.dial(), server.accept().unwrap().0);
    pass(&mut client, &mut served, b"\x01after");
    assert_eq!(proxy.child.try_wait().unwrap(), None);
}

/// F14: at the limit new connections wait in the kernel's queue, until one ends.
#[test]
fn f14_at_the_connection_limit_new_connections_wait_and_old_ones_go_on() {
    let (server, upstream) = listener();
    let (proxy, status) = watched(upstream, "--max-connections 4");
    let mut old: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, mut served) = (proxy.dial(), server.accept().unwrap().0);
            pass(&mut client, &mut served, b"\x01hello");
            (client, served)
        })
        .collect();
    let mut waiting = proxy.dial();
    waiting.write_all(b"\x01late").unwrap();
    let reached = "bellhop_proxy_connection_events_total{event=\"limit-reached\"}";
    until("the limit to be counted", || (metric(status, reached)? > 0).then_some(()));
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it was served beyond the limit");
    server.set_nonblocking(false).unwrap();
    for (client, served) in &mut old {
        pass(client, served, b"goes on");
        pass(served, client, b"both ways");
    }
    drop(old.pop());
    let mut served = server.accept().unwrap().0;
    let mut word = [0; 5];
    served.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"\x01late");
}

/// A memory budget below what the proxy holds already: everything is shed, and told why.
#[test]
fn above_the_memory_budget_requests_are_answered_503_and_counted_and_other_connections_reset() {
    let (proxy, status) = watched(load::server(), "--max-memory 16MiB");
    let get = "GET /small HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(exchange(proxy.addresses[0], get).starts_with("HTTP/1.1 200"), "within the budget");
    assert_eq!(metric(status, "bellhop_proxy_overloaded"), Some(0));
    assert_eq!(metric(status, "bellhop_proxy_memory_budget_bytes"), Some(16 << 20));
    // Readers that read nothing make the proxy hold a buffer each.
    let stuck: Vec<_> = (0..1500).map(|_| reads_nothing(proxy.addresses[0])).collect();
    until("the budget to be passed", || (metric(status, "bellhop_proxy_overloaded")? == 1).then_some(()));
    let answer = exchange(proxy.addresses[0], get);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("reason=overload") && answer.contains("Connection: close"), "{answer}");
    let grpc = "POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    assert!(exchange(proxy.addresses[0], grpc).contains("reason=overload"));
    over_http2(proxy.addresses[0]);
    let mut opaque = proxy.dial();
    opaque.write_all(b"\x01word").unwrap();
    let ended = opaque.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    let refused = "bellhop_proxy_connection_events_total{event=\"refused-overload\"}";
    assert_eq!(metric(status, refused), Some(1));
    assert!(shed(status) >= 4);
    // Once memory was given back, requests are served again.
    drop(stuck);
    until("memory to be given back", || (metric(status, "bellhop_proxy_overloaded")? == 0).then_some(()));
    assert!(exchange(proxy.addresses[0], get).starts_with("HTTP/1.1 200"));
}

/// Over HTTP/2 the same; a gRPC caller is told where it looks: in trailers alone (DESIGN §3.8).
fn over_http2(to: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = |content_type: &str| {
        let request = http::Request::post(format!("http://{to}/s/m")).header("content-type", content_type);
        let request = request.body(()).unwrap();
        let asked = async {
            let socket = tokio::net::TcpStream::connect(to).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request, true).unwrap().0.await.unwrap()
        };
        runtime.block_on(async { tokio::time::timeout(DEADLINE, asked).await.unwrap() })
    };
    let plain = answer("text/plain");
    assert_eq!(plain.status(), 503);
    assert!(plain.headers()["proxy-status"].to_str().unwrap().contains("reason=overload"), "{plain:?}");
    let grpc = answer("application/grpc");
    assert_eq!((grpc.status().as_u16(), &grpc.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
    assert!(grpc.body().is_end_stream(), "more than trailers: {grpc:?}");
    assert!(grpc.headers()["grpc-message"].to_str().unwrap().contains("overload"), "{grpc:?}");
    assert!(grpc.headers()["proxy-status"].to_str().unwrap().contains("reason=overload"), "{grpc:?}");
}

/// Few connections that stay, as those of HTTP/2 do: no connection goes, and yet what their streams held comes back.
#[test]
fn above_the_memory_budget_shedding_ends_once_memory_is_free_although_every_connection_stays() {
    let (proxy, status) = watched(load::server(), "--max-memory 16MiB");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = |sender: &mut h2::client::SendRequest<bytes::Bytes>, path: &str| {
        let request = http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let answer = sender.send_request(request, true).unwrap().0;
        runtime.block_on(async { tokio::time::timeout(DEADLINE, answer).await.unwrap().unwrap() })
    };
    // Fewer than make a burst when they go. Each makes the proxy hold a connection's window, 1 MiB.
    let (mut connections, mut stuck) = (Vec::new(), Vec::new());
    until("the budget to be passed", || {
        if connections.len() < 30 {
            let handshake = async {
                let socket = tokio::net::TcpStream::connect(proxy.addresses[0]).await.unwrap();
                h2::client::handshake(socket).await.unwrap()
            };
            let (mut sender, connection) = runtime.block_on(handshake);
            runtime.spawn(connection);
            stuck.extend((0..20).map(|_| ask(&mut sender, "/large")).filter(|answer| answer.status() == 200));
            connections.push(sender);
        }
        (metric(status, "bellhop_proxy_overloaded")? == 1).then_some(())
    });
    // Each stream is reset.
    drop(stuck);
    until("memory to be given back", || (metric(status, "bellhop_proxy_overloaded")? == 0).then_some(()));
    for connection in &mut connections {
        assert_eq!(ask(connection, "/small").status(), 200);
    }
}

/// Requests that were refused for `overload`.
fn shed(status: SocketAddr) -> u64 {
    let metrics = exchange(status, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let lines = metrics.lines().filter(|line| {
        line.starts_with("bellhop_proxy_requests_total{") && line.contains("reason=\"overload\"")
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// F23: a hundred times the connections, each of which was served and then had a large answer under way; then the few.
#[test]
fn f23_after_a_burst_of_a_hundred_times_the_connections_memory_comes_back() {
    const FEW: usize = 20;
    /// Each of them makes the proxy hold a buffer; half of that has to be seen.
    const BURST_KIB: u64 = 100 * FEW as u64 * 16 / 2;
    // A program of its own: what it shares with others changes as they come and go.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bellhop-proxy");
    std::fs::copy(PROGRAM, &program).unwrap();
    let proxy = Proxy::start(&format!("exec {} --upstream {}", program.display(), load::server()));
    let mut few: Vec<_> = (0..FEW).map(|_| proxy.dial()).collect();
    let burst = |size: usize| {
        let mut many: Vec<_> = (0..size).map(|_| reads_little(proxy.addresses[0])).collect();
        each_is_served(&mut many);
        many.iter_mut().for_each(|client| client.write_all(LARGE).unwrap());
        many
    };
    // What any burst brings in counts in both: parts of the program that had not run, stores that are made once, and the
    // allocator's first page of each size, whole.
    drop(burst(20 * FEW));
    each_is_served(&mut few);
    let start = settled_kib(&proxy);
    for _ in 0..2 {
        let many = burst(100 * FEW);
        until("the burst to be held", || (proxy.pss_kib() > start + BURST_KIB).then_some(()));
        drop(many);
    }
    let end = Instant::now() + 60 * SECOND;
    loop {
        let now = proxy.pss_kib();
        if now <= start + start / 5 {
            break println!("{start} KiB before the bursts, {now} KiB after them");
        }
        let map = || std::fs::read_to_string(format!("/proc/{}/smaps", proxy.child.id())).unwrap();
        assert!(
            Instant::now() < end,
            "{start} KiB before the bursts, {now} KiB a minute after them\n{}",
            map()
        );
        std::thread::sleep(SECOND / 10);
    }
    each_is_served(&mut few);
}

/// Memory once it stands: a worker gives back for the last time when it has rested for five seconds, and what is in use of
/// the program's pages comes back after that.
fn settled_kib(proxy: &Proxy) -> u64 {
    let end = Instant::now() + 60 * SECOND;
    let (mut stands, mut since) = (proxy.pss_kib(), Instant::now());
    while since.elapsed() < 7 * SECOND {
        let now = proxy.pss_kib();
        if now.abs_diff(stands) > stands / 50 {
            (stands, since) = (now, Instant::now());
        }
        assert!(Instant::now() < end, "memory does not come to rest: {now} KiB");
        std::thread::sleep(SECOND / 10);
    }
    stands
}

/// One request of each, all under way at once.
fn each_is_served(clients: &mut [TcpStream]) {
    clients
        .iter_mut()
        .for_each(|client| client.write_all(b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n").unwrap());
    for client in clients {
        let (mut answer, mut part) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(load::WORD) {
            let count = client.read(&mut part).unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..count]);
        }
    }
}
