//! GOAWAY from upstreams and to clients; who closes whom.

use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use http::Response;

use crate::peer::{
    accept, address, answer, backend, call, connect, get, listener, post, proxy, read, within,
};

/// MATRICES F6.
#[tokio::test]
async fn f6_streams_up_to_the_last_id_finish_and_later_ones_go_to_a_new_connection() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
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
    // The client's connection never noticed.
    drop(send);
    within(new).await.unwrap();
}

/// MATRICES F6: requests that crossed the GOAWAY on their way.
#[tokio::test]
async fn f6_streams_beyond_the_last_id_are_sent_again_with_their_bodies() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
    let serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
async fn a_refused_stream_is_sent_again_once() {
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = refused.clone();
    let backend = backend(move |(request, mut respond)| {
        let count = seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if count == 0 || request.uri().path() == "/always" {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                answer(respond, "ok");
            }
        }
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    assert_eq!(call(&send, get("/once"), &[]).await.unwrap().1, "ok");
    assert_eq!(refused.load(std::sync::atomic::Ordering::SeqCst), 2);
    let error = call(&send, get("/always"), &[]).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(refused.load(std::sync::atomic::Ordering::SeqCst), 4);
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
