//! MATRICES B5 and B20: names of fields that HTTP/2's peers let pass, and that HTTP/1 has no word for. A request's own
//! head is among the cases of `heads`.

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    control::{keyed, route, routed},
    http1_clients::baseline,
    peer::{Call, accept, address, answer, backend, call, get, listener, post, read, within},
};

const HTTP1: &str = r#","protocol":"http1""#;
const HTTP2: &str = r#","protocol":"http2""#;

/// No token (RFC 9110 §5.6.2): it has a quote.
fn named() -> HeaderMap {
    let name = HeaderName::from_lowercase(b"x\"y").unwrap();
    HeaderMap::from_iter([(HeaderName::from_static("x-good"), "1"), (name, "2")].map(with_value))
}

fn good() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-good"), "1")].map(with_value))
}

fn with_value((name, value): (HeaderName, &'static str)) -> (HeaderName, HeaderValue) {
    (name, HeaderValue::from_static(value))
}

fn head(status: u16, fields: HeaderMap) -> Response<()> {
    let mut response = Response::builder().status(status).body(()).unwrap();
    *response.headers_mut() = fields;
    response
}

/// Says the name where the path tells it to; reasons of resets that it was told go to `told`.
async fn say((request, mut respond): Call, told: mpsc::UnboundedSender<Reason>) {
    match request.uri().path() {
        "/head" => {
            let mut to = respond.send_response(head(200, named()), false).unwrap();
            let reset = std::future::poll_fn(|cx| to.poll_reset(cx)).await;
            told.send(reset.unwrap()).unwrap();
        }
        "/interim" => {
            respond.send_informational(head(103, good())).unwrap();
            respond.send_informational(head(103, named())).unwrap();
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            told.send(reset.unwrap()).unwrap();
        }
        "/trailers" => body(respond, named()),
        "/good" => {
            respond.send_informational(head(103, good())).unwrap();
            body(respond, good());
        }
        _ => answer(respond, "ready"),
    }
}

fn body(mut respond: SendResponse<Bytes>, trailers: HeaderMap) {
    let mut to = respond.send_response(Response::new(()), false).unwrap();
    to.send_data(Bytes::from_static(b"half"), false).unwrap();
    to.send_trailers(trailers).unwrap();
}

/// MATRICES B20.
#[tokio::test]
async fn b20_answers_with_a_name_that_is_no_token_are_refused_and_trailers_with_one_cut_the_answer() {
    let (told, mut resets) = mpsc::unbounded_channel();
    let say = move |call| say(call, told.clone());
    let sandbox = backend(say.clone()).await;
    let (_proxy, client) = routed(backend(say).await, route(&[sandbox], HTTP2)).await;
    for (key, status) in [("none", 502), ("k", 503)] {
        for path in ["/head", "/interim"] {
            let (head, ..) = call(&client, keyed(get(path), key), &[]).await.unwrap();
            assert_eq!(head.status, status, "{path}");
            let said = head.headers["proxy-status"].to_str().unwrap();
            assert!(said.contains("reason=bad-response"), "{path}: {said}");
            assert!(!head.headers.contains_key("x-good"), "{path}");
            assert_eq!(within(resets.recv()).await, Some(Reason::PROTOCOL_ERROR), "{path}");
        }
        let cut = call(&client, keyed(get("/trailers"), key), &[]).await.unwrap_err();
        assert_eq!(cut.reason(), Some(Reason::INTERNAL_ERROR));
        let (_, body, trailers) = call(&client, keyed(get("/good"), key), &[]).await.unwrap();
        assert_eq!((&body[..], &trailers.unwrap()["x-good"]), (&b"half"[..], &"1".parse().unwrap()));
    }
}

/// MATRICES B20.
#[tokio::test]
async fn b20_no_name_that_is_no_token_reaches_an_http1_client() {
    let (told, _resets) = mpsc::unbounded_channel();
    let sandbox = backend(move |call| say(call, told.clone())).await;
    let (proxy, _client) = routed(baseline().await, route(&[sandbox], HTTP2)).await;
    for (path, begins) in
        [("/head", "HTTP/1.1 503 "), ("/interim", "HTTP/1.1 103 "), ("/trailers", "HTTP/1.1 200 ")]
    {
        let mut socket = TcpStream::connect(address(&proxy)).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nBaggage: routing-key=k\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        let end = loop {
            match within(socket.read_buf(&mut seen)).await {
                Ok(1..) => {}
                end => break end,
            }
        };
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.starts_with(begins) && !seen.contains("x\""), "{path}: {seen}");
        match path {
            "/trailers" => {
                assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{seen}");
                assert!(seen.ends_with("\r\nhalf\r\n"), "{seen}");
            }
            _ => assert!(seen.contains("HTTP/1.1 503 ") && seen.contains("reason=bad-response"), "{seen}"),
        }
    }
}

/// MATRICES B5.
#[tokio::test]
async fn b5_trailers_with_a_name_that_is_no_token_reset_the_stream_and_the_request_is_never_whole() {
    let (told, mut reads) = mpsc::unbounded_channel();
    let baseline = backend(move |(request, respond): Call| {
        let told = told.clone();
        async move {
            if request.uri().path() == "/ready" {
                return answer(respond, "ready");
            }
            told.send(read(&mut request.into_body()).await.is_ok()).unwrap();
        }
    })
    .await;
    let (listener, sandbox) = listener().await;
    let (_proxy, client) = routed(baseline, route(&[sandbox], HTTP1)).await;
    for key in ["none", "k"] {
        let (response, mut body) = client.clone().send_request(keyed(post("/"), key), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        body.send_trailers(named()).unwrap();
        let upstream = async {
            if key == "none" {
                return assert_eq!(within(reads.recv()).await, Some(false));
            }
            let mut socket = accept(&listener).await;
            let mut seen = Vec::new();
            let end = within(socket.read_to_end(&mut seen)).await;
            assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            let seen = String::from_utf8(seen).unwrap();
            assert!(!seen.contains("\r\n0\r\n") && !seen.contains("x\""), "{seen}");
        };
        let (answered, ()) = tokio::join!(within(response), upstream);
        assert_eq!(answered.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
    }
}
