//! What must hold whatever a peer sends: for the fuzz target, and for its corpus as an ordinary test.

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Method, Request, request};

use super::{
    request::{Framing, write},
    response::take,
};
use crate::{
    config::Limits,
    forward::DecidedField,
    http2::unpack::{
        self, Invalid,
        chunked::{Chunked, Piece},
    },
    validate::{fields::OF_THE_CONNECTION, http2},
};

/// Maps a request made from `bytes` to HTTP/1 and reads the rest as an answer.
///
/// The input: a flag byte, then method, target, and fields as name and value, each behind a byte that is its length, up
/// to a length of zero; what is left is the answer.
///
/// # Panics
/// Where what was written can be read otherwise than it was meant, or an answer's reading depends on how it arrives.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&flags, mut rest)) = bytes.split_first() else { return };
    let bodiless = flags & 1 == 1;
    if let Some(head) = request(&mut rest)
        && http2::check(&head, &Limits::default()).is_ok()
    {
        written_once(&head, bodiless);
    }
    let asked = if flags & 2 == 2 { Method::HEAD } else { Method::GET };
    let whole = read_answer(rest, usize::MAX, &asked);
    assert_eq!(whole, read_answer(rest, 1, &asked), "however it arrives");
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, behind) = rest.split_first()?;
    let (piece, behind) = behind.split_at_checked(usize::from(length))?;
    *rest = behind;
    (length > 0).then_some(piece)
}

/// As `h2` would hand it over: only what the types of the crate `http` take.
fn request(rest: &mut &[u8]) -> Option<request::Parts> {
    let method = Method::from_bytes(piece(rest)?).ok()?;
    let target = piece(rest)?;
    let uri = http::Uri::builder().scheme("http").authority("route.default:8080").path_and_query(target);
    let mut request = Request::builder().method(method).uri(uri.build().ok()?);
    while let Some(name) = piece(rest) {
        let value = piece(rest).unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            request = request.header(name, value);
        }
    }
    Some(request.body(()).ok()?.into_parts().0)
}

fn written_once(head: &request::Parts, bodiless: bool) {
    let mut out = BytesMut::new();
    let Ok(framing) = write(head, &DecidedField::Keep, bodiless, None, &mut out) else {
        assert!(out.is_empty(), "nothing is written of what cannot be");
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut read = httparse::Request::new(&mut fields);
    assert_eq!(read.parse(&out), Ok(httparse::Status::Complete(out.len())), "one request and no more");
    assert_eq!(read.method, Some(head.method.as_str()));
    assert_eq!(read.path, Some(head.uri.path_and_query().map_or("/", |target| target.as_str())));
    let count = |name: &str| read.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).count();
    assert_eq!(count("host"), 1);
    assert!(count("cookie") <= 1);
    assert_eq!(count("transfer-encoding"), usize::from(framing == Framing::Chunked));
    assert!(count("content-length") <= 1 - count("transfer-encoding"));
    for name in OF_THE_CONNECTION.iter().filter(|name| **name != "transfer-encoding") {
        assert_eq!(count(name), 0, "{name}");
    }
}

/// Status and body bytes of an answer that comes in pieces of `step` bytes.
fn read_answer(bytes: &[u8], step: usize, asked: &Method) -> Result<(u16, Vec<u8>, bool), Invalid> {
    let (mut buffer, mut head, mut chunked, mut body) =
        (BytesMut::new(), None, Chunked::default(), Vec::new());
    for piece in bytes.chunks(step.min(bytes.len()).max(1)) {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head = take(&mut buffer, asked.into(), &Limits::default())?;
        }
        let Some(head) = &head else { continue };
        if head.framing != unpack::Framing::Chunked {
            continue;
        }
        loop {
            match chunked.take(&mut buffer)? {
                Piece::Wanting => break,
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(_) => return Ok((head.parts.status.as_u16(), body, true)),
            }
        }
    }
    Ok((head.map_or(0, |head| head.parts.status.as_u16()), body, false))
}
