//! GOAWAY from upstreams and to clients; who closes whom.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server};
use http::Response;
use tokio::io::AsyncWriteExt as _;

use crate::{
    floods::frame,
    keep_alive::{next_frame, raw_client},
    peer::{
        accept, address, answer, backend, call, connect, counts, get, listener, metric, post, proxy,
        proxy_with, read, within,
    },
};

const STATUS: &[&str] = &["--status-listen", "127.0.0.1:0"];
const RETRIES: &str = "bellhop_proxy_retries_total";
const ENDS: &str = "bellhop_proxy_http2_upstream_ends_total";

/// MATRICES F6.
#[tokio::test]
async fn f6_streams_up_to_the_last_id_finish_and_later_ones_go_to_a_new_connection() {
    let (listener, upstream) = listener().await;
    let proxy = proxy_with(upstream, STATUS);
    let serving = tokio::spawn(async move {
        let mut old = server::handshake(accept(&listener).await).await.unwrap();
        let (_, mut respond) = old.accept().await.unwrap().unwrap();
        let mut open = respond.send_response(Response::new(()), false).unwrap();
        old.graceful_shutdown();
        let old = tokio::spawn(async move { while old.accept().await.is_some() {} });
        let mut new = server::handshake(accept(&listener).await).await.unwrap();
        let (_, respond) = new.accept().await.unwrap().unwrap();
        answer(respond, "new");
        let new = tokio::spawn(async move { while new.accept().await.is_some() {} });
        tokio::time::sleep(Duration::from_millis(50)).await;
        open.send_data(Bytes::from_static(b"old"), true).unwrap();
        drop(open);
        (old, new)
    });
    let mut send = connect(address(&proxy)).await;
    let (first, _) = send.send_request(get("/old"), true).unwrap();
    let first = within(first).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(call(&send, get("/new"), &[]).await.unwrap().1, "new");
    assert_eq!(read(&mut first.into_body()).await.unwrap().0, "old");
    let (old, new) = within(serving).await.unwrap();
    within(old).await.unwrap();
    counts(&proxy, ENDS, &[("side", "baseline"), ("cause", "go-away")], 1.0).await;
    assert_eq!(metric(&proxy, RETRIES, &[]).await, 0.0, "none was sent twice");
    // The client's connection never noticed.
    drop(send);
    within(new).await.unwrap();
}

/// MATRICES F6: requests that crossed the GOAWAY on their way.
#[tokio::test]
async fn f6_streams_beyond_the_last_id_are_sent_again_with_their_bodies() {
    let (listener, upstream) = listener().await;
    let proxy = proxy_with(upstream, STATUS);
    let serving = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let mut old = accept(&listener).await;
        old.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|bytes| bytes == b"body") {
            assert_ne!(old.read_buf(&mut seen).await.unwrap(), 0);
        }
        // GOAWAY, last stream 0, NO_ERROR.
        old.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut new = server::handshake(accept(&listener).await).await.unwrap();
        let (request, respond) = new.accept().await.unwrap().unwrap();
        tokio::spawn(async move {
            assert_eq!(read(&mut request.into_body()).await.unwrap().0, "a body");
            answer(respond, "second try");
        });
        while new.accept().await.is_some() {}
    });
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, post("/"), &[b"a ", b"body"]).await.unwrap().1, "second try");
    counts(&proxy, RETRIES, &[("side", "baseline")], 1.0).await;
    drop(send);
    within(serving).await.unwrap();
}

#[tokio::test]
async fn a_request_is_not_sent_again_once_an_interim_answer_went_on() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
    tokio::spawn(async move {
        let mut old = server::handshake(accept(&listener).await).await.unwrap();
        let (_, respond) = old.accept().await.unwrap().unwrap();
        answer(respond, "first");
        let (_, mut respond) = old.accept().await.unwrap().unwrap();
        respond.send_informational(Response::builder().status(103).body(()).unwrap()).unwrap();
        // Written while the next request is awaited, which never comes.
        let none = tokio::time::timeout(Duration::from_millis(200), old.accept()).await;
        assert!(none.is_err());
        drop((old, respond));
        let mut new = server::handshake(accept(&listener).await).await.unwrap();
        while let Some(Ok((_, respond))) = new.accept().await {
            answer(respond, "again");
        }
    });
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "first");
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().0.status, 502);
}

#[tokio::test]
async fn f6_a_refused_stream_is_sent_again_once() {
    let refused = Arc::new(AtomicUsize::new(0));
    let seen = refused.clone();
    let backend = backend(move |(request, mut respond)| {
        let count = seen.fetch_add(1, SeqCst);
        async move {
            if count == 0 || request.uri().path() == "/always" {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                answer(respond, "ok");
            }
        }
    })
    .await;
    let proxy = proxy_with(backend, STATUS);
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/once"), &[]).await.unwrap().1, "ok");
    assert_eq!(refused.load(SeqCst), 2);
    let error = call(&send, get("/always"), &[]).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(refused.load(SeqCst), 4);
    counts(&proxy, RETRIES, &[("side", "baseline")], 2.0).await;
}

