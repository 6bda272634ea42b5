use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method, Request, Response, StatusCode, response};
use tokio::net::{TcpListener, TcpSocket};

use super::{
    Caller,
    answer::{Framing, Manner, write},
    download::{self, End},
};
use crate::{answer_wait::AnswerWait, error::ErrorKind, telemetry::Traffic};

fn written(response: response::Builder, asked: &Method, is_1_0: bool, over: bool) -> (String, Framing, bool) {
    let head = response.body(()).unwrap().into_parts().0;
    let mut out = BytesMut::new();
    let (framing, close) =
        write(&head, Manner { asked, is_1_0, close: false, wait: &AnswerWait::new(None) }, over, &mut out);
    (String::from_utf8(out.to_vec()).unwrap(), framing, close)
}

#[test]
fn an_answer_keeps_its_length_or_gets_chunks_and_for_http_1_0_the_connections_end() {
    let with_length = || Response::builder().header("content-length", "3");
    let plain = || Response::builder().header("x", "y");
    let (text, framing, close) = written(with_length(), &Method::GET, false, false);
    assert_eq!(
        (text.as_str(), framing, close),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::Length, false)
    );
    let (text, framing, _) = written(plain(), &Method::GET, false, false);
    assert_eq!(
        (text.as_str(), framing),
        ("HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n", Framing::Chunked)
    );
    let (text, framing, close) = written(plain(), &Method::GET, true, false);
    assert_eq!((framing, close), (Framing::UntilClose, true));
    assert!(text.ends_with("connection: close\r\n\r\n"));
    let (text, framing, _) = written(with_length(), &Method::GET, true, false);
    assert!(framing == Framing::Length && text.ends_with("connection: keep-alive\r\n\r\n"));
}

#[test]
fn an_answer_without_a_body_says_so_where_one_could_be() {
    let (text, framing, _) = written(Response::builder(), &Method::GET, false, true);
    assert_eq!((text.as_str(), framing), ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Framing::None));
    for (status, asked) in [
        (StatusCode::NO_CONTENT, Method::GET),
        (StatusCode::NOT_MODIFIED, Method::GET),
        (StatusCode::EARLY_HINTS, Method::GET),
        (StatusCode::OK, Method::HEAD),
    ] {
        let (text, framing, _) = written(Response::builder().status(status), &asked, false, true);
        assert!(framing == Framing::None && !text.contains("content-length"), "{text}");
    }
}

#[test]
fn an_answer_has_one_length_and_none_where_there_can_be_no_body() {
    let twice = || Response::builder().header("content-length", "3").header("content-length", "30");
    let (text, framing, _) = written(twice(), &Method::GET, false, false);
    assert_eq!((text.as_str(), framing), ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::Length));
    for status in [StatusCode::NO_CONTENT, StatusCode::EARLY_HINTS] {
        let (text, ..) = written(twice().status(status), &Method::GET, false, true);
        assert!(!text.contains("content-length"), "{text}");
    }
}

#[test]
fn fields_of_the_connection_never_reach_an_http_1_client() {
    let response = Response::builder().header("keep-alive", "x").header("upgrade", "y").header("a", "b");
    let (text, ..) = written(response, &Method::GET, false, true);
    assert_eq!(text, "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 0\r\n\r\n");
}

/// An endpoint that says so many interim answers of 600 bytes to one request, and then nothing.
async fn interims(count: usize) -> h2::client::ResponseFuture {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::PROCESSING;
        interim.headers_mut().insert("x", HeaderValue::from_str(&"v".repeat(600)).unwrap());
        for _ in 0..count {
            respond.send_informational(interim.clone()).unwrap();
        }
        connection.accept().await
    });
    let (mut send, connection) = h2::client::handshake(near).await.unwrap();
    tokio::spawn(connection);
    send.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap().0
}

/// They are counted as they come, not as the client takes them.
#[tokio::test]
async fn too_many_interim_answers_are_an_end_though_the_client_takes_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let _client = client.connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket2::SockRef::from(&socket).set_send_buffer_size(4096).unwrap();
    let (traffic, wait) = (Traffic::default(), AnswerWait::new(None));
    let manner = Manner { asked: &Method::GET, is_1_0: false, close: false, wait: &wait };
    let mut response = interims(101).await;
    let head = download::head(&mut response, Caller::new(&socket, &traffic), manner);
    let end = tokio::time::timeout(Duration::from_secs(20), head).await.unwrap().unwrap_err();
    assert!(matches!(end, End::Cut(ErrorKind::BadResponse(_))), "{end:?}");
}
