//! Peers for the engine: a backend, a client, and the proxy between them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bellhop_proxy::{Config, app};
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Longest that any step of a test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A proxy with one fixed upstream.
pub(crate) fn proxy(upstream: SocketAddr) -> app::Running {
    proxy_with(upstream, &[])
}

pub(crate) fn proxy_with(upstream: SocketAddr, flags: &[&str]) -> app::Running {
    let upstream = upstream.to_string();
    let mut args =
        vec!["--listen", "127.0.0.1:0", "--upstream", &upstream, "--workers", "1", "--admin", "off"];
    args.extend(flags);
    app::start(Config::from_args(args).expect("valid flags")).expect("the proxy starts")
}

pub(crate) fn address(proxy: &app::Running) -> SocketAddr {
    proxy.addresses()[0]
}

/// The sum of a metric's series that hold all of `labels`, from the status listener.
pub(crate) async fn metric(proxy: &app::Running, name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut socket = TcpStream::connect(proxy.status().expect("--status-listen")).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    within(socket.read_to_string(&mut text)).await.unwrap();
    sum(&text, name, labels)
}

/// The sum of the series of a metric, in a scrape's text.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let series = text.lines().filter(|line| {
        line.split(['{', ' ']).next() == Some(name)
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Waits until a metric is at least `least`.
pub(crate) async fn counts(proxy: &app::Running, name: &str, labels: &[(&str, &str)], least: f64) {
    let end = Instant::now() + DEADLINE;
    loop {
        let now = metric(proxy, name, labels).await;
        if now >= least {
            return;
        }
        assert!(Instant::now() < end, "{name} {labels:?}: {now} of {least}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A listener for a backend, and where it is.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = within(listener.accept()).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A request as a backend gets it.
pub(crate) type Call = (Request<RecvStream>, server::SendResponse<Bytes>);

/// A backend that gives every request of every connection a task of its own.
pub(crate) async fn backend<F, T>(handle: F) -> SocketAddr
where
    F: Fn(Call) -> T + Clone + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let Ok((socket, _)) = listener.accept().await else { return };
            socket.set_nodelay(true).unwrap();
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut builder = server::Builder::new();
                builder.initial_connection_window_size(4 << 20).data_frame_budget(64 << 20);
                let Ok(mut connection) = builder.handshake(socket).await else { return };
                while let Some(Ok(call)) = connection.accept().await {
                    tokio::spawn(handle(call));
                }
            });
        }
    });
    address
}

/// A backend that takes one connection, answers `sandbox` once, and is gone when the second request has come.
pub(crate) async fn answers_once() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let socket = accept(&listener).await;
        drop(listener);
        let mut connection = server::handshake(socket).await.unwrap();
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        answer(respond, "sandbox");
        let second = connection.accept().await;
        drop(connection);
        drop(second);
    });
    address
}

/// A client's connection; driven by a task until the last handle is dropped.
pub(crate) async fn connect(to: SocketAddr) -> client::SendRequest<Bytes> {
    let socket = within(TcpStream::connect(to)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    // A connection's window wider than a stream's: one unread stream shall not stop the others by itself.
    let mut builder = client::Builder::new();
    builder.initial_connection_window_size(4 << 20).data_frame_budget(64 << 20);
    let (send, connection) = within(builder.handshake(socket)).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    within(send.ready()).await.unwrap()
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://service.test{path}")).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("http://service.test{path}")).body(()).unwrap()
}

/// Sends a request whose body is `parts`, and gives the answer's head and body.
pub(crate) async fn call(
    send: &client::SendRequest<Bytes>,
    request: Request<()>,
    parts: &[&'static [u8]],
) -> Result<(http::response::Parts, Bytes, Option<HeaderMap>), h2::Error> {
    let mut send = within(send.clone().ready()).await?;
    let (response, mut body) = send.send_request(request, parts.is_empty())?;
    for (at, part) in parts.iter().enumerate() {
        body.send_data(Bytes::from_static(part), at + 1 == parts.len())?;
    }
    let (head, mut body) = within(response).await?.into_parts();
    let (bytes, trailers) = read(&mut body).await?;
    Ok((head, bytes, trailers))
}

/// Reads a body to its end.
pub(crate) async fn read(body: &mut RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(data) = within(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all.freeze(), within(body.trailers()).await?))
}

/// Sends data as the peer's windows allow.
pub(crate) async fn send(to: &mut SendStream<Bytes>, mut data: Bytes, last: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = match std::future::poll_fn(|cx| to.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Err(h2::Reason::CANCEL.into()),
        };
        let part = data.split_to(room.min(data.len()));
        let end = last && data.is_empty();
        to.send_data(part, end)?;
    }
    Ok(())
}

/// Answers 200 with a body.
pub(crate) fn answer(mut respond: server::SendResponse<Bytes>, body: &'static str) {
    let mut to = respond.send_response(Response::new(()), false).unwrap();
    to.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}
