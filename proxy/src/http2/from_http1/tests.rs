use bytes::BytesMut;
use http::{Method, Response, StatusCode, response};

use super::answer::{Framing, Manner, write};
use crate::answer_wait::AnswerWait;

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
