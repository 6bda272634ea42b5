//! Which connections are opened, and what goes through one as a tunnel.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bellhop_proxy::{Config, app};
use bytes::Bytes;
use h2::server;
use http::{Method, Request, Response};

use crate::peer::{
    accept, address, answer, backend, call, connect, get, listener, proxy, read, send, within,
};

/// DESIGN §3.4: one connection to the baseline, also where the upstream's limit makes streams wait.
#[tokio::test]
async fn an_upstream_at_its_stream_limit_makes_streams_wait_on_the_one_connection() {
    let (listener, upstream) = listener().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (counted, most) = (connections.clone(), Arc::new(AtomicUsize::new(0)));
    let (open, seen) = (Arc::new(AtomicUsize::new(0)), most.clone());
    tokio::spawn(async move {
        loop {
            let socket = accept(&listener).await;
            counted.fetch_add(1, SeqCst);
            let (open, seen) = (open.clone(), seen.clone());
            tokio::spawn(async move {
                let mut builder = server::Builder::new();
                let handshake = builder.max_concurrent_streams(3).handshake::<_, Bytes>(socket);
                let mut connection = handshake.await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    seen.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
                    let open = open.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                        open.fetch_sub(1, SeqCst);
                        answer(respond, "ok");
                    });
                }
            });
        }
    });
    let proxy = proxy(upstream);
    let send = connect(address(&proxy)).await;
    // The limit is known once the first answer is there.
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok");
    let calls = (0..60).map(|_| {
        let send = send.clone();
        async move { assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "ok") }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(connections.load(SeqCst), 1);
    assert!(most.load(SeqCst) <= 3, "{}", most.load(SeqCst));
}

#[tokio::test]
async fn connect_is_forwarded_and_carries_bytes_both_ways() {
    let backend = backend(|(request, mut respond)| async move {
        assert_eq!(
            (request.method(), request.uri().authority().unwrap().as_str()),
            (&Method::CONNECT, "db.test:5432")
        );
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            send(&mut to, data, false).await.unwrap();
        }
        to.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let mut client = connect(address(&proxy)).await;
    let (response, mut to) =
        client.send_request(Request::connect("db.test:5432").body(()).unwrap(), false).unwrap();
    let mut from = within(response).await.unwrap().into_body();
    for text in ["one", "two"] {
        to.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
        assert_eq!(within(from.data()).await.unwrap().unwrap(), text);
    }
    to.send_data(Bytes::new(), true).unwrap();
    assert!(read(&mut from).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn an_explicit_proxy_serves_each_authority_and_refuses_connect_clearly() {
    let one = backend(|(_, respond)| async move { answer(respond, "one") }).await;
    let two = backend(|(_, respond)| async move { answer(respond, "two") }).await;
    let config = Config::from_args(["--explicit", "127.0.0.1:0", "--admin", "off"]).unwrap();
    let proxy = app::start(config).unwrap();
    let send = connect(address(&proxy)).await;
    for (to, name) in [(one, "one"), (two, "two"), (one, "one")] {
        let request = Request::get(format!("http://{to}/")).body(()).unwrap();
        assert_eq!(call(&send, request, &[]).await.unwrap().1, name);
    }
    let (head, body, _) =
        call(&send, Request::connect(one.to_string()).body(()).unwrap(), &[b"x"]).await.unwrap();
    assert!(head.status == 400 && body.starts_with(b"bellhop: "), "{head:?}");
}
