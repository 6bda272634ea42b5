//! DESIGN §3.4, §5: how many idle upstream connections one client's connection keeps, and which one goes first.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bellhop_proxy::{Config, app};
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    control::{keyed, route, routed_keys, routed_with},
    http1_clients::baseline,
    peer::{address, answer, call, connect, get, listener, within},
};

/// An upstream that tells how many connections it got, and how many of them are open.
struct Upstream {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Upstream {
    /// One that answers `ok`, in either version.
    async fn start() -> Self {
        let (listener, address) = listener().await;
        let (opened, open) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let upstream = Self { address, opened: opened.clone(), open: open.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                opened.fetch_add(1, SeqCst);
                open.fetch_add(1, SeqCst);
                let open = open.clone();
                tokio::spawn(async move {
                    serve(socket).await;
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        upstream
    }

    async fn several(count: usize) -> Vec<Self> {
        futures_util::future::join_all((0..count).map(|_| Self::start())).await
    }
}

async fn serve(mut socket: TcpStream) {
    let mut start = [0; 3];
    if !matches!(socket.peek(&mut start).await, Ok(1..)) {
        return;
    }
    if start.starts_with(b"PRI") {
        let Ok(mut connection) = h2::server::handshake(socket).await else { return };
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond, "ok");
        }
        return;
    }
    let mut seen = Vec::new();
    while matches!(socket.read_buf(&mut seen).await, Ok(1..)) {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    }
}

/// Asks one upstream after the other, with one more than `most` and again with one more: each time the one goes whose
/// last request is the longest ago, and no other.
async fn the_least_recently_used_is_closed(
    upstreams: &[Upstream],
    most: usize,
    mut ask: impl AsyncFnMut(usize),
) {
    assert_eq!(upstreams.len(), most + 2);
    for at in 0..most {
        ask(at).await;
    }
    // The first is used once more; then the second is the oldest.
    ask(0).await;
    for (at, closed) in [(most, &[1][..]), (most + 1, &[1, 2])] {
        ask(at).await;
        let wanted: Vec<_> = (0..=at).map(|at| usize::from(!closed.contains(&at))).collect();
        let open = || upstreams[..=at].iter().map(|upstream| upstream.open.load(SeqCst)).collect::<Vec<_>>();
        within(async {
            while open() != wanted {
                assert!(open().iter().zip(&wanted).all(|(open, wanted)| open >= wanted), "{:?}", open());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
    // What was kept is used, and what was closed is dialled again.
    ask(0).await;
    ask(1).await;
    let opened: Vec<_> = upstreams.iter().map(|upstream| upstream.opened.load(SeqCst)).collect();
    assert!(
        opened.iter().enumerate().all(|(at, opened)| *opened == if at == 1 { 2 } else { 1 }),
        "{opened:?}"
    );
}

fn explicit() -> app::Running {
    app::start(Config::from_args(["--explicit", "127.0.0.1:0", "--admin", "off"]).unwrap()).unwrap()
}

async fn ask_http1(socket: &mut TcpStream, target: &str, key: &str) {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nBaggage: routing-key={key}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nok") && !seen.ends_with(b"\r\n2\r\nok\r\n0\r\n\r\n") {
        let read = within(socket.read_buf(&mut seen)).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
    }
    assert!(seen.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn of_idle_http2_upstreams_sixteen_are_kept_and_the_least_recently_used_goes_first() {
    let (upstreams, proxy) = (Upstream::several(18).await, explicit());
    let send = connect(address(&proxy)).await;
    the_least_recently_used_is_closed(&upstreams, 16, async |at| {
        let request = Request::get(format!("http://{}/", upstreams[at].address)).body(()).unwrap();
        assert_eq!(call(&send, request, &[]).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn of_idle_http1_upstreams_sixteen_are_kept_and_the_least_recently_used_goes_first() {
    let (upstreams, proxy) = (Upstream::several(18).await, explicit());
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    the_least_recently_used_is_closed(&upstreams, 16, async |at| {
        ask_http1(&mut socket, &format!("http://{}/", upstreams[at].address), "").await;
    })
    .await;
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A proxy that keeps three, and a sandbox for each of five keys.
async fn sandboxes(protocol: &str) -> (Vec<Upstream>, app::Running, h2::client::SendRequest<bytes::Bytes>) {
    let upstreams = Upstream::several(KEYS.len()).await;
    let routes = KEYS.iter().zip(&upstreams).map(|(key, to)| (*key, route(&[to.address], protocol)));
    let routes: Vec<_> = routes.collect();
    let (proxy, send) = routed_keys(baseline().await, &routes, &["--max-idle-upstreams", "3"]).await;
    (upstreams, proxy, send)
}

#[tokio::test]
async fn an_http2_clients_idle_http1_endpoints_are_as_many_as_told_and_the_least_recently_used_goes_first() {
    let (upstreams, _proxy, send) = sandboxes(r#","protocol":"http1""#).await;
    the_least_recently_used_is_closed(&upstreams, 3, async |at| {
        assert_eq!(call(&send, keyed(get("/"), KEYS[at]), &[]).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn an_http1_clients_idle_http2_endpoints_are_as_many_as_told_and_the_least_recently_used_goes_first() {
    let (upstreams, proxy, _send) = sandboxes(r#","protocol":"http2""#).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    the_least_recently_used_is_closed(&upstreams, 3, async |at| {
        ask_http1(&mut socket, "/", KEYS[at]).await;
    })
    .await;
}

#[tokio::test]
async fn where_none_may_be_kept_each_request_of_an_http1_client_has_a_connection_of_its_own() {
    let upstream = Upstream::start().await;
    let route = route(&[upstream.address], r#","protocol":"http2""#);
    let (proxy, _send) = routed_with(baseline().await, route, &["--max-idle-upstreams", "0"]).await;
    let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
    for opened in 1..=2 {
        ask_http1(&mut socket, "/", "k").await;
        within(async {
            while upstream.open.load(SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert_eq!(upstream.opened.load(SeqCst), opened);
    }
}
