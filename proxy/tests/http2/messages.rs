//! Heads, informational answers, trailers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use crate::peer::{address, answer, backend, call, connect, get, post, proxy, read, within};

#[tokio::test]
async fn a_request_and_its_answer_arrive_whole_with_their_fields() {
    let backend = backend(|(request, mut respond)| async move {
        let (head, mut body) = request.into_parts();
        let (body, _) = read(&mut body).await.unwrap();
        let response = Response::builder()
            .header("x-path", head.uri.path_and_query().unwrap().as_str())
            .header("x-authority", head.uri.authority().unwrap().as_str())
            .header("x-cookies", head.headers.get_all("cookie").iter().count())
            .header("baggage", head.headers["baggage"].clone())
            .header("twice", "1")
            .header("twice", "2");
        let mut to = respond.send_response(response.body(()).unwrap(), false).unwrap();
        to.send_data(body, true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    let mut request = post("/a?b=c");
    request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
    request.headers_mut().append("baggage", HeaderValue::from_static("x=1 ; p , y=%20"));
    let (head, body, trailers) = call(&send, request, &[b"hello ", b"world"]).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["x-path"], "/a?b=c");
    assert_eq!(head.headers["x-authority"], "service.test");
    assert_eq!(head.headers["x-cookies"], "2");
    assert_eq!(head.headers["baggage"], "x=1 ; p , y=%20");
    assert_eq!(head.headers.get_all("twice").iter().count(), 2);
    assert_eq!(body, "hello world");
    assert!(trailers.is_none());
}

#[tokio::test]
async fn trailers_pass_both_ways_as_grpc_needs_them() {
    let backend = backend(|(request, mut respond)| async move {
        let (_, trailers) = read(&mut request.into_body()).await.unwrap();
        let mut answered = HeaderMap::new();
        answered.insert("grpc-status", HeaderValue::from_static("0"));
        answered.insert("x-request-trailer", trailers.unwrap()["x-checksum"].clone());
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
        to.send_trailers(answered).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let mut send = connect(address(&proxy)).await;
    let (response, mut body) = send.send_request(post("/grpc"), false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    body.send_trailers(trailers).unwrap();
    let (data, trailers) = read(&mut within(response).await.unwrap().into_body()).await.unwrap();
    assert_eq!(&data[..], b"\0\0\0\0\x02hi");
    let trailers = trailers.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-request-trailer"]),
        (&HeaderValue::from_static("0"), &HeaderValue::from_static("abc"))
    );
}

#[tokio::test]
async fn an_answer_of_trailers_alone_passes() {
    let backend = backend(|(_, mut respond)| async move {
        let response = Response::builder().header("grpc-status", "12").body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    let (head, body, _) = call(&send, post("/x"), &[b"request"]).await.unwrap();
    assert_eq!(head.headers["grpc-status"], "12");
    assert!(body.is_empty());
}

#[tokio::test]
async fn informational_answers_are_passed_on_before_the_final_one() {
    let backend = backend(|(request, mut respond)| async move {
        let interim =
            |status: u16| Response::builder().status(status).header("link", "</a.css>").body(()).unwrap();
        respond.send_informational(interim(100)).unwrap();
        let (body, _) = read(&mut request.into_body()).await.unwrap();
        assert_eq!(body, "after the continue");
        respond.send_informational(interim(103)).unwrap();
        tokio::task::yield_now().await;
        answer(respond, "done");
    })
    .await;
    let proxy = proxy(backend);
    let mut send = connect(address(&proxy)).await;
    let mut request = post("/slow");
    request.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
    let (mut response, mut body) = send.send_request(request, false).unwrap();
    let interim = within(std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(interim.status(), StatusCode::CONTINUE);
    body.send_data(Bytes::from_static(b"after the continue"), true).unwrap();
    let interim = within(std::future::poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(interim.status(), StatusCode::EARLY_HINTS);
    assert_eq!(interim.headers()["link"], "</a.css>");
    let (data, _) = read(&mut within(response).await.unwrap().into_body()).await.unwrap();
    assert_eq!(data, "done");
}

#[tokio::test]
async fn a_hundred_streams_at_once_get_their_own_answers() {
    let backend = backend(|(request, mut respond)| async move {
        let path = request.uri().path().to_owned();
        let mut to = respond.send_response(Response::new(()), false).unwrap();
        to.send_data(Bytes::from(path), true).unwrap();
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    let calls = (0..100).map(|n| {
        let send = send.clone();
        async move {
            let path = format!("/{n}");
            let (_, body, _) = call(&send, get(&path), &[]).await.unwrap();
            assert_eq!(body, path);
        }
    });
    futures_util::future::join_all(calls).await;
}

/// MATRICES B5.
#[tokio::test]
async fn b5_an_authority_that_contradicts_host_resets_the_stream_and_reaches_nobody() {
    let backend = backend(|(request, respond)| async move {
        assert_eq!(request.uri().path(), "/good", "nothing else may arrive");
        answer(respond, "ok");
    })
    .await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    let with_hosts = |hosts: &[&'static str]| {
        let mut request = get("/bad");
        for host in hosts {
            request.headers_mut().append("host", HeaderValue::from_static(host));
        }
        request
    };
    for request in [
        with_hosts(&["other.test"]),
        with_hosts(&["service.test", "service.test"]),
        Request::get("http://user@service.test/bad").body(()).unwrap(),
    ] {
        let error = call(&send, request, &[]).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    }
    let mut good = get("/good");
    good.headers_mut().append("host", HeaderValue::from_static("Service.Test"));
    assert_eq!(call(&send, good, &[]).await.unwrap().1, "ok");
}

/// MATRICES B9.
#[tokio::test]
async fn b9_too_many_fields_too_many_bytes_and_a_long_target_are_refused() {
    let backend = backend(|(_, respond)| async move { answer(respond, "ok") }).await;
    let proxy = proxy(backend);
    let send = connect(address(&proxy)).await;
    let many = |count: usize, size: usize| {
        let mut request = get("/");
        for _ in 0..count {
            request.headers_mut().append("x", HeaderValue::from_bytes(&vec![b'v'; size]).unwrap());
        }
        request
    };
    let long = Request::get(format!("http://service.test/{}", "a".repeat(16 * 1024))).body(()).unwrap();
    for (request, status) in [(many(101, 1), 431), (many(90, 760), 431), (long, 414)] {
        let (head, _, _) = call(&send, request, &[]).await.unwrap();
        assert_eq!(head.status.as_u16(), status);
    }
    assert_eq!(call(&send, many(100, 600), &[]).await.unwrap().1, "ok");
}