/// MATRICES F11: GOAWAY in two steps, and what the client opens between them is served.
#[tokio::test]
async fn f11_a_stream_opened_between_the_two_goaways_is_served_and_counted_in_the_second() {
    const GOAWAY: u8 = 7;
    let backend = backend(|(request, respond)| async move {
        read(&mut request.into_body()).await.unwrap();
        answer(respond, "served");
    })
    .await;
    let proxy = proxy(backend);
    let mut socket = raw_client(address(&proxy)).await;
    // Its SETTINGS, then the answer to ours: stream 1 is known by then.
    while !matches!(next_frame(&mut socket).await, Some((4, 1, _))) {}
    proxy.drain();
    let (last, error) = loop {
        let (kind, _, payload) = next_frame(&mut socket).await.unwrap();
        if kind == GOAWAY {
            break (word(&payload, 0), word(&payload, 4));
        }
    };
    assert_eq!((last, error), ((1 << 31) - 1, 0), "the first names no stream yet");
    let (kind, flags, ping) = next_frame(&mut socket).await.unwrap();
    assert_eq!((kind, flags), (6, 0), "a round trip is measured");
    // On its way before the GOAWAY arrived, as the proxy has to assume; then the answer to the ping.
    let crossing = frame(1, 5, 3, &[0x82, 0x86, 0x84, 0x41, 0x01, b'a']);
    socket.write_all(&[crossing, frame(6, 1, 0, &ping)].concat()).await.unwrap();
    let (mut second, mut whole) = (None, 0);
    let mut ended = Vec::new();
    while let Some((kind, flags, payload)) = next_frame(&mut socket).await {
        match kind {
            GOAWAY => {
                second = Some((word(&payload, 0), word(&payload, 4)));
                // What was open before is served to its end.
                socket.write_all(&frame(0, 1, 1, b"end")).await.unwrap();
            }
            0 => {
                ended.extend(payload);
                whole += usize::from(flags & 1);
            }
            3 => panic!("a stream was reset: {payload:?}"),
            _ => {}
        }
    }
    assert_eq!(second, Some((3, 0)), "the second names the last stream");
    assert_eq!((&ended[..], whole), (&b"servedserved"[..], 2));
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// MATRICES F11: real clients. A request that their own end of the connection turned away, having seen GOAWAY, was never
/// sent, and they send it anew; any other error is a request lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_clients_under_load_lose_no_request_while_the_proxy_drains() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = arrived.clone();
    let backend = backend(move |(request, respond)| {
        counted.fetch_add(1, SeqCst);
        async move {
            read(&mut request.into_body()).await.unwrap();
            answer(respond, "served");
        }
    })
    .await;
    let proxy = proxy_with(backend, &["--drain-timeout", "20s"]);
    let (to, done) = (address(&proxy), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8).map(|_| tokio::spawn(post_until(to, done.clone()))).collect();
    within(async {
        while arrived.load(SeqCst) < 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    proxy.drain();
    // Listeners accept while connections are left.
    let before = arrived.load(SeqCst);
    within(async {
        while arrived.load(SeqCst) < before + 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    done.store(true, SeqCst);
    let mut served = 0;
    for client in clients {
        served += within(client).await.unwrap();
    }
    assert_eq!(served, arrived.load(SeqCst), "each that arrived was answered, and arrived once");
    tokio::task::spawn_blocking(move || proxy.join()).await.unwrap();
}

/// POSTs without a pause; says how many were served.
async fn post_until(to: std::net::SocketAddr, done: Arc<AtomicBool>) -> usize {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let mut served = 0;
    while !done.load(SeqCst) {
        let body = Full::new(Bytes::from_static(b"work"));
        let request = http::Request::post(format!("http://{to}/")).body(body).unwrap();
        let answer = match within(client.request(request)).await {
            Ok(answer) => answer,
            Err(error) if is_turned_away(&error) => continue,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(answer.status(), 200);
        assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "served");
        served += 1;
    }
    served
}

/// GOAWAY without a fault, seen by the client's own end; or the client had not sent the request yet when the connection
/// ended.
fn is_turned_away(error: &(dyn std::error::Error + 'static)) -> bool {
    let turned_away = |error: &h2::Error| error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    error.downcast_ref().is_some_and(turned_away)
        || error.downcast_ref().is_some_and(hyper::Error::is_canceled)
        || error.source().is_some_and(is_turned_away)
}

/// DESIGN §3.4.
#[tokio::test]
async fn an_upstream_that_closes_in_silence_closes_the_client_whose_last_answer_it_gave() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
    let serving = tokio::spawn(async move {
        let mut connection = server::handshake(accept(&listener).await).await.unwrap();
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        answer(respond, "bye");
        let _ = tokio::time::timeout(Duration::from_millis(100), connection.accept()).await;
        // No GOAWAY.
    });
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "bye");
    within(serving).await.unwrap();
    within(async {
        while send.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// MATRICES F11.
#[tokio::test]
async fn f11_a_draining_proxy_says_goodbye_and_serves_what_is_open() {
    let backend = backend(|(request, respond)| async move {
        read(&mut request.into_body()).await.unwrap();
        answer(respond, "served");
    })
    .await;
    let proxy = proxy(backend);
    let mut send = connect(address(&proxy)).await;
    let (response, mut body) = send.send_request(post("/"), false).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.drain();
    within(async {
        while send.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    body.send_data(Bytes::from_static(b"y"), true).unwrap();
    assert_eq!(read(&mut within(response).await.unwrap().into_body()).await.unwrap().0, "served");
}
