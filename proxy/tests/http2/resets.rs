//! What one side cuts, the other learns; and never mistakes for an end.

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::sync::mpsc;

use crate::peer::{
    accept, address, answer, backend, call, connect, get, listener, post, proxy, read, within,
};

#[tokio::test]
async fn a_reset_by_the_upstream_before_its_answer_reaches_the_client_with_its_reason() {
    let backend = backend(|(request, mut respond)| async move {
        let reason = request.uri().path()[1..].parse::<u32>().unwrap();
        respond.send_reset(reason.into());
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    for (sent, seen) in [
        (Reason::CANCEL, Reason::CANCEL),
        (Reason::INTERNAL_ERROR, Reason::INTERNAL_ERROR),
        (Reason::ENHANCE_YOUR_CALM, Reason::ENHANCE_YOUR_CALM),
        (Reason::REFUSED_STREAM, Reason::REFUSED_STREAM),
        (Reason::NO_ERROR, Reason::INTERNAL_ERROR),
    ] {
        let error = call(&send, get(&format!("/{}", u32::from(sent))), &[]).await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(seen));
    }
}

/// MATRICES F3.
#[tokio::test]
async fn f3_an_answer_cut_in_its_middle_never_looks_whole() {
    let backend = backend(|(request, mut respond)| async move {
        let reason = request.uri().path()[1..].parse::<u32>().unwrap();
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        to.send_reset(reason.into());
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    for sent in [Reason::CANCEL, Reason::NO_ERROR, Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR] {
        let error = call(&send, get(&format!("/{}", u32::from(sent))), &[]).await.unwrap_err();
        let seen = if sent == Reason::CANCEL { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
        assert_eq!(error.reason(), Some(seen));
    }
}

/// MATRICES F3.
#[tokio::test]
async fn f3_an_upstream_that_dies_in_its_answer_resets_the_stream_alone() {
    let (listener, upstream) = listener().await;
    let proxy = proxy(upstream);
    let send = connect(address(&proxy)).await;
    let dying = tokio::spawn(async move {
        let mut connection = h2::server::handshake(accept(&listener).await).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"half"), false).unwrap();
        // Drives the connection until the answer is out, then drops everything.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(100), connection.accept()).await;
        drop(connection);
        // The next connection serves.
        let mut connection = h2::server::handshake(accept(&listener).await).await.unwrap();
        let (_, respond) = connection.accept().await.unwrap().unwrap();
        answer(respond, "again");
        let _ = connection.accept().await;
    });
    let error = call(&send, get("/"), &[]).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(call(&send, get("/"), &[]).await.unwrap().1, "again");
    drop(send);
    within(dying).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_stream_upstream() {
    let (seen, mut reasons) = mpsc::unbounded_channel();
    let backend = backend(move |(_request, mut respond)| {
        let seen = seen.clone();
        async move {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let proxy = proxy(backend);
    let mut send = connect(address(&proxy)).await;
    let (waiting, mut body) = send.send_request(post("/a"), false).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    tokio::time::timeout(std::time::Duration::from_millis(50), waiting).await.unwrap_err();
    body.send_reset(Reason::CANCEL);
    assert_eq!(within(reasons.recv()).await, Some(Reason::CANCEL));
    // The whole connection goes away.
    let (waiting, _) = send.send_request(get("/b"), true).unwrap();
    tokio::time::timeout(std::time::Duration::from_millis(50), waiting).await.unwrap_err();
    drop((send, body));
    assert_eq!(within(reasons.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_over_arrives_whole() {
    let backend = backend(|(request, mut respond)| async move {
        let mut to = respond.send_response(Response::builder().status(403).body(()).unwrap(), false).unwrap();
        to.send_data(Bytes::from_static(b"no, thank you"), true).unwrap();
        // Dropped unread: `h2` asks for no more by RST_STREAM(NO_ERROR).
        drop(request);
    })
    .await;
    let proxy = proxy(backend);
    for _ in 0..20 {
        let mut send = connect(address(&proxy)).await;
        let (response, mut body) = send.send_request(post("/upload"), false).unwrap();
        body.send_data(Bytes::from(vec![0; 30_000]), false).unwrap();
        let (head, mut answer) = within(response).await.unwrap().into_parts();
        assert_eq!(head.status, 403);
        assert_eq!(read(&mut answer).await.unwrap().0, "no, thank you");
        let reason = within(std::future::poll_fn(|cx| body.poll_reset(cx))).await;
        assert_eq!(reason.unwrap(), Reason::NO_ERROR);
    }
}

#[tokio::test]
async fn a_body_that_contradicts_its_length_is_reset() {
    let backend = backend(|(request, mut respond)| async move {
        if read(&mut request.into_body()).await.is_ok() {
            let response = Response::builder().status(500).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
    })
    .await;
    let proxy = proxy(backend);
    let mut send = connect(address(&proxy)).await;
    let mut request = post("/");
    request.headers_mut().insert("content-length", 10.into());
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"short"), true).unwrap();
    let error = within(response).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
}
