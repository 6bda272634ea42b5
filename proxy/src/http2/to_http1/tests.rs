use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, request};
use proptest::prelude::*;

use super::{
    request::{Framing, write},
    response::{self, take},
};
use crate::{
    config::Limits,
    forward::DecidedField,
    http2::unpack::{
        self, Invalid,
        chunked::{Chunked, Piece},
    },
    validate::fields::OF_THE_CONNECTION,
};

fn parts(request: request::Builder) -> request::Parts {
    request.body(()).unwrap().into_parts().0
}

fn written(request: request::Builder, decided: &DecidedField, bodiless: bool) -> (String, Framing) {
    let mut out = BytesMut::new();
    let framing = write(&parts(request), decided, bodiless, None, &mut out).unwrap();
    (String::from_utf8(out.to_vec()).unwrap(), framing)
}

#[test]
fn a_request_is_written_in_origin_form_with_host_first() {
    let request = Request::get("http://route.default:8080/a?b=c").header("x-a", "1");
    let (text, framing) = written(request, &DecidedField::Keep, true);
    assert_eq!(text, "GET /a?b=c HTTP/1.1\r\nhost: route.default:8080\r\nx-a: 1\r\n\r\n");
    assert_eq!(framing, Framing::None);
    let request = Request::options("*").header("host", "route");
    assert_eq!(written(request, &DecidedField::Keep, true).0, "OPTIONS * HTTP/1.1\r\nhost: route\r\n\r\n");
}

#[test]
fn b6_cookie_crumbs_are_merged() {
    let request = Request::get("http://r/").header("cookie", "a=1").header("x", "y").header("cookie", "b=2");
    let (text, _) = written(request, &DecidedField::Keep, true);
    assert_eq!(text, "GET / HTTP/1.1\r\nhost: r\r\nx: y\r\ncookie: a=1; b=2\r\n\r\n");
}

#[test]
fn b8_fields_of_the_connection_are_left_out() {
    let mut request = Request::get("http://r/").header("host", "r").header("baggage", "routing-key=a");
    for name in OF_THE_CONNECTION {
        request = request.header(name, "trailers");
    }
    let (text, _) = written(request, &DecidedField::Keep, true);
    assert_eq!(text, "GET / HTTP/1.1\r\nhost: r\r\nbaggage: routing-key=a\r\n\r\n");
}

#[test]
fn a_body_keeps_its_length_or_gets_chunks_and_an_absent_one_is_said_where_one_is_usual() {
    let post = || Request::post("http://r/");
    let (text, framing) = written(post().header("content-length", "3"), &DecidedField::Keep, false);
    assert!(text.ends_with("content-length: 3\r\n\r\n") && framing == Framing::Length);
    let (text, framing) = written(post(), &DecidedField::Keep, false);
    assert!(text.ends_with("transfer-encoding: chunked\r\n\r\n") && framing == Framing::Chunked);
    let (text, framing) = written(post(), &DecidedField::Keep, true);
    assert!(text.ends_with("content-length: 0\r\n\r\n") && framing == Framing::None);
}

#[test]
fn the_decided_field_is_kept_taken_off_or_added_to() {
    let request = || Request::get("http://r/").header("bellhop-decided", "a.b:1");
    let lines = |field: &DecidedField| {
        written(request(), field, true)
            .0
            .lines()
            .filter(|l| l.starts_with("bellhop"))
            .collect::<Vec<_>>()
            .join("|")
    };
    assert_eq!(lines(&DecidedField::Keep), "bellhop-decided: a.b:1");
    assert_eq!(lines(&DecidedField::Remove), "");
    assert_eq!(lines(&DecidedField::Add(b"c.d:2".to_vec())), "bellhop-decided: a.b:1|bellhop-decided: c.d:2");
}

#[test]
fn connect_and_requests_without_authority_have_no_way_to_be_written() {
    let mut out = BytesMut::new();
    for request in [Request::connect("r:80"), Request::get("/")] {
        assert!(write(&parts(request), &DecidedField::Keep, true, None, &mut out).is_err());
        assert!(out.is_empty());
    }
}

fn answer(text: &str, asked: &Method) -> Result<Option<response::Head>, Invalid> {
    take(&mut BytesMut::from(text), asked.into(), &Limits::default())
}

#[test]
fn answers_are_framed_by_the_rules_of_http_1() {
    use unpack::Framing::{Chunked, Length, None, UntilClose};
    for (head, asked, framing, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Length(5), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", Method::GET, Length(5), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\n", Method::GET, Length(5), false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, None, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::GET, None, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, None, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Method::GET, Chunked, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, UntilClose, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Length(5), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Method::GET,
            Length(5),
            true,
        ),
    ] {
        let head = answer(head, &asked).unwrap().unwrap();
        assert_eq!((head.framing, head.reusable), (framing, reusable), "{:?}", head.parts);
    }
}

#[test]
fn b20_answers_with_two_readings_are_refused() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert!(answer(head, &Method::GET).is_err(), "{head:?}");
    }
}

#[test]
fn what_belongs_to_the_connection_stays_there() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Connection: x\r\nUpgrade: h2c\r\nX-Public: 2\r\nContent-Length: 0\r\n\r\n";
    let head = answer(head, &Method::GET).unwrap().unwrap();
    let names: Vec<_> = head.parts.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"x-public") && names.contains(&"content-length"));
}

#[test]
fn an_answer_is_awaited_until_its_head_is_whole_and_no_longer_than_allowed() {
    let whole = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    for (cut, _) in whole.char_indices() {
        assert!(answer(whole.split_at(cut).0, &Method::GET).unwrap().is_none());
    }
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(65 * 1024));
    assert!(answer(&long, &Method::GET).is_err());
}

/// Gives the body and trailers of a chunked body that comes in pieces of `cut` bytes, and what is left behind it.
fn unpack(bytes: &[u8], cut: usize) -> Result<Option<(Vec<u8>, http::HeaderMap)>, Invalid> {
    let (mut chunked, mut buffer, mut body) = (Chunked::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(cut.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match chunked.take(&mut buffer)? {
                Piece::Wanting => break,
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(trailers) => return Ok(Some((body, trailers))),
            }
        }
    }
    Ok(None)
}

#[test]
fn chunks_with_extensions_and_trailers_are_unpacked() {
    let bytes = b"5\r\nhello\r\n6 ;a=\"b\"\r\n world\r\n000\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n";
    for cut in 1..bytes.len() {
        let (body, trailers) = unpack(bytes, cut).unwrap().unwrap();
        assert_eq!(body, b"hello world");
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("1")));
    }
}

#[test]
fn b2_broken_chunks_are_refused() {
    let long = format!("5;{}\r\nhello", "a".repeat(17 * 1024));
    for bytes in [
        "5\nhello",
        "5\r\nhello!\r\n",
        "g\r\n",
        "-1\r\n",
        "+5\r\n",
        "\r\n",
        "5 5\r\n",
        "0x5\r\n",
        "11111111111111111\r\n",
        "5;a\rb\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n A: b\r\n\r\n",
        &long,
    ] {
        assert!(unpack(bytes.as_bytes(), 7).is_err(), "{bytes:?}");
    }
}

proptest! {
    /// Whatever an HTTP/2 request holds, an HTTP/1 reader finds the same request in what was written, and one alone.
    #[test]
    fn what_is_written_is_read_as_the_same_one_request(
        method in "[A-Z]{1,8}",
        path in "/[!-~]{0,40}",
        fields in prop::collection::vec(("[a-z][a-z0-9-]{0,12}", prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        bodiless in any::<bool>(),
    ) {
        let Ok(uri) = http::Uri::builder().scheme("http").authority("a.test:80").path_and_query(path).build() else {
            return Ok(());
        };
        let mut request = Request::builder().method(method.as_str()).uri(uri.clone());
        for (name, value) in &fields {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
                && name != "content-length"
            {
                request = request.header(name, value);
            }
        }
        let head = parts(request);
        let mut out = BytesMut::new();
        let Ok(framing) = write(&head, &DecidedField::Keep, bodiless, None, &mut out) else {
            prop_assert!(head.method == Method::CONNECT);
            return Ok(());
        };
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut read = httparse::Request::new(&mut headers);
        prop_assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())));
        prop_assert_eq!(read.method, Some(head.method.as_str()));
        prop_assert_eq!(read.path, uri.path_and_query().map(|target| target.as_str()));
        let count = |name: &str| read.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
        prop_assert_eq!(count("host"), 1);
        prop_assert!(count("cookie") <= 1);
        prop_assert_eq!(count("transfer-encoding"), usize::from(framing == Framing::Chunked));
        for name in ["connection", "te", "upgrade", "keep-alive", "proxy-connection"] {
            prop_assert_eq!(count(name), 0);
        }
    }

    #[test]
    fn a_chunked_body_comes_out_as_it_went_in(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..10),
        cut in 1usize..100,
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(format!("{:X}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        let (body, _) = unpack(&bytes, cut).unwrap().unwrap();
        prop_assert_eq!(body, chunks.concat());
    }

    #[test]
    fn any_bytes_keep_the_oracle_quiet(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        super::oracle::run(&bytes);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 1usize..50) {
        let _ = unpack(&bytes, cut);
        let _ = take(&mut BytesMut::from(&bytes[..]), (&Method::GET).into(), &Limits::default());
        let _ = Bytes::from(bytes);
    }
}

/// The corpus of the fuzz target `http2_to_http1`.
#[test]
fn the_fuzz_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/http2_to_http1");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        super::oracle::run(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{count} files");
}
